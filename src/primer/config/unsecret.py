"""Hydra's config without what must stand in none of the files that Hydra keeps of it."""

from __future__ import annotations

import pickle
from typing import Any

from omegaconf import DictConfig, OmegaConf, read_write

from primer.redact import keep_secret, redacted, secrets_of


def without_secrets(config: DictConfig) -> DictConfig:
    """A copy, with its interpolations, in which secrets are redacted."""
    copy: DictConfig = pickle.loads(pickle.dumps(config))

    def put(node: Any, before: dict[str, Any], clean: dict[str, Any]) -> None:
        for key, value in before.items():
            if isinstance(value, dict):
                put(node[key], value, clean[key])
            elif value != clean[key]:
                node[key] = clean[key]

    whole = plain(copy)
    keep_secret(value for value in secrets_of(whole).values() if "${" not in str(value))
    with read_write(copy):
        put(copy, whole, redacted(whole))
    return copy


def plain(config: DictConfig) -> dict[str, Any]:
    """Its keys and values; interpolations stay as they are."""
    node = OmegaConf.to_container(config, resolve=False, enum_to_str=True)
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items()}
