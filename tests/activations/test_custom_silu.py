"""custom_silu is torch's silu up to rounding, keeps its input only, and works wherever silu does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from primer.activations import CustomSiLU, custom_silu

Activation = Callable[[Tensor], Tensor]


def forward_and_backward(activation: Activation, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = activation(x)
    (grad,) = torch.autograd.grad(y, x, g)
    return y.detach(), grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_silu_up_to_rounding(dtype: torch.dtype) -> None:
    special = torch.tensor([0.0, -0.0, 1e-40, 88.8, -88.8, 1e4, -1e4, torch.inf, -torch.inf, torch.nan])
    x = torch.cat([torch.linspace(-120, 120, 4001), special]).to(dtype)
    g = torch.randn_like(x)
    for ours, theirs in zip(
        forward_and_backward(custom_silu, x, g), forward_and_backward(silu, x, g), strict=True
    ):
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(ours, theirs, rtol=4 * eps, atol=4 * eps, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_is_as_close_as_silu_for_every_16_bit_number(dtype: torch.dtype) -> None:
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    x = x[x.isfinite()]
    g = torch.ones_like(x)
    exact = forward_and_backward(silu, x.double(), g.double())
    ours, theirs = (forward_and_backward(f, x, g) for f in (custom_silu, silu))
    for number in (0, 1):
        assert ours[number].dtype == dtype
        error, allowed = ((found[number].double() - exact[number]).abs() for found in (ours, theirs))
        assert (error <= 1.01 * allowed).all()


def test_first_and_second_derivative_agree_with_differences() -> None:
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(custom_silu, x, atol=1e-7, rtol=1e-7)
    assert torch.autograd.gradgradcheck(custom_silu, x, atol=1e-7, rtol=1e-7)


def test_complex_numbers_are_those_of_silu() -> None:
    x = torch.randn(5, 4, dtype=torch.complex128)
    torch.testing.assert_close(custom_silu(x), silu(x))
    assert torch.autograd.gradcheck(custom_silu, x.requires_grad_())  # torch's own has no backward here


def test_gradient_penalty_equals_that_of_silu() -> None:
    def penalty_gradient(activation: Activation) -> Tensor:
        x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
        (grad,) = torch.autograd.grad((activation(x) ** 2).sum(), x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), x)[0]

    torch.testing.assert_close(penalty_gradient(custom_silu), penalty_gradient(silu), rtol=1e-12, atol=0)


def saved_bytes(activation: Activation) -> int:
    """What is kept between two layers for the backward pass, each storage once."""
    storages: dict[int, Tensor] = {}  # kept alive, so that no address is used twice

    def pack(saved: Tensor) -> Tensor:
        storages[saved.untyped_storage().data_ptr()] = saved.detach()
        return saved

    net = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 8))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        net[1](activation(net[0](torch.ones(16, 8))))
    return sum(saved.untyped_storage().nbytes() for saved in storages.values())


def test_keeps_its_input_only() -> None:
    x = torch.randn(3, requires_grad=True)
    assert [saved is x for saved in custom_silu(x).grad_fn.saved_tensors] == [True]
    by_autograd = saved_bytes(lambda x: x * torch.sigmoid(x))
    assert saved_bytes(custom_silu) == saved_bytes(silu) == by_autograd - 16 * 64 * 4


TRANSFORMS: dict[str, Callable[[Activation, Tensor], Tensor]] = {
    "vmap": lambda f, x: torch.vmap(f, in_dims=1, out_dims=1)(x),
    "grad": lambda f, x: torch.func.grad(lambda x: f(x).square().sum())(x),
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "hessian": lambda f, x: torch.func.jacrev(torch.func.jacrev(lambda x: f(x).square().sum()))(x),
    "per_sample": lambda f, x: torch.vmap(torch.func.grad(lambda row: f(row).square().sum()))(x),
    "shared_gradient": lambda f, x: torch.vmap(lambda row: torch.func.vjp(f, row)[1](x[0])[0])(x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_as_silu_does(name: str) -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    ours, theirs = TRANSFORMS[name](custom_silu, x), TRANSFORMS[name](silu, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


# Dynamo itself instantiates a Function: https://github.com/pytorch/pytorch/issues/128439
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_to_one_graph_with_the_same_bits() -> None:
    compiled = torch.compile(custom_silu, fullgraph=True, backend="aot_eager")
    for num_samples in (3, 5):
        x, g = torch.randn(2, num_samples, 4)
        ours, eager = (forward_and_backward(f, x, g) for f in (compiled, custom_silu))
        assert all(map(torch.equal, ours, eager))


def test_keeps_the_layout_of_its_input() -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    for given in (x, x.transpose(1, 3), x[..., ::2], x[:, :1].expand(2, 3, 4, 5), x[0, 0, 0, 0], x[:0]):
        y, grad = forward_and_backward(custom_silu, given, torch.ones_like(given))
        theirs, their_grad = forward_and_backward(silu, given, torch.ones_like(given))
        torch.testing.assert_close((y, grad), (theirs, their_grad))
        assert y.stride() == theirs.stride()


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.uint8])
def test_refuses_whole_numbers_as_silu_does(dtype: torch.dtype) -> None:
    for activation in (silu, custom_silu):
        with pytest.raises(NotImplementedError, match="silu"):
            activation(torch.ones(2).to(dtype))


def test_keeps_bfloat16_under_autocast() -> None:
    net = nn.Sequential(nn.Linear(4, 4), CustomSiLU())
    with torch.autocast("cpu", torch.bfloat16):
        y = net(torch.ones(2, 4))
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert net[0].weight.grad.dtype == torch.float32
