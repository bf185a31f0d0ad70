"""What was verified, for the person who asked: on a terminal, and as Markdown, which a run keeps of it."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from primer.console import result_console
from primer.verify.devices_compared import DevicesVerification, OnDevices, devices_in_words
from primer.verify.findings import Finding, Verdict, Verification

COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.WARN: "yellow", Verdict.SKIP: "dim"}
MARKS = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.WARN: "⚠️", Verdict.SKIP: "–"}
COLUMNS = ("devices", "samples", "loss difference", "weight difference", "verdict")
MIN_WIDTH = 100  # characters, where standard output is no terminal


def show(found: Verification) -> None:
    """Print what the checks found to standard output."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = MIN_WIDTH
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("check", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("sentence", overflow="fold")
    for finding in found.findings:
        verdict = Text(finding.verdict, style=COLOURS[finding.verdict])
        style = "dim" if finding.verdict is Verdict.SKIP else ""
        table.add_row(finding.check, verdict, Text(finding.sentence, style=style))
    console.print(table)
    for finding in found.findings:
        if finding.verdict in (Verdict.FAIL, Verdict.WARN):
            _show_advice(console, finding)
    console.print()
    console.print(found.verdict, style=f"bold {COLOURS[found.verdict]}", end="")
    console.print(f" {told(found)}", markup=False, soft_wrap=True)


def _show_advice(console: Console, finding: Finding) -> None:
    console.print()
    console.print(finding.check, style=f"bold {COLOURS[finding.verdict]}")
    for label, text in (("shown by", finding.example), ("what to do", finding.advice)):
        if text:
            console.print(f"  {label}: {text}", markup=False)


def told(found: Verification) -> str:
    """The end of it in a line.

    >>> told(Verification("f", "relu", {}, "", {"torch": "2.13.0"}, 1.25, ()))
    'f against relu: no check was made, in 1.2 s (torch 2.13.0)'
    """
    counts = [f"{number} {verdict}" for verdict in Verdict if (number := found.count(verdict))]
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    against = f" against {found.reference}" if found.reference else ""
    told = ", ".join(counts) or "no check was made"
    return f"{found.name}{against}: {told}, in {found.seconds:.1f} s ({versions})"


def markdown(found: Verification, *, picture: str | None = None) -> str:
    """The report of a verification; `picture` is the name of a file beside it."""
    lines = [f"# {found.name}: {found.verdict}", "", told(found), ""]
    if picture:
        lines += [f"![values and gradients]({picture})", ""]
    if found.declared:
        lines += ["Declared beside it:", ""]
        lines += [f"- `{name}`: {value}" for name, value in found.declared.items()] + [""]
    lines += ["| check | | |", "|---|---|---|"]
    lines += [
        f"| `{one.check}` | {MARKS[one.verdict]} {one.verdict} | {_cell(one)} |" for one in found.findings
    ]
    lines += ["", f"Code {found.source_hash}; {found.seconds:.1f} s.", ""]
    return "\n".join(lines)


def _cell(finding: Finding) -> str:
    parts = [finding.sentence]
    if finding.example:
        parts.append(f"Shown by: `{finding.example}`.")
    if finding.advice:
        parts.append(f"What to do: {finding.advice}")
    return "<br>".join(part.replace("|", "\\|").replace("\n", " ") for part in parts)


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
