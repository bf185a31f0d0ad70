"""custom_cross_entropy is torch's, forward and backward, alone and in a run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from runs import Worked
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from primer.criteria import CrossEntropyFunction, CustomCrossEntropy, custom_cross_entropy
from primer.training.criteria import Criterion

LABELS = torch.tensor([0, 3, -100, 2, 1, -100, 3])  # two rows are ignored
REDUCTIONS = pytest.mark.parametrize("reduction", ["mean", "sum"])


def loss_and_gradient(loss: Callable[..., Tensor], scores: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    scores = scores.detach().requires_grad_()
    value = loss(scores, target)
    (grad,) = torch.autograd.grad(value, scores, torch.tensor(0.7, dtype=value.dtype))
    return value.detach(), grad


def both(scores: Tensor, target: Tensor, reduction: str) -> list[tuple[Tensor, Tensor]]:
    """Loss and gradient: ours, and torch's."""
    losses = CustomCrossEntropy(reduction), nn.CrossEntropyLoss(reduction=reduction)
    return [loss_and_gradient(loss, scores, target) for loss in losses]


@REDUCTIONS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_torchs_up_to_rounding(dtype: torch.dtype, reduction: str) -> None:
    scores = 3 * torch.randn(7, 4, dtype=dtype)
    ours, theirs = both(scores, LABELS, reduction)
    torch.testing.assert_close(ours, theirs, rtol=8 * torch.finfo(dtype).eps, atol=torch.finfo(dtype).eps)


@REDUCTIONS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_is_no_less_precise_than_torchs_in_16_bits(dtype: torch.dtype, reduction: str) -> None:
    scores, labels = (4 * torch.randn(200, 9)).to(dtype), torch.arange(200) % 9
    ours, theirs = both(scores, labels, reduction)
    (exact, _) = both(scores.double(), labels, reduction)
    assert ours[0].dtype == ours[1].dtype == dtype
    for mine, other, best in zip(ours, theirs, exact, strict=True):
        error, allowed = ((value.double() - best).abs().sum() for value in (mine, other))
        assert error <= allowed + torch.finfo(dtype).eps


def test_what_is_left_to_learn_of_a_row_that_is_nearly_right_is_not_rounded_away() -> None:
    scores = torch.tensor([[7.0, 0.0]], dtype=torch.bfloat16)
    _, grad = loss_and_gradient(CustomCrossEntropy(), scores, torch.tensor([0]))
    _, exact = loss_and_gradient(CustomCrossEntropy(), scores.double(), torch.tensor([0]))
    torch.testing.assert_close(grad.double(), exact, rtol=2**-7, atol=0)  # -0.0006 and 0.0006


@REDUCTIONS
@pytest.mark.parametrize("size", [1e3, 1e10, 3e38])
def test_large_scores_do_not_overflow(size: float, reduction: str) -> None:
    scores = size * torch.tensor([[1.0, 0.0, -1.0], [1.0, 1.0, 1.0], [-1.0, -1.0, -0.5]])
    ours, theirs = both(scores, torch.tensor([0, 1, 2]), reduction)
    assert torch.isfinite(torch.cat([ours[0][None], ours[1].flatten()])).all()
    torch.testing.assert_close(ours, theirs)


def test_a_class_that_is_excluded_and_one_that_is_certain() -> None:
    scores = torch.tensor([[-torch.inf, 1.0, 2.0], [torch.inf, 0.0, 1.0], [torch.nan, 0.0, 1.0]])
    for row in range(3):
        for label in range(3):
            ours, theirs = both(scores[row : row + 1], torch.tensor([label]), "mean")
            torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_ignored_rows_count_for_nothing_whatever_their_scores() -> None:
    scores = torch.randn(7, 4)
    scores[LABELS == -100] = torch.tensor([torch.nan, torch.inf, 0.0, -torch.inf])
    kept = LABELS != -100
    loss, grad = loss_and_gradient(CustomCrossEntropy(), scores, LABELS)
    expected, of_kept = loss_and_gradient(nn.CrossEntropyLoss(), scores[kept], LABELS[kept])
    torch.testing.assert_close((loss, grad[kept]), (expected, of_kept))
    assert (grad[~kept] == 0).all()


def test_other_numbers_can_be_ignored() -> None:
    scores, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 1])
    ours = loss_and_gradient(CustomCrossEntropy(ignore_index=1), scores, labels)
    torch.testing.assert_close(ours, loss_and_gradient(nn.CrossEntropyLoss(ignore_index=1), scores, labels))


@pytest.mark.parametrize("labels", [[-100, -100], []])
def test_no_row_at_all_is_as_for_torch(labels: list[int]) -> None:
    target = torch.tensor(labels, dtype=torch.int64)
    for reduction in ("mean", "sum"):
        ours, theirs = both(torch.randn(len(labels), 3), target, reduction)
        torch.testing.assert_close(ours[0], theirs[0], equal_nan=True)  # nan and 0
        assert ours[1].shape == theirs[1].shape


@REDUCTIONS
def test_first_and_second_derivative_agree_with_differences(reduction: str) -> None:
    scores = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    loss = CustomCrossEntropy(reduction)
    assert torch.autograd.gradcheck(lambda scores: loss(scores, LABELS), scores, atol=1e-7, rtol=1e-6)
    assert torch.autograd.gradgradcheck(lambda scores: loss(scores, LABELS), scores, atol=1e-7, rtol=1e-6)


def test_gradient_penalty_equals_that_of_torch() -> None:
    def penalty_gradient(loss: Callable[..., Tensor]) -> Tensor:
        scores = torch.linspace(-2, 2, 28, dtype=torch.float64).reshape(7, 4).requires_grad_()
        (grad,) = torch.autograd.grad(loss(scores, LABELS), scores, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), scores)[0]

    torch.testing.assert_close(penalty_gradient(custom_cross_entropy), penalty_gradient(cross_entropy))


