"""Wrong questions about devices: a line that says what was found and expected, exit code 2, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from forked_ranks import ENV
from runs import primer

from primer.config import build, compose
from primer.errors import ConfigError
from primer.parts import make_module
from primer.training.replicas import Replicas

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
# what is asked, what the line says; the last one is told by the worker, which has to build the parts
CASES: list[tuple[tuple[str, ...], str]] = [
    (
        ("accelerator=cpu", "devices=2"),
        "accelerator.devices=2: accelerator=cpu is one device; expected 1, or accelerator=ddp_cpu",
    ),
    (("accelerator=gpu",), "accelerator=gpu: no CUDA device is visible; expected one, or accelerator=cpu"),
    (("accelerator=mps",), "accelerator=mps: expected a Mac with Apple silicon; found linux"),
    (
        ("accelerator=ddp",),
        "accelerator=ddp: no CUDA device is visible; expected one, or accelerator=ddp_cpu",
    ),
    (
        ("accelerator=ddp_cpu", "num_nodes=2"),
        "accelerator.num_nodes=2: expected srun or torchrun to start the processes",
    ),
    (("accelerator=ddp_cpu", "devices=0"), "accelerator.devices=0: expected a whole number, at least 1"),
    (
        ("--debug", "accelerator=ddp_cpu"),
        "--debug: trains in one process; accelerator=ddp_cpu takes several",
    ),
    (
        ("accelerator=ddp_cpu", "net=normed"),
        "accelerator=ddp_cpu: net.0 is a batch norm, which would see the rows of one process alone",
    ),
]


def with_own_parts(cwd: Path) -> Path:
    """A folder of options with `net=normed` and `criterion=weighted`."""
    for option, target in (("net/normed", "hurt_net.NormedNet"), ("criterion/weighted", "hurt_net.weighted")):
        path = cwd / "conf" / f"{option}.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(yaml.safe_dump({"_target_": target}))
    return cwd / "conf"


@pytest.mark.parametrize(("asked", "line"), CASES, ids=[" ".join(asked) for asked, _ in CASES])
def test_a_wrong_question_is_one_line(tmp_path: Path, asked: tuple[str, ...], line: str) -> None:
    own = ("--config-dir", str(with_own_parts(tmp_path)), "tracking=off") if "net=normed" in asked else ()
    done = primer("train", "data=iris", *own, *asked, cwd=tmp_path, env=ENV | NO_GPU)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    (told,) = done.stderr.splitlines()
    assert told.startswith(f"primer: {line}")
    assert not (tmp_path / "outputs").exists()


def test_a_weight_that_is_one_number_is_not_shared_out() -> None:
    config = compose(["data=iris", "accelerator=fsdp_cpu", "devices=2"])
    data = build(config["data"], "data")
    config["net"] = {"_target_": "hurt_net.ScaledNet"}
    with pytest.raises(ConfigError, match=r"accelerator=fsdp_cpu: net\.scale is a single number"):
        make_module(config, data, 1, Replicas(0, 2, is_sharded=True))


def test_class_weights_can_not_be_shared_out(tmp_path: Path) -> None:
    """Of which each rank would know its own rows' alone."""
    config = compose(["data=iris", "criterion=weighted"], config_dir=with_own_parts(tmp_path))
    data = build(config["data"], "data")
    assert make_module(config, data, 1).criterion.can_be_cut is False
    with pytest.raises(ConfigError, match="criterion=weighted is no plain sum or mean"):
        make_module(config, data, 1, Replicas(0, 2))
