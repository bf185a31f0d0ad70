"""A comparison on a terminal: the verdict, a table, the curves."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from rich.text import Text

from primer.compare.comparison import Comparison
from primer.compare.curves import Band, bands, curve_of, is_log
from primer.compare.telling import COLUMNS, row_of
from primer.compare.verdict import DIFFERS, SAME
from primer.console import fitting_table, result_console

MAX_ROWS = 20  # settings and verdicts that are printed; the files have all
MAX_CURVES = 6  # that can be told apart on a terminal
# what a narrow terminal goes without, in this order
SPARE = ("seconds", "best", "sd", "runs", "95% interval")
WIDTH, HEIGHT = 64, 14  # characters
COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "red")
STYLES = {DIFFERS: "bold", SAME: "green"}


def show(found: Comparison, *, over: str = "steps", smooth: float = 0.0, scale: str = "auto") -> None:
    """Print a comparison to standard output."""
    console = result_console()
    if sys.stdout.isatty():
        lines = bands(found.groups[:MAX_CURVES], curve_of(found.metric), over=over, smooth=smooth)
        lines = [line for line in lines if len(line.x)]
        if any(len(line.x) > 1 for line in lines):
            console.print(Text.from_ansi(terminal_curves(lines, curve_of(found.metric), over, scale)))
    rows = [[Text(cell) for cell in row_of(group)] for group in found.groups[:MAX_ROWS]]
    table = fitting_table(COLUMNS, rows, ("setting", "runs"), SPARE, console.width)
    table.title, table.title_justify = found.metric, "left"
    console.print(table)
    if len(found.groups) > MAX_ROWS:
        console.print(f"and {len(found.groups) - MAX_ROWS} more settings: --csv and --html have all")
    console.print(f"differs {', '.join(found.differing) or 'nothing but seeds'}", markup=False)
    for note in found.notes:
        console.print(f"note    {note}", markup=False, style="yellow")
    if len(found.verdicts) > 1:
        for verdict in found.verdicts[:MAX_ROWS]:
            console.print(f"pair    {verdict.sentence()}", markup=False, style=STYLES.get(verdict.kind))
    console.print(f"verdict {found.sentence}", markup=False, style="bold")


def terminal_curves(lines: Sequence[Band], metric: str, over: str, scale: str) -> str:
    """Curves in braille dots, coloured, with a legend."""
    import plotille

    with_log = is_log([line.mean for line in lines], scale)
    figure = plotille.Figure()
    figure.width, figure.height, figure.origin = WIDTH, HEIGHT, False
    figure.x_label, figure.y_label = over.removesuffix("s"), metric
    figure.x_ticks_fkt = lambda tick, _: f"{tick:.4g}"
    figure.y_ticks_fkt = lambda tick, _: f"{10**tick if with_log else tick:>9.3g}"
    figure.set_x_limits(min_=min(line.x[0] for line in lines), max_=max(line.x[-1] for line in lines))
    for line, colour in zip(lines, COLOURS, strict=False):
        heights = [math.log10(value) for value in line.mean] if with_log else line.mean.tolist()
        figure.plot(line.x.tolist(), heights, lc=colour, label=f"{line.label} (n={line.n})")
    return str(figure.show(legend=True))
