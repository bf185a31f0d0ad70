"""The curves of a report, drawn by Bokeh in the page: hover, hide, zoom, another axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from primer.compare.comparison import Comparison
from primer.compare.curves import AXES, Band, bands, between, curve_of, is_log, x_of
from primer.compare.groups import Group
from primer.compare.plot import COLOURS, is_drawn

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

    def has_log(metric: str, scale: str = "log") -> bool:
        means = (band.mean for band in bands(found.groups[:MAX_LINES], metric))
        return metric.endswith("loss") and is_log(means, scale)

    metrics = _metrics(found)
    if not metrics:
        return "", "<p>No run has a curve.</p>"
    views = [(metric, log) for metric in metrics for log in (False, True) if not log or has_log(metric)]
    sources: list[Any] = []
    figures = [_chart(found, metric, with_log, sources) for metric, with_log in views]
    tabs = Tabs(
        tabs=[
            TabPanel(child=figure, title=f"{metric}, log" if with_log else metric)
            for figure, (metric, with_log) in zip(figures, views, strict=True)
        ],
        active=views.index((metrics[0], has_log(metrics[0], "auto"))),
        sizing_mode="stretch_width",
    )
    script, body = components(column(_axis_select(sources, figures), tabs, sizing_mode="stretch_width"))
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


def _metrics(found: Comparison) -> list[str]:
    """The metrics that have a curve in the first run of a setting."""
    runs = [group.runs[0] for group in found.groups if group.runs]
    names = {key for run in runs for key, curve in run.curves.items() if len(curve.steps) > 1}
    mine = curve_of(found.metric)
    return sorted(names, key=lambda name: (name != mine, not name.endswith("loss"), name))[:MAX_METRICS]


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
    """The numbers that a curve is drawn from, and where they lie on each axis, in the mean over runs."""
    from bokeh.models import ColumnDataSource

    columns = {"mean": band.mean, "low": band.low_above(zero=with_log), "high": band.high, "steps": band.x}
    curves = [(run, run.curves[metric]) for run in group.runs if metric in run.curves]
    for axis in ("samples", "seconds"):
        places = [between(band.x, curve.steps, x_of(run, curve, axis)) for run, curve in curves]
        columns[axis] = np.nanmean(places, axis=0)  # of those that were so far
    short: dict[str, Any] = {
        name: [float(f"{value:.{DIGITS}g}") for value in values] for name, values in columns.items()
    }
    return ColumnDataSource(short | {"x": short["steps"]})
