"""The recipe of the bundled model (that it runs whole is shown by `training.bundle --quick`)."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

import pytest

from training.bundle import QUICK_CLIPS, few_recordings, main, recipe


@pytest.mark.parametrize("quick", [False, True])
def test_steps_are_commands_that_build_on_each_other(tmp_path: Path, quick: bool) -> None:
    steps = recipe(tmp_path / "recordings", tmp_path, quick=quick)
    assert len({step.done for step in steps}) == len(steps)
    made: set[str] = {str(tmp_path / "recordings")}
    for step in steps:
        assert callable(importlib.import_module(step.module).main)
        given = [a.rpartition("=")[2] for a in step.arguments if str(tmp_path) in a]
        outputs = (
            {step.arguments[step.arguments.index("--out") + 1]} & set(given)
            if ("--out" in step.arguments)
            else set()
        )
        assert set(given) - outputs <= made, step.name
        made |= outputs


def test_a_quick_run_hears_a_few_recordings_of_every_kind(tmp_path: Path) -> None:
    source = tmp_path / "recordings"
    source.mkdir()
    with (source / "index.csv").open("w", newline="") as file:
        columns = ["file", "corpus", "speaker", "transcript", "duration_s", "split"]
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for index in range(90):
            split = ("train", "valid", "test")[index % 3]
            text = "" if index < 30 else "SOME WORDS"
            corpus = "speechocean762" if index < 60 else "VCTK"
            row = (f"clips/{index}.ogg", corpus, f"who{index}", text, "3.0", split)
            writer.writerow(dict(zip(columns, row, strict=True)))
    found = few_recordings(source, tmp_path / "few")
    with (found / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * QUICK_CLIPS
    assert {row["split"] for row in rows} == {"train", "valid"}  # nothing of the test split
    assert all(Path(row["file"]).is_absolute() for row in rows)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recordings", "somewhere"],
        ["--run", "somewhere"],
        [],
        ["--recordings", "a", "--work", "b", "--quick"],
    ],
)
def test_halves_of_a_request_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
