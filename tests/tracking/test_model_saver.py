"""Models of nets of one shape: each answers by its own weights and its own preprocessing."""

from __future__ import annotations

from pathlib import Path

import mlflow.pyfunc
import mlflow.pytorch
import pandas as pd
import torch

from primer.data import Dataset, bundled, table
from primer.nets import TwoLayer
from primer.tracking.model import ModelSaver

SHARES = {"val_fraction": 0.2, "test_fraction": 0.2, "stratify": True, "standardize": True}


def _saved(root: Path, datasets: list[Dataset]) -> list[tuple[torch.nn.Module, Path]]:
    saver, saved = ModelSaver(), []
    for seed, dataset in enumerate(datasets):
        torch.manual_seed(seed)
        net = TwoLayer(dataset.in_features, dataset.out_features, torch.nn.ReLU(), hidden_dim=9)
        saver.save(root / str(seed), net, dataset)
        saved.append((net, root / str(seed)))
    return saved


def test_each_answers_as_its_net(tmp_path: Path) -> None:
    datasets = [bundled("iris", **SHARES, seed=seed) for seed in range(3)]
    models = _saved(tmp_path, datasets)
    assert len({mlflow.pyfunc.load_model(str(folder)).metadata.model_uuid for _, folder in models}) == 3
    for (net, folder), dataset in zip(models, datasets, strict=True):
        x = torch.from_numpy(dataset.train.x[:5])
        expected = torch.softmax(net(x), dim=1).detach().numpy()
        answer = mlflow.pyfunc.load_model(str(folder)).predict(dataset.example)
        found = answer.filter(like="probability").to_numpy()
        assert abs(found - expected).max() < 1e-6
        exported = mlflow.pytorch.load_model(str(folder))
        rows = torch.from_numpy(dataset.example.to_numpy(float).copy())
        assert abs(exported(rows).detach().numpy() - expected).max() < 1e-6


def test_each_has_its_own_preprocessing(tmp_path: Path) -> None:
    rows = pd.DataFrame({"size": range(40), "kind": list("abcd") * 10, "price": range(40)})
    rows.to_csv(tmp_path / "rows.csv", index=False)
    datasets = [
        table(
            str(tmp_path / "rows.csv"),
            target="price",
            task="regression",
            drop=(),
            seed=seed,
            **SHARES | {"stratify": False},
        )
        for seed in range(2)
    ]
    for (net, folder), dataset in zip(_saved(tmp_path, datasets), datasets, strict=True):
        y = net(torch.from_numpy(dataset.train.x[:5])).detach().numpy()
        expected = y * dataset.target_scale + dataset.target_mean
        answer = mlflow.pyfunc.load_model(str(folder)).predict(dataset.example)
        assert abs(answer.to_numpy() - expected).max() < 1e-4
