"""An MLflow server for many workers: PostgreSQL, artifacts and logs in one folder, on this machine."""

from __future__ import annotations

import argparse
import http.client
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from filelock import FileLock, Timeout
from programs import Program, refuse, running, watch

DEBIAN = "/usr/lib/postgresql"  # VERSION/bin, which is not on PATH
NAME = "mlflow"  # of the database, and of the role that owns it
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # and where this machine reaches itself then


def find_programs(wanted: str | None) -> Path:
    """The folder of PostgreSQL's programs: of the wanted major version, else of the newest."""
    folders = list(Path(DEBIAN).glob("*/bin"))
    if config := shutil.which("pg_config"):
        folders.append(Path(subprocess.check_output([config, "--bindir"], text=True).strip()))
    versions: dict[str, Path] = {}
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            answer = subprocess.check_output([folder / "postgres", "--version"], text=True)
            versions[re.findall(r"\d+", answer)[0]] = folder
    if not versions or (wanted and wanted not in versions):
        refuse(f"PostgreSQL {wanted or 'server'} is missing: `apt install postgresql`")
    return versions[wanted or max(versions, key=int)]


class Postgres:
    """The database of a folder: made on first use, reached by a socket that is closed to others."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.log = folder, folder / "postgres", folder / "postgres.log"
        self.socket = folder / "socket"  # or a link to where it is
        version = self.data / "PG_VERSION"
        self.programs = find_programs(version.read_text().strip() if self.data.exists() else None)
        self.user: dict[str, Any] = {}  # who runs it, for subprocess
        if os.geteuid() == 0:
            if "postgres" not in [account.pw_name for account in pwd.getpwall()]:
                refuse("PostgreSQL does not run as root, and there is no user `postgres`")
            self.user = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}

    @property
    def uri(self) -> str:
        """Its address, for SQLAlchemy."""
        return f"postgresql+psycopg://{NAME}@/{NAME}?{urlencode({'host': self.socket.resolve()})}"

    def stop_orphan(self) -> None:
        """Stop a PostgreSQL that a killed server left in the folder."""
        pid_file = self.data / "postmaster.pid"
        try:
            pid = pid_file.read_text().partition("\n")[0]
            cwd = Path(f"/proc/{pid}/cwd").readlink()
        except OSError:  # no file; or no process, or somebody else's, which PostgreSQL finds out itself
            return
        if cwd != self.data:
            pid_file.unlink(missing_ok=True)  # the number is another program's by now
        else:
            self._call("pg_ctl", "stop", "-D", self.data, "-m", "fast")

    def create(self) -> None:
        """Make the database's folder, whole or not at all."""
        new = self.folder / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)  # of one that was killed
        self._make(new)
        if subprocess.call(["test", "-w", new], cwd="/", **self.user):
            refuse(f"the user `postgres` cannot reach {self.folder}: a folder above it is closed")
        options = ["--username", NAME, "--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums"]
        options += ["--auth-local", "trust", "--auth-host", "reject"]
        if self._call("initdb", "-D", new, *options):
            sys.exit(f"initdb failed; see {self.log}")
        new.rename(self.data)

    @contextmanager
    def has_socket(self) -> Iterator[None]:
        """The socket's folder: in ours, or, where that path is long or odd, a temporary one."""
        num_bytes = len(os.fsencode(self.socket / ".s.PGSQL.5432"))
        if num_bytes < 108 and re.fullmatch(r"[\w/.+-]+", str(self.socket)):  # a sockaddr_un has 108
            self._make(self.socket)
        else:
            self.socket.symlink_to(tempfile.mkdtemp(prefix="primer-"))
            self._make(self.socket.resolve())
        try:
            yield
        finally:
            self.remove_socket()

    def remove_socket(self) -> bool:
        """Remove the socket's folder; whether there was one."""
        if was_there := os.path.lexists(self.socket):
            shutil.rmtree(self.socket.resolve(), ignore_errors=True)
            self.socket.unlink(missing_ok=True)
        return was_there

    def program(self, num_workers: int) -> AbstractContextManager[Program]:
        """PostgreSQL itself; SIGINT ends its connections and it."""
        command = [self.programs / "postgres", "-D", self.data, "-p", "5432"]
        command += ["-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"]
        command += ["-c", f"unix_socket_directories={self.socket.resolve()}"]
        command += ["-c", f"max_connections={20 + 30 * num_workers}"]  # two stores, a pool of 15 each
        ends = [signal.SIGINT, signal.SIGQUIT]
        return running("PostgreSQL", command, self.log, ends, cwd=self.data, **self.user)

    def has_database(self) -> bool:
        """Make MLflow's database when there is none; False while PostgreSQL does not answer."""
        import psycopg

        server = {"host": str(self.socket.resolve()), "user": NAME, "dbname": "postgres"}
        with suppress(psycopg.OperationalError), psycopg.connect(**server, autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone():
                connection.execute(f"CREATE DATABASE {NAME}")
            return True
        return False

    def _make(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        if self.user:
            shutil.chown(folder, self.user["user"], self.user["group"])

    def _call(self, name: str, *arguments: Path | str) -> int:
        how = {"cwd": "/", "start_new_session": True, **self.user}
        with self.log.open("ab") as log:
            return subprocess.call([self.programs / name, *arguments], stdout=log, stderr=log, **how)


def mlflow(*arguments: str, folder: Path) -> AbstractContextManager[Program]:
    """A command of MLflow's; SIGTERM ends it and its workers."""
    command = [sys.executable, "-m", "mlflow", *arguments]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONSAFEPATH": "1"}
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # its processes outlive the server
    return running("MLflow", command, folder / "mlflow.log", [signal.SIGTERM], cwd=folder, env=environment)


def serving(arguments: argparse.Namespace, uri: str) -> list[str]:
    """The arguments of `mlflow server`, which answers to the names that it is told only."""
    host, port = arguments.host, arguments.port
    names = {"localhost", "127.0.0.1", in_address(host), *filter(None, arguments.allowed_hosts.split(","))}
    if host in EVERYWHERE:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    hosts = sorted(name for plain in names for name in (plain, f"{plain}:{port}"))
    origins = [f"{scheme}://{name}" for name in hosts for scheme in ("http", "https")]  # of its own page
    artifacts = Path(arguments.folder, "artifacts").as_uri()
    words = ["server", "--backend-store-uri", uri, "--serve-artifacts", "--artifacts-destination", artifacts]
    words += ["--host", host, "--port", str(port), "--workers", str(arguments.workers)]
    words += ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(origins)]
    return [*words, "--uvicorn-opts", "--no-access-log --timeout-graceful-shutdown 10"]


def in_address(host: str) -> str:
    """A host as it is written in addresses."""
    return f"[{host}]" if ":" in host else host.lower()


def answers(host: str, port: int) -> bool:
    """Whether MLflow is ready."""
    connection = http.client.HTTPConnection(EVERYWHERE.get(host, host), port, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def check_port(host: str, port: int, patience: float) -> None:
    """Refuse a port that is taken; that of a server that was killed may take a moment to be free."""
    deadline = time.monotonic() + patience
    while True:
        try:
            family = socket.getaddrinfo(host, None)[0][0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                return probe.bind((host, port))
        except (OSError, OverflowError) as error:
            if time.monotonic() >= deadline:
                refuse(f"cannot listen on {in_address(host)}:{port}: {error.args[-1]}")
        time.sleep(0.2)


def serve(arguments: argparse.Namespace, stop: list[int]) -> None:
    """Start all, say where it is, and watch it until it is to end."""
    folder, host, port = Path(arguments.folder), arguments.host, arguments.port
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(folder / "lock", blocking=False))
        except Timeout:
            refuse(f"{folder} is in use by a server that runs")
        postgres = Postgres(folder)
        postgres.stop_orphan()
        check_port(host, port, patience=20 if postgres.remove_socket() else 0)
        if not postgres.data.exists():
            postgres.create()
        stack.enter_context(postgres.has_socket())
        database = stack.enter_context(postgres.program(arguments.workers))
        watch(stop, [database], postgres.has_database, within=300)  # after a crash it reads its log first
        with mlflow("db", "upgrade", postgres.uri, folder=folder) as upgrade:
            watch(stop, [database], lambda: upgrade.process.poll() is not None)
            if upgrade.process.returncode:
                sys.exit(f"`mlflow db upgrade` failed; see {upgrade.log}")
        server = stack.enter_context(mlflow(*serving(arguments, postgres.uri), folder=folder))
        watch(stop, [database, server], partial(answers, host, port), within=120)
        name = socket.gethostname() if host in EVERYWHERE else host
        print(f"export MLFLOW_TRACKING_URI=http://{in_address(name)}:{port}")
        print(f"database   {postgres.data}\nartifacts  {folder}/artifacts")
        print(f"logs       {server.log}, {postgres.log}", flush=True)
        watch(stop, [database, server], lambda: False)


def parse() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(prog="scripts/server", description=__doc__)
    parser.add_argument("folder", nargs="?", type=os.path.realpath, default="server", metavar="DIR")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; 0.0.0.0: everywhere")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=4, help="processes that answer (default: 4)")
    parser.add_argument("--allowed-hosts", default="", help="further names of this machine: A,B,...")
    return parser.parse_args()


def main() -> None:
    """Serve until Ctrl-C; exit codes: 0 stopped, 1 something died, 2 it can't be; with a line."""
    arguments, stop = parse(), []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: stop.append(number))
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # what a shell sets for another database
    try:
        import psycopg  # noqa: F401

        serve(arguments, stop)
    except ImportError:
        refuse("PostgreSQL's driver is missing: pip install 'torch-primer[server]'")
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
