"""A comparison as a picture: curves with bands; of numbers that were switched also what they led to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from primer.compare.comparison import Comparison
from primer.compare.curves import AXES, Band, bands, curve_of, is_log
from primer.compare.groups import Group
from primer.compare.settings import label_of, numeric_keys
from primer.direction import is_falling
from primer.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
MAX_LINES = 8  # chosen: as many colours as can be told apart; the best ones
MAX_PANELS = 9
ROOM = 0.08  # of an axis, which a number below it takes
MAX_CELLS = 100  # of a heat map, in which numbers can be read
# Okabe and Ito's colours, which colour-blind people tell apart: https://jfly.uni-koeln.de/color
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
PANEL = 5.2, 3.6  # inches
LOG_KEYS = ("lr", "batch_size", "weight_decay", "eps", "hidden_dim")  # chosen over decades, or by doubling
WIDE = 8  # times, of any other number


def check_name(path: Path) -> None:
    """Raise UsageError for a file that no picture can be written to."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: expected a file that ends in {', '.join(FORMATS)}")


def figure_of(found: Comparison, *, over: str, smooth: float, scale: str) -> Figure:
    """What of it says most: a heat map, a line over a number, small multiples, or curves."""
    numeric = numeric_keys(found.by, [group.values for group in found.groups])
    if len(numeric) >= 2:
        return _heat_map(found, numeric[0], numeric[1])
    if numeric:
        return _line_and_curves(found, numeric[0], over, smooth, scale)
    return _multiples(found, over, smooth, scale)


