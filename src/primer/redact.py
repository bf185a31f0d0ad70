"""Take secrets out of what is kept or shown: the key stays, its value becomes `[redacted]`.

A secret is known by the key it stands under, by the form of a well-known token, by the place it has in an
address or an assignment, or because it is what a config or an environment variable of this process holds
under the name of a secret: then also as it stands in an address, in JSON or in base64.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

from primer.leaks import REDACTED, cleaned, is_secret_key, is_secret_override, is_secret_path

MIN_OWN_CHARS = 8  # a shorter value of an environment variable is also a word of other texts
MIN_TOLD_CHARS = 4  # as a word of its own: of a config's, which is a secret for sure

Own = re.Pattern[str] | None

_told: set[str] = set()  # secrets of configs that this process has to do with


def keep_secret(values: Iterable[Any]) -> None:
    """Take these out of every text, from now on, in this process.

    >>> keep_secret(["s3same-open"])
    >>> redacted_text("the door says s3same-open")
    'the door says [redacted]'
    """
    _told.update(text for text in map(str, values) if len(text) >= MIN_TOLD_CHARS)


def redacted(node: Any) -> Any:
    """A copy without secrets: what is below a secret key goes whole, of other texts what looks like one.

    >>> redacted({"user": "me", "password": "hunter2", "uri": "http://me:hunter2@host", "num_tokens": 8})
    {'user': 'me', 'password': '[redacted]', 'uri': 'http://host', 'num_tokens': 8}
    """
    return _redacted(node, _own_secrets(), is_secret=False)


def _redacted(node: Any, own: Own, is_secret: bool) -> Any:
    if isinstance(node, dict):
        below = {key: is_secret or is_secret_path(str(key)) for key in node}
        return {key: _redacted(item, own, below[key]) for key, item in node.items()}
    if isinstance(node, list | tuple):
        pairs = zip(["", *node], node, strict=False)
        items = [_redacted(_word(item), own, is_secret or _is_secret_flag(before)) for before, item in pairs]
        return items if isinstance(node, list) else tuple(items)
    if is_secret and _can_be_secret(node):
        return REDACTED
    return cleaned(node, own) if isinstance(node, str) else node


def _can_be_secret(leaf: Any) -> bool:
    return isinstance(leaf, str | int | float) and not isinstance(leaf, bool) and leaf not in ("", REDACTED)


def _word(item: Any) -> Any:
    """A word of a command line, without what it sets where that is a secret, whatever that holds."""
    is_secret = isinstance(item, str) and is_secret_override(item)
    return f"{item.partition('=')[0]}={REDACTED}" if is_secret else item


def _is_secret_flag(item: Any) -> bool:
    """Whether the next word of a command line is a secret: `--token`."""
    return isinstance(item, str) and item.startswith("--") and "=" not in item and is_secret_key(item)


def redacted_text(text: str) -> str:
    """The text without passwords in addresses, tokens, assigned secrets and secrets that this process knows.

    >>> redacted_text("no answer from http://me:secret@host:5000/api?token=abc")
    'no answer from http://host:5000/api?token=[redacted]'
    >>> redacted_text("http://me:p@ss@host"), redacted_text("DB_PASSWORD=hunter2 token = tokenizer.next()")
    ('http://host', 'DB_PASSWORD=[redacted] token = tokenizer.next()')
    """
    return cleaned(text, _own_secrets())


def _own_secrets() -> Own:
    """What finds the secrets of this process's configs and environment."""
    values = {value.strip() for name, value in os.environ.items() if is_secret_key(name)}
    return _finding(frozenset(_told | {value for value in values if len(value) >= MIN_OWN_CHARS}))


@functools.lru_cache(maxsize=8)
def _finding(values: frozenset[str]) -> Own:
    """The longest first, since one may hold another; a short one as a word of its own only."""
    spelled = {spelling for value in values for spelling in _spellings(value)}
    ordered = sorted(spelled, key=len, reverse=True)
    quoted = [(re.escape(text), len(text) >= MIN_OWN_CHARS) for text in ordered]
    patterns = [text if is_long else rf"(?<!\w){text}(?!\w)" for text, is_long in quoted]
    return re.compile("|".join(patterns)) if patterns else None


def _spellings(value: str) -> set[str]:
    raw = value.encode(errors="surrogateescape")
    in_base64 = [base64.b64encode(raw), base64.urlsafe_b64encode(raw)]
    quoted = [quote(raw, safe=""), quote_plus(raw), json.dumps(value)[1:-1], repr(value)[1:-1]]
    return {value, *quoted, *(text.decode().rstrip("=") for text in in_base64)}


def secrets_of(node: dict[str, Any]) -> dict[str, Any]:
    """The texts and numbers below secret keys, by dotted key; a list's by number.

    >>> secrets_of({"data": {"password": "hunter2", "path": "a.csv"}})
    {'data.password': 'hunter2'}
    """
    return dict(_secrets(node, "", is_secret=False))


def _secrets(node: Any, prefix: str, is_secret: bool) -> Iterator[tuple[str, Any]]:
    is_dict = isinstance(node, dict)
    for key, item in node.items() if is_dict else enumerate(node):
        below = is_secret or (is_dict and is_secret_key(str(key)))
        if isinstance(item, dict | list | tuple):
            yield from _secrets(item, f"{prefix}{key}.", below)
        elif below and _can_be_secret(item):
            yield f"{prefix}{key}", item


def restored(node: dict[str, Any], secrets: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with the secrets of `secrets_of` back where `redacted` took them out.

    >>> restored({"data": {"password": "[redacted]"}}, {"data.password": "hunter2"})
    {'data': {'password': 'hunter2'}}
    """
    return {key: _restored(item, f"{key}", secrets) for key, item in node.items()}


def _restored(node: Any, path: str, secrets: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        return {key: _restored(item, f"{path}.{key}", secrets) for key, item in node.items()}
    if isinstance(node, list | tuple):
        items = [_restored(item, f"{path}.{i}", secrets) for i, item in enumerate(node)]
        return items if isinstance(node, list) else tuple(items)
    return secrets.get(path, node) if node == REDACTED else node


class CleanStream:
    """A stream that a process prints to, whose lines lose their secrets on the way."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._line = stream, ""

    def write(self, text: str) -> int:
        """Print the whole lines of it; the rest waits for its end."""
        *lines, self._line = (self._line + text).splitlines(keepends=True) or [""]
        if self._line.endswith(("\n", "\r")):
            lines, self._line = [*lines, self._line], ""
        if lines:
            self._stream.write(redacted_text("".join(lines)))
            self._stream.flush()
        return len(text)

    def flush(self) -> None:
        """Print what there is of a line, too."""
        self._stream.write(redacted_text(self._line))
        self._line = ""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
