"""Nets of the user's own, from the folder that the command is given in: as one where that changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from runs import primer
from sweeping import sweep_folders

from primer.tracking.journal import points_of, read

OWN = """
import torch
from torch import nn


class Own(nn.Module):
    def __init__(self, in_features, out_features, activation, kind):
        super().__init__()
        self.kind, self.activation = kind, activation
        self.a, self.b = nn.Linear(in_features, 9), nn.Linear(9, out_features)
        self.c, self.d = nn.Parameter(torch.zeros(9)), nn.Parameter(torch.zeros(9))
        if kind == "frozen":
            self.a.requires_grad_(False)

    def forward(self, x):
        h = self.activation(self.a(x) + self.c + self.d)
        if self.kind == "in_place":
            scale = torch.zeros(h.shape[-1])
            scale += 1.0
            h = h * scale
        return self.b(h)
"""
SAID = {
    "shared": "2 runs train as one",  # the gradients of two weights are one tensor
    "frozen": "some weights of the net are frozen",
    "in_place": "the net changes tensors in place",
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
