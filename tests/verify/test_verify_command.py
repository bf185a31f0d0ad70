"""`primer verify PART`: what it prints and writes, its exit codes, and wrong questions in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from runs import primer

import primer as package
from primer.verify.findings import Verdict, Verification, failed, passed
from primer.verify.show import markdown, show

HERE = Path(__file__).parent


def test_a_right_one_passes_and_leaves_its_report_and_picture(tmp_path: Path) -> None:
    words = ("verify", "activation=custom_relu", "--against", "relu", "--fast")
    done = primer(*words, "--report", "a.md", "--picture", "a.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("PASS custom_relu against relu: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.md", "a.png"]
    report = (tmp_path / "a.md").read_text()
    assert report.startswith("# custom_relu: PASS\n")
    assert "![values and gradients](a.png)" in report
    assert "| `gradcheck` | ✅ PASS |" in report
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_part_of_the_users_own_is_drawn(tmp_path: Path) -> None:
    shutil.copy(HERE / "own_functions.py", tmp_path)
    done = primer("verify", "own_functions.Right", "--fast", "--picture", "a.png", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_wrong_one_of_the_users_own_fails_and_says_what_to_do(tmp_path: Path) -> None:
    shutil.copy(HERE / "own_functions.py", tmp_path)
    done = primer("verify", "own_functions.Wrong", "--fast", "--against", "relu", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "what to do: " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("FAIL own_functions.Wrong against relu: ")
    as_json = primer("verify", "own_functions.Wrong", "--fast", "--json", cwd=tmp_path)
    found = json.loads(as_json.stdout)
    assert (as_json.returncode, found["verdict"]) == (1, "FAIL")
    (gradcheck,) = [one for one in found["findings"] if one["check"] == "gradcheck"]
    assert gradcheck["verdict"] == "FAIL"
    assert gradcheck["example"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("custom_relu",),
            "custom_relu: expected activation=OPTION or package.Name; did you mean activation=",
        ),
        (("activation=reluu",), "activation=reluu: no such option; did you mean activation=relu?"),
        (("activation=relu", "--against", "none"), "activation=none: no such option"),
        (("no_such.Thing",), "no_such.Thing: no module 'no_such' in this folder or environment"),
        (("torch.nn.Nothing",), "torch.nn.Nothing: no 'Nothing' in 'torch.nn'"),
        (("torch.nn.Linear",), "torch.nn.Linear: can't be built without arguments"),
        (("torch.float32",), "torch.float32: expected an autograd Function, an nn.Module or a function"),
        (("optimizer=adam",), "optimizer=adam: expected activation=OPTION, criterion=OPTION, net=OPTION"),
        (("net=two_layer", "--against", "net"), "against=net: a net is compared with finite differences"),
        (("net=two_layer", "--picture", "a.png"), "--picture: net=two_layer is no function of one number"),
        (("activation=relu", "--report", "none/a.md"), "none/a.md: no such folder"),
    ],
)
def test_a_wrong_question_is_a_line(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    done = primer("verify", *words, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_whole_net_is_checked_against_finite_differences() -> None:
    found = package.verify("net=two_layer", "activation=custom_silu", "data=iris")
    assert found.verdict is Verdict.PASS
    assert found.declared == {"functions": ["SiLUFunction"]}
    assert found.of("gradients").numbers["largest_difference"] < 1e-7


def test_a_net_with_a_wrong_function_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(HERE / "own_functions.py", tmp_path)
    (tmp_path / "conf" / "activation").mkdir(parents=True)
    option = "_target_: own_functions.OwnReLU\nkind: wrong\n"
    (tmp_path / "conf" / "activation" / "own.yaml").write_text(option)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = package.verify("net=two_layer", "activation=own", "data=iris", config_dir="conf")
    assert found.of("gradients").verdict is Verdict.FAIL
    assert found.exit_code == 1


def test_a_net_whose_gradients_are_no_numbers_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(HERE / "own_functions.py", tmp_path / "functions_here.py")  # found without a path to it
    (tmp_path / "conf" / "activation").mkdir(parents=True)
    option = "_target_: functions_here.OwnReLU\nkind: nan\n"
    (tmp_path / "conf" / "activation" / "own.yaml").write_text(option)
    monkeypatch.chdir(tmp_path)
    found = package.verify("net=two_layer", "activation=own", "data=iris", config_dir="conf")
    assert found.of("gradients").verdict is Verdict.FAIL
    assert "no finite numbers" in found.of("gradients").sentence


def test_criteria_are_functions_of_several_tensors() -> None:
    found = package.verify("criterion=custom_cross_entropy", against="cross_entropy", fast=True)
    assert found.verdict is Verdict.PASS, [one for one in found.findings if one.verdict != "PASS"]
    assert package.verify("criterion=huber", fast=True).exit_code == 0


def test_what_is_so_on_purpose_warns(capsys: pytest.CaptureFixture[str]) -> None:
    from primer.activations.tutorial_relu import TutorialReLUFunction

    class Meant(TutorialReLUFunction):
        verify = {"reference": "torch.relu", "because": {"kink": "the article's"}}  # noqa: RUF012

    found = package.verify(Meant, fast=True)
    assert found.of("kink").verdict is Verdict.WARN
    assert "On purpose: the article's" in found.of("kink").sentence
    assert found.declared == {"reference": "torch.relu", "because": {"kink": "the article's"}}
    show(found)
    assert "WARN Meant against torch.relu: " in capsys.readouterr().out


def test_a_report_keeps_what_a_table_would_break() -> None:
    findings = (passed("a", "x | y"), failed("b", "is\nwrong", "f(1) # |", "mend it"))
    found = Verification("f", None, {"kinks": [0.0]}, "0", {"torch": "2"}, 0.5, findings)
    text = markdown(found)
    assert "| `a` | ✅ PASS | x \\| y |" in text
    assert "is wrong<br>Shown by: `f(1) # \\|`.<br>What to do: mend it" in text
    assert "- `kinks`: [0.0]" in text
