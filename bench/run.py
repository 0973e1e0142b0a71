#!/usr/bin/env python3
"""Compares Tollgate with plain PostgreSQL, and prints a table of ratios.

    python3 bench/run.py [--seconds 10] [--rounds 1] [--only a64,p50,...] [--json FILE]

It needs Rust, wrk, and PostgreSQL 15 with pgbench. It builds the program (or uses --tollgate PATH), and
starts a temporary PostgreSQL on disk with the default durability (fsync and synchronous_commit are on), and
servers with the sandbox, which delivers messages during the measurements. Everything is deleted at the end.

"measured" is the median of the rounds, "must" the limit, and "aim" the goal. Sends are counted as rows in the
database, not as responses. Each database is audited after its measurement; drift makes the run invalid (exit
code 1). The baseline is pgbench with the same charge and one transaction per message: (a) with prepared
statements, a.sql; (c) with one statement, c.sql. Absolute numbers depend on the machine. Other processes
influence ratios too: a measurement is BUSY if they used more than 10 % of the processors. It is then repeated
at most twice, and the one with the least disturbance counts.
"""

import argparse
import json
import pathlib
import resource
import shutil
import signal
import statistics
import sys

sys.dont_write_bytecode = True

from figures import FIGURES, Round
from machine import HERE, POSTGRES, Failure, Machine, Postgres, folder_on_disk, run


class Bench:
    """The state that all parts of a run share."""

    def __init__(self, arguments, folder):
        self.folder = folder
        self.seconds = arguments.seconds
        self.usage_messages = arguments.usage_messages
        self.target = HERE.parent / "target" / "release"
        self.tollgate = arguments.tollgate or self.target / "tollgate"
        self.machine = Machine(arguments.idle_timeout)
        self.postgres = Postgres(folder)
        self.server_log = folder / "servers.log"
        self.audits = 0
        self.remarks = []

    def example(self, name):
        return self.target / "examples" / name

    def remark(self, text):
        self.remarks.append(text)

    def remark_on_log(self):
        """Adds a remark if the servers logged warnings."""
        lines = self.server_log.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines:
            self.remark(f"the servers logged {len(lines)} lines; the first: {lines[0][:300]}")


def parse():
    names = list(dict.fromkeys(name for name, *_ in FIGURES))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="how long each load lasts (10)")
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds; the median counts (1)")
    parser.add_argument("--only", type=lambda text: text.split(","), default=names, metavar="NAME,...",
                        help=f"only these figures: {', '.join(names)}")
    parser.add_argument("--tollgate", type=lambda path: pathlib.Path(path).resolve(), metavar="PATH",
                        help="the program to measure, instead of building it")
    parser.add_argument("--usage-messages", type=int, default=10_000_000,
                        help="messages of the large usage report (10,000,000)")
    parser.add_argument("--idle-timeout", type=int, default=20,
                        help="seconds to wait for an idle machine before each load (20)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write everything measured to this file")
    arguments = parser.parse_args()
    unknown = set(arguments.only) - set(names)
    if unknown:
        parser.error(f"unknown figure: {', '.join(sorted(unknown))}")
    return arguments


def check_programs(tollgate):
    missing = [f"{POSTGRES}/{name} (Debian: postgresql-15)" for name in ("postgres", "initdb", "psql", "pgbench")
               if not (POSTGRES / name).exists()]
    missing += [f"{name} (Debian: {package})" for name, package in
                (("wrk", "wrk"), ("cargo", "cargo, or rustup")) if not shutil.which(name)]
    if tollgate and not tollgate.exists():
        missing.append(str(tollgate))
    if missing:
        raise Failure("Missing programs:\n  " + "\n  ".join(missing))


def build(tollgate):
    targets = ["--example", "bare_list", "--example", "overload"] + ([] if tollgate else ["--bin", "tollgate"])
    print("Building ...", flush=True)
    run("cargo", "build", "--release", "--locked", *targets, cwd=HERE.parent)


def allow_many_connections():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if most == resource.RLIM_INFINITY else min(16384, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def measure(bench, arguments):
    """The values of each selected figure, one per round, and all measurements."""
    values, measured = {figure: [] for figure in FIGURES if figure[0] in arguments.only}, []
    for number in range(arguments.rounds):
        print(f"Round {number + 1} of {arguments.rounds}", flush=True)
        this = Round(bench)
        for figure in values:
            values[figure].append(figure[-1](this))
        measured.append(this.measured)
    return values, measured


def rows_of(values):
    for (_, figure, unit, must, aim, higher, _), of_rounds in values.items():
        known = [value for value in of_rounds if value is not None]
        value = statistics.median(known) if len(known) == len(of_rounds) else None
        meets = (lambda bound: value is not None and (value >= bound if higher else value <= bound))
        verdict = "aim" if meets(aim) else "must" if meets(must) else "NO"
        yield {"figure": figure, "unit": unit, "measured": value, "rounds": of_rounds, "must": must, "aim": aim,
               "better": "higher" if higher else "lower", "ok": verdict}


def print_table(rows):
    print(f"\n| {'figure':<53} | {'measured':>9} | {'must':>9} | {'aim':>9} | {'ok?':<4} |")
    print(f"| {'-' * 53} | {'-' * 8}: | {'-' * 8}: | {'-' * 8}: | {'-' * 4} |")
    for row in rows:
        sign = ">=" if row["better"] == "higher" else "<="
        unit = f" {row['unit']}" if row["unit"] else ""
        value = "none" if row["measured"] is None else f"{row['measured']:.3g}{unit}"
        must, aim = f"{sign} {row['must']}{unit}", f"{sign} {row['aim']}{unit}"
        print(f"| {row['figure']:<53} | {value:>9} | {must:>9} | {aim:>9} | {row['ok']:<4} |")


def print_absolutes(measured):
    print("\nAbsolute numbers of the last round (times in ms unless stated otherwise):")
    for name, measure in measured[-1].items():
        shown = []
        for key, value in measure.items():
            if key in ("micros",) or value is None:
                continue
            if "micros" in measure and key in ("p50", "p99", "max"):
                key, value = f"{key}_ms", value / 1000
            shown.append(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}")
        print(f"  {name:<38} {', '.join(shown)}")


def measure_all(arguments):
    check_programs(arguments.tollgate)
    build(arguments.tollgate)
    allow_many_connections()
    folder = folder_on_disk()
    try:
        bench = Bench(arguments, folder)
        with bench.postgres:
            values, measured = measure(bench, arguments)
        bench.remark_on_log()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = list(rows_of(values))
    print_table(rows)
    print_absolutes(measured)
    for remark in bench.remarks:
        print(f"  remark: {remark}")
    print(f"\n{bench.audits} databases audited, all clean.")
    if arguments.json:
        report = {"seconds": arguments.seconds, "figures": rows, "measured": measured,
                  "machine": bench.machine.notes, "audits": bench.audits, "remarks": bench.remarks}
        arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def stop_once():
    """Ends the run at the first signal. A second signal does not interrupt the clean-up."""
    signals = iter(["stopped"])

    def stop(*_):
        for message in signals:
            sys.exit(message)

    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, stop)


def main():
    stop_once()
    try:
        measure_all(parse())
    except Failure as failure:
        sys.exit(str(failure))


if __name__ == "__main__":
    main()
