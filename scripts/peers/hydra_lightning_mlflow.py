"""What people write: Hydra's multirun, Lightning's Trainer, its MLFlowLogger with every step's loss."""

from __future__ import annotations

from dataclasses import dataclass

import hydra
import lightning as L
import torch
from hydra.core.config_store import ConfigStore
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Config:
    data: str = "digits"
    optimizer: str = "Adam"
    lr: float = 0.001
    seed: int = 0
    max_steps: int = 800
    hidden_dim: int = 100


def datasets(config: Config) -> tuple[TensorDataset, TensorDataset | None]:
    """Training rows, and rows to validate on if there are any."""
    if config.data == "primer":
        return TensorDataset(torch.randn(64, 1000), torch.randn(64, 10)), None
    x, y = (load_digits if config.data == "digits" else load_diabetes)(return_X_y=True)
    x, x_val, y, y_val = train_test_split(x, y, test_size=0.15, random_state=config.seed)
    scaler = StandardScaler().fit(x)
    kind = torch.int64 if config.data == "digits" else torch.float32
    y, y_val = (
        torch.tensor(v, dtype=kind).reshape(-1, *([1] if kind.is_floating_point else [])) for v in (y, y_val)
    )
    return (
        TensorDataset(torch.tensor(scaler.transform(x), dtype=torch.float32), y),
        TensorDataset(torch.tensor(scaler.transform(x_val), dtype=torch.float32), y_val),
    )


class Net(L.LightningModule):
    def __init__(self, config: Config, in_features: int, out_features: int) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Sequential(
            nn.Linear(in_features, config.hidden_dim), nn.ReLU(), nn.Linear(config.hidden_dim, out_features)
        )
        self.loss = nn.CrossEntropyLoss() if config.data == "digits" else nn.MSELoss()

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss = self.loss(self.net(batch[0]), batch[1])
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.log("val/loss", self.loss(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return getattr(torch.optim, self.config.optimizer)(self.parameters(), lr=self.config.lr)


@hydra.main(version_base="1.3", config_path=None, config_name="config")
def main(config: Config) -> None:
    """One run, every step logged."""
    L.seed_everything(config.seed)
    train, val = datasets(config)
    out_features = 1 if config.data == "diabetes" else 10
    trainer = L.Trainer(
        max_steps=config.max_steps,
        accelerator="cpu",
        logger=MLFlowLogger("bench", tracking_uri="sqlite:///mlflow.db"),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(monitor="val/loss")] if val else [],
    )
    trainer.logger.log_hyperparams(dict(config))
    batch_size = 64 if config.data == "primer" else 32
    loaders = [DataLoader(train, batch_size, shuffle=True), *([DataLoader(val, 512)] if val else [])]
    trainer.fit(Net(config, train.tensors[0].shape[1], out_features), *loaders)


if __name__ == "__main__":
    ConfigStore.instance().store("config", node=Config)
    main()
