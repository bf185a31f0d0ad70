"""`primer compare`, `primer runs` and `primer show`: words of the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


def _listed(context: click.Context, option: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


def _placed(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """A file to write, before anything is compared."""
    if value and not Path(value).absolute().parent.is_dir():
        raise click.UsageError(f"{value}: there is no folder {Path(value).parent}")
    return value


@click.command()
@click.argument("runs", nargs=-1)
@click.option("--sweep", metavar="ID", help="The jobs of a sweep; `last` is the newest.")
@click.option("--filter", "where", metavar="TEXT", help="Runs of MLflow: \"activation = 'relu'\".")
@click.option(
    "--experiment", metavar="NAME", help="All runs of an experiment of MLflow, or those of --filter."
)
@click.option(
    "--by", metavar="KEY,...", callback=_listed, help="What to group by; all that differs if not said."
)
@click.option("--metric", metavar="KEY", help="The number to compare; the best val/loss if not said.")
@click.option("--baseline", metavar="KEY=VALUE", help="The setting to compare all others with.")
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(["data", "metric", "unfinished"]),
    help="Compare runs all the same that differ in this, or leave out the unfinished.",
)
@click.option(
    "--plot",
    "picture",
    type=click.Path(dir_okay=False),
    callback=_placed,
    help="Draw it: a .png, .svg or .pdf file.",
)
@click.option(
    "--html",
    type=click.Path(dir_okay=False),
    callback=_placed,
    help="Write it as a page that can be read offline.",
)
@click.option("--csv", type=click.Path(dir_okay=False), callback=_placed, help="Write a row for each run.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, and nothing else.")
@click.option(
    "--over", type=click.Choice(["steps", "samples", "seconds"]), default="steps", help="The curves' axis."
)
@click.option("--smooth", type=click.FloatRange(0, 1, max_open=True), default=0.0, help="0 to 1, of curves.")
@click.option("--scale", type=click.Choice(["auto", "linear", "log"]), default="auto", help="Of the metric.")
def compare(
    runs: tuple[str, ...],
    picture: str | None,
    html: str | None,
    csv: str | None,
    as_json: bool,
    over: str,
    smooth: float,
    scale: str,
    **asked: Any,
) -> int:
    """See what a switch did: RUNS, or the newest sweep, grouped by what was switched, with a verdict.

    \b
    primer compare                                   the newest sweep
    primer compare --by activation --html report.html
    primer compare --filter "data = 'digits'" --metric test/accuracy --baseline activation=relu
    """
    from primer.compare.ask import compare
    from primer.compare.plot import check_name
    from primer.compare.show import show
    from primer.files import write_named

    if picture:
        check_name(Path(picture))
    found = compare(*runs, **asked)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        show(found, over=over, smooth=smooth, scale=scale)
    if csv:
        write_named(Path(csv), found.run_table.to_csv(index=False).encode())
    if picture:
        found.plot(picture, over=over, smooth=smooth, scale=scale)
    if html:
        found.write_report(html)
    for file in (csv, picture, html):
        if file and not as_json:
            click.echo(f"wrote   {file}")
    return 0


@click.command()
@click.argument("sweep", required=False)
@click.option("--filter", "where", metavar="TEXT", help="Runs of MLflow: \"activation = 'relu'\".")
@click.option("--experiment", metavar="NAME", help="Runs of an experiment of MLflow.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, the newest."
)
def runs(sweep: str | None, where: str | None, experiment: str | None, limit: int) -> int:
    """List the runs and sweeps of this folder, the jobs of a SWEEP, or runs of MLflow.

    \b
    primer runs                                 of this folder, a sweep in a line
    primer runs last                            the jobs of the newest sweep
    primer runs --filter "val/loss < 0.3"       what MLflow has
    """
    from primer.compare.listing import listed, show_runs

    show_runs(listed(sweep, where=where, experiment=experiment, limit=limit))
    return 0


@click.command()
@click.argument("run")
def show(run: str) -> int:
    """Show a RUN on one screen: what was switched, its metrics, its files, what to do with it."""
    from primer.compare.one import show_run

    show_run(run)
    return 0
