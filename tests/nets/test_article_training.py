"""The article's training loop: written by hand, by the manual net, by autograd and by its custom function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from primer.activations import Clamp, CustomReLU, TutorialReLU
from primer.nets import Manual, Tensors, TwoLayer, sequential

LR = 1e-6


def data(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(64, 1000).to(dtype), torch.randn(64, 10).to(dtype)


def losses(net: nn.Module, dtype: torch.dtype, *, num_steps: int, lr: float = LR) -> Tensor:
    x, y = data(dtype)
    optimizer = torch.optim.SGD(net.to(dtype).parameters(), lr=lr)
    history = []
    for _ in range(num_steps):
        loss = (net(x) - y).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.detach())
    return torch.stack(history)  # (steps,)


def by_hand(dtype: torch.dtype, *, num_steps: int) -> Tensor:
    """The loop as the article writes it, without any autograd."""
    x, y = data(dtype)
    torch.manual_seed(1)
    w1, w2 = torch.randn(1000, 100).to(dtype), torch.randn(100, 10).to(dtype)
    history = []
    for _ in range(num_steps):
        h = x @ w1  # (64, 100)
        h_relu = h.clamp(min=0)  # (64, 100)
        error = h_relu @ w2 - y  # (64, 10)
        history.append(error.square().sum())
        dy = 2 * error  # (64, 10)
        dh = dy @ w2.T  # (64, 100)
        dh[h < 0] = 0
        w1, w2 = w1 - LR * x.T @ dh, w2 - LR * h_relu.T @ dy
    return torch.stack(history)  # (steps,)


def article_net(make_net: Any, activation: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    net: nn.Module = make_net(1000, 10, activation(), hidden_dim=100, bias=False, weight_init="normal")
    return net


WAYS = [
    (Manual, TutorialReLU),
    (Manual, nn.ReLU),
    (Tensors, Clamp),
    (Tensors, TutorialReLU),
    (Tensors, CustomReLU),
]


@pytest.mark.parametrize(("make_net", "activation"), WAYS)
def test_every_way_trains_alike(make_net: Any, activation: Callable[[], nn.Module]) -> None:
    ours = losses(article_net(make_net, activation), torch.float64, num_steps=500)
    torch.testing.assert_close(ours, by_hand(torch.float64, num_steps=500), rtol=1e-10, atol=0)
    assert 1e-10 < ours[-1] < 1e-2 < 1e5 < ours[0]
    ours = losses(article_net(make_net, activation), torch.float32, num_steps=100)
    torch.testing.assert_close(ours, by_hand(torch.float32, num_steps=100), rtol=1e-4, atol=0)


def test_sequential_and_two_layer_train_alike_bit_for_bit() -> None:
    curves = []
    for make_net in (sequential, TwoLayer):
        torch.manual_seed(1)
        net = make_net(1000, 10, nn.ReLU(), hidden_dim=100)
        curves.append(losses(net, torch.float32, num_steps=500, lr=1e-4))
    assert torch.equal(*curves)
    assert curves[0][-1] < 1e-3
