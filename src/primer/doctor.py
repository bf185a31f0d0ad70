"""`primer doctor`: what is wrong with this machine, this folder and its store; it changes nothing.

Neither torch nor MLflow's database code runs in here: what is broken in them is a finding, and MLflow would
create or migrate a database that it opens.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import platform
import re
import shlex
import shutil
import sqlite3
import ssl
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from rich.console import Console
from rich.text import Text

from primer.finding import dead_runs, run_folders
from primer.folder import ROOT
from primer.redact import redacted, redacted_text
from primer.tracking.courier import reason_of
from primer.tracking.facts import host
from primer.tracking.journal import NAME, Record
from primer.tracking.shipment import id_of
from primer.tracking.tags import FOLDER, HOST, ID, SHIPPED
from primer.tracking.uri import SQLITE, sqlite_path, tracking_uri

DISTRIBUTIONS = ("torch-primer", "torch", "lightning", "hydra-core", "mlflow")
PATIENCE_S, IMPORT_S = 5.0, 60.0  # chosen: for an answer of a store, and for an import from a slow disk
LEAST_FREE, LEAST_FREE_PART = 1e9, 0.02  # chosen, in bytes: room for some runs
MAX_LISTED = 3  # chosen: folders in a line
MAX_COUNTED, MAX_RUNS, MAX_ASKED, CHUNK = 1000, 1000, 20, 100  # chosen: of a server's answers
ALL_RUNS = 3  # mlflow.entities.ViewType.ALL: deleted ones, too

TORCH = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
print(json.dumps([torch.cuda.get_device_name(index) for index in range(count)]))
"""
SCHEMAS = """
import json
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config
walk = ScriptDirectory.from_config(_get_alembic_config("")).walk_revisions()
print(json.dumps([script.revision for script in walk]))
"""


@dataclass(frozen=True)
class Finding:
    """What one check came to; `advice` is what to do about it."""

    name: str
    is_healthy: bool
    text: str
    advice: str | None = None


class Scan(NamedTuple):
    """A run folder's journal at a glance."""

    folder: Path
    header: Record | None = None
    last: Record | None = None
    size: int = 0  # bytes of whole lines
    num_damaged: int = 0
    error: str | None = None


class StoredRun(NamedTuple):
    """A run as the store has it."""

    run_id: str
    status: str
    is_deleted: bool
    tags: dict[str, str]

    @property
    def num_shipped(self) -> int:
        """Bytes of the journal that have arrived."""
        text = self.tags.get(SHIPPED, "")
        return int(text) if text.isdecimal() else -1


class Stored(NamedTuple):
    """What a store is like; its runs by MLflow's id and by the journal's, None where they can't be read."""

    is_healthy: bool
    text: str
    advice: str | None = None
    runs: dict[str, StoredRun] | None = None


def doctor() -> list[Finding]:
    """Look at this machine, this folder and its store, as `primer doctor` does; changes and raises nothing.

    >>> [finding.name for finding in doctor() if not finding.is_healthy]  # doctest: +SKIP
    ['disk']
    """
    place = Place()
    return [_checked(check, place) for check in CHECKS]


def _checked(check: Callable[[Place], Finding], place: Place) -> Finding:
    try:
        found = check(place)
    except Exception as error:  # a broken place is what this is for
        name = check.__name__.replace("_", " ")
        return Finding(name, False, f"can't be told: {type(error).__name__}: {reason_of(error)}")
    return Finding(found.name, found.is_healthy, " ".join(found.text.split()), found.advice)


