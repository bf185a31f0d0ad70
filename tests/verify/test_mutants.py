"""`verify` says of each wrong function what is wrong with it, and nothing of a good one."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutants import GOOD, WRONG, Entry, Noisy, PreluModule
from torch import Tensor
from torch.autograd import Function

from primer.activations.straight_through_sign import StraightThroughSignFunction
from primer.errors import ConfigError
from primer.verify.ask import undisturbed, verify
from primer.verify.checks import CHECKS
from primer.verify.findings import Verdict, Verification
from primer.verify.spec import Spec
from primer.verify.subjects import subject_from

# No mutant is meant for these: a matter of torch's version, of packages and machines, of time.
UNPROVEN = {"compile_transforms", "onnx", "devices", "cost"}
RUNS = {check.name: check.run for check in CHECKS}


def failures(verification: Verification) -> dict[str, str]:
    """What failed, by the name of the check, in its words."""
    return {found.check: found.sentence for found in verification.findings if found.verdict == Verdict.FAIL}


@pytest.mark.parametrize("entry", WRONG, ids=lambda entry: entry.name)
def test_finds_what_is_wrong(entry: Entry) -> None:
    """Its check alone, and in its own words: one that raises here says nothing."""
    assert entry.flagged_by
    with undisturbed():
        found = RUNS[entry.flagged_by](subject_from(entry.thing, (), entry.against, None))
    assert found.verdict == entry.verdict, found.sentence
    assert found.check == entry.flagged_by
    assert found.advice


@pytest.mark.parametrize("entry", GOOD, ids=lambda entry: entry.name)
def test_finds_nothing_wrong_with_a_good_one(entry: Entry) -> None:
    assert failures(verify(entry.thing, against=entry.against, fast=True)) == {}


def test_each_check_is_proven_by_a_mutant() -> None:
    assert RUNS.keys() - {entry.flagged_by for entry in WRONG} == UNPROVEN


@pytest.mark.parametrize(
    ("name", "against"),
    [
        ("relu", "custom_relu"),
        ("custom_relu", "relu"),
        ("gelu", "gelu"),
        ("silu", "silu"),
        ("tanh", "tanh"),
        ("leaky_relu", "leaky_relu"),
    ],
)
def test_finds_nothing_wrong_with_activations(name: str, against: str) -> None:
    verification = verify(f"activation={name}", against=against, fast=True)
    assert failures(verification) == {}
    assert verification.exit_code == 0


def test_the_tutorials_relu_is_relu_but_for_its_kink() -> None:
    verification = verify("activation=tutorial_relu", against="relu", fast=True)
    assert set(failures(verification)) == {"kink"}
    assert verification.exit_code == 1


@pytest.mark.skipif(torch.__version__ >= (2, 14), reason="from then on the slope of clamp at 0 is 0")
def test_the_tutorials_relu_is_clamp() -> None:
    assert failures(verify("activation=tutorial_relu", against="clamp", fast=True)) == {}


def switches_of_torch() -> tuple[int, bool, bool]:
    """Which tests before may have set."""
    return (
        torch.get_num_threads(),
        torch.is_anomaly_enabled(),
        torch.are_deterministic_algorithms_enabled(),
    )


def test_leaves_the_process_as_it_was() -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(3, dtype=torch.float32)  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    switches = switches_of_torch()
    with torch.no_grad():
        verify(Noisy, against=torch.relu, fast=True)
        assert not torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert switches_of_torch() == switches
    drawn = random.random(), np.random.rand(), torch.rand(3)  # noqa: NPY002
    assert drawn[:2] == expected[:2]
    assert torch.equal(drawn[2], expected[2])


def test_leaves_another_default_dtype_as_it_was() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert failures(verify(GOOD[0].thing, against=torch.relu, fast=True)) == {}
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_leaves_a_module_as_it_was() -> None:
    module = PreluModule().eval()
    verify(module, fast=True)
    assert module.slope.item() == 0.25
    assert module.slope.dtype == torch.float32
    assert module.slope.grad is None
    assert not module.training


class RaisesBackward(Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.exp()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        raise ArithmeticError("not written yet")


def raises(x: Tensor) -> Tensor:
    raise ArithmeticError("not written yet")


@pytest.mark.parametrize("against", [None, torch.exp, raises])
def test_a_backward_that_raises_is_a_finding(against: Callable[[Tensor], Tensor] | None) -> None:
    verification = verify(RaisesBackward, against=against, fast=True)
    assert "not written yet" in failures(verification)["gradcheck"]
    assert all("Traceback" not in f"{found.sentence}{found.example}" for found in verification.findings)
    assert verification.exit_code == 1
    assert "not written yet" in verification.to_json()


def test_a_forward_that_raises_is_a_wrong_question() -> None:
    with pytest.raises(ConfigError, match=r"raises: can't be called .*ArithmeticError: not written yet"):
        verify(raises)


def test_a_surrogate_is_compared_in_float32_too() -> None:
    class Steep(StraightThroughSignFunction):
        @staticmethod
        def backward(ctx: Any, grad_output: Tensor) -> Tensor:
            right: Tensor = StraightThroughSignFunction.backward(ctx, grad_output)
            return 5 * right if grad_output.dtype == torch.float32 else right

    assert "reference_backward" in failures(verify(Steep, fast=True))


def test_the_first_function_of_the_docs_is_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "custom_functions.md").read_text()
    source = page.partition("```python\n# my_package.py\n")[2].partition("```")[0]
    names: dict[str, Any] = {"__name__": "docs"}
    exec(source, names)
    assert failures(verify(names["SquaredReLU"], fast=True)) == {}


def test_an_argument_that_is_no_tensor_has_to_be_declared() -> None:
    class Scaled(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
            return x * alpha

    with pytest.raises(ConfigError, match="Scaled: takes alpha: 'float', of which no value is known"):
        verify(Scaled, fast=True)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"inputs": [{"shape": "4"}]}, "shape='4': expected whole numbers"),
        ({"tolerance": "1e-3"}, "tolerance='1e-3': expected a number"),
        ({"because": {"kinkk": "of a bet"}}, "no check 'kinkk'; did you mean kink"),
        ({"because": {"caled": "a kernel"}}, "no check 'caled'; did you mean called"),
    ],
)
def test_a_wrong_declaration_is_a_line(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        Spec.of(declared, "mine")


def test_the_docs_tell_of_each() -> None:
    page = (Path(__file__).parents[2] / "docs" / "custom_functions.md").read_text()
    table = page.partition("## What it catches")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE))
    for entry in WRONG:
        assert entry.name in rows[entry.flagged_by].replace(" (WARN)", "").split(", ")
    assert f"{len(WRONG)} functions" in table
    assert f"{len(GOOD)} right ones" in table
