"""Whole runs, by the command and from Python: the same bits twice, the truth about every ending."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from runs import Trained, Worked, primer, run_folders

import primer as primer_api
from primer import worker
from primer.tracking.journal import read

QUICK = ("data=iris", "max_epochs=3", "tracking=off")

BROKEN_NET = '''
import torch
class Breaks(torch.nn.Sequential):
    """Raises in its 21st forward."""
    def __init__(self, in_features, out_features, activation):
        super().__init__(torch.nn.Linear(in_features, out_features))
        self.calls = 0
    def forward(self, x):
        self.calls += 1
        if self.calls > 20:
            raise ArithmeticError("the 21st forward")
        return super().forward(x)
class Sleeps(torch.nn.Linear):
    def __init__(self, in_features, out_features, activation):
        super().__init__(in_features, out_features)
    def forward(self, x):
        import time
        time.sleep(0.05)
        return super().forward(x)
'''


@pytest.fixture
def with_nets(tmp_path: Path) -> Path:
    (tmp_path / "nets_of_mine.py").write_text(BROKEN_NET)
    (tmp_path / "conf" / "net").mkdir(parents=True)
    for name in ("Breaks", "Sleeps"):
        (tmp_path / "conf" / "net" / f"{name.lower()}.yaml").write_text(f"_target_: nets_of_mine.{name}\n")
    return tmp_path


@contextmanager
def sleeping_run(cwd: Path, until: str, debug: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A run of a slow net, once its journal holds a record of kind `until`; it is over afterwards."""
    command = [sys.executable, "-m", "primer", "train", "--config-dir", "conf", "net=sleeps", "tracking=off"]
    command += ["--debug"] if debug else []
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True) as run:
        deadline = time.monotonic() + 60
        while not any(record["kind"] == until for folder in run_folders(cwd) for record in read(folder)):
            if run.poll() is not None or time.monotonic() > deadline:
                run.terminate()
                pytest.fail(f"no {until!r} in the journal: {run.communicate()}")
            time.sleep(0.05)
        yield run


def test_the_default_run_learns_digits(default_run: Trained) -> None:
    assert default_run.curve("test/accuracy")[0] >= 0.96
    assert "FINISHED" in default_run.done.stdout
    assert "primer ui" in default_run.done.stdout
    assert default_run.done.stderr == ""


def test_what_is_printed_when_piped_is_plain(default_run: Trained) -> None:
    assert "\x1b" not in default_run.done.stdout
    steps = [line for line in default_run.done.stdout.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == [f"{240 * part}/1200" for part in range(1, 6)]


def test_curves_have_every_step(default_run: Trained) -> None:
    assert len(default_run.curve()) == 1200
    assert len(default_run.curve("val/loss")) == 30
    assert default_run.curve("best/val/loss")[0] == min(default_run.curve("val/loss"))
    assert default_run.curve("final/val/loss")[0] == default_run.curve("val/loss")[-1]
    assert (default_run.folder / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_command_twice_is_the_same_bits_and_another_seed_is_not(tmp_path: Path) -> None:
    first, again = (Trained(tmp_path, *QUICK, "seed=0") for _ in range(2))
    unsaid, other = (Worked(tmp_path / str(n), *QUICK, *seed) for n, seed in enumerate([(), ("seed=1",)]))
    assert first.curve() == again.curve() == unsaid.curve()  # 0 is a seed, and the default
    assert first.curve() != other.curve()
    for name, weight in first.weights().items():
        assert torch.equal(weight, again.weights()[name])


def test_python_and_debug_give_the_bits_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Trained(tmp_path, *QUICK)
    monkeypatch.chdir(tmp_path)
    result = primer_api.train(*QUICK)
    assert result.status == "FINISHED"
    assert result.run_id is None
    curves = result.curves()
    assert curves[curves["key"] == "train/loss"]["value"].tolist() == command.curve()
    assert repr(result).startswith("RunResult 'iris max_epochs=3 s0': FINISHED in ")
    with pytest.raises(AttributeError):
        result.status = "FAILED"  # type: ignore[misc]
    code = f"import primer; print(primer.train(*{QUICK!r}, debug=True).curves().to_csv())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert [float(line.split(",")[-1]) for line in done.stdout.splitlines() if "train/loss" in line][
        : len(command.curve())
    ] == command.curve()


def test_the_frozen_config_alone_repeats_the_run(article_run: Trained, tmp_path: Path) -> None:
    code = "import sys, pathlib, primer.worker as w; sys.exit(w.main(pathlib.Path(sys.argv[1])))"
    (tmp_path / "config.yaml").write_bytes((article_run.folder / "config.yaml").read_bytes())
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "config.yaml")], check=True, capture_output=True
    )
    again = [
        v for r in read(tmp_path) if r["kind"] == "points" and r["key"] == "train/loss" for v in r["values"]
    ]
    assert again == article_run.curve()


