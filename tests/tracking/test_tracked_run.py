"""What a run leaves in MLflow, read back by MlflowClient alone."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from faulty_server import free_port
from mlflow import MlflowClient
from mlflow.entities import Run
from runs import Trained, primer
from serving import serving

from primer import sync, train
from primer.config import compose, config_hash
from primer.data import bundled


def client_of(trained: Trained) -> MlflowClient:
    return MlflowClient(f"sqlite:///{trained.cwd}/mlflow.db")


def run_of(client: MlflowClient) -> Run:
    experiment = client.get_experiment_by_name("primer")
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def test_each_step_is_a_point_with_the_value_recorded(article_run: Trained) -> None:
    client = client_of(article_run)
    points = client.get_metric_history(run_of(client).info.run_id, "train/loss")
    points.sort(key=lambda point: point.step)
    assert [point.step for point in points] == list(range(1, 501))
    assert [point.value for point in points] == article_run.curve()
    times = [point.timestamp for point in points]
    assert times == sorted(times)


def test_params_are_the_switches_and_their_scalars_whole(article_run: Trained) -> None:
    params = run_of(client_of(article_run)).data.params
    expected = {
        "data": "primer",
        "net": "tensors",
        "activation": "clamp",
        "criterion": "sum_squared_error",
        "optimizer": "sgd",
        "optimizer.lr": "1e-06",
        "net.bias": "false",
        "net.weight_init": "normal",
        "seed": "0",
        "batch_size": "64",
        "max_steps": "500",
    }
    assert {name: params[name] for name in expected} == expected


def test_status_name_tags_and_times(article_run: Trained) -> None:
    run = run_of(client_of(article_run))
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "primer/tensors s0"
    assert run.info.end_time > run.info.start_time
    assert run.data.tags["primer.config_hash"] == config_hash(article_run.config)
    assert run.data.tags["primer.group"].startswith("clamp sgd lr=1e-06 tensors primer #")
    assert run.data.tags["primer.num_params"] == str(1000 * 100 + 100 * 10)
    assert run.info.run_id in article_run.done.stdout


def test_artifacts_are_there_and_config_resolves_to_the_same_run(
    article_run: Trained, tmp_path: Path
) -> None:
    client = client_of(article_run)
    run_id = run_of(client).info.run_id
    names = {file.path for file in client.list_artifacts(run_id)}
    assert {"config.yaml", "environment.json", "curves.parquet", "curves.png"} <= names
    config = yaml.safe_load(Path(client.download_artifacts(run_id, "config.yaml", str(tmp_path))).read_text())
    assert config == compose(["experiment=primer/tensors"])
    environment = json.loads(
        Path(client.download_artifacts(run_id, "environment.json", str(tmp_path))).read_text()
    )
    assert environment["packages"]["torch"] == torch.__version__
    curves = pd.read_parquet(client.download_artifacts(run_id, "curves.parquet", str(tmp_path)))
    assert len(curves[curves["key"] == "train/loss"]) == 500


def test_the_dataset_is_logged_with_its_digest(default_run: Trained) -> None:
    run = run_of(client_of(default_run))
    (used,) = run.inputs.dataset_inputs
    same = bundled("digits", val_fraction=0.15, test_fraction=0.15, stratify=True, standardize=True, seed=9)
    assert (used.dataset.name, used.dataset.digest) == ("digits", same.digest)
    assert json.loads(used.dataset.profile)["num_rows"] == {"train": 1257, "val": 270, "test": 270}
    assert run.data.params["criterion"] == "cross_entropy"  # what `auto` came to


def test_metrics_of_the_task(default_run: Trained) -> None:
    metrics = run_of(client_of(default_run)).data.metrics
    for name in ("train/loss", "val/loss", "val/accuracy", "val/f1"):
        assert metrics[f"final/{name}"] == metrics[name]
    assert metrics["best/val/accuracy"] == max(default_run.curve("val/accuracy"))
    assert metrics["test/accuracy"] >= 0.96


def raw_digits() -> tuple[pd.DataFrame, np.ndarray]:
    from sklearn.datasets import load_digits

    digits = load_digits(as_frame=True)
    return digits.data, digits.target.to_numpy()


def test_the_model_answers_on_raw_rows(default_run: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(default_run.cwd)
    # not mlflow.set_tracking_uri, which sets the variable for the tests that follow, too
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{default_run.cwd}/mlflow.db")
    run = run_of(client_of(default_run))
    rows, labels = raw_digits()
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    answer = model.predict(rows)
    assert (answer["prediction"].astype(int) == labels).mean() > 0.97
    shuffled = model.predict(rows[rows.columns[::-1]].head(20))
    pd.testing.assert_frame_equal(shuffled, answer.head(20))
    net = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/model")
    probabilities = net(torch.from_numpy(rows.to_numpy(copy=True))).detach().numpy()
    np.testing.assert_allclose(probabilities, answer.filter(like="probability_").to_numpy())
    (output,) = run.outputs.model_outputs
    assert client_of(default_run).get_logged_model(output.model_id).status == "READY"


def test_mlflow_models_serve_answers_over_http(default_run: Trained) -> None:
    client = client_of(default_run)
    (output,) = run_of(client).outputs.model_outputs
    where = client.get_logged_model(output.model_id).artifact_location
    port = free_port()
    command = ("mlflow", "models", "serve", "-m", where, "--env-manager", "local", "--port", str(port))
    rows, labels = raw_digits()
    body = json.dumps({"dataframe_split": rows.head(3).to_dict(orient="split")}).encode()
    with serving(*command, port=port, path="/ping", cwd=default_run.cwd) as url:
        request = urllib.request.Request(
            f"{url}/invocations", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            predictions = json.loads(response.read())["predictions"]
    assert [int(row["prediction"]) for row in predictions] == labels[:3].tolist()


def test_a_bare_mlflow_ui_lists_the_run(default_run: Trained) -> None:
    port = free_port()
    body = json.dumps({"experiment_ids": ["1"]}).encode()
    with serving("mlflow", "ui", "--port", str(port), port=port, path="/health", cwd=default_run.cwd) as url:
        request = urllib.request.Request(
            f"{url}/api/2.0/mlflow/runs/search", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            (run,) = json.loads(response.read())["runs"]
    assert run["info"]["run_name"] == "digits s0"


def test_a_server_and_the_environment_variable(tmp_path: Path) -> None:
    port = free_port()
    command = ("mlflow", "server", "--backend-store-uri", "sqlite:///server.db", "--port", str(port))
    quick = ("data=iris", "max_epochs=2")
    with serving(*command, port=port, path="/health", cwd=tmp_path) as url:
        done = primer("train", *quick, "tracking=server", f"tracking.uri={url}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        done = primer("train", *quick, "seed=1", cwd=tmp_path, env={"MLFLOW_TRACKING_URI": url})
        assert done.returncode == 0, done.stderr
        client = MlflowClient(url)
        experiment = client.get_experiment_by_name("primer")
        runs = client.search_runs([experiment.experiment_id])
        assert {run.info.run_name for run in runs} == {"iris max_epochs=2 s0", "iris max_epochs=2 s1"}
        for run in runs:
            assert run.info.status == "FINISHED"
            assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 8
            assert len(run.outputs.model_outputs) == 1
            assert "config.yaml" in [file.path for file in client.list_artifacts(run.info.run_id)]
    assert not (tmp_path / "mlflow.db").exists()


def test_a_server_that_is_not_there_costs_one_line_and_no_password_is_told(tmp_path: Path) -> None:
    uri = f"http://me:hunter2@127.0.0.1:{free_port()}"
    done = primer(
        *("train", "data=iris", "max_epochs=2", "tracking=server", f"tracking.uri={uri}"),
        cwd=tmp_path,
        env={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"},
    )
    assert done.returncode == 0
    assert "refuses connections; nothing is lost" in done.stderr
    assert "primer sync sends it" in done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert "FINISHED" in done.stdout
    assert len(pd.read_parquet(next(tmp_path.rglob("curves.parquet")))) > 8
    assert "hunter2" not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_a_table_with_categories_is_served_raw(tmp_path: Path) -> None:
    chooser = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"size": chooser.integers(20, 200, 400), "town": chooser.choice(["Bern", "Rom"], 400)}
    )
    rows["price"] = rows["size"] * 1000.0 + np.where(rows["town"] == "Bern", 50_000, 0)
    rows.loc[5, "town"] = None
    rows.to_csv(tmp_path / "houses.csv", index=False)
    run = Trained(tmp_path, "data=table", "data.path=houses.csv", "data.target=price", "optimizer.lr=0.01")
    assert run.curve("test/r2")[0] > 0.98
    assert run.curve("test/mae")[0] < 10_000  # in the price's own unit
    model = mlflow.pyfunc.load_model(str(run.folder / "model"))
    answer = model.predict(pd.DataFrame({"town": ["Bern", "Oslo", None], "size": [100, 100.5, None]}))
    assert answer["prediction"][0] == pytest.approx(150_000, rel=0.1)
    assert np.isfinite(answer["prediction"]).all()
    raw = pd.read_csv(tmp_path / "houses.csv")  # whole numbers as they come, and the target among the columns
    assert len(model.predict(raw.head(20))) == 20
    with pytest.raises(ValueError, match="lack the columns"):
        model.predict(raw[["size"]])
    with pytest.raises(ValueError, match="was text in training"):
        model.predict(raw.assign(town=3))


def test_curves_that_had_no_room_are_made_and_sent_by_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = train("data=iris", "max_epochs=1")
    assert [one.has_shipped for one in sync("last")] == [False]
    curves, (sent,) = result.curves(), tmp_path.glob("mlartifacts/**/curves.parquet")
    (result.folder / "curves.parquet").unlink()
    sent.unlink()
    (synced,) = sync("last")
    assert synced.error is None
    assert synced.has_shipped
    pd.testing.assert_frame_equal(result.curves(), curves)
    pd.testing.assert_frame_equal(pd.read_parquet(sent), curves)
