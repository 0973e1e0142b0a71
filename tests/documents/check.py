#!/usr/bin/env python3
"""Runs the commands in README.md and docs in order, and compares the output, except for ids, keys, dates and ports. The
links, and the paths and functions that ARCHITECTURE.md and CONTRIBUTING.md name, must exist.

A block of sh followed by a block of json is a command and its answers. In a block of console, lines that begin with "$ "
are commands, and the others are what they print; a line of "…" stands for any lines. TOLLGATE names the program.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOLLGATE = Path(os.environ.get("TOLLGATE", ROOT / "target/debug/tollgate")).resolve()
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{8}-…"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")
PATH = re.compile(r"`((?:bench|docs|entity|examples|migration|src|tests|ui)/[\w./-]+)`")
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "DATABASE_URL_FILE")
}

checked, failed = 0, 0


def alike(text):
    """The text without the parts that differ in each run."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(UUID, "ID", text)
    text = re.sub(r"tg_(live_sub|live|test|operator)_[A-Za-z0-9]+(…\w*)?", r"tg_\1_KEY", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text)
    text = re.sub(r"\d{4}-\d\d-\d\d", "DATE", text)
    text = re.sub(r"(127\.0\.0\.1|localhost):\d+", "HOST", text)
    text = re.sub(r"(?:/[\w.-]+)+/(?=[\w.-]+\.db\b)", "/FOLDER/", text)
    text = re.sub(r"\b\d+ open files, \d+ connections files=\d+ connections=\d+", "LIMITS", text)
    text = re.sub(r"IANA \d+\w \(.*\)", "IANA VERSION", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def matches(expected, found):
    if "…" not in (line.strip() for line in expected.splitlines()):
        return expected == found
    parts = [re.escape(part.strip("\n")) for part in re.split(r"^…$", expected, flags=re.M)]
    return re.fullmatch(r"\n?(?:.*\n)*?".join(parts) + r"\n?(?:.*\n?)*?", found) is not None


def check(where, command, expected, found):
    global checked, failed
    checked += 1
    expected, found = alike(expected), alike(found)
    if not matches(expected, found):
        failed += 1
        print(f"  FAILED: {where}: {command}\n--- printed there\n{expected}\n--- printed now\n{found}\n---")


def bash(script, folder, timeout=120):
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=ENVIRONMENT, timeout=timeout, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )
    return done.stdout


def start_demo(folder):
    demo = subprocess.Popen(
        [TOLLGATE, "demo", "--json", "--listen", "127.0.0.1:0", "--data", folder / "demo-data"],
        env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )
    started = json.loads(demo.stdout.readline())
    return demo, started["url"], started["keys"]


def with_server(script, url, keys):
    script = script.replace("http://127.0.0.1:8080", url.removesuffix("/graphql"))
    script = re.sub(r"ABC=tg_live_sub_\S+", f"ABC={keys['clientAbc']}", script)
    script = re.sub(r"MAIN=tg_live_\S+", f"MAIN={keys['main']}", script)
    return re.sub(r"tg_live_sub_\w+…", keys["clientAbc"], script)


def check_walk(document, url, keys, folder):
    """Checks blocks of sh and the answers after them; blocks without an answer are definitions."""
    text = (ROOT / document).read_text()
    blocks = list(BLOCK.finditer(text))
    prelude = f"ABC={keys['clientAbc']}\nMAIN={keys['main']}\n"
    end = 0
    for block, after in zip(blocks, blocks[1:] + [None]):
        before, end = text[end:block.start()], block.end()
        if block[1] != "sh":
            continue
        script = with_server(block[2], url, keys)
        if not after or after[1] != "json":
            prelude += script
            continue
        if "second later" in before:
            time.sleep(2)
        found = bash(prelude + script, folder)
        expected = after[2]
        # The page states the responses of the loop.
        stated = re.search(r"prints `(\{.*\})` ten times", text[block.end():after.start()])
        if stated:
            expected = f"{stated[1]}\n" * 10 + expected
        check(document, block[2].strip().splitlines()[0], expected, found)


