"""The view that a sweep leaves in MLflow's page: as the tag holds it, and as a real browser shows it."""

from __future__ import annotations

import base64
import itertools
import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faulty_server import MlflowServer
from mlflow.entities import Metric, Param

from primer.tracking.store import Store
from primer.tracking.view import MAX_TAG, TAG, save_view, view_link

PARAMS = ["activation", "optimizer.lr", "seed"]
METRICS = ["best/val/loss", "test/accuracy"]
LRS = (0.01, 0.1)
SEEDS = (0, 1)
STEPS = 50
SETTINGS = list(itertools.product(("relu", "custom_relu"), LRS))
LISTED = sorted(
    [f"Group: {activation} sgd lr={lr} two_layer digits #ab12cd" for activation, lr in SETTINGS]
    + [f"{activation} lr={lr} s{seed}" for activation, lr in SETTINGS for seed in SEEDS]
)
WINDOW = {"width": 1440, "height": 900}  # chosen: a laptop's
UNKNOWN_HERE = "/mlflow/users/current"  # the page asks, and a server without accounts answers 404


def curve(activation: str, lr: float, seed: float) -> list[float]:
    """The losses of a run; of the mean seed, the mean losses."""
    speed = lr + len(activation) / 1000
    return [math.exp(-speed * step) + 0.1 * seed for step in range(STEPS)]


class Filled:
    """A store with an experiment of two sweeps."""

    def __init__(self, folder: Path) -> None:
        self.server = MlflowServer(folder)
        self.client = Store(self.server.db_uri).client
        self.experiment_id = self.client.create_experiment("digits", artifact_location=folder.as_uri())
        self.sweep = self._swept("activation x lr", "relu", "custom_relu")
        self.other = self._swept("gelu x lr", "gelu")

    def _swept(self, name: str, *activations: str) -> str:
        sweep = str(self.client.create_run(self.experiment_id, run_name=name).info.run_id)
        for activation, lr, seed in itertools.product(activations, LRS, SEEDS):
            tags = {
                "mlflow.parentRunId": sweep,
                "primer.sweep": sweep,
                "primer.group": f"{activation} sgd lr={lr} two_layer digits #ab12cd",
            }
            run_name = f"{activation} lr={lr} s{seed}"
            run = self.client.create_run(self.experiment_id, tags=tags, run_name=run_name)
            metrics = [
                Metric(key, value, step, step)
                for key in ("train/loss", "val/loss")
                for step, value in enumerate(curve(activation, lr, seed))
            ]
            metrics += [Metric("best/val/loss", lr + 0.25 * seed, 0, 0), Metric("test/accuracy", 0.5, 0, 0)]
            params = [
                Param("activation", activation),
                Param("optimizer.lr", str(lr)),
                Param("seed", str(seed)),
            ]
            self.client.log_batch(run.info.run_id, metrics=metrics, params=params)
            self.client.set_terminated(run.info.run_id)
        self.client.set_terminated(sweep)
        return sweep

    def save(self, **changed: Any) -> str:
        """Save a view, by default of the first sweep."""
        settings = {"name": "activation x lr", "sweep": self.sweep, "params": PARAMS, "metrics": METRICS}
        return save_view(self.client, self.experiment_id, **(settings | changed))

    def views(self) -> dict[str, str]:
        """What MLflow keeps of each view, by key."""
        tags = self.client.get_experiment(self.experiment_id).tags
        return {tag.removeprefix(TAG): value for tag, value in tags.items() if tag.startswith(TAG)}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    return Filled(tmp_path_factory.mktemp("filled"))


