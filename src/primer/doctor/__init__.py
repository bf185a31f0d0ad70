"""`primer doctor`: what is wrong with this machine, this folder and its store; it changes nothing.

Neither torch nor MLflow's database code runs in here: what is broken in them is a finding, and MLflow would
create or migrate a database that it opens.
"""

from __future__ import annotations

from dataclasses import replace

from primer.doctor.machine import devices, disk, versions
from primer.doctor.report import Finding, show
from primer.doctor.runs import Place, environment, journals, last_error, runs, stale, store, unshipped
from primer.tracking.trouble import reason_of

__all__ = ["Finding", "doctor", "show"]

CHECKS = (versions, devices, store, runs, unshipped, stale, disk, journals, last_error, environment)


def doctor() -> list[Finding]:
    """Look at this machine, this folder and its store, as `primer doctor` does; changes and raises nothing.

    >>> [finding.name for finding in doctor() if not finding.is_healthy]  # doctest: +SKIP
    ['disk']
    """
    place, findings = Place(), []
    for check in CHECKS:
        try:
            found = check(place)
        except Exception as error:  # a broken place is what this is for
            text = f"can't be told: {type(error).__name__}: {reason_of(error)}"
            found = Finding(check.__name__.replace("_", " "), False, text)
        findings.append(replace(found, text=" ".join(found.text.split())))
    return findings
