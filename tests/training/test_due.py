"""When a run is saved, and which checkpoints are kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from resuming import begin
from runs import Worked
from torch import Tensor, nn

from primer import worker
from primer.errors import Stopped
from primer.stopping import StopSignal
from primer.tracking.journal import points_of, read
from primer.training.checkpoint import Checkpoints
from primer.training.checkpointer import Due, position_of
from primer.training.timetable import Timetable


class Signalled(nn.Module):
    """A net that has its process asked to stop in its fifth training forward."""

    def __init__(self, in_features: int, out_features: int, activation: nn.Module) -> None:
        super().__init__()
        self.linear, self.calls = nn.Linear(in_features, out_features), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        if self.training and self.calls == 5:
            os.kill(os.getpid(), signal.SIGUSR1)
        out: Tensor = self.linear(x)
        return out


@pytest.fixture
def stop() -> Iterator[StopSignal]:
    with StopSignal() as stop:
        stop.defer()
        yield stop


@pytest.mark.parametrize(("every", "expected"), [(5, [5, 10, 12]), (12, [12]), (None, [12])])
def test_after_every_n_steps_and_the_last(stop: StopSignal, every: int | None, expected: list[int]) -> None:
    due = Due(12, stop, every_n_steps=every, every_n_minutes=None)
    assert [step for step in range(1, 13) if due.after(step)] == expected


def test_after_some_minutes(stop: StopSignal) -> None:
    late, early = (Due(9, stop, every_n_steps=None, every_n_minutes=minutes) for minutes in (0.0, 1e6))
    assert late.after(1)
    assert not early.after(1)
    soon = Due(9, stop, every_n_steps=None, every_n_minutes=0.002)
    while not soon.after(1):
        pass
    soon.done()
    assert not soon.after(1)


def test_a_signal_is_obeyed_after_it_was_saved(stop: StopSignal) -> None:
    due = Due(9, stop, every_n_steps=None, every_n_minutes=None)
    due.obey()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert due.after(1)
    with pytest.raises(Stopped) as caught:
        due.obey()
    assert caught.value.args == Stopped(signal.SIGUSR1).args


def test_a_signal_within_a_step_costs_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "conf" / "net").mkdir(parents=True)
    (tmp_path / "conf" / "net" / "signalled.yaml").write_text(f"_target_: {__name__}.Signalled\n")
    options = ("net=signalled", "checkpoint_every_n_steps=null")
    folder = begin(tmp_path / "run", *options, config_dir=tmp_path / "conf")
    assert worker.main(folder / "config.yaml") == 128 + signal.SIGUSR1
    assert [record["step"] for record in read(folder) if record["kind"] == "checkpoint"] == [5]
    assert max(step for key, step in points_of(read(folder)) if key == "train/loss") == 5


def test_what_a_checkpoint_says_of_its_place() -> None:
    timetable = Timetable(num_rows=20, batch_size=8, num_steps=9)
    for step, is_over, is_early in ((5, False, False), (5, True, True), (9, True, False)):
        found = position_of(timetable, step, is_over=is_over, states=[])
        own = {"num_steps": 9, "stopped_early": is_early, "random_states": []}
        assert found == {"epoch": step // 3, "global_step": step, "primer": own}


@pytest.mark.parametrize("more", [(), ("patience=1", "optimizer=sgd", "optimizer.lr=1e-9")])
def test_the_journal_names_each_checkpoint_and_two_are_kept(tmp_path: Path, more: tuple[str, ...]) -> None:
    quick = ("data=iris", "batch_size=30", "max_epochs=4", "checkpoint_every_n_steps=3")
    folder = Worked(tmp_path / "run", *quick, *more).folder
    kept = [(record["step"], record["file"]) for record in read(folder) if record["kind"] == "checkpoint"]
    last = 16 if not more else kept[-1][0]
    steps = [*range(3, last, 3), last]
    assert kept == [(step, f"step-{step}.ckpt") for step in steps]
    files = {path.name for path in (folder / "checkpoints").glob("step-*.ckpt")}
    assert files == {f"step-{step}.ckpt" for step in steps[-2:]}
    state, path, damaged = Checkpoints(folder / "checkpoints").newest_whole(at_most=last - 1)
    assert state
    assert path
    assert (path.name, state["global_step"], damaged) == (f"step-{steps[-2]}.ckpt", steps[-2], {})
    newest, _, _ = Checkpoints(folder / "checkpoints").newest_whole()
    assert newest
    assert newest["primer"]["stopped_early"] == bool(more)
    assert "loops" not in newest
    path.write_bytes(b"")
    _, path, damaged = Checkpoints(folder / "checkpoints").newest_whole(at_most=last - 1)
    assert path is None
    assert [path.name for path in damaged] == [f"step-{steps[-2]}.ckpt"]
