"""Save a trained net as an MLflow model that answers on raw rows; the worker does, after training."""

from __future__ import annotations

import copy
import json
import logging
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, ModelSignature, infer_signature
from mlflow.types import ColSpec, Schema
from mlflow.types.schema import AnyType
from mlflow.utils import environment
from torch import Tensor, nn

from primer.data import Dataset
from primer.data.preprocess import TRUSTED_TYPES
from primer.tracking import serving

PROGRAM = Path("data", "model.pt2")  # where mlflow.pytorch keeps an exported net


class Answering(nn.Module):
    """A net between raw numbers and an answer in words a person uses.

    Takes raw numeric rows, (batch, features) float64, where the table holds numbers only; else rows as the
    preprocessor leaves them. Returns probabilities (batch, classes), or numbers in the target's own unit.
    """

    fill: Tensor
    mean: Tensor
    scale: Tensor
    target_mean: Tensor
    target_scale: Tensor

    def __init__(self, net: nn.Module, dataset: Dataset) -> None:
        super().__init__()
        self.net = net
        self.has_classes = dataset.task == "classification"
        fill, mean, scale = _column_statistics(dataset)
        for name, values in {
            "fill": fill,
            "mean": mean,
            "scale": scale,
            "target_mean": dataset.target_mean,
            "target_scale": dataset.target_scale,
        }.items():
            self.register_buffer(name, torch.from_numpy(np.array(values, np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        filled = torch.where(torch.isnan(x), self.fill, x)
        prediction: Tensor = self.net(((filled - self.mean) / self.scale).to(torch.float32))
        if self.has_classes:
            return torch.softmax(prediction, dim=1)
        return prediction.double() * self.target_scale + self.target_mean


def _column_statistics(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per column the value for a gap, the mean and the scale; 0, 0, 1 where a preprocessor stays outside."""
    zeros, ones = np.zeros(dataset.in_features), np.ones(dataset.in_features)
    if dataset.preprocessor is None or needs_preprocessor(dataset):
        return zeros, zeros, ones
    steps = dataset.preprocessor.named_transformers_["numbers"].named_steps
    scaler = steps.get("standardscaler")
    fill = steps["simpleimputer"].statistics_
    return (fill, zeros, ones) if scaler is None else (fill, scaler.mean_, scaler.scale_)


def needs_preprocessor(dataset: Dataset) -> bool:
    """Whether raw rows hold more than numbers."""
    return dataset.preprocessor is not None and "categories" in dataset.preprocessor.named_transformers_


class ModelSaver:
    """Writes MLflow models with two flavours: python_function (raw rows) and pytorch (the net).

    Those of nets of one shape, on data of one kind: the first is MLflow's work, 0.1 s of it; the others are
    as it, with weights and preprocessing of their own, 0.02 s each (measured).
    """

    def __init__(self) -> None:
        self._first: Path | None = None
        self._program: torch.export.ExportedProgram | None = None
        self._model = Model()  # of the first, whose file may be another by now: it is shipped

    def save(self, folder: Path, net: nn.Module, dataset: Dataset) -> None:
        """Write the model of a net that was trained on `dataset` into a new folder."""
        module = Answering(copy.deepcopy(net).float(), dataset).cpu().eval()
        if self._first is None:
            self._model = _save(folder, module, dataset)
            self._first = folder
            return
        if self._program is None:
            self._program = torch.export.load(self._first / PROGRAM)
        shutil.copytree(self._first, folder, ignore=shutil.ignore_patterns("preprocessor.skops"))
        with torch.no_grad():
            for name, value in module.state_dict().items():
                self._program.state_dict[name].copy_(value)
        torch.export.save(self._program, folder / PROGRAM)
        _write_serving(folder / "serving", dataset)
        self._model.model_uuid = uuid.uuid4().hex
        self._model.save(folder / "MLmodel")


def _save(folder: Path, module: Answering, dataset: Dataset) -> Model:
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    inner_folder = folder.with_name(f".{folder.name}")
    with warnings.catch_warnings(), _unchecked():
        warnings.simplefilter("ignore")
        exported = _save_exported(module, inner_folder, dataset)
        _write_serving(inner_folder / "serving", dataset)
        model = _save_answering(folder, inner_folder, module, dataset, exported)
    shutil.rmtree(inner_folder)
    return model


def _save_exported(module: nn.Module, folder: Path, dataset: Dataset) -> Model:
    width = dataset.in_features
    is_encoded = needs_preprocessor(dataset)
    x = np.zeros((2, width), np.float32 if is_encoded else np.float64)  # 2 rows: the number stays free
    with torch.no_grad():
        signature = infer_signature(x, module(torch.from_numpy(x)).numpy())
    mlflow.pytorch.save_model(
        module, folder, signature=signature, input_example=x, pip_requirements=_requirements()
    )
    return Model.load(folder)


def _write_serving(folder: Path, dataset: Dataset) -> None:
    folder.mkdir(exist_ok=True)
    texts = list(dataset.example.select_dtypes(exclude=["number", "bool"]).columns)
    names = {
        "texts": texts,
        "features": dataset.features,
        "classes": dataset.classes,
        "trusted": TRUSTED_TYPES,
    }
    (folder / "answer.json").write_text(json.dumps(names))
    if needs_preprocessor(dataset):
        import skops.io  # 0.7 s

        skops.io.dump(dataset.preprocessor, folder / "preprocessor.skops")


def _save_answering(folder: Path, inner: Path, module: nn.Module, dataset: Dataset, exported: Model) -> Model:
    # numbers as double: a column of whole numbers may meet a gap, or a fraction, when served
    numbers = dataset.example.select_dtypes("number").columns
    example = dataset.example.astype(dict.fromkeys(numbers, "float64"))
    with torch.no_grad():
        answer = serving.RawRows(inner, module).predict(example)
    # of any type: MLflow refuses whole numbers where a fraction was seen, or a gap
    anything = AnyType()  # type: ignore[no-untyped-call]
    any_row = Schema([ColSpec(anything, name, required=False) for name in dataset.features])
    with tempfile.TemporaryDirectory() as code:
        shutil.copy(serving.__file__, Path(code) / "primer_serving.py")
        model = Model()
        mlflow.pyfunc.save_model(
            folder,
            loader_module="primer_serving",
            code_paths=[str(Path(code) / "primer_serving.py")],
            mlflow_model=model,
            signature=ModelSignature(any_row, infer_signature(answer).inputs),
            input_example=example,
            pip_requirements=_requirements(),
        )
    model.flavors["pytorch"] = exported.flavors["pytorch"]
    for part in ("data", "serving"):
        shutil.move(inner / part, folder / part)
    model.save(folder / "MLmodel")
    return model


def _requirements() -> list[str]:
    names = ("torch", "pandas", "scikit-learn", "skops", "numpy")
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]


@contextmanager
def _unchecked() -> Iterator[None]:
    """MLflow compares requirements with what is installed, for 0.5 s; ours are what is installed."""
    name = "warn_dependency_requirement_mismatches"
    check = getattr(environment, name)
    setattr(environment, name, lambda requirements: None)
    try:
        yield
    finally:
        setattr(environment, name, check)
