"""`primer verify`: the words around `primer.verify` and `primer.verify_devices`. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from primer.completion import complete_override


class Verify(click.Group):
    """What is no command is the part to verify."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args.insert(0, PART)
        return super().parse_args(context, args)


PART = "part"


@click.group(cls=Verify)
def verify() -> None:
    """Check a custom function of your own, a whole net, or that devices agree.

    \b
    primer verify activation=custom_relu --against relu   an option, against another one
    primer verify my_package.MyFunction                   an autograd Function, a module, a function
    primer verify net=two_layer activation=custom_silu    a whole net, against finite differences
    primer verify devices data=digits --devices 1,2,4     one training on several numbers of devices
    primer verify part --help                             what it can be asked
    """


@verify.command(PART)
@click.argument("part", shell_complete=complete_override)
@click.argument("overrides", nargs=-1, shell_complete=complete_override)
@click.option("--against", help="What to compare with: an option of the same group, or a dotted path.")
@click.option("--fast", is_flag=True, help="Only checks that take a moment.")
@click.option("--json", "is_json", is_flag=True, help="Print what was found as JSON.")
@click.option("--report", type=click.Path(dir_okay=False), help="Write a report as Markdown.")
@click.option("--picture", type=click.Path(dir_okay=False), help="Draw values and slopes as PNG.")
@click.option("--config-dir", type=click.Path(), help="A folder of your own options.")
def verify_part(
    part: str,
    overrides: tuple[str, ...],
    against: str | None,
    fast: bool,
    is_json: bool,
    report: str | None,
    picture: str | None,
    config_dir: str | None,
) -> int:
    """Verify PART: activation=OPTION, criterion=OPTION, net=OPTION, or package.Name of a thing of your own.

    \b
    0  nothing failed
    1  a check failed: what, shown by what, and what to do
    2  there is no such thing to verify
    """
    from primer.verify.ask import verify as ask

    for path in filter(None, (report, picture)):
        if not Path(path).absolute().parent.is_dir():
            raise click.UsageError(f"{path}: no such folder")
    asked: dict[str, Any] = {"against": against, "config_dir": config_dir}
    if picture:  # first: where there is none to draw, the question was wrong
        from primer.verify.picture import draw_part

        draw_part(part, *overrides, path=Path(picture), **asked)
    found = ask(part, *overrides, fast=fast, **asked)
    if report:
        from primer.verify.show import markdown

        Path(report).write_text(markdown(found, picture=picture))
    if is_json:
        click.echo(found.to_json())
    else:
        from primer.verify.show import show

        show(found)
    return found.exit_code


@verify.command()
@click.argument("overrides", nargs=-1, shell_complete=complete_override)
@click.option("--devices", default="1,2,4", show_default=True, help="Numbers of devices to compare.")
@click.option("--steps", "num_steps", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--config-dir", type=click.Path(), help="A folder of your own options.")
def devices(overrides: tuple[str, ...], devices: str, num_steps: int, config_dir: str | None) -> int:
    """Train the run of OVERRIDES on several numbers of devices, and say whether it is the same.

    \b
    0  the same samples in each step; losses and weights within rounding
    1  different: the first step that differs is named

    A net that draws random numbers in training, as for dropout, draws others on each device.
    """
    from primer.verify.devices import verify_devices
    from primer.verify.show import show_devices

    try:
        numbers = [int(word) for word in devices.split(",")]
    except ValueError:
        raise click.UsageError(f"--devices {devices}: expected numbers, such as 1,2,4") from None
    found = verify_devices(*overrides, devices=numbers, num_steps=num_steps, config_dir=config_dir)
    show_devices(found)
    return found.exit_code
