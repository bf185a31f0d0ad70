"""The state of every random generator that a net may draw from, as a checkpoint keeps it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import distributed

States = list[dict[str, Any]]


def seed_generators(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's net may draw from it
    torch.manual_seed(seed)


def random_states() -> States:
    """The state of Python's, NumPy's and torch's generators, of each rank; plain types and tensors.

    >>> states = random_states()
    >>> drawn = torch.rand(1)
    >>> set_random_state(states)
    >>> torch.equal(torch.rand(1), drawn)
    True
    """
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    inner = numpy_state["state"]
    # torch.load(weights_only=True) takes tensors, not arrays
    plain = inner | {"key": torch.from_numpy(inner["key"].astype(np.int64))}
    state = {
        "python": random.getstate(),
        "numpy": numpy_state | {"state": plain},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }
    if not distributed.is_initialized():
        return [state]
    states: States = [{}] * distributed.get_world_size()
    distributed.all_gather_object(states, state)
    return states


def set_random_state(states: States, rank: int = 0) -> None:
    """Put the generators of a rank back."""
    state = states[rank]
    random.setstate(state["python"])
    inner = state["numpy"]["state"]
    numpy_state = state["numpy"] | {"state": inner | {"key": inner["key"].numpy().astype(np.uint32)}}
    np.random.set_state(numpy_state)  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    torch.cuda.set_rng_state_all(state["cuda"])
