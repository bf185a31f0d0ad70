"""`primer COMMAND`: thin words around the Python calls of the same names. Imports nothing heavy."""

from __future__ import annotations

import signal
import sys
from typing import Any, NoReturn

import click

from primer.completion import SCRIPTS, complete_override
from primer.errors import PrimerError

INTERRUPTED = 130  # the shells' word for SIGINT


class Main(click.Group):
    """Errors end in one or two lines and their exit code, no traceback; a command returns its exit code."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        signal.signal(signal.SIGTERM, _raise_exit)
        try:
            sys.exit(super().main(*args, **options | {"standalone_mode": False}))
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(INTERRUPTED)
        except (PrimerError, click.ClickException) as error:
            message = error.format_message() if isinstance(error, click.ClickException) else str(error)
            click.echo(f"primer: {' '.join(message.split())}", err=True)
            sys.exit(error.exit_code)


def _raise_exit(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


@click.group(cls=Main, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="torch-primer", prog_name="primer")
def main() -> None:
    """Change one switch of a training; get one run that can be trusted, compared and repeated.

    \b
    primer train                                   the default run: digits, a two-layer net
    primer train activation=custom_relu            the same, with one switch changed
    primer train --help                            every switch and key
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
@click.option("-h", "--help", is_flag=True, is_eager=True, expose_value=False, callback=_show_help)
def train(overrides: tuple[str, ...], config_dir: str | None, cfg: str | None, debug: bool) -> int:
    """Train one run."""
    from primer.config import compose

    config = compose(overrides, config_dir=config_dir)
    if cfg:
        import yaml

        click.echo(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), nl=False)
        return 0
    from primer.run import run
    from primer.summary import show

    result = run(config, debug=debug)
    show(result)
    return result.exit_code


@main.command()
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
def ui(port: int) -> None:
    """Open MLflow on the runs of this folder, or of $MLFLOW_TRACKING_URI."""
    from primer.tracking.ui import serve

    serve(port)


@main.command()
@click.argument("shell", type=click.Choice(list(SCRIPTS)))
def completion(shell: str) -> None:
    """Print a shell's tab completion.

    \b
    eval "$(primer completion bash)"       the line to add to ~/.bashrc
    eval "$(primer completion zsh)"        the line to add to ~/.zshrc
    """
    click.echo(SCRIPTS[shell], nl=False)
