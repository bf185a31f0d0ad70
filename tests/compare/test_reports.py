"""The page of a comparison in a real browser: offline, without errors, hiding curves, switching axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from written_runs import write_run

from primer.compare.comparison import Comparison, compare_runs
from primer.compare.fair import ALLOWED
from primer.compare.runs import run_in

HOSTILE = "<script>alert(1)</script> \"'& ünï " + 80 * "x"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    root = tmp_path_factory.mktemp("compared")
    runs = [
        run_in(
            write_run(
                f"activation={name}",
                seed=seed,
                name=f"{HOSTILE} {seed}",
                root=root,
                val=[2.0, 1.0, 0.5 + seed / 10],
                train=[3.0 / step + seed / 10 for step in range(1, 31)],
            )
        )
        for name in ("relu", "tanh")
        for seed in range(3)
    ]
    runs.append(run_in(write_run("activation=relu", seed=7, status="FAILED", root=root)))
    return compare_runs(runs, allow=ALLOWED)


@pytest.fixture
def page(comparison: Comparison, browser: Any, tmp_path: Path) -> Any:
    """The page, opened without a network; nothing is asked for, and nothing goes wrong on it."""
    report = tmp_path / "report.html"
    comparison.write_report(report)
    assert report.stat().st_size < 3_000_000
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 1000})
    opened = context.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda word: wrong.append(word.text) if word.type in ("error", "warning") else None)
    opened.on("dialog", lambda dialog: wrong.append(dialog.message))
    opened.on("request", lambda asked: wrong.append(asked.url) if asked.url != report.as_uri() else None)
    opened.goto(report.as_uri())
    opened.wait_for_function("window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle")
    yield opened
    opened.screenshot(path=tmp_path / "report.png", full_page=True)
    context.close()
    assert wrong == []


def test_it_says_what_was_found_and_shows_names_as_they_are(page: Any, comparison: Comparison) -> None:
    assert page.locator("#verdict").inner_text() == comparison.sentence
    assert "1 of 7 runs is not finished" in page.locator(".note").first.inner_text()
    assert page.locator("#settings tr").count() == 3
    assert page.locator("#runs").text_content().count(HOSTILE) == 6
    assert (
        page.locator("#repeat")
        .inner_text()
        .startswith("primer compare --allow unfinished --html report.html")
    )


MODELS = "[...Bokeh.documents[0]._all_models.values()]"
LEGEND = """() => {
    const views = [];
    const seek = view => {
        views.push(view);
        for (const child of view.children()) seek(child);
    };
    for (const root of Object.values(Bokeh.index.roots ?? Bokeh.index)) seek(root);
    const {x, y, width, height} = views.find(view => view.model.type === 'Legend').el.getBoundingClientRect();
    return [x, y, width, height];
}"""


def test_a_click_on_a_name_hides_its_curve(page: Any) -> None:
    visible = f"{MODELS}.filter(m => m.type === 'GlyphRenderer' && m.name).map(m => m.visible)"
    assert set(page.evaluate(visible)) == {True}
    x, y, width, height = page.evaluate(LEGEND)
    page.mouse.click(x + width / 2, y + height / 4)
    page.wait_for_function(f"({visible}).includes(false)")
    assert page.evaluate(visible).count(False) >= 1


@pytest.mark.parametrize(("axis", "last"), [("samples", 100.0), ("seconds", 14.5)])
def test_another_axis_is_chosen(page: Any, axis: str, last: float) -> None:
    page.locator("select").first.select_option(axis)
    sources = f"{MODELS}.filter(m => m.type === 'ColumnDataSource' && m.data.x).map(m => m.data)"
    ends = page.evaluate(f"({sources}).map(data => [data.x.at(-1), data['{axis}'].at(-1)])")
    assert ends
    assert all(x == wanted for x, wanted in ends)
    if axis == "seconds":
        assert {round(x, 3) for x, _ in ends} == {last}
    labels = page.evaluate(
        f"{MODELS}.filter(m => m.type === 'LinearAxis' && m.axis_label).map(m => m.axis_label)"
    )
    assert axis in labels
