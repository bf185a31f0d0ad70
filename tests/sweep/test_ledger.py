"""A sweep's own journal: what was asked for and its jobs; how these stand is in theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from primer.config import compose
from primer.errors import ConfigError
from primer.sweep import ledger
from primer.sweep.ledger import Definition
from primer.sweep.plan import Job, check_same
from primer.tracking.journal import Journal, first_record


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of two jobs, none of which has begun."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    config = compose(["tracking=off"])
    ledger.create(folder, "seed", Definition(["seed=0,1"], None, ["seed"], 2), config, "digest")
    ledger.add(
        folder, [Job(number, folder / f"seed={number}", config | {"seed": number}) for number in (0, 1)]
    )
    return folder


def test_what_was_asked_for_comes_back(sweep: Path) -> None:
    assert ledger.definition_in(sweep) == (Definition(["seed=0,1"], None, ["seed"], 2), "digest")
    first, second = ledger.jobs_in(sweep)
    assert (first.number, first.folder, second.number) == (0, sweep / "seed=0", 1)
    assert [job.config["seed"] for job in (first, second)] == [0, 1]
    header = first_record(sweep)
    assert header
    assert (header["name"], header["params"]) == ("seed", {})
    assert ledger.origin_of(sweep, 1) == {"sweep": header["id"], "folder": str(sweep), "number": 1}
    run = sweep / "seed=0"
    run.mkdir()
    with Journal(run) as journal:
        journal.write("run", id="0")
    assert ledger.definition_in(run) is None
    assert ledger.definition_in(sweep / "nothing") is None


def test_how_a_job_stands_is_in_its_own_journal(sweep: Path) -> None:
    job, other = ledger.jobs_in(sweep)
    nothing = {"error": None, "duration_s": 0.0}
    assert ledger.state_of(job) == {"status": "waiting"} | nothing
    job.folder.mkdir()
    with Journal(job.folder) as journal:
        assert ledger.state_of(job) == {"status": "waiting"} | nothing
        journal.write("run", id="0")
        assert ledger.state_of(job) == {"status": "RUNNING"} | nothing
        journal.write("end", status="FAILED", error="no luck", duration_s=2.5)
    state = ledger.state_of(job)
    assert (state["status"], state["error"], state["duration_s"]) == ("FAILED", "no luck", 2.5)
    assert ledger.state_of(other)["status"] == "waiting"


def test_jobs_that_would_be_others_by_now_are_told(sweep: Path) -> None:
    jobs = ledger.jobs_in(sweep)
    check_same(jobs, [job.config for job in jobs])
    with pytest.raises(ConfigError, match=r"^batch_size 32 -> 8: the sweep's jobs were others"):
        check_same(jobs, [jobs[0].config | {"batch_size": 8}, jobs[1].config])
    more = {"batch_size": 8, "max_epochs": 7, "patience": 5, "log_every_n_steps": 9, "compile": True}
    with pytest.raises(ConfigError, match=r"^(\w+ \S+ -> \S+(, )?){3} and 2 more: the sweep's jobs"):
        check_same(jobs, [job.config | more for job in jobs])
