"""The three nets that are measured, as primer trains them and as people write them."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from primer.data import Dataset, bundled, synthetic
from primer.training.batches import Batches
from primer.training.trainer import silence_lightning

SPLITS = {"val_fraction": 0.15, "test_fraction": 0.15, "standardize": True, "seed": 0}
PRIMER = ("experiment=primer/two_layer", "log_every_n_steps=1")
TINY = ("data=diabetes", "net.hidden_dim=32", "max_epochs=null", "max_steps=2000", "optimizer=sgd")


@dataclass(frozen=True)
class Case:
    """A run, and a sweep of 64: 8 learning rates times 8 seeds."""

    overrides: tuple[str, ...]  # ours
    peer: tuple[str, ...]  # those of Hydra + Lightning + MLFlowLogger
    lrs: str
    shape: tuple[int, int, int]
    num_steps: int
    batch_size: int
    has_classes: bool = False

    @property
    def sweep(self) -> tuple[str, ...]:
        return (*self.overrides, "seed=range(8)", f"optimizer.lr={self.lrs}")

    def dataset(self) -> Dataset:
        if self.shape[0] == 1000:
            return synthetic(num_samples=64, in_features=1000, out_features=10, seed=0)
        return bundled("digits" if self.has_classes else "diabetes", **SPLITS, stratify=self.has_classes)

    def net(self) -> nn.Sequential:
        inputs, hidden, outputs = self.shape
        return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def criterion(self) -> nn.Module:
        return nn.CrossEntropyLoss() if self.has_classes else nn.MSELoss()

    def optimizer(self, net: nn.Module) -> torch.optim.Optimizer:
        kind = torch.optim.Adam if self.has_classes else torch.optim.SGD
        return kind(net.parameters(), lr=1e-4)


LRS = "1e-4,3e-4,1e-3,2e-3,3e-3,5e-3,7e-3,1e-2"
CASES = {
    "digits": Case(
        ("data=digits", "max_epochs=20"), ("data=digits", "max_steps=800"), LRS, (64, 100, 10), 800, 32, True
    ),
    "primer": Case(
        PRIMER,
        ("data=primer", "max_steps=500", "optimizer=SGD"),
        "1e-7,2e-7,3e-7,4e-7,5e-7,6e-7,8e-7,1e-6",
        (1000, 100, 10),
        500,
        64,
    ),
    "tiny": Case(
        TINY,
        ("data=diabetes", "max_steps=2000", "optimizer=SGD", "hidden_dim=32"),
        LRS,
        (10, 32, 1),
        2000,
        32,
    ),
}


def raw_loop(case: Case) -> float:
    """Seconds of one run as the article writes it: a loop over batches, the loss read at every step.

    The better of one thread and of as many as torch takes.
    """
    num_threads = torch.get_num_threads()
    try:
        return min(_raw_loop(case, number) for number in {1, num_threads})
    finally:
        torch.set_num_threads(num_threads)


def _raw_loop(case: Case, num_threads: int) -> float:
    torch.set_num_threads(num_threads)
    net, criterion = case.net(), case.criterion()
    optimizer = case.optimizer(net)
    batches = Batches(case.dataset().train, batch_size=case.batch_size, seed=0).after(0)
    losses = []
    begun_at = time.perf_counter()
    for _, ((x, y, _),) in zip(range(case.num_steps), batches, strict=False):
        loss = criterion(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return time.perf_counter() - begun_at


class _Plain(LightningModule):
    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case, self.net, self.loss = case, case.net(), case.criterion()

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.loss(self.net(batch[0]), batch[1])
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.case.optimizer(self.net)


def lightning_loop(case: Case) -> float:
    """Seconds of one run by a plain Lightning Trainer that logs nothing and validates nothing."""
    silence_lightning()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    split = case.dataset().train
    rows = TensorDataset(*(torch.from_numpy(np.ascontiguousarray(v)) for v in (split.x, split.y)))
    trainer = Trainer(
        max_steps=case.num_steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    begun_at = time.perf_counter()
    trainer.fit(_Plain(case), DataLoader(rows, case.batch_size, shuffle=True))
    return time.perf_counter() - begun_at


def sklearn_runs(case: Case, num_runs: int) -> float:
    """Seconds of as many runs by scikit-learn's MLP, on all CPUs by joblib; it records a loss an epoch."""
    from joblib import Parallel, delayed
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    split = case.dataset().train
    kind = MLPClassifier if case.has_classes else MLPRegressor
    num_epochs = case.num_steps // -(-len(split) // case.batch_size)

    def fit(seed: int) -> None:
        solver = {"solver": "adam"} if case.has_classes else {"solver": "sgd", "momentum": 0.0}
        kind(
            hidden_layer_sizes=(case.shape[1],),
            batch_size=case.batch_size,
            max_iter=num_epochs,
            learning_rate_init=1e-4,
            alpha=0.0,
            n_iter_no_change=num_epochs,
            random_state=seed,
            **solver,
        ).fit(split.x, split.y.ravel())

    begun_at = time.perf_counter()
    Parallel(n_jobs=-1)(delayed(fit)(seed) for seed in range(num_runs))
    return time.perf_counter() - begun_at
