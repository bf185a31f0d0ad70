"""A search space is read as Hydra's sweep syntax says, and what has no meaning is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from primer.config.options import options
from primer.config.space import Choice, Range, read_space
from primer.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("interval(0.001,0.1)", Range(0.001, 0.1)),
        ("interval(1,10)", Range(1.0, 10.0)),
        ("tag(log,interval(1e-4,1))", Range(1e-4, 1.0, is_log=True)),
        ("int(interval(16,256))", Range(16, 256, is_int=True)),
        ("tag(log,int(interval(16,256)))", Range(16, 256, is_int=True, is_log=True)),
        ("int(tag(log,interval(16,256)))", Range(16, 256, is_int=True, is_log=True)),
        ("range(16,257,16)", Range(16, 256, is_int=True, step=16)),
        ("range(16,256,16)", Range(16, 240, is_int=True, step=16)),
        ("range(4)", Range(0, 3, is_int=True)),
        ("range(10,0,-3)", Range(1, 10, is_int=True, step=3)),
        ("tag(log,range(1,100))", Range(1, 99, is_int=True, is_log=True)),
        ("range(0,1,0.1)", Range(0.0, 0.9, step=0.1)),
        ("range(0.1,0.4,0.1)", Range(0.1, 0.3, step=0.1)),  # three values, as one reads it
        ("relu,custom_relu", Choice(("relu", "custom_relu"))),
        ("choice(1,2.5)", Choice(("1", "2.5"))),
        ("choice(1)", Choice(("1",))),
        ("shuffle(c,a,b)", Choice(("c", "a", "b"))),  # the same for every process
        ("'a b',[1,2],{k:1}", Choice(("'a b'", "[1,2]", "{k:1}"))),
    ],
)
def test_what_is_searched(text: str, expected: Range | Choice) -> None:
    space, fixed = read_space([f"net.x={text}", "seed=3"])
    assert space == {"net.x": expected}
    low = getattr(space["net.x"], "low", None)
    assert low is None or isinstance(low, int) == expected.is_int  # type: ignore[union-attr]
    assert fixed == ["seed=3"]
    assert read_space([f"net.x={expected}"])[0] == space  # as messages show it


def test_a_choice_reads_as_the_values_that_were_typed() -> None:
    texts = ["'a b'", "1", "1.0", "true", "null", "[1,2]", "plain", "'1'"]
    (choice,) = read_space([f"x={','.join(texts)}"])[0].values()
    assert isinstance(choice, Choice)
    parse = OverridesParser.create().parse_override
    typed = [parse(f"x={text}").value() for text in texts]
    read = [parse(f"x={text}").value() for text in choice.values]
    assert list(zip(read, map(type, read), strict=True)) == list(zip(typed, map(type, typed), strict=True))


def test_what_is_no_search_stays_as_typed_and_in_order() -> None:
    fixed = ["seed=1", "~net.bias", "+net.extra={a: [1,2]}", "name='a,b'", "seed=2"]
    assert read_space([fixed[0], "+net.y=1,2", *fixed[1:]]) == ({"+net.y": Choice(("1", "2"))}, fixed)


def test_a_glob_chooses_among_the_options_of_its_group(tmp_path: Path) -> None:
    assert read_space(["net=glob(*)"])[0] == {"net": Choice(tuple(options("net")))}
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "mine.yaml").write_text("_target_: torch.nn.Linear\n")
    assert read_space(["net=glob([m*],exclude=manual)"], tmp_path)[0] == {"net": Choice(("mine",))}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (
            ["a=tag(log,interval(0,1))"],
            "a=tag(log,interval(0,1)): no logarithm of 0; expected a range above 0",
        ),
        (["a=tag(log,int(interval(0,9)))"], "no logarithm of 0; expected a range above 0"),
        (["a=tag(log,range(0,9))"], "no logarithm of 0; expected a range above 0"),
        (["a=tag(log,range(16,99,16))"], "no even steps; expected tag(log,interval(16,99))"),
        (["a=interval(2,1)"], "a=interval(2,1): from 2 to 1; expected the lower number first"),
        (["a=interval(1,1)"], "from 1 to 1; expected the lower number first"),
        (["a=interval(0,inf)"], "expected two finite numbers"),
        (["a=interval(nan,1)"], "expected two finite numbers"),
        (["a=range(0,inf)"], "expected finite numbers"),
        (["a=range(5,1)"], "no number from 5 to 1 in steps of 1; expected range(START,STOP,STEP)"),
        (["a=range(1,5,0)"], "no number from 1 to 5 in steps of 0"),
        (["a=tag(lgo,interval(1,2))"], "the tag lgo has no meaning here; did you mean log?"),
        (["a=tag(fidelity,interval(1,2))"], "the tag fidelity has no meaning here; expected log"),
        (["a=tag(log,choice(1,2))"], "the tag log has no meaning here; expected numbers"),
        (["a=interval(1)"], "a=interval(1): missing a required argument: 'end'; expected KEY=VALUE, or for"),
        (["a=intervall(1,2)"], "a=intervall(1,2): Unknown function 'intervall'; expected"),
        (["a=[1,2"], "a=[1,2: can't be read; expected KEY=VALUE"),
        (["=1,2"], "=1,2: can't be read; expected KEY=VALUE"),
        (["a=glob(*)"], "a=glob(*): a is no conf group; expected the values, a=A,B"),
        (["net=glob(x*)"], "net=glob(x*): no such option (options: manual, sequential, tensors, two_layer)"),
        (["a=1,2", "a=interval(1,2)"], "a: said twice, once as a=1,2; expected it once"),
        (["a=1", "+a=1,2"], "a: said twice, once as +a=1,2; expected it once"),
    ],
)
def test_what_has_no_meaning_is_named_in_one_line(texts: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read_space(texts)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