class Session:
    """A folder in which the commands of a page are run, one after another."""

    def __init__(self, folder, demo_data):
        self.folder = folder
        self.demo_data = demo_data
        self.ids = {}
        self.main_account = None
        self.serving = None

    def run(self, command, expected):
        command = self.with_ids(command)
        if "sqlite://demo-data" in command:
            # The usage in the page is that of the current day.
            today = time.strftime("%Y-%m-%d", time.gmtime())
            command = command.replace("sqlite://demo-data", f"sqlite://{self.demo_data}")
            command = re.sub(r"--from \S+ --to \S+", f"--from {today} --to {today}", command)
        script = f'tollgate() {{ "{TOLLGATE}" "$@"; }}\n{command}'
        if "no database was found at" in expected:
            (self.folder / "elsewhere").mkdir()
            return bash(script, self.folder / "elsewhere")
        if command.startswith("tollgate serve"):
            return self.serve(script)
        if named := re.match(r"cat (\S+)$", command):
            (self.folder / named[1]).write_text(expected)
        if command.startswith("tollgate price import"):
            self.edit_prices(expected)
        found = bash(script, self.folder)
        for known, new in zip(re.findall(UUID, expected), re.findall(UUID, found)):
            self.ids[known] = new
        if main := re.search(rf"Main account: ({UUID})", found):
            self.main_account = main[1]
        return found

    def with_ids(self, command):
        return re.sub(UUID, lambda found: self.ids.get(found[0], self.main_account or found[0]), command)

    def serve(self, script):
        log = self.folder / "serve.log"
        self.serving = subprocess.Popen(
            ["bash", "-c", script.replace("tollgate serve", f'exec "{TOLLGATE}" serve --listen 127.0.0.1:0')],
            cwd=self.folder, env=ENVIRONMENT, stdout=log.open("w"), stderr=subprocess.STDOUT,
        )
        for _ in range(100):
            if "connections=" in log.read_text():
                break
            time.sleep(0.1)
        # The port of the metrics may be in use on this machine.
        lines = log.read_text().splitlines()
        return "\n".join(line for line in lines if "Metrics are" not in line)

    def edit_prices(self, expected):
        """Makes the changes of the price list that the page describes."""
        path = self.folder / "prices.csv"
        rows = [line.split(",") for line in path.read_text().splitlines()]
        for sign, channel, prefix, country, *amounts in (
            line.replace(" cents", "").split() for line in re.findall(r"^[+~-] .*$", expected, re.M)
        ):
            new = [amount for amount in amounts if re.fullmatch(r"[\d.]+", amount)][-1]
            rows = [row for row in rows if row[:2] != [channel, prefix]]
            if sign != "-":
                rows.append([channel, prefix, country, new])
        path.write_text("".join(",".join(row) + "\n" for row in rows))

    def close(self):
        if self.serving:
            self.serving.send_signal(signal.SIGTERM)
            self.serving.wait(timeout=30)


def check_console(document, session):
    for block in BLOCK.finditer((ROOT / document).read_text()):
        if block[1] != "console":
            continue
        for command in re.split(r"^\$ ", block[2], flags=re.M)[1:]:
            line, _, expected = command.partition("\n")
            if line.startswith("tollgate serve"):
                expected = "\n".join(one for one in expected.splitlines() if "Metrics are" not in one)
            check(document, line, expected, session.run(line, expected))


def check_readme(url, keys, folder):
    """Checks the session of the first block: lines without an answer are definitions. `check_greeting` checks its first
    command."""
    blocks = BLOCK.finditer((ROOT / "README.md").read_text())
    session = next(block[2] for block in blocks if block[1] == "console")
    definitions = ""
    for command in re.split(r"^\$ ", session, flags=re.M)[2:]:
        line, _, expected = command.partition("\n")
        script = with_server(f"{line}\n", url, keys)
        if expected:
            check("README.md", line, expected, bash(definitions + script, folder))
        else:
            definitions += script


