"""Secrets go whatever shape they come in; what only looks like one stays."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primer.leaks import REDACTED, is_secret_key
from primer.redact import redacted, redacted_text, restored, secrets_of

# Put together here, so that no scanner takes this file for a leak.
GITHUB = "ghp_" + "a1B2" * 9
JWT = ".".join(["eyJ" + "hbGciOiJIUzI1NiJ9", "eyJ" + "zdWIiOiIxMjM0In0", "SflKxwRJSMeKKF2QT4"])
PEM = "-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE" + " KEY-----"

SECRET_KEYS = """
    password passwd passphrase pwd secret client_secret clientSecret token access_token auth_token
    authToken  api_key apikey apiKey APIKey access_key secret_key private_key credential credentials
    authorization  Authorization HF_TOKEN AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN
    MLFLOW_TRACKING_PASSWORD MYSQL_PWD DB_PASS  PGPASSWORD x-api-key data.password net.deep.apiKey
    password_2 api_keys github_token  AZURE_STORAGE_CONNECTION_STRING
"""
PLAIN_KEYS = """
    num_tokens use_cls_token cls_token pad_token eos_token bos_token sep_token unk_token mask_token
    special_token special_tokens additional_special_tokens start_token end_token tokens max_tokens
    tokenizer  token_dim tokens_per_batch key sort_key key_dim num_keys keys secretary author authors
    password_length  keyboard primary_key foreign_key monkey tokenizer.name secret_santa
    forward_pass bypass  num_pass PWD OLDPWD SSH_AUTH_SOCK TOKENIZERS_PARALLELISM hockey turkey donkey
    public_key eosToken