def show(findings: list[Finding]) -> int:
    """Print the findings, and below the unhealthy ones what to do; returns the exit code: 1 if any is."""
    console = Console(highlight=False, soft_wrap=True)
    # wrapped beside the names on a terminal; whole lines for whatever reads them otherwise
    width = max(console.width, 40) if console.is_terminal else 1_000_000
    for finding in findings:
        mark, style = ("ok", "green") if finding.is_healthy else ("!!", "bold red")
        texts = [finding.text] if finding.is_healthy or not finding.advice else [finding.text, finding.advice]
        lines = [line for text in texts for line in textwrap.wrap(text, width - 16, break_on_hyphens=False)]
        for start, line in zip([f"{mark} {finding.name}", *[""] * len(lines)], lines, strict=False):
            # a name of a folder may be what this output can't write
            shown = line.encode(console.encoding, "backslashreplace").decode(console.encoding)
            console.print(Text.assemble((f"{start:<15}", style), shown))
    return int(not all(finding.is_healthy for finding in findings))


class Place:
    """What the checks look at, each looked at once."""

    @cached_property
    def uri(self) -> str:
        return tracking_uri(None)

    @cached_property
    def scans(self) -> list[Scan]:
        return [scan(folder) for folder in run_folders()]

    @cached_property
    def runs(self) -> list[tuple[Scan, Record, Record]]:
        """The run folders that can be read: with the first and the last record of the journal."""
        return [(found, found.header, found.last) for found in self.scans if found.header and found.last]

    @cached_property
    def dead(self) -> set[Path]:
        return {found.folder for found, _, _ in self.runs if is_dead(found)}

    @cached_property
    def stores(self) -> dict[str, Stored]:
        """The store that is meant now, and those that the runs were meant for."""
        uris = [self.uri, *(self.store_of(header) for _, header, _ in self.runs)]
        return {uri: look(uri, self._meant_for(uri)) for uri in dict.fromkeys(uris) if uri}

    def store_of(self, header: Record) -> str | None:
        """Where `primer sync` ships a run; None for one that was not meant to be shipped."""
        own: str | None = header["uri"]
        return self.uri if own == redacted(self.uri) else own

    def _meant_for(self, uri: str) -> list[Scan]:
        return [found for found, header, _ in self.runs if self.store_of(header) == uri]


def scan(folder: Path) -> Scan:
    """Read a journal without taking its points apart: each line's checksum, the first and the last record."""
    first = last = b""
    size = num_damaged = 0
    try:
        with (folder / NAME).open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                size += len(line)
                checksum, _, text = line[:-1].partition(b" ")
                if checksum == b"%08x" % zlib.crc32(text):
                    first, last = first or text, text
                elif text.endswith(b"}"):  # else it is torn: by a kill, or by a disk that was full
                    num_damaged += 1
    except OSError as error:
        return Scan(folder, error=reason_of(error))
    header = json.loads(first) if first else None
    if header is None or header["kind"] != "run":
        return Scan(folder, None, None, size, num_damaged, "does not begin with the run it is of")
    return Scan(folder, header, json.loads(last), size, num_damaged)


def is_dead(found: Scan) -> bool:
    """Whether its run has no end, and no process that works on it."""
    has_end = found.last is not None and found.last["kind"] == "end"
    return not has_end and bool(list(dead_runs([found.folder])))


def versions(_: Place) -> Finding:
    """Versions that are too old to be safe, or known to be malicious."""
    found = {"Python": platform.python_version()} | {name: _version(name) for name in DISTRIBUTIONS}
    text = ", ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    advice = None
    if missing := [name for name, version in found.items() if not version]:
        advice = f"pip install {' '.join(missing)}"
    elif _number(found["Python"]) < (3, 11):
        advice = "primer needs Python 3.11 or newer"
    elif _number(found["torch"]) < (2, 10):
        advice = "pip install 'torch>=2.10': older ones run code from a checkpoint's weights (CVE-2026-24747)"
    elif found["lightning"] in ("2.6.2", "2.6.3"):
        advice = (
            "it was a malicious release: pip install 'lightning>=2.6.4', and change this machine's passwords"
        )
    return Finding("versions", advice is None, text, advice)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _number(version: str) -> tuple[int, ...]:
    """Its first two parts.

    >>> _number("2.13.0+cpu")
    (2, 13)
    """
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def devices(_: Place) -> Finding:
    """What there is to train on, as torch sees it."""
    has_affinity = hasattr(os, "sched_getaffinity")
    text = f"{len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()} CPUs"
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        sizes = dict(re.findall(r"(\w+): +(\d+) kB", meminfo.read_text()))
        available, total = (_gb(int(sizes[name]) * 1024) for name in ("MemAvailable", "MemTotal"))
        text += f", {available} of {total} GB memory available"
    try:
        gpus = Counter(asked(TORCH))
    except RuntimeError as error:
        advice = f"pip install --force-reinstall torch, or look: {sys.executable} -c 'import torch'"
        return Finding("devices", False, f"{text}; torch can't be imported: {reason_of(error)}", advice)
    text += ", " + (
        ", ".join(f"{count} x {name}" for name, count in gpus.items()) or "no GPU that torch sees"
    )
    return Finding("devices", True, text)


