"""A config from elsewhere builds what primer offers, and nothing that reads, writes, runs or calls home."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from primer.config.compose import compose
from primer.config.options import conf_dir
from primer.config.trust import MAX_BYTES, check_objects, check_paths, load_untrusted
from primer.errors import ConfigError

OWN = {
    str(file.relative_to(conf_dir())): node["_target_"]
    for file in sorted(conf_dir().glob("*/*.yaml"))
    if "_target_" in (node := yaml.safe_load(file.read_text()))
}
FOREIGN = """
    torch.load numpy.load joblib.load pandas.read_pickle pandas.eval torch.hub.load
    mlflow.pyfunc.load_model sympy.sympify asyncio.create_subprocess_shell builtins.open builtins.eval
    builtins.exec os.system subprocess.run pickle.loads shutil.copyfile shutil.rmtree
    pathlib.Path.unlink webbrowser.get logging.os.system torch.nn.parallel.DistributedDataParallel
    torch.serialization.load torch.distributed.launch.main torch.utils.cpp_extension.load
    primer.folder.discard primer.tracking.ui.serve primer.run.train primer.worker.main primer.dataset.X
    primer.training.trainer.X torch.nnn.X torch.optimizer.X hydra.utils.instantiate my_package2.X
    my_packag.X my_package
"""
MALFORMED = [
    *("ReLU", "", ".", "torch.nn.", ".torch.nn.ReLU", "torch..nn.ReLU", "torch.nn.ReLU ", "torch.nn.ReLU\n"),
    *("torch.nn.__builtins__", "torch.nn.__dict__.x", "torch.nn._reduction.get_enum", "my_package._x.Y"),
    "setuptools._distutils.spawn.spawn",
    *(
        "torch.nn.1",
        "torch.nn.a-b",
        "torch/nn.ReLU",
        "torch.nn:ReLU",
        "\uff54orch.nn.ReLU",
        "torch.nn.R\u00e9LU",
    ),
    *(5, None, True, ["torch.nn.ReLU"], {"_target_": "torch.nn.ReLU"}, b"torch.nn.ReLU"),
]
PLANTED = """
    torch.nn.Module.load_state_dict torch.nn.DataParallel torch.nn.modules.module.functools.partial
    torch.nn.modules.module.functools torch.optim.optimizer.functools.partial
    torch.optim.lr_scheduler.partial torch.nn.functional.torch.load
    torch.nn.functional.importlib.import_module torch.nn.functional.conv2d
    torch.nn.functional.handle_torch_function torch.nn.modules.utils.repeat
    torch.nn.modules.module.OrderedDict torch.nn.Parameter torch.nn.utils.skip_init
    torch.optim.swa_utils.AveragedModel torch.nn.nothing torchmetrics.text.ROUGEScore
    torchmetrics.functional.accuracy torchmetrics.wrappers.BootStrapper primer.nets.manual.torch.load
    primer.nets.manual.TwoLayerFunction primer.nets.manual.ConfigError primer.data.csv_file.csv.reader
    primer.data.csv_file.read_csv primer.data.csv_file.has_leading_zeros primer.data.table.Path
    primer.training.schedulers.LambdaLR primer.training.criteria.copy.copy
"""
HARMLESS = """
    torch.nn.ELU torch.nn.modules.activation.ReLU torch.nn.functional.relu torch.nn.CrossEntropyLoss
    torch.optim.LBFGS torch.optim.lr_scheduler.StepLR torchmetrics.MeanMetric torchmetrics.R2Score
    primer.nets.manual.Manual primer.training.criteria.auto
