"""A secret reaches the parts that need it, and no file, no store and no screen."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from runs import primer

from primer.config import compose
from primer.config.changes import changes_of, with_secrets
from primer.errors import ConfigError
from primer.redact import redacted
from primer.tracking.facts import git_patch

NET = """
import torch
class Guarded(torch.nn.Linear):
    def __init__(self, in_features, out_features, activation, api_key, num_tokens, fails):
        super().__init__(in_features, out_features)
        assert api_key == "k3y-of-mine-0001", "the net was not given its key"
        print("logging in with", api_key, "at https://me:h0rse-b4ttery@example.com/")
        if fails:
            raise RuntimeError(f"no entry: api_key='{api_key}' hf_abcdefghijklmnopqrstuvwxyz0123456789")
"""
KEY = "k3y-of-mine-0001"

SETTINGS = {
    "conf/db.yaml": "port: 5432\ndb_password: hunter2\ncredentials:\n  user: me2\n  - hunter2\nseed: 7\n",
    "setup.ini": "[db]\npassword = hunter2\nretries = 7\n",
    ".env": "export API_KEY=hunter2\nSEED=7\n",
    "app.toml": "token = hunter2\nnum_tokens = 7\n",
    "app.json": '{\n"api_key": hunter2,\n"seed": 7\n}\n',
}


def test_settings_that_are_not_committed_lose_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@here")
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "none")):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "conf").mkdir()
    for name, text in SETTINGS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "code.py").write_text("token = tokenizer\n")
    subprocess.run([*git, "add", "-A"], check=True)
    patch = git_patch()
    assert "hunter2" not in patch
    assert "me2" not in patch
    assert patch.count("7\n") >= len(SETTINGS)
    assert "+port: 5432\n" in patch
    assert "+token = tokenizer\n" in patch


def test_a_secret_that_is_nowhere_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "guarded.py").write_text(NET)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "guarded.yaml").write_text("_target_: guarded.Guarded\napi_key: '[redacted]'\n")
    config = redacted(compose(["net=guarded", f"net.api_key={KEY}"], config_dir=tmp_path))
    with pytest.raises(ConfigError, match=r"net.api_key: is a secret, .* expected net.api_key=VALUE"):
        with_secrets(config, [])
    given = [f"net.api_key={KEY}"]
    assert with_secrets(config, given)["net"]["api_key"] == KEY
    assert changes_of(config, given) == {}  # it is no change


def test_a_secret_of_a_sweep_is_kept_nowhere(tmp_path: Path) -> None:
    """Typed for all jobs, as a number, short, and below the name of a secret; asked for again by resume."""
    (tmp_path / "guarded.py").write_text(
        NET.replace("fails):", "fails, credentials, pin):").replace(
            "if fails", "print(credentials, pin, flush=True)\n        if fails"
        )
    )
    (tmp_path / "conf" / "net").mkdir(parents=True)
    file = tmp_path / "conf" / "net" / "guarded.yaml"
    file.write_text(
        "_target_: guarded.Guarded\napi_key: x\nnum_tokens: 7\nfails: false\ncredentials: {value: y}\n"
        "pin: 0\n"
    )
    canaries = (KEY, "s3am", "47110815", "f00(b4r)")
    typed = (f"net.api_key={canaries[0]}", "net.credentials.value=s3am", "+net.credentials.pin=47110815")
    sweep = (
        "train",
        "-m",
        "--config-dir",
        "conf",
        "net=guarded",
        "data=iris",
        "max_epochs=1",
        "seed=0,1",
        *typed,
    )
    done = primer(*sweep, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout + done.stderr
    refused = primer("resume", "last", "hydra.launcher.workers=1", cwd=tmp_path)
    assert refused.returncode == 2
    assert "net.api_key: is a secret, which no sweep keeps; expected net.api_key=VALUE" in refused.stderr
    done = primer("resume", "last", *typed, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    shown += done.stdout + done.stderr + refused.stderr
    swept = primer(*sweep[:-3], "net.api_key=a,b", cwd=tmp_path)
    assert "net.api_key: is a secret; expected one value for all jobs" in swept.stderr
    for canary in canaries:
        assert canary not in shown
        for path in tmp_path.rglob("*"):
            is_own = path in (file, tmp_path / "guarded.py") or "__pycache__" in path.parts
            assert is_own or not path.is_file() or canary.encode() not in path.read_bytes(), path
