"""Take secrets out of what is kept or shown: the key stays, its value becomes `[redacted]`.

A secret is known by the key it stands under, by the form of a well-known token, by the place it has in an
address or an assignment, or because an environment variable with the name of a secret holds the same text.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

REDACTED = "[redacted]"
MARK = "\ufdd0"  # stands for REDACTED while a text is worked on; Unicode has set it aside to mean nothing
MAX_PASSES = 8  # chosen: one pass finds what people write, a second one that nothing is left
MIN_OWN_CHARS = 8  # a shorter value of an environment variable is also a word of other texts

# What a name ends in; a key, a token or a pass is secret by the word before.
SECRET = re.compile(
    r"\w*(?:password|passwd|passphrase|(?:api|access|secret|private)key|(?:auth|access)token|clientsecret)s?"
    r"|(?:pwd|passcode|secret|credential|authorization)s?"
)
SECRET_KEY = re.compile(r"api|access|secret|private|encryption|signing|account|auth|master|deploy|ssh")
SECRET_TOKENS = re.compile(r"api|access|auth|refresh|bearer|session|secret|security|oauth|private|hf|github")
SECRET_PASS = re.compile(r"db|database|smtp|e?mail|user|ftp|mysql|postgres|pg|redis|admin|root|proxy")
# Tokens of a text or an image, not of a person.
PLAIN_TOKEN = re.compile(
    r"num|max|min|use|per|add|cls|class|pad|eos|bos|sos|sep|unk|mask|special|start|end|begin|stop|blank|null"
    r"|first|last|next|prev|new|image|img|text|audio|video|patch|query|register|dist|prefix|suffix|extra"
    r"|separator|padding|unknown|decoder|encoder|target|source|input|output|word|subword|time"
)
BY_WORD_BEFORE = {"key": SECRET_KEY, "keys": SECRET_KEY, "tokens": SECRET_TOKENS, "pass": SECRET_PASS}
SIGNED = ("sig", "signature", "auth", "pass")  # what secrets are called in addresses alone

ADDRESS = re.compile(r"//[^/\s]+@")
# Each begins with a literal and ends in a run of its own, so a text is read once.
FORMATS = re.compile(
    r"""
    (?<![A-Za-z0-9])(?:
        github_pat_\w{16,}+ | gh[pousr]_[A-Za-z0-9]{16,}+             # GitHub
      | gl(?:pat|dt|rt|ptt|cbt)-[\w-]{16,}+                           # GitLab
      | hf_[A-Za-z0-9]{16,}+                                          # Hugging Face
      | sk-(?=[\w-]{0,99}\d|\w{32})[\w-]{16,}+                        # OpenAI, Anthropic
      | [rs]k_(?:live|test)_\w{16,}+                                  # Stripe
      | A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])                       # AWS
      | xox[a-z]-[A-Za-z0-9-]{10,}+                                   # Slack
      | AIza[\w-]{30,}+ | ya29\.[\w-]{20,}+                           # Google
      | npm_[A-Za-z0-9]{30,}+ | pypi-[\w-]{50,}+ | dapi[0-9a-f]{32}   # registries, Databricks
    )
    | (?<![\w-])eyJ[\w-]{5,}+(?:\.[\w-]*+){2,4}                       # JSON Web Token
    | -----BEGIN\ [A-Z0-9 ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----
      .*?(?:-----END\ [A-Z0-9 ]{0,40}PRIVATE\ KEY(?:\ BLOCK)?-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
# Not a plain word after it, as in "the bearer token is missing".
BEARER = re.compile(r"\b((?i:bearer)[ \t]++)(?=[a-z]{16}|[a-z]*[A-Z0-9_~+/=-])[\w.~+/=-]{3,}+")
HEADER = re.compile(
    r"""\b((?i:authorization)\\?["']?[ \t]*+[:=][ \t]*+\\?["']?(?i:basic|bearer|token|apikey)[ \t]++)"""
    r"""[^\s"'\\]++"""
)
QUERY = re.compile(r"[?&#](?P<name>[\w.~%+-]{1,100}+)=")
QUERY_VALUE = re.compile(r"""()[^&#\s"'<>\\]++""")
# A name, and as what follows it (looked at, not taken, as it may hold a name itself) the way to a value.
ASSIGNMENT = re.compile(
    r"""(?<![\w.-])(?:
        (?P<flag>--[\w-]++)(?=(?P<blank>["']?,?[ \t]++)(?![=:-]))
      | (?P<name>[\w.-]++)(?=(?P<gap>\\?["']?\]?[ \t]*+
            (?:=>|:=|[=!]=|:[ \t]*+[\w.|\[\] ]{1,60}=(?!=)|[:=])[ \t]*+))
    )""",
    re.VERBOSE,
)
LITERAL = re.compile(
    r"""([rRbBuUfF]{0,2}(?:"{3}|'{3}|\\?["']))"""
    r"""(?:(?<="{3})(?:[^"\\]|\\.|"(?!""))++|(?<='{3})(?:[^'\\]|\\.|'(?!''))++"""
    r"""|(?<=\\["'])(?:[^"'\\\n]|\\(?!["']))++"""
    r"""|(?<!\\)(?<=")(?:[^"\\\n]|\\.)++|(?<!\\)(?<=')(?:[^'\\\n]|\\.)++)""",
    re.DOTALL,
)
BARE = re.compile(r"""()(?:[^\s"'`\\]|\\(?![nr"'])|["'](?=\w))++""")
# As in `primer train data.password=hunter2`; a call after `=` is code.
OVERRIDE = re.compile(r"""(?<![\w.-])([A-Za-z_]\w*+(?:\.\w++)++)=([^\s"'`\\(]++)(?P<call>\(?)""")


def is_secret_key(key: str) -> bool:
    """Whether a config key's last part, or an environment variable, is named like a secret.

    >>> [is_secret_key(key) for key in ("data.apiKey", "HF_TOKEN", "net.use_cls_token", "sort_key")]
    [True, True, False, False]
    """
    return _is_secret_name(key[-100:].rpartition(".")[2])


@functools.lru_cache(maxsize=4096)
def _is_secret_name(name: str) -> bool:
    if name == "PWD":  # the shell's working directory
        return False
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    *_, before, last = ["", "", *words]
    if last == "token":
        return not PLAIN_TOKEN.fullmatch(before)
    if last in BY_WORD_BEFORE:
        return bool(BY_WORD_BEFORE[last].fullmatch(before))
    return bool(SECRET.fullmatch(last)) or (before, last) == ("connection", "string")


def redacted(node: Any) -> Any:
    """A copy without secrets: texts below a secret key go whole, of other texts what looks like a secret.

    >>> redacted({"user": "me", "password": "hunter2", "uri": "http://me:hunter2@host", "num_tokens": 8})
    {'user': 'me', 'password': '[redacted]', 'uri': 'http://host', 'num_tokens': 8}
    """
    return _redacted(node, _own_secrets(), is_secret=False)


def _redacted(node: Any, own: list[str], is_secret: bool) -> Any:
    if isinstance(node, dict):
        return {key: _redacted(item, own, is_secret or is_secret_key(str(key))) for key, item in node.items()}
    if isinstance(node, list | tuple):
        pairs = zip(["", *node], node, strict=False)
        items = [_redacted(item, own, is_secret or _is_secret_flag(before)) for before, item in pairs]
        return items if isinstance(node, list) else tuple(items)
    if not isinstance(node, str) or not node:
        return node
    return REDACTED if is_secret else _cleaned(node, own)


def _is_secret_flag(item: Any) -> bool:
    """Whether the next word of a command line is a secret: `--token`."""
    return isinstance(item, str) and item.startswith("--") and "=" not in item and is_secret_key(item)


def redacted_text(text: str, known: Iterable[str] = ()) -> str:
    """The text without passwords in addresses, tokens, assigned secrets and secrets of the environment.

    `known` are secrets to be taken out wherever they are.

    >>> redacted_text("no answer from http://me:secret@host:5000/api?token=abc")
    'no answer from http://host:5000/api?token=[redacted]'
    >>> redacted_text("http://me:p@ss@host"), redacted_text("DB_PASSWORD=hunter2 token = tokenizer.next()")
    ('http://host', 'DB_PASSWORD=[redacted] token = tokenizer.next()')
    """
    return _cleaned(text, _own_secrets(known))


def _own_secrets(known: Iterable[str] = ()) -> list[str]:
    """Known secrets and those of this environment; the longest first, since one may hold another."""
    values = [*known, *(value.strip() for name, value in os.environ.items() if is_secret_key(name))]
    return sorted({value for value in values if len(value) >= MIN_OWN_CHARS}, key=len, reverse=True)


def _cleaned(text: str, own: list[str]) -> str:
    for _ in range(MAX_PASSES):
        # what went may have parted or joined what is around it, so look again until nothing is found
        cleaned = _pass(text.replace(REDACTED, MARK), own).replace(MARK, REDACTED)
        if cleaned == text:
            return text
        text = cleaned
    return REDACTED  # no text that a person wrote comes here


def _pass(text: str, own: list[str]) -> str:
    text = ADDRESS.sub("//", text)
    text = FORMATS.sub(MARK, text)
    text = HEADER.sub(rf"\1{MARK}", text)
    text = BEARER.sub(rf"\1{MARK}", text)
    text = _without_values(text, QUERY, _in_query)
    text = _without_values(text, ASSIGNMENT, _assigned)
    text = OVERRIDE.sub(_without_override, text)
    for secret in own:
        text = text.replace(secret, MARK)
    return text


Find = Callable[[re.Match[str]], re.Match[str] | None]


def _without_values(text: str, heads: re.Pattern[str], find: Find) -> str:
    """Each value that `find` sees after a head goes; a head within such a value goes with it."""
    pieces, end = [], 0
    for head in heads.finditer(text):
        value = find(head) if head.start() >= end else None
        if value is not None:
            pieces += [text[end : value.end(1)], MARK]
            end = value.end()
    return "".join([*pieces, text[end:]])


def _in_query(head: re.Match[str]) -> re.Match[str] | None:
    name = head["name"]
    is_secret = is_secret_key(name) or re.split("[-_.]", name.lower())[-1] in SIGNED
    return QUERY_VALUE.match(head.string, head.end()) if is_secret else None


def _assigned(head: re.Match[str]) -> re.Match[str] | None:
    """The literal, or a bare value of UPPERCASE=, of a --flag or of an HTTP-header:."""
    name, gap = (head["name"], head["gap"]) if head["name"] else (head["flag"], head["blank"])
    if not is_secret_key(name):
        return None
    start = head.end() + len(gap)
    is_shell = gap == "=" and (name.isupper() or name.startswith("--"))
    is_header = gap.startswith(":") and "-" in name.strip("-") and not name.startswith("--")
    is_bare = is_shell or is_header or bool(head["flag"])
    literal = LITERAL.match(head.string, start)
    if literal and not _is_end_of_text(literal):
        return literal
    return BARE.match(head.string, start) if is_bare else None


def _is_end_of_text(literal: re.Match[str]) -> bool:
    """Whether the quote closes what came before, as in `getpass("Password: ")`."""
    after = literal.string[literal.end() : literal.end() + 1]
    return after not in ('"', "'", "\\") and literal.string[literal.end(1)] in ")]},;: "


def _without_override(found: re.Match[str]) -> str:
    is_code = found["call"] or found[1].startswith("self.")
    return found[0] if is_code or not is_secret_key(found[1]) else f"{found[1]}={MARK}"


def secrets_of(node: dict[str, Any]) -> dict[str, str]:
    """The texts below secret keys, which `redacted` takes out whole, by dotted key; a list's by number.

    >>> secrets_of({"data": {"password": "hunter2", "path": "a.csv"}})
    {'data.password': 'hunter2'}
    """
    return dict(_secrets(node, "", is_secret=False))


def _secrets(node: Any, prefix: str, is_secret: bool) -> Iterator[tuple[str, str]]:
    is_dict = isinstance(node, dict)
    for key, item in node.items() if is_dict else enumerate(node):
        below = is_secret or (is_dict and is_secret_key(str(key)))
        if isinstance(item, dict | list | tuple):
            yield from _secrets(item, f"{prefix}{key}.", below)
        elif below and isinstance(item, str) and item not in ("", REDACTED):
            yield f"{prefix}{key}", item


def restored(node: dict[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
    """A copy with the secrets of `secrets_of` back where `redacted` took them out.

    >>> restored({"data": {"password": "[redacted]"}}, {"data.password": "hunter2"})
    {'data': {'password': 'hunter2'}}
    """
    return {key: _restored(item, f"{key}", secrets) for key, item in node.items()}


def _restored(node: Any, path: str, secrets: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _restored(item, f"{path}.{key}", secrets) for key, item in node.items()}
    if isinstance(node, list | tuple):
        items = [_restored(item, f"{path}.{i}", secrets) for i, item in enumerate(node)]
        return items if isinstance(node, list) else tuple(items)
    return secrets.get(path, node) if node == REDACTED else node