TRANSFORMS: dict[str, Callable[[Callable[..., Tensor], Tensor, Tensor], Tensor]] = {
    "stacked": lambda f, scores, labels: torch.vmap(f)(scores, labels),
    "shared_labels": lambda f, scores, labels: torch.vmap(f, in_dims=(0, None))(scores, labels[0]),
    "stacked_gradient": lambda f, scores, labels: torch.vmap(torch.func.grad(f))(scores, labels),
    "per_row": lambda f, scores, labels: torch.vmap(
        torch.func.grad(lambda row, label: f(row[None], label[None]))
    )(scores[0], labels[0]),
    "hessian": lambda f, scores, labels: torch.func.jacrev(
        torch.func.jacrev(lambda scores: f(scores, labels[0]))
    )(scores[0]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_as_torchs_does(name: str) -> None:
    scores, labels = torch.randn(2, 3, 4, dtype=torch.float64), torch.tensor([[0, 3, 1], [2, 2, 0]])
    ours, theirs = (TRANSFORMS[name](f, scores, labels) for f in (custom_cross_entropy, cross_entropy))
    torch.testing.assert_close(ours, theirs)


# Dynamo itself instantiates a Function: https://github.com/pytorch/pytorch/issues/128439
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_to_one_graph_with_the_same_bits() -> None:
    compiled = torch.compile(CustomCrossEntropy(), fullgraph=True, backend="aot_eager")
    scores = torch.randn(7, 4)
    compiled_found, eager = (loss_and_gradient(f, scores, LABELS) for f in (compiled, custom_cross_entropy))
    assert all(map(torch.equal, compiled_found, eager))


def test_keeps_the_scores_and_labels_only_and_changes_neither() -> None:
    scores, labels = torch.randn(7, 4, requires_grad=True), LABELS.clone()
    before = scores.detach().clone()
    loss = custom_cross_entropy(scores, labels)
    kept = loss.grad_fn.saved_tensors
    assert kept[0] is scores
    assert kept[1].data_ptr() == labels.data_ptr()
    assert len(kept) == 2
    loss.backward()
    assert torch.equal(scores, before)
    assert torch.equal(labels, LABELS)


def test_answers_in_float32_under_autocast_as_torchs_does() -> None:
    scores = torch.randn(7, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = both(scores, LABELS, "mean")
    assert ours[0].dtype == theirs[0].dtype == torch.float32
    assert ours[1].dtype == torch.bfloat16
    torch.testing.assert_close(ours, theirs)


def test_refuses_what_it_can_not_mean() -> None:
    scores = torch.randn(7, 4)
    with pytest.raises(ValueError, match="reduction='none': expected mean or sum"):
        CustomCrossEntropy("none")
    with pytest.raises(ValueError, match=r"found \(7, 4\) and \(6,\)"):
        custom_cross_entropy(scores, LABELS[:6])
    with pytest.raises(ValueError, match=r"found \(7, 4\) and \(7, 4\)"):
        custom_cross_entropy(scores, scores.softmax(1))
    with pytest.raises(ValueError, match=r"class numbers \(int64\), found torch.float32"):
        custom_cross_entropy(scores, LABELS.float())
    for label in (4, -1):
        with pytest.raises(RuntimeError, match=f"index {label} is out of bounds"):
            custom_cross_entropy(scores, torch.full((7,), label))


@REDUCTIONS
def test_declares_what_it_is_compared_with(reduction: str) -> None:
    scores, labels = torch.randn(7, 4), LABELS
    loss = CustomCrossEntropy(reduction)
    reference = CrossEntropyFunction.verify["reference"]
    torch.testing.assert_close(reference(scores, labels, reduction, -100), loss(scores, labels))
    if reduction == "sum":
        torch.testing.assert_close(loss.verify["reference"](scores, labels), loss(scores, labels))
    else:
        assert loss.verify["reference"] == "torch.nn.CrossEntropyLoss"


@REDUCTIONS
@pytest.mark.parametrize("cuts", [[7], [1, 2, 4]])
def test_a_batch_can_be_computed_in_parts(reduction: str, cuts: list[int]) -> None:
    loss = CustomCrossEntropy(reduction)
    scores, labels = torch.randn(7, 4, dtype=torch.float64), torch.arange(7) % 4
    criterion = Criterion(loss)
    assert criterion.can_be_cut
    assert loss.reduction == reduction
    parts = zip(scores.split(cuts), labels.split(cuts), strict=True)
    found = torch.stack([criterion(s, t, num_rows=7) for s, t in parts]).sum()
    torch.testing.assert_close(found, cross_entropy(scores, labels, reduction=reduction))


def test_one_whose_rows_may_be_ignored_is_not_cut() -> None:
    assert not Criterion(CustomCrossEntropy(ignore_index=0)).can_be_cut
    assert copy.deepcopy(CustomCrossEntropy("sum")).reduction == "sum"


@REDUCTIONS
def test_trains_as_the_built_in_does(reduction: str, tmp_path: Path) -> None:
    run = (
        "data=iris",
        "max_epochs=null",
        "max_steps=40",
        "accelerator.precision=64",
        "accumulate_grad_batches=3",
    )
    ours, theirs = (
        Worked(tmp_path / option, *run, f"criterion={option}", f"criterion.reduction={reduction}").curve()
        for option in ("custom_cross_entropy", "cross_entropy")
    )
    assert len(ours) == 40
    assert ours == pytest.approx(theirs, rel=1e-9)
    assert ours[-1] < ours[0]
