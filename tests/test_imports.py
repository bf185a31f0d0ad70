"""Imports go one way (DESIGN.md), and what only looks something up loads nothing heavy."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import primer

SOURCE = Path(primer.__file__).parent

# Which part may import which; a part is a module or a package, the longest name that fits.
MAY_IMPORT = {
    # leaves
    "errors": "",
    "leaks": "",
    "redact": "leaks",
    "files": "errors",
    "direction": "",
    "yaml_text": "",
    "stopping": "errors",
    "ranks": "",
    "console": "",
    "gpus": "errors",
    "vigil": "tracking.journal",
    "config": "errors files leaks redact yaml_text",
    "data": "errors",
    "nets": "errors",
    "activations": "errors",
    "criteria": "",
    "tracking.journal": "errors redact",
    "tracking.heartbeat": "errors tracking.journal",
    "tracking.serving": "",  # copied into every saved model, which must not need primer
    # the worker's side
    "training": "errors direction files data nets activations criteria ranks stopping tracking.journal",
    "tracking.model": "errors data tracking tracking.serving",
    "parts": "errors config data ranks stopping training tracking.journal tracking.model",
    "gating": "data errors files training tracking.journal verify",
    "fitting": "data gating parts stopping training tracking.journal vigil",
    "together": "config data errors gating parts stopping training tracking.journal",
    "worker": "errors redact yaml_text stopping config data tracking.journal tracking.heartbeat fitting "
    "ranks together vigil",
    # the controller's side; a frozen config and a journal lie between the two
    "tracking": "direction errors files leaks redact yaml_text stopping tracking.journal",
    "ending": "errors stopping tracking.journal",
    "folder": "errors files redact yaml_text config tracking tracking.journal",
    "leaving": "errors redact ending tracking tracking.journal",
    "progress": "errors tracking tracking.journal",
    "result": "errors files",
    "attempt": "ending ranks stopping tracking tracking.journal vigil",
    "joining": "errors attempt config files folder gpus leaks ranks tracking",
    "run": "errors redact stopping config tracking tracking.journal attempt ending folder joining leaving "
    "progress ranks result sync vigil",
    "finding": "errors config files folder tracking tracking.journal",
    "sync": "errors config files redact ending finding folder leaving tracking tracking.journal",
    "resume": "errors files redact stopping config ending finding folder joining leaving result run sync "
    "tracking tracking.journal tracking.heartbeat",
    "model_run": "errors files config finding folder tracking tracking.journal",
    "reproduce": "errors finding model_run result run tracking tracking.journal",
    "doctor": "errors files redact finding folder summary sync tracking tracking.journal",
    "summary": "errors redact reproduce result tracking tracking.journal",
    "sweep.forkserver": "stopping",
    "sweep": "console errors direction files sweep.forkserver leaks redact stopping config attempt ending "
    "finding folder gpus joining leaving ranks result resume run summary sync tracking tracking.journal "
    "vigil",
    "compare": "config console direction errors files finding folder summary tracking tracking.journal",
    "verify.net": "errors config data parts verify",
    "verify.commands": "completion verify",
    "verify": "console errors activations files stopping config gpus ending joining run tracking "
    "tracking.journal verify.net",
    "completion": "errors config",
    "output": "",
    "cli": "errors output yaml_text config tracking result run reproduce sync doctor summary completion "
    "sweep compare verify verify.commands",
    "__init__": "compare errors result run reproduce sweep sync doctor verify",
    "__main__": "cli",
}
IN_A_FUNCTION = {
    ("run", "worker"),  # `primer train --debug`, on purpose in one process
    ("sweep.forkserver", "worker"),  # in the process that is forked
}
ONLY_IN = {
    "hydra": ["config"],
    "omegaconf": ["config"],
    "mlflow": ["tracking", "tracking.model"],
    "torch": [
        "nets",
        "activations",
        "criteria",
        "training",
        "parts",
        "together",
        "tracking.model",
        "tracking.serving",
        "verify",
        "verify.net",
        "gating",
        "sweep.forkserver",
    ],
    "lightning": ["training", "parts"],
}


def violations(source: Path) -> list[str]:
    """`PART imports WHAT`, for each import below `source` that the tables above do not allow."""
    found = []
    for file in sorted(source.rglob("*.py")):
        part = _part(".".join(file.relative_to(source).with_suffix("").parts))
        for target, is_in_function in _imports(file, source):
            package, _, inside = target.partition(".")
            if package != "primer":
                is_allowed = part in ONLY_IN.get(package, [part])
            else:
                other = _part(inside or "__init__")
                allowed = {part, *MAY_IMPORT.get(part, "").split()}
                is_allowed = other in allowed or (is_in_function and (part, other) in IN_A_FUNCTION)
            if not is_allowed:
                found.append(f"{part} imports {target}")
    return found


def _part(module: str) -> str:
    known = [part for part in MAY_IMPORT if f"{module}.".startswith(f"{part}.")]
    return max(known, key=len, default=module)


def _imports(file: Path, source: Path) -> Iterator[tuple[str, bool]]:
    tree = ast.parse(file.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inner) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"{file}: relative imports hide where they lead"
            for alias in node.names:
                submodule = source.parent / f"{node.module}.{alias.name}".replace(".", "/")
                is_module = submodule.with_suffix(".py").exists() or submodule.is_dir()
                yield (f"{node.module}.{alias.name}" if is_module else node.module), id(node) in inner


def test_imports_go_one_way() -> None:
    assert violations(SOURCE) == []


def test_every_module_belongs_to_a_part() -> None:
    modules = {".".join(file.relative_to(SOURCE).with_suffix("").parts) for file in SOURCE.rglob("*.py")}
    assert {_part(module) for module in modules} <= set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("file", "line", "violation"),
    [
        ("errors.py", "from primer import config", "errors imports primer.config"),
        ("config/check.py", "import primer.run", "config imports primer.run"),
        (
            "data/table.py",
            "def f():\n    from primer.config import compose",
            "data imports primer.config.compose",
        ),
        ("training/module.py", "from primer.tracking import store", "training imports primer.tracking.store"),
        ("tracking/store.py", "from primer.tracking import model", "tracking imports primer.tracking.model"),
        (
            "tracking/serving.py",
            "from primer.errors import DataError",
            "tracking.serving imports primer.errors",
        ),
        ("run.py", "from primer import worker", "run imports primer.worker"),
        ("run.py", "def f():\n    import torch.nn", "run imports torch.nn"),
        ("worker.py", "from omegaconf import OmegaConf", "worker imports omegaconf"),
        ("training/recorder.py", "from mlflow import MlflowClient", "training imports mlflow"),
        ("helpers.py", "from primer.errors import DataError", "helpers imports primer.errors"),
    ],
)
def test_a_planted_violation_is_found(file: str, line: str, violation: str, tmp_path: Path) -> None:
    source = tmp_path / "primer"
    for module in SOURCE.rglob("*.py"):
        copy = source / module.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(module.read_text() + (f"\n{line}\n" if module == SOURCE / file else ""))
    if not (source / file).exists():
        (source / file).write_text(f"{line}\n")
    assert violations(source) == [violation]


HEAVY = ("torch", "lightning", "mlflow", "pandas", "sklearn", "matplotlib")


@pytest.mark.parametrize(
    ("call", "also_absent"),
    [
        ("import primer", ("hydra", "omegaconf")),
        ("import primer.worker", ("hydra", "omegaconf")),
        ("main(['--help'])", ("hydra", "omegaconf")),
        ("main(['--version'])", ("hydra", "omegaconf")),
        ("main(['train', '--help'])", ("hydra", "omegaconf")),
        ("main(['completion', 'bash'])", ("hydra", "omegaconf")),
        ("main(['verify', 'devices', '--help'])", ("hydra", "omegaconf")),
        ("main(['compare', '--help'])", ("hydra", "omegaconf", "scipy", "bokeh")),
        ("main(['runs'])", ("scipy", "bokeh")),
        ("main(['train', '--cfg', 'job'])", ()),
        ("main(['train', 'optimizer.lrr=1'])", ()),
        ("main(['verify', 'devices', 'optimizer.lrr=1'])", ()),
        ("os.environ.update(COMP_LINE='primer train opt', _PRIMER_COMPLETE='zsh_complete'); main([])", ()),
    ],
)
def test_a_look_up_loads_nothing_heavy(call: str, also_absent: tuple[str, ...]) -> None:
    absent = (*HEAVY, *also_absent)
    code = f"""
import functools, os, sys
try:
    from primer import cli
    main = functools.partial(cli.main.main, prog_name="primer")
    {call}
finally:
    print("loaded:", *(name for name in {absent!r} if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "loaded:", done.stdout + done.stderr


def test_the_look_up_test_would_see_a_heavy_import() -> None:
    code = "import pandas, sys; print('pandas' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"
    assert "torch" not in os.environ.get("PYTHONSTARTUP", "")
