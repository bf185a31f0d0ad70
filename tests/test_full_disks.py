"""A disk that is full: training stops, says what and where, and the checkpoint before is whole."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from runs import primer, run_folders
from shipping import FULL, TRAINING, check_whole, started

from primer.config import compose
from primer.ending import Ending, ending_of
from primer.folder import write_header
from primer.leaving import write_end
from primer.tracking.journal import last_attempt, read
from primer.tracking.shipment import Shipment, id_of
from primer.tracking.store import Store
from primer.training.checkpoint import Checkpoints


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of its own; the test is left out where nobody may mount one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, but: int) -> None:
    """Leave only so many bytes free."""
    free = shutil.disk_usage(disk).free
    (disk / "fill").write_bytes(b"x" * (free - but))


@pytest.mark.parametrize(("what", "wide", "left"), [("journal", 10, 150_000), ("ckpt", 20_000, 7_000_000)])
def test_a_full_disk_stops_training_and_keeps_the_checkpoint_before(
    tmp_path: Path, what: str, wide: int, left: int
) -> None:
    config = compose([*TRAINING, *FULL, f"net.hidden_dim={wide}", "tracking=off"])
    with small_disk(tmp_path / "disk", "20m") as disk:
        folder = disk / "run"
        folder.mkdir()
        if what == "journal":
            (tmp_path / "elsewhere").mkdir()
            (folder / "checkpoints").symlink_to(tmp_path / "elsewhere")
        write_header(folder, config)
        fill(disk, but=left)
        command = [sys.executable, "-m", "primer.worker", str(folder / "config.yaml")]
        with (folder / "worker.log").open("ab") as log:  # which has no room either
            done = subprocess.run(command, stdout=log, stderr=log, check=False)
        ending = ending_of(done.returncode, last_attempt(read(folder)))
        assert (ending.status, ending.exit_code) == ("FAILED", 1)
        assert ending.error is not None
        assert "No space left on device" in ending.error
        assert f"{folder}/" in ending.error
        assert what in ending.error.partition(": ")[2]
        assert Checkpoints(folder / "checkpoints").newest_whole()[0] is not None
        write_end(folder, ending, 1.0)
        assert read(folder)[-1]["kind"] == "end"


def test_a_full_disk_of_the_run_is_no_trouble_with_the_store(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with small_disk(tmp_path / "disk", "1m") as disk:
        folder = disk / "run"
        folder.mkdir()
        write_header(folder, compose(["data=iris", f"tracking.uri={uri}"]))
        write_end(folder, Ending("KILLED", 137, "its process or its machine died"), 0.0)
        fill(disk, but=0)
        assert Shipment(folder, uri).advance()
        assert id_of(folder) is None
        (disk / "fill").unlink()
        again = Shipment(folder, uri)
        assert not again.advance()
        assert id_of(folder) == again.run_id is not None


def test_a_full_disk_of_the_database_stops_training(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "24m") as disk:
        uri = f"sqlite:///{disk / 'mlflow.db'}"
        Store(uri)
        fill(disk, but=150_000)
        run = started(tmp_path, "max_steps=200000", f"tracking.uri={uri}", "tracking.experiment=full")
        printed, complaint = run.communicate(timeout=240)
        assert run.returncode == 1, printed + complaint
        assert f"no room left: {uri}" in printed
        (folder,) = run_folders(tmp_path)
        assert read(folder)[-1]["status"] == "FAILED"
        assert Checkpoints(folder / "checkpoints").newest_whole()[0] is not None
        assert len(complaint.splitlines()) == 1, complaint
        (disk / "fill").unlink()
        assert primer("sync", cwd=tmp_path).returncode == 0
        check_whole(uri, uri, folder, "full", "FAILED")


@pytest.mark.parametrize("since", ["start", "end"])
def test_a_sweep_whose_disk_is_full_says_so_in_lines_and_goes_on_later(tmp_path: Path, since: str) -> None:
    callback = "+hydra.callbacks.full._target_=writing_callback.Filling"
    asked = ("train", "-m", "data=iris", "max_epochs=3", "optimizer.lr=0.01,0.1", "hydra.launcher.fuse=off")
    sweeping = {"PYTHONPATH": str(Path(__file__).parent / "sweep")}
    with small_disk(tmp_path / "outputs", "40m") as disk:
        done = primer(
            *asked, "hydra.launcher.workers=1", callback, cwd=tmp_path, env=sweeping | {"FILLS": since}
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "No space left on device" in done.stdout + done.stderr
        assert all(line.startswith(("primer: ", "warning: ")) for line in done.stderr.splitlines())
        (disk / "fill").unlink()
        again = primer("resume", "last", "--failed", cwd=tmp_path, env=sweeping)
        assert again.returncode == 0, again.stdout + again.stderr
        (folder,) = (path.parent for path in disk.glob("*/*/multirun.yaml"))
        assert read(folder)[-1]["status"] == "FINISHED"
        assert (folder / "sweep.md").read_text().startswith("2 FINISHED")
