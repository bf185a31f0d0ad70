"""A picture of an elementwise function and its slope against the reference: both, and how they differ."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from primer.config.targets import import_from_here
from primer.errors import UsageError
from primer.verify.ask import undisturbed
from primer.verify.subject import Call, Subject
from primer.verify.subjects import subject_from

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REACH, POINTS = 4.0, 801  # chosen: where activations bend


def draw_part(
    part: Any,
    *overrides: str,
    path: Path,
    against: str | Call | None = None,
    config_dir: str | Path | None = None,
) -> None:
    """Draw values and slopes of what `primer.verify` is asked, and differences to a reference, to a PNG.

    Raises UsageError where it is no function of one number.
    """
    if isinstance(part, str) and part.startswith("net="):
        raise UsageError(f"--picture: {part} is no function of one number, so it has no curve")
    import_from_here()
    with undisturbed():
        subject = subject_from(part, overrides, against, config_dir)
        if not subject.is_elementwise:
            words = f"{subject.name} is no function of one number, so there is no curve of it"
            raise UsageError(f"--picture: {words}")
        _draw(subject, path)


def _draw(subject: Subject, path: Path) -> None:
    from matplotlib.figure import Figure

    x = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    x = torch.cat([x, torch.tensor(subject.kinks, dtype=torch.float64)]).sort().values
    own = _curves(subject.at(torch.float64), x)
    other = _curves(subject.reference_at(torch.float64), x) if subject.reference else None
    figure = Figure(figsize=(10, 6 if other else 3.4), layout="constrained")
    axes: Any = figure.subplots(2 if other else 1, 2, squeeze=False)
    for column, word in enumerate(("value", "slope")):
        top = axes[0][column]
        if other:
            top.plot(x, other[column], color="0.6", linewidth=4, label=subject.reference_name)
        top.plot(x, own[column], color="C0", linewidth=1.4, label=subject.name)
        top.legend(frameon=False)
        _dress(top, word, subject, x, own[column])
        if other:
            difference = own[column] - other[column]
            axes[1][column].plot(x, difference, color="C3", linewidth=1.2)
            _dress(axes[1][column], f"difference of the {word}", subject, x, difference)
    figure.savefig(path, dpi=120)


def _curves(call: Call, x: Tensor) -> tuple[Tensor, Tensor]:
    given = x.clone().requires_grad_()
    answer = call(given)
    (slope,) = torch.autograd.grad(answer, given, torch.ones_like(answer))
    return answer.detach(), slope.detach()


def _dress(axes: Axes, title: str, subject: Subject, x: Tensor, values: Tensor) -> None:
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    for kink in subject.kinks:
        index = int((x - kink).abs().argmin())
        if abs(float(x[index]) - kink) < 1e-9:
            axes.plot([kink], [float(values[index])], "o", color="C3", markersize=5)
