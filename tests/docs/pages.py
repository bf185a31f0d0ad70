"""The code blocks of a Markdown page, and the commands in a block of the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = ("console", "python", "yaml")  # and text, where it is a file
SHOWN = ("text", "{toctree}")
FENCE = re.compile(r"^\s*(`{3,}|~{3,})\s*(?P<language>\S*)\s*$")
MARKER = re.compile(r"^\s*<!--\s*not run\b:?\s*(?P<reason>.*?)\s*-->\s*$")
FILE = re.compile(r"^# (?P<name>[\w./-]+\.(?:py|yaml|csv))(?P<goes_on>, continued)?$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of its fence, why it is not run (None: it is)."""

    language: str
    text: str
    line: int
    not_run: str | None = None

    @property
    def is_doctest(self) -> bool:
        return self.language == "python" and bool(re.search(r"^\s*>>> ", self.text, re.M))

    @property
    def file(self) -> re.Match[str] | None:
        """The file that its first line names, if any."""
        return FILE.match(self.text.partition("\n")[0])


@dataclass(frozen=True)
class Command:
    """A command as it is typed, what is shown below it, and its line."""

    words: str
    shown: tuple[str, ...]
    line: int

    @property
    def is_ended(self) -> bool:
        """Whether it goes on until Ctrl-C, as its comment or its output says."""
        return "Ctrl-C ends it" in "\n".join((self.words, *self.shown))

    @property
    def exit_code(self) -> int:
        """What the shown output implies: 2 for a wrong question, 1 for the answer no."""
        if any(line.startswith("primer: ") for line in self.shown):
            return 2
        return int(any(re.match(r"FAIL(ED)?\b", line) for line in self.shown))


def blocks_of(text: str) -> list[Block]:
    """The blocks of a page in their order.

    Raises ValueError for a block in a language that no test knows, one that is not closed, and a marker that
    gives no reason or stands above no block.
    """
    found: list[Block] = []
    lines = text.splitlines()
    at, marker = 0, None
    while at < len(lines):
        line = lines[at]
        if fence := FENCE.match(line):
            end = next((i for i in range(at + 1, len(lines)) if lines[i].strip() == fence[1]), None)
            if end is None:
                raise ValueError(f"line {at + 1}: a block that is not closed")
            if fence["language"] not in (*RUN, *SHOWN):
                raise ValueError(f"line {at + 1}: a block in {fence['language'] or 'no language'!r}")
            found.append(Block(fence["language"], "\n".join(lines[at + 1 : end]) + "\n", at + 1, marker))
            at, marker = end, None
        elif marked := MARKER.match(line):
            marker = marked["reason"]
            if not marker:
                raise ValueError(f"line {at + 1}: not run, but no reason is given")
        elif marker and line.strip():
            raise ValueError(f"line {at + 1}: 'not run' stands above no block")
        at += 1
    if marker:
        raise ValueError("'not run' stands above no block")
    return found


def commands_of(block: Block) -> list[Command]:
    """The commands of a block of the command line, each with what is shown below it."""
    found: list[Command] = []
    words, shown, begun = "", [], 0
    for at, line in enumerate([*block.text.splitlines(), "$ "], block.line + 1):
        if words.endswith("\\"):
            words += f"\n{line}"
        elif line.startswith("$ "):
            if words:
                found.append(Command(words, tuple(shown), begun))
            words, shown, begun = line[2:], [], at
        elif not words:
            raise ValueError(f"line {at}: expected a command, which begins with '$ '")
        elif line.strip():
            shown.append(line)
    return found


def missing(shown: tuple[str, ...], printed: str) -> str | None:
    """The first shown line that was not printed, in this order; numbers, ids, times and `...` are free.

    >>> missing(("FINISHED in 8.1 s: s0", "run  6aad30e7"), "FINISHED in 12 s: s1\\nrun 1b1b1b1b")
    >>> missing(("test/loss 0.1", "test/accuracy 0.9"), "test/accuracy 1\\ntest/loss 0.3")
    'test/accuracy 0.9'
    """
    lines = iter(printed.splitlines())
    for line in shown:
        if line.strip() != "..." and not any(
            _pattern(line).fullmatch(" ".join(one.split())) for one in lines
        ):
            return line
    return None


FREE = re.compile(
    r"\.\.\."
    r"|(?<![A-Za-z])[0-9a-f]{8,}\b"  # an id
    r"|[-+]?\d[\d,.:]*(?:e[-+]?\d+)?(?: ms\b| s\b| min\b| h\b)?"  # a number or a time
)


def _pattern(line: str) -> re.Pattern[str]:
    line = " ".join(line.split())
    parts, end = [], 0
    for free in FREE.finditer(line):
        parts += [re.escape(line[end : free.start()]), ".*" if free[0] == "..." else _free(free[0])]
        end = free.end()
    return re.compile("".join(parts) + re.escape(line[end:]))


def _free(text: str) -> str:
    if re.fullmatch(r"[0-9a-f]{8,}", text):
        return r"[0-9a-f-]+"
    return r"[-+]?(?:\d[\d,.:]*(?:e[-+]?\d+)?|inf|nan)(?: ms| s| min| h)?"
