"""What a soak trains: a few runs and sweeps, each of them once undisturbed, and again and again disturbed."""

from __future__ import annotations

from typing import NamedTuple

STORE = "tracking.uri"  # where a kind that does not go to mlflow.db is told the server's address


class Kind(NamedTuple):
    """A command `primer train`, and whether it is told of the server."""

    words: tuple[str, ...]
    is_sweep: bool = False
    is_local: bool = False

    def command(self, uri: str, experiment: str) -> tuple[str, ...]:
        """What is typed after `primer`."""
        many = ("-m",) if self.is_sweep else ()
        where = () if self.is_local else (f"{STORE}={uri}",)
        return ("train", *many, *self.words, *where, f"tracking.experiment={experiment}")


NO_MODEL = "tracking.log_model=false"
EARLY = ("patience=4", "val_every_n_steps=10", "checkpoint_every_n_steps=15")
FUSED = ("data=digits", "accelerator.precision=64", "optimizer.lr=0.001,0.003", "seed=range(3)")
KINDS = {
    "plain": Kind(("data=digits", "max_epochs=50", "checkpoint_every_n_steps=90", NO_MODEL)),
    "scheduled": Kind(
        (
            *("data=digits", "activation=custom_relu", "optimizer=sgd", "scheduler=warmup_cosine"),
            *("max_epochs=40", "checkpoint_every_n_steps=70"),
        )
    ),
    "early": Kind(("data=iris", "max_epochs=900", "optimizer.lr=0.002", "seed=3", *EARLY, NO_MODEL)),
    "article": Kind(("experiment=primer/custom_function", "checkpoint_every_n_steps=40", NO_MODEL)),
    "local": Kind(
        (
            *("data=breast_cancer", "optimizer=rmsprop", "scheduler=step", "scheduler.step_size=200"),
            *("accumulate_grad_batches=2", "max_epochs=50", "checkpoint_every_n_steps=60", NO_MODEL),
        ),
        is_local=True,
    ),
    # 1200 steps: MLflow gets the curves of those that train together thinned
    "fused": Kind((*FUSED, "max_epochs=30", "checkpoint_every_n_steps=100", NO_MODEL), is_sweep=True),
    "fused 32": Kind(
        (
            *("data=diabetes", "optimizer=sgd", "optimizer.lr=0.00002", "scheduler=step", "max_epochs=60"),
            *("seed=range(5)", "checkpoint_every_n_steps=50", NO_MODEL),
        ),
        is_sweep=True,
    ),
    "fused early": Kind(
        (
            *("data=wine", "activation=relu,tanh", "seed=10,11,12", "accelerator.precision=64"),
            *("max_epochs=200", *EARLY),
        ),
        is_sweep=True,
    ),
    "alone": Kind(
        (
            *("data=iris", "activation=relu,custom_relu", "seed=20,21", "hydra.launcher.fuse=off"),
            *("max_epochs=80", "checkpoint_every_n_steps=30", NO_MODEL),
        ),
        is_sweep=True,
    ),
    "local sweep": Kind(
        ("data=wine", "optimizer=adam,sgd", "seed=range(2)", "max_epochs=60", "checkpoint_every_n_steps=40"),
        is_sweep=True,
        is_local=True,
    ),
}
