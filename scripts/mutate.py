"""Plant small faults, one at a time, in the modules that matter most, and count those that the tests catch.

Each is planted in src itself, since tests start processes of their own, and taken out again. What is heavy is
imported once: the tests of each fault run in a fork. A hang counts as caught, so pause no run of this.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from planting import Fault, again, chosen, faults_in, planted

ROOT = Path(__file__).absolute().parents[1]
HEAVY = """
torch torch.fx.experimental.proxy_tensor lightning.pytorch torchmetrics mlflow sqlalchemy pandas
pyarrow.parquet scipy.stats sklearn.compose sklearn.impute sklearn.pipeline skops.io matplotlib.figure
hydra hypothesis
"""
TEST_S, ALL_S = 120, 900  # chosen: a test, and all tests of a fault, that take longer hang
OPTIONS = ["-x", "-q", "--tb=no", f"--timeout={TEST_S}", "--hypothesis-seed=0"]
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # of hypothesis, which is there already


class Area(NamedTuple):
    """Modules below src/primer, and runs of pytest, the fastest first, that should catch what is planted."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


CUT = "--deselect tests/training/test_checkpoint.py::test_a_kill_while_writing_leaves_a_whole_file"
RESUMED = "tests/test_resume.py::test_killed_and_resumed_is_as_if_undisturbed"
TABLE = f"""
journal: tracking/journal files
    tests/tracking/test_journal.py tests/test_files.py
    tests/training/test_checkpoint.py {CUT}
shipment: tracking/shipment tracking/thinning
    tests/tracking/test_courier.py tests/tracking/test_shipment.py
checkpoints: training/checkpointer training/checkpoint
    tests/training/test_checkpoint.py tests/training/test_due.py {CUT}
    tests/training/test_nonfinite.py -k not_saved
    {RESUMED}[24-mid_epoch] {RESUMED}[24-unsteady]
traced: training/traced training/layout
    tests/training/test_traced.py
    tests/training/test_fused.py -k sgd-digits-relu
order: training/batches training/timetable data/streams
    tests/data/test_order.py tests/training/test_batches.py tests/devices/test_shares.py
    {RESUMED}[24-mid_epoch]
trust: config/trust
    tests/config/test_trust.py
redact: redact
    tests/test_redact.py -k 'not megabytes'
verdict: compare/verdict direction
    tests/compare/test_verdicts.py
    tests/compare/test_compare_command.py -k verdict_comes_last
    tests/compare/test_faults_mended.py -k 'needed or constants or always or one_seed or all_the_same'
sweep: sweep/plan sweep/tiles sweep/ledger
    tests/sweep/test_tiles.py tests/sweep/test_ledger.py tests/sweep/test_plan.py -k 'not hydra_composes'
    tests/sweep/test_fused_sweep.py -k dry_run
identity: config/identity
    tests/test_configs.py -k 'flat or named or group_is'
    tests/test_configs.py -k hash
splits: data/splits data/dataset
    tests/data/test_splits.py tests/data/test_dataset.py
    tests/data/test_preprocess.py
"""


def areas_of(table: str) -> dict[str, Area]:
    """A line of modules, the name before it, and lines of tests below; a module's own examples come first."""
    found = {}
    for text in re.split(r"\n(?=\w)", table.strip()):
        head, *tests = text.splitlines()
        name, _, words = head.partition(": ")
        modules = tuple(f"src/primer/{word}.py" for word in words.split())
        found[name] = Area(modules, (" ".join(modules), *(line.strip() for line in tests)))
    return found


AREAS = areas_of(TABLE)


