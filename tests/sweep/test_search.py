"""A search proposes, learns, gives up the hopeless, and goes on; real files."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from studies import RANDOM, SPACE, ask, best_of, opened, stored, values

from primer.config.space import Choice, Range
from primer.errors import ConfigError
from primer.sweep.search import PRUNER, Search


def test_values_are_the_very_ones_that_the_sampler_drew(tmp_path: Path) -> None:
    with opened(tmp_path, num_trials=30) as search:
        asked = [ask(search) for _ in range(30)]
    for (_, overrides), trial in zip(asked, stored(tmp_path), strict=True):
        drawn = values(overrides)
        assert drawn["optimizer.lr"] == trial.params["optimizer.lr"]
        assert isinstance(drawn["net.hidden_dim"], int)
        assert drawn["net.hidden_dim"] in range(16, 257, 16)
        assert f"activation={trial.params['activation']}" == overrides[2]
    assert {overrides[2] for _, overrides in asked} == {
        "activation=relu",
        "activation='a b'",
        "activation=gelu",
    }
    rates = sorted(values(overrides)["optimizer.lr"] for _, overrides in asked)
    assert 1e-3 < rates[15] < 1e-1  # the logarithm is even, not the number
    whole: dict[str, Range | Choice] = {"x": Range(1, 10**6, is_int=True, is_log=True)}
    with opened(tmp_path / "whole", space=whole, num_trials=30) as search:
        assert 30 < sorted(values(ask(search)[1])["x"] for _ in range(30))[15] < 30_000


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_finds_more_than_a_grid_of_as_many_points(tmp_path: Path, seed: int) -> None:
    def loss(lr: float, dim: float) -> float:
        return (math.log10(lr) + 1.7) ** 2 + ((dim - 107) / 64) ** 2

    grid = [loss(10 ** (-4 + 4 * i / 7), 16 + 60 * j) for i, j in itertools.product(range(8), range(5))]
    space = {"lr": Range(1e-4, 1.0, is_log=True), "dim": Range(16, 256, is_int=True)}
    with opened(tmp_path, space=space, num_trials=len(grid), seed=seed) as search:
        while asked := search.ask():
            search.tell(asked[0], loss(**values(asked[1])))
        assert search.num_told == len(grid) == 40
        best = best_of(search)
        assert best is not None
        assert best[1] < min(grid)


def test_a_choice_is_learned_and_the_best_is_the_highest_when_maximized(tmp_path: Path) -> None:
    score = {"a": 0.1, "b": 0.9, "c": 0.5}
    with opened(tmp_path, space={"x": Choice(tuple("abc"))}, num_trials=40, direction="maximize") as search:
        assert best_of(search) is None
        said = []
        while asked := search.ask():
            said.append(values(asked[1])["x"])
            search.tell(asked[0], score[said[-1]])
        assert set(said[:10]) == set("abc")
        assert said[20:].count("b") > 12
        assert best_of(search) == (said.index("b"), 0.9)


def test_the_median_rule_ends_a_bad_trial_and_only_that(tmp_path: Path) -> None:
    with opened(tmp_path, num_trials=9) as search:
        for offset in range(5):
            number, _ = ask(search)
            assert not any(search.is_hopeless(number, step, offset + 1 / (step + 1)) for step in range(4))
            search.tell(number, float(offset))
        good, bad = ask(search)[0], ask(search)[0]
        assert not search.is_hopeless(good, 0, 1.0)
        assert not search.is_hopeless(bad, 0, math.nan)  # a run sees to that itself
        assert search.is_hopeless(bad, 0, 50.0)
        assert search.is_hopeless(bad, 0, 0.0)  # a step that a resumed run says again: the first word counts
        search.tell(bad, None, is_pruned=True)
        assert not search.is_hopeless(bad, 1, 50.0)  # too late to matter
    assert stored(tmp_path)[bad].state is optuna.trial.TrialState.PRUNED
    with opened(tmp_path, num_trials=9, pruner={**PRUNER, "n_warmup_steps": 3}) as search:
        assert search.unfinished()[0][0] == good
        late, _ = ask(search)
        assert not search.is_hopeless(late, 2, 1e9)
        assert search.is_hopeless(late, 3, 1e9)


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_no_finite_value_is_a_failure_and_the_first_word_counts(tmp_path: Path, value: float | None) -> None:
    with opened(tmp_path) as search:
        number, _ = ask(search)
        search.tell(number, value)
        search.tell(number, 1.0)
        assert best_of(search) is None
        assert search.num_told == 1
    (trial,) = stored(tmp_path)
    assert (trial.state, trial.user_attrs) == (optuna.trial.TrialState.PRUNED, {"primer.failed": True})


def test_where_trials_fail_no_more_are_asked_for(tmp_path: Path) -> None:
    space: dict[str, Range | Choice] = {"optimizer.lr": Range(1e-3, 10.0, is_log=True)}
    with opened(tmp_path, space=space, num_trials=60) as search:
        diverged = []
        for number, (override,) in iter(search.ask, None):
            lr = float(override.partition("=")[2])
            diverged.append(lr > 0.3)
            search.tell(number, None if diverged[-1] else abs(math.log(lr / 0.1)))
    assert sum(diverged[:10]) == 4
    assert sum(diverged[10:]) < 15  # of 50; all of them, where the study forgets


def test_goes_on_to_exactly_so_many_trials_with_new_points(tmp_path: Path) -> None:
    first = []
    with opened(tmp_path, num_trials=3) as search:
        first = [ask(search) for _ in range(3)]
        assert search.ask() is None
        assert search.unfinished() == []  # of an earlier process
        search.tell(1, 0.5)
    with opened(tmp_path, num_trials=8) as search:
        assert search.unfinished() == [first[0], first[2]]
        assert best_of(search) == (1, 0.5)
        search.tell(0, 0.25)
        assert search.unfinished() == [first[2]]
        later = list(iter(search.ask, None))
        assert [number for number, _ in later] == [3, 4, 5, 6, 7]
        assert search.unfinished() == [first[2]]
        assert (search.num_told, best_of(search)) == (2, (0, 0.25))
    assert len({overrides[0] for _, overrides in first + later}) == 8


@pytest.mark.parametrize("sampler", [RANDOM, {**RANDOM, "seed": 5}])
def test_the_seed_decides_unless_the_sampler_has_its_own(tmp_path: Path, sampler: dict[str, Any]) -> None:
    drawn = []
    for place, seed in enumerate([1, 1, 2]):
        with opened(tmp_path / str(place), seed=seed, sampler=sampler) as search:
            drawn.append([ask(search) for _ in range(3)])
        with opened(tmp_path / str(place), seed=seed, sampler=sampler) as search:
            assert ask(search)[1] not in [overrides for _, overrides in drawn[-1]]
    assert drawn[0] == drawn[1]
    assert (drawn[0] == drawn[2]) == ("seed" in sampler)


def test_slots_ask_and_tell_at_once(tmp_path: Path) -> None:
    def slot(search: Search) -> list[int]:
        numbers = []
        while asked := search.ask():
            numbers.append(asked[0])
            search.is_hopeless(asked[0], 0, 1.0)
            search.tell(asked[0], values(asked[1])["optimizer.lr"])
        return numbers

    with opened(tmp_path, num_trials=24) as search, ThreadPoolExecutor(4) as pool:
        slots = [pool.submit(slot, search) for _ in range(4)]
        numbers = sorted(itertools.chain.from_iterable(slot.result() for slot in slots))
        assert numbers == list(range(24))
        assert search.num_told == 24


def test_no_more_are_asked_than_there_are_when_all_ask_at_once(tmp_path: Path) -> None:
    for place in range(10):
        with opened(tmp_path / str(place), num_trials=1) as search, ThreadPoolExecutor(8) as pool:
            start = threading.Barrier(8)
            asked = list(
                pool.map(lambda _, start=start, search=search: start.wait() < 0 or search.ask(), range(8))
            )
        assert sum(answer is not None for answer in asked) == 1


def test_another_search_of_the_same_folder_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as search:
        ask(search)
    other = {**SPACE, "optimizer.lr": Range(1e-4, 0.5, is_log=True), "seed": Choice(("1", "2"))}
    del other["activation"]
    with pytest.raises(ConfigError) as raised, opened(tmp_path, space=other):
        pass
    assert str(raised.value).startswith(
        "optimizer.lr (found tag(log,interval(0.0001,0.5)), expected tag(log,interval(0.0001,1.0))), "
        "activation (found nothing, expected relu,'a b',gelu), seed (found 1,2, expected nothing): not what"
    )
    with (
        pytest.raises(ConfigError, match=r"direction=maximize: expected minimize, as in .*journal"),
        opened(tmp_path, direction="maximize"),
    ):
        pass
    with opened(tmp_path, space=dict(reversed(SPACE.items()))) as search:  # and a refusal holds no lock
        assert len(search.unfinished()) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": {"_target_": "optuna.samplers.TPESample"}}, "did you mean TPESampler?"),
        (
            {"sampler": {"_target_": "optuna.samplers.TPESampler", "sead": 1}},
            "unexpected keyword argument 'sead'",
        ),
        (
            {"sampler": {"_target_": "optuna.samplers.TPESampler", "seed": "x"}},
            "seed=x: expected a whole number",
        ),
        ({"sampler": {}}, "hydra.sweeper.sampler: found no _target_; expected one of optuna's BaseSampler"),
        ({"sampler": PRUNER}, "expected a BaseSampler of optuna, found MedianPruner"),
        ({"pruner": {**PRUNER, "n_startup_trials": -1}}, "cannot be negative"),
        ({"direction": "down"}, "direction=down: expected minimize or maximize"),
    ],
)
def test_what_cannot_be_built_leaves_nothing_behind(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised, opened(tmp_path / "new", **given):
        pass
    assert message in str(raised.value)
    assert not (tmp_path / "new").exists()


def test_a_sampler_that_does_not_fit_the_space_is_named(tmp_path: Path) -> None:
    grid = {"_target_": "optuna.samplers.GridSampler", "search_space": {"activation": ["relu"]}}
    with (
        opened(tmp_path, sampler=grid) as search,
        pytest.raises(ConfigError, match=r"sampler: .*optimizer\.lr"),
    ):
        search.ask()


def test_a_sampler_that_visits_each_point_once_ends_the_search(tmp_path: Path) -> None:
    space: dict[str, Range | Choice] = {"x": Choice(("1", "2", "3")), "y": Choice(("a", "b"))}
    sampler = {"_target_": "optuna.samplers.BruteForceSampler"}  # experimental, and silent about it
    with opened(tmp_path, space=space, num_trials=99, sampler=sampler) as search:
        said = []
        while asked := search.ask():
            said.append(tuple(asked[1]))
            search.tell(asked[0], 1.0)
        assert len(said) == len(set(said)) == 6
    with opened(tmp_path, space=space, num_trials=99, sampler=sampler) as search:
        assert search.ask() is None


def test_nothing_is_printed_and_nothing_heavy_imported(tmp_path: Path) -> None:
    code = """
        import sys
        import primer.sweep.search
        assert not {"optuna", "torch", "mlflow", "numpy"} & set(sys.modules)
        from pathlib import Path
        from test_search import opened
        sampler = {"_target_": "optuna.samplers.TPESampler", "group": True}
        with opened(Path(sys.argv[1]), sampler=sampler) as search:
            while asked := search.ask():
                search.is_hopeless(asked[0], 0, 1.0)
                search.tell(asked[0], None if asked[0] % 2 else 1.0)
        assert not {"torch", "mlflow"} & set(sys.modules)
    """
    command = [sys.executable, "-W", "always", "-c", textwrap.dedent(code), str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
