"""A killed training goes on as if nothing had been: the same bits, no point missing, none doubled.

A sample of what `scripts/break resume` does at every step of every case.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import resuming
from resuming import CASES, FAULTS, begin, newest, nothing, points, prolong, put, unlike, work_in
from runs import Trained, primer

from primer.files import step_files
from primer.tracking.journal import read
from primer.training import checkpointer


@pytest.fixture(scope="module")
def conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resuming.conf_dir(tmp_path_factory.mktemp("conf"))


class Undisturbed:
    """The run of each case that nothing disturbs, trained when first asked for."""

    def __init__(self, root: Path, conf: Path) -> None:
        self.root, self.conf = root, conf

    def of(self, case: str) -> Path:
        folder = self.root / case
        if not folder.exists():
            begin(folder, *CASES[case], config_dir=self.conf)
            assert work_in(folder) == 0, (folder / "worker.log").read_text()
        return folder


@pytest.fixture(scope="module")
def undisturbed(conf: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"), conf)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("step", [24, 48])
def test_killed_and_resumed_is_as_if_undisturbed(
    case: str, step: int, tmp_path: Path, conf: Path, undisturbed: Undisturbed
) -> None:
    folder = begin(tmp_path / "run", *CASES[case], config_dir=conf)
    num_parts = 3 if case == "parts" else 1
    assert work_in(folder, kill_at=step * num_parts) == -9
    assert work_in(folder) == 0, (folder / "worker.log").read_text()
    assert unlike(folder, undisturbed.of(case)) == []
    begun = [record["step"] for record in read(folder) if record["kind"] == "start"]
    assert begun[0] == 0
    assert 0 < begun[1] < step  # it went on, from a checkpoint


def test_killed_before_the_first_checkpoint_begins_again(
    tmp_path: Path, conf: Path, undisturbed: Undisturbed
) -> None:
    folder = begin(tmp_path / "run", *CASES["dropout"], config_dir=conf)
    assert work_in(folder, kill_at=3) == -9
    assert work_in(folder) == 0
    assert unlike(folder, undisturbed.of("dropout")) == []


def test_killed_again_and_again(tmp_path: Path, conf: Path, undisturbed: Undisturbed) -> None:
    folder = begin(tmp_path / "run", *CASES["mid_epoch"], config_dir=conf)
    for _ in range(3):
        assert work_in(folder, kill_at=11) == -9
    assert work_in(folder) == 0
    assert unlike(folder, undisturbed.of("mid_epoch")) == []


@pytest.fixture(params=FAULTS)
def fault(request: pytest.FixtureRequest) -> Iterator[str]:
    case, places = FAULTS[request.param]
    with ExitStack() as planted:
        for owner, name in places:
            planted.enter_context(put(owner, name, nothing))
        yield case


def test_a_state_that_is_not_restored_is_seen(
    fault: str, tmp_path: Path, conf: Path, undisturbed: Undisturbed
) -> None:
    """The comparison above is worth something: it fails when anything is left out."""
    other = undisturbed.of(fault)
    folder = begin(tmp_path / "run", *CASES[fault], config_dir=conf)
    assert work_in(folder, kill_at=44) == -9
    assert work_in(folder) == 0, (folder / "worker.log").read_text()
    assert unlike(folder, other)


def test_a_longer_training_is_the_long_training(tmp_path: Path, conf: Path) -> None:
    """At an epoch's end: 60 of 7 steps an epoch would validate once more than an undisturbed run."""
    long = begin(tmp_path / "long", "net=dropout", "max_steps=84", config_dir=conf)
    assert work_in(long) == 0
    folder = begin(tmp_path / "run", "net=dropout", "max_steps=42", config_dir=conf)
    assert work_in(folder) == 0
    prolong(folder, "max_steps=84")
    assert work_in(folder) == 0, (folder / "worker.log").read_text()
    mine, theirs = points(folder), points(long)
    ends = ("final/", "best/", "test/")
    assert {key: mine[key] for key in theirs} == theirs
    assert all(key.startswith(ends) and step == 42 for key, step in mine if (key, step) not in theirs)
    assert list(resuming.differences(newest(folder)["state_dict"], newest(long)["state_dict"])) == []


def test_a_damaged_checkpoint_falls_back_and_says_so(
    tmp_path: Path, conf: Path, undisturbed: Undisturbed
) -> None:
    folder = begin(tmp_path / "run", *CASES["dropout"], config_dir=conf)
    assert work_in(folder, kill_at=24) == -9
    newest_file, before = step_files(folder / "checkpoints")
    content = bytearray(newest_file.read_bytes())
    content[len(content) // 2] ^= 1
    newest_file.write_bytes(content)
    assert work_in(folder) == 0
    (warning,) = [record["message"] for record in read(folder) if record["kind"] == "warning"]
    assert "damaged" in warning
    assert f"going on from {before.name}" in warning
    assert unlike(folder, undisturbed.of("dropout")) == []


def test_a_point_that_comes_out_otherwise_is_told(tmp_path: Path, conf: Path) -> None:
    folder = begin(tmp_path / "run", *CASES["dropout"], config_dir=conf)
    assert work_in(folder, kill_at=24) == -9
    with put(checkpointer, "set_random_state", nothing):
        assert work_in(folder) == 0
    warnings = [record["message"] for record in read(folder) if record["kind"] == "warning"]
    # steps 22 and 23 were recorded before the kill, unless its last 0.2 s were lost
    recorded = [step for key, step in points(folder) if key == "train/loss"]
    assert len(recorded) == resuming.NUM_STEPS
    assert all("before the run was resumed" in message for message in warnings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("finished"), "data=iris", "max_epochs=2", "tracking=off")


def test_what_is_finished_is_left_alone(finished: Trained) -> None:
    before = (finished.folder / "journal").read_bytes()
    done = primer("resume", "last", cwd=finished.cwd)
    assert done.returncode == 0
    assert "last is FINISHED" in done.stderr
    assert (finished.folder / "journal").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["last", "seed=1"], "seed 0 -> 1"),
        (["last", "net=sequential"], "net two_layer -> sequential"),
        (["last", "batch_size=64"], "batch_size 32 -> 64"),
        (["last", "data=wine"], "data iris -> wine"),
        (["last", "max_stepz=10"], "did you mean max_steps?"),
        (["last", "max_epochs=1"], "8 steps are done already"),
        (["elsewhere"], "no run folder"),
        (["."], "is no run folder"),
        (["0" * 32], "no run of that id"),
    ],
)
def test_what_would_change_the_past_is_refused(arguments: list[str], text: str, finished: Trained) -> None:
    done = primer("resume", *arguments, cwd=finished.cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert text in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    end = read(finished.folder)[-1]
    assert (end["kind"], end["status"]) == ("end", "FINISHED")  # it is what it was