def check_graphql(document, url, key):
    """Checks that blocks of graphql have no errors and refusals. Their dates are replaced by tomorrow."""
    tomorrow = time.strftime("%Y-%m-%dT", time.gmtime(time.time() + 24 * 60 * 60))
    for block in BLOCK.finditer((ROOT / document).read_text()):
        if block[1] != "graphql":
            continue
        request = urllib.request.Request(
            url, json.dumps({"query": re.sub(r"\d{4}-\d\d-\d\dT", tomorrow, block[2])}).encode(),
            {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)
        refused = [errors for field in (found["data"] or {}).values() for errors in field["errors"]]
        check(document, block[2].splitlines()[0], "done", "done" if not refused and "errors" not in found else str(found))


def anchors(document):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", document.read_text()), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_links(document):
    text = BLOCK.sub("", document.read_text())
    for target, anchor in LINK.findall(text):
        found = (document.parent / target).resolve() if target else document
        exists = found.exists() and (not anchor or anchor in anchors(found))
        check(document.name, f"link to {target}#{anchor}", "exists", "exists" if exists else "missing")


def check_paths(document):
    """Checks the paths in backquotes, and the functions in the column after a path."""
    text = (ROOT / document).read_text()
    for path in PATH.findall(text):
        check(document, path, "exists", "exists" if (ROOT / path).exists() else "missing")
    for path, functions in re.findall(r"`(src/[\w./-]+\.rs)` \| ((?:`\w+`(?:, )?)+) \|", text):
        source = (ROOT / path).read_text() if (ROOT / path).exists() else ""
        for function in re.findall(r"\w+", functions):
            exists = re.search(rf"\bfn {function}\b", source)
            check(document, f"{function} in {path}", "exists", "exists" if exists else "missing")


@contextmanager
def demo_in(folder):
    """A demo with its data in a folder, its URL and its keys."""
    demo, url, keys = start_demo(folder)
    try:
        yield url, keys
    finally:
        demo.send_signal(signal.SIGTERM)
        demo.wait(timeout=30)


def check_greeting(folder):
    """Checks the first lines of the demo's output in each page that has them."""
    demo = subprocess.Popen(
        [TOLLGATE, "demo", "--listen", "127.0.0.1:0"], env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=folder,
    )
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if line.startswith("The data is deleted"):
            break
    demo.send_signal(signal.SIGTERM)
    demo.wait(timeout=30)
    greeting = "".join(lines)
    for document in ("README.md", "docs/guide/quickstart.md"):
        shown = re.search(r"^\$ cargo run -- demo\n(.*?)(?=^\$|^```)", (ROOT / document).read_text(), re.M | re.S)
        check(document, "cargo run -- demo", shown[1].rstrip("\n") + "\n…", greeting)


def main():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        check_links(document)
    for document in ("ARCHITECTURE.md", "CONTRIBUTING.md"):
        check_paths(document)
    with tempfile.TemporaryDirectory(prefix="tollgate-documents-") as name:
        folder = Path(name)
        check_greeting(folder)
        readme = folder / "readme"
        readme.mkdir()
        with demo_in(readme) as (url, keys):
            check_readme(url, keys, readme)
        with demo_in(folder) as (url, keys):
            check_walk("docs/guide/quickstart.md", url, keys, folder)
            check_walk("docs/guide/opt-outs.md", url, keys, folder)
            check_graphql("docs/guide/templates.md", url, keys["main"])
            check_graphql("docs/guide/messages.md", url, keys["main"])
        work = folder / "work"
        work.mkdir()
        session = Session(work, folder / "demo-data")
        try:
            check_console("docs/operations/administration.md", session)
            check_console("docs/operations/backup.md", session)
        finally:
            session.close()
    print(f"{checked - failed} of {checked} printed blocks, links and paths are true")
    sys.exit(1 if failed or checked == 0 else 0)


main()
