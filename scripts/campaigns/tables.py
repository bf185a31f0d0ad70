"""The tables of `bad_tables`: each is refused in a line, or read as what it says and surprises are told."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from campaigns.bad_files import others, parquets, sizes
from campaigns.bad_tables import A_BIT, FAMILIES, SPLIT, Case

from primer.config import build
from primer.data import Dataset
from primer.data.splits import split_rows
from primer.errors import PrimerError

LONGEST_S = 30.0  # for one table
CONFIG = {"_target_": "primer.data.table", "target": "y", "drop": [], "stratify": False, "standardize": False}


def main(root: Path, sample: int | None) -> bool:
    """Whether none raised, hung, was told at length, or came to something else than it says."""
    tally, draw, pool = Counter[str](), random.Random(0), _pool()
    for place, case in _places(root, sample, draw):
        try:
            verdict = pool.submit(_verdict, place, case._replace(content=None)).result(LONGEST_S)
        except (TimeoutError, BrokenProcessPool) as error:
            verdict = f"FAULT: {type(error).__name__} for {case.kind}"
            _end(pool)
            pool = _pool()
        tally[verdict] += 1
    pool.shutdown()
    for what, count in sorted(tally.items()):
        print(f"  {what}: {count}", flush=True)
    print(f"tables: {tally.total()} read or refused", flush=True)
    return not any(what.startswith("FAULT") for what in tally)


def _places(root: Path, sample: int | None, draw: random.Random) -> Iterator[tuple[Path, Case]]:
    """Each table, or so many of each family, written to a file: that of the one before is gone."""
    for family in (*FAMILIES, parquets, others, sizes):
        cases = list(family())
        for case in cases if sample is None else draw.sample(cases, min(sample, len(cases))):
            place = root / f"t{case.suffix}"
            if case.content is None:
                yield root / case.suffix, case
                continue
            place.write_bytes(case.content)
            yield place, case
            place.unlink()
    for name, make in (("t.csv", os.mkfifo), ("t.parquet", os.mkfifo), ("u.csv", os.mkdir)):
        make(root / name)
        yield root / name, Case(f"{make.__name__} {name}", None)


def _pool() -> ProcessPoolExecutor:
    """A process that reads, so that a crash or a hang is seen and costs itself only."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _end(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.kill()
    pool.shutdown(cancel_futures=True)


def _verdict(place: Path, case: Case) -> str:
    """What came of it, in the process that reads."""
    try:
        data = build({**CONFIG, **SPLIT, "path": str(place), "task": case.task}, "data")
    except PrimerError as error:
        text = str(error)
        if len(text.splitlines()) > 2 or len(text) > 1000 or error.exit_code != 2:
            return f"FAULT: {len(text.splitlines())} lines, {len(text)} letters for {case.kind}: {text:.100}"
        if case.right and case.said != A_BIT:
            return f"FAULT: {case.kind} is refused: {text:.200}"
        is_named = place.name in text or "data.path" in text
        return "is refused in a line" if is_named else f"FAULT: no file for {case.kind}: {text:.200}"
    except BaseException as error:
        return f"FAULT: {type(error).__name__} for {case.kind}: {error!s:.200}"
    if case.right is None:
        return f"FAULT: {case.kind} is read: {data!r:.200}"
    problem = _difference(data, case.right)
    if case.said == A_BIT:  # Parquet has no checksums, unless asked
        return f"is read, a bit of it wrong: {'other' if problem else 'the same'} cells"
    if problem:
        return f"FAULT: {case.kind} is read wrong: {problem}"
    notes = getattr(data, "notes", ())
    if bool(notes) != bool(case.said) or any(case.said not in note or len(note) > 1000 for note in notes):
        return f"FAULT: of {case.kind} is said {notes!r:.300}, not {case.said!r}"
    return "is read right, and told" if notes else "is read right"


def _difference(data: Dataset, right: dict[str, list[Any]]) -> str:
    """What came to something else: rows, columns, or a cell that isn't a gap."""
    parts = [part for part in (data.train, data.val, data.test) if part]
    x, y = (np.concatenate([getattr(part, name) for part in parts]) for name in "xy")
    if (data.features, len(y)) != (tuple(name for name in right if name != "y"), len(right["y"])):
        return f"{data.features!r:.100}, {len(y)} rows"
    order = np.concatenate(split_rows(len(y), **SPLIT))
    outputs = {name: at for at, name in enumerate(data.preprocessor.get_feature_names_out())}
    for name, cells in right.items():
        if name == "y":
            found = [data.classes[label] for label in y] if data.classes else y[:, 0].tolist()
        elif f"numbers__{name}" in outputs:
            found = x[:, outputs[f"numbers__{name}"]].tolist()
        else:
            begin = f"categories__{name}_"
            ones = {key.removeprefix(begin): x[:, at] for key, at in outputs.items() if key.startswith(begin)}
            found = [next((key for key in ones if ones[key][row]), None) for row in range(len(y))]
        for one, other in zip(found, (cells[row] for row in order), strict=True):
            if not _is_same(one, other):
                return f"{name!r} holds {one!r:.50}, not {other!r:.50}"
    return ""


def _is_same(one: Any, other: Any) -> bool:
    """Whether a cell is what it has to be; any number fills a gap, and no text one that train hasn't."""
    if isinstance(one, float) and isinstance(other, float):
        return other != other or math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-30)
    return one is None or bool(one == other)
