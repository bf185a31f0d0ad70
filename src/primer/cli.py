"""`primer COMMAND`: thin words around the Python calls of the same names. Imports nothing heavy."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from primer.compare.commands import compare, runs, show
from primer.completion import SCRIPTS, complete_override
from primer.errors import PrimerError, Stopped, SweepError
from primer.output import endure
from primer.verify.commands import verify

if TYPE_CHECKING:
    from primer.result import RunResult
    from primer.sweep.result import SweepResult

INTERRUPTED = 130  # the shells' word for SIGINT


class Main(click.Group):
    """Errors end in one or two lines and their exit code, no traceback; a command returns its exit code."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        endure()
        try:
            Path.cwd()
        except OSError as error:
            click.echo(f"primer: the working directory: {error.strerror}", err=True)
            sys.exit(2)
        try:
            sys.exit(super().main(*args, **options | {"standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(INTERRUPTED)
        except Stopped as error:
            sys.exit(error.exit_code)
        except (PrimerError, click.ClickException) as error:
            message = error.format_message() if isinstance(error, click.ClickException) else str(error)
            lines = message.splitlines() if isinstance(error, SweepError) else [message]
            for line in lines:
                click.echo(f"primer: {' '.join(line.split())}", err=True)
            sys.exit(error.exit_code)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            click.echo(f"primer: {f'{error.filename}: ' if error.filename else ''}{error.strerror}", err=True)
            sys.exit(1)


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="torch-primer", prog_name="primer")
def main() -> None:
    """Change one switch of a training; get one run that can be trusted, compared and repeated.

    \b
    primer train                                   the default run: digits, a two-layer net
    primer train activation=custom_relu            the same, with one switch changed
    primer train -m activation=relu,tanh seed=0,1  a sweep: a run for each combination
    primer train --help                            every switch and key
    primer resume last                             go on with a run that was stopped
    primer compare                                 what did the switch of the newest sweep do?
    primer verify activation=custom_relu           is a custom function right?
    primer ui                                      look at the runs in MLflow
    """


def _show_help(context: click.Context, option: click.Parameter, is_asked: bool) -> None:
    if is_asked and not context.resilient_parsing:
        from primer.config.reference import reference

        text = reference(context.params.get("config_dir"))
        click.echo_via_pager(text) if sys.stdout.isatty() else click.echo(text, nl=False)
        context.exit()


@main.command(add_help_option=False)
@click.argument("overrides", nargs=-1, shell_complete=complete_override)
@click.option("--config-dir", type=click.Path(), is_eager=True, help="A folder of your own options.")
@click.option("--cfg", type=click.Choice(["job"]), help="Print the whole config and stop.")
@click.option("--debug", is_flag=True, help="Train in this process, for breakpoints.")
@click.option("--dry-run", is_flag=True, help="Of a sweep: print the plan and stop.")
@click.option("-m", "--multirun", is_flag=True, help="A sweep: a run for each combination of values.")
@click.option("-h", "--help", is_flag=True, is_eager=True, expose_value=False, callback=_show_help)
def train(
    overrides: tuple[str, ...],
    config_dir: str | None,
    cfg: str | None,
    debug: bool,
    dry_run: bool,
    multirun: bool,
) -> int:
    """Train one run, or with -m a sweep of them."""
    if multirun:
        return _train_many(overrides, config_dir, debug=debug, cfg=cfg, is_dry=dry_run)
    if dry_run:
        raise click.UsageError("--dry-run is for a sweep; expected -m, or --cfg job for one run")
    from primer.config import compose

    if cfg:
        from primer.yaml_text import to_yaml

        click.echo(to_yaml(compose(overrides, config_dir=config_dir)), nl=False)
        return 0
    from primer.run import train

    return _told(train(*overrides, config_dir=config_dir, debug=debug))


def _train_many(
    overrides: tuple[str, ...], config_dir: str | None, *, debug: bool, cfg: str | None, is_dry: bool
) -> int:
    if debug or cfg:
        raise click.UsageError(f"{'--debug' if debug else '--cfg'} is for one run; expected no -m")
    from primer.sweep.launch import dry_run, sweep

    if is_dry:
        for line in dry_run(*overrides, config_dir=config_dir):
            click.echo(line)
        return 0
    return _told(sweep(*overrides, config_dir=config_dir))


@main.command()
@click.argument("run")
@click.argument("overrides", nargs=-1)
@click.option("--fork", is_flag=True, help="Begin a new run from its newest checkpoint; anything may change.")
@click.option("--debug", is_flag=True, help="Train in this process, for breakpoints.")
@click.option("--failed", is_flag=True, help="Of a sweep: the jobs that failed go on, too.")
def resume(run: str, overrides: tuple[str, ...], fork: bool, debug: bool, failed: bool) -> int:
    """Go on with a RUN or a sweep: its folder, its id in MLflow, or `last`.

    \b
    primer resume last                     what was stopped, killed or cut off
    primer resume last max_steps=2000      a longer training of the same run
    primer resume last optimizer.lr=0.01 --fork
    """
    from primer.sweep.resume import resume

    return _told(resume(run, *overrides, fork=fork, debug=debug, failed=failed))


def _told(result: RunResult | SweepResult) -> int:
    """Print what a run or a sweep came to, and return its exit code."""
    from primer.result import RunResult
    from primer.summary import show as show_result
    from primer.sweep.summary import show_sweep

    show_result(result) if isinstance(result, RunResult) else show_sweep(result)
    return result.exit_code


@main.command()
@click.argument("run")
@click.option(
    "--trust", multiple=True, metavar="PACKAGE", help="Whose parts a config from a store may build."
)
@click.option("--tolerance", default=1e-6, show_default=True, help="Largest relative difference.")
def reproduce(run: str, trust: tuple[str, ...], tolerance: float) -> int:
    """Run a RUN again, and say whether the same numbers come out.

    \b
    0  bitwise equal, or within the tolerance
    1  different: the first point that differs is named
    """
    from primer.reproduce import reproduce
    from primer.summary import show_reproduction

    found = reproduce(run, trust=trust, tolerance=tolerance)
    show_reproduction(found)
    return found.exit_code


for command in (verify, compare, runs, show):
    main.add_command(command)


@main.command()
def doctor() -> int:
    """Look at versions, devices, store, journals, runs and disk; exit code 1 if something is wrong."""
    from primer.doctor import doctor
    from primer.doctor import show as show_findings

    findings = doctor()
    show_findings(findings)
    return int(not all(finding.is_healthy for finding in findings))


@main.command()
@click.argument("runs", nargs=-1)
def sync(runs: tuple[str, ...]) -> int:
    """Ship what of RUNS, or of all runs below outputs, is not in MLflow yet."""
    from primer.sync import sync, told

    results = sync(*runs)
    for line in told(results):
        click.echo(line)
    return int(any(result.error for result in results))


@main.command()
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
@click.option("--sweep", metavar="ID", help="Print the links to a sweep's view, too; `last` is the newest.")
def ui(port: int, sweep: str | None) -> None:
    """Open MLflow on the runs of this folder, or of $MLFLOW_TRACKING_URI."""
    from primer.compare.asked import sweep_called
    from primer.sync import tidy_up
    from primer.tracking.ui import serve

    tidy_up(is_tracking=True)
    serve(port, sweep_called(sweep) if sweep else None)


@main.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print a shell's tab completion.

    \b
    eval "$(primer completion bash)"       the line to add to ~/.bashrc
    eval "$(primer completion zsh)"        the line to add to ~/.zshrc
    """
    click.echo(SCRIPTS[shell], nl=False)
