"""Where a run is, in the words of Lightning's loops: all of a step is done, nothing of the next has begun.

Lightning saves its loops as they stand in the middle of a hook and then guesses, on resuming, what had
been done; it skips a validation, or starts an epoch's rows again (measured, Lightning 2.6.6). What its loops
must hold after a whole step follows from the step alone, so that is what a checkpoint says.
"""

from __future__ import annotations

from typing import Any

from primer.training.timetable import Timetable

Progress = dict[str, Any]


def write_position(loops: dict[str, Any], timetable: Timetable, step: int) -> None:
    """Put the progress that follows from `step` into a checkpoint's state of the fit loop."""
    epoch, num_rows = timetable.position(step)
    is_within = num_rows > 0
    in_epoch, per_epoch = timetable.parts_of(num_rows), timetable.parts_of(timetable.num_rows)
    parts = epoch * per_epoch + in_epoch
    steps = -(-num_rows // timetable.batch_size)
    begun = epoch + is_within
    epochs = {"ready": begun, "started": begun, "processed": epoch, "completed": epoch}
    optimizer = "epoch_loop.automatic_optimization.optim_progress"
    whole = {
        "state_dict": {"combined_loader": [{"num_rows": num_rows}]},
        "epoch_progress": {"total": epochs, "current": dict(epochs)},
        "epoch_loop.state_dict": {"_batches_that_stepped": step},
        "epoch_loop.batch_progress": _batches(parts, in_epoch),
        "epoch_loop.scheduler_progress": _done(step, steps, "ready", "completed"),
        "epoch_loop.val_loop.batch_progress": _batches(0, 0),
        optimizer: {
            "optimizer": {
                "step": _done(step, steps, "ready", "completed"),
                "zero_grad": _done(step, steps, "ready", "started", "completed"),
            }
        },
    }
    assert whole.keys() <= loops.keys(), "another Lightning: its loops hold something else"
    loops |= whole


def _batches(total: int, current: int) -> Progress:
    return _done(total, current, "ready", "started", "processed", "completed") | {"is_last_batch": False}


def _done(total: int, current: int, *stages: str) -> Progress:
    return {"total": dict.fromkeys(stages, total), "current": dict.fromkeys(stages, current)}
