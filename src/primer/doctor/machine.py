"""The machine: what is installed, what there is to train on, and room on its disks."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from primer.doctor.report import Finding
from primer.files import ROOT
from primer.redact import redacted_text
from primer.tracking.facts import num_cpus
from primer.tracking.uri import SQLITE, sqlite_path, tracking_uri

DISTRIBUTIONS = ("torch-primer", "torch", "lightning", "hydra-core", "mlflow")
IMPORT_S = 60.0  # chosen: for an import of torch from a slow disk
# chosen, in bytes: a disk with less than the first is too full, one with the second or that part never is
LEAST_FREE, ENOUGH_FREE, ENOUGH_PART = 1e9, 10e9, 0.02
TORCH = """
import torch
for index in range(torch.cuda.device_count()):
    print(torch.cuda.get_device_name(index))
"""


def versions(_: object) -> Finding:
    """Versions that are too old to be safe, or known to be malicious."""
    found = dict.fromkeys(DISTRIBUTIONS, "missing")
    for name in DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    text = ", ".join(f"{name} {version}" for name, version in found.items())
    torch = tuple(int(part) for part in re.findall(r"\d+", found["torch"])[:2])
    advice = None
    if missing := [name for name, version in found.items() if version == "missing"]:
        advice = f"pip install {' '.join(missing)}"
    elif torch < (2, 10):
        advice = "pip install 'torch>=2.10': older ones run code from a checkpoint's weights (CVE-2026-24747)"
    elif found["lightning"] in ("2.6.2", "2.6.3"):
        advice = "a malicious release: pip install 'lightning>=2.6.4', and change this machine's passwords"
    return Finding("versions", advice is None, f"Python {platform.python_version()}, {text}", advice)


def devices(_: object) -> Finding:
    """What there is to train on, as torch sees it."""
    text = f"{num_cpus()} CPUs"
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        sizes = re.findall(r"Mem(?:Total|Available): +(\d+) kB", meminfo.read_text())
        total, available = (_gb(int(size) * 1024) for size in sizes)
        text += f", {available} of {total} GB memory available"
    try:
        done = subprocess.run([sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=IMPORT_S)
        last = (done.stderr.strip().splitlines() or [f"its process ended with {done.returncode}"])[-1]
        trouble = redacted_text(last) if done.returncode else None
    except subprocess.TimeoutExpired:
        trouble = f"it takes more than {IMPORT_S:g} s"
    if trouble:
        advice = f"pip install --force-reinstall torch, or look: {sys.executable} -c 'import torch'"
        return Finding("devices", False, f"{text}; torch can't be imported: {trouble}", advice)
    gpus = [f"{count} x {name}" for name, count in Counter(done.stdout.splitlines()).items()]
    return Finding("devices", True, f"{text}, {', '.join(gpus) or 'no GPU that torch sees'}")


def disk(_: object) -> Finding:
    """Room where primer writes, each file system once."""
    paths = {ROOT: Path.cwd() / ROOT, "temporary files": Path(os.environ.get("TMPDIR") or "/tmp")}
    if (uri := tracking_uri(None)).startswith(SQLITE):
        paths["database"] = sqlite_path(uri)
    names: dict[str, list[str]] = {}
    troubles = []
    for name, path in paths.items():
        there = next(part for part in (path, *path.parents) if part.exists())
        room = shutil.disk_usage(there)
        # what is on one file system shows the same numbers
        names.setdefault(f"{_gb(room.free)} of {_gb(room.total)} GB free", []).append(name)
        if room.free < max(LEAST_FREE, min(ENOUGH_FREE, ENOUGH_PART * room.total)):
            troubles.append(f"make room for {name} at {there}")
        if not os.access(there, os.W_OK):
            troubles.append(f"{name} can't be written: {there}")
    text = "; ".join(f"{', '.join(those)}: {free}" for free, those in names.items())
    return Finding("disk", not troubles, text, "; ".join(troubles) or None)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f}"
