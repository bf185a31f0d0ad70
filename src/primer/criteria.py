"""A loss written by hand: softmax and cross entropy as one custom function, with its own backward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

IGNORED = -100  # torch's default of ignore_index


def torch_cross_entropy(scores: Tensor, target: Tensor, reduction: str, ignore_index: int) -> Tensor:
    """The built-in of the same arguments, for comparison."""
    return nn.functional.cross_entropy(scores, target, reduction=reduction, ignore_index=ignore_index)


class CrossEntropyFunction(Function):
    """The loss of a batch, a scalar; its gradient is softmax minus one-hot, in one go.

    The softmax is computed again in backward, from the scores: saved, it would be a constant to autograd, and
    a second derivative would silently lack its share.
    """

    generate_vmap_rule = True  # forward and backward are plain tensor operations
    verify: Mapping[str, Any] = {
        "reference": torch_cross_entropy,
        "inputs": [
            {"shape": (6, 5)},
            {"shape": (6,), "kind": "classes", "num_classes": 5},
            {"kind": "constant", "value": "mean"},
            {"kind": "constant", "value": IGNORED},
        ],
    }

    @staticmethod
    def forward(scores: Tensor, target: Tensor, reduction: str, ignore_index: int) -> Tensor:
        _check(scores, target, reduction)
        is_kept = target != ignore_index  # (rows,)
        labels = torch.where(is_kept, target, 0)  # (rows,), which can be looked up
        # The largest score of a row is subtracted before the exponential, so that large ones don't overflow.
        log_softmax = torch.log_softmax(scores, dim=1, dtype=_wide(scores))  # (rows, classes)
        losses = torch.where(is_kept, -log_softmax.gather(1, labels[:, None]).squeeze(1), 0)  # (rows,)
        loss = losses.sum()
        is_autocast = torch.is_autocast_enabled(scores.device.type)  # where torch answers in float32, too
        loss = loss / is_kept.sum() if reduction == "mean" else loss
        return loss if is_autocast else loss.to(scores.dtype)  # ()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        scores, target, ctx.reduction, ctx.ignore_index = inputs
        ctx.save_for_backward(scores, target)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        scores, target = ctx.saved_tensors
        is_kept = target != ctx.ignore_index  # (rows,)
        softmax = torch.softmax(scores, dim=1, dtype=_wide(scores))  # (rows, classes)
        one_hot = target[:, None] == torch.arange(scores.shape[1], device=target.device)  # (rows, classes)
        share = grad_output / is_kept.sum() if ctx.reduction == "mean" else grad_output  # ()
        grad_scores = torch.where(is_kept[:, None], (softmax - one_hot.to(softmax.dtype)) * share, 0)
        return grad_scores.to(scores.dtype), None, None, None  # (rows, classes)


def _check(scores: Tensor, target: Tensor, reduction: str) -> None:
    if reduction not in ("mean", "sum"):
        raise ValueError(f"custom_cross_entropy: reduction={reduction!r}: expected mean or sum")
    if scores.dim() != 2 or target.shape != scores.shape[:1]:
        raise ValueError(
            "custom_cross_entropy: expected scores (rows, classes) and target (rows,), found "
            f"{tuple(scores.shape)} and {tuple(target.shape)}"
        )
    if target.dtype != torch.int64:
        raise ValueError(f"custom_cross_entropy: expected class numbers (int64), found {target.dtype}")


def _wide(scores: Tensor) -> torch.dtype:
    """The type that is computed in: 16 bits are too few for a sum of exponentials."""
    return torch.float32 if scores.dtype in (torch.float16, torch.bfloat16) else scores.dtype


def custom_cross_entropy(
    scores: Tensor, target: Tensor, *, reduction: str = "mean", ignore_index: int = IGNORED
) -> Tensor:
    """Cross entropy of classes with its own backward: `scores: (rows, classes)`, `target: (rows,)` -> `()`.

    Equal to `torch.nn.functional.cross_entropy` up to rounding, forward and backward, large scores and rows
    of `ignore_index` included; rows that are ignored count neither in the sum nor in the mean, whatever their
    scores. Under autocast it computes and answers in float32, as torch's does. Works under `torch.vmap`,
    `torch.func.grad`, double backward and `torch.compile(fullgraph=True)`; has no forward-mode derivative
    (`jvp`), class weights, label smoothing or target of probabilities.
    Raises ValueError for other shapes, types and reductions, RuntimeError for a class that isn't there.

    >>> scores = torch.tensor([[1000.0, 0.0], [0.0, 0.0]], requires_grad=True)
    >>> loss = custom_cross_entropy(scores, torch.tensor([0, 1]))
    >>> loss.backward()
    >>> loss.item(), scores.grad.tolist()
    (0.3465735912322998, [[0.0, 0.0], [0.25, -0.25]])
    """
    loss: Tensor = CrossEntropyFunction.apply(scores, target, reduction, ignore_index)  # type: ignore[no-untyped-call]
    return loss


class CustomCrossEntropy(nn.Module):
    """`custom_cross_entropy` as a module: `scores: (rows, classes)`, `target: (rows,)` -> `()`.

    >>> CustomCrossEntropy(reduction="sum")(torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    tensor(2.0794)
    """

    verify: Mapping[str, Any] = {
        "reference": "torch.nn.CrossEntropyLoss",
        "inputs": CrossEntropyFunction.verify["inputs"][:2],
    }

    def __init__(self, reduction: str = "mean", ignore_index: int = IGNORED) -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise ValueError(f"CustomCrossEntropy: reduction={reduction!r}: expected mean or sum")
        self.reduction = reduction
        self.ignore_index = ignore_index
        if (reduction, ignore_index) != ("mean", IGNORED):
            reference = nn.CrossEntropyLoss(reduction=reduction, ignore_index=ignore_index)
            self.verify = {**self.verify, "reference": reference}

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        return custom_cross_entropy(scores, target, reduction=self.reduction, ignore_index=self.ignore_index)
