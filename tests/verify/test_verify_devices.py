"""`primer verify devices`: the same training on several numbers of devices, or what differs first."""

from __future__ import annotations

import math
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import primer

from primer.data import Split
from primer.errors import RunError
from primer.training.batches import Batches
from primer.training.replicas import Replicas
from primer.verify.devices import verify_devices
from primer.verify.devices_compared import DevicesVerification, OnDevices, Tolerance, Training, compared
from primer.verify.show import show_devices

NET = """
import os
import torch
class Own(torch.nn.Linear):
    def __init__(self, in_features, out_features, activation, fails):
        super().__init__(in_features, out_features)
        self.fails, self.num_calls = fails, 0
    def forward(self, x):
        self.num_calls += self.training
        if self.fails and self.training:
            raise ArithmeticError("not in training")
        is_other = self.num_calls > 3 and os.environ.get("LOCAL_RANK") == "1"
        return super().forward(x) * (1.1 if is_other else 1)
"""


def training(
    *,
    losses: tuple[float, ...] = (0.5, 0.25),
    samples: tuple[tuple[int, ...], ...] = ((0, 1), (2,)),
    weight: float = 2.0,
) -> Training:
    rows = [list(step) for step in samples]
    points = {("train/loss", step): loss for step, loss in enumerate(losses, start=1)}
    return Training(points, rows, {"net.a": torch.tensor([weight, 1e-9]), "net.n": torch.tensor(3)})


SAME, FLOAT32 = training(), Tolerance(1e-5, 1e-5)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to ask in, with an empty folder for temporary files beside it."""
    for name in ("here", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "here"


def left_in(folder: Path) -> list[str]:
    """What is there that was not before: in the folder, and among the temporary files."""
    own = [path.name for path in folder.iterdir() if path.name not in ("conf", "own.py", "__pycache__")]
    return own + [path.name for path in (folder.parent / "temporary").glob("primer-*")]


def test_a_training_is_the_same_on_one_and_two_devices(folder: Path) -> None:
    # keys of tracking, and of devices and length, are what a person's own command has; 7 leaves a short batch
    asked = ("data=iris", "batch_size=7", "tracking.experiment=mine", "max_epochs=1", "log_every_n_steps=9")
    done = primer("verify", "devices", *asked, "precision=64", "--devices", "1,2", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "training on 1 device (accelerator=cpu)",
        "training on 2 devices (accelerator=ddp_cpu)",
    ]
    # 104 rows are 15 batches, the last of 6; 20 steps are 139 rows of two epochs
    assert lines[3].split() == ["1", "139", "in", "20", "steps"]
    assert re.search(r"2  139 in 20 steps, same +\S+ +\S+ +same", lines[4])
    assert lines[-1] == "the same on 1 and 2 devices"
    assert left_in(folder) == []


def own_net(folder: Path, *, fails: str) -> tuple[str, ...]:
    """What asks for a net of one's own in the folder."""
    (folder / "own.py").write_text(NET)
    (folder / "conf" / "net").mkdir(parents=True)
    (folder / "conf" / "net" / "own.yaml").write_text(f"_target_: own.Own\nfails: {fails}\n")
    return "net=own", "data=iris"


def test_a_net_that_knows_its_rank_is_different_from_its_first_step_on(folder: Path) -> None:
    asked = (*own_net(folder, fails="false"), "--config-dir", "conf", "--devices", "1,2", "--steps", "6")
    done = primer("verify", "devices", *asked, cwd=folder)
    assert done.returncode == 1, done.stdout + done.stderr
    *_, row, _, verdict = done.stdout.splitlines()
    assert "in 6 steps, same" in row
    assert row.split()[-1] == "different"
    first = r"first at step 4: train/loss is \S+ on 1 device, \S+ on 2"
    assert re.fullmatch(f"different on 2 devices: {first}", verdict)
    assert left_in(folder) == []


def test_a_training_that_fails_on_the_first_number_of_devices_says_why(folder: Path) -> None:
    with pytest.raises(RunError, match="on 1 device: FAILED: ArithmeticError: not in training"):
        verify_devices(*own_net(folder, fails="true"), config_dir="conf")
    assert left_in(folder) == []


def test_one_that_fails_on_another_number_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    trainings: dict[int, Training | str] = {
        1: SAME,
        2: "FAILED: no memory [rank 1]",
        4: SAME,
        8: "FAILED: too",
    }
    found = DevicesVerification(compared(trainings, FLOAT32), "cpu", "32", FLOAT32)
    show_devices(found)
    assert found.exit_code == 1
    _, _, on_two, on_four, _, _, *told = capsys.readouterr().out.splitlines()
    assert on_two.split() == ["2", "failed"]
    assert on_four.split() == ["4", "3", "in", "2", "steps,", "same", "0", "0", "same"]
    assert told == [
        "on 8 devices: FAILED: too",
        "different on 2 and 8 devices: FAILED: no memory [rank 1]",
    ]


