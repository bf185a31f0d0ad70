"""What people get wrong: a line or two that name the key, exit code 2, and nothing left behind."""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import primer

# (what is typed after `primer`, what the message must say ...)
TYPOS = [
    ("train optimizr=sgd", "optimizr: no such key; did you mean optimizer?"),
    ("train optimizer=sdg", "optimizer=sdg: no such option; did you mean optimizer=sgd?"),
    ("train optimizer=SGD", "did you mean optimizer=sgd?"),
    ("train optimizer.lrr=1", "optimizer.lrr: no such key of optimizer=adam; did you mean optimizer.lr?"),
    ("train activation=relu optimizr.lr=1 seed=1", "optimizr.lr: no such key; did you mean optimizer.lr?"),
    ("train lr=0.1", "lr: no such key; did you mean optimizer.lr?"),
    ("train epochs=3", "epochs: no such key; did you mean max_epochs?"),
    (
        "train optimizer.momentum=0.9",
        "optimizer.momentum: no such key of optimizer=adam; optimizer=rmsprop|sgd",
    ),
    ("train criterion.reduction=sum", "criterion.reduction: no such key of criterion=auto"),
    ("train net.hidden.dim=3", "net.hidden.dim: no such key of net=two_layer"),
    ("train seed.x=3", "seed.x: no such key"),
    (
        "train experiment=primer/manul",
        "experiment=primer/manul: no such option; did you mean experiment=primer/manual",
    ),
    ("train experiment=manual", "did you mean experiment=primer/manual?"),
    ("train custom_relu", "custom_relu: expected KEY=VALUE; did you mean activation=custom_relu?"),
    ("train data=primer monitor=val/rmse", "monitor=val/rmse: data=primer has no rows to validate on"),
    ("train monitor=val/los", "monitor=val/los: ", "did you mean val/loss?"),
    (
        "train data=table data.path=t.csv data.target=y data.task=regresion",
        "data.task=regresion",
        "mean regression?",
    ),
    ("trian", "No such command 'trian'. Did you mean 'train'?"),
    ("train --config_dir my_conf", "--config_dir", "--config-dir"),
]
TYPES = [
    ("train max_steps=many", "max_steps=many: expected a whole number, at least 1, or null"),
    ("train max_steps=1e3", "max_steps=1e3: expected a whole number", "did you mean 1000?"),
    ("train seed=true", "seed=true: expected a whole number"),
    ("train seed=1.5", "seed=1.5: expected a whole number"),
    ("train seed=null", "seed=null: expected a whole number"),
    ("train optimizer.lr=abc", "optimizer.lr=abc: expected a number, at least 0"),
    ("train optimizer.lr=", "optimizer.lr=: expected a number, at least 0"),
    ("train \"optimizer.lr=''\"", "optimizer.lr='': expected a number, at least 0"),
    ("train optimizer.lr=[1,2]", "optimizer.lr=[1,2]: expected a number, at least 0"),
    ("train deterministic=3", "deterministic=3: expected true or false"),
    ("train deterministic=maybe", "deterministic=maybe: expected true or false"),
    ("train optimizer.betas=0.9", "optimizer.betas=0.9: expected 2 numbers, such as [0.9,0.999]"),
    ("train optimizer.betas=[0.9]", "optimizer.betas=[0.9]: expected 2 numbers"),
    ("train name=[a]", "name=[a]: expected text"),
    ("train name=", "name=: expected text"),
    ("train optimizer=null", "optimizer=null: no such option (options: adam, adamw, rmsprop, sgd)"),
    ("train optimizer=", "optimizer=: no such option (options: adam, adamw, rmsprop, sgd)"),
    ("train 'optimizer={lr: 3}'", "optimizer={lr: 3}: expected an option (adam, ", "optimizer.KEY=VALUE"),
]
RANGES = [
    ("train optimizer.lr=-1", "optimizer.lr=-1: expected a number, at least 0"),
    ("train optimizer.lr=nan", "optimizer.lr=nan: expected a number"),
    ("train batch_size=0", "batch_size=0: expected a whole number, at least 1"),
    ("train seed=99999999999999999999", "seed=99999999999999999999: expected a whole number", "below 2**63"),
    ("train data.val_fraction=1", "data.val_fraction=1: expected a number, above 0 and below 1"),
    (
        "train accelerator.devices=2",
        "accelerator.devices=2: accelerator=auto is one device; expected 1, or accelerator=ddp_cpu, or with "
        "GPUs ddp",
    ),
    ("train accelerator.precision=16", "accelerator.precision=16: expected 32, bf16-mixed, 16-mixed or 64"),
]
MISSING = [
    ("train data=table", "data.path: missing; expected data.path=VALUE (CSV"),
    (
        "train data=table data.path=t.csv",
        "data.target: missing; expected data.target=VALUE (column to predict)",
    ),
    ("train max_epochs=null", "max_epochs=null max_steps=null: the run would never end"),
    ("train --config-dir nowhere", "--config-dir nowhere: no such folder"),
    ("train --config-dir my_conf/net net=my_net", "--config-dir my_conf/net: holds no option"),
    (
        "train net=my_net",
        "net=my_net: no such option; did you mean it with --config-dir my_conf? (options: manual, ",
    ),
    ("train tracking=server", "tracking.uri=null: tracking=server expects tracking.uri=http://HOST:PORT"),
    ("train tracking.uri=runs", "tracking.uri=runs: expected sqlite:///FILE.db or http://HOST:PORT"),
]
MISFITS = [
    ("train net=manual activation=gelu", "net=manual activation=gelu: ", "activation=relu|custom_relu"),
    (
        "train data=diabetes criterion=cross_entropy",
        "criterion=cross_entropy: ",
        "criterion=sum_squared_error|mse",
    ),
    ("train criterion=mse", "criterion=mse: is for regression, but data=digits has classes"),
    (
        "train monitor=val/mae",
        "monitor=val/mae: data=digits has classes (metrics: val/loss, val/accuracy",
    ),
    (
        "train optimizer=sgd optimizer.nesterov=true",
        "optimizer.nesterov=true: needs optimizer.momentum above 0",
    ),
    (
        "train optimizer.nesterov=true",
        "optimizer.nesterov: no such key of optimizer=adam; optimizer=sgd has it (keys: lr,",
    ),
    ("train accumulate_grad_batches=64", "accumulate_grad_batches=64: expected at most batch_size=32"),
    ("train experiment=primer/manual patience=3", "patience=3: data=primer has no validation rows"),
    ("train data.name=iris", "data.name=iris: belongs to data=digits; expected another data=OPTION"),
]
SYNTAX = [
    ("train activation=relu,gelu", "activation=relu,gelu: several values, but this is one run"),
    ("train 'seed=range(3)'", "seed=range(3): several values, but this is one run"),
    ("train 'seed=${nope}'", "seed=${nope}: ", "'nope' not found"),
    ("train 'optimizer.lr=${seed'", "optimizer.lr=${seed: the value can't be read"),
    ("train +foo=3", "foo: no such key"),
    ("train +optimizer.lr=3", "+optimizer.lr=3: the key is there already; expected optimizer.lr=3"),
    ("train +optimizer.lrr=3", "optimizer.lrr: no such key", "did you mean optimizer.lr?"),
    ("train ~optimizer.lr", "~optimizer.lr: this key can't be left out; expected optimizer.lr=VALUE"),
    ("train ~optimizer", "~optimizer: expected optimizer=OPTION (adam, adamw, rmsprop, sgd)"),
    ("train =3", "=3: expected KEY=VALUE"),
    ("train 'data.path=my(1).csv'", "data.path=my(1).csv: the value can't be read; expected it in quotes"),
    (f"train name={'[' * 2000}", "name=[[[", "can't be read"),
    ("train hydra.run.dir=x", "hydra.run.dir=x: a setting of Hydra's own"),
    (
        "train optimizer._target_=torch.optim.SGD",
        "optimizer._target_=torch.optim.SGD: belongs to optimizer=adam",
    ),
]
OWN_FILES = [
    ("train --config-dir my_conf net=my_nett", "net=my_nett: no such option; did you mean net=my_net?"),
    (
        "train --config-dir my_conf net=my_net net.widht=3",
        "net.widht: no such key of net=my_net; did you mean net.width?",
    ),
    ("train --config-dir my_conf net=nowhere", "net._target_=no_package.MyNet: no package 'no_package'"),
    ("train --config-dir my_conf net=undotted", "net._target_=MyNet: expected package.Name"),
    (
        "train --config-dir my_conf net=hollow",
        "net=hollow: expected a key _target_: package.Name in its file",
    ),
    ("train --config-dir my_conf net=broken", "my_conf/net/broken.yaml, line 3: "),
    (
        "train --config-dir my_conf experiment=typo",
        "my_conf/experiment/typo.yaml: optimizer.lrr: no such key; did you ",
    ),
    (
        "train --config-dir my_conf experiment=type",
        "my_conf/experiment/type.yaml: optimizer.lr: expected a number",
    ),
    (
        "train --config-dir my_conf experiment=option",
        "experiment/option.yaml: net=my_nett: no such option; did you ",
    ),
    (
        "train --config-dir my_conf experiment=bare",
        "bare.yaml: expected its first line to be `# @package _global_`",
    ),
    ("train --config-dir my_conf experiment=team/fin", "did you mean experiment=team/fine?"),
    ("train --config-dir shadow", "shadow/net/two_layer.yaml: primer has an option of that name"),
]
TABLE = "train data=table data.target=y data.path="
TABLES = [
    (f"{TABLE}none.csv", "none.csv: no such file"),
    ("train scheduler=warmup_cosine tracking.uri=foo://bar", "tracking.uri=foo://bar", "sqlite:///FILE.db"),
    (f"{TABLE}good.cvs", "good.cvs: no such file", "did you mean 'good.csv'?"),
    ("train data=table data.path=good.csv data.target=z", "good.csv: ", "'z'"),
    (f"{TABLE}ragged.csv", "ragged.csv: line 3"),
    (f"{TABLE}empty.csv", "empty.csv: is empty"),
    (f"{TABLE}constant.csv", "constant.csv", "'y'"),
    (f"{TABLE}double.csv", "double.csv", "'a'"),
    (f"{TABLE}infinite.csv", "infinite.csv", "'a'"),
    (
        f"{TABLE}real.csv criterion=cross_entropy",
        "criterion=cross_entropy: ",
        "data=table has a real-valued target",
    ),
    (f"{TABLE}real.csv monitor=train/loss", "monitor=train/loss: data=table has", "did you mean val/loss?"),
    (f"{TABLE}real.csv monitor=val/accuracy", "monitor=val/accuracy: data=table has a real-valued target"),
    (f"{TABLE}classes.csv criterion=mse", "criterion=mse: ", "data=table has classes"),
    ("train data.val_fraction=0.0001", "data.val_fraction=0.0001: leaves no validation row"),
    (
        "train data.val_fraction=0.6 data.test_fraction=0.6",
        "data.val_fraction=0.6 and data.test_fraction=0.6",
    ),
]
AFTER_TORCH = [
    (
        "train --config-dir my_conf net=absent",
        "net._target_=my_package.MyNett: no 'MyNett'",
        "did you mean MyNet?",
    ),
    (
        "train --config-dir my_conf net=refusing",
        "net._target_=my_package.Refusing: ",
        "(in_features, out_features, ",
    ),
]
BEFORE_TORCH = [*TYPOS, *TYPES, *RANGES, *MISSING, *MISFITS, *SYNTAX, *OWN_FILES, *TABLES]

