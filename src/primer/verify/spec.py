"""What is declared beside a custom function: its reference, inputs, kinks, and what is so on purpose.

A class, function or module declares it as plain data, an attribute `verify`, so that it needs no import:

    class MyFunction(Function):
        verify = {"reference": torch.relu, "kinks": [0.0]}
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from primer.config.wording import did_you_mean
from primer.errors import ConfigError

SHAPE = (5, 7)  # chosen: small, odd, and more than one row; of a tensor that nothing is declared of
CALLED = "called"  # can it be called by itself? what is asked of a function that a net goes through
KINDS = ("normal", "positive", "unit", "classes", "constant")


@dataclass(frozen=True)
class Input:
    """One argument: a tensor of `shape`, drawn as `kind` says, or a `constant`, passed as it is.

    normal: standard normal; positive: above 0; unit: between 0 and 1; classes: whole numbers below
    `num_classes`. `grad`: whether a gradient goes to it; those of whole numbers have none.
    """

    shape: tuple[int, ...] = SHAPE
    kind: str = "normal"
    grad: bool = True
    num_classes: int = 2
    value: Any = None

    @property
    def has_grad(self) -> bool:
        """Whether a gradient is expected for it."""
        return self.grad and self.kind not in ("classes", "constant")


@dataclass(frozen=True)
class Spec:
    """What is declared; all of it is optional.

    reference: a function of the same arguments that is known to be right, or its dotted path.
    inputs: the arguments, a dict for each (`Input`); inferred for a function of one tensor.
    kinks: inputs at which the slope jumps; looked for in a function of one tensor.
    tolerance: largest relative difference to the reference; None: that of rounding.
    once_differentiable: a second derivative is refused on purpose.
    gradient: "derivative", or "surrogate" where the backward is not the derivative on purpose.
    because: why something is so on purpose, by the name of a check: it WARNs where it would FAIL.
    """

    reference: Callable[..., Any] | str | None = None
    inputs: tuple[Input, ...] | None = None
    kinks: tuple[float, ...] | None = None
    tolerance: float | None = None
    once_differentiable: bool = False
    gradient: str = "derivative"
    because: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, declared: Any, name: str) -> Spec:
        """From a `verify` attribute; raises ConfigError for what it can't mean.

        >>> Spec.of({"kinks": [0.0]}, "MyFunction").kinks
        (0.0,)
        """
        if isinstance(declared, Spec):
            return declared
        if declared is None:
            return cls()
        place = f"{name}.verify"
        if not isinstance(declared, Mapping):
            raise ConfigError(f"{place}: expected a dict, found {type(declared).__name__}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in declared:
            if key not in known:
                raise ConfigError(
                    f"{place}: no key {key!r}{did_you_mean(str(key), known)} (keys: {', '.join(known)})"
                )
        values = dict(declared)
        if values.get("gradient", "derivative") not in ("derivative", "surrogate"):
            raise ConfigError(f"{place}: gradient={values['gradient']!r}: expected derivative or surrogate")
        if values.get("inputs") is not None:
            values["inputs"] = tuple(_input(item, place) for item in values["inputs"])
        if values.get("tolerance") is not None and not isinstance(values["tolerance"], int | float):
            raise ConfigError(f"{place}: tolerance={values['tolerance']!r}: expected a number")
        if values.get("because"):
            _check_names(values["because"], place)
        if values.get("kinks") is not None:
            values["kinks"] = tuple(float(kink) for kink in values["kinks"])
        return cls(**values)

    def told(self) -> dict[str, Any]:
        """What was declared, in words, for the report."""
        told: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value == field.default or (field.name == "because" and not value):
                continue
            told[field.name] = getattr(value, "__name__", None) or (
                [dataclasses.asdict(item) for item in value] if field.name == "inputs" else value
            )
        return told


def _input(item: Any, place: str) -> Input:
    known = [field.name for field in dataclasses.fields(Input)]
    if isinstance(item, Input):
        return item
    if not isinstance(item, Mapping) or not set(item) <= set(known):
        raise ConfigError(f"{place}: inputs: expected dicts with the keys {', '.join(known)}, found {item!r}")
    values = dict(item)
    if values.get("kind", "normal") not in KINDS:
        raise ConfigError(f"{place}: inputs: kind={values['kind']!r}: expected {', '.join(KINDS)}")
    shape = values.get("shape", SHAPE)
    if isinstance(shape, str) or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ConfigError(f"{place}: inputs: shape={shape!r}: expected whole numbers, as (5, 7)")
    return Input(**values | {"shape": tuple(shape)})


def _check_names(excused: Iterable[str], place: str) -> None:
    """Raise ConfigError for what is no check."""
    from primer.verify.checks import CHECKS  # which take subjects, and those a spec

    known = [*(check.name for check in CHECKS), CALLED]
    for name in excused:
        if name not in known:
            raise ConfigError(f"{place}: because: no check {name!r}{did_you_mean(str(name), known)}")
