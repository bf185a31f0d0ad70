"""A verification as Markdown: what a run keeps of it, and what one sends around."""

from __future__ import annotations

from primer.verify.findings import Finding, Verdict, Verification
from primer.verify.show import told

MARKS = {Verdict.PASS: "✅", Verdict.FAIL: "❌", Verdict.WARN: "⚠️", Verdict.SKIP: "–"}


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
