"""Names, ids, options and folders that would lead out of their place lead nowhere, and are told in a line."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

import primer
from primer.config import compose
from primer.errors import PrimerError, RunError
from primer.finding import find_folder
from primer.folder import create_folder
from primer.sweep import ledger
from primer.tracking.journal import Journal
from primer.tracking.store import Store

NAMES = (
    "../../x",
    "/etc/x",
    "..",
    ".",
    "a/b",
    "x" * 5000,
    "\u202e",
    "-rf",
    "~",
    "con",
    "%2e%2e%2fx",
    "$(id)",
)
IDS = (
    *("../../x", "/etc/passwd", "..", "a' OR 'a'='a", "%", "\x1b[2J", "x" * 5000, "..%2f..", "last/../.."),
    *("~", "file:///etc", "\0"),
)
OPTIONS = ("../../x", "/etc/passwd", "..", "./relu", "relu/../relu", "~/x")
PLACES = ("/home/me/thesis", "../../..", ".", "", "0/../../..", "../other", "linked/x")
SUBDIRS = ("../x", "/tmp/x", ".", "${hydra.job.num}/../..", "0/../../x")
ARTIFACTS = ("config.yaml", "../config.yaml", "model")


def below(root: Path) -> set[Path]:
    """Everything that is there."""
    return set(root.rglob("*"))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_stays_in_outputs(name: str, tmp_path: Path) -> None:
    root = tmp_path / "project" / "outputs"
    folder = create_folder(name, root)
    assert folder.parents[1] == root
    assert len(folder.name) < 100
    assert below(tmp_path) == {root.parent, root, folder.parent, folder}


@pytest.mark.parametrize("run", IDS)
def test_an_id_names_no_file(run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for ask in (find_folder, primer.resume, primer.reproduce, primer.sync, lambda run: primer.runs(run)):
        with pytest.raises(PrimerError) as refused:
            ask(run)
        assert "\x1b" not in str(refused.value)
        assert len(str(refused.value).splitlines()) <= 2
        assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_a_name(option: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("_target_: torch.nn.ReLU\n")
    (tmp_path / "conf" / "net").mkdir(parents=True)
    (tmp_path / "conf" / "net" / "own.yaml").write_text("_target_: torch.nn.Linear\n")
    with pytest.raises(PrimerError, match="activation"):
        compose([f"activation={option}"], config_dir=tmp_path / "conf")


@pytest.mark.parametrize("place", PLACES)
def test_a_job_lies_below_its_sweep(place: str, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "linked").symlink_to(tmp_path)
    with Journal(sweep) as journal:
        journal.write("job", number=0, folder=place, config={})
    with pytest.raises(RunError, match="names a job's folder that is not below it"):
        ledger.jobs_in(sweep)


@pytest.mark.parametrize("subdir", SUBDIRS)
def test_a_subdir_lies_below_its_sweep(subdir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PrimerError, match=r"hydra\.sweep\.subdir"):
        primer.sweep("seed=0,1", f"hydra.sweep.subdir='{subdir}'")
    assert not list(tmp_path.glob("outputs/*/*"))


def test_an_artifact_is_one_file_of_a_sensible_size(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    store, client = Store(uri), MlflowClient(uri)
    for content in ("a folder", "too large"):
        run_id = client.create_run(store.experiment("primer")).info.run_id
        if content == "a folder":
            client.log_text(run_id, "seed: 0\n", "config.yaml/inner.yaml")
        else:
            client.log_text(run_id, "#" * 1_000_000, "config.yaml")
        (tmp_path / content).mkdir()
        for artifact in ARTIFACTS:
            assert store.fetch(run_id, artifact, tmp_path / content) is None
        assert below(tmp_path / content) == set()
