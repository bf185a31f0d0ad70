"""A verification on a terminal: a line for each check, what to do about those that failed, the verdict."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from primer.verify.findings import Finding, Verdict, Verification

COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.WARN: "yellow", Verdict.SKIP: "dim"}
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
