"""From words or an object to the function that is verified."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from primer.config.check import CRITERIA
from primer.config.compose import compose
from primer.config.options import options
from primer.config.targets import build
from primer.errors import ConfigError, first_line
from primer.verify.functions import functions_of
from primer.verify.kinks import kinks_of
from primer.verify.spec import SHAPE, Input, Spec
from primer.verify.subject import Call, Subject, first_of, tensors_of

PLAIN = (int, float, bool, str, "int", "float", "bool", "str")  # annotations of what is no tensor


def subject_from(
    part: Any,
    overrides: Sequence[str],
    against: str | Callable[..., Any] | None,
    config_dir: str | Path | None,
) -> Subject:
    """The subject that is asked for; raises ConfigError where there is none."""
    thing, name = (part, _name_of(part)) if not isinstance(part, str) else _found(part, overrides, config_dir)
    call = _call_of(thing, name)
    declared = getattr(thing, "verify", None)
    spec = Spec.of(declared, name) if declared else _of_criterion(part) or Spec()
    subject = _subject(call, thing, name, spec)
    reference = against if against is not None else subject.spec.reference
    if reference is not None:
        subject.reference, subject.reference_name = _reference(reference, part, config_dir)
    return subject


def subject_of_function(function: type[Function], spec: Spec) -> Subject:
    """The subject of an autograd Function, with what is declared of it."""
    subject = _subject(function.apply, function, function.__name__, spec)
    if spec.reference is not None:
        subject.reference, subject.reference_name = _reference(spec.reference, None, None)
    return subject


def _subject(call: Call, thing: Any, name: str, spec: Spec) -> Subject:
    """All but its reference."""
    subject = Subject(name, call, spec, module=call if isinstance(call, nn.Module) else None)
    subject.inputs = spec.inputs or _inferred(call, thing)
    _look_at(subject)
    return subject


def _look_at(subject: Subject) -> None:
    """Call it once, and see what it is; raises ConfigError where that can't be."""
    name, args = subject.name, subject.sample(away=0.0)
    try:
        try:
            answer = subject.at(torch.float64)(*args)
        except RuntimeError:  # one that changes its input in place is called with what a layer would give it
            subject.call = _on_copies(subject.call)
            answer = subject.at(torch.float64)(*args)
    except Exception as error:
        shapes = ", ".join(str(tuple(arg.shape)) for arg in tensors_of(args)) or "()"
        raise ConfigError(
            f"{name}: can't be called with float64 tensors of the shapes {shapes} "
            f"({type(error).__name__}: {first_line(error)}); expected verify = {{'inputs': [...]}} beside it"
        ) from None
    answers = answer if isinstance(answer, tuple | list) else [answer]
    if not any(isinstance(part, Tensor) for part in answers):
        raise ConfigError(f"{name}: answers a {type(answer).__name__}; expected a tensor, or a tuple of some")
    subject.functions = functions_of(answer)
    if not subject.spec.told():  # declared beside the Function that it wraps
        declared = [own for function in subject.functions if (own := getattr(function, "verify", None))]
        subject.spec = Spec.of(declared[0], name) if declared else subject.spec
    subject.is_elementwise = _is_elementwise(subject)
    if subject.is_elementwise:
        declared_kinks = subject.spec.kinks
        found = kinks_of(lambda x: first_of(subject.at(torch.float64)(x.clone())))
        subject.kinks = declared_kinks if declared_kinks is not None else found


def _on_copies(call: Call) -> Call:
    """The call on copies that are no leaves."""
    if isinstance(call, nn.Module):
        return call
    return lambda *args: call(*(arg.clone() if isinstance(arg, Tensor) else arg for arg in args))


def _found(part: str, overrides: Sequence[str], config_dir: str | Path | None) -> tuple[Any, str]:
    """What a text names: the part of a config, or what is at a dotted path."""
    group, equals, option = part.partition("=")
    if equals:
        # a config has to fit together: a criterion asks for data that it is for
        is_of_numbers = group == "criterion" and CRITERIA.get(option) == "regression"
        data = ["data=diabetes"] if is_of_numbers else []
        config = compose([*data, part, *overrides], config_dir=config_dir)
        if group not in ("activation", "criterion"):
            raise ConfigError(
                f"{part}: expected activation=OPTION, criterion=OPTION, net=OPTION or a dotted path"
            )
        return build(config[group], group), option
    if overrides:
        raise ConfigError(f"{overrides[0]}: belongs to an option; expected activation=OPTION before it")
    module_name, _, name = part.rpartition(".")
    if not module_name:
        hint = (
            f"; did you mean activation={part}?"
            if part in options("activation", config_dir=config_dir)
            else ""
        )
        raise ConfigError(f"{part}: expected activation=OPTION or package.Name{hint}")
    try:
        return pkgutil.resolve_name(part), part  # a class within a class, too
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise ConfigError(f"{part}: no module {error.name!r} in this folder or environment") from None
    except AttributeError:
        raise ConfigError(f"{part}: no {name!r} in {module_name!r}") from None


