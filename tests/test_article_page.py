"""docs/article.md shows what its code prints."""

from __future__ import annotations

import doctest
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "article.md"


def test_every_example_prints_what_the_page_shows() -> None:
    # Without its fences, or the closing one would count as expected output.
    text = PAGE.read_text(encoding="utf-8").replace("```", "")
    page = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    result = doctest.DocTestRunner().run(page)
    assert result.attempted > 30
    assert result.failed == 0
