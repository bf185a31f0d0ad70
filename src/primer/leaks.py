"""What in a text looks like a secret: by the name before it, by its form, by its place in an address."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

REDACTED = "[redacted]"
MARK = "\ufdd0"  # stands for REDACTED while a text is worked on; Unicode has set it aside to mean nothing
MAX_PASSES = 8  # chosen: one pass finds what people write, a second one that nothing is left

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
WORD = re.compile(r"[~+]{0,2}([\w.@/-]+)=")  # of a command line: an override
# As in `primer train data.password=hunter2`; a call after `=` is code.
OVERRIDE = re.compile(
    r"""(?<![\w.-])([A-Za-z_]\w*+(?:\.\w++)++)=((?:[^\s"'`\\(,]|,(?![\w.~+@/-]++=))++)(?P<call>\(?)"""
)


def is_secret_key(key: str) -> bool:
    """Whether a config key's last part, or an environment variable, is named like a secret.

    >>> [is_secret_key(key) for key in ("data.apiKey", "HF_TOKEN", "net.use_cls_token", "sort_key")]
    [True, True, False, False]
    """
    return _is_secret_name(key[-100:].rpartition(".")[2])


def is_secret_path(key: str) -> bool:
    """Whether one of the names of a dotted key is a secret's.

    >>> [is_secret_path(key) for key in ("net.credentials.value", "net.token_dim")]
    [True, False]
    """
    return any(is_secret_key(name) for name in key.split("."))


def is_secret_override(text: str) -> bool:
    """Whether an override sets a secret.

    >>> [is_secret_override(text) for text in ("+net.api_key=hunter2", "net.num_keys=2")]
    [True, False]
    """
    found = WORD.match(text)
    return found is not None and is_secret_path(found[1])


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


def cleaned(text: str, own: re.Pattern[str] | None) -> str:
    """The text without what looks like a secret, and without what `own` finds."""
    for _ in range(MAX_PASSES):
        # what went may have parted or joined what is around it, so look again until nothing is found
        cleaned = _pass(text.replace(REDACTED, MARK), own).replace(MARK, REDACTED)
        if cleaned == text:
            return text
        text = cleaned
    return REDACTED  # no text that a person wrote comes here


def _pass(text: str, own: re.Pattern[str] | None) -> str:
    text = ADDRESS.sub("//", text)
    text = FORMATS.sub(MARK, text)
    text = HEADER.sub(rf"\1{MARK}", text)
    text = BEARER.sub(rf"\1{MARK}", text)
    text = _without_values(text, QUERY, _in_query)
    text = _without_values(text, ASSIGNMENT, _assigned)
    text = OVERRIDE.sub(_without_override, text)
    return own.sub(MARK, text) if own else text


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
    return found[0] if is_code or not is_secret_path(found[1]) else f"{found[1]}={MARK}"
