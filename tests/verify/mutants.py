"""Custom functions as people write them: good ones, and ones wrong in one way, with the check meant for it.

GOOD and WRONG are told at the end. Most of the wrong ones are a good twin with one thing changed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from primer.activations import tutorial_relu
from primer.verify.findings import Verdict


@dataclass(frozen=True)
class Entry:
    """A function, and what `verify` has to say of it.

    `flagged_by` is the one check meant for it, with `verdict`, and others may flag it, too; None: it is good,
    and nothing fails. WARN is what is loud by itself, or a matter of taste.
    """

    name: str
    thing: Any
    against: Callable[..., Any] | None = None
    flagged_by: str | None = None
    verdict: Verdict = Verdict.FAIL


# ReLU: the twin of the built-in, and what becomes of it.


class Relu(Function):
    """Right: saves its output, as the built-in does."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(g, y, 0)


class ReluByMaskedFill(Relu):
    """Right, though masked_fill forgets channels_last."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g.masked_fill(y <= 0, 0)


class ReluByWhere(Relu):
    """Right for every number; the slope at NaN is 0 where the built-in has 1."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y > 0, g, 0)


class SavesInput(Relu):
    """The start of those that look at the input in their backward."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)


class SlopeOneAtZero(SavesInput):
    """The tutorial's: the slope at 0 is 1, where the built-in has 0."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x < 0, 0, g)


class SlopeOneAtZeroDeclared(SlopeOneAtZero):
    """The same, on purpose."""

    verify = {"reference": torch.relu, "because": {"kink": "the article computes it so"}}  # noqa: RUF012


class EpsilonForZero(SavesInput):
    """Takes small numbers for 0, "because of rounding": units that are nearly off learn nothing."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 1e-6, g, 0)


class SignBit(SavesInput):
    """The slope at 0.0 is 1, and at -0.0 it is 0."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(torch.signbit(x), 0, g)


class NoMask(Relu):
    """The mask is forgotten: a straight-through gradient that nobody declared."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.clone()


class WritesUpstream(Relu):
    """Zeroes the gradient that it was given, which others may hold."""

    generate_vmap_rule = False

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        g[y <= 0] = 0
        return g


class InputOnContext(Relu):
    """Keeps the input as an attribute: no hook sees it, an in-place change of it goes unnoticed."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.x = inputs[0]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return torch.where(ctx.x <= 0, 0, g)


class OutputOnContext(Relu):
    """Keeps the output as an attribute: it refers to itself, and is never freed."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.y = output

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return torch.where(ctx.y <= 0, 0, g)


class MaskOnContext(Relu):
    """Keeps the mask as an attribute: checkpoints can't free it."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mask = output.detach() > 0

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return torch.where(ctx.mask, g, 0)


class TimesMask(Relu):
    """x * mask: NaN for minus infinity."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * (x > 0)


class GradientTimesMask(Relu):
    """g * mask: NaN where an infinite gradient meets a dead unit, as in an overflow step of a GradScaler."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * (y > 0)


class SwallowsNaN(Relu):
    """where(x > 0, x, 0) says that NaN is 0: a diverged net looks well."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0)


class Float32Gradient(Relu):
    """The gradient goes through float32, whatever it came as; autograd casts it back in silence."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, g.float())


class Float32Output(Relu):
    """Answers in float32, whatever it was given."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.float().clamp(min=0)


class NoGradient(Relu):
    """Returns None: nothing below it learns, in silence."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> None:
        return None


class SummedGradient(Relu):
    """The gradient has one entry, for all of them."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, g).sum().expand_as(y)


class WrongShape(Relu):
    """The gradient has another shape than the input."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, g).flatten()[:-1]


class FlatView(Relu):
    """.view(-1) refuses a transposed input: loud."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view(-1).clamp(min=0).view(x.shape)


class RawUpstream(Relu):
    """Reads the gradient's memory as if it were contiguous, as a hand-written kernel does."""

    generate_vmap_rule = False

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        steps = torch.empty(g.shape, device="meta").stride()
        return torch.where(y.contiguous() <= 0, 0, torch.as_strided(g, g.shape, steps))


