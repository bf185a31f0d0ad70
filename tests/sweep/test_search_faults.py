"""A search loses nothing that it was told, whatever dies and whatever its file is like; real kills."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from studies import SPACE, ask, best_of, opened, values

from primer.errors import JournalError, RunError

KILLED = """
    import json, os, signal, sys
    from pathlib import Path
    from studies import SPACE, opened

    def work(folder, write):
        fsync, left = os.fsync, [write]
        def dying(fd):
            fsync(fd)
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)  # written, and optuna's lock still held
        os.fsync = dying
        with opened(folder) as search, (folder / "said").open("w") as said:
            while asked := search.ask():
                print(json.dumps(asked), file=said, flush=True)
                search.is_hopeless(asked[0], 0, 1.0)
                search.tell(asked[0], 1.0)

    for write in map(int, sys.argv[2:]):
        folder = Path(sys.argv[1], str(write))
        folder.mkdir()
        child = os.fork()
        if not child:
            work(folder, write)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def test_a_process_killed_at_any_write_is_gone_on_from(tmp_path: Path) -> None:
    writes = range(1, 21)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), *map(str, writes)]
    subprocess.run(command, check=True, cwd=Path(__file__).parent)
    for write in writes:
        folder = tmp_path / str(write)
        lines = (folder / "said").read_text().splitlines() if (folder / "said").exists() else []
        said = dict(map(json.loads, lines))
        with opened(folder) as search:
            assert not (folder / "study.journal.lock").exists()  # the dead's, for which optuna waits 30 s
            unfinished = dict(search.unfinished())
            known = search.num_told + len(unfinished)
            assert search.num_told >= len(said) - 1
            assert len(said) <= known <= len(said) + 1  # perhaps one that nobody heard of
            assert all(said.get(number, overrides) == overrides for number, overrides in unfinished.items())
            assert all(list(values(overrides)) == list(SPACE) for overrides in unfinished.values())
            for number in unfinished:
                search.tell(number, 0.5)
            assert [number for number, _ in iter(search.ask, None)] == list(range(known, 8))


def test_a_process_killed_from_outside(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from studies import opened
        with opened(Path(sys.argv[1]), num_trials=10**6) as search:
            while asked := search.ask():
                print(*asked, flush=True)
                search.tell(asked[0], 1.0) if asked[0] % 3 else None
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(9)]
        with pytest.raises(RunError, match="another process is working on this sweep"), opened(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    with opened(tmp_path) as search:
        unfinished = {f"{number} {overrides}\n" for number, overrides in search.unfinished()}
        thirds = set(lines[::3])
        assert thirds <= unfinished
        assert len(unfinished) <= len(thirds) + 2
        assert search.num_told >= len(lines) - len(thirds) - 1
        assert search.ask() is None  # more than eight are asked for


@pytest.mark.parametrize("lost", [1, 20])
def test_a_line_cut_short_is_taken_back(tmp_path: Path, lost: int) -> None:
    with opened(tmp_path) as search:
        asked = ask(search)
        search.tell(asked[0], 1.0)
    path = tmp_path / "study.journal"
    path.write_bytes(path.read_bytes()[:-lost])
    for _ in range(2):
        with opened(tmp_path) as search:
            assert search.unfinished() == [asked]
    with opened(tmp_path) as search:
        search.tell(asked[0], 2.0)
    with opened(tmp_path) as search:
        assert best_of(search) == (0, 2.0)


def test_a_full_disk_is_said_and_nothing_told_before_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(tmp_path) as search:
        search.tell(ask(search)[0], 1.0)
        asked = ask(search)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, limit[1]))
        try:
            with pytest.raises(JournalError, match=r"study\.journal: can't be written: File too large"):
                search.tell(asked[0], 0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        search.tell(asked[0], 0.5)
    with opened(tmp_path) as search:
        assert best_of(search) == (1, 0.5)


def test_a_damaged_journal_is_said(tmp_path: Path) -> None:
    (tmp_path / "study.journal").write_text("{}\nno journal\n")
    with pytest.raises(RunError, match=r"study\.journal: damaged"), opened(tmp_path):
        pass
