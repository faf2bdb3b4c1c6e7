"""The recipe of the bundled model (that it runs whole is shown by `training.bundle --quick`)."""

from __future__ import annotations

import csv
import importlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.checkpoint import load_checkpoint
from core.errors import IdiolectError
from core.model.backbones import BackboneConfig
from core.model.speech import CompactBackbone, CompactBackboneConfig
from training.backbone import TrainConfig, save_backbone
from training.bundle import QUICK_CLIPS, few_recordings, main, recipe, with_pair
from training.pair_backbones import pair


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


def test_a_model_is_given_a_pair_whose_first_backbone_is_its_own(tmp_path: Path) -> None:
    small = CompactBackboneConfig(stem_dim=8, dim=12, dilations=(1,))
    files = [tmp_path / f"{name}.safetensors" for name in ("one", "two", "pair", "swapped")]
    for seed, path in enumerate(files[:2]):
        torch.manual_seed(seed)
        config = TrainConfig(backbone=BackboneConfig(compact=small))
        save_backbone(path, CompactBackbone(small), config, {})
    pair(files[0], files[1], files[2])
    pair(files[1], files[0], files[3])
    own = load_checkpoint(files[0])
    model = replace(own, tensors={**own.tensors, "model.weight": torch.ones(2)})
    paired = with_pair(model, files[2])
    assert paired.config["backbone"]["second"]["dim"] == 12
    assert set(paired.part("backbone")) == set(load_checkpoint(files[2]).part("backbone"))
    assert torch.equal(paired.tensors["model.weight"], torch.ones(2))
    with pytest.raises(IdiolectError, match="not the one that"):
        with_pair(model, files[3])
    with pytest.raises(IdiolectError, match="not the one that"):
        with_pair(model, files[1])  # no pair at all


@pytest.mark.parametrize(
    "arguments",
    [
        ["--recordings", "somewhere"],
        ["--run", "somewhere"],
        [],
        ["--recordings", "a", "--work", "b", "--quick"],
        ["--recordings", "a", "--work", "b", "--backbone", "c"],
    ],
)
def test_halves_of_a_request_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