class ByNumPy(Relu):
    """The forward leaves torch: no bfloat16, no vmap."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().cpu().numpy().clip(min=0))


class Noisy(Relu):
    """The gradient is another one each time, by a little."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, g * (1 + 1e-6 * torch.randn_like(g)))


class ScaledByLittle(Relu):
    """Wrong by a ten-thousandth: within the usual tolerance of gradcheck."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, g * (1 + 1e-4))


class InPlace(Relu):
    """Changes its input, and tells nobody."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.detach().clamp_(min=0)


class NoUpstream(Relu):
    """Asks for None instead of zeros, and does not look."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return g * (y > 0)


class OldStyle(Function):
    """forward(ctx, x), as most pages show it: no torch.func, no vmap, and they say so."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp(min=0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(g, y, 0)


class ReturnsInput(OldStyle):
    """The answer is the input itself where there is nothing to do."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x if bool((x > 0).all()) else x.clamp(min=0)
        ctx.save_for_backward(y)
        return y


class ClipsGradient(Relu):
    """Clips what goes through: wrong as soon as a gradient is larger than 1, right for one of ones."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, g.clamp(-1, 1))


class SquaresGradient(Relu):
    """g * g: right for a gradient of ones, as in y.sum().backward()."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, g * g)


class NormalizesGradient(Relu):
    """Divides the gradient by its norm where that is large: exploding gradients "mended" in one layer."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, g / g.norm().clamp(min=1))


KEPT: deque[Tensor] = deque(maxlen=100)  # people's has no end


class KeepsGraph(Relu):
    """A list "for debugging" keeps every activation alive, and all that it came from."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        KEPT.append(output)
        ctx.save_for_backward(output)


class KeepsValues(Relu):
    """The same without the graph: the activations alone."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        KEPT.append(output.detach())
        ctx.save_for_backward(output)


class MaskOnClass(Relu):
    """The mask is kept on the class, not on ctx: a second layer overwrites that of the first."""

    generate_vmap_rule = False
    mask: Tensor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        MaskOnClass.mask = output.detach() > 0

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return torch.where(MaskOnClass.mask, g, 0)


class EatsMask(Relu):
    """Multiplies the gradient into its mask in place: a second backward finds another mask."""

    generate_vmap_rule = False

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mask = (output.detach() > 0).to(output.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return ctx.mask.mul_(g)


BUFFERS: dict[Any, Tensor] = {}


class SharedBuffer(SavesInput):
    """Writes each answer of a shape into one buffer: the next call changes the answer of the last."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        buffer = BUFFERS.setdefault((x.shape, x.dtype), torch.empty(x.shape, dtype=x.dtype))
        return torch.clamp(x.detach(), min=0, out=buffer)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x <= 0, 0, g)


class FloatsForIntegers(Relu):
    """Answers whole numbers with floats, where relu keeps them whole."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(min=0.0)


class InPlaceMarked(Relu):
    """Right: changes its input and says so."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp_(min=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_dirty(inputs[0])
        ctx.save_for_backward(output)


def relu_in_place(x: Tensor) -> Tensor:
    """Of a copy, as a block does it after a layer."""
    return InPlaceMarked.apply(x.clone())


class Relu6(SavesInput):
    """The slope at 6 is 1, where the built-in has 0; at 0 they agree."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(0, 6)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where((x > 0) & (x <= 6), g, 0)


class Leaky(SavesInput):
    """Right: a leaky ReLU of slope 0.25."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.25 * x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, g, 0.25 * g)


class CountsZeroTwice(Leaky):
    """The slope at 0 is 1.25: both sides at once, which no subgradient is."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x >= 0, g, 0) + torch.where(x <= 0, 0.25 * g, 0)


class Absolute(SavesInput):
    """|x| whose slope at 0 is 2."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.abs()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, g, torch.where(x < 0, -g, 2 * g))


class ShiftedFirst(Relu):
    """relu(x) - 0.5, whose mask is taken from the answer after it was shifted."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(min=0).sub_(0.5)


# Functions with a second derivative.


class ReluSquared(SavesInput):
    """Right, twice differentiable: relu(x)**2."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(min=0) ** 2

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, 2 * x * g, 0)


class SavesIntermediate(ReluSquared):
    """Saves what it computed on the way: the second derivative is lost, in silence."""

    generate_vmap_rule = False

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0].detach().clamp(min=0))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (r,) = ctx.saved_tensors
        return torch.where(r > 0, 2 * r * g, 0)


class Detaches(ReluSquared):
    """Detaches in its backward: the second derivative is lost, in silence."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, 2 * x.detach() * g, 0)


class OnceUndeclared(ReluSquared):
    """once_differentiable, which is no guarantee of an error."""

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, 2 * x * g, 0)


