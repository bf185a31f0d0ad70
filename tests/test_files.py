"""Files that are whole or not there, and known to be what was written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from primer.errors import RunError
from primer.files import (
    FORK,
    bring_fork,
    read_verified,
    remove_verified,
    step_files,
    write_atomically,
    write_named,
    write_verified,
)


def test_what_can_not_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_atomically(path, b"old")
    (tmp_path / f".config.yaml.{os.getpid()}").symlink_to("/dev/full")
    with pytest.raises(
        RunError, match=r"config\.yaml: 3,000 bytes can't be written: No space left on device"
    ):
        write_atomically(path, b"new" * 1000)
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]
    assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(RunError, match="No such file"):
        write_atomically(tmp_path / "nowhere" / "a", b"")


def test_a_file_is_read_with_what_is_known_of_it_alone(tmp_path: Path) -> None:
    path, known = tmp_path / "a.ckpt", tmp_path / "a.ckpt.sha256"
    write_verified(path, b"weights")
    text = known.read_text()
    assert text.endswith("  a.ckpt\n")  # as sha256sum reads it
    for damaged in ("", "0" + text[1:] if text[0] != "0" else "1" + text[1:], text[:63] + text[64:]):
        known.write_text(damaged)
        with pytest.raises(RunError, match="damaged"):
            read_verified(path)
    known.unlink()
    with pytest.raises(RunError, match=r"can't be read: No such file .*sha256\)"):
        read_verified(path)
    write_verified(path, b"others")
    assert read_verified(path) == b"others"
    remove_verified(path)
    remove_verified(path)
    assert list(tmp_path.iterdir()) == []


def test_another_runs_checkpoint_is_brought_whole(tmp_path: Path) -> None:
    write_verified(tmp_path / "step-9.ckpt", b"weights")
    (tmp_path / "new").mkdir()
    bring_fork(tmp_path / "step-9.ckpt", tmp_path / "new")
    assert read_verified(tmp_path / "new" / "checkpoints" / FORK) == b"weights"
    (tmp_path / "step-9.ckpt").write_bytes(b"wweights")
    (tmp_path / "newer").mkdir()
    with pytest.raises(RunError, match="damaged"):
        bring_fork(tmp_path / "step-9.ckpt", tmp_path / "newer")


def test_checkpoints_are_those_of_steps_the_newest_first(tmp_path: Path) -> None:
    for name in (
        "step-9.ckpt",
        "step-10.ckpt",
        "step-100.ckpt",
        "step-x.ckpt",
        "step-9.ckpt.sha256",
        "best.ckpt",
    ):
        (tmp_path / name).touch()
    assert [path.name for path in step_files(tmp_path)] == ["step-100.ckpt", "step-10.ckpt", "step-9.ckpt"]


def test_a_file_that_somebody_named_is_written_where_it_leads(tmp_path: Path) -> None:
    real, link, pipe = tmp_path / "real", tmp_path / "link", tmp_path / "pipe"
    real.write_bytes(b"old")
    link.symlink_to(real)
    write_named(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_named(pipe, b"through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(RunError, match="Is a directory"):
        write_named(tmp_path, b"x")