GLOBAL = "# @package _global_\n"
FILES = {
    "good.csv": "a,y\n1,1.5\n2,2.5\n3,3.5\n4,4.5\n",
    "ragged.csv": "a,y\n1,1\n2,2,2\n3,3\n",
    "empty.csv": "",
    "constant.csv": "a,y\n1,7\n2,7\n3,7\n4,7\n",
    "double.csv": "a,a,y\n1,1,1\n2,2,2\n3,3,3\n",
    "infinite.csv": "a,y\n1,1.5\ninf,2.5\n3,3.5\n4,4.5\n",
    "real.csv": "a,y\n" + "".join(f"{n},{n * 1.37}\n" for n in range(40)),
    "classes.csv": "a,y\n" + "".join(f"{n},{'yes' if n % 2 else 'no'}\n" for n in range(40)),
    "my_package.py": "class MyNet: ...\nclass Refusing:\n    def __init__(self, size): ...\n",
    "my_conf/net/my_net.yaml": "_target_: my_package.MyNet\nwidth: 3\n",
    "my_conf/net/nowhere.yaml": "_target_: no_package.MyNet\n",
    "my_conf/net/undotted.yaml": "_target_: MyNet\n",
    "my_conf/net/absent.yaml": "_target_: my_package.MyNett\n",
    "my_conf/net/refusing.yaml": "_target_: my_package.Refusing\n",
    "my_conf/net/hollow.yaml": "# nothing\n",
    "my_conf/net/broken.yaml": "_target_: my_package.MyNet\nwidth: [3\n",
    "my_conf/experiment/typo.yaml": f"{GLOBAL}optimizer:\n  lrr: 3\n",
    "my_conf/experiment/type.yaml": f"{GLOBAL}optimizer:\n  lr: abc\n",
    "my_conf/experiment/option.yaml": f"{GLOBAL}defaults:\n  - override /net: my_nett\n",
    "my_conf/experiment/bare.yaml": "optimizer:\n  lr: 3\n",
    "my_conf/experiment/team/fine.yaml": f"{GLOBAL}seed: 3\n",
    "shadow/net/two_layer.yaml": "_target_: my_package.MyNet\n",
}


