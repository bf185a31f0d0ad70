"""Tab completion, as it is at the keyboard: a real bash and a real zsh on a terminal, and the TAB key."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

# Ctrl-T prints the line as it stands, so that nothing is guessed from what a terminal draws.
START = {
    "bash": (["--norc", "--noprofile", "-i"], """bind -x '"\\C-t": printf "\\n<%s>\\n" "$READLINE_LINE"'"""),
    "zsh": (["-f", "-i"], """show() { print "\\n<$BUFFER>" }; zle -N show; bindkey '^T' show"""),
}
TIMEOUT_S = 30


class Shell:
    """An interactive shell with primer's completion in it."""

    def __init__(self, name: str, folder: Path) -> None:
        path = shutil.which(name)
        assert path, f"{name} is needed for this test: apt-get install {name}"
        arguments, show_line = START[name]
        self.tabs_to_list = {"bash": 2, "zsh": 1}[name]
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            bin_folder = Path(sys.executable).parent
            own = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
            os.execve(path, [name, *arguments], os.environ | own | {"TERM": "dumb", "COLUMNS": "200"})
        self.send(
            f'PS1="ready> "; {show_line}; eval "$(primer completion {name})"; echo started:$((6 * 7))\r'
        )
        self.read_until(r"started:42\r?\n")

    def send(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def read_until(self, pattern: str) -> str:
        text, deadline = "", time.monotonic() + TIMEOUT_S
        while not re.search(pattern, text):
            ready, _, _ = select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} within {TIMEOUT_S} s in {text!r}"
            text += os.read(self.terminal, 4096).decode(errors="replace")
        return text

    def complete(self, typed: str, tabs: int = 1) -> tuple[str, str]:
        """The line after TAB was pressed, and all that was drawn meanwhile; clears the line."""
        self.send(typed + "\t" * tabs + "\x14")
        drawn = self.read_until(r"<[^<>]*>\r?\n")
        line = re.findall(r"<([^<>]*)>", drawn)[-1]
        self.send("\x15")  # Ctrl-U
        return line, drawn

    def end(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.process, 0)


@pytest.fixture(scope="module", params=list(START))
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp(request.param)
    for name in ("houses.csv", "houses.parquet"):
        (folder / name).touch()
    (folder / "my_conf" / "net").mkdir(parents=True)
    (folder / "my_conf" / "net" / "my_net.yaml").write_text("_target_: my_package.MyNet\nwidth: 3\n")
    shell = Shell(request.param, folder)
    yield shell
    shell.end()


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("primer tr", "primer train "),
        ("primer train --con", "primer train --config-dir "),
        ("primer train act", "primer train activation="),
        ("primer train net=ma", "primer train net=manual "),
        ("primer train net=two_layer activation=g", "primer train net=two_layer activation=gelu "),
        ("primer train optimizer=sgd optimizer.n", "primer train optimizer=sgd optimizer.nesterov="),
        (
            "primer train optimizer=sgd optimizer.lr=1 mo",
            "primer train optimizer=sgd optimizer.lr=1 monitor=",
        ),
        ("primer train exp", "primer train experiment="),
        ("primer train experiment=p", "primer train experiment=primer/"),
        ("primer train experiment=primer/m", "primer train experiment=primer/manual "),
        ("primer train --config-dir my_conf net=my", "primer train --config-dir my_conf net=my_net "),
        ("primer train data.path=hou", "primer train data.path=houses."),
        ("primer train zzz", "primer train zzz"),
        ("primer train --config-dir nowhere net=t", "primer train --config-dir nowhere net=t"),
        ("primer train optimizer=sdg seed=1 mo", "primer train optimizer=sdg seed=1 mo"),
    ],
)
def test_tab_completes(shell: Shell, typed: str, line: str) -> None:
    completed, drawn = shell.complete(typed)
    assert completed == line, drawn
    assert "primer: " not in drawn


def test_tab_lists_what_is_possible(shell: Shell) -> None:
    line, drawn = shell.complete("primer train net=t", tabs=shell.tabs_to_list)
    assert line == "primer train net=t"
    assert "tensors" in drawn
    assert "two_layer" in drawn
    assert "sequential" not in drawn
