"""Refused requests with bodies of several sizes, sent by Python's http.client and urllib, which do not read a
response before they have sent the whole body."""

import http.client
import json
import os
import sys
import time
import urllib.error
import urllib.request

with open(os.environ["TOLLGATE_DEMO"]) as file:
    DEMO = json.load(file)
HOST = DEMO["url"].split("/")[2]
TRIES = 8
SIZES = {"200 KB": 200_000, "1 MB": 1_000_000, "8 MB": 8_000_000}
JSON = {"Content-Type": "application/json"}
MAIN = {"Authorization": f"Bearer {DEMO['keys']['main']}"}
WRONG = {"Authorization": "Bearer tg_live_wrong"}
CASES = [
    ("a body that is too large", "/graphql", "POST", JSON | MAIN, 413, 300_000),
    ("no key", "/graphql", "POST", JSON, 401, 0),
    ("an invalid key", "/graphql", "POST", JSON | WRONG, 401, 0),
    ("another method", "/graphql", "PUT", JSON | MAIN, 405, 0),
    ("another method of GraphiQL", "/graphiql", "POST", JSON, 405, 0),
    ("another method of the health", "/healthz", "POST", JSON, 405, 0),
    ("no media type that is known", "/graphql", "POST", JSON | MAIN | {"Accept": "text/html"}, 406, 0),
    ("another media type", "/graphql", "POST", {"Content-Type": "text/plain"} | MAIN, 415, 0),
    ("nothing at the path", "/elsewhere", "POST", JSON, 404, 0),
    ("an inbound message that is too large", "/sandbox/inbound", "POST", JSON | MAIN, 413, 0),
    ("an inbound message without a key", "/sandbox/inbound", "POST", JSON, 401, 0),
]
failures = 0


def by_http_client(path, method, headers, body):
    connection = http.client.HTTPConnection(HOST, timeout=10)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def by_urllib(path, method, headers, body):
    request = urllib.request.Request(f"http://{HOST}{path}", body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as refused:
        refused.read()
        return refused.code


def check(name, test):
    global failures
    try:
        test()
        print(f"  ok: {name}")
    except Exception as failure:
        failures += 1
        print(f"  FAILED: {name}: {failure!r}")


def refused_with(status, ask, *request):
    def test():
        for _ in range(TRIES):
            found = ask(*request)
            assert found == status, found

    return test


for name, path, method, headers, status, least in CASES:
    for size, count in SIZES.items():
        if count < least:
            continue
        for ask in (by_http_client, by_urllib):
            test = refused_with(status, ask, path, method, headers, b"x" * count)
            check(f"{name}, {size}: {status}, {TRIES} times {ask.__name__}", test)


def stops_for_four_seconds():
    connection = http.client.HTTPConnection(HOST, timeout=10)
    connection.putrequest("POST", "/graphql")
    for header in (JSON | MAIN | {"Content-Length": "200000"}).items():
        connection.putheader(*header)
    connection.endheaders(b"{")
    time.sleep(4.3)
    connection.send(b"x" * 199_999)
    response = connection.getresponse()
    assert response.status == 503, response.status
    connection.close()


def too_many_wrong_keys():
    request = ("/graphql", "POST", JSON | WRONG)
    refused = 0
    for _ in range(TRIES):
        while by_http_client(*request, b"{}") != 429:
            pass
        status = by_http_client(*request, b"x" * 8_000_000)
        assert status in (401, 429), status
        refused += status == 429
    assert refused, "none was refused"


check("a body that stops for four seconds: 503", stops_for_four_seconds)
# This check is last, because it uses up the number of invalid keys that this address may try.
check("too many invalid keys, 8 MB: 429", too_many_wrong_keys)
sys.exit(failures > 0)
