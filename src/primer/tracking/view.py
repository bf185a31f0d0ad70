"""A saved view of a sweep's runs in MLflow's web page.

How the page keeps a view is its own business: an experiment tag, here as MLflow 3.17 writes and reads it.
A browser test tells when that changes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from mlflow import MlflowClient

from primer.tracking.tags import GROUP, SWEEP

TAG = "mlflow.sharedViewState."  # + the view's key
MAX_TAG = 5000  # chosen; MLflow 3.17 allows 20,000 (mlflow.utils.validation)
RUN_NAME = "attributes.`Run Name`"  # the column, as the page calls it
CURVES = ("train/loss", "val/loss")
NAME_PX = 340  # measured: shows 36 characters of a group's name; the page's own 190 show 8


def save_view(
    client: MlflowClient,
    experiment_id: str,
    *,
    name: str,
    sweep: str,
    params: Sequence[str],
    metrics: Sequence[str],
) -> str:
    """Leave a saved view of a sweep's runs in MLflow's page; returns its key.

    The view lists the runs tagged with the sweep, a row for all seeds of a setting, with the named metrics
    and params as columns, and draws the losses averaged over seeds and a bar of the first metric. Saving it
    again replaces it. Where there are more columns than a tag holds, the last params are left out.
    """
    key = key_of(sweep)
    columns = [f"metrics.`{metric}`" for metric in metrics] + [f"params.`{param}`" for param in params]
    value = _envelope(name, _state(sweep, columns, metrics[:1]))
    while columns and len(value) > MAX_TAG:
        columns.pop()
        value = _envelope(name, _state(sweep, columns, metrics[:1]))
    client.set_experiment_tag(experiment_id, f"{TAG}{key}", value)
    return key


def key_of(sweep: str) -> str:
    """What the view of a sweep is kept under."""
    return hashlib.sha256(sweep.encode()).hexdigest()[:32]


def compare_link(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """The address of the page that compares runs, by their params and last values.

    >>> compare_link("http://127.0.0.1:5000", "1", ["ab"])
    'http://127.0.0.1:5000/#/compare-runs?runs=%5B%22ab%22%5D&experiments=%5B%221%22%5D'
    """
    return f"{base.rstrip('/')}/#/compare-runs?runs={_listed(run_ids)}&experiments={_listed([experiment_id])}"


def curves_link(base: str, experiment_id: str, run_ids: Sequence[str], metric: str) -> str:
    """The address of the page that draws a metric of runs over their steps."""
    runs, experiments = _listed(run_ids), _listed([experiment_id])
    query = f"runs={runs}&metric={quote(json.dumps(metric), safe='')}&experiments={experiments}"
    return f"{base.rstrip('/')}/#/metric?{query}&plot_metric_keys={_listed([metric])}&x_axis=step"


def _listed(words: Sequence[str]) -> str:
    return quote(json.dumps(list(words), separators=(",", ":")), safe="")


def view_link(base: str, experiment_id: str, key: str) -> str:
    """The address of a saved view in the page of the MLflow server at `base`.

    >>> view_link("http://127.0.0.1:5000", "1", "ab12")
    'http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey=ab12'
    """
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={key}"
    return f"{base.rstrip('/')}/#/experiments/{experiment_id}/runs?{query}"


def _envelope(name: str, state: dict[str, Any]) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
    now_ms = int(time.time() * 1000)
    return json.dumps({"name": name, "createdAt": now_ms, "updatedAt": now_ms, "state": f"deflate;{packed}"})


def _state(sweep: str, columns: list[str], bars: Sequence[str]) -> dict[str, Any]:
    return {
        "searchFilter": f"tags.`{SWEEP}` = '{sweep}'",
        "orderByKey": f"tags.`{GROUP}`",  # by start, the page would add the parent; it loads 100 runs at once
        "orderByAsc": True,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": [RUN_NAME, *columns],
        "columnWidths": {RUN_NAME: NAME_PX},
        "runsHiddenMode": "FIRST_20_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,  # else sections are sorted by name
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": GROUP}],
        },
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunCharts": [_line(key) for key in CURVES] + [_chart("BAR", key) for key in bars],
        "compareRunSections": [
            {
                "uuid": "sweep",
                "name": "Sweep",
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
                "columns": 2,
                "cardHeight": 300,
            }
        ],
    }


def _chart(kind: str, metric: str) -> dict[str, Any]:
    return {
        "uuid": f"{kind} {metric}",
        "type": kind,
        "metricSectionId": "sweep",
        "metricKey": metric,
        "displayName": metric,
        "runsCountToCompare": 10,
        "deleted": False,
        "isGenerated": False,
    }


def _line(metric: str) -> dict[str, Any]:
    return _chart("LINE", metric) | {
        "lineSmoothness": 0,
        "xAxisScaleType": "linear",
        "scaleType": "linear",
        "range": {},
        "xAxisKey": "step",
        "selectedXAxisMetricKey": "",
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": True,
        "useGlobalLineSmoothing": True,
    }
