"""Ten thousand wrong configs: typos, types, sizes, Unicode, loops, bombs: each a line that names the key."""

from __future__ import annotations

import random
import string
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from primer.config.compose import Composer
from primer.config.identity import flat
from primer.config.options import options
from primer.config.schema import GROUPS
from primer.errors import PrimerError

NUM_EACH = 2500  # of typos in keys, in options, of strange values, and of files of one's own: 10,000
LONGEST_S = 5.0  # for one: an alias bomb or a loop takes for ever
STRANGE = """
|null|~|true|nan|inf|-inf|1e999|-1e-999|1e-320|0x10|1_000|007|1.5.2
1,2|[1,2|[1,[2,[3]]]|{a: 1}|{a: {b: {c: 1}}}
${seed}|${a}|${optimizer.lr}|${oc.env:HOME}|${${seed}}|${|}|$|???|!!python/object:x
é|\u202e abc|\x1b[31m|𝟙|１|'|"|'a
\\|#|a #b|&a [*a]|*a|<<|- a|a: b: c|%|@x|>|range(5)|choice(1,2)|glob(*)|tag(a,1)
"""
STRANGE_VALUES = (
    *(word for line in STRANGE.strip("\n").splitlines() for word in line.split("|")),
    *("9" * 400, "-" + "9" * 30, "[" * 200, "ß" * 5000, "\x00", "\n", "a\nb", "|", " "),
)
FILES = (
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\ne: &e [*d, *d]\nf: [*e, *e]\n",
    "_target_: torch.nn.ReLU\nx: ${.y}\ny: ${.x}\n",
    "_target_: torch.nn.ReLU\nx: ${activation}\n",
    "&a\n_target_: torch.nn.ReLU\nself: *a\n",
    "_target_: [torch.nn.ReLU]\n",
    "_target_: {a: b}\n",
    "_target_: torch.nn.Nope\n",
    "_target_: nowhere.at.all\n",
    "_target_:\n",
    "- a\n- b\n",
    "text\n",
    "",
    "_target_: torch.nn.ReLU\ninplace: &a {b: *a}\n",
    "_target_: torch.nn.ReLU\n? [a, b]\n: c\n",
    "defaults:\n  - nothing\n_target_: torch.nn.ReLU\n",
    "_target_: torch.nn.LeakyReLU\nnegative_slope: " + "[" * 500 + "\n",
    "_target_: torch.nn.LeakyReLU\n1: 2\ntrue: 3\nnull: 4\n",
)


class Case(NamedTuple):
    """A question: what has to be named in the answer, and what was meant, if that is known."""

    kind: str
    composer: Composer
    override: str
    names: str
    meant: str = ""


def main(root: Path, sample: int | None) -> bool:
    """Whether none raised, hung, or said more than two lines; and what share of typos was put right."""
    tally, told = Counter[str](), Counter[str]()
    for case in _cases(root, sample or NUM_EACH, random.Random(0)):
        begun_at = time.monotonic()
        verdict = _verdict(case, told)
        if time.monotonic() - begun_at > LONGEST_S:
            verdict = f"FAULT: took {time.monotonic() - begun_at:.0f} s for {case.override!r:.100}"
        tally[verdict] += 1
    for what, count in sorted(tally.items()):
        print(f"  {what}: {count}", flush=True)
    for kind in ("key", "option"):
        share = told[f"{kind} told"] / max(1, told[kind])
        print(f"configs: the right {kind} was suggested for {share:.1%} of {told[kind]} typos", flush=True)
    return not any(what.startswith("FAULT") for what in tally)


def _cases(root: Path, num: int, draw: random.Random) -> Iterator[Case]:
    composer = Composer()
    fixed = ("accelerator.accelerator", "accelerator.strategy", "data.name")  # by the option alone
    keys = [key for key in (*flat(composer.compose([])), *GROUPS) if key not in fixed]
    groups = [group for group in GROUPS if options(group)]
    for _ in range(num):
        key = draw.choice(keys)
        wrong = _edited(key, draw)
        if wrong not in keys and wrong.strip() and wrong[0] not in "+~" and "=" not in wrong:
            yield Case("key", composer, f"{wrong}=1", wrong, key)
    for _ in range(num):
        group = draw.choice(groups)
        option = draw.choice(options(group))
        wrong = _edited(option, draw)
        if wrong not in options(group):
            yield Case("option", composer, f"{group}={wrong}", group, option)
    for _ in range(num):
        key, value = draw.choice(keys), draw.choice(STRANGE_VALUES)
        yield Case("value", composer, f"{key}={_edited(value, draw) if draw.random() < 0.5 else value}", key)
    for number in range(num):
        place = root / str(number % 50)
        (place / "activation").mkdir(parents=True, exist_ok=True)
        text = draw.choice(FILES)
        for _ in range(draw.randrange(3)):
            text = _edited(text, draw)
        (place / "activation" / "mine.yaml").write_text(text)
        yield Case("file", Composer(place), "activation=mine", "activation")


def _verdict(case: Case, told: Counter[str]) -> str:
    """What came of it; `told` counts the typos of a kind, and those that were put right."""
    asked = f"{case.override!r:.100}"
    try:
        case.composer.compose([case.override])
    except PrimerError as error:
        text = str(error)
        if case.meant:
            told.update([case.kind, *([f"{case.kind} told"] if case.meant in text else [])])
        if len(text.splitlines()) > 2 or len(text) > 1000:
            return f"FAULT: {len(text.splitlines())} lines, {len(text)} letters for {asked}"
        if error.exit_code != 2:
            return f"FAULT: exit code {error.exit_code} for {asked}"
        return "is refused in a line" if case.names in text else f"FAULT: not named for {asked}: {text:.100}"
    except BaseException as error:
        return f"FAULT: {type(error).__name__} for {asked}: {error!s:.100}"
    return "is a config"


def _edited(text: str, draw: random.Random) -> str:
    """One letter more, less, or another, or two exchanged."""
    place = draw.randrange(len(text) + 1)
    letter = draw.choice(string.ascii_lowercase + "._-é0")
    if not text or place == len(text):
        return text + letter
    edits = (
        text[:place] + letter + text[place:],
        text[:place] + text[place + 1 :],
        text[:place] + letter + text[place + 1 :],
        text[:place] + text[place + 1 : place + 2] + text[place] + text[place + 2 :],
    )
    return draw.choice(edits)
