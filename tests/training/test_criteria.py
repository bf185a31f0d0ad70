"""A criterion in parts gives what torch's gives on the whole batch, for any cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from primer.errors import ConfigError
from primer.training.criteria import Criterion, auto

NUMBERS = [nn.MSELoss(), nn.MSELoss(reduction="sum"), nn.HuberLoss(delta=0.5), nn.L1Loss()]


def in_parts(
    loss: nn.Module, prediction: torch.Tensor, target: torch.Tensor, cuts: list[int]
) -> torch.Tensor:
    criterion = Criterion(loss)
    parts = zip(prediction.split(cuts), target.split(cuts), strict=True)
    return torch.stack([criterion(p, t, num_rows=len(target)) for p, t in parts]).sum()


@pytest.mark.parametrize("loss", NUMBERS, ids=repr)
@pytest.mark.parametrize("cuts", [[7], [4, 3], [1, 1, 5]])
def test_numbers(loss: nn.Module, cuts: list[int]) -> None:
    prediction, target = torch.randn(2, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(in_parts(loss, prediction, target, cuts), loss(prediction, target))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("cuts", [[7], [2, 5]])
def test_classes(reduction: str, cuts: list[int]) -> None:
    loss = nn.CrossEntropyLoss(reduction=reduction, label_smoothing=0.1)
    scores, labels = torch.randn(7, 4, dtype=torch.float64), torch.arange(7) % 4
    torch.testing.assert_close(in_parts(loss, scores, labels, cuts), loss(scores, labels))


def test_a_loss_without_a_reduction_is_taken_as_a_mean() -> None:
    class Mine(nn.Module):
        def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return ((prediction - target) ** 4).mean()

    prediction, target = torch.randn(2, 6, 2, dtype=torch.float64)
    torch.testing.assert_close(in_parts(Mine(), prediction, target, [2, 4]), Mine()(prediction, target))


def test_a_weighted_loss_is_torchs_own_and_is_not_cut() -> None:
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0]))
    scores, labels = torch.randn(6, 2), torch.tensor([0, 0, 1, 0, 1, 0])
    criterion = Criterion(loss)
    torch.testing.assert_close(criterion(scores, labels, num_rows=6), loss(scores, labels))
    assert not criterion.can_be_cut
    assert Criterion(nn.CrossEntropyLoss()).can_be_cut
    with pytest.raises(ConfigError, match="reduction=none"):
        Criterion(nn.MSELoss(reduction="none"))


def test_the_users_loss_is_left_as_it_is() -> None:
    loss = nn.MSELoss()
    Criterion(loss)
    assert loss.reduction == "mean"


def test_auto_fits_the_task() -> None:
    assert isinstance(auto("classification"), nn.CrossEntropyLoss)
    assert isinstance(auto("regression"), nn.MSELoss)
