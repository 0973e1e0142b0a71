"""The load generators: pgbench, wrk, the overload client, and single requests."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time

from machine import HERE, POSTGRES, Failure, Server, free_port, is_open, run, wait_for

SEND = ("mutation($input: SendMessageInput!) "
        "{ sendMessage(input: $input) { message { id } errors { code } } }")
SEND_MANY = ("mutation($input: [SendMessageInput!]!) "
             "{ sendMessages(input: $input) { message { id } errors { code } } }")
MESSAGE = {"to": "+12025550123", "text": "Your code is 123456"}
WARM_UP_SECONDS = 2
# Four times as many connections as in the measurement of the peak. All of them are accepted and wait for their
# responses.
OVERLOAD_CONNECTIONS = 1024
# More connections than the limit for one team, so that some requests are refused.
BEYOND_CONNECTIONS = 4096
# In the overload measurements, the client runs on its own processor, and the servers and PostgreSQL share another one.
# Otherwise the client would slow down the servers.
SERVER_PROCESSOR, CLIENT_PROCESSOR = 0, 1


def body(bench, name, query, variables=None):
    """Writes the body of a request to a file."""
    file = bench.folder / f"{name}.json"
    file.write_text(json.dumps({"query": query, "variables": variables or {}}), encoding="utf-8")
    return file


def send_body(bench):
    return body(bench, "send", SEND, {"input": MESSAGE})


def send_many_body(bench):
    return body(bench, "send-many", SEND_MANY, {"input": [MESSAGE] * 100})


def wrk_command(address, keys, body_file, connections, seconds):
    return ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "15s", "-s", HERE / "send.lua",
            f"http://{address}", "--", keys, body_file]


def wrk(*arguments):
    """The report of wrk: requests, duration and percentiles in microseconds, and errors."""
    return parse_wrk(run(*wrk_command(*arguments)))


def wrk_all(commands):
    """The reports of several wrk processes that run at the same time."""
    with contextlib.ExitStack() as end:
        running = []
        for command in commands:
            running.append(subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True))
            end.callback(running[-1].kill)
        outputs = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise Failure("wrk failed")
    return [parse_wrk(output) for output in outputs]


def answers(*arguments):
    """The report of wrk; any error makes the figure invalid."""
    report = wrk(*arguments)
    if report["errors"]:
        raise Failure(f"{report['errors']} of {report['requests']} responses were errors")
    return report


def parse_wrk(output):
    report = json.loads(output.strip().splitlines()[-1])
    report["per_second"] = report["requests"] / (report["micros"] / 1e6)
    return report


def sends(world, connections, body_file=None, keys=None):
    """Durable rows per second while wrk sends, with its connections distributed over the servers."""
    bench = world.bench
    body_file, keys = body_file or send_body(bench), keys or world.key_file
    share = connections // len(world.servers)

    def load(seconds):
        return wrk_all([wrk_command(server.address, keys, body_file, share, seconds) for server in world.servers])

    world.settle()
    load(WARM_UP_SECONDS)
    before, delivered = world.count(), world.count("status = 'DELIVERED'")
    reports = load(bench.seconds)
    rows = world.count() - before
    seconds = max(report["micros"] for report in reports) / 1e6
    if any(report["errors"] for report in reports):
        bench.remark(f"{sum(report['errors'] for report in reports)} of wrk's requests failed")
    return {
        "rows_per_second": rows / seconds, "rows": rows,
        "answers": sum(report["requests"] for report in reports),
        "delivered_meanwhile": world.count("status = 'DELIVERED'") - delivered,
        "p50_ms": max(report["p50"] for report in reports) / 1000,
        "p99_ms": max(report["p99"] for report in reports) / 1000,
        "max_ms": max(report["max"] for report in reports) / 1000,
    }


def pgbench(world, script, clients):
    """Durable rows per second and latencies of a baseline."""
    bench = world.bench
    logs = bench.folder / "pgbench-log"
    command = [POSTGRES / "pgbench", "-n", "-M", "prepared", "-f", HERE / script, "-c", clients,
               "-j", min(2, clients), world.url]
    world.settle()
    run(*command, "-T", WARM_UP_SECONDS)
    before = world.count()
    start = time.monotonic()
    output = run(*command, "-T", bench.seconds, "--log", "--log-prefix", logs)
    took = time.monotonic() - start
    rows = world.count() - before
    connecting = next(line for line in output.splitlines() if line.startswith("initial connection time"))
    seconds = took - float(connecting.split()[-2]) / 1000
    times = []
    for file in bench.folder.glob("pgbench-log.*"):
        times += [int(line.split()[2]) / 1000 for line in file.read_text(encoding="ascii").splitlines()]
        file.unlink()
    if "number of failed transactions: 0 " not in output or len(times) != rows:
        raise Failure(f"the baseline {script} failed:\n{output}")
    times.sort()
    return {"rows_per_second": rows / seconds, "rows": rows,
            "p50_ms": times[len(times) // 2], "p99_ms": times[len(times) * 99 // 100]}


def separate(world):
    """Binds the servers and PostgreSQL to their processor."""
    for pid in world.processes():
        # A PostgreSQL process may have ended in the meantime.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
                os.sched_setaffinity(int(thread.name), {SERVER_PROCESSOR})


def peak_separate(world, connections):
    """Sends per second, with the client on its own processor."""
    world.settle()
    before, start = world.count(), time.monotonic()
    run("taskset", "-c", CLIENT_PROCESSOR, *wrk_command(
        world.servers[0].address, world.key_file, send_body(world.bench), connections, world.bench.seconds))
    seconds = time.monotonic() - start
    return {"rows_per_second": (world.count() - before) / seconds}


def overload(world, rate, connections=OVERLOAD_CONNECTIONS):
    """The results of requests that are sent at this rate, independent of the responses."""
    bench = world.bench
    world.settle()
    before = world.count()
    start = time.monotonic()
    command = ["taskset", "-c", CLIENT_PROCESSOR, bench.example("overload"), world.servers[0].address, world.key_file, send_body(bench),
               "--rate", round(rate), "--seconds", bench.seconds, "--connections", connections]
    report = json.loads(run(*command))
    report["process_seconds"] = time.monotonic() - start
    report["rows_per_second"] = (world.count() - before) / bench.seconds
    done = sum(report[part] for part in ("accepted", "refused", "other", "broken", "unanswered"))
    report["offered_per_second"] = done / bench.seconds
    if report["offered_per_second"] < 0.9 * rate:
        bench.remark(f"overload: only {report['offered_per_second']:.0f} of {rate:.0f} requests/s were offered: "
                     f"all {connections} connections waited for responses, or this machine is too slow for the client")
    return report


@contextlib.contextmanager
def bare_list(bench):
    """Runs the server that is the baseline for lists, and yields its address."""
    port = free_port()
    process = subprocess.Popen([bench.example("bare_list"), f"127.0.0.1:{port}"], start_new_session=True)
    try:
        wait_for(lambda: is_open(port), "the bare list does not answer")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def first_answer_ms(world):
    """The time from starting a server to its first response, in milliseconds."""
    request_body = json.dumps({"query": "{ __typename }"})
    request = ("POST /graphql HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
               f"Authorization: Bearer {world.keys[0]}\r\n"
               f"Content-Type: application/json\r\nContent-Length: {len(request_body)}\r\n\r\n{request_body}")
    start = time.monotonic()
    server = Server(world)
    try:
        while time.monotonic() - start < 30:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 5) as stream:
                stream.sendall(request.encode())
                if stream.recv(64).startswith(b"HTTP/1.1 200"):
                    return (time.monotonic() - start) * 1000
            time.sleep(0.001)
    finally:
        server.stop()
    raise Failure("a started server did not answer within 30 s")
