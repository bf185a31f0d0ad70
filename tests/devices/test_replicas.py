"""What ranks sum and agree on, by gloo: gradients, losses, wishes, metrics; each as one device has it."""

from __future__ import annotations

import warnings
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from forked_ranks import in_group
from torch import nn

from primer.data import Split
from primer.training.batches import Whole
from primer.training.criteria import Criterion
from primer.training.evaluation import Evaluation, TargetScale
from primer.training.replicas import Replicas

NUM_STARTED, SIZE = 3, 4
KINDS = (torch.float32, torch.float64, torch.bfloat16)
WHO = ("all", "last", "none")  # of the ranks have a gradient of a weight


def take_steps(rank: int, size: int) -> dict[str, Any]:
    """Steps of weights that not all ranks have a gradient of; what this rank has then."""
    replicas = Replicas(rank, size)
    wishes = iter([(rank == 1, False), (False, rank == 2), (False, False)])
    replicas.wish = lambda: next(wishes)
    weights = {(kind, who): nn.Parameter(torch.zeros(2, 3, dtype=kind)) for kind in KINDS for who in WHO}
    agreed, losses = [replicas.agreed()], []
    for step in (1, 2, 3):
        for (_, who), weight in weights.items():
            is_there = who == "all" or (who == "last" and rank == size - 1)
            weight.grad = torch.full_like(weight, step * 2.0**rank) if is_there else None
        losses.append(replicas.sum_step(list(weights.values()), torch.tensor(step + 2.0**rank)))
        agreed.append(replicas.agreed())
    gradients = {key: weight.grad for key, weight in weights.items()}
    buffers = [torch.full((2,), rank), torch.tensor(rank + 0.5)]
    replicas.share_buffers(buffers)
    return {"agreed": agreed, "losses": losses, "gradients": gradients, "buffers": buffers}


@pytest.fixture(scope="module")
def steps() -> list[dict[str, Any]]:
    """What each rank has after the steps; started anew, so that none has the others' addresses in memory."""
    return in_group(NUM_STARTED, take_steps, context=get_context("spawn"))


def test_gradients_are_sums_whoever_has_one(steps: list[dict[str, Any]]) -> None:
    """In the type of the weight; one that nobody has a gradient of is left without, as on one device."""
    sums = {"all": 3 * (1.0 + 2 + 4), "last": 3 * 4.0}
    for found in steps:
        for (kind, who), gradient in found["gradients"].items():
            if who == "none":
                assert gradient is None
            else:
                assert torch.equal(gradient, torch.full((2, 3), sums[who], dtype=kind)), (kind, who)


def test_the_loss_is_the_sum_on_every_rank(steps: list[dict[str, Any]]) -> None:
    for found in steps:
        assert [float(loss) for loss in found["losses"]] == [3 * step + 7 for step in (1, 2, 3)]
        assert {loss.dtype for loss in found["losses"]} == {torch.float32}
        assert {loss.shape for loss in found["losses"]} == {()}


def test_what_one_wishes_all_do_after_the_step(steps: list[dict[str, Any]]) -> None:
    """Stop, which rank 1 wished for in the first step, then save, which rank 2 did in the second."""
    assert [found["agreed"] for found in steps] == [
        [(False, False), (True, False), (False, True), (False, False)]
    ] * NUM_STARTED


def test_buffers_are_those_of_the_first(steps: list[dict[str, Any]]) -> None:
    assert [[buffer.tolist() for buffer in found["buffers"]] for found in steps] == [
        [[0, 0], 0.5]
    ] * NUM_STARTED


def answers(task: str, num_rows: int) -> tuple[Split, TargetScale]:
    """Rows that a net has answered: the columns of x are its prediction."""
    random = torch.Generator().manual_seed(num_rows)
    out_features = 5 if task == "classification" else 2
    x = torch.randn(num_rows, out_features, generator=random, dtype=torch.float64)
    if task == "classification":
        y = torch.randint(out_features - 1, (num_rows,), generator=random)  # of one class there is no row
    else:
        y = x + torch.randn(num_rows, out_features, generator=random, dtype=torch.float64)
    scale = torch.tensor([3.0, 1e4], dtype=torch.float64)
    return Split(x.numpy(), y.numpy()), TargetScale(task, torch.tensor([1e5, -7.0]), scale, out_features)


def evaluate(rank: int, size: int, task: str, num_rows: int) -> tuple[dict[str, float], int]:
    """Evaluate a rank's share, after another evaluation, of which nothing may be left; a warning raises."""
    warnings.simplefilter("error")
    replicas = Replicas(rank, size)
    split, scale = answers(task, num_rows)
    evaluation = Evaluation(scale, replicas)
    criterion = Criterion(nn.CrossEntropyLoss() if task == "classification" else nn.MSELoss())
    for rows in (min(7, num_rows), num_rows):
        for x, y, num in Whole(Split(split.x[:rows], split.y[:rows]), replicas=replicas):
            if len(x):
                evaluation.take(x, y, criterion(x, y, num))
        found = evaluation.end()
    return found


@pytest.mark.parametrize("num_rows", [359, 3])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_metrics_over_ranks_are_those_of_one(task: str, num_rows: int) -> None:
    """Of shares that are not all of one size, and where a rank has no row at all."""
    alone, num_alone = evaluate(0, 1, task, num_rows)
    names = {"classification": {"accuracy", "f1"}, "regression": {"mae", "rmse", "r2"}}[task]
    assert alone.keys() == {"loss", *names}
    for found, num in in_group(SIZE, evaluate, task, num_rows):
        assert num == num_alone == num_rows
        assert found == pytest.approx(alone, rel=1e-12)
        if task == "classification":
            assert {name: found[name] for name in names} == {name: alone[name] for name in names}
