"""`primer.verify(...)`: from words or an object to a subject, its checks, and what they found."""

from __future__ import annotations

import importlib.metadata
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.config.targets import import_from_here
from primer.errors import ConfigError, first_line
from primer.verify.findings import Finding, Skip, Verification, failed, on_purpose, skipped

if TYPE_CHECKING:
    from primer.verify.subject import Subject


def verify(
    part: Any,
    *overrides: str,
    against: str | Callable[..., Any] | None = None,
    fast: bool = False,
    config_dir: str | Path | None = None,
) -> Verification:
    """Check a custom function, as `primer verify PART` does: is it right, and fit for use?

    `part` is an override (`"activation=custom_relu"`), a dotted path, or the thing itself: an autograd
    Function, a function of tensors, or an `nn.Module`. `against` is what to compare it with, in the same
    words; without it what the part declares. `fast` leaves out what takes more than a moment.
    Raises ConfigError where the question is wrong.

    >>> verify("activation=custom_relu", against="relu", fast=True).verdict  # doctest: +SKIP
    <Verdict.PASS: 'PASS'>
    """
    import_from_here()
    if isinstance(part, str) and part.startswith("net="):
        from primer.verify.net import verify_net

        if against is not None:
            raise ConfigError(f"against={against}: a net is compared with finite differences of its own loss")
        with undisturbed():
            return verify_net([part, *overrides], config_dir=config_dir)
    from primer.verify.subjects import subject_from

    with undisturbed():
        subject = subject_from(part, overrides, against, config_dir)
        return verification_of(subject, fast=fast)


def verification_of(subject: Subject, *, fast: bool) -> Verification:
    """What all checks found about a subject; the process's random generators are left alone."""
    from primer.verify.checks import CHECKS
    from primer.verify.functions import source_hash

    begun_at = time.perf_counter()
    findings: list[Finding] = []
    for check in CHECKS:
        if check.is_fast or not fast:
            with undisturbed():
                findings.append(_made(check.name, check.run, subject))
    parts = [*subject.functions, type(subject.module) if subject.module else subject.call]
    return Verification(
        name=subject.name,
        reference=subject.reference_name,
        declared=subject.spec.told(),
        source_hash=source_hash(parts),
        versions={"torch": importlib.metadata.version("torch")},
        seconds=time.perf_counter() - begun_at,
        findings=tuple(findings),
    )


def _made(name: str, run: Callable[[Subject], Finding], subject: Subject) -> Finding:
    """A check's finding; what is declared to be so on purpose is no failure."""
    try:
        finding = run(subject)
    except Skip as skip:
        finding = skipped(name, str(skip))
    except Exception as error:  # the user's code, on inputs that it did not foresee
        words = f"It raises {type(error).__name__} where the check calls it: {first_line(error)}"
        advice = "Call it on a small tensor of that kind, and see where it comes from."
        finding = failed(name, words, None, advice)
    return on_purpose(finding, subject.spec.because.get(name))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave random generators and torch's switches as they were: a run that follows draws what it would."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    dtype, num_threads = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_num_threads(1)  # small tensors: on a busy machine a second thread costs ten times what it saves
    with torch.random.fork_rng(), torch.enable_grad():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            torch.set_default_dtype(dtype)
            torch.set_num_threads(num_threads)
