from __future__ import annotations

from primer.data.wording import did_you_mean, listed, shown


def test_long_values_stay_in_the_line() -> None:
    assert len(shown("x" * 1000)) == 42
    assert "\n" not in shown("two\nlines")
    assert len(listed("x" * 100 for _ in range(100))) < 600


def test_the_nearest_name_whatever_its_case() -> None:
    assert did_you_mean("PRICE", ["area", "price"]) == "; did you mean 'price'?"
    assert did_you_mean("x", []) == ""
