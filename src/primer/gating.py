"""`verification=warn|require`: before a run trains, the custom Functions in its way are verified."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from primer.data import Dataset
from primer.errors import RunError, first_line
from primer.files import ROOT
from primer.tracking.journal import Journal
from primer.training.module import TrainingModule
from primer.verify.findings import Verdict, Verification
from primer.verify.gate import grave, verifications_of
from primer.verify.show import markdown

REPORT = "verification.md"
NUM_ROWS = 2  # a batch norm refuses one


def pass_gate(
    how: str, module: TrainingModule, dataset: Dataset, places: Sequence[tuple[Path, Journal]]
) -> None:
    """Verify what `module` goes through for these data, and write that into the folders of its runs.

    Raises RunError where `how` is `require` and a function's values or gradients are wrong, or can't be
    verified; what else fails is a warning. Nothing of the module is changed.
    """
    if how == "off":
        return
    try:
        found = _found(module, dataset)
    except Exception as error:  # the user's code, in ways that a training may never call it
        reason = first_line(error)
        message = f"custom functions could not be verified: {type(error).__name__}: {reason}"
        if how == "require":
            raise RunError(f"verification=require: {message}") from error
        _warn(message, places)
        return
    for folder, journal in places if found else ():
        for one in found:
            journal.write(
                "verification",
                function=one.name,
                verdict=one.verdict,
                failed=[finding.check for finding in one.findings if finding.verdict is Verdict.FAIL],
                source_hash=one.source_hash,
                versions=one.versions,
            )
        (folder / REPORT).write_text("\n".join(markdown(one) for one in found))
    for one in found:
        wrong = [finding for finding in one.findings if finding.verdict is Verdict.FAIL]
        if not wrong:
            continue
        checks = ", ".join(finding.check for finding in wrong)
        message = f"{one.name} is not right ({checks}): {wrong[0].sentence} See {REPORT}"
        if how == "require" and grave(one):
            raise RunError(f"verification=require: {message}")
        _warn(message, places)


def _warn(message: str, places: Sequence[tuple[Path, Journal]]) -> None:
    for _, journal in places:
        journal.write("warning", message=message)


def _found(module: TrainingModule, dataset: Dataset) -> list[Verification]:
    net, criterion = copy.deepcopy(module.net).eval(), module.criterion  # what only trains is left out
    x, y = (torch.from_numpy(rows[:NUM_ROWS]) for rows in (dataset.train.x, dataset.train.y))
    weight = next(net.parameters(), x)
    x = x.to(weight.dtype)
    y = y.to(weight.dtype) if y.is_floating_point() else y

    def run() -> Tensor:
        loss: Tensor = criterion(net(x), y, len(x))
        return loss

    outputs = Path.cwd() / ROOT
    return verifications_of(run, outputs / ".verified" if outputs.is_dir() else None)
