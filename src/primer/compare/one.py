"""`primer show RUN`: one run on one screen."""

from __future__ import annotations

import shlex
import sys
import time

from rich.text import Text

from primer.compare.asked import run_called
from primer.compare.listing import COLOURS, age, status_of
from primer.compare.runs import TrackedRun
from primer.config import compose, flat
from primer.config.wording import printable
from primer.console import result_console
from primer.errors import PrimerError
from primer.folder import is_sweep, read_config
from primer.summary import command_name, metrics_table, terminal_curve
from primer.tracking.tags import COMMAND, ERROR, FUSED, NONFINITE, SWEEP, VERIFICATION, WARNING
from primer.tracking.text import data_of, text_of

TOLD = (COMMAND, ERROR, NONFINITE, WARNING)
SWITCHES = ("data", "net", "activation", "optimizer", "scheduler", "accelerator")


def show_run(name: str) -> None:
    """Print a run: what was switched, what came of it, its files, and what can be done with it."""
    run = run_called(name)
    console = result_console()
    curve = run.curves.get("train/loss")
    if curve and len(curve.steps) > 1 and sys.stdout.isatty():
        console.print(Text.from_ansi(terminal_curve((curve.steps.tolist(), curve.values.tolist()))))
    status = status_of(run)
    console.print(Text(run.name, style="bold"), Text(status, style=COLOURS.get(status, "")), end=" ")
    fellows = f" as one of {printable(run.tags[FUSED])}" if FUSED in run.tags else ""
    took = f"in {run.duration_s:.1f} s{fellows}, " if run.status != "RUNNING" else ""
    console.print(f"{took}begun {age(time.time() - run.started_at)} ago", markup=False)
    table = metrics_table(run.metrics)
    if table.row_count:
        console.print(table)
    facts = _facts(run)
    width = max(len(what) for what, _ in facts)
    for what, line in facts:
        console.print(f"{what:<{width}} {line}", markup=False)


def _facts(run: TrackedRun) -> list[tuple[str, str]]:
    facts = [("switched", " ".join(switched(run)) or "nothing: all is as by default")] if run.params else []
    facts += [
        (printable(key.removeprefix("primer.")), printable(value))
        for key, value in run.tags.items()
        if key in TOLD or key.startswith(VERIFICATION)
    ]
    if run.data and run.data.get("features"):
        facts.append(("data", data_of(run.data)))
    facts += [("digest", f"{run.digest} of the data")] if run.digest else []
    facts += [("run", run.run_id)] if run.run_id else []
    facts += [("sweep", run.tags[SWEEP])] if SWEEP in run.tags else []
    if run.folder:
        names = (path.name for path in run.folder.iterdir())
        files = sorted(name for name in names if not name.startswith(".") and not name.isdigit())
        facts += [("folder", run.place), ("files", " ".join(files))]
    return facts + _commands(run)


def _commands(run: TrackedRun) -> list[tuple[str, str]]:
    name, primer = shlex.quote(run.place), command_name()
    if run.folder and is_sweep(run.folder):
        words = {"go on": "resume", "compare": "compare", "jobs": "runs"}
        return [(what, f"{primer} {word} {name}") for what, word in words.items()]
    found = [("repeat", f"{primer} reproduce {name}")]
    if run.folder:
        longer = " max_epochs=..." if run.status == "FINISHED" else ""
        found.insert(0, ("go on", f"{primer} resume {name}{longer}"))
    if SWEEP in run.tags:
        found.append(("compare", f"{primer} compare {shlex.quote(run.tags[SWEEP])}"))
    return found


def switched(run: TrackedRun) -> list[str]:
    """What to type for this run: the options and keys that are not as by default.

    Of an option that is not primer's own all of its keys are told, for its defaults are not known here.
    """
    standard = _params([])
    options = [f"{group}={run.params[group]}" for group in SWITCHES if group in run.params]
    if run.folder and not is_sweep(run.folder):  # among the params is what was found to fit the data
        options.append(f"criterion={read_config(run.folder)['switches']['criterion']}")
    told = [
        word for word in options if standard.get(word.partition("=")[0]) not in (None, word.partition("=")[2])
    ]
    defaults = _params(told) or standard
    keys = [
        f"{key}={value}"
        for key, value in run.params.items()
        if key not in (*SWITCHES, "criterion")
        and defaults.get(key) != value
        and not (key.endswith(".seed") and value == run.params.get("seed"))  # which follows it by default
    ]
    return [*told, *keys]


def _params(overrides: list[str]) -> dict[str, str]:
    try:
        config = compose(overrides)
    except PrimerError:  # options of somebody's own
        return {}
    return {key: text_of(value) for key, value in flat(config).items()}
