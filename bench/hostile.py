#!/usr/bin/env python3
"""Measures how ten hostile clients affect a well-behaved one.

    python3 bench/hostile.py [--seconds 10] [--tollgate PATH]

It has the same requirements as run.py. A client of one team sends messages one after another over one
connection. At the same time, ten connections with the key of another team send requests as fast as they get
responses. Each row is another kind of request: none; plain queries, for comparison; queries that are refused
(fragments that double the size, braces, aliases, nested pages, depth); and the query with the highest cost
estimate that is allowed, which soon exceeds the rate limit. The client's times are in milliseconds.
"""

import json
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True

import load
import run as bench_run
from machine import Failure, World, folder_on_disk

CLIENTS = 10


def doubling(levels):
    fragments = " ".join(f"fragment F{n} on Account {{ ...F{n + 1} ...F{n + 1} }}" for n in range(levels))
    return f"{{ account {{ ...F0 }} }} {fragments} fragment F{levels} on Account {{ name }}"


def pages(size):
    return f"{{ subAccounts(first: {size}) {{ nodes {{ id apiKeys {{ nodes {{ id name }} }} }} }} }}"


PLAIN = ["{ account { id name } }"]
REFUSED = [
    doubling(60),
    "{" * 15_000,
    "{ " + " ".join(f"a{n}: account {{ id }}" for n in range(80)) + " }",
    pages(100),
    "{ account { usage { buckets " * 5 + "{ figures { spent } }" + " } } }" * 5,
    "{ account { " + "id " * 2_000 + "} }",
]
HIGHEST = [pages(79)]


def bodies(bench, name, queries):
    file = bench.folder / f"{name}.json"
    file.write_text("".join(json.dumps({"query": query}) + "\n" for query in queries), encoding="utf-8")
    return file


def measure(bench, world, hostile_keys, queries):
    """The client's times while the others send these queries, and the others' responses per second."""
    address, seconds = world.servers[0].address, bench.seconds
    hostile = None
    if queries:
        command = load.wrk_command(address, hostile_keys, bodies(bench, "hostile", queries), CLIENTS, seconds + 2)
        hostile = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    try:
        client = load.wrk(address, world.well_behaved, load.send_body(bench), 1, seconds)
        asked = load.parse_wrk(hostile.communicate()[0])["per_second"] if hostile else 0
    finally:
        if hostile:
            hostile.kill()
    if client["errors"]:
        raise Failure(f"{client['errors']} of the client's requests failed")
    return client, asked


def main():
    arguments = bench_run.parse()
    bench_run.check_programs(arguments.tollgate)
    if not arguments.tollgate:
        bench_run.build(None)
    folder = folder_on_disk()
    try:
        bench = bench_run.Bench(arguments, folder)
        with bench.postgres, World(bench, teams=2, subs=79) as world:
            world.well_behaved = world.write_keys("well-behaved", world.keys[:1])
            hostile = world.write_keys("hostile", world.main_keys[1:])
            load.wrk(world.servers[0].address, world.well_behaved, load.send_body(bench), 1, load.WARM_UP_SECONDS)
            for query in REFUSED:
                errors = world.servers[0].ask(world.main_keys[1], query).get("errors", [{}])
                if errors[0].get("extensions", {}).get("code") != "QUERY_TOO_LARGE":
                    raise Failure(f"{query[:60]} is not refused: {errors}")
            world.ask(world.main_keys[1], HIGHEST[0])
            print(f"| {'ten others ask':<28} | {'p50':>6} | {'p99':>6} | {'max':>6} | {'sends/s':>8} | {'theirs/s':>8} |")
            for name, queries in (("nothing", []), ("plain queries", PLAIN), ("hostile ones, refused", REFUSED),
                                  ("the highest estimate", HIGHEST)):
                client, asked = measure(bench, world, hostile, queries)
                times = [f"{client[part] / 1000:6.2f}" for part in ("p50", "p99", "max")]
                print(f"| {name:<28} | {' | '.join(times)} | {client['per_second']:8.0f} | {asked:8.0f} |", flush=True)
        print(f"{bench.audits} databases audited, all clean.")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    bench_run.stop_once()
    try:
        main()
    except Failure as failure:
        sys.exit(str(failure))
