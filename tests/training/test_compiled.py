"""`compile=true`: the same training by compiled kernels, or a line that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_fused import begin, largest_difference

from primer import worker
from primer.gpus import visible_gpus
from primer.tracking.journal import read
from primer.training.compiled import Compiler

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
RUN = ("data=iris", "net.hidden_dim=7", "max_epochs=2", "activation=custom_relu")


def warnings_of(folder: Path) -> list[str]:
    return [record["message"] for record in read(folder) if record["kind"] == "warning"]


@pytest.fixture(autouse=True)
def _fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernels of an earlier run, neither in memory nor on the disk."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    torch.compiler.reset()


def test_a_compiled_run_is_the_same_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, compiled = begin(tmp_path / "plain", *RUN), begin(tmp_path / "compiled", *RUN, "compile=true")
    used = []
    on_train_start = Compiler.on_train_start

    def look(self: Compiler, trainer: object, module: object) -> None:
        on_train_start(self, trainer, module)  # type: ignore[arg-type]
        used.append(hasattr(module.loss_of, "_torchdynamo_orig_callable"))  # type: ignore[attr-defined]

    monkeypatch.setattr(Compiler, "on_train_start", look)
    assert [worker.main(folder / "config.yaml") for folder in (plain, compiled)] == [0, 0]
    assert used == [True]
    assert warnings_of(compiled) == []
    assert largest_difference(plain, compiled) < 1e-5


def test_without_a_compiler_a_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/c++",))
    plain, other = begin(tmp_path / "plain", *RUN), begin(tmp_path / "other", *RUN, "compile=true")
    assert [worker.main(folder / "config.yaml") for folder in (plain, other)] == [0, 0]
    (line,) = warnings_of(other)
    assert line.startswith("compile=true: trained without: ")
    assert "compiler" in line
    assert largest_difference(plain, other) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not visible_gpus(), reason="no GPU")
@pytest.mark.parametrize("parts", [1, 2])
def test_on_a_gpu_it_is_the_same_training_by_cuda_graphs(tmp_path: Path, parts: int) -> None:
    runs = (*RUN, "accelerator=gpu", f"accumulate_grad_batches={parts}")
    plain, compiled = begin(tmp_path / "plain", *runs), begin(tmp_path / "compiled", *runs, "compile=true")
    assert [worker.main(folder / "config.yaml") for folder in (plain, compiled)] == [0, 0]
    assert warnings_of(compiled) == []
    assert largest_difference(plain, compiled) < 1e-4
