"""Every code block of README.md and docs/*.md does what the page says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks_of, missing
from reader import Reader


@pytest.fixture
def reader(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Reader]:
    reader = Reader(tmp_path, "page")
    yield reader
    reader.close()


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_block_does_what_the_page_says(page: Path, reader: Reader) -> None:
    reader.name = str(page.relative_to(ROOT))
    text = page.read_text(encoding="utf-8")
    assert reader.read(text) == sum(block.not_run is None for block in blocks_of(text))


RIGHT = """
```yaml
# a/b.yaml
key: 1
```
```text
# rows.csv
x,y
1,2
```
```python
# part.py
ONE = 1
```
```python
# part.py, continued
TWO = ONE + 1
```
```console
$ cat a/b.yaml   # a comment
key: 8
$ export WORD=there; here=too
$ echo $WORD \\
    $here
there too
$ wc -l < rows.csv
2
$ echo "primer: no such thing"; exit 2
primer: no such thing
$ echo 'Ctrl-C ends it'; sleep 100
Ctrl-C ends it
$ (sleep 100) &
```
```python
from pathlib import Path
from part import TWO
here = Path("rows.csv").exists()
```
```python
>>> here, TWO
(True, 2)
```
<!-- not run: it would fail -->
```console
$ false
```
"""


def test_a_page_that_is_right(reader: Reader) -> None:
    assert reader.read(RIGHT) == 7


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("key: 8", "kex: 8", "not printed: kex: 8"),
        ("key: 1", "key: [", "while parsing"),
        ("exit 2", "exit 1", "1, expected 2"),
        ("$ wc -l < rows.csv", "$ wc -l < rows", "1, expected 0"),
        ("; sleep 100\nCtrl-C", "\nCtrl-C", "ended by itself"),
        ("from part import TWO", "from part import THREE", "cannot import name 'THREE'"),
        ("(True, 2)", "(True, 3)", "Expected:\n    (True, 3)"),
        ("TWO = ONE + 1", "TWO = ONE +", "invalid syntax"),
        ("not run: it would fail", "not run:", "no reason"),
        ("not run: it would fail", "not run", "no reason"),
        ("```\n<!--", "```\n<!-- not run: x -->\n\nword\n\n<!--", "above no block"),
        ("```console\n$ false", "```\n$ false", "no language"),
    ],
)
def test_a_page_that_is_wrong(reader: Reader, right: str, wrong: str, told: str) -> None:
    assert RIGHT.count(right) == 1
    with pytest.raises(Exception) as failure:  # noqa: PT011
        reader.read(RIGHT.replace(right, wrong))
    assert told in str(failure.value)


@pytest.mark.parametrize(
    ("shown", "printed", "is_there"),
    [
        ("step 240/1200  val/loss 0.1", "step 3/9 val/loss 1e-05", True),
        ("step 240/1200  val/loss 0.1", "step 3/9 val/lost 1e-05", False),
        ("run     6aad30e727c64d47", "run 1111111111111111", True),
        ("folder  outputs/2026-11-23/132603-digits-s0", "folder outputs/2026-11-28/000000-digits-s0", True),
        ("folder  outputs/2026-11-23/132603-digits-s0", "folder outputs/2026-11-28/000000-iris-s0", False),
        ("bitwise equal (1278 points compared)", "bitwise equal (8 points compared)", True),
        ("adam is better than sgd by ...", "sgd is better than adam by 3", False),
    ],
)
def test_what_is_free_in_a_shown_line(shown: str, printed: str, is_there: bool) -> None:
    assert (missing((shown,), f"before\n{printed}\nafter") is None) == is_there
