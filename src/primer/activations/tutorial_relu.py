"""The hand-written ReLU of "A PyTorch Primer", kept as the article computes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function


class TutorialReLUFunction(Function):
    """A ReLU that remembers its input and passes the gradient wherever that was not negative."""

    generate_vmap_rule = True  # forward and backward are plain tensor operations

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(min=0)  # (*)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        # As the article's grad_input = grad_output.clone(); grad_input[x < 0] = 0, which vmap can't batch.
        return torch.where(x < 0, 0, grad_output)  # (*)


def tutorial_relu(x: Tensor) -> Tensor:
    """ReLU as a first custom function is written: `x: (*)` -> `(*)`, what is below 0 becomes 0.

    Differs from `torch.relu`: the slope at exactly 0 is 1, not 0; between two layers it keeps twice the
    memory (its input, while the next layer keeps its output); a backward pass takes several times longer on
    a CPU; a bool tensor becomes int64 instead of an error. Source: "A PyTorch Primer", see docs/article.md.

    >>> x = torch.tensor([-2.0, 0.0, 0.5], requires_grad=True)
    >>> tutorial_relu(x).sum().backward()
    >>> x.grad
    tensor([0., 1., 1.])
    """
    y: Tensor = TutorialReLUFunction.apply(x)  # type: ignore[no-untyped-call]
    return y


class TutorialReLU(nn.Module):
    """`tutorial_relu` as a module: `x: (*)` -> `(*)`.

    >>> TutorialReLU()(torch.tensor([-2.0, 0.0, 0.5]))
    tensor([0.0000, 0.0000, 0.5000])
    """

    def forward(self, x: Tensor) -> Tensor:
        return tutorial_relu(x)
