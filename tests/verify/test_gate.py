"""The gate of a run: custom Functions are verified before it trains, which changes nothing else about it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow import MlflowClient
from runs import Worked, primer, run_folders

from primer.tracking.journal import points_of, read

HERE = Path(__file__).parent
QUICK = ("data=iris", "max_epochs=2", "batch_size=25")


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with options for the functions of `own_functions`."""
    shutil.copy(HERE / "own_functions.py", tmp_path / "gated_functions.py")
    (tmp_path / "conf" / "activation").mkdir(parents=True)
    for kind in ("right", "wrong"):
        option = {"_target_": "gated_functions.OwnReLU", "kind": kind}
        (tmp_path / "conf" / "activation" / f"own_{kind}.yaml").write_text(yaml.safe_dump(option))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [record for record in read(folder) if record["kind"] == kind]


def test_a_run_keeps_the_verdict_and_trains_to_the_same_bits(tmp_path: Path) -> None:
    gated = Worked(tmp_path / "gated", *QUICK, "activation=custom_relu")
    free = Worked(tmp_path / "free", *QUICK, "activation=custom_relu", "verification=off")
    (found,) = records(gated.folder, "verification")
    assert (found["function"], found["verdict"], found["failed"]) == ("ReLUFunction", "PASS", [])
    assert (gated.folder / "verification.md").read_text().startswith("# ReLUFunction: PASS\n")
    assert records(free.folder, "verification") == []
    assert not (free.folder / "verification.md").exists()
    assert points_of(read(gated.folder)) == points_of(read(free.folder))


def test_a_net_of_built_in_parts_has_nothing_to_verify(tmp_path: Path) -> None:
    run = Worked(tmp_path / "run", *QUICK)
    assert records(run.folder, "verification") == []
    assert not (run.folder / "verification.md").exists()


def test_a_wrong_function_is_told_and_ends_a_run_that_requires_better(own: Path) -> None:
    words = ("train", "--config-dir", "conf", *QUICK, "activation=own_wrong")
    warned = primer(*words, cwd=own)
    assert warned.returncode == 0, warned.stdout + warned.stderr
    assert "warning: Wrong is not right (gradcheck): " in warned.stdout
    refused = primer(*words, "verification=require", "tracking=off", cwd=own)
    assert refused.returncode == 1
    assert "RunError: verification=require: Wrong is not right (gradcheck): " in refused.stdout
    first, second = run_folders(own)
    assert points_of(read(second)) == {}
    assert (second / "verification.md").read_text().startswith("# Wrong: FAIL\n")
    (run,) = MlflowClient(f"sqlite:///{own}/mlflow.db").search_runs(["1"])
    assert run.data.tags["primer.verification.Wrong"] == "FAIL"
    artifacts = MlflowClient(f"sqlite:///{own}/mlflow.db").list_artifacts(run.info.run_id)
    assert "verification.md" in {artifact.path for artifact in artifacts}
    assert records(first, "verification")[0]["failed"] == ["gradcheck"]


def test_known_code_is_verified_once_and_changed_code_again(own: Path) -> None:
    words = ("train", "--config-dir", "conf", *QUICK, "activation=own_right", "tracking=off")
    for _ in range(2):
        assert primer(*words, cwd=own).returncode == 0
    (known,) = (own / "outputs" / ".verified").glob("*.json")
    file = own / "gated_functions.py"
    file.write_text(file.read_text().replace("torch.where(y <= 0, 0, grad_output)", "grad_output"))
    assert primer(*words, cwd=own).returncode == 0
    assert len([*(own / "outputs" / ".verified").glob("*.json")]) == 2
    verdicts = [records(folder, "verification")[0]["verdict"] for folder in run_folders(own)]
    assert verdicts == ["PASS", "PASS", "FAIL"]
    assert known.exists()


def test_runs_that_train_as_one_are_verified_as_one(own: Path) -> None:
    words = ("train", "-m", *QUICK, "activation=custom_relu", "seed=0,1", "tracking=off")
    done = primer(*words, cwd=own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 runs train as one" in done.stdout
    journals = [path.parent for path in own.rglob("journal") if records(path.parent, "start")]
    assert [records(folder, "verification")[0]["verdict"] for folder in journals] == ["PASS", "PASS"]