class OnceDeclared(OnceUndeclared):
    """The same, on purpose."""

    verify = {"once_differentiable": True}  # noqa: RUF012


class RefusesSecond(ReluSquared):
    """Right: refuses a second derivative whenever one could be asked for."""

    generate_vmap_rule = False
    verify = {"once_differentiable": True}  # noqa: RUF012

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise NotImplementedError("relu_squared has no second derivative")
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, 2 * x * g, 0)


def relu_squared(x: Tensor) -> Tensor:
    return torch.relu(x) ** 2


class Silu(SavesInput):
    """Right: x * sigmoid(x), computed again in the backward."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.silu(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return g * (s + x * s * (1 - s))


class ForgetsSigmoid(Silu):
    """The product rule's second term is forgotten."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * torch.sigmoid(x)


class ScaledByMore(Silu):
    """Wrong by two thousandths."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 1.002 * Silu.backward(ctx, g)


class SavesThree(Silu):
    """Saves the input, the sigmoid and the answer, where the input would do."""

    generate_vmap_rule = False

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        (x,) = inputs
        ctx.save_for_backward(x, torch.sigmoid(x), output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x, _, y = ctx.saved_tensors
        s = torch.sigmoid(x)
        return g * (s + y * (1 - s))


class InFloat32(Silu):
    """Computes in float32, whatever it was given: float64 loses half its digits."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.silu(x.float()).to(x.dtype)


class WrongInFloat32(Silu):
    """Right in the dtype that finite differences are taken in, and five times too large where it trains."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        right: Tensor = Silu.backward(ctx, g)
        return 5 * right if g.dtype == torch.float32 else right


class RoundsOnTheWay(Silu):
    """Rounds to 16 bits after each step, where the built-in rounds once."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x / (1 + (-x).exp())

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        s = 1 / (1 + (-x).exp())
        return g * (s + x * s - x * s * s)


class Gelu(SavesInput):
    """Right: the GELU by the error function."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return F.gelu(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        density = torch.exp(-x * x / 2) / (2 * torch.pi) ** 0.5
        return g * ((1 + torch.erf(x / 2**0.5)) / 2 + x * density)


class GeluApproximatedBackward(Gelu):
    """The forward is exact, the backward that of the tanh approximation: a thousandth off."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.gelu_backward(g, x, approximate="tanh")


class Softplus(SavesInput):
    """Right: log(1 + exp(x)), where exp overflows nowhere."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return softplus(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * torch.sigmoid(x)


class Overflows(Softplus):
    """exp(x) / (1 + exp(x)) is NaN for large x: right at every input that one would try."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        e = x.exp()
        return g * (e / (1 + e))


def softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


class WrongTangent(Silu):
    """The jvp, for forward mode, says another derivative than the backward."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx: Any, t: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return t * torch.sigmoid(x)


# Surrogates.


class Sign(Function):
    """The sign, with the gradient of the identity between -1 and 1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() <= 1, g, 0)


class SignDeclared(Sign):
    """The same, on purpose."""

    verify = {"gradient": "surrogate"}  # noqa: RUF012


class ReversesGradient(Function):
    """Right: the identity whose gradient is reversed, as adversarial training writes it."""

    generate_vmap_rule = True
    verify = {"gradient": "surrogate"}  # noqa: RUF012

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return -g