def store(place: Place) -> Finding:
    """The store that runs go to now."""
    found = place.stores[place.uri]
    return Finding("store", found.is_healthy, f"{redacted_text(place.uri)}: {found.text}", found.advice)


def runs(place: Place) -> Finding:
    """How the runs of this folder stand."""
    counts = Counter(_standing(place, found) for found, _, _ in place.runs)
    text = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none yet"
    dead = sorted(place.dead)
    advice = f"primer sync says how they ended, primer resume {_short(dead[0])} goes on" if dead else None
    return Finding("runs", not dead, text + (f": {_listed(dead)}" if dead else ""), advice)


def _standing(place: Place, found: Scan) -> str:
    if found.folder in place.dead:
        return "dead"
    assert found.last
    return str(found.last["status"]).lower() if found.last["kind"] == "end" else "running"


def unshipped(place: Place) -> Finding:
    """Journals that are not wholly in the store they were meant for; a run that goes on ships itself."""
    missing, num_whole, out_of_reach = [], 0, Counter[str]()
    for found, header, _ in place.runs:
        uri = place.store_of(header)
        if uri is None or _standing(place, found) == "running":
            continue
        stored = place.stores[uri].runs
        if stored is None:
            out_of_reach[redacted_text(uri)] += 1
        elif _is_whole(found, stored.get(header["id"]) or stored.get(_receipt(found.folder))):
            num_whole += 1
        else:
            missing.append(found.folder)
    text = f"{num_whole} of {num_whole + len(missing)} journals are in MLflow, whole"
    text += f"; not {_listed(missing)}" if missing else ""
    text += "".join(f"; {count} could not be compared: {uri}" for uri, count in out_of_reach.items())
    return Finding("unshipped", not missing, text, "primer sync" if missing else None)


def _is_whole(found: Scan, stored: StoredRun | None) -> bool:
    """Whether all of it has arrived, or was deleted there on purpose."""
    return stored is not None and (stored.is_deleted or stored.num_shipped >= found.size)


