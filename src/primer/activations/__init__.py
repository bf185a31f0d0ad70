"""ReLU written three ways; they differ in how the gradient comes about, and in its value at exactly 0.

Each comes as a function and as an `nn.Module` without arguments, elementwise on a tensor of any shape.
"""

from __future__ import annotations

from primer.activations.clamp import Clamp, clamp
from primer.activations.custom_relu import CustomReLU, custom_relu
from primer.activations.tutorial_relu import TutorialReLU, tutorial_relu

__all__ = ["Clamp", "CustomReLU", "TutorialReLU", "clamp", "custom_relu", "tutorial_relu"]