class ReadsScale(Function):
    """Rounds to steps of a scale that it reads off the tensor with .item(): a compiled graph ends there."""

    verify = {"gradient": "surrogate"}  # noqa: RUF012

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        scale = max(x.abs().max().item(), 1e-8) / 127 if x.numel() else 1.0
        return (x / scale).round() * scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g.clone()


# Functions of several entries, tensors or outputs.


class Softmax(Function):
    """Right: over the last axis."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.softmax(x, -1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return y * (g - (g * y).sum(-1, keepdim=True))


class ForgetsOthers(Softmax):
    """Each entry's own part of the Jacobian only."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return y * (1 - y) * g


class CenteredOverBatch(Function):
    """x minus its mean; the hand-written vmap takes the mean over the samples, too."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x - x.mean()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g - g.mean()

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], x: Tensor) -> tuple[Tensor, int | None]:
        return CenteredOverBatch.apply(x), in_dims[0]


class Product(Function):
    """Right: x * y."""

    generate_vmap_rule = True
    verify = {"inputs": [{"shape": (5, 7)}, {"shape": (5, 7)}]}  # noqa: RUF012

    @staticmethod
    def forward(x: Tensor, y: Tensor) -> Tensor:
        return x * y

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, y = ctx.saved_tensors
        return g * y, g * x


class Exchanged(Product):
    """The two gradients are exchanged."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, y = ctx.saved_tensors
        return g * x, g * y


