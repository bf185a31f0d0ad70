"""What `primer verify devices` found, for the person who asked."""

from __future__ import annotations

from rich.table import Table

from primer.console import result_console
from primer.verify.devices_compared import DevicesVerification, OnDevices, devices_in_words

COLUMNS = ("devices", "samples", "loss difference", "weight difference", "verdict")


def show_devices(found: DevicesVerification) -> None:
    """Print a line for each number of devices, what was measured, and the verdict."""
    console = result_console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in COLUMNS:
        is_text = column in ("samples", "verdict")
        table.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    for training in found.trainings:
        table.add_row(*_row(training, is_first=training is found.trainings[0]))
    console.print(table)
    loss, weight = found.tolerance
    console.print(
        f"largest relative differences to the first; up to {loss:g} of a loss and {weight:g} of a weight "
        f"tensor's norm is rounding (precision {found.precision}, {found.kind})"
    )
    for training in found.trainings:
        if training.error and training.error not in found.verdict:
            console.print(f"on {devices_in_words([training.num_devices])}: {training.error}", markup=False)
    colour = "red" if found.exit_code else "green"
    console.print(found.verdict, style=f"bold {colour}", markup=False)


def _row(training: OnDevices, *, is_first: bool) -> tuple[str, ...]:
    number = str(training.num_devices)
    if training.error:
        return number, "", "", "", "[red]failed[/red]"
    colour = "red" if training.first else "green"
    verdict = f"[{colour}]{training.verdict}[/{colour}]"
    samples = f"{training.num_samples} in {training.num_steps} steps"
    if is_first:
        return number, samples, "", "", "" if training.verdict == "same" else verdict
    samples += ", same" if training.has_same_samples else ", others"
    differences = (training.loss_difference, training.weight_difference)
    return number, samples, *(f"{difference:.2g}" for difference in differences), verdict
