"""`verify` says of the sample Functions that PyTorch tests itself with what each of them is.

They are in torch.testing._internal, whose import locks torch's switches for the whole process: so another
process verifies them, and prints what failed.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

DRIVER = """
import json

import torch
from torch.testing._internal import autograd_function_db as db

from primer.verify.ask import verify

torch.set_num_threads(1)
indices = torch.tensor([[1, 0, 4, 2, 3], [4, 3, 2, 1, 0], [0, 1, 2, 3, 4]])


def row(*shape):
    return {"shape": shape, "kind": "positive"}


def constant(value):
    return {"kind": "constant", "value": value}


def exp_(x):
    return db.NumpyExp_.apply(x.clone())


def cube(x):
    return x**3


def cube_and_slope(x):
    return x**3, 3 * x**2


def sort(x, dim):
    return x.sort(dim).values


def take(x, indices, _, dim):
    return torch.take_along_dim(x, indices, dim)


def select(x, at=(2,)):
    return x[at]


def both(x, y):
    return x.clone(), y.clone()


sorting = [row(3, 5), constant(1)]
taking = [row(3, 5), constant(indices), constant(indices.argsort(1)), constant(1)]
selecting = [row(3, 5), constant(2)]
samples = [
    (db.NumpyCube, [row(5)], cube_and_slope),
    (db.NumpyCubeNotComposable, [row(5)], cube),
    (db.NumpyMul, [row(4), row(3, 4)], torch.mul),
    (exp_, [row(5)], torch.exp),
    (db.NumpySort, sorting, sort),
    (db.NumpyTake, taking, take),
    (db.CubeGenVmap, [row(5)], cube_and_slope),
    (db.MulGenVmap, [row(3, 4), row(3, 4)], torch.mul),
    (db.SortGenVmap, sorting, sort),
    (db.TakeGenVmap, taking, take),
    (db.Select, selecting, select),
    (db.SelectGenVmap, selecting, select),
    (db.ScaleGradGenVmap, [row(5)], torch.clone),
    (db.ZeroGradientsGenVmap, [row(4), row(3, 4)], both),
    (db.ForwardHasDefaultArgs, [row(3, 5)], select),
]
failures = {}
for sample, inputs, reference in samples:
    sample.verify = {"inputs": inputs}
    found = verify(sample, against=reference, fast=True).findings
    failures[sample.__name__] = {each.check: each.sentence for each in found if each.verdict == "FAIL"}
print(json.dumps(failures))
"""

NUMPY: set[str] = set()
# For each sample: what fails, and why that is right.
EXPECTED = {
    "NumpyCube": (NUMPY, "right, by NumPy, with a vmap and a jvp of its own"),
    "NumpyCubeNotComposable": (
        NUMPY
        | {"reference_backward", "gradcheck", "linearity", "nonfinite_backward"}
        | {"gradient_penalty", "backward_contract", "saved_tensors"},
        "its backward forgets the gradient that it is given, and ctx holds the array of its input",
    ),
    "NumpyMul": (NUMPY, "right, of two tensors of which one is broadcast; the gradient is not summed"),
    "exp_": (NUMPY, "right, in place, and marked as dirty"),
    "NumpySort": (
        NUMPY | {"reference_forward", "gradcheck", "nonfinite_forward"},
        "it does not sort: it answers with its input, and goes back as if it were sorted",
    ),
    "NumpyTake": (NUMPY, "right, with constant indices"),
    "CubeGenVmap": (
        {"reference_backward", "gradcheck", "linearity", "gradgradcheck", "gradient_penalty"}
        | {"backward_contract", "transforms"},
        "6 * dinput stands where 6 * x * grad_saved should: not even linear, and its jvp is another one",
    ),
    "MulGenVmap": (set(), "right, with a generated vmap and a jvp"),
    "SortGenVmap": (set(), "right; two of its three outputs are whole numbers without a gradient"),
    "TakeGenVmap": (set(), "right, with constant indices"),
    "Select": (set(), "right; its answer is a view, and its vmap is its own"),
    "SelectGenVmap": (set(), "right; its answer is a view"),
    "ScaleGradGenVmap": ({"reference_backward", "gradcheck"}, "its gradient is 3.14 times that of a copy"),
    "ZeroGradientsGenVmap": ({"reference_backward", "gradcheck"}, "its gradients are 0, of a larger shape"),
    "ForwardHasDefaultArgs": (set(), "right, of one argument where two are possible"),
}


@pytest.fixture(scope="module")
def failures() -> dict[str, dict[str, str]]:
    """What failed of each sample, in words, as another process found."""
    ran = subprocess.run([sys.executable, "-c", DRIVER], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return dict(json.loads(ran.stdout.splitlines()[-1]))


@pytest.mark.parametrize("name", EXPECTED)
def test_says_what_a_sample_is(name: str, failures: dict[str, dict[str, str]]) -> None:
    expected, reason = EXPECTED[name]
    assert failures[name].keys() == expected, f"{reason}; found {failures[name]}"


def test_no_sample_is_left_out(failures: dict[str, dict[str, str]]) -> None:
    assert failures.keys() == EXPECTED.keys()