def _test(arguments: str, log: Path) -> None:
    """Run pytest in this process, and end it."""
    code = 3  # pytest's own failure
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        code = pytest.main([*OPTIONS, *shlex.split(arguments)])
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def tested(arguments: str, log: Path) -> int | None:
    """The exit code of a run of pytest, in a fork; None where it took too long."""
    child = os.fork()
    if child == 0:
        _test(arguments, log)
    deadline = time.monotonic() + ALL_S
    try:
        while time.monotonic() < deadline:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def caught_by(area: Area) -> str | None:
    """Which test fails; None where none does."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        for arguments in area.tests:
            code = tested(arguments, log)
            said = log.read_text(errors="replace")
            if code == 4 or (code == 5 and arguments.startswith("tests")):  # a module may have no examples
                sys.exit(f"pytest {arguments}: no such tests\n{said}")
            if code not in (0, 5):
                failed = re.search(r"^(?:FAILED|ERROR) (.{1,200})", said, re.MULTILINE)
                return failed[1] if failed else f"{arguments}: exit code {code}: {said[-2000:]}"
    return None


def check_ready(areas: dict[str, Area]) -> None:
    """What git knows can be restored by hand; tests that fail without a fault catch everything."""
    if subprocess.check_output(["git", "status", "--porcelain", "src"]):
        sys.exit("src has changes: commit them first")
    for name, area in areas.items():
        began = time.monotonic()
        failed = caught_by(area)
        if failed:
            sys.exit(f"{name}: fails without a fault: {failed}")
        print(
            f"{name}: {len(faults_in(area.modules))} places, {time.monotonic() - began:.0f} s of tests",
            flush=True,
        )


def read_results(path: Path) -> list[dict[str, Any]]:
    """What is known, the last word on each fault."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return list({(row["path"], row["start"], row["new"], row["old"]): row for row in rows}.values())


def told(row: dict[str, Any]) -> str:
    """A fault in a line."""
    old, new = (" ".join(row[name].split())[:150] for name in ("old", "new"))
    return f"{row['path']}:{row['line']}  {row['kind']}: {old}  ->  {new}"


def tell(rows: list[dict[str, Any]]) -> None:
    """The survivors, and the figures."""
    for row in rows:
        if not row["by"]:
            print(told(row))
    planted_in = Counter(row["area"] for row in rows)
    caught = Counter(row["area"] for row in rows if row["by"])
    for area, number in planted_in.items():
        print(f"{area}: {caught[area]} of {number} caught")
    print(f"all: {caught.total()} of {planted_in.total()} caught")


def main() -> int:
    """Plant, test, tell."""
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("areas", nargs="*", metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=20, help="faults an area (default: 20)")
    parser.add_argument("--results", type=Path, default=Path("outputs/mutate.jsonl"), help="it goes on there")
    parser.add_argument("--survivors", action="store_true", help="plant those again that were not caught")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(130))
    results = options.results.absolute()
    os.chdir(ROOT)
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    sys.dont_write_bytecode = True
    for name in HEAVY.split():
        importlib.import_module(name)
    areas = {name: AREAS[name] for name in options.areas or AREAS}
    check_ready(areas)
    results.parent.mkdir(parents=True, exist_ok=True)
    for name, area in areas.items():
        run(name, area, options, results)
    tell([row for row in read_results(results) if row["area"] in areas])
    return 0


def to_plant(
    area: Area, rows: list[dict[str, Any]], options: argparse.Namespace
) -> Iterator[tuple[dict[str, Any], Fault | None]]:
    """The faults not planted yet, or not caught: what is known of each, and it, where it is still there."""
    if options.survivors:
        yield from ((row, again(row)) for row in rows if not row["by"])
        return
    known = {(row["path"], row["start"], row["new"]) for row in rows}
    for fault in chosen(area.modules, options.each, options.seed):
        if (fault.path, fault.start, fault.new) not in known:
            yield asdict(fault), fault


def run(name: str, area: Area, options: argparse.Namespace, results: Path) -> None:
    """Plant one fault after the other, and write down who caught it."""
    rows = [row for row in read_results(results) if row["area"] == name]
    for row, fault in to_plant(area, rows, options):
        began = time.monotonic()
        by: str | None = "it is gone"
        if fault:
            with planted(fault):
                by = caught_by(area)
        row |= {"area": name, "by": by, "seconds": round(time.monotonic() - began, 1)}
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{row['seconds']:5.1f} s  {by or 'SURVIVED'}  {told(row)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
