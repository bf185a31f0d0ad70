"""ReLU written three ways, and other custom functions: a SiLU, a learned slope, a sign that can be trained.

The ReLUs differ in how the gradient comes about, and in its value at exactly 0. Each activation comes as a
function and as an `nn.Module` that can be built without arguments, elementwise on a tensor of any shape.
"""

from __future__ import annotations

from primer.activations.clamp import Clamp, clamp
from primer.activations.custom_prelu import CustomPReLU, custom_prelu
from primer.activations.custom_relu import CustomReLU, custom_relu
from primer.activations.custom_silu import CustomSiLU, custom_silu
from primer.activations.straight_through_sign import StraightThroughSign, straight_through_sign
from primer.activations.tutorial_relu import TutorialReLU, tutorial_relu

__all__ = [
    "Clamp",
    "CustomPReLU",
    "CustomReLU",
    "CustomSiLU",
    "StraightThroughSign",
    "TutorialReLU",
    "clamp",
    "custom_prelu",
    "custom_relu",
    "custom_silu",
    "straight_through_sign",
    "tutorial_relu",
]