def _receipt(folder: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return id_of(folder) or ""
    return ""


def stale(place: Place) -> Finding:
    """Runs that the store calls RUNNING though nothing works on them any more."""
    stored = place.stores[place.uri].runs
    if stored is None:
        return Finding("stale", True, "the store's runs can't be seen")
    running = {run.run_id: run for run in stored.values() if run.status == "RUNNING" and not run.is_deleted}
    ours = [run for run in running.values() if run.tags.get(HOST) == host()]
    others = Counter(run.tags.get(HOST, "no machine") for run in running.values() if run not in ours)
    lost, over = [], []
    for run in ours:
        folder = Path(run.tags.get(FOLDER, ""))
        found = scan(folder)
        if found.header is None or found.header["id"] != run.tags.get(ID):
            lost.append(run.run_id)
        elif (found.last or {}).get("kind") == "end" or is_dead(found):
            over.append(folder)
    num_alive = len(ours) - len(lost) - len(over)
    texts = [f"{num_alive} RUNNING here"] if num_alive else []
    texts += [f"{len(over)} RUNNING but over: {_listed(over)}"] if over else []
    texts += [f"{len(lost)} RUNNING without a folder: {', '.join(lost[:MAX_LISTED])}"] if lost else []
    texts += [f"{count} RUNNING of {name}" for name, count in others.items()]
    # the variable may hold a password, which is not printed
    client = "" if os.environ.get("MLFLOW_TRACKING_URI") else f"'{place.uri}'"
    end = f"mlflow.MlflowClient({client}).set_terminated('{''.join(lost[:1])}', 'KILLED')"
    advice = [f"primer sync {shlex.join(_short(folder) for folder in over[:MAX_LISTED])}"] if over else []
    advice += [f'python -c "import mlflow; {end}"'] if lost else []
    return Finding("stale", not advice, "; ".join(texts) or "no run is RUNNING", "; ".join(advice) or None)


def disk(place: Place) -> Finding:
    """Room where primer writes, each file system once."""
    paths = {ROOT: Path.cwd() / ROOT, "temporary files": Path(os.environ.get("TMPDIR") or "/tmp")}
    if place.uri.startswith(SQLITE):
        paths["database"] = sqlite_path(place.uri)
    names: dict[int, list[str]] = {}
    usage, troubles = {}, []
    for name, path in paths.items():
        there = next(part for part in (path, *path.parents) if part.exists())
        names.setdefault(there.stat().st_dev, []).append(name)
        usage[there.stat().st_dev] = used = shutil.disk_usage(there)
        if used.free < max(LEAST_FREE, LEAST_FREE_PART * used.total):
            troubles.append(f"make room for {name} at {there}")
        if not os.access(there, os.W_OK):
            troubles.append(f"{name} can't be written: {there}")
    texts = [
        f"{', '.join(names[device])}: {_gb(used.free)} of {_gb(used.total)} GB free"
        for device, used in usage.items()
    ]
    return Finding("disk", not troubles, "; ".join(texts), "; ".join(troubles) or None)


def journals(place: Place) -> Finding:
    """Records that are not what was written, and journals that can't be read."""
    damaged = [
        f"{_short(found.folder / NAME)}: {found.error or f'{found.num_damaged} damaged lines'}"
        for found in place.scans
        if found.error or found.num_damaged
    ]
    if not damaged:
        return Finding("journals", True, f"{len(place.scans)} read, no damaged line")
    advice = "the records of these lines are lost; the disk may be failing: copy outputs to another one"
    return Finding("journals", False, _listed(damaged), advice)


def last_error(place: Place) -> Finding:
    """The newest run that ended FAILED: for information."""
    failed = [(last["time"], found, last) for found, _, last in place.runs if last.get("status") == "FAILED"]
    if not failed:
        return Finding("last error", True, "no run failed")
    _, found, last = max(failed, key=lambda entry: entry[0])
    return Finding("last error", True, f"{_short(found.folder)}: {last['error']}")


def environment(place: Place) -> Finding:
    """Where $MLFLOW_TRACKING_URI points, and whether the runs of this folder went there."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    text = f"MLFLOW_TRACKING_URI={redacted_text(uri)}" if uri else "MLFLOW_TRACKING_URI is not set"
    uris = [place.store_of(header) for _, header, _ in place.runs]
    elsewhere = Counter(redacted_text(uri) for uri in uris if uri not in (None, place.uri))
    hints = [f"; {count} runs of {ROOT} went to another store: {uri}" for uri, count in elsewhere.items()]
    return Finding("environment", True, text + "".join(hints))


CHECKS = (versions, devices, store, runs, unshipped, stale, disk, journals, last_error, environment)


def look(uri: str, scans: Sequence[Scan]) -> Stored:
    """Look at a store: a SQLite file by reading it, a server by asking for its runs and those of `scans`."""
    try:
        if uri.startswith(SQLITE):
            return _file_store(uri)
        if uri.startswith(("http://", "https://")):
            return _server(uri, scans)
    except Exception as error:
        return Stored(False, f"can't be read: {reason_of(error)}")
    return Stored(True, "not looked at: MLflow might change it; only SQLite files and servers are")


def _file_store(uri: str) -> Stored:
    path = sqlite_path(uri)
    if not path.exists():
        return Stored(True, "not created yet", runs={})
    with path.open("rb") as file:
        is_wal = file.read(19)[18:] == b"\2"  # sqlite.org/fileformat: the file format write version
    # reading a WAL file leaves two files beside it, but for one that nobody has open
    is_alone = is_wal and not Path(f"{path}-wal").exists()
    address = f"{path.as_uri()}?mode=ro{'&immutable=1' if is_alone else ''}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_S)) as database:
            return _database(database, uri, "WAL" if is_wal else "no WAL yet")
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF  # sqlite.org/rescode: without what makes it an extended one
        if code == sqlite3.SQLITE_BUSY:
            return Stored(True, f"locked by another process for over {PATIENCE_S:g} s; not looked into")
        if code == sqlite3.SQLITE_READONLY:
            return Stored(True, "its writer was cut off; whoever opens it next mends it; not looked into")
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        return _damaged(path, str(error))


def _damaged(path: Path, what: str) -> Stored:
    advice = f"mv {path} {path}.damaged; primer sync makes it again of the journals that are here"
    return Stored(False, f"damaged: {what}", advice)


def _database(database: sqlite3.Connection, uri: str, mode: str) -> Stored:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return Stored(True, "empty; MLflow makes its tables at the first run", runs={})
    if not {"alembic_version", "runs", "tags"} <= tables:
        return Stored(False, "is a database, but not MLflow's", "name another file in MLFLOW_TRACKING_URI")
    integrity = _integrity(database)
    if integrity not in ("sound", UNFINISHED):
        return _damaged(sqlite_path(uri), integrity)
    stored = _rows(database)
    count = sum(not run.is_deleted for run in stored)
    text, advice = _schema(
        str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0]), uri
    )
    return Stored(advice is None, f"{count} runs, {text}, {integrity}, {mode}", advice, _indexed(stored))


UNFINISHED = f"too large to check in {PATIENCE_S:g} s"


def _integrity(database: sqlite3.Connection) -> str:
    deadline = time.monotonic() + PATIENCE_S
    database.set_progress_handler(lambda: time.monotonic() > deadline, 10_000)
    try:
        found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
        return "sound" if found == "ok" else " ".join(found.split())
    except sqlite3.OperationalError as error:
        if str(error) == "interrupted":
            return UNFINISHED
        raise
    finally:
        database.set_progress_handler(None, 0)


def _rows(database: sqlite3.Connection) -> list[StoredRun]:
    found = {
        run_id: StoredRun(run_id, status, stage == "deleted", {})
        for run_id, status, stage in database.execute("SELECT run_uuid, status, lifecycle_stage FROM runs")
    }
    query = "SELECT run_uuid, key, value FROM tags WHERE key IN (?, ?, ?, ?)"
    for run_id, key, value in database.execute(query, (ID, SHIPPED, HOST, FOLDER)):
        if run_id in found:
            found[run_id].tags[key] = value
    return list(found.values())


def _indexed(stored: list[StoredRun]) -> dict[str, StoredRun]:
    """By MLflow's id and by the journal's; of doubles the one that has most."""
    by_id = {}
    for run in sorted(stored, key=lambda run: (not run.is_deleted, run.num_shipped)):
        by_id[run.run_id] = by_id[run.tags.get(ID, run.run_id)] = run
    return by_id


def _schema(found: str, uri: str) -> tuple[str, str | None]:
    """What the tables' version is to the MLflow that is installed, and what to do."""
    try:
        known = _schemas()
    except RuntimeError as error:
        return f"MLflow can't be imported: {reason_of(error)}", "pip install --force-reinstall mlflow"
    if found == known[0]:
        return "schema is current", None
    if found in known:
        advice = f"copy the file, then: mlflow db upgrade {redacted_text(uri)}"
        return f"schema {found} is older than MLflow's {known[0]}", advice
    advice = "pip install -U mlflow: a newer one made these tables"
    return f"schema {found} is not known to this MLflow, whose is {known[0]}", advice


@cache
def _schemas() -> list[str]:
    """The versions of MLflow's tables, newest first."""
    return [str(revision) for revision in asked(SCHEMAS)]


def asked(code: str) -> Any:
    """The JSON that a Python process of its own prints; RuntimeError with its last word if it fails."""
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=IMPORT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"it takes more than {IMPORT_S:g} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"its process ended with {done.returncode}")
    if not done.stdout.strip():
        raise RuntimeError("it ended without a word")
    return json.loads(done.stdout.splitlines()[-1])


def _server(uri: str, scans: Sequence[Scan]) -> Stored:
    try:
        version = _version_of(uri)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        code = f"HTTP {error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        advice = "start it, or set MLFLOW_TRACKING_URI to another; runs go on without, primer sync ships them"
        if code[5:8] in ("401", "403"):
            advice = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return Stored(
            False, f"no MLflow answers: {code}{redacted_text(str(reason)) or type(error).__name__}", advice
        )
    from primer.tracking.store import Store

    client = Store(uri).client
    try:
        experiments = [found.experiment_id for found in client.search_experiments(max_results=MAX_RUNS)]
        page = client.search_runs(experiments, max_results=MAX_COUNTED) if experiments else []
        answers = [client.search_runs(experiments, ask, ALL_RUNS, MAX_RUNS) for ask in _questions(scans)]
    except Exception as error:
        return Stored(False, f"MLflow {version} answers, but not about its runs: {reason_of(error)}")
    stored = [
        StoredRun(run.info.run_id, run.info.status, run.info.lifecycle_stage == "deleted", run.data.tags)
        for answer in (page, *answers)
        for run in answer
    ]
    count = f"{MAX_COUNTED} or more" if len(page) == MAX_COUNTED else str(len(page))
    return Stored(True, f"MLflow {version}, {count} runs", runs=_indexed(stored))


def _questions(scans: Sequence[Scan]) -> list[str]:
    """Searches for the runs of these folders, many at once where they have arrived before."""
    ids = {found.folder: _receipt(found.folder) for found in scans}
    arrived = [f"'{run_id}'" for run_id in ids.values() if run_id.isalnum()]
    chunks = [arrived[start : start + CHUNK] for start in range(0, len(arrived), CHUNK)]
    others = [found.header["id"] for found in scans if found.header and not ids[found.folder]]
    return [
        "attributes.status = 'RUNNING'",
        *(f"attributes.run_id IN ({', '.join(chunk)})" for chunk in chunks),
        *(f"tags.`{ID}` = '{key}'" for key in others[:MAX_ASKED]),
    ]


def _version_of(uri: str) -> str:
    """The version that a server tells; OSError or ValueError where it does not."""
    parts = urlsplit(uri)
    request = urllib.request.Request(
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}/version"
    )
    user = unquote(parts.username or "") or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = unquote(parts.password or "") or os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if user:
        word = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {word}")
    elif token:
        request.add_header("Authorization", f"Bearer {token}")
    certificates = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or os.environ.get("REQUESTS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=certificates)
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(request, timeout=PATIENCE_S, context=context) as answer:
        text: str = answer.read(200).decode(errors="replace").strip()  # a version is short
    if not re.fullmatch(r"\d+\.\d+[\w.+-]*", text):
        raise ValueError(f"it answers {text[:60]!r} where MLflow tells its version")
    return text


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f}"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _listed(items: Sequence[Path | str]) -> str:
    """The first of them, and how many there are beside."""
    shown = ", ".join(_short(item) if isinstance(item, Path) else item for item in items[:MAX_LISTED])
    return shown + (f" and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else "")
