"""Nets of the user's own, from the folder that the command is given in: as one where that changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from runs import primer
from sweeping import sweep_folders

from primer.tracking.journal import points_of, read

OWN = """
import torch
from torch import nn


class State:
    num_calls = 0


class Annealed(nn.MSELoss):
    def __init__(self):
        super().__init__()
        self.state = State()

    def forward(self, prediction, target):
        self.state.num_calls += 1
        return super().forward(prediction, target) + 1e-9 * self.state.num_calls * prediction.square().mean()


class Own(nn.Module):
    def __init__(self, in_features, out_features, activation, kind):
        super().__init__()
        self.kind, self.activation = kind, activation
        self.a, self.b = nn.Linear(in_features, 9), nn.Linear(9, out_features)
        self.c, self.d = nn.Parameter(torch.zeros(9)), nn.Parameter(torch.zeros(9))
        if kind == "frozen":
            self.a.requires_grad_(False)
        if kind == "hooked":
            self.a.weight.register_hook(lambda gradient: gradient.clamp(-1.2, 1.2))
        self.limit = 1e3 + torch.rand(()).item() if kind == "drawn" else 1e9
        self.state = State()

    def forward(self, x):
        h = self.activation(self.a(x) + self.c + self.d).clamp(max=self.limit)
        if self.kind == "in_place":
            scale = torch.zeros(h.shape[-1])
            scale += 1.0
            h = h * scale
        if self.kind == "counted":
            self.state.num_calls += 1
            h = h * (1 + 1e-9 * self.state.num_calls)
        return self.b(h)
"""
SAID = {
    "shared": "2 runs train as one",  # the gradients of two weights are one tensor
    "frozen": "some weights of the net are frozen",
    "in_place": "the net changes tensors in place",
    "hooked": "the net has hooks on its gradients",
    "drawn": "they differ in more than weights: net.limit",
    "counted": "what they compute changes in training: net.state.num_calls",
}


@pytest.mark.parametrize("kind", list(SAID))
def test_an_own_net_is_what_it_is_alone(tmp_path: Path, kind: str) -> None:
    (tmp_path / "own_nets.py").write_text(OWN)
    (tmp_path / "conf" / "net").mkdir(parents=True)
    (tmp_path / "conf" / "net" / "own.yaml").write_text("_target_: own_nets.Own\nkind: shared\n")
    words = ("data=digits", "max_epochs=null", "max_steps=30", "val_every_n_steps=10", "tracking=off")
    common = (*words, "--config-dir", "conf", "net=own", f"net.kind={kind}", "gradient_clip_val=0.1")
    for fuse in ("auto", "off"):
        done = primer(
            "train",
            "-m",
            *common,
            "seed=0,1",
            f"hydra.launcher.fuse={fuse}",
            "hydra.launcher.workers=1",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert (SAID[kind] in done.stdout) == (fuse == "auto"), done.stdout
    one, other = sweep_folders(tmp_path)
    for number in ("0", "1"):
        mine, its = (points_of(read(folder / number)) for folder in (one, other))
        assert mine.keys() == its.keys()
        assert all(mine[key] == pytest.approx(its[key], rel=1e-5) for key in mine)
        fused = [r["num_fused"] for r in read(one / number) if r["kind"] == "start" and "num_fused" in r]
        assert fused == ([2] if kind == "shared" else [])


def test_a_plan_says_what_it_can_not_know(tmp_path: Path) -> None:
    (tmp_path / "own_nets.py").write_text(OWN)
    (tmp_path / "conf" / "net").mkdir(parents=True)
    (tmp_path / "conf" / "net" / "own.yaml").write_text("_target_: own_nets.Own\nkind: shared\n")
    (tmp_path / "conf" / "scheduler").mkdir()
    plateau = "_target_: torch.optim.lr_scheduler.ReduceLROnPlateau\n"
    (tmp_path / "conf" / "scheduler" / "plateau.yaml").write_text(plateau)

    def plan(*words: str) -> list[str]:
        done = primer("train", "-m", "--dry-run", "--config-dir", "conf", "seed=0,1", *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[1:]

    assert plan("net=own", "hydra.launcher.workers=1") == [
        "2 runs train as one",
        "if what net=own computes can be stacked, which is asked before they train",
    ]
    assert plan("hydra.launcher.fuse=off") == ["2 alone: hydra.launcher.fuse=off"]
    assert plan("hydra.launcher.max_fused=1") == ["2 alone: hydra.launcher.max_fused=1"]
    refused = primer("train", "--config-dir", "conf", "data=iris", "scheduler=plateau", cwd=tmp_path)
    assert (refused.returncode, refused.stderr) == (
        2,
        "primer: scheduler=plateau: waits for a metric; expected one that follows the steps\n",
    )


def test_a_job_that_goes_on_alone_says_that_it_rounds_otherwise(tmp_path: Path) -> None:
    common = (
        "train",
        "-m",
        "data=iris",
        "max_epochs=3",
        "seed=0,1",
        "tracking=off",
        "hydra.launcher.workers=1",
    )
    assert primer(*common, cwd=tmp_path).returncode == 0
    job = sweep_folders(tmp_path)[0] / "1"
    done = primer("resume", str(job), "max_epochs=4", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    begun = [record for record in read(job) if record["kind"] == "resume"]
    told = "as one with 1 others -> alone, which rounds otherwise"
    assert begun[-1]["tags"]["primer.drift.trained"] == told


def test_a_criterion_that_changes_itself_is_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "own_nets.py").write_text(OWN)
    (tmp_path / "conf" / "criterion").mkdir(parents=True)
    (tmp_path / "conf" / "criterion" / "annealed.yaml").write_text("_target_: own_nets.Annealed\n")
    words = ("data=diabetes", "criterion=annealed", "max_epochs=2", "seed=0,1", "hydra.launcher.workers=1")
    done = primer("train", "-m", "--config-dir", "conf", *words, "tracking=off", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"plan +alone: diabetes s0 and 1 more: .*: criterion\..*state.num_calls", done.stdout)