def test_tracking_off_never_imports_mlflow(tmp_path: Path) -> None:
    (tmp_path / "mlflow.py").write_text("raise SystemExit('mlflow was imported')\n")
    done = primer("train", *QUICK, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "test/accuracy" in done.stdout


def test_a_net_that_raises_ends_failed_with_what_it_did_until_then(with_nets: Path) -> None:
    done = primer("train", "--config-dir", "conf", "net=breaks", "data=iris", cwd=with_nets)
    assert done.returncode == 1
    assert "ArithmeticError: the 21st forward" in done.stdout
    assert "FAILED" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (folder,) = run_folders(with_nets)
    assert "Traceback" in (folder / "worker.log").read_text()
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{with_nets}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("primer").experiment_id])
    assert run.info.status == "FAILED"
    assert run.data.tags["primer.error"] == "ArithmeticError: the 21st forward"
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert len(losses) > 0
    assert "worker.log" in [file.path for file in client.list_artifacts(run.info.run_id)]


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step(tmp_path: Path) -> None:
    done = primer("train", "data=diabetes", "optimizer=sgd", "optimizer.lr=1e9", "tracking=off", cwd=tmp_path)
    assert done.returncode == 1
    assert "at step" in done.stdout
    assert "optimizer.lr" in done.stdout


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_is_killed_and_keeps_its_points(
    with_nets: Path, number: signal.Signals, exit_code: int
) -> None:
    with sleeping_run(with_nets, until="points") as run:
        run.send_signal(number)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == exit_code
    assert "KILLED" in output
    (folder,) = run_folders(with_nets)
    records = read(folder)
    assert records[-1]["status"] == "KILLED"
    assert any(record["kind"] == "points" for record in records)


def test_a_killed_worker_is_said_to_be_killed(with_nets: Path) -> None:
    with sleeping_run(with_nets, until="start") as run:
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 137
    assert "stopped by SIGKILL" in output


def test_runs_started_in_the_same_second_share_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "primer", "train", "data=iris", "max_epochs=1", "tracking=off"]
    runs = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    folders = run_folders(tmp_path)
    assert len(folders) == 3
    assert len({(folder / "curves.parquet").stat().st_ino for folder in folders}) == 3


def test_accumulated_parts_give_the_losses_of_the_whole_batch(tmp_path: Path) -> None:
    sizes = ("data=iris", "max_epochs=3", "batch_size=25", "optimizer=sgd", "accelerator.precision=64")
    whole = Worked(tmp_path / "whole", *sizes)
    cut = Worked(tmp_path / "cut", *sizes, "accumulate_grad_batches=4")
    assert len(cut.curve()) == len(whole.curve()) == 15  # 104 rows: the last batch holds 4
    assert cut.curve() == pytest.approx(whole.curve(), rel=1e-12)
    assert cut.curve("val/accuracy") == whole.curve("val/accuracy")


def test_early_stopping_clipping_and_validation_by_steps(tmp_path: Path) -> None:
    stopped = Worked(
        tmp_path / "run",
        *("data=wine", "max_epochs=200", "optimizer.lr=0.05", "patience=3", "val_every_n_steps=2"),
        *("gradient_clip_val=0.5", "scheduler=warmup_cosine"),
    )
    num_steps = len(stopped.curve())
    assert num_steps < 200 * 4
    validations = stopped.curve("val/loss")
    best = validations.index(min(validations))
    assert len(validations) == best + 1 + 3


