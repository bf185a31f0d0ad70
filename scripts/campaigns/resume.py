"""Every run of the tests killed in every step and resumed; and faults planted in what resuming restores."""

from __future__ import annotations

from pathlib import Path

from resuming import CASES, FAULTS, NUM_STEPS, begin, conf_dir, unlike, work_in

KILLED_AT = 43  # its newest checkpoint is in the middle of an epoch


def main(root: Path, sample: int | None) -> bool:
    """Whether all is bitwise, and every planted fault was seen."""
    config_dir = conf_dir(root / "conf")
    bases = {name: _undisturbed(root / name / "base", config_dir, name) for name in CASES}
    steps = range(1, NUM_STEPS + 1)
    if sample:
        steps = steps[:: max(1, NUM_STEPS // sample)][:sample]
    num_bitwise = num_all = 0
    for name, base in bases.items():
        found = [_differences(root / name / str(step), config_dir, name, step, base) for step in steps]
        num_same = sum(not differences for differences in found)
        for step, differences in zip(steps, found, strict=True):
            if differences:
                print(f"  {name}, killed in step {step}: {differences[:3]}", flush=True)
        num_bitwise, num_all = num_bitwise + num_same, num_all + len(found)
    print(f"resume: {num_bitwise} of {num_all} bitwise ({len(CASES)} kinds of run)", flush=True)
    num_seen = 0
    for fault, (name, *_) in FAULTS.items():
        found = _differences(root / fault, config_dir, name, KILLED_AT, bases[name], fault)
        num_seen += bool(found)
        print(f"  not restored, {fault}: {found[:1] or 'NOT SEEN'}", flush=True)
    print(f"resume: {num_seen} of {len(FAULTS)} planted faults seen", flush=True)
    return num_bitwise == num_all and num_seen == len(FAULTS)


def _undisturbed(folder: Path, config_dir: Path, name: str) -> Path:
    begin(folder, *CASES[name], config_dir=config_dir)
    assert work_in(folder) == 0, (folder / "worker.log").read_text()
    return folder


def _differences(
    folder: Path,
    config_dir: Path,
    name: str,
    step: int,
    base: Path,
    fault: str | None = None,
) -> list[str]:
    """What a run that was killed in a step and resumed has not as the undisturbed one."""
    begin(folder, *CASES[name], config_dir=config_dir)
    num_parts = 3 if name == "parts" else 1
    exit_code = work_in(folder, kill_at=step * num_parts)
    if exit_code == -9:  # 0 where it had stopped early before that step
        exit_code = work_in(folder, fault=fault)
    if exit_code:
        return [f"exit code {exit_code}: {(folder / 'worker.log').read_text()[-300:]}"]
    return unlike(folder, base)
