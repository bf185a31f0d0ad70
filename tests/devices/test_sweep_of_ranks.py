"""A sweep whose jobs are trained by several processes each: the runs, folders and parents of any sweep."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from forked_ranks import ENV, stored_runs
from runs import primer, run_folders

from primer.ranks import PLACE
from primer.tracking.journal import read

LRS = ["0.1", "0.01", "0.001"]
# of another job, which this sweep was started from
OTHERS = {"LOCAL_RANK": "3", "WORLD_SIZE": "9", "MASTER_ADDR": "nowhere.invalid", "MASTER_PORT": "1"}


def test_jobs_of_two_ranks_are_children_of_one_sweep(tmp_path: Path) -> None:
    (tmp_path / "conf" / "net").mkdir(parents=True)
    (tmp_path / "conf" / "net" / "telling.yaml").write_text(
        yaml.safe_dump({"_target_": "hurt_net.TellingNet"})
    )
    asked = (
        "accelerator=ddp_cpu",
        "accelerator.devices=2",
        f"optimizer.lr={','.join(LRS)}",
        "max_steps=5",
        "max_epochs=null",
    )
    own = ("data=iris", "--config-dir", "conf", "net=telling", "tracking.log_model=false")
    done = primer("train", "-m", *asked, *own, cwd=tmp_path, env=ENV | OTHERS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(3 FINISHED)" in done.stdout

    runs = stored_runs(tmp_path, done.stdout)
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sorted(run.data.params["optimizer.lr"] for run in children) == sorted(LRS)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}

    (sweep,) = tmp_path.glob("outputs/*/*")
    folders = sorted(path.parent for path in sweep.glob("*/config.yaml"))
    assert [folder.name for folder in folders] == ["0", "1", "2"]
    for folder in folders:
        (start,) = [record for record in read(folder) if record["kind"] == "start"]
        assert start["num_devices"] == 2
        ranks = [json.loads((folder / "ranks" / name).read_text())["pid"] for name in ("0", "1")]
        first, second = (json.loads((tmp_path / f"made-{pid}").read_text()) for pid in ranks)
        assert not set(PLACE) & set(first)
        assert (second["LOCAL_RANK"], second["WORLD_SIZE"]) == ("1", "2")
        assert second["MASTER_PORT"] != OTHERS["MASTER_PORT"]
    assert run_folders(tmp_path) == []  # none beside the sweep's
    assert len(list(tmp_path.glob("made-*"))) == 6


@pytest.mark.parametrize(
    ("asked", "exit_code", "words"),
    [
        (("accelerator=ddp_cpu", "devices=1,2,3"), 0, "3 alone: accelerator=ddp_cpu is several processes"),
        (("accelerator=ddp_cpu", "devices=2", "seed=0,1"), 0, "2 alone: accelerator=ddp_cpu is several"),
        (("accelerator=cpu", "precision=32,64"), 0, "2 jobs"),
        (("accelerator=cpu,ddp_cpu",), 0, "1 alone: accelerator=ddp_cpu is several processes"),
        (
            ("accelerator=cpu", "devices=1,2"),
            2,
            "job 1: accelerator.devices=2: accelerator=cpu is one device",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_plan_knows_devices(tmp_path: Path, asked: tuple[str, ...], exit_code: int, words: str) -> None:
    """By their short keys, too; and that jobs of several processes are not trained as one."""
    done = primer("train", "-m", "--dry-run", "data=iris", "tracking=off", *asked, cwd=tmp_path)
    assert done.returncode == exit_code, done.stderr
    assert words in done.stdout + done.stderr
