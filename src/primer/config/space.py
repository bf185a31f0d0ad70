"""Which keys a search may change and how far, in Hydra's own words for a sweep."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep, Sweep
from hydra.errors import HydraException

from primer.config import schema
from primer.config.options import options
from primer.config.wording import did_you_mean, shown
from primer.errors import ConfigError

LOG = "log"


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both of them included; every `step` of them, or all.

    >>> str(Range(1e-4, 1.0, is_log=True)), str(Range(16, 256, is_int=True, step=16))
    ('tag(log,interval(0.0001,1.0))', 'range(16,257,16)')
    """

    low: float
    high: float
    is_int: bool = False
    is_log: bool = False
    step: float | None = None

    def __str__(self) -> str:
        if self.step is not None:
            return f"range({self.low!r},{self.high + (1 if self.is_int else self.step)!r},{self.step!r})"
        text = f"interval({self.low!r},{self.high!r})"
        text = f"int({text})" if self.is_int else text
        return f"tag({LOG},{text})" if self.is_log else text


@dataclass(frozen=True)
class Choice:
    """Values without an order, as they are written in an override.

    >>> str(Choice(("relu", "custom_relu")))
    'relu,custom_relu'
    """

    values: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.values) if len(self.values) > 1 else f"choice({self.values[0]})"


def read_space(
    texts: Sequence[str], config_dir: str | Path | None = None
) -> tuple[dict[str, Range | Choice], list[str]]:
    """What is to be searched, by key, and the overrides that all jobs share.

    Raises ConfigError for what can't be read, holds no value, or is said twice.

    >>> texts = ["optimizer.lr=tag(log,interval(1e-4,1))", "activation=relu,gelu", "seed=1"]
    >>> space, fixed = read_space(texts)
    >>> space["optimizer.lr"]
    Range(low=0.0001, high=1.0, is_int=False, is_log=True, step=None)
    >>> space["activation"], fixed
    (Choice(values=('relu', 'gelu')), ['seed=1'])
    """
    overrides = [_parse(text) for text in texts]
    num_said = Counter(_name(override) for override in overrides)
    space: dict[str, Range | Choice] = {}
    fixed = []
    for text, override in zip(texts, overrides, strict=True):
        if not override.is_sweep_override():
            fixed.append(text)
        elif num_said[_name(override)] > 1:
            raise ConfigError(f"{_name(override)}: said twice, once as {shown(text)}; expected it once")
        else:
            space[override.get_key_element()] = _search(override, config_dir)
    return space, fixed


def _parse(text: str) -> Override:
    found = "can't be read"
    try:
        override = OverridesParser.create().parse_override(text)
        if override.key_or_group:
            return override
    except (HydraException, RecursionError) as error:
        if " while evaluating " in str(error):  # a function: what it says of its arguments
            found = shown(str(error.__cause__).partition("\n")[0])
    raise ConfigError(
        f"{shown(text)}: {found}; expected KEY=VALUE, or for VALUE interval(LOW,HIGH), "
        "range(START,STOP,STEP) or choice(A,B)"
    )


def _name(override: Override) -> str:
    """A key is the same one with a plus before it."""
    return override.get_key_element().lstrip("+~")


def _search(override: Override, config_dir: str | Path | None) -> Range | Choice:
    value, text = override.value(), shown(override.input_line)
    if isinstance(value, Glob):
        return _matching(override.key_or_group, value, text, config_dir)
    assert isinstance(value, Sweep)
    is_choice = override.is_choice_sweep()
    for tag in sorted(value.tags):
        if is_choice or tag != LOG:
            hint = "; expected numbers" if is_choice else did_you_mean(tag, [LOG]) or f"; expected {LOG}"
            raise ConfigError(f"{text}: the tag {tag} has no meaning here{hint}")
    if isinstance(value, IntervalSweep):
        return _interval(value, text)
    if isinstance(value, RangeSweep):
        return _steps(value, text)
    value.shuffle = False  # a search has no order
    return Choice(tuple(override.sweep_string_iterator()))


def _matching(group: str, glob: Glob, text: str, config_dir: str | Path | None) -> Choice:
    if group not in schema.GROUPS:
        raise ConfigError(f"{text}: {group} is no conf group; expected the values, {group}=A,B")
    available = options(group, config_dir=config_dir)
    found = glob.filter(available)
    if not found:
        raise ConfigError(f"{text}: no such option (options: {', '.join(available)})")
    return Choice(tuple(found))


def _interval(sweep: IntervalSweep, text: str) -> Range:
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    if not math.isfinite(high - low):
        raise ConfigError(f"{text}: expected two finite numbers")
    if low >= high:
        raise ConfigError(f"{text}: from {shown(low)} to {shown(high)}; expected the lower number first")
    if LOG in sweep.tags and low <= 0:
        raise ConfigError(f"{text}: no logarithm of {shown(low)}; expected a range above 0")
    return Range(low, high, is_int=isinstance(low, int), is_log=LOG in sweep.tags)


def _steps(sweep: RangeSweep, text: str) -> Range:
    numbers = (sweep.start, sweep.stop, sweep.step)
    if not all(number is not None and math.isfinite(number) for number in numbers):
        raise ConfigError(f"{text}: expected finite numbers")
    start, stop, step = (Decimal(str(number)) for number in numbers)  # as written: 0.1 is a tenth
    num_values = math.ceil((stop - start) / step) if step else 0
    if num_values < 1:
        raise ConfigError(
            f"{text}: no number from {start} to {stop} in steps of {step}; expected range(START,STOP,STEP)"
        )
    low, high = sorted((start, start + (num_values - 1) * step))
    is_int = all(isinstance(number, int) for number in numbers)
    number = int if is_int else float
    is_each = is_int and abs(step) == 1
    if LOG in sweep.tags and not is_each:
        raise ConfigError(
            f"{text}: a logarithm has no even steps; expected tag(log,interval({start},{stop}))"
        )
    if LOG in sweep.tags and low <= 0:
        raise ConfigError(f"{text}: no logarithm of {low}; expected a range above 0")
    return Range(
        number(low),
        number(high),
        is_int=is_int,
        is_log=LOG in sweep.tags,
        step=None if is_each else number(abs(step)),
    )
