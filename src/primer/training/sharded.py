"""Nets whose weights are shared out among ranks, by torch's fully_shard; whole where they leave the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from primer.files import read_verified
from primer.training.strategies import Launcher, Watching


class ShardedStrategy(ModelParallelStrategy):
    """Lightning's own, of which each rank takes other rows; its checkpoints are those of a single device."""

    def __init__(self, watching: Watching, num_ranks: int) -> None:
        super().__init__(
            data_parallel_size=num_ranks, tensor_parallel_size=1, save_distributed_checkpoint=False
        )
        self._watching = watching

    def _configure_launcher(self) -> None:
        self._launcher = Launcher(self, self._watching)

    def load_checkpoint(
        self, checkpoint_path: str | Path, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint that is what was written, without pickle."""
        read_verified(Path(checkpoint_path))  # Lightning reads it by itself
        return super().load_checkpoint(checkpoint_path, weights_only=True)


def shard(net: nn.Module, mesh: DeviceMesh) -> None:
    """Share out the weights of a net, unless they are, so that gradients are sums over ranks.

    As one group: a child of its own in a rank's rows would leave the others waiting.
    """
    if isinstance(net, FSDPModule):
        return
    sharded = fully_shard(net, mesh=mesh)
    sharded.set_gradient_divide_factor(1.0)
    sharded.set_force_sum_reduction_for_comms(True)


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor that may be shared out.

    >>> import torch
    >>> local(torch.ones(2)).tolist()
    [1.0, 1.0]
    """
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that may be shared out, whole on each rank; all ranks have to ask."""
    return {
        name: weight.full_tensor() if isinstance(weight, DTensor) else weight
        for name, weight in weights.items()
    }


def load(net: nn.Module, weights: dict[str, Any]) -> None:
    """Put whole weights into a net that may be shared out; all ranks have to."""
    if isinstance(net, FSDPModule):
        set_model_state_dict(net, weights, options=StateDictOptions(full_state_dict=True))
    else:
        net.load_state_dict(weights)
