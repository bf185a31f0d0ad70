"""Planning composes each set of options once, and makes what Hydra itself would."""

from __future__ import annotations

import itertools
from pathlib import Path

import hydra
import pytest
from omegaconf import OmegaConf

from primer.config import Composer, compose, config_hash
from primer.config.options import conf_dir
from primer.errors import ConfigError, RunError
from primer.sweep import ledger
from primer.sweep.ledger import Definition
from primer.sweep.plan import definition_of, plan
from primer.tracking.journal import Journal

SWEPT = {
    "activation": ["relu", "leaky_relu"],
    "optimizer": ["sgd", "adam"],
    "scheduler": ["constant", "cosine"],
    "seed": ["0", "7"],
    "batch_size": ["16", "32"],
    "optimizer.lr": ["0.1", "1e-3"],
}
JOBS = [
    [f"{key}={value}" for key, value in zip(SWEPT, values, strict=True)]
    for values in itertools.product(*SWEPT.values())
]


def test_a_plan_is_what_hydra_composes() -> None:
    configs = Composer().compose_all(JOBS)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for overrides, config in zip(JOBS, configs, strict=True):
            expected = OmegaConf.to_container(hydra.compose("train", overrides), resolve=True)
            assert isinstance(expected, dict)
            del expected["name"]
            assert {key: config[key] for key in expected} == expected


def test_jobs_have_numbers_folders_and_names_of_what_differs(tmp_path: Path) -> None:
    overrides = [["data=iris", f"optimizer.lr={lr}", f"seed={seed}"] for lr in (0.1, 0.2) for seed in (0, 1)]
    jobs = plan(
        overrides,
        first=4,
        folder=tmp_path,
        subdir=lambda number, _: "same",
        switched=["optimizer.lr", "seed"],
        composer=Composer(),
    )
    assert [job.number for job in jobs] == [4, 5, 6, 7]
    assert len({job.folder for job in jobs}) == 4
    assert [job.config["name"] for job in jobs] == ["lr=0.1 s0", "lr=0.1 s1", "lr=0.2 s0", "lr=0.2 s1"]
    assert len({job.identity for job in jobs}) == 4


@pytest.mark.parametrize(
    ("change", "is_same"), [("name=mine", True), ("checkpoint_every_n_steps=5", True), ("seed=9", False)]
)
def test_a_definition_is_what_is_computed(tmp_path: Path, change: str, is_same: bool) -> None:
    def made(*more: str) -> str:
        return definition_of(
            plan(
                [["data=iris", *more]],
                first=0,
                folder=tmp_path,
                subdir=lambda *_: "0",
                switched=[],
                composer=Composer(),
            )
        )

    assert (made() == made(change)) == is_same
    assert len(made()) == 16


def test_identity_is_of_the_whole_config() -> None:
    assert len({config_hash(config) for config in Composer().compose_all(JOBS)}) == len(JOBS)


@pytest.mark.parametrize("names", [["."], [".."], ["../other"], ["/tmp"], ["0", "0/1"], ["a/b", "a"]])
def test_a_job_is_given_no_folder_but_its_own(tmp_path: Path, names: list[str]) -> None:
    jobs = [[f"seed={number}"] for number in range(len(names))]
    with pytest.raises(ConfigError, match=r"hydra\.sweep\.subdir=.*expected a folder below the sweep's"):
        plan(
            jobs,
            first=0,
            folder=tmp_path,
            subdir=lambda number, _: names[number],
            switched=["seed"],
            composer=Composer(),
        )


@pytest.mark.parametrize("place", ["../../thesis", "/home/me/thesis", "link/0", "."])
def test_a_ledger_names_no_folder_outside_of_its_sweep(place: str, tmp_path: Path) -> None:
    """What a job is begun in is removed before: a sweep's folder may be somebody else's."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    config = compose([])
    ledger.create(folder, "seed", Definition((), None, ("seed",), 1), config, "digest")
    with Journal(folder) as journal:
        journal.write("job", number=0, folder=place, config=config)
    with pytest.raises(RunError, match="names a job's folder that is not below it"):
        ledger.jobs_in(folder)
