"""The words of messages and help: a value as one would type it, what a key expects, the nearest name."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable
from typing import Any

TYPO = 0.85  # chosen: a letter left out, added, exchanged, of words of four letters and more
MAX_CHARS = 60  # chosen: a message stays one line, or two on a narrow terminal
TYPES = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "str": "text",
    "list[float]": "a list of numbers, such as [0.9,0.999]",
    "list[str]": "a list of names, such as [id,date]",
    "dict[str, str]": "names and values, such as {name: value}",
    "Any": "a _target_ and its arguments",
}
LIMITS = {"above": "above", "at_least": "at least", "at_most": "at most", "below": "below"}


def shown(value: Any) -> str:
    """A value as one would type it, in one line.

    >>> shown(None), shown(-1.0), shown([0.9, True]), shown("x" * 99)[-4:]
    ('null', '-1', '[0.9,true]', 'xxx…')
    """
    if isinstance(value, list | tuple):
        text = f"[{','.join(map(shown, value))}]"
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    else:
        text = repr(value).removesuffix(".0") if isinstance(value, float) else " ".join(str(value).split())
        text = printable(text)
    return text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…"


def printable(text: str) -> str:
    """A text without what a terminal would obey.

    >>> printable("relu\\x1b[2J")
    'relu?[2J'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def expected(field: dataclasses.Field[Any]) -> str:
    """What a key expects, type and bounds.

    >>> from primer.config import schema
    >>> [expected(schema.fields_of(schema.SGD)[name]) for name in ("lr", "momentum", "nesterov")]
    ['a number, at least 0', 'a number, at least 0 and at most 1', 'true or false']
    """
    annotation = str(field.type)
    plain = annotation.removesuffix(" | None")
    text = TYPES[plain]
    if "length" in field.metadata:
        text = text.replace("a list of", f"{field.metadata['length']}")
    if "one_of" in field.metadata:
        *others, last = map(str, field.metadata["one_of"])
        text = f"{', '.join(others)} or {last}" if others else last
    bounds = {name: "2**63" if bound == 2**63 else bound for name, bound in field.metadata.items()}
    limits = " and ".join(f"{word} {bounds[name]}" for name, word in LIMITS.items() if name in bounds)
    if limits:
        text += f", {'each ' if plain.startswith('list') else ''}{limits}"
    return f"{text}, or null" if plain != annotation else text


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `name` was most likely meant to be, or None.

    One that is a letter or so away counts first; else paths count by their last word.

    >>> nearest("optimizer.lrr", ["optimizer.lr", "seed"]), nearest("LR", ["optimizer.lr", "seed"])
    ('optimizer.lr', 'optimizer.lr')
    """
    names = sorted(candidates)
    whole = {candidate.lower(): candidate for candidate in names}
    if typo := difflib.get_close_matches(name.lower(), whole, n=1, cutoff=TYPO):
        return whole[typo[0]]
    siblings = [candidate for candidate in names if _split(candidate)[0] == _split(name)[0]]
    for group in (siblings, names):
        by_word = {_split(candidate)[1]: candidate for candidate in reversed(group)}
        close = difflib.get_close_matches(_split(name)[1], by_word, n=1, cutoff=0.6)
        if close:
            return by_word[close[0]]
    return None


def _split(path: str) -> tuple[str, str]:
    *folders, word = re.split(r"[./]", path.lower())
    return ".".join(folders), word


def did_you_mean(name: str, candidates: Iterable[str], prefix: str = "") -> str:
    """`; did you mean X?`, or nothing when no candidate is near.

    >>> did_you_mean("sdg", ["adam", "sgd"], "optimizer="), did_you_mean("x", ["adam", "sgd"])
    ('; did you mean optimizer=sgd?', '')
    """
    found = nearest(name, candidates)
    return f"; did you mean {prefix}{found}?" if found else ""
