"""Keep a run: the journal on disk, the courier that ships it, MLflow, and facts about where it ran."""

import os

# read when MLflow is imported, which is later
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # our own lines say where to look
