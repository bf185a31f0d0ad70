"""What a table was taken for is told at the end of a run, once, whatever it takes to get there."""

from __future__ import annotations

from pathlib import Path

from runs import Trained, primer

from primer.tracking.journal import Journal, read, warn_once


def test_a_run_says_what_its_table_was_taken_for(tmp_path: Path) -> None:
    rows = (f"{row * row / 8},{'23?'[row % 3]},{row % 7}.5\n" for row in range(60))
    (tmp_path / "cars.csv").write_text("size,doors,price\n" + "".join(rows))
    words = ("data=table", "data.path=cars.csv", "data.target=price", "tracking=off")
    run = Trained(tmp_path, *words, "max_epochs=1")
    line = "cars.csv: numbers among text in doors ('2', '?'); all are taken as categories"
    assert f"warning: {line}\n" in run.done.stdout
    longer = primer("resume", str(run.folder), "max_epochs=2", cwd=tmp_path)
    assert longer.returncode == 0, longer.stdout + longer.stderr
    assert [one["message"] for one in read(run.folder) if one["kind"] == "warning"].count(line) == 1


def test_a_warning_is_written_once(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for messages in (["a", "b"], ["b", "c"]):
            warn_once(journal, messages)
    assert [record["message"] for record in read(tmp_path)] == ["a", "b", "c"]
