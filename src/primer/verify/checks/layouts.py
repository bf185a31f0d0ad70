"""Does it answer the same however its numbers lie in memory?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import Trial, changed, reason, trial
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.subject import Call, Subject
from primer.verify.telling import are_same, same

SMALL = (2, 3)  # chosen: the smallest matrix that is not its own transpose's shape
IMAGES = (2, 3, 4, 5)  # chosen: the smallest batch of images whose dimensions all differ
ADVICE = "Use x.reshape instead of x.view, and torch operations instead of numpy, x.data_ptr() or flat loops."


@dataclass(frozen=True)
class Layout:
    """A way for a tensor of so many dimensions to lie in memory; `text` is how `x` comes to it."""

    name: str
    text: str
    arranged: Callable[[Tensor], Tensor]
    dims: range

    @property
    def with_article(self) -> str:
        """For a sentence."""
        return f"an {self.name}" if self.name[0] in "aeiou" else f"a {self.name}"

    def of(self, x: Tensor) -> Tensor:
        """The tensor so arranged, a leaf as it was; as it is where it has other dimensions."""
        if x.dim() not in self.dims or not x.numel():
            return x
        return self.arranged(x.detach()).requires_grad_(x.requires_grad)


@dataclass(frozen=True)
class Case:
    """Arguments of which one lies in an unusual way, or an upstream gradient that does."""

    layout: Layout
    what: str
    text: str
    args: tuple[Any, ...]
    is_upstream: bool = False


def _strided(x: Tensor) -> Tensor:
    room = x.new_full((2 * len(x), *x.shape[1:]), 7)  # what lies between is not the function's to read
    view = room[::2]
    view.copy_(x)
    return view


LAYOUTS = (
    Layout("transposed", "{x} = {x}.mT.contiguous().mT", lambda x: x.mT.contiguous().mT, range(2, 9)),
    Layout("strided", "{x} = {x}.repeat_interleave(2, 0)[::2]", _strided, range(1, 9)),
    Layout(
        "channels_last",
        "{x} = {x}.to(memory_format=torch.channels_last)",
        lambda x: x.contiguous(memory_format=torch.channels_last),
        range(4, 5),
    ),
)
# As an upstream gradient it is what `f(x).sum().backward()` hands back.
EXPANDED = Layout("expanded", "{x} = {x}[:1].expand_as({x})", lambda x: x[:1].expand_as(x), range(1, 9))


def layouts(subject: Subject) -> Finding:
    """Answer and gradients are those of the contiguous copy, whatever the strides of inputs and upstream."""
    call = subject.at(torch.float64)
    reference = subject.reference_at(torch.float64) if subject.reference else None
    if _is_random(call, subject.sample()):
        return skipped("layouts", "It draws random numbers, in the order in which its input lies in memory.")
    looked_at: list[str] = []
    problems = []
    trouble = ""
    for case in _cases(subject):
        expected = _attempt(call, case, is_contiguous=True)
        if isinstance(expected, Exception):  # it is not the layout that it does not take
            trouble = reason(expected)
            continue
        looked_at.append(case.layout.name)
        theirs = _attempt(reference, case) if reference else None
        if isinstance(theirs, Exception):
            continue  # the reference is no better
        problems.append(_compared(subject, case, expected, _attempt(call, case), theirs))
    if subject.is_elementwise and looked_at:
        problems += [_small(subject, call, reference, shape) for shape in ((), (0, 3))]
        looked_at += ["0-d", "empty"]
    if not looked_at:
        why = f": {trouble}" if trouble else ""
        return skipped("layouts", f"No argument of it can be laid out differently in memory{why}.")
    names = ", ".join(dict.fromkeys(looked_at))
    sentence = f"It gives the same answers and gradients however the numbers lie in memory ({names})."
    return together([*problems, passed("layouts", sentence, num_cases=len(looked_at))])


def _is_random(call: Call, args: Sequence[Any]) -> bool:
    try:
        one, other = (trial(call, args, seed=seed) for seed in (0, 1))
    except Exception:  # told below, or by other checks
        return False
    return not are_same(one.tensors, other.tensors)


def _cases(subject: Subject) -> Iterator[Case]:
    """Each argument in each layout that it can have, then each upstream gradient."""
    args = subject.sample(shape=SMALL if subject.is_elementwise else None)
    for index, arg in enumerate(args):
        for layout in LAYOUTS:
            if isinstance(arg, Tensor) and arg.dim() in layout.dims:
                yield _case(args, index, layout)
    if subject.is_elementwise:  # for others, equal rows may be a special case, such as a singular matrix
        yield _case(args, 0, EXPANDED)
        yield _case(subject.sample(shape=IMAGES), 0, LAYOUTS[-1])
    for layout in (*LAYOUTS[:2], EXPANDED):
        what = f"{layout.with_article} gradient from the next layer"
        text = f"g = torch.randn_like(f(x)); {layout.text.format(x='g')}; f(x)"
        yield Case(layout, what, text, args, is_upstream=True)


def _case(args: Sequence[Any], index: int, layout: Layout) -> Case:
    arg, is_only = args[index], len(args) == 1
    drawn = "torch.randn" if arg.is_floating_point() else "torch.zeros"
    names = ", ".join("x" if place == index else f"arg_{place + 1}" for place in range(len(args)))
    text = f"x = {drawn}({', '.join(map(str, arg.shape))}); {layout.text.format(x='x')}; f({names})"
    what = f"{layout.with_article} {'input' if is_only else f'argument {index + 1}'}"
    return Case(layout, what, text, (*args[:index], layout.of(arg), *args[index + 1 :]))


def _attempt(call: Call, case: Case, *, is_contiguous: bool = False) -> Trial | Exception:
    """The answers and gradients, or what was raised; of a contiguous copy, or as the case has it."""

    def upstream(g: Tensor) -> Tensor:
        arranged = case.layout.of(g) if case.is_upstream else g
        return arranged.contiguous() if is_contiguous else arranged

    args = case.args
    if is_contiguous:
        args = changed(args, lambda arg: arg.clone(memory_format=torch.contiguous_format))
    try:
        return trial(call, args, upstream)
    except Exception as error:
        return error


def _compared(
    subject: Subject, case: Case, expected: Trial, found: Trial | Exception, theirs: Trial | None
) -> Finding | None:
    """What is wrong with what it did, where the reference did `theirs`; None: nothing."""
    back = f"{case.text}.backward(g)" if case.is_upstream else f"{case.text}.sum().backward()"
    if isinstance(found, Exception):
        sentence = f"It fails for {case.what}, though it takes the same numbers in a contiguous one."
        return failed("layouts", sentence, f"{back}  # {reason(found)}", ADVICE)
    pairs = zip(found.tensors, expected.tensors, strict=True)
    wrong = [index for index, (ours, right) in enumerate(pairs) if not same(ours, right)]
    if wrong:
        is_answer = wrong[0] < len(found.answers)
        part, example = ("answer", case.text) if is_answer else ("gradient", f"{back}; x.grad")
        sentence = f"Its {part} for {case.what} is not the one for the same numbers in a contiguous one."
        return failed("layouts", sentence, example, ADVICE, num_wrong=len(wrong))
    is_promised = subject.is_elementwise or case.layout.name == "channels_last"
    if theirs and is_promised and not case.is_upstream and not _lie_alike(found, theirs):
        name = subject.reference_name
        sentence = f"For {case.what}, its answer or gradient lies in memory otherwise than that of {name}."
        advice = "The next layer may have to copy it. torch.where keeps the order of its input."
        return warned("layouts", sentence, f"{case.text}.stride()", advice)
    return None


def _lie_alike(found: Trial, theirs: Trial) -> bool:
    """Whether answers and gradients have equal strides; those of dimensions of one entry mean nothing."""
    return all(
        one is None
        or other is None
        or one.shape != other.shape
        or all(one.stride(dim) == other.stride(dim) for dim, size in enumerate(one.shape) if size > 1)
        for one, other in zip(found.tensors, theirs.tensors, strict=False)
    )


def _small(subject: Subject, call: Call, reference: Call | None, shape: tuple[int, ...]) -> Finding | None:
    """What is wrong for a tensor without dimensions, or without entries; None: nothing."""
    (x,) = subject.sample(shape=shape)
    what, text = ("an empty tensor", "torch.empty(0, 3)") if shape else ("a 0-d tensor", "torch.tensor(0.5)")
    case = Case(LAYOUTS[0], what, f"f({text})", (x,))
    if reference and isinstance(_attempt(reference, case), Exception):
        return None
    found = _attempt(call, case)
    if isinstance(found, Exception):
        advice = "Write it without x.shape[0], x.max() and the like, or say so where it is called."
        return warned("layouts", f"It fails for {what}.", f"{case.text}  # {reason(found)}", advice)
    flat = trial(call, (x.detach().reshape(-1).requires_grad_(),))  # the same numbers in one dimension
    if not are_same(_flat(found), _flat(flat)):
        return failed("layouts", f"It is wrong for {what}.", case.text, ADVICE)
    if found.answers[0].shape != x.shape:
        sentence = f"For {what} it answers one of the shape {tuple(found.answers[0].shape)}."
        return warned("layouts", sentence, f"{case.text}.shape", "Give the answer the shape of the input.")
    return None


def _flat(one: Trial) -> list[Tensor | None]:
    return [None if part is None else part.reshape(-1) for part in one.tensors]