def test_max_steps_in_mid_epoch_still_validates_at_the_end(tmp_path: Path) -> None:
    run = Worked(tmp_path / "run", "data=iris", "max_steps=6")
    assert len(run.curve()) == 6
    assert len(run.curve("val/loss")) == 2  # after step 4, the first epoch, and at the end


def test_steps_asked_for_are_not_cut_by_the_default_number_of_epochs(tmp_path: Path) -> None:
    assert len(Worked(tmp_path / "run", "data=iris", "max_steps=150").curve()) == 150


def test_a_step_that_asks_for_its_loss_many_times_records_it_once(tmp_path: Path) -> None:
    (tmp_path / "conf" / "optimizer").mkdir(parents=True)
    (tmp_path / "conf" / "optimizer" / "lbfgs.yaml").write_text("_target_: torch.optim.LBFGS\nlr: 0.1\n")
    quick = ("data=wine", "batch_size=1000", "max_epochs=3")
    lbfgs = Worked(tmp_path / "lbfgs", "optimizer=lbfgs", *quick, config_dir=tmp_path / "conf")
    assert lbfgs.curve()[0] == Worked(tmp_path / "adam", *quick).curve()[0]


def test_a_net_that_cannot_be_exported_costs_a_warning(tmp_path: Path) -> None:
    (tmp_path / "branching.py").write_text(
        "import torch\n"
        "class Branches(torch.nn.Linear):\n"
        "    def __init__(self, in_features, out_features, activation):\n"
        "        super().__init__(in_features, out_features)\n"
        "    def forward(self, x):\n"
        "        return super().forward(x) * (2 if x.sum() > 0 else 1)\n"
    )
    (tmp_path / "conf" / "net").mkdir(parents=True)
    (tmp_path / "conf" / "net" / "branches.yaml").write_text("_target_: branching.Branches\n")
    run = Trained(tmp_path, "--config-dir", "conf", "net=branches", "data=iris", "max_epochs=2")
    assert "warning: no model was saved" in run.done.stdout
    assert "FINISHED" in run.done.stdout


def test_debug_tells_sigterm_from_ctrl_c(with_nets: Path) -> None:
    with sleeping_run(with_nets, until="points", debug=True) as run:
        run.send_signal(signal.SIGTERM)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 143
    assert "stopped by SIGTERM" in output


def test_two_ctrl_c_still_leave_an_ending(with_nets: Path) -> None:
    with sleeping_run(with_nets, until="points") as run:
        run.send_signal(signal.SIGINT)
        time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "KILLED" in output
    (folder,) = run_folders(with_nets)
    assert read(folder)[-1]["kind"] == "end"


def test_a_name_may_hold_anything(tmp_path: Path) -> None:
    run = Trained(tmp_path, *QUICK, "name='a[/b] ../c [red]d'")
    assert "a[/b] ../c [red]d" in run.done.stdout
    assert run.folder.parent.parent == tmp_path / "outputs"


def test_a_module_beside_the_run_hides_no_library(tmp_path: Path) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('the wrong random')\n")
    command = [sys.executable, "-P", "-m", "primer", "train", *QUICK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_place_for_a_run_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    done = primer("train", *QUICK, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "outputs" in done.stderr


def test_bf16(tmp_path: Path) -> None:
    run = Worked(tmp_path / "bf16", "data=iris", "max_epochs=3", "accelerator.precision=bf16-mixed")
    assert run.curve() != Worked(tmp_path / "32", "data=iris", "max_epochs=3").curve()
    assert len(run.curve("test/accuracy")) == 1


def test_an_exit_of_the_worker_that_says_nothing_is_a_failure(tmp_path: Path) -> None:
    from primer.ending import ending_of

    assert ending_of(7, []).error == "the worker ended by exit code 7, without a word"
    assert ending_of(-signal.SIGSEGV, []).status == "FAILED"
    assert worker.main  # the module that `python -m primer.worker` runs
