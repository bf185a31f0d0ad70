"""Sweeps whose controller is killed, that begin at once, or that write much at once: what is there after."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from mlflow import MlflowClient
from sweeping import environment, sweep_folders, with_faulty_net

from primer.sweep import ledger
from primer.tracking.journal import points_of, read
from primer.tracking.shipment import id_of
from primer.tracking.tags import PARENT

IRIS = ("data=iris", "--config-dir", "conf", "net=faulty", "tracking.log_model=false")
SLOW = ("net.fault=slow", "max_epochs=20", "checkpoint_every_n_steps=7", "hydra.launcher.workers=4")
NUM_JOBS, NUM_AT_ONCE, NUM_STEPS = 40, 16, 2000
KILLED = ("train", "-m", *IRIS, *SLOW, "activation=relu,tanh", f"seed=range({NUM_JOBS // 2})")
# what is written before a kill, whether in the sweep's journal (else in a job's), and within how many seconds
MOMENTS = {
    "planning": (b'"kind":"run"', True, 0.01),
    "start": (None, True, 1.5),
    "resuming": (b'"kind":"resume"', True, 5.0),
    "training": (b'"kind":"start"', False, 3.0),
    "between jobs": (b'"kind":"end"', False, 0.1),
}
Stored = dict[str, Counter[tuple[str, int, float]]]  # run id -> how often each (key, step, value) is there


def main(root: Path, sample: int | None) -> bool:
    """Whether each job was trained once and every point is there once."""
    with _ended_with(root.resolve()):
        is_sound = _kills(root, sample or 20)
        is_sound &= _begun_at_once(root, min(sample or 5, 5))
        return _much_at_once(root / "much") and is_sound


def _kills(root: Path, num_kills: int) -> bool:
    """Whether a sweep whose controller is killed again and again ends as its undisturbed twin."""
    chooser = random.Random(0)
    twin, cwd = with_faulty_net(root / "twin"), with_faulty_net(root / "kills")
    assert _begun(twin, *KILLED).wait(600) == 0, (twin / "output").read_text()
    others = [name for name in MOMENTS if name != "planning"]
    kinds = [others[number % len(others)] for number in range(num_kills - 1)]
    chooser.shuffle(kinds)
    counts, process = Counter[str](), _begun(cwd, *KILLED)
    for kind in ["planning", *kinds]:
        if _comes(kind, cwd, process, chooser):
            os.kill(process.pid, signal.SIGKILL)
            counts[kind] += 1
        process.wait()
        process = _begun(cwd, *_again(cwd))
    exit_code = process.wait(600)
    faults = _faults_of_one(cwd, twin)
    if exit_code:
        faults.append(f"exit code {exit_code}: {(cwd / 'output').read_text()[-500:]}")
    if counts.total() < num_kills:
        faults.append(f"only {counts.total()} kills of {num_kills}: the sweep ended before")
    _tell(faults)
    told = ", ".join(f"{number} {kind}" for kind, number in counts.items())
    print(f"sweeps: {counts.total()} kills of the controller of {NUM_JOBS} jobs ({told})", flush=True)
    return not faults


def _comes(kind: str, cwd: Path, process: subprocess.Popen[bytes], chooser: random.Random) -> bool:
    """Wait for a moment of a kind; whether it came before the end of the process."""
    words, is_of_sweep, within_s = MOMENTS[kind]
    delay_s = chooser.random() * within_s
    if words:
        before = _times_written(cwd, words, is_of_sweep)
        _wait(lambda: process.poll() is not None or _times_written(cwd, words, is_of_sweep) > before)
    time.sleep(delay_s)
    return process.poll() is None


def _times_written(cwd: Path, words: bytes, is_of_sweep: bool) -> int:
    pattern = "outputs/*/*/journal" if is_of_sweep else "outputs/*/*/*/journal"
    return sum(path.read_bytes().count(words) for path in cwd.glob(pattern))


def _again(cwd: Path) -> Sequence[str]:
    """The command that goes on; the first one where the kill came before there was anything to go on with."""
    begun = [folder for folder in sweep_folders(cwd) if ledger.definition_in(folder)]
    return ("resume", str(begun[0])) if begun else KILLED


def _faults_of_one(cwd: Path, twin: Path) -> list[str]:
    """What a sweep of 40 jobs has not as it should, or not as its twin."""
    (folder,) = [folder for folder in sweep_folders(cwd) if ledger.definition_in(folder)]
    (undisturbed,) = sweep_folders(twin)
    numbers = [job.number for job in ledger.jobs_in(folder)]
    faults = [] if numbers == list(range(NUM_JOBS)) else [f"the ledger's jobs are {numbers}"]
    num_once = num_same = num_attempts = num_again = 0
    for number in range(NUM_JOBS):
        if not (folder / str(number) / "journal").exists():
            faults.append(f"job {number} was not begun")
            continue
        records = read(folder / str(number))
        ends = [record["status"] for record in records if record["kind"] == "end"]
        is_once = ends.count("FINISHED") == 1 and records[-1]["kind"] == "end"
        is_again = _is_trained_again(folder / str(number))
        is_same = points_of(records) == points_of(read(undisturbed / str(number)))
        num_attempts += sum(record["kind"] == "start" for record in records)
        num_once, num_same, num_again = num_once + is_once, num_same + is_same, num_again + is_again
        if not is_once or not is_same or is_again:
            faults.append(f"job {number}: ends {ends}, as its twin {is_same}, trained again {is_again}")
    print(
        f"sweeps: {num_once} of {NUM_JOBS} jobs FINISHED once, {num_same} bitwise as in an undisturbed "
        f"sweep, {num_again} trained to the end twice; {num_attempts} attempts trained",
        flush=True,
    )
    return faults + _faults_in_store(cwd, 1, NUM_JOBS)


def _is_trained_again(folder: Path) -> bool:
    """Whether an attempt began to train before the last step, though that was recorded already."""
    has_last, num_steps, is_again = False, 0, False
    for record in read(folder):
        if record["kind"] == "start":
            num_steps = record["num_steps"]
            is_again |= has_last and record["step"] < num_steps
        elif record["kind"] == "points" and record["key"] == "train/loss":
            has_last |= num_steps in record["steps"]
    return is_again


def _faults_in_store(cwd: Path, num_sweeps: int, num_jobs: int) -> list[str]:
    """What MLflow has not as the folders of some sweeps have it; the figures are printed."""
    faults: list[str] = []
    stored, num_lost, num_doubled, num_other = _stored(cwd), 0, 0, 0
    folders = [folder for folder in sweep_folders(cwd) if ledger.definition_in(folder)]
    client = MlflowClient(f"sqlite:///{cwd / 'mlflow.db'}")
    runs = {run.info.run_id: run for run in client.search_runs(["1"], max_results=1000)}
    ids = [run_id for folder in folders if (run_id := id_of(folder))]
    parents = sorted(run_id for run_id, run in runs.items() if PARENT not in run.data.tags)
    if len(folders) != num_sweeps or parents != sorted(ids):
        faults.append(f"{len(folders)} sweeps have {len(parents)} parents")
    children = 0
    for folder in folders:
        for job in ledger.jobs_in(folder):
            run = runs.get(id_of(job.folder) or "")
            if run is None or run.data.tags.get(PARENT) != id_of(folder):
                faults.append(f"{job.folder}: is not in MLflow, or not below its sweep")
                continue
            children += 1
            mine = Counter((key, step, value) for (key, step), value in points_of(read(job.folder)).items())
            found = stored.get(run.info.run_id, Counter())
            steps = Counter((key, step) for key, step, _ in found.elements())
            num_lost += (mine - found).total()
            num_doubled += sum(number - 1 for number in steps.values())
            num_other += len(found.keys() - mine.keys())
    statuses = Counter(run.info.status for run in runs.values())
    if statuses != {"FINISHED": num_sweeps + num_jobs} or children != num_jobs:
        faults.append(f"{children} jobs are in MLflow, and its runs are {dict(statuses)}")
    if num_lost or num_doubled or num_other:
        faults.append(f"{num_lost} points lost, {num_doubled} doubled, {num_other} not in the journals")
    num_points = sum(counter.total() for counter in stored.values())
    print(
        f"  MLflow: {len(parents)} parents, {children} jobs, {dict(statuses)}; {num_points} points, "
        f"{num_lost} lost, {num_doubled} doubled, {num_other} others",
        flush=True,
    )
    return faults


def _stored(cwd: Path) -> Stored:
    """Every point in MLflow's database."""
    found: Stored = {}
    with closing(sqlite3.connect(f"file:{cwd / 'mlflow.db'}?mode=ro", uri=True, timeout=30)) as database:
        for run_id, *point in database.execute("SELECT run_uuid, key, step, value FROM metrics"):
            found.setdefault(run_id, Counter())[tuple(point)] += 1
    return found


