"""What all activations have in common: modules without state that can be copied, stored and exported."""

from __future__ import annotations

import copy
import doctest
import importlib
import pickle

import pytest
import torch
from torch import nn

import primer.activations
from primer.activations import Clamp, CustomReLU, TutorialReLU, clamp, custom_relu, tutorial_relu


@pytest.mark.parametrize("module", ["clamp", "custom_relu", "tutorial_relu"])
def test_examples(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"primer.activations.{module}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("module", "function"), [(Clamp, clamp), (CustomReLU, custom_relu), (TutorialReLU, tutorial_relu)]
)
def test_module_wraps_its_function(module: type[nn.Module], function: object) -> None:
    x = torch.randn(3, 4)
    activation = module()
    assert repr(activation) == f"{module.__name__}()"
    assert not activation.state_dict()
    exported = torch.export.export(activation, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    for twin in (activation, copy.deepcopy(activation), pickle.loads(pickle.dumps(activation)), exported):
        assert torch.equal(twin(x), function(x))


def test_package_exports_modules_and_functions() -> None:
    assert all(callable(getattr(primer.activations, name)) for name in primer.activations.__all__)
