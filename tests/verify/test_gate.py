"""The gate of a run: custom Functions are verified before it trains, which changes nothing else about it."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import own_functions
import pytest
import torch
import yaml
from mlflow import MlflowClient
from runs import Worked, primer, run_folders
from torch import nn

from primer.config import build, compose
from primer.errors import RunError
from primer.gating import pass_gate
from primer.parts import make_module
from primer.tracking.journal import Journal, points_of, read
from primer.verify.findings import Verdict
from primer.verify.gate import verifications_of

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


@pytest.mark.parametrize(
    ("activation", "words"),
    [
        (own_functions.OwnReLU("wrong"), "Wrong is not right (gradcheck"),
        (
            own_functions.OwnReLU("float32"),
            "Float32Only is not right (called): It could not",
        ),
        (
            own_functions.OwnReLU("misdeclared"),
            "Misdeclared is not right (called): It could not",
        ),
        (own_functions.LeakyTwice(), "Leaky is not right (gradcheck"),
        (own_functions.Checkpointed(), "Wrong is not right (gradcheck"),
    ],
    ids=["wrong", "float32_only", "misdeclared", "second_call", "checkpointed"],
)
def test_what_is_required_ends_a_run(activation: nn.Module, words: str, tmp_path: Path) -> None:
    config = compose(["data=iris", "precision=32"])
    data = build(config["data"], "data")
    module = make_module(config, data, 1)
    module.net = nn.Sequential(nn.Linear(4, 5), activation, nn.Linear(5, 3))
    with Journal(tmp_path) as journal:
        with pytest.raises(RunError, match=re.escape(f"verification=require: {words}")):
            pass_gate("require", module, data, [(tmp_path, journal)])
        pass_gate("warn", module, data, [(tmp_path, journal)])
    assert any(words in record["message"] for record in records(tmp_path, "warning"))


def test_a_verdict_is_of_the_reference_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose module is loaded by its name alone, and of tensors that print some of their entries."""
    (tmp_path / "right_answers.py").write_text("def relu(x):\n    return x.clamp(min=0)\n")
    monkeypatch.syspath_prepend(tmp_path)

    class Referred(own_functions.Right):
        verify = {"reference": "right_answers.relu"}  # noqa: RUF012
        table = torch.zeros(5000)
        scale = torch.tensor(1.0)

    def verdict() -> Verdict:
        x = torch.randn(4, requires_grad=True)
        (found,) = verifications_of(lambda: Referred.apply(x), tmp_path / "cache")
        return found.verdict

    assert verdict() is not Verdict.FAIL
    Referred.table = torch.ones(5000)
    assert verdict() is not Verdict.FAIL
    assert len(list((tmp_path / "cache").glob("*.json"))) == 2
    (tmp_path / "right_answers.py").write_text("def relu(x):\n    return 2 * x.clamp(min=0)\n")
    del sys.modules["right_answers"]
    assert verdict() is Verdict.FAIL


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