def _figure(num_panels: int, *, has_one_scale: bool = False) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    num_columns = min(num_panels, 3)
    num_rows = -(-num_panels // num_columns)
    figure = Figure(figsize=(PANEL[0] * num_columns, PANEL[1] * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False, sharey=has_one_scale)
    for one in axes.flat:
        one.yaxis.set_tick_params(labelleft=True)
        one.grid(alpha=0.3)
        one.spines[["top", "right"]].set_visible(False)
    for one in axes.flat[num_panels:]:
        one.set_axis_off()
    return figure, list(axes.flat[:num_panels])


def _multiples(found: Comparison, over: str, smooth: float, scale: str) -> Figure:
    """A panel for each value of the first of two switches, a line for each of the others."""
    first, *rest = found.by or ("",)
    values = list(dict.fromkeys(group.values[first] for group in found.groups)) if rest else [""]
    values = values[:MAX_PANELS]
    figure, panels = _figure(len(values), has_one_scale=True)
    keys = rest or found.by
    labels = list(dict.fromkeys(_label(group, keys) for group in found.groups))
    limits = []
    for axes, value in zip(panels, values, strict=True):
        groups = [group for group in found.groups if not rest or group.values[first] == value]
        limits.append(_draw_curves(axes, found, groups, keys, labels, over, smooth, scale))
        if rest:
            axes.set_title(_plain(label_of({first: value})), fontsize=10)
    if rest and scale == "auto" and any(limits):
        for axes in panels:
            axes.set_yscale("log")
    _name_what_is_left(figure, found, MAX_LINES * len(values))
    return figure


def _label(group: Group, keys: Sequence[str]) -> str:
    return _plain(label_of({key: group.values[key] for key in keys}))


def _plain(text: str) -> str:
    """A text that matplotlib takes for no formula."""
    return text.replace("$", r"\$")


def _draw_curves(
    axes: Axes,
    found: Comparison,
    groups: Sequence[Group],
    keys: Sequence[str],
    labels: Sequence[str],
    over: str,
    smooth: float,
    scale: str,
) -> bool:
    """Mean and band of the best groups; whether on a log scale."""
    metric = curve_of(found.metric)
    lines: list[tuple[Group, Band]] = []
    for group in groups[:MAX_LINES]:
        lines += [(group, band) for band in bands([group], metric, over=over, smooth=smooth)]
    with_log = is_log([line.mean for _, line in lines], scale)
    for place, (group, line) in enumerate(lines):
        name = _label(group, keys)
        colour = COLOURS[labels.index(name) % len(COLOURS)]
        dash = "--" if is_drawn(line, [earlier for _, earlier in lines[:place]]) else "-"
        marked = "o" if len(line.x) == 1 else dash  # a point has no line
        axes.plot(line.x, line.mean, marked, color=colour, linewidth=1.6, label=f"{name} (n={line.n})")
        low = line.low_above(zero=with_log)
        axes.fill_between(line.x, low, line.high, color=colour, alpha=0.18, linewidth=0)
    if with_log:
        axes.set_yscale("log")
    axes.set_xlabel(AXES[over])
    axes.set_ylabel(
        _plain(f"{metric}, mean and standard deviation" if any(line.n > 1 for _, line in lines) else metric)
    )
    if lines:
        axes.legend(frameon=False, fontsize=8)
    return with_log


def is_drawn(line: Band, earlier: Sequence[Band]) -> bool:
    """Whether one that is drawn already has the same curve, which this one would hide."""
    return any(np.array_equal(line.mean, other.mean) for other in earlier)


def _line_and_curves(found: Comparison, key: str, over: str, smooth: float, scale: str) -> Figure:
    """The metric over a number, a line for each of the other settings; beside it the best ones' curves."""
    figure, (left, right) = _figure(2)
    rest = [other for other in found.by if other != key]
    for index, label in enumerate(dict.fromkeys(_label(group, rest) for group in found.groups)):
        groups = [group for group in found.groups if _label(group, rest) == label and group.runs]
        groups.sort(key=lambda group: float(group.values[key]))
        left.errorbar(
            [float(group.values[key]) for group in groups],
            [group.mean for group in groups],
            yerr=[0.0 if np.isnan(group.sd) else group.sd for group in groups],
            marker="o",
            capsize=3,
            color=COLOURS[index % len(COLOURS)],
            label=label if rest else None,
        )
    all_numbers = sorted({float(group.values[key]) for group in found.groups})
    if is_log_key(key, all_numbers):
        left.set_xscale("log")
    if _have_room(np.log10(all_numbers) if left.get_xscale() == "log" else np.array(all_numbers)):
        left.set_xticks(all_numbers, [f"{value:g}" for value in all_numbers])
        left.minorticks_off()
    if is_log([np.array([group.mean for group in found.groups])], scale):
        left.set_yscale("log")
    left.set_xlabel(_plain(key))
    left.set_ylabel(_plain(f"{found.metric}, mean and standard deviation"))
    if rest:
        left.legend(frameon=False, fontsize=8)
    labels = [group.label for group in found.groups]
    _draw_curves(right, found, found.groups, found.by, labels, over, smooth, scale)
    _name_what_is_left(figure, found, MAX_LINES)
    return figure


def is_log_key(key: str, numbers: Sequence[float]) -> bool:
    """Whether a setting is drawn on a log scale.

    >>> is_log_key("optimizer.lr", [0.1, 0.01]), is_log_key("data.fraction", [0.1, 0.2, 0.3])
    (True, False)
    """
    if min(numbers) <= 0:
        return False
    return key.rpartition(".")[2] in LOG_KEYS or max(numbers) > WIDE * min(numbers)


def _have_room(places: np.ndarray) -> bool:
    """Whether numbers at these places of an axis do not overlap."""
    return len(places) > 1 and float(np.diff(places).min()) >= ROOM * float(np.ptp(places))


def _heat_map(found: Comparison, x_key: str, y_key: str) -> Figure:
    """The mean of the metric over two numbers; of further settings the best."""
    figure, (axes,) = _figure(1)
    axes.grid(visible=False)
    columns, rows = (sorted({float(group.values[key]) for group in found.groups}) for key in (x_key, y_key))
    cells = np.full((len(rows), len(columns)), np.nan)
    for group in reversed(found.groups):  # the best one last
        row, column = (float(group.values[key]) for key in (y_key, x_key))
        cells[rows.index(row), columns.index(column)] = group.mean
    with_log = is_log([cells])
    image = axes.imshow(
        cells,
        origin="lower",
        aspect="auto",
        cmap="viridis_r" if is_falling(found.metric) else "viridis",
        norm="log" if with_log else None,
    )
    for (row, column), value in np.ndenumerate(cells):
        if not np.isnan(value) and cells.size <= MAX_CELLS:
            shade = "white" if float(np.asarray(image.norm(np.array([value])))[0]) > 0.55 else "black"
            axes.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=8, color=shade)
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axes.set_xlabel(_plain(x_key))
    axes.set_ylabel(_plain(y_key))
    figure.colorbar(image, label=_plain(f"{found.metric}, mean"))
    return figure


def _name_what_is_left(figure: Figure, found: Comparison, num_drawn: int) -> None:
    if len(found.groups) > num_drawn:
        figure.suptitle(f"the best {num_drawn} of {len(found.groups)} settings", fontsize=10)
