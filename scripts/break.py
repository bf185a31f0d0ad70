"""Break runs in every way that is known, and count what is lost: figures for LOG.md, a line each."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

CAMPAIGNS = ("resume", "checkpoints", "outages", "endings", "sweeps", "devices", "configs", "tables")


def main() -> int:
    """Run campaigns; 1 if any of them lost something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=[*CAMPAIGNS, "all"])
    parser.add_argument("--sample", type=int, help="only so many of each kind")
    options = parser.parse_args()
    # the helpers of the tests: killed nets, faulty servers, runs that are watched
    tests = Path(__file__).absolute().parents[1] / "tests"
    sys.path[:0] = [str(tests), str(tests / "sweep")]
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    is_sound = True
    for name in CAMPAIGNS if options.what == "all" else [options.what]:
        campaign = importlib.import_module(f"campaigns.{name}")
        started_at = time.monotonic()
        with tempfile.TemporaryDirectory() as root:
            is_sound &= campaign.main(Path(root), options.sample)
        print(f"{name}: {time.monotonic() - started_at:.0f} s", flush=True)
    return int(not is_sound)


if __name__ == "__main__":
    sys.exit(main())
