"""What checks compare numbers by, and the words they tell them in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import reason
from primer.verify.findings import Finding, warned
from primer.verify.subject import Subject

ZERO = 1e-7  # chosen: what float32 may leave of gradients that cancel out
SAME = 1e-5  # chosen: rounding of float32 within; what is looked for here is wrong by far more


def same(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether they are equal but for rounding; no gradient is one of zeros."""
    if one is None or other is None:
        return all(part is None or not part.any() for part in (one, other))
    if one.shape != other.shape:
        return False
    if not other.is_floating_point():
        return torch.equal(one, other)
    scale = float(other.detach().abs().nan_to_num(0.0, 0.0, 0.0).max()) if other.numel() else 0.0
    return torch.allclose(one, other.to(one.dtype), rtol=SAME, atol=max(SAME * scale, ZERO), equal_nan=True)


def are_same(some: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> bool:
    """Whether as many are there, each the same as the other."""
    return len(some) == len(others) and all(map(same, some, others))


# By how much two right ways to compute may differ. chosen: torch's own softplus is 1e-10 off in float64,
# and what is computed in float32 by 1e-8; a few operations may round in half precision.
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2**-5, torch.float16: 2**-8}


def allowed(subject: Subject, other: Tensor, beside: Tensor | float = 1.0) -> Tensor:
    """How far a number may be from the reference's `other`: the declared tolerance, or rounding.

    Entries of elementwise functions count by their own size, others by the largest, since they are sums;
    `beside` is the size of what they are made from.
    """
    dtype = other.dtype if other.dtype in ROUNDING else torch.float64
    info, slack = torch.finfo(dtype), ROUNDING[dtype]
    size = other.detach().double().abs().nan_to_num(0.0, 0.0, 0.0)
    largest = size.max() if size.numel() else size.sum()
    size = size if subject.is_elementwise else largest.expand_as(size)
    margin = slack * size + slack * beside + 4 * info.smallest_normal * info.eps
    return torch.maximum(margin, (subject.spec.tolerance or 0.0) * (size + largest.clamp(max=1.0)))


def worst(mine: Tensor, theirs: Tensor, margin: Tensor, x: Tensor | None = None) -> int | None:
    """Where they are furthest apart, if by more than `margin`; given inputs `x`, the plainest that shows it.

    It shows it where they are at least half as far apart as anywhere.

    >>> x = torch.tensor([1.0, 2.5, 3.0, 4.0])
    >>> worst(2 * x, torch.tensor([2.01, 6.0, 7.5, 8.0]), torch.full([4], 0.001), x)
    2
    """
    a, b = mine.double(), theirs.double()
    error = (a - b).abs()
    is_right = (a == b) | (a.isnan() & b.isnan()) | (error <= margin)
    places = (~is_right).flatten().nonzero().flatten()
    if not places.numel():
        return None
    errors = error.flatten()[places].nan_to_num(nan=torch.inf)
    if x is None:
        return int(places[errors.argmax()])
    places = places[errors >= errors.max() / 2]
    keys = [(len(told(value)), abs(value), value < 0) for value in x.flatten()[places].tolist()]
    return int(places[keys.index(min(keys))])


def is_single(values: Tensor) -> bool:
    """Whether these float64 numbers were computed in float32, as far as one sees."""
    values = values.detach().double()
    return torch.equal(values.float().double(), values) and not torch.equal(values.round(decimals=3), values)


def told(value: float | Tensor) -> str:
    """A number in a sentence."""
    text = f"{float(value.detach() if isinstance(value, Tensor) else value):.6g}"
    return "-0.0" if text == "-0" else text


def brief(dtype: torch.dtype) -> str:
    """Its name, without the package's."""
    return str(dtype).removeprefix("torch.")


def call_text(
    args: Sequence[Any],
    mine: Tensor | str,
    theirs: Tensor | str | None = None,
    ref: str | None = None,
    g: Tensor | None = None,
) -> str:
    """A call as one would type it, and what it gives, and `ref` does; with `g` the same of its gradient."""
    gives, other = (value if isinstance(value, str | None) else told(value) for value in (mine, theirs))
    if gives == other:  # in six digits
        gives, other = repr(float(mine)), repr(float(theirs or 0.0))
    gives = f"{gives}, but {ref} gives {other}" if other is not None else f"{gives}"
    texts = ", ".join(_arg_text(arg, "" if g is None else ", requires_grad=True") for arg in args)
    if g is None:
        return f"f({texts})  # {gives}"
    if len(args) > 1 or not texts.startswith("torch.tensor"):
        return f"f({texts}).backward(g)  # {gives}"
    upstream = "" if bool((g == 1).all()) else _arg_text(g, "")
    return f"x = {texts}; f(x).backward({upstream}); x.grad  # {gives}"


def _arg_text(arg: Any, more: str) -> str:
    """One argument: the number that it holds, or what it is drawn like."""
    if not isinstance(arg, Tensor):
        return repr(arg)
    sizes, flat = ", ".join(map(str, arg.shape)), arg.detach().flatten()
    if not flat.numel() or not bool(((flat == flat[0]) | (flat.isnan() & flat[0].isnan())).all()):
        return f"torch.randn({sizes})" if arg.is_floating_point() else f"<{brief(arg.dtype)} ({sizes})>"
    text = told(flat[0]) if flat.new_tensor(float(told(flat[0]))) == flat[0] else repr(flat[0].item())
    text = re.sub("(nan|inf)", r"torch.\1", text) + (".0" if text.lstrip("-").isdigit() else "")
    return f"torch.tensor({text}{'' if arg.dtype == torch.float32 else f', dtype={arg.dtype}'}{more})"


def loud(check: str, words: str, error: Exception) -> Finding:
    """It raises where it needn't, which loses nothing in silence."""
    return warned(check, f"It raises{words}: {reason(error)}", None, "Make it take that, if it is needed.")