"""


def refusal(check: Any, config: dict[str, Any], trust: tuple[str, ...] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        check(config, trust)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def of(target: Any) -> dict[str, Any]:
    return {"net": {"_target_": target, "hidden_dim": 9}}


def test_primers_own_options_pass() -> None:
    assert len(OWN) > 25
    for target in OWN.values():
        check_paths(of(target))
        check_objects(of(target))
    check_objects(compose(["experiment=primer/manual"]))


@pytest.mark.parametrize("target", FOREIGN.split())
def test_a_foreign_target_is_refused_by_its_text(target: str) -> None:
    for check in (check_paths, check_objects):
        message = refusal(check, of(target), trust=("my_package.nets",))
        assert message.startswith(f"net._target_={target}: ")
        assert "--trust " in message or "." not in target


@pytest.mark.parametrize("target", MALFORMED, ids=repr)
def test_what_is_no_public_name_is_refused(target: Any) -> None:
    for check in (check_paths, check_objects):
        assert refusal(check, of(target), trust=("my_package", "torch")).startswith("net._target_=")


def test_what_only_lies_in_an_allowed_module_is_refused() -> None:
    for target in PLANTED.split():
        check_paths(of(target))
        assert target in refusal(check_objects, of(target))


def test_what_computes_is_allowed() -> None:
    for target in HARMLESS.split():
        check_objects(of(target))


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"_target_": "os.system"}, "_target_"),
        ({"name": {"deep": {"_target_": "os.system"}}}, "name.deep._target_"),
        ({"net": {"layers": [1, [{"_target_": "os.system"}]]}}, "net.layers[1][0]._target_"),
        ({"net": {"_target_": "torch.nn.ReLU", "inner": {"_target_": "os.system"}}}, "net.inner._target_"),
        ({"net": {"_partial_": True}}, "net._partial_"),
        ({"net": {"a": [{"_args_": []}]}}, "net.a[0]._args_"),
        ({"_recursive_": False}, "_recursive_"),
        ({"net": {"_convert_": "all"}}, "net._convert_"),
        ({"net": {"__class__": "x"}}, "net.__class__"),
    ],
)
def test_every_depth_is_looked_at(config: dict[str, Any], key: str) -> None:
    assert refusal(check_paths, config).startswith(key)


def test_a_message_carries_no_escapes_of_a_terminal() -> None:
    assert refusal(check_paths, {"\x1b[2J": {"_target_": "\x1b]0;x\x07.y"}}).isprintable()
    with pytest.raises(ConfigError) as caught:
        load_untrusted('a: !<\x1b> "b"')
    assert str(caught.value).isprintable()


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that is there once the module `hostile_mark` was imported; two modules hand it on."""
    path = tmp_path / "imported"
    (tmp_path / "hostile_mark.py").write_text(f"open({str(path)!r}, 'w').close()\ndef go(): pass\n")
    (tmp_path / "trusted_mark.py").write_text(
        "import functools\nfrom os import system, path\nfrom subprocess import run\nfrom torch import load\n"
        "from torch.nn import ReLU\nfrom primer.nets import TwoLayer\nfrom hostile_mark import go\n"
        "def mine(): pass\nclass Mine: pass\npart = functools.partial(mine)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield path
    for name in ("hostile_mark", "trusted_mark"):
        sys.modules.pop(name, None)


def test_what_is_refused_is_never_imported(marker: Path) -> None:
    for target in ("hostile_mark.go", "trusted_mark.go"):
        refusal(check_paths, of(target))
        refusal(check_objects, {"activation": {"_target_": "torch.nn.ReLU"}, **of(target)})
    assert not marker.exists()
    assert "hostile_mark" not in sys.modules


def test_a_check_of_texts_imports_nothing() -> None:
    targets = [*OWN.values(), *HARMLESS.split(), *PLANTED.split()]
    code = (
        "import sys\nfrom primer.config.trust import check_paths\nbefore = set(sys.modules)\n"
        f"for target in {targets!r}: check_paths({{'net': {{'_target_': target}}}})\n"
        "print(set(sys.modules) - before, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set() False\n"


def test_trust_is_for_a_packages_own_code(marker: Path) -> None:
    for name in ("mine", "Mine", "ReLU", "TwoLayer"):
        check_objects(of(f"trusted_mark.{name}"), trust=["trusted_mark"])
    for name in ("system", "run", "load", "part", "path", "functools", "path.join", "absent"):
        refusal(check_objects, of(f"trusted_mark.{name}"), trust=("trusted_mark",))
    assert "--trust hostile_mark" in refusal(check_objects, of("trusted_mark.go"), trust=("trusted_mark",))
    check_objects(of("trusted_mark.go"), trust=["trusted_mark", "hostile_mark"])
    assert marker.exists()


@pytest.mark.parametrize("trust", ["", "my-package", "a..b", "_x", "a b"])
def test_what_is_trusted_is_a_package(trust: str) -> None:
    assert refusal(check_paths, {}, trust=(trust,)).startswith("--trust ")


def test_trust_goes_by_whole_components() -> None:
    check_paths(of("my_package.nets.X"), trust=["my_package"])
    check_paths(of("my_package.nets.X"), trust=["my_package.nets.X"])
    assert "--trust my_package2" in refusal(check_paths, of("my_package2.X"), trust=("my_package",))


def test_a_frozen_config_comes_back() -> None:
    config = compose(["net=manual", "optimizer.lr=1e-6", "name='[a, 1] # b: é'"])
    assert load_untrusted(yaml.safe_dump(config, sort_keys=False)) == config
    assert load_untrusted(f"a: {'[' * 19}{']' * 19}")["a"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "- 1",
            "text",
            "1: 2",
            "a: {1: 2}",
            "a: {true: 2}",
            "? [a]\n: b",
            "a: 1\na: 2",
            "a: [",
            "\ta: 1",
        ),
        *("a: &x 1", "a: &x [1]\nb: *x", "<<: {a: 1}", "a: 1\n---\nb: 2", "a: \0", "a: \ud800", "a: \x1b"),
        *("a: !!python/object/apply:os.system ['true']", "a: !!python/name:os.system", "a: !mine 1", "a: ="),
        *("a: 2020-01-01", "a: !!set {b}", "a: !!binary aGk=", "a: !!int ''", "a: !!bool b", "a: !!float b"),
        *("a: " + "[" * 20 + "]" * 20, "a: " + "{b: " * 5000, "[" * 900_000, "- " * 5000, "? " * 5000),
        *(
            "a: " + "9" * 5000,
            "a: " + ":".join("1" * 5000),
            "a" * (MAX_BYTES + 1),
            "é" * (MAX_BYTES // 2 + 1),
        ),
    ],
    ids=lambda text: repr(text[:20]),
)
def test_anything_but_plain_data_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_untrusted(text)
    assert str(caught.value).startswith("config")
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


REFUSED = {
    "a: &x 1": "line 1: expected plain YAML: anchors and aliases are not read",
    "b: 1\na: !mine 1": "line 2: expected plain YAML: !mine is no plain value",
    "a: 1\na: 2": "line 1: expected plain YAML: a key is there twice",
    "1: 2": "line 1: expected plain YAML: a key is no text",
    "a: " + "9" * 101: "line 1: expected plain YAML: a number of 101 characters",
    "a: " + "[" * 20 + "]" * 20: "line 1: expected plain YAML: nested deeper than 20 levels",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_refusal_says_where_and_of_what(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_untrusted(text)
    assert str(caught.value) == f"config, {REFUSED[text]}"
    assert load_untrusted("a: " + "9" * 100)["a"] == 10**100 - 1
