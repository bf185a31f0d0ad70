"""`primer ui --sweep last`, of a real sweep, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_server import free_port
from runs import primer
from serving import serving
from test_view import UNKNOWN_HERE, WINDOW

NAMES = ("relu s0", "relu s1", "tanh s0", "tanh s1")
ASKED = ("data=iris", "activation=relu,tanh", "seed=0,1", "max_epochs=3", "tracking.log_model=false")


@pytest.fixture(scope="module")
def links(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What `primer ui --sweep last` printed, while it serves."""
    cwd, port = tmp_path_factory.mktemp("swept"), free_port()
    done = primer("train", "-m", *ASKED, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    command = ("primer", "ui", "--sweep", "last", "--port", str(port))
    with serving(*command, port=port, path="/health", cwd=cwd):
        lines = (cwd / f"server-{port}.log").read_text().splitlines()
        yield {line.partition(" ")[0]: line.split()[-1] for line in lines if "/#/" in line}


def seen(browser: Any, link: str, words: str, picture: Path) -> Any:
    """A page that shows some words; a picture of it is left, and no error is on it."""
    page = browser.new_page(viewport=WINDOW)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda answer: errors.append(answer.url) if answer.status >= 400 else None)
    page.goto(link)
    page.get_by_text(words).first.wait_for()
    page.screenshot(path=picture)
    assert [error for error in errors if not error.endswith(UNKNOWN_HERE)] == []
    return page


def test_the_view_lists_the_runs_with_their_switches(
    links: dict[str, str],
    browser: Any,
    tmp_path: Path,
) -> None:
    page = seen(browser, links["sweep"].replace("CHART", "TABLE"), "Group:", tmp_path / "sweep.png")
    listed = page.inner_text("body")
    assert [name for name in NAMES if name not in listed] == []
    cells = page.locator("[role=gridcell][col-id='params.`activation`']").all_inner_texts()
    assert {"relu", "tanh"} <= set(cells)
    page.close()


def test_the_best_runs_are_compared(links: dict[str, str], browser: Any, tmp_path: Path) -> None:
    page = seen(browser, links["best"], "Comparing 4 Runs", tmp_path / "best.png")
    listed = page.inner_text("body")
    assert [name for name in NAMES if name not in listed] == []
    page.close()


def test_their_curves_are_drawn(links: dict[str, str], browser: Any, tmp_path: Path) -> None:
    page = seen(browser, links["curves"], "tanh s1", tmp_path / "curves.png")
    plot = page.locator(".js-plotly-plot").first
    plot.locator(".scatterlayer .trace").nth(3).wait_for(state="attached")
    steps = plot.evaluate("plot => plot.data.map(trace => Array.from(trace.x))")
    assert len(steps) >= 4
    assert all(some == [4, 8, 12] for some in steps)
    page.screenshot(path=tmp_path / "curves.png")
    page.close()


def test_another_sweep_is_one_line(tmp_path: Path) -> None:
    done = primer("ui", "--sweep", "last", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "primer: there is no sweep below outputs; expected runs, --sweep ID or --filter\n"
