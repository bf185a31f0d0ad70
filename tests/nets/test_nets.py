"""Four ways to write one net: the same weights, the same outputs, the same gradients."""

from __future__ import annotations

import copy
import doctest
import importlib
import pickle
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from primer.activations import Clamp, CustomReLU, TutorialReLU
from primer.nets import Manual, Tensors, TwoLayer, sequential

NETS = [Manual, Tensors, sequential, TwoLayer]
RELUS = [nn.ReLU, CustomReLU, TutorialReLU, Clamp]


def build(make_net: Any, activation: type[nn.Module] = nn.ReLU, *, bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    net: nn.Module = make_net(6, 3, activation(), hidden_dim=5, bias=bias)
    return net


def as_raw(net: nn.Module, tensors: Iterable[Tensor]) -> list[Tensor]:
    """Weights or their gradients (w1, b1, w2, b2), each matrix as `(fan_in, fan_out)`."""
    is_raw = isinstance(net, Manual | Tensors)
    return [tensor if is_raw or tensor.dim() == 1 else tensor.T for tensor in tensors]


def outputs_and_gradients(net: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = net(x)
    dx, *grads = torch.autograd.grad((y - 1).square().sum(), [x, *net.parameters()])
    return [y, dx, *as_raw(net, grads)]


@pytest.mark.parametrize("module", ["manual", "sequential", "tensors", "two_layer", "weights"])
def test_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"primer.nets.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("bias", [True, False])
def test_all_start_from_the_weights_of_two_linear_layers(bias: bool) -> None:
    torch.manual_seed(0)
    hidden, output = nn.Linear(6, 5, bias=bias), nn.Linear(5, 3, bias=bias)
    expected = [hidden.weight.T, hidden.bias, output.weight.T, output.bias]
    if not bias:
        expected = expected[::2]
    for make_net in NETS:
        net = build(make_net, bias=bias)
        for ours, theirs in zip(as_raw(net, net.parameters()), expected, strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", RELUS)
def test_outputs_and_gradients_agree_also_at_the_kink(activation: type[nn.Module], bias: bool) -> None:
    x = torch.randn(8, 6, dtype=torch.float64)
    x[:2] = 0  # without biases every hidden value of these rows is exactly 0, and the convention shows in dx
    expected = outputs_and_gradients(build(TwoLayer, activation, bias=bias).double(), x)
    for make_net in NETS:
        for ours, theirs in zip(
            outputs_and_gradients(build(make_net, activation, bias=bias).double(), x), expected, strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_convention_at_0_shows_in_the_gradient_of_the_input() -> None:
    x = torch.zeros(1, 6)

    def dx(make_net: Any, activation: type[nn.Module]) -> Tensor:
        x0 = x.clone().requires_grad_()
        build(make_net, activation, bias=False)(x0).sum().backward()
        assert x0.grad is not None
        return x0.grad

    for make_net in NETS:
        assert not dx(make_net, nn.ReLU).any()
        assert dx(make_net, TutorialReLU).all()


@pytest.mark.parametrize("activation", RELUS)
def test_sequential_is_two_layer_bit_for_bit(activation: type[nn.Module]) -> None:
    x = torch.randn(64, 6)
    for ours, theirs in zip(
        outputs_and_gradients(build(sequential, activation), x),
        outputs_and_gradients(build(TwoLayer, activation), x),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("make_net", NETS)
def test_can_be_copied_pickled_stored_and_exported(make_net: Any) -> None:
    net, x = build(make_net), torch.randn(7, 6)
    stored = make_net(6, 3, nn.ReLU(), hidden_dim=5)
    stored.load_state_dict(net.state_dict())
    exported = torch.export.export(net, (x[:4],), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), stored, exported):
        assert torch.equal(twin(x), net(x))


# Dynamo itself instantiates a Function: https://github.com/pytorch/pytorch/issues/128439
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("make_net", NETS)
def test_compiles_to_one_graph(make_net: Any) -> None:
    net, x = build(make_net), torch.randn(7, 6)
    expected = outputs_and_gradients(net, x)
    net.forward = torch.compile(net.forward, fullgraph=True, backend="aot_eager")
    for ours, theirs in zip(outputs_and_gradients(net, x), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", RELUS)
@pytest.mark.parametrize("make_net", NETS)
def test_three_nets_train_as_one(make_net: Any, activation: type[nn.Module], bias: bool) -> None:
    nets = [make_net(6, 3, activation(), hidden_dim=5, bias=bias).double() for _ in range(3)]
    x = torch.randn(3, 7, 6, dtype=torch.float64)  # (member, batch, in)
    x[:, 0] = 0
    stacked, _ = torch.func.stack_module_state(nets)

    def loss(params: dict[str, Tensor], x: Tensor) -> Tensor:
        return (torch.func.functional_call(nets[0], params, (x,)) - 1).square().sum()

    torch.vmap(loss)(stacked, x).sum().backward()
    per_member = torch.vmap(torch.func.grad(loss))(stacked, x)
    for i, net in enumerate(nets):
        (net(x[i]) - 1).square().sum().backward()
        for name, p in net.named_parameters():
            torch.testing.assert_close(stacked[name].grad[i], p.grad, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(per_member[name][i], p.grad, rtol=1e-12, atol=1e-12)


def held_gradients(net: nn.Module) -> list[Tensor]:
    return as_raw(net, (p.grad for p in net.parameters() if p.grad is not None))


@pytest.mark.parametrize("make_net", NETS)
def test_mixed_precision_multiplies_in_bfloat16_and_learns_in_float32(make_net: Any) -> None:
    net, reference, x = build(make_net), build(TwoLayer), torch.randn(16, 6)
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x)
        expected = reference(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    expected.sum().backward()
    for ours, theirs in zip(held_gradients(net), held_gradients(reference), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)  # bfloat16 has 8 bits
