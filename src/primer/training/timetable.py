"""When things happen in a run: pure functions of the step, so that a resumed run keeps the same times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timetable:
    """Steps, epochs, parts and validations of a run that nothing stops early.

    A step is an optimizer step, counted from 1.

    >>> times = Timetable(num_rows=100, batch_size=32, num_steps=12)
    >>> times.steps_per_epoch, [step for step in range(1, 13) if times.is_validated(step)]
    (4, [4, 8, 12])
    """

    num_rows: int
    batch_size: int
    num_steps: int
    val_every_n_steps: int | None = None

    @classmethod
    def of(
        cls,
        num_rows: int,
        *,
        batch_size: int,
        max_epochs: int | None,
        max_steps: int | None,
        val_every_n_steps: int | None = None,
    ) -> Timetable:
        """The timetable of a run that ends at the first of its limits.

        >>> Timetable.of(100, batch_size=32, max_epochs=3, max_steps=None).num_steps
        12
        """
        per_epoch = -(-num_rows // batch_size)
        limits = [max_steps, None if max_epochs is None else max_epochs * per_epoch]
        num_steps = min(limit for limit in limits if limit is not None)
        return cls(num_rows, batch_size, num_steps, val_every_n_steps)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.batch_size)

    def is_validated(self, step: int) -> bool:
        """Whether a validation follows that step, as it does the last one."""
        return step == self.num_steps or step % (self.val_every_n_steps or self.steps_per_epoch) == 0

    def end_of_leg(self, step: int, *, has_val: bool) -> int:
        """The last step of what is trained in one go after `step`: a validation follows, or the run's end.

        >>> Timetable(num_rows=100, batch_size=32, num_steps=10).end_of_leg(6, has_val=True)
        8
        """
        every = (self.val_every_n_steps or self.steps_per_epoch) if has_val else self.num_steps
        return min(self.num_steps, (step // every + 1) * every)

    def position(self, step: int) -> tuple[int, int]:
        """(whole epochs, rows of the epoch after them) that are done after that step.

        >>> Timetable(num_rows=100, batch_size=32, num_steps=12).position(6)
        (1, 64)
        """
        epoch, in_epoch = divmod(step, self.steps_per_epoch)
        return epoch, in_epoch * self.batch_size
