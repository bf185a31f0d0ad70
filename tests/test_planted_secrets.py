"""Forty secrets, each in another place, followed through every byte that commands write and print."""

from __future__ import annotations

import base64
import json
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

from runs import primer, run_folders

# Put together here, so that no scanner takes this file for a leak.
FORMS = [  # known by their form, wherever they stand
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "11ABC_" * 9,
    "glpat-" + "x9_Y-" * 4,
    "hf_" + "aBcD" * 8,
    "sk-ant-api03-" + "aB3_" * 12,
    "AKIA" + "ABCD1234" * 2,
    "xoxb-" + "1234567890-abc",
    "AIza" + "Sy_abcdefg" * 3 + "12345",
    "npm_" + "a1B2" * 9,
    "dapi" + "0123456789abcdef" * 2,
    ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0In0", "SflKxwRJSMeKKF2QT4"]),
    "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE" + " KEY-----",
]
PLACES = [  # known by what stands before them
    "http://me:{}@host:5000/api",
    "postgresql://me:{}@db/mlflow and on",
    "http://host/a?api_key={}&b=1",
    "s3://b/k?X-Amz-Signature={}",
    "Authorization: Bearer {}",
    "curl -H 'X-Api-Key: {}' host",
    'password = "{}"',
    '{{"access_token": "{}", "b": 1}}',
    "DB_PASSWORD={}",
    "login --token {} --user me",
    "login --api-key={}",
    "primer train data.password={} seed=1",
]
VARIABLES = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "WANDB_API_KEY", "PGPASSWORD")
SETTINGS = {  # of a git work tree, not committed
    ".env": "export API_KEY={}\nSEED=7\n",
    "setup.ini": "[db]\npassword = {}\nretries = 7\n",
    "app.toml": 'token = "{}"\nnum_tokens = 7\n',
    "app.json": '{{\n"api_key": "{}",\n"seed": 7\n}}\n',
    "login.py": 'connect(user="me", password="{}")\n',
}
NET = """
import json, os, pathlib, sys
import torch
class Talkative(torch.nn.Linear):
    def __init__(self, in_features, out_features, activation, fails, **secrets):
        super().__init__(in_features, out_features)
        lines = json.loads(pathlib.Path(os.environ["LINES"]).read_text())
        lines += [f"now {os.environ[name]}, sir" for name in VARIABLES]
        lines += [f"now {secret}, sir" for secret in flat(secrets)]
        print(*lines, sep="\\n")
        print(*lines, sep="\\n", file=sys.stderr)
        if fails:
            raise RuntimeError("; ".join(lines))
def flat(node):
    for item in node.values() if isinstance(node, dict) else node:
        yield from [item] if isinstance(item, (str, int)) else flat(item)
"""
NODE = """
_target_: talkative.Talkative
fails: false
api_key: ${oc.env:NET_KEY}
password: conf-own-7a
client_secret: null
credentials: {user: conf-user-8b, more: {value: conf-deep-9c}}
auth_tokens: [conf-list-0d, conf-list-1e]
"""


def own(number: int) -> str:
    """A secret that has no form of its own."""
    return f"pl4nted-{number:02}-zq"


def test_forty_secrets_are_used_and_kept_nowhere(tmp_path: Path) -> None:
    planted = [*FORMS, *map(own, range(len(PLACES)))]
    lines = [f"found {form}, sir" for form in FORMS]
    lines += [place.format(own(number)) for number, place in enumerate(PLACES)]
    aside = tmp_path / "lines.json"
    aside.write_text(json.dumps(lines))
    env = {"LINES": str(aside), "NET_KEY": "net-key-of-env-6f"}
    env |= {name: own(20 + number) for number, name in enumerate(VARIABLES)}
    planted += [*env.values()][1:]
    planted += ["conf-own-7a", "conf-user-8b", "conf-deep-9c", "conf-list-0d", "conf-list-1e", "typed-47"]
    cwd = tmp_path / "project"
    theirs = {Path("conf/net/talkative.yaml"): NODE, Path("talkative.py"): f"VARIABLES = {VARIABLES}\n{NET}"}
    for number, (name, text) in enumerate(SETTINGS.items()):
        planted.append(own(30 + number))
        theirs[Path(name)] = text.format(planted[-1])
    for path, text in theirs.items():
        (cwd / path).parent.mkdir(parents=True, exist_ok=True)
        (cwd / path).write_text(text)
    git = ("git", "-c", "user.name=me", "-c", "user.email=me@here")
    (cwd / ".gitignore").write_text("/outputs\n/mlflow.db\n/mlartifacts\n/mlruns\n")
    for words in (("init", "-q"), ("add", ".gitignore"), ("commit", "-q", "-m", "none")):
        subprocess.run([*git, *words], check=True, cwd=cwd)
    subprocess.run([*git, "add", "-N", "."], check=True, cwd=cwd)
    assert len(set(planted)) == len(planted) >= 40, len(planted)

    shown = "".join(_said(cwd, env))
    logs = [(folder / "worker.log").read_text() for folder in run_folders(cwd)]
    assert all("found [redacted], sir" in log for log in logs)  # they were printed
    assert "api_key: '[redacted]'" in (run_folders(cwd)[0] / "config.yaml").read_text()
    assert any("num_tokens = 7" in patch.read_text() for patch in cwd.rglob("uncommitted.patch"))
    num_files, leaks = 0, [secret for secret in planted if secret in shown]
    for path, content in _written(cwd):
        if path.relative_to(cwd) not in theirs:
            num_files += 1
            leaks += [f"{secret} in {path}" for secret in planted if _is_in(secret, content)]
    assert not leaks
    assert num_files > 50


def _said(cwd: Path, env: dict[str, str]) -> Iterator[str]:
    """What commands of all kinds print."""
    quick = ("--config-dir", "conf", "net=talkative", "data=iris", "max_epochs=1")
    typed = "net.client_secret=typed-47"
    for code, words in [
        (0, ("train", *quick, typed)),
        (1, ("train", *quick, typed, "net.fails=true")),
        (0, ("train", "-m", *quick, typed, "seed=0,1")),
        (2, ("train", *quick, typed, "optimizer.lrr=1")),
        (0, ("resume", "last", typed)),
        (0, ("compare", "--html", "report.html", "--allow", "data")),
        (0, ("runs",)),
        (0, ("show", "last")),
        (0, ("sync",)),
    ]:
        done = primer(*words, cwd=cwd, env=env)
        assert done.returncode == code, (words, done.stdout + done.stderr)
        yield done.stdout + done.stderr


def _written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file, and what is in archives; not Python's own copies of the user's code, nor git's."""
    for path in folder.rglob("*"):
        if not path.is_file() or {"__pycache__", ".git"} & {*path.parts}:
            continue
        yield path, path.read_bytes()
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                yield from ((path, archive.read(name)) for name in archive.namelist())


def _is_in(secret: str, content: bytes) -> bool:
    """As it is, as JSON and other programs spell it, or in base64."""
    raw = secret.encode()
    spellings = {raw, json.dumps(secret)[1:-1].encode(), repr(secret)[1:-1].encode()}
    return any(each in content for each in spellings | {base64.b64encode(raw).rstrip(b"=")})
