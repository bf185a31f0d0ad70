"""The checks, in the order they are told: each takes a subject and says what it found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from primer.verify.checks.compiled import compile, compile_transforms
from primer.verify.checks.contract import backward_contract, purity
from primer.verify.checks.derivatives import determinism, gradcheck, linearity
from primer.verify.checks.dtypes import integers, parts_of_inputs
from primer.verify.checks.elsewhere import devices, export, module, onnx
from primer.verify.checks.kink_checks import kink, neighbours
from primer.verify.checks.layouts import layouts
from primer.verify.checks.memory import checkpointing, no_leak, saved_tensors
from primer.verify.checks.nonfinite import nonfinite_backward, nonfinite_forward
from primer.verify.checks.precisions import autocast, single_precision
from primer.verify.checks.second import gradgradcheck, gradient_penalty
from primer.verify.checks.training import cost, training_parity
from primer.verify.checks.transformed import transforms
from primer.verify.checks.values import low_precision, reference_backward, reference_forward
from primer.verify.findings import Finding
from primer.verify.subject import Subject


@dataclass(frozen=True)
class Check:
    """One question about a custom function; `is_fast` where it takes but a moment."""

    run: Callable[[Subject], Finding]
    is_fast: bool = True

    @property
    def name(self) -> str:
        """What its findings are called."""
        return self.run.__name__


CHECKS: tuple[Check, ...] = (
    # is it the function that it is meant to be?
    Check(reference_forward),
    Check(reference_backward),
    Check(single_precision),
    Check(gradcheck),
    Check(linearity),
    Check(determinism),
    Check(kink),
    Check(neighbours),
    Check(nonfinite_forward),
    Check(nonfinite_backward),
    Check(low_precision),
    # second derivatives
    Check(gradgradcheck),
    Check(gradient_penalty),
    # is it fit to be called by anybody?
    Check(layouts),
    Check(integers),
    Check(parts_of_inputs),
    Check(purity),
    Check(backward_contract),
    Check(saved_tensors),
    Check(no_leak),
    Check(checkpointing, is_fast=False),  # torch imports its compiler for it: a second
    Check(autocast),
    Check(transforms),
    Check(module),
    Check(devices),
    # what takes longer
    Check(compile, is_fast=False),
    Check(compile_transforms, is_fast=False),
    Check(export, is_fast=False),
    Check(onnx, is_fast=False),
    Check(training_parity, is_fast=False),
    Check(cost, is_fast=False),
)
