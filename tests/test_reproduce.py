"""`primer reproduce`: the same numbers, what changed, and nothing built that a store may not name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from runs import Trained, primer

from primer.errors import ConfigError, UsageError
from primer.reproduce import compare, reproduce
from primer.tracking.shipment import id_of

NET = """
import torch
class Mine(torch.nn.Sequential):
    def __init__(self, in_features, out_features, activation):
        super().__init__(torch.nn.Linear(in_features, 9), activation, torch.nn.Linear(9, out_features))
        self.scale = 1.0
    def forward(self, x):
        return super().forward(x) * self.scale
"""
# What Hydra 1.3.8's own list lets through, and what it blocks.
HOSTILE = (
    "torch.load",
    "numpy.load",
    "joblib.load",
    "pandas.read_pickle",
    "pandas.eval",
    "torch.hub.load",
    "mlflow.pyfunc.load_model",
    "sympy.sympify",
    "asyncio.create_subprocess_shell",
    "builtins.open",
    "shutil.copyfile",
    "pathlib.Path.unlink",
    "setuptools._distutils.spawn.spawn",
    "webbrowser.get",
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "pickle.loads",
    "shutil.rmtree",
    "marker.Mark",
)
IN_DISGUISE = "torch.nn.modules.module.OrderedDict"  # the worker, which imports torch, sees it


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A git repository with a net of one's own and a tracked run of it."""
    root = tmp_path_factory.mktemp("repository")
    (root / "mine.py").write_text(NET)
    (root / "conf" / "net").mkdir(parents=True)
    (root / "conf" / "net" / "mine.yaml").write_text("_target_: mine.Mine\n")
    (root / ".gitignore").write_text("outputs\nmlflow.db*\nmlartifacts\n__pycache__\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        author = ["-c", "user.name=me", "-c", "user.email=me@example.com"]
        subprocess.run(["git", *author, *command], cwd=root, check=True)
    Trained(root, "--config-dir", "conf", "net=mine", "data=iris", "max_epochs=3")
    return root


@pytest.fixture
def run_id(repository: Path) -> str:
    folders = sorted(path.parent for path in repository.glob("outputs/*/*/mlflow.json"))
    return str(id_of(folders[0]))


def test_ones_own_run_comes_out_bitwise(repository: Path, run_id: str) -> None:
    done = primer("reproduce", run_id, "--trust", "mine", cwd=repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bitwise equal" in done.stdout
    assert "changed" not in done.stdout
    client = MlflowClient(f"sqlite:///{repository}/mlflow.db")
    again = client.search_runs(["1"], f"tags.`primer.reproduces` = '{run_id}'")
    assert [run.info.status for run in again] == ["FINISHED"]


def test_a_store_may_not_name_my_own_net_unless_it_is_trusted(repository: Path, run_id: str) -> None:
    done = primer("reproduce", run_id, cwd=repository)
    assert done.returncode == 2
    assert "--trust mine" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_changed_line_is_named_and_so_is_the_first_step_that_differs(repository: Path) -> None:
    own = repository / "mine.py"
    own.write_text(NET.replace("self.scale = 1.0", "self.scale = 1.0001"))
    try:
        first = str(sorted(repository.glob("outputs/*/*"))[0])
        done = primer("reproduce", first, cwd=repository)
    finally:
        own.write_text(NET)
    assert done.returncode == 1
    assert "git difference: +1 -1 mine.py" in done.stdout
    assert "different" in done.stdout
    assert "first difference: train/loss at step 1:" in done.stdout


@pytest.fixture
def hostile_run(repository: Path, run_id: str, tmp_path: Path) -> tuple[MlflowClient, str]:
    """A run in the store whose config somebody else may write."""
    client = MlflowClient(f"sqlite:///{repository}/mlflow.db")
    run = client.create_run("1")
    client.log_metric(run.info.run_id, "train/loss", 1.0, step=1)
    return client, str(run.info.run_id)


def test_nothing_hostile_in_a_config_of_the_store_is_built(
    repository: Path,
    hostile_run: tuple[MlflowClient, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client, run_id = hostile_run
    monkeypatch.chdir(repository)
    monkeypatch.syspath_prepend(repository)
    (repository / "marker.py").write_text("open('imported', 'w').close()\nclass Mark: pass\n")
    config = yaml.safe_load(next(repository.glob("outputs/*/*/config.yaml")).read_text())
    for target in HOSTILE:
        node = {"_target_": target, "command": "touch executed", "args": ["touch executed"]}
        for group in ("activation", "net", "data", "optimizer", "criterion", "scheduler"):
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {group: node}))
            client.log_artifact(run_id, str(tmp_path / "config.yaml"))
            with pytest.raises(ConfigError, match=re.escape(f"{group}._target_={target}")):
                reproduce(run_id, trust=["mine"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"activation": {"_target_": IN_DISGUISE}}))
    client.log_artifact(run_id, str(tmp_path / "config.yaml"))
    with pytest.raises(ConfigError, match=r"is collections\.OrderedDict, which"):
        reproduce(run_id, trust=["mine"])
    assert not (repository / "imported").exists()
    assert not (repository / "executed").exists()
    assert len(list(repository.glob("outputs/*/*"))) == len(list(repository.glob("outputs/*/*/journal")))


@pytest.fixture
def reproduced(
    repository: Path, hostile_run: tuple[MlflowClient, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Ask for a run whose config in the store is that text."""
    client, run_id = hostile_run
    monkeypatch.chdir(repository)

    def reproduced(text: str) -> None:
        (tmp_path / "config.yaml").write_text(text)
        client.log_artifact(run_id, str(tmp_path / "config.yaml"))
        reproduce(run_id, trust=["mine"])

    return reproduced


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- 1", "expected keys and values"),
        ("net: !!python/object/apply:os.system [touch executed]", "expected plain YAML"),
        ("a: &a [1]\nb: *a", "anchors"),
        ("switches: {}", "switches"),
        ("seed: 1", "switches"),
    ],
)
def test_a_config_of_the_store_that_is_none_is_one_line(
    text: str, complaint: str, reproduced: Callable[[str], None]
) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        reproduced(text)
    assert "\n" not in str(caught.value)


def test_a_config_of_the_store_that_is_enormous_is_not_fetched(reproduced: Callable[[str], None]) -> None:
    with pytest.raises(UsageError, match=r"has no config\.yaml"):
        reproduced("a: " + "x" * 2_000_000)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("seed", "x", "seed=x: expected a whole number"),
        ("max_epochs", -3, "max_epochs=-3: expected"),
        ("batch_size", True, "batch_size=true: expected a whole number"),
        ("net", 7, "net: expected keys and values"),
        ("optimizer", {"_target_": "torch.optim.Adam"}, "optimizer.lr: is not there"),
    ],
)
def test_a_value_of_the_store_that_does_not_fit_is_named(
    key: str, value: object, complaint: str, repository: Path, reproduced: Callable[[str], None]
) -> None:
    config = yaml.safe_load(next(repository.glob("outputs/*/*/config.yaml")).read_text())
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        reproduced(yaml.safe_dump(config | {key: value}))


def test_what_is_missing_now_differs() -> None:
    first, largest, num_points = compare({("loss", 1): 1.0, ("loss", 2): 2.0}, {("loss", 1): 1.0})
    assert first == "loss at step 2: 2.0 before, is missing now"
    assert largest == float("inf")
    assert num_points == 2
