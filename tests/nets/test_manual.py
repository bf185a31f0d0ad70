"""The gradient derived by hand is the gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from primer.activations import Clamp, CustomReLU, TutorialReLU
from primer.errors import ConfigError
from primer.nets import Manual
from primer.nets.manual import TwoLayerFunction, relu_slope_at_zero


def inputs(bias: bool) -> list[Tensor | None]:
    """x: (5, 4), w1: (4, 3), b1, w2: (3, 2), b2 in float64, with every hidden value away from the kink."""
    torch.manual_seed(0)
    shapes = [(5, 4), (4, 3), (3,), (3, 2), (2,)]
    x, w1, b1, w2, b2 = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    assert (x @ w1 + b1).abs().min() > 1e-3
    assert (x @ w1).abs().min() > 1e-3
    return [x, w1, b1, w2, b2] if bias else [x, w1, None, w2, None]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("slope_at_zero", [0, 1])
def test_first_and_second_derivative_agree_with_differences(bias: bool, slope_at_zero: int) -> None:
    def net(*tensors: Tensor | None) -> Tensor:
        y: Tensor = TwoLayerFunction.apply(*tensors, slope_at_zero)[0]
        return y

    assert torch.autograd.gradcheck(net, inputs(bias), atol=1e-7, rtol=1e-7)
    assert torch.autograd.gradgradcheck(net, inputs(bias), atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("wanted", range(5))
def test_gives_only_the_gradients_that_are_needed(wanted: int) -> None:
    tensors = inputs(bias=True)
    everything = torch.autograd.grad(TwoLayerFunction.apply(*tensors, 0)[0].sum(), tensors)
    frozen = [tensor.detach().requires_grad_(i == wanted) for i, tensor in enumerate(tensors)]
    y = TwoLayerFunction.apply(*frozen, 0)[0]
    grads = TwoLayerFunction.backward(y.grad_fn, torch.ones_like(y), torch.zeros(5, 3).double())
    assert [grad is not None for grad in grads[:5]] == [i == wanted for i in range(5)]
    assert torch.equal(grads[wanted], everything[wanted])


RELUS = [
    (nn.ReLU(), 0),
    (nn.ReLU(inplace=True), 0),
    (CustomReLU(), 0),
    (TutorialReLU(), 1),
    (nn.LeakyReLU(0.0), 0),
    (nn.Sequential(nn.ReLU(), nn.ReLU()), 0),
]


@pytest.mark.parametrize(("activation", "slope"), RELUS, ids=str)
def test_takes_over_the_slope_at_0(activation: nn.Module, slope: int) -> None:
    assert relu_slope_at_zero(activation) == slope
    with torch.no_grad():
        assert relu_slope_at_zero(activation) == slope


def test_takes_over_the_slope_of_clamp_from_the_running_torch() -> None:
    x = torch.zeros(1, requires_grad=True)
    x.clamp(min=0).backward()
    assert relu_slope_at_zero(Clamp()) == x.grad.item()


class HalfAtZero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, torch.zeros_like(x))


class BumpInTheMiddle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where((x > 1) & (x < 50), 2 * x, x.relu())


class WrongGradient(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0).detach() + 0 * x


NO_RELUS = [nn.GELU(), nn.LeakyReLU(), nn.SiLU(), nn.Tanh(), nn.ReLU6(), nn.Softplus(), nn.Identity()]
NO_RELUS += [nn.PReLU(init=0.0), nn.Dropout(), nn.Softmax(1), nn.GLU()]
NO_RELUS += [HalfAtZero(), BumpInTheMiddle(), WrongGradient()]


@pytest.mark.parametrize("activation", NO_RELUS, ids=str)
def test_refuses_anything_but_a_relu(activation: nn.Module) -> None:
    with pytest.raises(ConfigError) as error:
        Manual(3, 2, activation, hidden_dim=4)
    assert str(error.value) == (
        f"net=manual: derives its gradient by hand for a ReLU; activation={type(activation).__name__}() "
        "is none; use relu, custom_relu, tutorial_relu or clamp"
    )
