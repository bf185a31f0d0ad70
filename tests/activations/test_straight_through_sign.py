"""straight_through_sign is a step whose gradient is that of a hard tanh, and a binary net learns by it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import hardtanh

from primer.activations import StraightThroughSign, straight_through_sign
from primer.activations.straight_through_sign import StraightThroughSignFunction

VALUES = torch.tensor([-torch.inf, -1.1, -1.0, -0.5, -1e-40, -0.0, 0.0, 1e-40, 0.5, 1.0, 1.1, torch.inf])


def slope_of(activation: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(activation(x).sum(), x)
    return slope


def test_forward_is_the_sign() -> None:
    assert torch.equal(straight_through_sign(VALUES), torch.sign(VALUES))


def test_gradient_passes_from_minus_1_to_1() -> None:
    slope = slope_of(straight_through_sign, VALUES)
    assert slope.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]
    inside = VALUES[VALUES.abs() != 1]  # where hardtanh has the other convention
    assert torch.equal(slope_of(straight_through_sign, inside), slope_of(hardtanh, inside))


def test_nan_is_not_swallowed() -> None:
    x = torch.tensor([torch.nan])
    assert straight_through_sign(x).isnan().all()
    assert torch.equal(slope_of(straight_through_sign, x), slope_of(hardtanh, x))


def test_a_gradient_that_is_not_finite_stops_where_the_net_is_saturated() -> None:
    x = torch.tensor([2.0, 0.5], requires_grad=True)
    straight_through_sign(x).backward(torch.tensor([torch.inf, torch.nan]))
    torch.testing.assert_close(x.grad, torch.tensor([0.0, torch.nan]), equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_is_the_surrogate_that_it_declares(dtype: torch.dtype) -> None:
    assert StraightThroughSignFunction.verify["gradient"] == "surrogate"
    reference = StraightThroughSignFunction.verify["reference"]
    x = torch.cat([VALUES, torch.tensor([torch.nan]), torch.randn(50)]).to(dtype)
    torch.testing.assert_close(straight_through_sign(x), reference(x), rtol=0, atol=0, equal_nan=True)
    assert torch.equal(slope_of(straight_through_sign, x), slope_of(reference, x))
    x = x[:-40].detach().requires_grad_()
    ours, theirs = (
        torch.autograd.grad((f(x) * x).square().nansum(), x, create_graph=True)[0]
        for f in (straight_through_sign, reference)
    )
    ours, theirs = (torch.autograd.grad(grad.nansum(), x)[0] for grad in (ours, theirs))
    torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_its_derivative_is_not_the_slope_of_the_step() -> None:
    x = torch.tensor([0.5, -0.5], dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(straight_through_sign, x)


def test_can_be_mapped_over_and_differentiated() -> None:
    x = VALUES.reshape(3, 4)
    slope = (x.abs() <= 1).float()
    per_row = torch.vmap(torch.func.grad(lambda row: straight_through_sign(row).sum()))
    assert torch.equal(per_row(x), slope)
    shared = torch.vmap(lambda row: torch.func.vjp(straight_through_sign, row)[1](torch.ones(4))[0])
    assert torch.equal(shared(x), slope)


# Dynamo itself instantiates a Function: https://github.com/pytorch/pytorch/issues/128439
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiled_it_keeps_its_gradient() -> None:
    compiled = torch.compile(straight_through_sign, fullgraph=True, backend="aot_eager")
    assert torch.equal(slope_of(compiled, VALUES), (VALUES.abs() <= 1).float())


def test_module_wraps_the_function() -> None:
    module = StraightThroughSign()
    assert repr(module) == "StraightThroughSign()"
    assert not module.state_dict()
    exported = torch.export.export(module, (VALUES,)).module()
    for twin in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module)), exported):
        assert torch.equal(twin(VALUES), torch.sign(VALUES))


def test_layouts_and_types_are_those_of_the_sign() -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    for given in (x, x.transpose(1, 3), x[..., ::2], x[:, :1].expand(2, 3, 4, 5), x[0, 0, 0, 0], x[:0]):
        y = straight_through_sign(given)
        assert torch.equal(y, torch.sign(given))
        assert y.stride() == torch.sign(given).stride()
    for dtype in (torch.int64, torch.uint8, torch.bool):
        assert straight_through_sign(torch.tensor([0, 3]).to(dtype)).dtype == dtype


def test_what_the_sign_itself_can_not_learn() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 2)
    target = (x[:, :1] * x[:, 1:] > 0).float()  # same signs: no linear rule tells

    def loss_after(activation: nn.Module) -> float:
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(2, 32), activation, nn.Linear(32, 1))
        net[2].requires_grad_(False)
        optimizer = torch.optim.Adam([*net[0].parameters()], lr=0.03)
        for _ in range(60):
            optimizer.zero_grad()
            loss = (net(x) - target).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    class Sign(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sign(x)

    assert loss_after(StraightThroughSign()) < 0.7 * loss_after(Sign())
