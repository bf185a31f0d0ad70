"""Raw weights are drawn as nn.Linear draws them, or as the article does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from primer.errors import ConfigError
from primer.nets import Manual, Tensors
from primer.nets.weights import draw_weights


@pytest.mark.parametrize("net_class", [Manual, Tensors])
def test_normal_weights_are_the_two_next_draws_of_randn(net_class: type[Manual] | type[Tensors]) -> None:
    torch.manual_seed(3)
    net = net_class(5, 2, nn.ReLU(), hidden_dim=4, weight_init="normal")
    torch.manual_seed(3)
    assert torch.equal(net.w1, torch.randn(5, 4))
    assert torch.equal(net.w2, torch.randn(4, 2))
    assert not net.b1.any()
    assert not net.b2.any()


def test_linear_weights_can_be_trained_and_stored_on_their_own() -> None:
    weight, bias = draw_weights(5, 4, bias=True, weight_init="linear")
    assert weight.is_contiguous()
    assert weight.is_leaf
    assert weight.requires_grad
    assert bias.shape == (4,)


def test_another_way_to_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^net\.weight_init: got 'zeros', expected linear or normal$"):
        draw_weights(5, 4, bias=True, weight_init="zeros")