def fill(folder: Path) -> None:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture(scope="session")
def no_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which importing torch fails, in the command and in its worker."""
    folder = tmp_path_factory.mktemp("no_torch")
    (folder / "torch.py").write_text("raise RuntimeError('torch was imported')\n")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def check(case: tuple[str, ...], folder: Path, env: dict[str, str]) -> None:
    """Type it; it ends with exit code 2 and the words of the case, and leaves the folder as it was."""
    fill(folder)
    typed, *said = case
    done = primer(*shlex.split(typed), cwd=folder, env=env | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 2, done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == set(FILES)
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("case", BEFORE_TORCH, ids=lambda case: case[0][:80])
def test_misuse_is_told_before_torch_is_imported(
    case: tuple[str, ...], tmp_path: Path, no_torch: dict[str, str]
) -> None:
    check(case, tmp_path, no_torch)


@pytest.mark.parametrize("case", AFTER_TORCH, ids=lambda case: case[0][:80])
def test_misuse_of_an_own_part(case: tuple[str, ...], tmp_path: Path) -> None:
    check(case, tmp_path, {})


def test_a_right_question_would_have_imported_torch(tmp_path: Path, no_torch: dict[str, str]) -> None:
    """Proves `no_torch`: the tests above would see torch."""
    done = primer("train", "data=iris", "tracking=off", cwd=tmp_path, env=no_torch)
    assert done.returncode == 1
    assert "torch was imported" in done.stdout + done.stderr


if __name__ == "__main__":
    """`python tests/test_misuse.py`: how long each takes to be told."""
    import tempfile

    seconds = {}
    for typed, *_ in [*BEFORE_TORCH, *AFTER_TORCH]:
        with tempfile.TemporaryDirectory() as name:
            fill(Path(name))
            started_at = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "primer", *shlex.split(typed)], cwd=name, capture_output=True
            )
            seconds[typed] = time.perf_counter() - started_at
    for typed, duration_s in sorted(seconds.items(), key=lambda item: item[1]):
        print(f"{duration_s:6.2f} s  {typed[:100]}")
    print(f"{len(seconds)} misuses, median {statistics.median(seconds.values()):.2f} s")
