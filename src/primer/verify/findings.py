"""What checks found: a verdict each, in words that a beginner understands, and what they come to together."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """FAIL: trains wrongly, or loses something in silence; WARN: loud, or a matter of taste."""

    PASS = "PASS"
    FAIL = "FAIL"
    WARN = "WARN"
    SKIP = "SKIP"


class Skip(Exception):
    """A check can't be made of this subject, and why."""


@dataclass(frozen=True)
class Finding:
    """What one check found: one sentence, the smallest input that shows it, and what to do.

    `numbers` are for programs, such as `largest_difference` or `bytes_per_element`.
    """

    check: str
    verdict: Verdict
    sentence: str
    example: str | None = None
    advice: str | None = None
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Verification:
    """All findings about one function, net or criterion, and what they are true of.

    `reference` is what it was compared with; `declared` is what stands beside the function; `seconds` is how
    long the checks took, imports left out.
    """

    name: str
    reference: str | None
    declared: dict[str, Any]
    source_hash: str
    versions: dict[str, str]
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The gravest of them; what was skipped says nothing.

        >>> Verification("f", None, {}, "", {}, 0.0, (passed("a", "is so"), skipped("b", "not here"))).verdict
        <Verdict.PASS: 'PASS'>
        """
        found = {finding.verdict for finding in self.findings}
        return next((verdict for verdict in (Verdict.FAIL, Verdict.WARN) if verdict in found), Verdict.PASS)

    def __repr__(self) -> str:
        lines = [f"{self.name}: {self.verdict}"]
        wrong = [one for one in self.findings if one.verdict in (Verdict.FAIL, Verdict.WARN)]
        return "\n  ".join([*lines, *(f"{one.verdict} {one.check}: {one.sentence}" for one in wrong)])

    @property
    def exit_code(self) -> int:
        """1 where a check failed."""
        return int(self.verdict is Verdict.FAIL)

    def of(self, check: str) -> Finding:
        """The finding of a check; KeyError where it was not made."""
        return {finding.check: finding for finding in self.findings}[check]

    def count(self, verdict: Verdict) -> int:
        """How many checks came to that verdict."""
        return sum(finding.verdict is verdict for finding in self.findings)

    def to_json(self) -> str:
        """Everything, for programs."""
        return json.dumps(dataclasses.asdict(self) | {"verdict": self.verdict}, indent=2, default=str)


def passed(check: str, sentence: str, **numbers: float) -> Finding:
    """It is as it should be."""
    return Finding(check, Verdict.PASS, sentence, numbers=numbers)


def skipped(check: str, reason: str) -> Finding:
    """It was not looked at, and why."""
    return Finding(check, Verdict.SKIP, reason)


def failed(check: str, sentence: str, example: str | None, advice: str, **numbers: float) -> Finding:
    """It trains wrongly, or loses something in silence."""
    return Finding(check, Verdict.FAIL, sentence, example, advice, numbers)


def warned(check: str, sentence: str, example: str | None, advice: str, **numbers: float) -> Finding:
    """It is not as one would expect, loudly or without harm."""
    return Finding(check, Verdict.WARN, sentence, example, advice, numbers)


def on_purpose(finding: Finding, because: str | None) -> Finding:
    """The finding; a failure that is declared to be so on purpose is a warning."""
    if not because or finding.verdict is not Verdict.FAIL:
        return finding
    sentence = f"{finding.sentence} On purpose: {because}"
    return dataclasses.replace(finding, verdict=Verdict.WARN, sentence=sentence)


def together(findings: Iterable[Finding | None]) -> Finding:
    """The gravest of several findings of one check; None found nothing."""
    order = [Verdict.FAIL, Verdict.WARN, Verdict.PASS, Verdict.SKIP]
    return min(filter(None, findings), key=lambda finding: order.index(finding.verdict))