LAMBDA = "the function"


def _name_of(thing: Any) -> str:
    name = str(getattr(thing, "__name__", None) or type(thing).__name__)
    return LAMBDA if name == "<lambda>" else name


def _call_of(thing: Any, name: str) -> Call:
    """The call of a Function, a module's class, a module, or a function."""
    if inspect.isclass(thing) and issubclass(thing, Function):
        return thing.apply
    if inspect.isclass(thing) and issubclass(thing, nn.Module):
        try:
            return thing()
        except TypeError as error:
            raise ConfigError(f"{name}: can't be built without arguments: {error}") from None
    if not callable(thing) or inspect.isclass(thing):
        raise ConfigError(f"{name}: expected an autograd Function, an nn.Module or a function of tensors")
    return thing  # type: ignore[no-any-return]


def _of_criterion(part: Any) -> Spec | None:
    """What a criterion of a config takes: predictions, and numbers or classes."""
    if not isinstance(part, str) or not part.startswith("criterion="):
        return None
    is_of_classes = CRITERIA.get(part.partition("=")[2]) == "classification"
    target = Input((6,), "classes", num_classes=4) if is_of_classes else Input((6, 4), grad=False)
    return Spec(inputs=(Input((6, 4)), target))


def _reference(reference: str | Call, part: Any, config_dir: str | Path | None) -> tuple[Call, str]:
    """What it is compared with: a function, a dotted path, or an option of the same group."""
    if not isinstance(reference, str):
        name = "the reference" if _name_of(reference) == LAMBDA else _name_of(reference)
        return _call_of(reference, name), name
    group = part.partition("=")[0] if isinstance(part, str) and "=" in part else "activation"
    if "." not in reference and "=" not in reference:
        reference = f"{group}={reference}"
    thing, name = _found(reference, (), config_dir)
    return _call_of(thing, name), name


def _inferred(call: Call, thing: Any) -> tuple[Input, ...]:
    """Inputs that the call takes: one tensor, or as many as its signature names."""
    target = thing.forward if inspect.isclass(thing) and issubclass(thing, Function) else call
    target = call.forward if isinstance(call, nn.Module) else target
    try:
        parameters = list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # a built-in
        return (Input(SHAPE),)
    needed = [
        parameter
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty
        and parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        and parameter.name != "ctx"
    ]
    for parameter in needed:
        if parameter.annotation in PLAIN:
            raise ConfigError(
                f"{_name_of(thing)}: takes {parameter}, of which no value is known; expected verify = "
                f"{{'inputs': [...]}} beside it, with {{'kind': 'constant', 'value': ...}} for that one"
            )
    return tuple(Input(SHAPE) for _ in needed) or (Input(SHAPE),)


def _is_elementwise(subject: Subject) -> bool:
    """Whether each entry of the answer follows from its own entry of the only tensor, and nothing else."""
    if len(subject.inputs) != 1 or not subject.inputs[0].has_grad:
        return False
    call = subject.at(torch.float64)
    (x,) = subject.sample(away=0.0, requires_grad=False)
    if x.numel() < 10:  # too few to tell
        return False
    with torch.no_grad():
        answer = call(x.clone())
        if not isinstance(answer, Tensor) or answer.shape != x.shape:
            return False
        changed = x.clone()
        changed.view(-1)[3] += 0.3
        try:
            alone, other = call(x.reshape(-1)[4:9].clone()), call(changed.clone())
        except Exception:  # it asks for a shape
            return False
    keep = torch.ones(x.numel(), dtype=torch.bool)
    keep[3] = False
    close = partial(torch.allclose, rtol=1e-12, atol=1e-12, equal_nan=True)
    return close(answer.view(-1)[keep], other.reshape(-1)[keep]) and close(alone, answer.reshape(-1)[4:9])
