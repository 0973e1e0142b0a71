"""The environment of the measurements: a temporary PostgreSQL, its databases, and servers."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
POSTGRES = pathlib.Path("/usr/lib/postgresql/15/bin")
TOP_UP_CENTS = 100_000_000_000


class Failure(Exception):
    """The run cannot continue, or its results are invalid."""


def run(*command, **options):
    """Runs a command and returns its output. Raises Failure with the output if the command fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Failure(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def wait_for(is_there, what, seconds=60):
    end = time.monotonic() + seconds
    while not is_there():
        if time.monotonic() > end:
            raise Failure(f"{what} within {seconds} s")
        time.sleep(0.05)


def folder_on_disk():
    """Creates a temporary folder on a disk, not in memory."""
    for place in (tempfile.gettempdir(), "/var/tmp"):
        if run("stat", "-f", "-c", "%T", place).strip() not in ("tmpfs", "ramfs"):
            return pathlib.Path(tempfile.mkdtemp(prefix="tollgate-bench-", dir=place))
    raise Failure("no temporary folder is on a disk; set TMPDIR to one that is")


class Machine:
    """Measures how busy the machine is with other processes, before and during each load."""

    BUSY_PERCENT = 10

    def __init__(self, idle_timeout):
        self.idle_timeout = idle_timeout
        self.notes = []

    def watch(self, what, measure, retakes):
        """Measures when the machine is idle, or after a timeout. Repeats the measurement if other processes
        were busy during it, and returns the one with the least disturbance."""
        takes = []
        for _ in range(1 + retakes):
            idle, load = self._wait_until_idle(), os.getloadavg()[0]
            before, start = others_seconds(), time.monotonic()
            measured = measure()
            spent = others_seconds() - before
            others = 100 * spent / (time.monotonic() - start) / os.cpu_count()
            takes.append((others, measured))
            self.notes.append({"load": what, "idle_percent": round(idle, 1), "load_average": round(load, 2),
                               "others_percent": round(others, 1)})
            print(f"  {what:<40} before: idle {idle:3.0f} %, load {load:4.2f};  "
                  f"others during it: {others:3.0f} %{'   BUSY' if others > self.BUSY_PERCENT else ''}", flush=True)
            if others <= self.BUSY_PERCENT:
                break
        return min(takes, key=lambda take: take[0])[1]

    def _wait_until_idle(self):
        end = time.monotonic() + self.idle_timeout
        idle = idle_percent()
        while idle < 100 - self.BUSY_PERCENT and time.monotonic() < end:
            idle = idle_percent()
        return idle


def idle_percent():
    def times():
        with open("/proc/stat", encoding="ascii") as stat:
            fields = [int(field) for field in stat.readline().split()[1:9]]
        return fields[3] + fields[4], sum(fields)

    idle, total = times()
    time.sleep(0.5)
    idle_after, total_after = times()
    return 100 * (idle_after - idle) / max(1, total_after - total)


def others_seconds():
    """The processor time of all processes that are not descendants of this one, including their ended
    children, and the time that the host of a virtual machine used (steal)."""
    parents, times = {}, {}
    for file in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            parents[int(file.parent.name)] = int(fields[1])
            times[int(file.parent.name)] = sum(int(field) for field in fields[11:15])

    def is_own(pid):
        while pid and pid != os.getpid():
            pid = parents.get(pid, 0)
        return pid == os.getpid()

    with open("/proc/stat", encoding="ascii") as stat:
        stolen = int(stat.readline().split()[8])
    ticks = sum(time for pid, time in times.items() if not is_own(pid)) + stolen
    return ticks / os.sysconf("SC_CLK_TCK")


class Postgres:
    """A temporary PostgreSQL with the default durability. It is removed when the context ends."""

    def __init__(self, folder):
        self.folder = folder / "postgres"
        self.port = free_port()

    def __enter__(self):
        self.folder.mkdir()
        prefix = []
        if os.geteuid() == 0:
            self.folder.parent.chmod(0o755)
            shutil.chown(self.folder, "postgres")
            prefix = ["runuser", "-u", "postgres", "--"]
        data = self.folder / "data"
        run(*prefix, POSTGRES / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C", cwd=self.folder)
        # The shell stops the server when the shell's standard input is closed. This happens even if this process is
        # killed.
        script = (f"{POSTGRES}/postgres -D {data} -h 127.0.0.1 -p {self.port} -k {self.folder} "
                  f"-c max_connections=300 >{self.folder}/log 2>&1 & server=$!; cat >/dev/null; "
                  "kill -INT $server; wait $server")
        self.shell = subprocess.Popen([*prefix, "sh", "-c", script], stdin=subprocess.PIPE,
                                      cwd=self.folder, start_new_session=True)
        ready = [POSTGRES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        wait_for(lambda: subprocess.run(ready, check=False).returncode == 0,
                 "PostgreSQL does not answer")
        return self

    def __exit__(self, *_):
        self.shell.stdin.close()
        self.shell.wait(60)

    def url(self, database):
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def psql(self, database, *arguments):
        return run(POSTGRES / "psql", "-qAtX", "-v", "ON_ERROR_STOP=1", self.url(database), *arguments).strip()

    def settle(self, database):
        """Does the work of autovacuum, and a checkpoint, so that neither happens during a measurement."""
        self.psql(database, "-c", "VACUUM ANALYZE", "-c", "CHECKPOINT")


class World:
    """A migrated database with teams, and its servers. It is audited and dropped when the context ends."""

    made = 0

    def __init__(self, bench, *, sqlite=False, teams=1, subs=64, servers=1, audited=True):
        self.bench, self.teams, self.subs, self.audited = bench, teams, subs, audited
        self.wanted = servers
        World.made += 1
        self.name = f"bench_{World.made}"
        self.file = bench.folder / f"{self.name}.db" if sqlite else None
        self.url = f"sqlite://{self.file}?mode=rwc" if sqlite else bench.postgres.url(self.name)
        self.servers, self.main_keys, self.keys = [], [], []

    def __enter__(self):
        self.end = contextlib.ExitStack()
        with self.end:
            self._make()
            self.end = self.end.pop_all()
        return self

    def __exit__(self, kind, *_):
        with self.end:
            self.stop_servers()
            if self.audited and kind is None:
                self.audit()

    def _make(self):
        if self.file is None:
            postgres = self.bench.postgres
            postgres.psql("postgres", "-c", f"CREATE DATABASE {self.name}")
            self.end.callback(postgres.psql, "postgres", "-c", f"DROP DATABASE {self.name} WITH (FORCE)")
            self.tollgate("migrate")
        self.end.callback(self.stop_servers)
        team = self.tollgate("team", "create", "--name", "Hot", "--top-up", TOP_UP_CENTS, "--json")
        self.main_keys.append(json.loads(team)["plainKey"])
        for _ in range(self.wanted):
            self.serve()
        if self.teams > 1:
            self._make_teams()
        for main_key in self.main_keys:
            self._make_sub_accounts(main_key)
        self.key_file = self.write_keys("keys", self.keys)
        self.main_key_file = self.write_keys("main", self.main_keys)

    def tollgate(self, *arguments):
        return run(self.bench.tollgate, *arguments, env=self.environment())

    def environment(self):
        return {**os.environ, "DATABASE_URL": self.url, "TOLLGATE_LOG": "warn"}

    def processes(self):
        """The process ids of the servers, and of PostgreSQL with all its sessions."""
        found = [server.process.pid for server in self.servers] + [self.bench.postgres.shell.pid]
        for pid in found:
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                found.extend(int(child) for child in children.read_text().split())
        return found

    def write_keys(self, name, keys):
        file = self.bench.folder / f"{self.name}.{name}"
        file.write_text("\n".join(keys) + "\n", encoding="ascii")
        self.end.callback(file.unlink)
        return file

    def serve(self):
        self.servers.append(Server(self))
        self.servers[-1].wait_ready()

    def stop_servers(self):
        while self.servers:
            self.servers[-1].stop()
            self.servers.pop()

    def ask(self, key, query):
        answer = self.servers[0].ask(key, query)
        payloads = (answer.get("data") or {}).values()
        if "errors" in answer or any(isinstance(p, dict) and p.get("errors") for p in payloads):
            raise Failure(f"{query[:200]} answered {json.dumps(answer)[:400]}")
        return answer["data"]

    def _make_teams(self):
        made = json.loads(self.tollgate("key", "create", "--operator", "--json"))
        operator = made["plainKey"]
        for first in range(1, self.teams, 10):
            numbers = range(first, min(first + 10, self.teams))
            parts = [f'a{n}: createTeam(input: {{ name: "Team {n}" }}) {{ team {{ id }} plainKey errors {{ code }} }}'
                     for n in numbers]
            teams = self.ask(operator, f"mutation {{ {' '.join(parts)} }}").values()
            parts = [f'a{n}: topUpTeam(input: {{ teamId: "{made["team"]["id"]}", amount: 100000000, '
                     f'idempotencyKey: "{n}" }}) {{ errors {{ code }} }}' for n, made in enumerate(teams)]
            self.ask(operator, f"mutation {{ {' '.join(parts)} }}")
            self.main_keys += [made["plainKey"] for made in teams]

    def _make_sub_accounts(self, main_key):
        for first in range(0, self.subs, 10):
            parts = [f'a{n}: createSubAccount(input: {{ name: "Sub {n}" }}) {{ plainKey errors {{ code }} }}'
                     for n in range(first, min(first + 10, self.subs))]
            made = self.ask(main_key, f"mutation {{ {' '.join(parts)} }}")
            self.keys += [account["plainKey"] for account in made.values()]

    def count(self, condition="true"):
        """The number of stored messages."""
        sql = f"SELECT count(*) FROM message WHERE {condition}"
        if self.file is None:
            return int(self.bench.postgres.psql(self.name, "-c", sql))
        with contextlib.closing(sqlite3.connect(self.file)) as database:
            return database.execute(sql).fetchone()[0]

    def settle(self):
        if self.file is None:
            self.bench.postgres.settle(self.name)

    def wait_delivered(self, seconds=60):
        """Waits until no message is left to deliver, or until the timeout."""
        with contextlib.suppress(Failure):
            wait_for(lambda: self.count("due_at IS NOT NULL") == 0, "", seconds)

    def audit(self):
        done = subprocess.run([self.bench.tollgate, "audit"], env=self.environment(), text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            raise Failure(f"INVALID: the audit of {self.name} found drift or failed:\n{done.stdout}{done.stderr}")
        self.bench.audits += 1
        if self.file is not None:
            for file in self.bench.folder.glob(f"{self.name}.db*"):
                file.unlink()


class Server:
    """A process of `tollgate serve`."""

    def __init__(self, world):
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        command = [world.bench.tollgate, "serve", "--sandbox", "--migrate", "--listen", self.address]
        with world.bench.server_log.open("ab") as log:
            self.process = subprocess.Popen([*command, "--log", "warn"], env=world.environment(),
                                            stdout=log, stderr=log, start_new_session=True)

    def wait_ready(self):
        wait_for(lambda: self.process.poll() is not None or is_open(self.port), "the server does not answer")
        if self.process.poll() is not None:
            raise Failure(f"the server ended with exit code {self.process.returncode}")

    def ask(self, key, query):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
            connection.request("POST", "/graphql", json.dumps({"query": query}), headers)
            return json.load(connection.getresponse())

    def memory_mb(self):
        """The current and the peak memory (VmRSS and VmHWM)."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            lines = dict(line.split(":", 1) for line in status if ":" in line)
        return [int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]

    def stop(self):
        """Stops the server, and kills it if that takes long or this run is interrupted."""
        try:
            self.process.terminate()
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.process.kill()
            self.process.wait()


def is_open(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