def test_ctrl_c_ends_it_and_leaves_nothing(folder: Path) -> None:
    command = [sys.executable, "-m", "primer", "verify", "devices", "data=iris", "--steps", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        is_training = False
        while not is_training and process.poll() is None:
            time.sleep(0.05)
            journals = folder.parent.glob("temporary/*/runs/*/*/journal")
            is_training = any(b'"kind":"points"' in journal.read_bytes() for journal in journals)
        process.send_signal(signal.SIGINT)
        assert process.stdout
        assert process.stdout.read() == "training on 1 device (accelerator=cpu)\n"
        assert process.wait() == 130
    assert left_in(folder) == []


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ("--devices 0,1", "devices=0,1: expected at least two different numbers"),
        ("--devices 1", "devices=1: expected at least two different numbers"),
        ("--devices 2,2", "devices=2,2: expected at least two different numbers"),
        ("--devices 1,x", "--devices 1,x: expected numbers, such as 1,2,4"),
        ("--steps 0", "--steps"),
        ("optimizer.lrr=1", "optimizer.lrr: no such key of optimizer=adam; did you mean optimizer.lr?"),
        ("accelerator=ddp --devices 1,2", "accelerator.devices=2: found 1 visible CUDA device"),
    ],
)
def test_a_wrong_question_is_one_line(asked: str, complaint: str, folder: Path) -> None:
    done = primer("verify", "devices", *asked.split(), cwd=folder, env={"CUDA_VISIBLE_DEVICES": "0"})
    assert done.returncode == 2, done.stdout + done.stderr
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == "", "nothing was trained"
    assert left_in(folder) == []


def test_from_python_a_wrong_question_is_an_error_of_values(folder: Path) -> None:
    with pytest.raises(ValueError, match="devices=: expected at least two different numbers"):
        verify_devices("data=iris", devices=())
    assert left_in(folder) == []


@pytest.mark.parametrize(
    ("other", "first"),
    [
        (SAME, None),
        (training(losses=(0.5 + 1e-9, 0.25)), None),
        (training(weight=2.0 + 1e-5), None),
        (training(losses=(0.5, 0.26)), "first at step 2: train/loss is 0.25 on 1 device, 0.26 on 2"),
        (training(losses=(0.5,)), "first at step 2: train/loss is 0.25 on 1 device, nan on 2"),
        (training(losses=(0.5, math.inf)), "first at step 2: train/loss is 0.25 on 1 device, inf on 2"),
        (training(samples=((1, 0), (2,))), "first at step 1: other samples"),
        (training(samples=((0, 1), (2, 2))), "first at step 2: other samples"),
        (training(samples=((0, 1),)), "first at step 2: other samples"),
        (training(losses=(0.6, 0.25), samples=((0, 1), (3,))), "first at step 1: train/loss is 0.5 on "),
        (training(weight=2.1), "in the final weights and buffers, most in net.a"),
        (training(weight=math.nan), "in the final weights and buffers, most in net.a"),
        (Training(SAME.losses, SAME.samples, {}), "in the final weights and buffers, most in net.a"),
        ("FAILED: no memory", "FAILED: no memory"),
    ],
)
def test_what_differs_first_is_told(other: Training | str, first: str | None) -> None:
    reference, found = compared({1: SAME, 2: other}, FLOAT32)
    assert reference == OnDevices(1, 2, 3, True, 0.0, 0.0)
    assert (found.verdict == "same") == (first is None) == (found.first is None)
    assert (found.first or "").startswith(first or "")


def test_rows_that_are_there_twice_on_the_first_number_of_devices_differ_too() -> None:
    twice = training(samples=((0, 0), (2,)))
    assert [found.verdict for found in compared({1: twice, 2: twice}, FLOAT32)] == ["different", "different"]


def note(steps: list[list[int]], parts: list[torch.Tensor]) -> None:
    steps.append([row for part in parts for row in part.tolist()])


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
@pytest.mark.parametrize(
    ("num_rows", "batch_size", "num_parts"), [(10, 4, 1), (10, 4, 2), (6, 6, 1), (3, 1, 1)]
)
def test_rows_are_noted_as_they_are_handed_over(
    num_ranks: int, num_rows: int, batch_size: int, num_parts: int
) -> None:
    values = np.arange(num_rows, dtype=np.float32)[:, None]
    noted: list[list[list[int]]] = []
    for rank in range(num_ranks):
        batches = Batches(
            Split(values, values),
            batch_size=batch_size,
            num_parts=num_parts,
            seed=0,
            replicas=Replicas(rank, num_ranks),
        )
        steps: list[list[int]] = []
        batches.on_batch = partial(note, steps)
        handed = [[float(value) for x, _, _ in batch for value in x] for batch in batches.epoch(0)]
        assert steps == handed
        noted.append(steps)
    alone = [rows.tolist() for rows in Batches(Split(values, values), batch_size=batch_size, seed=0).rows(0)]
    assert [[row for rows in step for row in rows] for step in zip(*noted, strict=True)] == alone
