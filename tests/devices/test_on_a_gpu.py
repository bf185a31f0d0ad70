"""What needs a GPU: the same training as on the CPU, the same bits twice, each strategy and precision."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from forked_ranks import check_same_curves, check_same_weights
from runs import Trained, primer, run_folders

from primer.gpus import visible_gpus
from primer.tracking.journal import points_of, read

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not visible_gpus(), reason="no GPU")]
QUICK = ("tracking=off", "batch_size=50", "max_epochs=null", "max_steps=40", "checkpoint_every_n_steps=10")
OF_ONE = """
import sys, torch
from torch import distributed, nn
from primer.training.replicas import Replicas
distributed.init_process_group("nccl", f"file://{sys.argv[1]}", rank=0, world_size=1)
ranks = Replicas(0, 1)
ranks.size = 2  # so that it asks the group, which has one
weights = [nn.Parameter(torch.ones(3, device="cuda")), nn.Parameter(torch.ones(2, device="cuda"))]
weights[0].grad = torch.full((3,), 2.0, device="cuda")
ranks.wish = lambda: (False, True)
assert ranks.agreed() == (False, False)
loss = ranks.sum_step(weights, torch.tensor(4.0, device="cuda"))
assert float(loss) == 4 and weights[0].grad.tolist() == [2, 2, 2] and weights[1].grad is None
assert ranks.agreed() == (False, True)
assert ranks.total(torch.tensor([1, 2])).tolist() == [1, 2]
ranks.share_buffers([torch.ones(2, device="cuda")])
ranks.wait()
print("sound")
"""


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("cpu"), *QUICK, "accelerator=cpu", "precision=64")


def curves(run: Trained) -> dict[tuple[str, int], float]:
    return points_of(read(run.folder))


@pytest.mark.parametrize("option", ["gpu", "ddp", "fsdp"])
def test_a_gpu_trains_as_the_cpu_does(option: str, on_cpu: Trained, tmp_path: Path) -> None:
    devices = () if option == "gpu" else ("devices=1",)
    run = Trained(tmp_path, *QUICK, f"accelerator={option}", "precision=64", *devices)
    check_same_curves(curves(run), curves(on_cpu), within=1e-10)
    check_same_weights(run.weights(), on_cpu.weights(), within=1e-9)
    (start,) = [record for record in read(run.folder) if record["kind"] == "start"]
    assert start["device"] == "cuda:0"


@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
def test_the_same_bits_twice_and_after_a_stop(precision: str, tmp_path: Path) -> None:
    asked = (*QUICK, "accelerator=gpu", f"precision={precision}")
    one, other = Trained(tmp_path, *asked), Trained(tmp_path, *asked)
    assert curves(one) == curves(other)
    assert all(torch.equal(weight, other.weights()[name]) for name, weight in one.weights().items())
    short = Trained(tmp_path, *asked, "max_steps=20")
    done = primer("resume", str(short.folder), "max_steps=40", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    losses = {key: value for key, value in curves(short).items() if key[0] == "train/loss"}
    assert losses == {key: value for key, value in curves(one).items() if key[0] == "train/loss"}
    assert all(math.isfinite(value) for value in losses.values())


def test_nccl_sums_what_ranks_exchange(tmp_path: Path) -> None:
    """In a group of one: NCCL takes no two ranks on one GPU."""
    command = [sys.executable, "-c", OF_ONE, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.stdout == "sound\n", done.stderr


def test_more_gpus_than_there_are_is_a_wrong_question(tmp_path: Path) -> None:
    num = len(visible_gpus()) + 1
    done = primer("train", "accelerator=ddp", f"devices={num}", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"primer: accelerator.devices={num}: found {num - 1} visible CUDA device")
    assert run_folders(tmp_path) == []


@pytest.mark.skipif(len(visible_gpus()) < 2, reason="one GPU")
@pytest.mark.parametrize("option", ["ddp", "fsdp"])
def test_several_gpus_train_as_the_cpu_does(option: str, on_cpu: Trained, tmp_path: Path) -> None:
    run = Trained(tmp_path, *QUICK, f"accelerator={option}", "devices=2", "precision=64")
    check_same_curves(curves(run), curves(on_cpu), within=1e-10)
    check_same_weights(run.weights(), on_cpu.weights(), within=1e-9)


def test_runs_of_one_shape_train_as_one_on_a_gpu(tmp_path: Path) -> None:
    words = ("data=iris", "max_epochs=null", "max_steps=20", "precision=64", "tracking=off")
    done = primer("train", "-m", *words, "accelerator=gpu", "seed=range(4)", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train as one" in done.stdout
    environment = {"CUDA_VISIBLE_DEVICES": ""} | {"PATH": os.environ["PATH"]}
    alone = primer("train", *words, "accelerator=cpu", "seed=2", cwd=tmp_path, env=environment)
    assert alone.returncode == 0, alone.stderr
    runs = [
        points_of(read(path.parent))
        for path in sorted(tmp_path.rglob("config.yaml"))
        if "seed: 2\n" in path.read_text() and (path.parent / "journal").exists()
    ]
    assert len(runs) == 2
    check_same_curves(runs[0], runs[1], within=1e-9)
