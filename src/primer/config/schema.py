"""What every key of a config means: its type, its bounds and one line of help.

The dataclasses hold meaning; the values stand in `conf/`, one file per option, each beginning with its
schema here (`/schema/optimizer/sgd@_here_`). Help texts, errors and tab completion are made from both.
A field without help makes an option what it is (`_target_`): its file sets it, an override can't.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

MISSING: Any = "???"  # OmegaConf's word; its import is left to those who compose


class Bounds(TypedDict, total=False):
    """What a value may be; for a list, each of its items, and how many there are."""

    above: float
    at_least: float
    below: float
    at_most: float
    one_of: tuple[str | int, ...]
    length: int


def key(help: str, **bounds: Unpack[Bounds]) -> Any:
    """A dataclass field with its line of help and its bounds."""
    return dataclasses.field(default=MISSING, metadata={"help": help, **bounds})


@dataclass
class Train:
    """The plain keys: what is the same whichever parts are chosen."""

    data: Any = key("what to learn from")
    net: Any = key("what learns; its input and output sizes come from the data")
    activation: Any = key("what stands between the layers of the net")
    criterion: Any = key("what is made small")
    optimizer: Any = key("how the weights are changed")
    scheduler: Any = key("how the learning rate changes, step by step")
    accelerator: Any = key("where the run is computed, and in which precision")
    tracking: Any = key("where the run is kept, beside its folder")
    name: str | None = key("name of the run; null: made from what was switched")
    seed: int = key("of weights, sample order, splits and synthetic data", at_least=0, below=2**63)
    max_epochs: int | None = key("passes over the training rows; null: no limit", at_least=1)
    max_steps: int | None = key("optimizer steps, instead of max_epochs; null: no limit", at_least=1)
    batch_size: int = key("rows of one optimizer step, over all devices", at_least=1)
    accumulate_grad_batches: int = key("parts that a batch is computed in, to save memory", at_least=1)
    gradient_clip_val: float | None = key("largest norm of the gradient; null: no clipping", above=0)
    val_every_n_steps: int | None = key("validate every n steps; null: after each epoch", at_least=1)
    monitor: str = key("metric that decides which checkpoint is best, and early stopping")
    patience: int | None = key("validations without improvement before stopping; null: never", at_least=1)
    log_every_n_steps: int = key("record train/loss every n optimizer steps", at_least=1)
    checkpoint_every_n_steps: int | None = key("save every n steps; null: by the minutes", at_least=1)
    checkpoint_every_n_minutes: float | None = key(
        "save when so much time went by since the last; a kill loses no more", above=0
    )
    on_nonfinite: str = key(
        "a loss or gradient that is not finite: end the run, skip the update, train on",
        one_of=("stop", "skip", "ignore"),
    )
    verification: str = key(
        "check custom autograd Functions first: warn, refuse to train wrong ones, don't",
        one_of=("warn", "require", "off"),
    )
    deterministic: bool = key("same command, same bits; false: faster on some GPUs")
    compile: bool = key("compile the loss by torch.compile, on CUDA with CUDA graphs; takes a minute")


# What every option has, beside its own keys.
TARGET = "_target_"


@dataclass
class Part:
    """One option of a conf group: the callable that builds it and its arguments."""

    _target_: str = MISSING


@dataclass
class Splits(Part):
    val_fraction: float = key("share of the rows to validate on", above=0, below=1)
    test_fraction: float = key("share of the rows to test on at the end; 0: none", at_least=0, below=1)
    stratify: bool = key("keep the shares of the classes in each split")
    standardize: bool = key("scale columns to mean 0, standard deviation 1 of the training rows")
    seed: int = key("of the splits; follows the run's seed unless given", at_least=0, below=2**63)


@dataclass
class Bundled(Splits):
    name: str = MISSING


@dataclass
class Table(Splits):
    path: str = key("CSV (.csv, .tsv, .csv.gz) or Parquet file to read")
    target: str = key("column to predict")
    task: str = key("what the target is", one_of=("auto", "regression", "classification"))
    drop: list[str] = key("columns to leave out, such as row ids")


@dataclass
class Synthetic(Part):
    num_samples: int = key("rows", at_least=1)
    in_features: int = key("columns of x", at_least=1)
    out_features: int = key("columns of y", at_least=1)
    seed: int = key("of the numbers drawn; follows the run's seed unless given", at_least=0, below=2**63)


@dataclass
class Net(Part):
    hidden_dim: int = key("units of the hidden layer", at_least=1)
    bias: bool = key("whether both layers add a bias")


@dataclass
class RawNet(Net):
    weight_init: str = key("linear: as torch.nn.Linear; normal: standard normal", one_of=("linear", "normal"))


@dataclass
class LeakyReLU(Part):
    negative_slope: float = key("slope where the input is negative")


@dataclass
class PReLU(Part):
    init: float = key("slope where the input is negative, before it is learned")


@dataclass
class GELU(Part):
    approximate: str = key("none: exact; tanh: approximation", one_of=("none", "tanh"))


@dataclass
class Loss(Part):
    reduction: str = key("over the batch", one_of=("mean", "sum"))


@dataclass
class Huber(Loss):
    delta: float = key("error from which the loss grows linearly", above=0)


@dataclass
class CrossEntropy(Loss):
    label_smoothing: float = key("share of the target spread over all classes", at_least=0, at_most=1)


@dataclass
class Optimizer(Part):
    lr: float = key("learning rate", at_least=0)
    weight_decay: float = key("weight decay (adamw: decoupled, others: L2)", at_least=0)


@dataclass
class SGD(Optimizer):
    momentum: float = key("share of the last step that is kept", at_least=0, at_most=1)
    nesterov: bool = key("Nesterov's momentum; needs momentum > 0")


@dataclass
class Adam(Optimizer):
    betas: list[float] = key("decay of the two running averages", at_least=0, below=1, length=2)
    eps: float = key("added to the denominator", at_least=0)
    amsgrad: bool = key("keep the largest second moment")
    fused: bool = key("torch's fused update: three times faster, other last digits")


@dataclass
class RMSprop(Optimizer):
    alpha: float = key("decay of the running average", at_least=0, below=1)
    eps: float = key("added to the denominator", at_least=0)
    momentum: float = key("share of the last step that is kept", at_least=0, at_most=1)
    centered: bool = key("divide by the standard deviation, not the root mean square")


@dataclass
class Step(Part):
    step_size: int = key("steps between two cuts of the learning rate", at_least=1)
    gamma: float = key("factor of each cut", above=0)


@dataclass
class Cosine(Part):
    final_factor: float = key("learning rate at the end, as a share of the first", at_least=0, at_most=1)


@dataclass
class WarmupCosine(Cosine):
    warmup_steps: int = key("steps of linear rise before the cosine", at_least=1)


@dataclass
class Accelerator:
    accelerator: str = MISSING
    strategy: str = MISSING
    devices: int | None = key("processes on a node, a device each; null: all GPUs, of ddp_cpu 2", at_least=1)
    num_nodes: int = key("machines, on each of which srun or torchrun starts the processes", at_least=1)
    precision: str = key("floating point format", one_of=("32", "bf16-mixed", "16-mixed", "64"))
    num_threads: int | None = key("CPU threads of the process; null: by the size of a step", at_least=1)


@dataclass
class Tracking:
    uri: str | None = key("MLflow store; null: $MLFLOW_TRACKING_URI, else mlflow.db in this folder")
    experiment: str = key("MLflow experiment that the run belongs to")
    log_model: bool = key("keep the trained net as an MLflow model that can be served")
    points: int = key("of a run that trained with others, points of a curve that MLflow gets", at_least=10)


@dataclass
class Off:
    """Nothing is sent to MLflow, which is not even imported; the run folder holds everything."""


# What an option is typed by: one schema, where the options of a group share it.
SCHEMAS: dict[str, dict[str, type]] = {
    "data": {"bundled": Bundled, "table": Table, "synthetic": Synthetic},
    "net": {"net": Net, "raw_net": RawNet},
    "activation": {"part": Part, "leaky_relu": LeakyReLU, "prelu": PReLU, "gelu": GELU},
    "criterion": {"part": Part, "loss": Loss, "huber": Huber, "cross_entropy": CrossEntropy},
    "optimizer": {"sgd": SGD, "adam": Adam, "rmsprop": RMSprop},
    "scheduler": {"part": Part, "step": Step, "cosine": Cosine, "warmup_cosine": WarmupCosine},
    "accelerator": {"accelerator": Accelerator},
    "tracking": {"tracking": Tracking, "off": Off},
}
GROUPS = (*SCHEMAS, "experiment")
SWITCHES = tuple(SCHEMAS)


def fields_of(kind: Any) -> dict[str, dataclasses.Field[Any]]:
    """The keys that a schema types; none for what is not a schema, such as a user's own part without one.

    >>> list(fields_of(Step)), fields_of(dict)
    (['_target_', 'step_size', 'gamma'], {})
    """
    return {field.name: field for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
