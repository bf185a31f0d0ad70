"""The five ways of the article are one computation, up to rounding; and their losses are the article's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from runs import Worked

from primer.data import bundled, epoch_order
from primer.nets import TwoLayer

WAYS = ("manual", "tensors", "custom_function", "sequential", "two_layer")


def losses(folder: Path, *overrides: str) -> list[float]:
    """The losses of a run."""
    return Worked(folder, *overrides).curve()


@pytest.fixture(scope="module")
def curves(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[float]]:
    root = tmp_path_factory.mktemp("ways")
    return {
        (way, precision): losses(
            root / f"{way}{precision}", f"experiment=primer/{way}", f"accelerator.precision={precision}"
        )
        for way in WAYS
        for precision in ("32", "64")
    }


def largest_difference(left: list[float], right: list[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("way", ["tensors", "custom_function"])
def test_the_gradient_by_hand_is_autograds(curves: dict[tuple[str, str], list[float]], way: str) -> None:
    assert len(curves["manual", "64"]) == 500
    assert largest_difference(curves["manual", "64"], curves[way, "64"]) < 1e-10
    assert largest_difference(curves["manual", "32"][:100], curves[way, "32"][:100]) < 1e-4


def test_a_class_is_bitwise_the_sequential_expression(curves: dict[tuple[str, str], list[float]]) -> None:
    for precision in ("32", "64"):
        assert curves["sequential", precision] == curves["two_layer", precision]


def test_precision_is_a_switch_that_does_something(curves: dict[tuple[str, str], list[float]]) -> None:
    for way in WAYS:
        assert curves[way, "32"] != curves[way, "64"]
        assert curves[way, "32"][0] == pytest.approx(curves[way, "64"][0], rel=1e-5)


@pytest.mark.parametrize("net", ["manual", "tensors", "sequential"])
def test_switching_the_net_changes_only_how_the_gradient_comes_about(tmp_path: Path, net: str) -> None:
    quick = ("data=digits", "max_epochs=2", "accelerator.precision=64", "activation=custom_relu")
    expected = losses(tmp_path / "two_layer", *quick)
    assert largest_difference(losses(tmp_path / net, *quick, f"net={net}"), expected) < 1e-12


@pytest.mark.parametrize("fused", [True, False])
def test_a_run_is_bitwise_the_plain_loop_that_a_reader_would_write(tmp_path: Path, fused: bool) -> None:
    data = bundled("digits", val_fraction=0.15, test_fraction=0.15, stratify=True, standardize=True, seed=3)
    torch.manual_seed(3)
    torch.set_num_threads(1)
    net = TwoLayer(64, 10, torch.nn.ReLU(), hidden_dim=100)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001, fused=fused)
    expected = []
    for epoch in range(3):
        for rows in np.array_split(epoch_order(1257, seed=3, epoch=epoch), range(32, 1257, 32)):
            x, y = torch.from_numpy(data.train.x[rows]), torch.from_numpy(data.train.y[rows])
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x), y, reduction="sum") / len(rows)
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
    assert losses(tmp_path / "run", "max_epochs=3", "seed=3", f"optimizer.fused={fused}") == expected


def test_the_custom_relu_is_bitwise_the_built_in(tmp_path: Path) -> None:
    quick = ("data=digits", "max_epochs=2")
    built_in = losses(tmp_path / "relu", *quick)
    assert losses(tmp_path / "custom", *quick, "activation=custom_relu") == built_in
    assert losses(tmp_path / "gelu", *quick, "activation=gelu") != built_in