class SinCos(Function):
    """Right, with two outputs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.sin(), x.cos()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g_sin: Tensor, g_cos: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g_sin * x.cos() - g_cos * x.sin()


class ForgetsSecond(SinCos):
    """The second output's gradient is forgotten."""

    @staticmethod
    def backward(ctx: Any, g_sin: Tensor, g_cos: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g_sin * x.cos()


class UnusedSecond(SinCos):
    """Where only one output is used, the other's gradient is None: loud."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs)


class Scaled(Function):
    """Right: x times a constant, which has no gradient."""

    generate_vmap_rule = True
    verify = {"inputs": [{"shape": (5, 7)}, {"kind": "constant", "value": 3.0}]}  # noqa: RUF012

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x * factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g * ctx.factor, None


class Linear(Function):
    """Right: x @ weight.T + bias, in the type of the gradient under autocast."""

    generate_vmap_rule = True
    verify = {"inputs": [{"shape": (5, 7)}, {"shape": (3, 7)}, {"shape": (3,)}]}  # noqa: RUF012

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = (saved.to(g.dtype) for saved in ctx.saved_tensors)
        return g @ weight, g.mT @ x, g.sum(0)


class MeanForBias(Linear):
    """The bias's gradient is a mean over the batch, not a sum."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = (saved.to(g.dtype) for saved in ctx.saved_tensors)
        return g @ weight, g.mT @ x, g.mean(0)


class ForgetsBiasOfFirst(Linear):
    """Asks of the wrong argument whether a gradient is needed: a first layer's bias learns nothing."""

    generate_vmap_rule = False

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        grads = list(Linear.backward(ctx, g))
        if not ctx.needs_input_grad[0]:
            grads[0] = grads[2] = None
        return tuple(grads)


class NotForAutocast(Linear):
    """As it is mostly written: under autocast the backward multiplies two types, loudly."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return g @ weight, g.mT @ x, g.sum(0)


class WeightTransposed(Linear):
    """The weight's gradient is transposed, which a square weight does not show by its shape."""

    verify = {"inputs": [{"shape": (5, 4)}, {"shape": (4, 4)}, {"shape": (4,)}]}  # noqa: RUF012

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        grad_x, grad_weight, grad_bias = Linear.backward(ctx, g)
        return grad_x, grad_weight.mT, grad_bias


class Prelu(Function):
    """Right: the slope below 0 is learned."""

    generate_vmap_rule = True
    verify = {"inputs": [{"shape": (5, 7)}, {"shape": ()}]}  # noqa: RUF012

    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        return torch.where(x > 0, x, slope * x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope = ctx.saved_tensors
        return torch.where(x > 0, g, slope * g), torch.where(x > 0, 0, x * g).sum()


class NotSummed(Prelu):
    """The slope's gradient has the input's shape: autograd sums it, as for a broadcast argument."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope = ctx.saved_tensors
        return torch.where(x > 0, g, slope * g), torch.where(x > 0, 0, x * g)


class FirstRowOnly(Prelu):
    """A slope for each of 7 columns, whose gradient is that of the first row: summed over the wrong axis."""

    verify = {"inputs": [{"shape": (7, 7)}, {"shape": (7,)}]}  # noqa: RUF012

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, slope = ctx.saved_tensors
        return torch.where(x > 0, g, slope * g), torch.where(x > 0, 0, x * g).sum(1)


# Losses.

ROWS = {
    "inputs": [
        {"shape": (16, 5)},
        {"shape": (16,), "kind": "classes", "num_classes": 5},
        {"kind": "constant", "value": 0},
    ]
}


class CrossEntropy(Function):
    """Right: softmax and cross entropy in one, a mean over the rows that are not ignored."""

    generate_vmap_rule = True
    verify = ROWS

    @staticmethod
    def forward(logits: Tensor, target: Tensor, ignored: int) -> Tensor:
        chosen = torch.log_softmax(logits, -1).gather(1, target[:, None])[:, 0]
        return -torch.where(target == ignored, 0, chosen).sum() / (target != ignored).sum()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.ignored = inputs[2]

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        logits, target = ctx.saved_tensors
        counts = target != ctx.ignored
        wrong = torch.softmax(logits, -1) - F.one_hot(target, logits.shape[1])
        return torch.where(counts[:, None], g * wrong / counts.sum(), 0), None, None


class CountsIgnored(CrossEntropy):
    """The mean is over all rows, the ignored ones, too; forward and backward agree."""

    @staticmethod
    def forward(logits: Tensor, target: Tensor, ignored: int) -> Tensor:
        chosen = torch.log_softmax(logits, -1).gather(1, target[:, None])[:, 0]
        return -torch.where(target == ignored, 0, chosen).sum() / len(target)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        logits, target = ctx.saved_tensors
        counts = target != ctx.ignored
        wrong = torch.softmax(logits, -1) - F.one_hot(target, logits.shape[1])
        return torch.where(counts[:, None], g * wrong / len(target), 0), None, None


class LearnsIgnored(CrossEntropy):
    """The gradient forgets that some rows are ignored."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        logits, target = ctx.saved_tensors
        wrong = torch.softmax(logits, -1) - F.one_hot(target, logits.shape[1])
        return g * wrong / (target != ctx.ignored).sum(), None, None


class ExpOverflows(CrossEntropy):
    """The logarithm of a sum of exponentials, as it stands in the book: infinite for a logit of 1000."""

    @staticmethod
    def forward(logits: Tensor, target: Tensor, ignored: int) -> Tensor:
        chosen = logits.gather(1, target[:, None])[:, 0] - logits.exp().sum(-1).log()
        return -torch.where(target == ignored, 0, chosen).sum() / (target != ignored).sum()


class ForgetsUpstream(CrossEntropy):
    """A loss whose backward takes it for the last: 0.1 * loss trains as the loss."""

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return CrossEntropy.backward(ctx, torch.ones_like(g))


def cross_entropy(logits: Tensor, target: Tensor, ignored: int) -> Tensor:
    return F.cross_entropy(logits, target, ignore_index=ignored)


# Modules.


class PreluModule(nn.Module):
    """Right: a learned slope."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.25))

    def forward(self, x: Tensor) -> Tensor:
        return Prelu.apply(x, self.slope)


class SlopeNotRegistered(nn.Module):
    """The slope is a plain tensor: no optimizer sees it, no checkpoint holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.tensor(0.25, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return Prelu.apply(x, self.slope)


class HoldsLambda(nn.Module):
    """Can't be pickled, so neither sent to a worker nor saved."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = lambda x: Relu.apply(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x)


class CountsCalls(nn.Module):
    """Warms up over its calls, counted in its forward: evaluation and checkpointing count, too."""

    def __init__(self) -> None:
        super().__init__()
        self.num_calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.num_calls += 1
        return Relu.apply(x) * min(1.0, self.num_calls / 1000)


GOOD = (
    Entry("relu", Relu, torch.relu),
    Entry("relu_masked_fill", ReluByMaskedFill, torch.relu),
    Entry("relu_where", ReluByWhere, torch.relu),
    Entry("relu_old_style", OldStyle, torch.relu),
    Entry("relu_in_place_marked", relu_in_place, torch.relu),
    Entry("relu_slope_1_declared", SlopeOneAtZeroDeclared),
    Entry("relu_squared", ReluSquared, relu_squared),
    Entry("relu_squared_alone", ReluSquared),
    Entry("once_differentiable_declared", OnceDeclared, relu_squared),
    Entry("second_derivative_refused", RefusesSecond, relu_squared),
    Entry("leaky", Leaky),
    Entry("silu", Silu, F.silu),
    Entry("silu_alone", Silu),
    Entry("gelu", Gelu, F.gelu),
    Entry("softplus", Softplus, softplus),
    Entry("sign_declared", SignDeclared),
    Entry("sign_declared_against_sign", SignDeclared, torch.sign),
    Entry("reverses_gradient", ReversesGradient),
    Entry("softmax", Softmax, lambda x: torch.softmax(x, -1)),
    Entry("product", Product, torch.mul),
    Entry("two_outputs", SinCos),
    Entry("constant_argument", Scaled, torch.mul),
    Entry("linear", Linear, F.linear),
    Entry("prelu", Prelu),
    Entry("prelu_not_summed", NotSummed),
    Entry("prelu_module", PreluModule, nn.PReLU()),
    Entry("cross_entropy", CrossEntropy, cross_entropy),
)

WRONG = (
    # those of the notes
    Entry("slope_1_at_zero", SlopeOneAtZero, torch.relu, "kink"),
    Entry("no_mask", NoMask, None, "gradcheck"),
    Entry("writes_upstream", WritesUpstream, torch.relu, "purity"),
    Entry("input_on_context", InputOnContext, torch.relu, "saved_tensors"),
    Entry("output_on_context", OutputOnContext, torch.relu, "no_leak"),
    Entry("times_mask", TimesMask, torch.relu, "nonfinite_forward"),
    Entry("gradient_times_mask", GradientTimesMask, torch.relu, "nonfinite_backward"),
    Entry("swallows_nan", SwallowsNaN, torch.relu, "nonfinite_forward"),
    Entry("float32_gradient", Float32Gradient, None, "backward_contract", Verdict.WARN),
    Entry("float32_output", Float32Output, torch.relu, "reference_forward"),
    Entry("no_gradient", NoGradient, None, "gradcheck"),
    Entry("summed_gradient", SummedGradient, None, "gradcheck"),
    Entry("wrong_shape", WrongShape, None, "backward_contract"),
    Entry("flat_view", FlatView, torch.relu, "layouts"),
    Entry("by_numpy", ByNumPy, torch.relu, "low_precision", Verdict.WARN),
    Entry("noisy", Noisy, torch.relu, "determinism"),
    Entry("scaled_by_little", ScaledByLittle, None, "gradcheck"),
    Entry("scaled_by_more", ScaledByMore, None, "gradcheck"),
    Entry("in_place", InPlace, torch.relu, "purity"),
    Entry("no_upstream", NoUpstream, torch.relu, "parts_of_inputs"),
    Entry("returns_input", ReturnsInput, torch.relu, "purity"),
    Entry("saves_intermediate", SavesIntermediate, relu_squared, "gradgradcheck"),
    Entry("detaches", Detaches, relu_squared, "gradgradcheck"),
    Entry("once_undeclared", OnceUndeclared, None, "gradient_penalty"),
    # ours: of the gradient that comes from above
    Entry("clips_gradient", ClipsGradient, None, "linearity"),
    Entry("squares_gradient", SquaresGradient, None, "linearity"),
    Entry("normalizes_gradient", NormalizesGradient, None, "linearity"),
    Entry("forgets_upstream", ForgetsUpstream, None, "linearity"),
    Entry("raw_upstream", RawUpstream, torch.relu, "layouts"),
    Entry("forgets_second_output", ForgetsSecond, None, "gradcheck"),
    Entry("unused_second_output", UnusedSecond, None, "parts_of_inputs"),
    # of the derivative
    Entry("forgets_sigmoid", ForgetsSigmoid, None, "gradcheck"),
    Entry("gelu_approximated_backward", GeluApproximatedBackward, F.gelu, "reference_backward"),
    Entry("shifted_first", ShiftedFirst, None, "gradcheck"),
    Entry("softmax_forgets_others", ForgetsOthers, None, "gradcheck"),
    Entry("exchanged", Exchanged, None, "gradcheck"),
    Entry("weight_transposed", WeightTransposed, F.linear, "reference_backward"),
    Entry("mean_for_bias", MeanForBias, None, "gradcheck"),
    Entry("summed_over_wrong_axis", FirstRowOnly, None, "gradcheck"),
    Entry("forgets_bias_of_first", ForgetsBiasOfFirst, None, "parts_of_inputs"),
    Entry("sign_undeclared", Sign, None, "gradcheck"),
    Entry("counts_ignored", CountsIgnored, cross_entropy, "reference_forward"),
    Entry("learns_ignored", LearnsIgnored, None, "gradcheck"),
    # of kinks and of the ends of the numbers
    Entry("relu6_slope_1_at_six", Relu6, F.relu6, "kink"),
    Entry("counts_zero_twice", CountsZeroTwice, None, "kink"),
    Entry("absolute_slope_2", Absolute, None, "kink"),
    Entry("epsilon_for_zero", EpsilonForZero, torch.relu, "neighbours"),
    Entry("sign_bit", SignBit, tutorial_relu, "kink"),
    Entry("overflows", Overflows, softplus, "reference_backward"),
    Entry("exp_overflows", ExpOverflows, cross_entropy, "reference_forward"),
    Entry("in_float32", InFloat32, None, "gradcheck"),
    Entry("wrong_in_float32", WrongInFloat32, None, "single_precision"),
    Entry("rounds_on_the_way", RoundsOnTheWay, F.silu, "low_precision"),
    Entry("floats_for_integers", FloatsForIntegers, torch.relu, "integers", Verdict.WARN),
    # of memory and state
    Entry("keeps_graph", KeepsGraph, torch.relu, "no_leak"),
    Entry("keeps_values", KeepsValues, torch.relu, "no_leak"),
    Entry("saves_three", SavesThree, F.silu, "saved_tensors", Verdict.WARN),
    Entry("mask_on_context", MaskOnContext, None, "checkpointing"),
    Entry("mask_on_class", MaskOnClass, torch.relu, "backward_contract"),
    Entry("eats_mask", EatsMask, torch.relu, "backward_contract"),
    Entry("shared_buffer", SharedBuffer, torch.relu, "backward_contract"),
    Entry("counts_calls", CountsCalls, None, "determinism"),
    # of what it is used with
    Entry("old_style", OldStyle, torch.relu, "transforms", Verdict.WARN),
    Entry("centered_over_batch", CenteredOverBatch, None, "transforms"),
    Entry("wrong_tangent", WrongTangent, None, "transforms"),
    Entry("not_for_autocast", NotForAutocast, F.linear, "autocast", Verdict.WARN),
    Entry("reads_scale", ReadsScale, None, "compile", Verdict.WARN),
    Entry("reads_scale_of_samples", ReadsScale, None, "transforms", Verdict.WARN),
    Entry("sign_exported", SignDeclared, None, "export", Verdict.WARN),
    Entry("gelu_trained", GeluApproximatedBackward, F.gelu, "training_parity", Verdict.WARN),
    Entry("slope_not_registered", SlopeNotRegistered, None, "module"),
    Entry("holds_lambda", HoldsLambda, None, "module", Verdict.WARN),
)
