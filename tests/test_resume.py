"""A killed training goes on as if nothing had been: the same bits, no point missing, none doubled.

A sample of what `scripts/break resume` does at every step of every case.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import resuming
from resuming import CASES, FAULTS, begin, newest, points, prolong, unlike, work_in
from runs import Trained, primer

import primer as primer_api
from primer.errors import UsageError
from primer.files import step_files
from primer.tracking.journal import read


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
@pytest.mark.parametrize("step", [24])
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


@pytest.mark.parametrize("fault", FAULTS)
def test_a_state_that_is_not_restored_is_seen(
    fault: str, tmp_path: Path, conf: Path, undisturbed: Undisturbed
) -> None:
    """The comparison above is worth something: it fails when anything is left out."""
    case, *_ = FAULTS[fault]
    other = undisturbed.of(case)
    folder = begin(tmp_path / "run", *CASES[case], config_dir=conf)
    assert work_in(folder, kill_at=44) == -9
    assert work_in(folder, fault=fault) == 0, (folder / "worker.log").read_text()
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
    assert work_in(folder, fault="generators") == 0
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
    ("run", "override", "text"),
    [
        ("last", "seed=1", "seed 0 -> 1"),
        ("last", "net=sequential", "net two_layer -> sequential"),
        ("last", "batch_size=64", "batch_size 32 -> 64"),
        ("last", "data=wine", "data iris -> wine"),
        ("last", "max_stepz=10", "did you mean max_steps?"),
        ("last", "max_epochs=1", "8 steps are done already"),
        ("elsewhere", "max_epochs=9", "no run folder"),
        (".", "max_epochs=9", "is no run folder"),
        ("0" * 32, "max_epochs=9", "no run of that id"),
    ],
)
def test_what_would_change_the_past_is_refused(
    run: str, override: str, text: str, finished: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.cwd)
    with pytest.raises(UsageError, match=re.escape(text)) as caught:
        primer_api.resume(run, override)
    assert "\n" not in str(caught.value)
    end = read(finished.folder)[-1]
    assert (end["kind"], end["status"]) == ("end", "FINISHED")  # it is what it was


def test_a_copy_and_another_place_and_an_empty_journal_are_refused(
    finished: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.cwd)
    copy = finished.folder.with_name("a-copy")
    shutil.copytree(finished.folder, copy)
    try:
        with pytest.raises(UsageError, match="is a copy of"):
            primer_api.resume(str(copy), "max_epochs=9")
        (copy / "journal").write_bytes(b"")
        with pytest.raises(UsageError, match="nothing was begun there"):
            primer_api.resume(str(copy), "max_epochs=9")
    finally:
        shutil.rmtree(copy)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="was begun in"):
        primer_api.resume(str(finished.folder), "max_epochs=9")


@pytest.fixture(scope="module")
def table_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("table")
    (root / "rows.csv").write_text("a,y\n" + "".join(f"{x},{x % 7 + 0.5}\n" for x in range(60)))
    return Trained(root, "data=table", "data.path=rows.csv", "data.target=y", "max_steps=5", "tracking=off")


def test_longer_forked_and_reproduced(table_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(table_run.cwd)
    facts = table_run.folder / "environment.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"python": "3.0"}))
    longer = primer_api.resume("last", "max_steps=9")
    warnings = [record["message"] for record in read(longer.folder) if record["kind"] == "warning"]
    assert [text for text in warnings if text.startswith("python changed since the run began: 3.0 -> 3.")]
    assert json.loads(facts.read_text())["python"] != "3.0"  # what it goes on with is written down
    assert longer.status == "FINISHED"
    assert longer.name.endswith("max_steps=9 s0")
    again = primer_api.reproduce("last")
    assert again.verdict == "bitwise equal"  # though the first end left points that no other run has
    with pytest.raises(UsageError, match="9 steps are done already"):
        primer_api.resume(str(longer.folder), "max_steps=7")
    forked = primer_api.resume(str(longer.folder), "optimizer.lr=0.5", "max_steps=12", fork=True)
    assert forked.folder != longer.folder
    told = read(forked.folder)[0]["tags"]["primer.command"]
    assert told == f"primer resume {longer.folder} optimizer.lr=0.5 max_steps=12 --fork"
    curve = forked.curves().query("key == 'train/loss'")
    assert curve["step"].tolist() == [10, 11, 12]
    assert primer_api.reproduce(str(forked.folder)).verdict == "bitwise equal"
    (table_run.cwd / "rows.csv").write_text("a,y\n" + "".join(f"{x},{x % 5 + 0.5}\n" for x in range(60)))
    with pytest.raises(UsageError, match=r"rows.csv: is not what the run began with"):
        primer_api.resume(str(longer.folder), "max_steps=15")


def test_a_resumed_run_keeps_its_number_of_threads(tmp_path: Path) -> None:
    folder = begin(tmp_path / "run", "net=two_layer", "max_steps=12", "accelerator.num_threads=2")
    assert work_in(folder) == 0
    prolong(folder, "max_steps=20", "accelerator.num_threads=null")
    assert work_in(folder) == 0, (folder / "worker.log").read_text()
    assert [r["num_threads"] for r in read(folder) if r["kind"] == "start"] == [2, 2]
