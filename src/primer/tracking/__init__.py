"""Keep a run: the journal on disk, the courier that ships it, MLflow, and facts about where it ran."""

import os

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported, which is later
