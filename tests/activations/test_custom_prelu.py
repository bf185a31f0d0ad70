"""custom_prelu is torch's prelu with one slope, whose gradient is summed over all that it was used for."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import prelu

from primer.activations import CustomPReLU, custom_prelu

Activation = Callable[[Tensor, Tensor], Tensor]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 1e-40, -1e-40, 3e38, -3e38, torch.inf, -torch.inf, torch.nan]


def gradients(activation: Activation, x: Tensor, slope: Tensor, g: Tensor) -> tuple[Tensor, ...]:
    """The answer and both gradients."""
    x, slope = x.detach().requires_grad_(), slope.detach().requires_grad_()
    y = activation(x, slope)
    return (y.detach(), *torch.autograd.grad(y, (x, slope), g))


@pytest.mark.parametrize("slope", [0.25, 0.0, -1.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_is_prelu_to_the_bit_but_for_the_order_of_the_sum(dtype: torch.dtype, slope: float) -> None:
    values = torch.tensor(SPECIAL).to(dtype)
    x, g = values.repeat_interleave(len(values)), values.repeat(len(values))
    ours, theirs = (gradients(f, x, torch.tensor([slope], dtype=dtype), g)[:2] for f in (custom_prelu, prelu))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    for one, other in zip(ours, theirs, strict=True):
        numbers = ~other.isnan()
        assert torch.equal(one.signbit()[numbers], other.signbit()[numbers])  # -0.0 is not 0.0


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 4, 5), (0, 3)])
def test_gradient_of_the_slope_is_the_sum_over_all_entries(shape: tuple[int, ...]) -> None:
    x, g = torch.randn(2, *shape, dtype=torch.float64)
    for slope in (torch.tensor([0.3]).double(), torch.tensor(0.3).double()):
        y, _, ours = gradients(custom_prelu, x, slope, g)
        assert y.shape == x.shape
        assert ours.shape == slope.shape
        torch.testing.assert_close(ours.squeeze(), (x.clamp(max=0) * g).sum())
        torch.testing.assert_close((y, ours), gradients(prelu, x, slope, g)[::2])


def test_entries_that_did_not_use_the_slope_do_not_reach_its_gradient() -> None:
    x, g = torch.tensor([torch.inf, 1.0, -2.0]), torch.tensor([1.0, torch.inf, 3.0])
    assert gradients(custom_prelu, x, torch.tensor([0.25]), g)[2].item() == -6


def test_sums_in_the_precision_of_the_slope() -> None:
    x, g = -torch.ones(5000, dtype=torch.bfloat16), torch.ones(5000, dtype=torch.bfloat16)
    y, _, slope = gradients(custom_prelu, x, torch.tensor([0.25]), g)
    assert y.dtype == torch.bfloat16
    assert slope.item() == -5000  # bfloat16 has no such number


def test_expanded_and_transposed_inputs() -> None:
    x = torch.randn(4, 1, 3, dtype=torch.float64)
    for given in (x.expand(4, 5, 3), x.transpose(0, 2), x[::2]):
        g = torch.randn(given.shape, dtype=torch.float64)
        ours, theirs = (gradients(f, given, torch.tensor([0.3]).double(), g) for f in (custom_prelu, prelu))
        torch.testing.assert_close(ours, theirs)


def test_first_and_second_derivatives_agree_with_differences() -> None:
    x = torch.randn(5, 4, dtype=torch.float64)
    x = (x + 0.1 * x.sign()).requires_grad_()
    slope = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(custom_prelu, (x, slope), atol=1e-7, rtol=1e-7)
    assert torch.autograd.gradgradcheck(custom_prelu, (x, slope), atol=1e-7, rtol=1e-7)


def test_either_gradient_can_be_asked_for_alone() -> None:
    x, slope = torch.randn(3), torch.tensor([0.3])
    (grad,) = torch.autograd.grad(custom_prelu(x.requires_grad_(), slope).sum(), x)
    assert torch.equal(grad, torch.where(x > 0, 1.0, 0.3))
    y = custom_prelu(x.detach(), slope.requires_grad_()).sum()
    assert torch.autograd.grad(y, slope)[0].shape == (1,)


TRANSFORMS: dict[str, Callable[[Activation, Tensor, Tensor], Tensor]] = {
    "vmap": lambda f, x, slopes: torch.vmap(f)(x, slopes),
    "shared_slope": lambda f, x, slopes: torch.vmap(f, in_dims=(1, None), out_dims=1)(x, slopes[0]),
    "jacrev": lambda f, x, slopes: torch.func.jacrev(f, argnums=1)(x, slopes[0]),
    "per_member": lambda f, x, slopes: torch.vmap(
        torch.func.grad(lambda slope, x: f(x, slope).square().sum())
    )(slopes, x),
    "hessian": lambda f, x, slopes: torch.func.jacrev(
        torch.func.jacrev(lambda s: f(x, s).square().sum())
    )(slopes[0]),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_as_prelu_does(name: str) -> None:
    x, slopes = torch.randn(4, 3, dtype=torch.float64), torch.rand(4, 1, dtype=torch.float64)
    ours, theirs = (TRANSFORMS[name](f, x, slopes) for f in (custom_prelu, prelu))
    torch.testing.assert_close(ours, theirs)


# Dynamo itself instantiates a Function: https://github.com/pytorch/pytorch/issues/128439
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_to_one_graph_with_the_same_bits() -> None:
    compiled = torch.compile(custom_prelu, fullgraph=True, backend="aot_eager")
    x, g = torch.randn(2, 5, 4)
    ours, eager = (gradients(f, x, torch.tensor([0.3]), g) for f in (compiled, custom_prelu))
    assert all(map(torch.equal, ours, eager))


def test_module_is_torchs_with_another_name() -> None:
    x = torch.randn(3, 4)
    module = CustomPReLU(init=0.1)
    theirs = nn.PReLU()
    theirs.load_state_dict(module.state_dict())
    assert repr(module) == "CustomPReLU()"
    exported = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    for twin in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module)), exported):
        assert torch.equal(twin(x), theirs(x))
    assert torch.equal(module.verify["reference"](x), theirs(x))  # it declares what it really is


def test_draws_no_random_numbers_so_that_nets_start_alike() -> None:
    before = torch.get_rng_state()
    assert CustomPReLU().weight.tolist() == [0.25]
    assert torch.equal(torch.get_rng_state(), before)


def test_refuses_several_slopes_and_whole_numbers() -> None:
    with pytest.raises(ValueError, match=r"expected one slope, found shape \(4,\)"):
        custom_prelu(torch.ones(3, 4), torch.ones(4))
    with pytest.raises(NotImplementedError, match=r"found torch\.int64"):
        custom_prelu(torch.ones(3).long(), torch.ones(1))


def test_keeps_bfloat16_under_autocast() -> None:
    net = nn.Sequential(nn.Linear(4, 4), CustomPReLU())
    with torch.autocast("cpu", torch.bfloat16):
        y = net(torch.ones(2, 4))
    y.sum().backward()
    assert y.dtype == torch.bfloat16
    assert net[1].weight.grad.dtype == torch.float32
