"""The figures, with their measurements, limits and goals."""

import datetime
import functools
import statistics
import time

import load
from machine import HERE, Failure, World

LIST = "{ team { name balance } subAccounts(first: 50) { nodes { id name totalSpent status } } }"
MILLION = 1_000_000


class Round:
    """The measurements of one round. Each is taken when a figure first needs it."""

    def __init__(self, bench):
        self.bench = bench
        self.measured = {}

    def note(self, name, measure, retakes=2):
        self.measured[name] = self.bench.machine.watch(name, measure, retakes)
        return self.measured[name]

    @functools.cached_property
    def baseline(self):
        """The baselines (a) and (c) with several numbers of clients, on a separate database."""
        results = {}
        with World(self.bench) as world:
            world.stop_servers()
            self.bench.postgres.psql(world.name, "-f", HERE / "keys.sql")
            for script, numbers in (("a", (1, 4, 8, 64)), ("c", (1, 2, 4, 8, 32, 64))):
                for clients in numbers:
                    results[script, clients] = self.note(
                        f"pgbench ({script}), {clients} clients",
                        lambda: load.pgbench(world, f"{script}.sql", clients))
        return results

    @functools.cached_property
    def at_64(self):
        with World(self.bench) as world:
            return self.note("one team, 64 connections", lambda: load.sends(world, 64))

    @functools.cached_property
    def at_256(self):
        with World(self.bench) as world:
            return self.note("one team, 256 connections", lambda: load.sends(world, 256))

    @functools.cached_property
    def at_1(self):
        with World(self.bench) as world:
            return self.note("one team, 1 connection", lambda: load.sends(world, 1))

    @functools.cached_property
    def thousand_teams(self):
        with World(self.bench, teams=1000, subs=1) as world:
            return self.note("1,000 teams, 64 connections", lambda: load.sends(world, 64))

    @functools.cached_property
    def batches(self):
        with World(self.bench) as world:
            many = load.send_many_body(self.bench)
            return self.note("sendMessages of 100, 1 connection", lambda: load.sends(world, 1, many))

    @functools.cached_property
    def sqlite(self):
        with World(self.bench, sqlite=True) as world:
            return self.note("SQLite, 64 connections", lambda: load.sends(world, 64))

    @functools.cached_property
    def two_processes(self):
        with World(self.bench, servers=2) as world:
            return self.note("two processes, 32 connections each", lambda: load.sends(world, 64))

    @functools.cached_property
    def list(self):
        with World(self.bench, subs=50) as world:
            load.wrk(world.servers[0].address, world.key_file, load.send_body(self.bench), 16, 1)
            world.wait_delivered()
            world.settle()
            return self._requests("team + 50 sub-accounts", world.servers[0].address, world.main_key_file, LIST)

    @functools.cached_property
    def bare_list(self):
        keys = self.bench.folder / "no-keys"
        keys.write_text("none\n", encoding="ascii")
        with load.bare_list(self.bench) as address:
            return self._requests("bare list of 50", address, keys, "{ list { a b c d } }")

    def _requests(self, name, address, keys, query):
        body = load.body(self.bench, "list", query)
        load.wrk(address, keys, body, 64, 1)
        return self.note(name, lambda: load.answers(address, keys, body, 64, self.bench.seconds))

    @functools.cached_property
    def usage(self):
        """The p50 of the report with many messages divided by the p50 with few. The two are measured alternately,
        because the machine's speed changes by more than their difference."""
        today = datetime.datetime.now(datetime.timezone.utc).date()
        query = (f'{{ team {{ usage(range: {{ from: "{today - datetime.timedelta(29)}", to: "{today}" }}, '
                 "groupBy: [ACCOUNT]) { totals { messages spent } buckets { account { id name } "
                 "figures { messages segments delivered failed charged refunded spent } } } } }")
        body = load.body(self.bench, "usage", query)
        with World(self.bench, subs=50) as large, World(self.bench, subs=50) as small:
            reports = ((large, self.bench.usage_messages, []), (small, 10_000, []))
            for world, messages, _ in reports:
                self.bench.postgres.psql(world.name, "-v", f"messages={messages}", "-f", HERE / "fill.sql")
                counted = world.ask(world.main_keys[0], query)["team"]["usage"]["totals"]["messages"]
                if counted != messages:
                    raise Failure(f"the usage report counts {counted} of {messages} messages")
                world.settle()
            for repeat in range(1, 4):
                for world, messages, p50s in reports:
                    arguments = (world.servers[0].address, world.main_key_file, body, 1)
                    load.wrk(*arguments, 1)
                    report = self.note(f"usage at {messages:,} messages, {repeat}",
                                       lambda: load.answers(*arguments, self.bench.seconds))
                    p50s.append(report["p50"])
        many, few = (statistics.median(p50s) for _, _, p50s in reports)
        return many / few

    @functools.cached_property
    def overload(self):
        with World(self.bench) as world:
            load.wrk(world.servers[0].address, world.key_file, load.send_body(self.bench), 64, load.WARM_UP_SECONDS)
            load.separate(world)
            peaks = [self.note(f"client on its own processor, {connections} connections",
                               lambda: load.peak_separate(world, connections)) for connections in (64, 256)]
            peak = max(rate(measure) for measure in peaks)
            report = self.note(f"four times {peak:.0f}/s offered", lambda: load.overload(world, 4 * peak))
            report["peak_per_second"] = peak
            report["beyond"] = self.note(
                f"the same, {load.BEYOND_CONNECTIONS} connections",
                lambda: load.overload(world, 4 * peak, load.BEYOND_CONNECTIONS))
            return report

    @functools.cached_property
    def memory(self):
        with World(self.bench) as world:
            many, server = load.send_many_body(self.bench), world.servers[0]
            before = server.memory_mb()

            def million():
                end = time.monotonic() + 600
                while world.count() < MILLION and time.monotonic() < end:
                    load.wrk(server.address, world.key_file, many, 4, 5)
                rss, peak = server.memory_mb()
                return {"sent": world.count(), "rss_mb_before": before[0], "rss_mb": rss, "hwm_mb": peak}

            return self.note("memory: a million sends", million, retakes=0)

    @functools.cached_property
    def start(self):
        with World(self.bench) as world:
            world.stop_servers()
            return self.note("first response after start, five times", lambda: {
                "ms": statistics.median(load.first_answer_ms(world) for _ in range(5))})


