"""The curves of a report, drawn by Bokeh in the page: hover, hide, zoom, another axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from primer.compare.comparison import Comparison
from primer.compare.curves import AXES, Band, bands, curve_names, curve_of, x_of
from primer.compare.groups import Group
from primer.compare.plot import COLOURS, is_drawn
from primer.compare.scales import is_log

MAX_LINES = 12  # chosen: of more, the best ones are in the page
MAX_METRICS = 4  # chosen: the compared one and the losses come first
DIGITS = 6  # that are kept of a number: more can't be seen, and fill the page

SWITCH_AXIS = """
const axis = select.value;
for (const source of sources) { source.data = {...source.data, x: source.data[axis]}; }
for (const label of labels) { label.axis_label = names[axis]; }
for (const range of ranges) { range.reset(); }
"""


def charts(found: Comparison) -> tuple[str, str]:
    """The scripts and the body of the curves; empty where no run has a curve."""
    from bokeh.embed import components
    from bokeh.layouts import column
    from bokeh.models import TabPanel, Tabs
    from bokeh.resources import Resources

    sources: list[Any] = []
    panels = [
        TabPanel(child=_chart(found, metric, with_log, sources), title=_title(metric, with_log))
        for metric in _metrics(found)
        for with_log in (False, True)
        if not with_log or (metric.endswith("loss") and is_log(_means(found, metric), "log"))
    ]
    if not panels:
        return "", "<p>No run has a curve.</p>"
    first = _metrics(found)[0]
    titles = [panel.title for panel in panels]
    active = titles.index(_title(first, is_log(_means(found, first)) and first.endswith("loss")))
    tabs = Tabs(tabs=panels, active=active, sizing_mode="stretch_width")
    select = _axis_select(sources, [panel.child for panel in panels])
    script, body = components(column(select, tabs, sizing_mode="stretch_width"))
    resources = Resources(mode="inline", components=["bokeh", "bokeh-widgets"])
    return resources.render(), f"{body}\n{script}"


def _axis_select(sources: list[Any], figures: list[Any]) -> Any:
    """What all charts are drawn over, to be chosen."""
    from bokeh.models import CustomJS
    from bokeh.models.widgets.inputs import Select

    options: list[Any] = [(axis, name) for axis, name in AXES.items()]
    select = Select(title="over", value="steps", options=options, width=160)
    known = {"select": select, "sources": sources, "names": AXES}
    known["labels"] = [figure.xaxis[0] for figure in figures]
    known["ranges"] = [figure.x_range for figure in figures]
    select.js_on_change("value", CustomJS(args=known, code=SWITCH_AXIS))
    return select


def _title(metric: str, with_log: bool) -> str:
    return f"{metric}, log" if with_log else metric


def _means(found: Comparison, metric: str) -> list[np.ndarray]:
    return [band.mean for band in bands(found.groups[:MAX_LINES], metric)]


def _metrics(found: Comparison) -> list[str]:
    names = curve_names(found.groups)
    mine = curve_of(found.metric)
    return [*([mine] if mine in names else []), *(name for name in names if name != mine)][:MAX_METRICS]


def _chart(found: Comparison, metric: str, with_log: bool, sources: list[Any]) -> Any:
    from bokeh.models import HoverTool
    from bokeh.plotting import figure

    chart = figure(
        height=380,
        sizing_mode="stretch_width",
        x_axis_label=AXES["steps"],
        y_axis_label=metric,
        y_axis_type="log" if with_log else "linear",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_drag="box_zoom",
        output_backend="canvas",
    )
    chart.toolbar.logo = None  # its link leads out of the page
    lines: list[Any] = []
    drawn: list[Band] = []
    for index, group in enumerate(found.groups[:MAX_LINES]):
        for band in bands([group], metric):
            source = _source(group, metric, band, with_log)
            sources.append(source)
            look: dict[str, Any] = {"source": source, "color": COLOURS[index % len(COLOURS)]}
            look |= {"legend_label": f"{group.label} (n={band.n})", "name": group.label}
            chart.varea(x="x", y1="low", y2="high", alpha=0.15, **look)
            dash: Any = "dashed" if index >= len(COLOURS) or is_drawn(band, drawn) else "solid"
            drawn.append(band)
            lines.append(chart.line(x="x", y="mean", line_width=2, line_dash=dash, **look))
    tips = [("", "$name"), ("step", "@steps"), (metric, "@mean{0.00000}")]
    tips.append(("band", "@low{0.0000} to @high{0.0000}"))
    chart.add_tools(HoverTool(renderers=lines, tooltips=tips))
    if chart.legend:
        chart.legend.click_policy = "hide"
        chart.add_layout(chart.legend[0], "right")
    return chart


def _source(group: Group, metric: str, band: Band, with_log: bool) -> Any:
    """The numbers that a curve is drawn from, on each axis."""
    from bokeh.models import ColumnDataSource

    low = _short(band.low_above(zero=with_log))
    columns: dict[str, Any] = {"mean": _short(band.mean), "low": low, "high": _short(band.high)}
    columns |= _on_axes(group, metric, band.x)
    return ColumnDataSource(columns | {"x": columns["steps"]})


def _on_axes(group: Group, metric: str, grid: np.ndarray) -> dict[str, list[float]]:
    """Where the points of a grid of steps lie on each axis, in the mean over runs."""
    curves = [(run, run.curves[metric]) for run in group.runs if metric in run.curves]
    found = {}
    for axis in ("samples", "seconds"):
        places = [
            np.interp(grid, curve.steps, x_of(run, curve, axis), left=np.nan, right=np.nan)
            for run, curve in curves
        ]
        found[axis] = _short(np.nanmean(places, axis=0))  # of those that were so far
    return {"steps": _short(grid)} | found


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.{DIGITS}g}") for value in values]