"""

PLANTED = [  # text, the secret in it, what is left
    ("http://me:hunter2@host:5000/api", "hunter2", "http://host:5000/api"),
    ("http://me:p@ss@host", "p@ss", "http://host"),
    ("postgresql://me:hunter2@db/mlflow and on", "hunter2", "postgresql://db/mlflow and on"),
    (f"remote: https://{GITHUB}@github.com/a/b.git", GITHUB, "remote: https://github.com/a/b.git"),
    (f"found {GITHUB}, sir", GITHUB, f"found {REDACTED}, sir"),
    *(
        (f"found {token}, sir", token, f"found {REDACTED}, sir")
        for token in [
            "gho_" + "a1B2" * 9,
            "github_pat_" + "11ABC_" * 9,
            "glpat-" + "x9_Y-" * 4,
            "hf_" + "aBcD" * 8,
            "sk-" + "aB3" * 16,
            "sk-ant-api03-" + "aB3_" * 12,
            "AKIA" + "ABCD1234" * 2,
            "xoxb-" + "1234567890-abc",
            "AIza" + "Sy_abcdefg" * 3 + "12345",
            "dapi" + "0123456789abcdef" * 2,
            JWT,
            PEM,
        ]
    ),
    (f"Bearer {JWT}", JWT, f"Bearer {REDACTED}"),
    ("Authorization: Bearer abcdef", "abcdef", f"Authorization: Bearer {REDACTED}"),
    ("Authorization: Basic bWU6cHc=", "bWU6cHc=", f"Authorization: Basic {REDACTED}"),
    ("curl -H 'X-Api-Key: hunter2' host", "hunter2", f"curl -H 'X-Api-Key: {REDACTED}' host"),
    ("http://host/a?api_key=hunter2&b=1", "hunter2", f"http://host/a?api_key={REDACTED}&b=1"),
    ("http://host/a?b=1&token=hunter2#c", "hunter2", f"http://host/a?b=1&token={REDACTED}#c"),
    ("s3://b/k?X-Amz-Signature=0a1b2c", "0a1b2c", f"s3://b/k?X-Amz-Signature={REDACTED}"),
    ('password = "hunter2"', "hunter2", f'password = "{REDACTED}"'),
    ("+    password: str = 'hunter2'  # mine", "hunter2", f"+    password: str = '{REDACTED}'  # mine"),
    ('{"api_key": "hunter2", "b": 1}', "hunter2", f'{{"api_key": "{REDACTED}", "b": 1}}'),
    (r"{\"api_key\": \"hunter2\", \"b\": 1}", "hunter2", rf"{{\"api_key\": \"{REDACTED}\", \"b\": 1}}"),
    ('os.environ["MY_TOKEN"] = "hunter2"', "hunter2", f'os.environ["MY_TOKEN"] = "{REDACTED}"'),
    ("connect(user='me', password='hunter2')", "hunter2", f"connect(user='me', password='{REDACTED}')"),
    (r'secret = "hun\"ter2"', 'ter2"', f'secret = "{REDACTED}"'),
    ('secret = """hun\nter2"""', "ter2", f'secret = """{REDACTED}"""'),
    ('if password == "hunter2":', "hunter2", f'if password == "{REDACTED}":'),
    ('password = "hunter2', "hunter2", f'password = "{REDACTED}'),
    ("""sh('password=") hunter2"')""", "hunter2", f"""sh('password="{REDACTED}"')"""),
    ("DB_PASSWORD=hunter2", "hunter2", f"DB_PASSWORD={REDACTED}"),
    ("-export HF_TOKEN=hunter2\n+x", "hunter2", f"-export HF_TOKEN={REDACTED}\n+x"),
    ('["A=b", "DB_PASSWORD=hunter2"]', "hunter2", f'["A=b", "DB_PASSWORD={REDACTED}"]'),
    ("login --token hunter2 --user me", "hunter2", f"login --token {REDACTED} --user me"),
    ("login --api-key=hunter2", "hunter2", f"login --api-key={REDACTED}"),
    ('["--token", "hunter2"]', "hunter2", f'["--token", "{REDACTED}"]'),
    ("primer train data.password=hunter2 seed=1", "hunter2", f"primer train data.password={REDACTED} seed=1"),
]
PLAIN = [
    "token = tokenizer.next()",
    "token: str",
    "def f(password: str | None = None) -> None:",
    'cls_token = "[CLS]"',
    '{"pad_token": "<pad>", "num_tokens": 3}',
    "password = os.environ.get(name)",
    'password = getpass.getpass("Password: ")',
    'password = ""',
    "self.token=tokenizer.next()",
    "secretary = 'Ms Moneypenny'",
    "the bearer token is missing",
    "sk-learn and task-force-one-two-three-four",
    "hf_hub_download(repo)",
    "http://host:5000/api?max_tokens=5&key=a&bypass=1&design=b",
    "mail me@host.org // now",
    "primer train optimizer.lr=0.1 data.target=token",
    "PWD=/home/me",
    "sqlite:////home/me/mlflow.db",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "0123456789abcdef0123456789abcdef01234567",
    "sort_key = 'name'",
    "KeyError: 'password'",
    "--tokens 5 --max-tokens 8",
    "",
]


@pytest.mark.parametrize("key", SECRET_KEYS.split())
def test_a_secret_key_is_known(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize("key", PLAIN_KEYS.split())
def test_a_key_that_looks_like_one_is_not(key: str) -> None:
    assert not is_secret_key(key)
    assert redacted({key: "plain"}) == {key: "plain"}


@pytest.mark.parametrize(("text", "secret", "left"), PLANTED)
def test_a_planted_secret_goes(text: str, secret: str, left: str) -> None:
    assert secret in text
    assert redacted_text(text) == left
    assert redacted_text(left) == left
    assert secret not in json.dumps(redacted({"message": [text, {"inner": text}]}))


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_stays(text: str) -> None:
    assert redacted_text(text) == text


def test_values_of_secret_variables_go_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "open-sesame")
    monkeypatch.setenv("OTHER_PASSWORD", "open-sesame-now")
    monkeypatch.setenv("LONG_PASSWORD", "an-open-sesame")
    monkeypatch.setenv("SHORT_PASSWORD", "no")
    monkeypatch.setenv("ODD_PASSWORD", "redacted")
    monkeypatch.setenv("NUM_TOKENS", "a-plain-value")
    text = "no open-sesame, no open-sesame-now, no an-open-sesame, no a-plain-value [redacted]"
    assert redacted_text(text) == "no [redacted], no [redacted], no [redacted], no a-plain-value [redacted]"
    monkeypatch.delenv("SOME_API_KEY")
    assert redacted_text("open-sesame") == "open-sesame"


def test_what_is_below_a_secret_key_goes_whole() -> None:
    node = {"password": "a", "secret": 5, "token": None, "pwd": "", "credentials": {"user": "b", "port": 1}}
    lists = {"api_keys": ["a", "b", 3], "argv": ["--token", "c", "d"], "pair": ("x", "http://a:b@c")}
    assert redacted(node) == {
        "password": REDACTED,
        "secret": REDACTED,
        "token": None,
        "pwd": "",
        "credentials": {"user": REDACTED, "port": REDACTED},
    }
    assert redacted(lists) == {
        "api_keys": [REDACTED, REDACTED, REDACTED],
        "argv": ["--token", REDACTED, "d"],
        "pair": ("x", "http://c"),
    }
    assert node["password"] == "a"  # a copy
    assert redacted(True) is True


NODES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "plain", "hunter2", REDACTED]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "password", "api_keys", "tokens"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(node=st.dictionaries(st.sampled_from(["net", "token", "data"]), NODES))
def test_secrets_come_back(node: dict[str, Any]) -> None:
    assert restored(redacted(node), secrets_of(node)) == node
    assert secrets_of(redacted(node)) == {}
    assert redacted(redacted(node)) == redacted(node)


def test_secrets_are_told_by_dotted_key() -> None:
    node = {"data": {"password": "a", "uri": "http://b:c@d"}, "token": ["e", {"f": "g"}], "seed": 0}
    assert secrets_of(node) == {"data.password": "a", "token.0": "e", "token.1.f": "g"}


PIECES = [*"\"'\\/@:=?&#- \n.[]a(", "//", "--token ", "TOKEN", "password:", "api_key=", "Bearer ", REDACTED]
PIECES += [
    "eyJaaaaaa.",
    "authorization: basic ",
    "a.token=",
    "-----BEGIN PRIVATE" + " KEY-----",
    GITHUB,
    "\ufdd0",
    '"""',
]


@settings(max_examples=500)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=25))
def test_what_is_clean_stays_clean(pieces: list[str]) -> None:
    once = redacted_text("".join(pieces))
    assert redacted_text(once) == once


@pytest.mark.parametrize(
    "piece", ["a", "-sk-", "-eyJ", "//a", 'password="', "a.token=(", "token: ", "-----BEGIN ", '\\"', "a:b="]
)
def test_two_megabytes_are_read_to_the_end(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    assert redacted_text(f"{text}\nDB_PASSWORD=hunter2").endswith(f"\nDB_PASSWORD={REDACTED}")
