"""An `nn.Module` around the function, copied and stored; and how answers and gradients are compared."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import torch
from torch import Tensor, nn

from primer.verify.calling import reason
from primer.verify.comparing import UNREPEATABLE, as_module, difference, is_repeatable, telling, values_of
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.subject import Subject


def module(subject: Subject) -> Finding:
    """Whether a module around it can be copied, pickled, stored and shown, and answers the same then."""
    if not is_repeatable(subject):
        return skipped("module", UNREPEATABLE)
    whole = as_module(subject.at(torch.float64))
    args = telling(subject)
    expected = values_of(whole, args, subject)
    found = [_unseen(whole)]
    for way, again in WAYS.items():
        try:
            difference_found = difference(values_of(again(whole), args, subject), expected, subject)
        except Exception as error:
            found.append(warned("module", f"It can't be {way}: {reason(error)}", None, _ADVICE[way]))
            continue
        if difference_found:
            sentence = f"A module around it answers differently after it was {way}."
            found.append(failed("module", sentence, difference_found.shown(subject, args), _ADVICE[way]))
    return together(found)


def _unseen(whole: nn.Module) -> Finding:
    """Tensors that are neither parameters nor buffers, which no optimizer or checkpoint sees."""
    plain = {
        name: part
        for each in whole.modules()
        for name, part in vars(each).items()
        if isinstance(part, Tensor)
    }
    learned = [name for name, part in plain.items() if part.requires_grad]
    if learned:
        sentence = f"self.{learned[0]} is a plain tensor that takes a gradient: no optimizer changes it."
        example = f"{learned[0]!r} in dict(module.named_parameters())  # False"
        return failed("module", sentence, example, f"self.{learned[0]} = nn.Parameter(...) makes it learn.")
    if plain:
        name = next(iter(plain))
        sentence = f"self.{name} is a plain tensor: not in the checkpoint, and left behind by .to(device)."
        return warned("module", sentence, None, f"Use self.register_buffer({name!r}, ...).")
    return passed("module", "A module around it can be copied, pickled, stored as state_dict, and shown.")


def _unpickled(whole: nn.Module) -> nn.Module:
    again: nn.Module = pickle.loads(pickle.dumps(whole))
    return again


def _reloaded(whole: nn.Module) -> nn.Module:
    """A copy with other weights into which the stored ones are loaded, as a checkpoint is."""
    stored = io.BytesIO()
    torch.save(whole.state_dict(), stored)
    again = copy.deepcopy(whole)
    for value in again.state_dict().values():
        value.zero_()
    again.load_state_dict(torch.load(io.BytesIO(stored.getvalue()), weights_only=True))
    return again


def _shown_again(whole: nn.Module) -> nn.Module:
    repr(whole)
    return whole


WAYS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deep-copied": copy.deepcopy,
    "pickled": _unpickled,
    "reloaded from its state_dict": _reloaded,
    "shown by repr()": _shown_again,
}
_ADVICE = {
    "deep-copied": "Keep only plain values, parameters and buffers on the module.",
    "pickled": "Give it a name at the top level of a file (no lambda, nothing inside a function): "
    "worker processes and torch.save look it up by that name.",
    "reloaded from its state_dict": "Keep learned weights as nn.Parameter and other tensors as buffers.",
    "shown by repr()": "Mend its extra_repr or __repr__.",
}
