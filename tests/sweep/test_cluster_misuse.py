"""A cluster that is not there, or that refuses, is told in a line; what was not begun leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from clusters import HAS_SLURM, slurm_cluster
from runs import primer
from sweeping import QUICK, environment, with_faulty_net


@pytest.mark.skipif(not HAS_SLURM, reason="needs root, slurmctld and slurmd")
def test_what_sbatch_refuses_is_told(tmp_path: Path) -> None:
    (tmp_path / "slurm").mkdir()
    with slurm_cluster(tmp_path / "slurm") as variables:
        absent = ("hydra/launcher=slurm", "+hydra.launcher.options.partition=absent")
        done = primer(
            "train", "-m", *QUICK, *absent, "seed=0,1", cwd=with_faulty_net(tmp_path), env=variables
        )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("FAILED: sbatch: ") == 2
    assert "nvalid partition" in done.stdout
    assert "Traceback" not in done.stderr


MISUSE = {
    "address": (
        ("hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:1"),
        "hydra.launcher.address=127.0.0.1:1: ",
    ),
    "ray": (("hydra/launcher=ray",), "hydra/launcher=ray: needs Ray: pip install 'torch-primer[ray]'"),
    "submitit": (("hydra/launcher=slurm",), "needs submitit: pip install 'torch-primer[slurm]'"),
    "srun": (("hydra/launcher=slurm",), "no srun on this machine; expected a node of a Slurm cluster"),
    "key": (
        ("hydra/launcher=slurm", "hydra.launcher.cpus_per_job=0"),
        "cpus_per_job=0: expected",
    ),
    "config": (("hydra/launcher=ray", "optimizer.lr=oops"), "optimizer.lr=oops: expected a number"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_costs_a_line_and_leaves_nothing(case: str, tmp_path: Path) -> None:
    overrides, line = MISUSE[case]
    env = environment()
    if case in ("ray", "submitit"):  # as where it is not installed
        (tmp_path / "absent").mkdir()
        (tmp_path / "absent" / f"{case}.py").write_text(f"raise ImportError('{case}')")
        env["PYTHONPATH"] += f":{tmp_path / 'absent'}"
    if case == "srun":
        env["PATH"] = str(tmp_path)
    done = primer("train", "-m", *QUICK, *overrides, "seed=0,1", cwd=with_faulty_net(tmp_path), env=env)
    assert done.returncode == 2, done.stdout + done.stderr
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()