def _begun_at_once(root: Path, num_rounds: int) -> bool:
    """Whether sweeps that begin in one second, without a database yet, share and lose nothing."""
    num_sound = Counter[str]()
    kinds = {"two of three jobs": (2, "seed=0,1,2", 3), "ten of one job": (10, "seed=4", 1)}
    for number in range(num_rounds):
        for kind, (num_sweeps, seeds, num_jobs) in kinds.items():
            cwd = with_faulty_net(root / f"{number} {kind}")
            faults = _faults_of_many(cwd, num_sweeps, seeds, num_sweeps * num_jobs)
            num_sound[kind] += not faults
            _tell(faults)
    for kind in kinds:
        print(f"sweeps: {kind}, begun at once: {num_sound[kind]} of {num_rounds} times whole", flush=True)
    return all(num_sound[kind] == num_rounds for kind in kinds)


def _faults_of_many(cwd: Path, num_sweeps: int, seeds: str, num_jobs: int) -> list[str]:
    time.sleep(1 - time.time() % 1)  # so that they ask for folders in one second
    options = ("train", "-m", *IRIS, "max_epochs=4", seeds)
    processes = [_begun(cwd, *options, output=f"output {number}") for number in range(num_sweeps)]
    exit_codes = [process.wait(300) for process in processes]
    outputs = [path.read_text() for path in sorted(cwd.glob("output *"))]
    faults = [] if not any(exit_codes) else [f"exit codes {exit_codes}"]
    for text in outputs:
        lines = [line for line in text.splitlines() if "lock" in line or "tried again" in line]
        faults += lines[:2]
    folders = [folder for folder in sweep_folders(cwd) if ledger.definition_in(folder)]
    seconds = {folder.name[:6] for folder in folders}
    print(f"  {num_sweeps} sweeps at once: {len(folders)} folders, in {len(seconds)} seconds", flush=True)
    return faults + _faults_in_store(cwd, num_sweeps, num_jobs)