def unpacked(value: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A tag's envelope, and the state within."""
    envelope = json.loads(value)
    kind, packed = envelope["state"].split(";")
    assert kind == "deflate"
    return envelope, json.loads(zlib.decompress(base64.b64decode(packed)))


def test_a_view_filters_groups_and_draws(filled: Filled) -> None:
    key = filled.save()
    envelope, state = unpacked(filled.views()[key])
    assert envelope["name"] == "activation x lr"
    assert state["searchFilter"] == f"tags.`primer.sweep` = '{filled.sweep}'"
    columns = [f"metrics.`{key}`" for key in METRICS] + [f"params.`{key}`" for key in PARAMS]
    assert state["selectedColumns"] == columns
    charts = [(chart["type"], chart["metricKey"]) for chart in state["compareRunCharts"]]
    assert charts == [("LINE", "train/loss"), ("LINE", "val/loss"), ("BAR", "best/val/loss")]


def test_a_view_saved_again_replaces_the_first(filled: Filled) -> None:
    key = filled.save(name="first")
    before = filled.views()
    assert filled.save(name="second", metrics=[]) == key
    after = filled.views()
    assert after.keys() == before.keys()
    assert unpacked(after[key])[0]["name"] == "second"
    assert filled.save(sweep=filled.other) != key
    assert filled.views()[key] == after[key]


def test_columns_are_left_out_before_the_tag_is_too_long(filled: Filled) -> None:
    digests = [zlib.crc32(bytes([number % 251, number // 251])) for number in range(900)]
    key = filled.save(params=[f"{digest:08x}" for digest in digests])
    value = filled.views()[key]
    assert MAX_TAG - 100 < len(value) <= MAX_TAG
    columns = unpacked(value)[1]["selectedColumns"]
    assert columns[:3] == ["metrics.`best/val/loss`", "metrics.`test/accuracy`", f"params.`{digests[0]:08x}`"]
    assert columns[-1] == f"params.`{digests[len(columns) - 3]:08x}`"


@pytest.fixture(scope="module")
def served(filled: Filled) -> Iterator[Filled]:
    with filled.server:
        yield filled


@contextmanager
def opened(browser: Any, link: str, picture: Path) -> Iterator[Any]:
    """A page of the browser; a picture of it is left, and no error is on it."""
    page = browser.new_page(viewport=WINDOW)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda answer: errors.append(answer.url) if answer.status >= 400 else None)
    page.goto(link)
    try:
        page.locator("[role=gridcell]").get_by_text("Group:").first.wait_for()
        yield page
    finally:
        page.screenshot(path=picture)
    assert [error for error in errors if not error.endswith(UNKNOWN_HERE)] == []
    assert "Error" not in page.inner_text("body")
    page.close()


def names(page: Any) -> list[str]:
    """What the list on the page names, sorted; a group without its colour and the number of its runs."""
    cells = page.locator("[role=gridcell]").all_inner_texts()
    lines = [line for cell in cells for line in cell.splitlines()]
    return sorted(
        line for line in lines if " lr" in line or "runs" in line
    )  # MLflow's "Additional runs", too


def columns(page: Any, *names: str) -> list[tuple[str, ...]]:
    """The cells of some columns, a tuple for each row."""
    cells = [page.locator(f"[role=gridcell][col-id='{name}']").all_inner_texts() for name in names]
    return list(zip(*cells, strict=True))


def drawn(card: Any, what: str) -> list[Any]:
    """What a chart has drawn: the values of each of its traces, along an axis."""
    plot = card.locator(".js-plotly-plot")
    return [
        list(trace) for trace in plot.evaluate(f"plot => plot.data.map(trace => Array.from(trace.{what}))")
    ]


def test_the_page_draws_curves_averaged_over_seeds(served: Filled, browser: Any, tmp_path: Path) -> None:
    link = view_link(served.server.uri, served.experiment_id, served.save())
    with opened(browser, link, tmp_path / "charts.png") as page:
        cards = page.get_by_test_id("experiment-view-compare-runs-card")
        cards.nth(2).locator(".barlayer .point").nth(3).wait_for(state="attached")
        for card, metric in zip(cards.all(), ("train/loss", "val/loss", "best/val/loss"), strict=False):
            assert card.inner_text().startswith(metric)
            assert card.bounding_box()["y"] < WINDOW["height"]  # seen without scrolling
        for card in (cards.nth(0), cards.nth(1)):
            card.locator(".scatterlayer .trace").nth(3).wait_for(state="attached")
            lines = [line for line in drawn(card, "y") if len(line) == STEPS]  # the others are bands
            ends = {round(line[-1], 6) for line in lines}
            assert ends == {round(curve(activation, lr, 0.5)[-1], 6) for activation, lr in SETTINGS}
        assert names(page) == LISTED
        (bars,) = drawn(cards.nth(2), "x")
        assert sorted(bars) == pytest.approx(sorted(lr + 0.125 for _, lr in SETTINGS))


def test_the_page_has_the_columns_of_the_sweep_alone(served: Filled, browser: Any, tmp_path: Path) -> None:
    link = view_link(served.server.uri, served.experiment_id, served.save())
    with opened(browser, link.replace("CHART", "TABLE"), tmp_path / "table.png") as page:
        page.get_by_text("(average)").first.wait_for()
        assert names(page) == LISTED
        rows = columns(page, "metrics.`best/val/loss`", "params.`activation`", "params.`seed`")
        assert rows.count(("0.135 (average)", "-", "0.5")) == 2
        assert rows.count(("0.26", "custom_relu", "1")) == 1
        assert len(rows) == len(LISTED)
