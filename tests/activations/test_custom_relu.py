"""custom_relu is torch.relu bit for bit, and works wherever torch.relu does."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from primer.activations import CustomReLU, custom_relu

TINY = torch.finfo(torch.float32).smallest_normal / 2  # subnormal
SPECIAL = [0.0, -0.0, 1.0, -1.0, TINY, -TINY, 3e38, -3e38, torch.inf, -torch.inf, torch.nan]


def assert_same_bits(ours: Tensor, theirs: Tensor) -> None:
    """Equal type, layout and values; NaN equals NaN, but -0.0 is not 0.0."""
    assert ours.stride() == theirs.stride()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    numbers = ~theirs.isnan()
    assert torch.equal(ours.signbit()[numbers], theirs.signbit()[numbers])


def forward_and_backward(relu: Callable[[Tensor], Tensor], x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_()
    y = relu(x)
    (grad,) = torch.autograd.grad(y, x, g)
    return y.detach(), grad


def assert_twin(x: Tensor, g: Tensor) -> None:
    for ours, theirs in zip(
        forward_and_backward(custom_relu, x, g), forward_and_backward(torch.relu, x, g), strict=True
    ):
        assert_same_bits(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_is_relu_on_every_16_bit_number(dtype: torch.dtype) -> None:
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    assert_twin(every, torch.ones_like(every))
    assert_twin(every, every.flip(0))  # gradients that are NaN, infinite, subnormal
    assert_twin(every, every.roll(2**14))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_relu_on_every_pair_of_special_input_and_gradient(dtype: torch.dtype) -> None:
    values = torch.tensor(SPECIAL, dtype=dtype)
    assert_twin(values.repeat_interleave(len(values)), values.repeat(len(values)))


@settings(deadline=None)  # a busy machine is no error
@given(st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), min_size=1, max_size=70))
def test_is_relu_on_any_floats(pairs: list[tuple[float, float]]) -> None:
    x, g = torch.tensor(pairs).T.contiguous()
    assert_twin(x, g)


def layouts() -> dict[str, Tensor]:
    x = torch.randn(4, 6, 8, 10)
    return {
        "contiguous": x,
        "channels_last": x.to(memory_format=torch.channels_last),
        "transposed": x.transpose(1, 3),
        "strided": x[:, ::2, :, 1::3],
        "expanded": x[:, :1].expand(4, 6, 8, 10),
        "scalar": x[0, 0, 0, 0],
        "empty": x[:0],
    }


@pytest.mark.parametrize("name", layouts())
def test_keeps_the_layout_as_relu_does(name: str) -> None:
    x = layouts()[name]
    assert_twin(x, torch.randn_like(x))
    assert_twin(x, torch.randn(x.shape))  # a contiguous gradient, whatever the input's layout
    assert_twin(x, torch.ones(()).expand(x.shape))  # as sum() sends it


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64, torch.uint8])
def test_treats_integers_as_relu_does(dtype: torch.dtype) -> None:
    x = torch.tensor([-2, 0, 3]).to(dtype)
    torch.testing.assert_close(custom_relu(x), torch.relu(x), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64])
def test_refuses_what_relu_refuses_with_its_words(dtype: torch.dtype) -> None:
    x = torch.ones(2).to(dtype)
    with pytest.raises(RuntimeError) as theirs:
        torch.relu(x)
    with pytest.raises(type(theirs.value)) as ours:
        custom_relu(x)
    assert str(ours.value) == str(theirs.value)


def away_from_the_kink() -> Tensor:
    x = torch.randn(5, 4, dtype=torch.float64)
    return (x + 0.1 * x.sign()).requires_grad_()


def test_first_and_second_derivative_agree_with_differences() -> None:
    x = away_from_the_kink()
    assert torch.autograd.gradcheck(custom_relu, x, atol=1e-7, rtol=1e-7)
    assert torch.autograd.gradgradcheck(custom_relu, x, atol=1e-7, rtol=1e-7)
    assert torch.autograd.gradgradcheck(lambda x: custom_relu(x) ** 3, x, atol=1e-7, rtol=1e-7)


def test_gradient_penalty_equals_that_of_relu() -> None:
    def penalty_gradient(relu: Callable[[Tensor], Tensor]) -> Tensor:
        x = torch.linspace(-2, 2, 9, requires_grad=True)
        (grad,) = torch.autograd.grad((relu(x) ** 2).sum(), x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), x)[0]

    assert_same_bits(penalty_gradient(custom_relu), penalty_gradient(torch.relu))


TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = {
    "vmap": lambda relu, x: torch.vmap(relu, in_dims=1, out_dims=1)(x),
    "grad": lambda relu, x: torch.func.grad(lambda x: relu(x).square().sum())(x),
    "jacrev": lambda relu, x: torch.func.jacrev(relu)(x),
    "hessian": lambda relu, x: torch.func.jacrev(torch.func.jacrev(lambda x: relu(x).square().sum()))(x),
    "per_sample": lambda relu, x: torch.vmap(torch.func.grad(lambda row: relu(row).square().sum()))(x),
    "shared_gradient": lambda relu, x: torch.vmap(lambda row: torch.func.vjp(relu, row)[1](x[0])[0])(x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_as_relu_does(name: str) -> None:
    x = torch.cat([torch.randn(3, 4), torch.zeros(1, 4)])
    assert_same_bits(TRANSFORMS[name](custom_relu, x), TRANSFORMS[name](torch.relu, x))


# Dynamo itself instantiates a Function: https://github.com/pytorch/pytorch/issues/128439
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_to_one_graph_with_the_same_bits() -> None:
    compiled = torch.compile(custom_relu, fullgraph=True, backend="aot_eager")
    for num_samples in (3, 5, 8):
        x = torch.tensor(SPECIAL).repeat(num_samples, 1)
        ours, theirs = (forward_and_backward(f, x, x.flip(1)) for f in (compiled, torch.relu))
        assert_same_bits(ours[0], theirs[0])
        assert_same_bits(ours[1], theirs[1])


def test_saves_no_more_memory_than_relu() -> None:
    def saved_bytes(relu: Callable[[Tensor], Tensor]) -> int:
        torch.manual_seed(0)
        storages: dict[int, Tensor] = {}  # kept alive, so that no address is used twice
        net = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 8))

        def pack(saved: Tensor) -> Tensor:
            storages[saved.untyped_storage().data_ptr()] = saved.detach()
            return saved

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
            net[1](relu(net[0](torch.ones(16, 8))))
        return sum(saved.untyped_storage().nbytes() for saved in storages.values())

    assert saved_bytes(custom_relu) == saved_bytes(torch.relu)


def test_graph_is_freed_without_garbage_collection() -> None:
    class Marker:
        pass

    gc.disable()
    try:
        y = custom_relu(torch.ones(2, requires_grad=True))
        assert y.grad_fn is not None
        y.grad_fn.metadata["marker"] = Marker()
        marker = weakref.ref(y.grad_fn.metadata["marker"])
        del y
        assert marker() is None
    finally:
        gc.enable()


def test_leaves_its_input_and_gradient_alone() -> None:
    x, g = torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 2.0, 3.0])
    x_before, g_before = x.clone(), g.clone()
    _, grad = forward_and_backward(custom_relu, x, g)
    assert torch.equal(x, x_before)
    assert torch.equal(g, g_before)
    assert x._version == g._version == 0
    positive = torch.ones(3)
    assert custom_relu(positive).data_ptr() != positive.data_ptr()
    assert grad.data_ptr() != g.data_ptr()


def test_overwriting_the_output_is_an_error_and_the_input_is_not() -> None:
    x = torch.ones(3, requires_grad=True)
    y = custom_relu(x)
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    h = x * 1
    y = custom_relu(h)
    h.mul_(-1)
    y.sum().backward()
    assert torch.equal(x.grad, torch.ones(3))


def test_recomputes_under_checkpointing() -> None:
    x = torch.randn(7, requires_grad=True)
    checkpoint(custom_relu, x, use_reentrant=False).sum().backward()
    assert torch.equal(x.grad, (x > 0).float())


def test_keeps_bfloat16_under_autocast() -> None:
    net = nn.Sequential(nn.Linear(4, 4), CustomReLU())
    with torch.autocast("cpu", torch.bfloat16):
        y = net(torch.ones(2, 4))
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert net[0].weight.grad.dtype == torch.float32