def best_baseline(measures):
    return max(result["rows_per_second"] for result in measures.baseline.values())


def rate(measure):
    return measure["rows_per_second"]


# Each entry contains the name, the figure, the unit, the limit (required), the goal (desired), whether higher is
# better, and the function that computes the figure from a `Round`.
FIGURES = [
    ("a64", "sends/s, one team, 64 connections / (a) at 64 clients", "", 9, 14, True,
     lambda m: rate(m.at_64) / rate(m.baseline["a", 64])),
    ("best", "the same / the best of (a) and (c)", "", 2.5, 4, True,
     lambda m: rate(m.at_64) / best_baseline(m)),
    ("teams", "one team / 1,000 teams", "", 0.9, 1.0, True,
     lambda m: rate(m.at_64) / rate(m.thousand_teams)),
    ("p50", "one connection, p50 / p50 of (c) at one client", "", 2, 1.5, False,
     lambda m: m.at_1["p50_ms"] / m.baseline["c", 1]["p50_ms"]),
    ("p99", "p99 at 64 connections / p99 of (a) at 64 clients", "", 0.15, 0.05, False,
     lambda m: m.at_64["p99_ms"] / m.baseline["a", 64]["p99_ms"]),
    ("batch", "sendMessages of 100, 1 connection / sends at 64", "", 1.5, 2.5, True,
     lambda m: rate(m.batches) / rate(m.at_64)),
    ("sqlite", "SQLite, 64 connections, sends/s / PostgreSQL's", "", 0.8, 1.2, True,
     lambda m: rate(m.sqlite) / rate(m.at_64)),
    ("sqlite", "SQLite, 64 connections, slowest response", "ms", 100, 50, False,
     lambda m: m.sqlite["max_ms"]),
    ("processes", "two processes on one hot team / one process", "", 0.8, 1.0, True,
     lambda m: rate(m.two_processes) / rate(m.at_64)),
    ("list", "team + 50 sub-accounts, requests/s / bare list", "", 0.25, 0.4, True,
     lambda m: m.list["per_second"] / m.bare_list["per_second"]),
    ("usage", "usage report, 50 accounts, 30 days, large / 10 k", "", 1.3, 1.0, False,
     lambda m: m.usage),
    ("overload", "four times the maximum load: accepted / peak", "", 0.8, 0.95, True,
     lambda m: rate(m.overload) / m.overload["peak_per_second"]),
    ("overload", "more connections than are accepted: p99 of a refusal", "ms", 100, 20, False,
     lambda m: m.overload["beyond"]["refused_p99_ms"]),
    ("memory", "memory (VmRSS) after a million sends", "MB", 60, 30, False,
     lambda m: m.memory["rss_mb"]),
    ("start", "first response after start on a migrated database", "ms", 150, 50, False,
     lambda m: m.start["ms"]),
]