def _much_at_once(cwd: Path) -> bool:
    """Whether all points are in MLflow, by its own account, of sixteen jobs that write at once."""
    cwd.mkdir()
    options = ["data=iris", "max_epochs=null", f"max_steps={NUM_STEPS}", "tracking.log_model=false"]
    started_at = time.monotonic()
    # each in a process of its own: jobs that train as one send MLflow a thinned curve
    at_once = (f"hydra.launcher.workers={NUM_AT_ONCE}", "hydra.launcher.fuse=off")
    exit_code = _begun(cwd, "train", "-m", *options, f"seed=range({NUM_AT_ONCE})", *at_once).wait(600)
    seconds = time.monotonic() - started_at
    client = MlflowClient(f"sqlite:///{cwd / 'mlflow.db'}")
    jobs = [run for run in client.search_runs(["1"]) if PARENT in run.data.tags]
    curves = [client.get_metric_history(run.info.run_id, "train/loss") for run in jobs]
    steps = [Counter(point.step for point in curve) for curve in curves]
    num_lost = NUM_AT_ONCE * NUM_STEPS - sum(len(found) for found in steps)
    num_doubled = sum(found.total() - len(found) for found in steps)
    print(
        f"sweeps: {sum(map(len, curves))} points of train/loss from {len(jobs)} jobs at once in "
        f"{seconds:.0f} s: {num_lost} lost, {num_doubled} doubled",
        flush=True,
    )
    faults = _faults_in_store(cwd, 1, NUM_AT_ONCE) + ([f"exit code {exit_code}"] if exit_code else [])
    _tell(faults)
    return not (faults or num_lost or num_doubled)


def _begun(cwd: Path, *arguments: str, output: str = "output") -> subprocess.Popen[bytes]:
    """`primer ARGUMENTS`, while it goes on."""
    command = [sys.executable, "-m", "primer", *arguments]
    variables = os.environ | environment() | {"TMPDIR": str(cwd)}  # so that what a kill leaves goes with it
    with (cwd / output).open("ab") as log:
        return subprocess.Popen(
            command, cwd=cwd, env=variables, stdout=log, stderr=log, start_new_session=True
        )


@contextmanager
def _ended_with(root: Path) -> Iterator[None]:
    """What was started below a folder, and what that started, ends with the block."""
    try:
        yield
    finally:
        for cwd in Path("/proc").glob("[0-9]*/cwd"):
            if _is_below(cwd, root):
                os.kill(int(cwd.parent.name), signal.SIGKILL)


def _is_below(link: Path, root: Path) -> bool:
    try:
        return root in link.readlink().parents
    except OSError:  # it is gone, or somebody else's
        return False


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _tell(faults: Sequence[str]) -> None:
    for fault in faults:
        print(f"  BROKEN: {fault}", flush=True)
