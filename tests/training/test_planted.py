"""Errors of durations: planted as they are said to be, and seen by what measures synchrony."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.animator import Animator
from core.model.duration import PhoneRuns, expanded_index
from tests.training.small_corpus import make_small_corpus, save_small_backbone
from tests.training.test_presets import on_arkit
from training.corpus import Corpus
from training.judges import load_judges
from training.planted import (
    JITTERED,
    STRETCHED,
    _Performance,
    main,
    planted_durations,
    warped,
)
from training.surfaces import ArkitSurface
from training.train import train


def laid(*durations: int) -> PhoneRuns:
    lengths = torch.tensor([durations])
    frames = 8
    return PhoneRuns(torch.arange(len(durations))[None], lengths, expanded_index(lengths, frames))


def test_motion_is_warped_phone_by_phone() -> None:
    motion = np.arange(8.0)[:, None]
    true = laid(4, 4)
    np.testing.assert_array_equal(warped(motion, true, true), motion)
    np.testing.assert_allclose(
        warped(motion, true, laid(2, 6))[:, 0],
        [0, 2, 4, 4 + 4 / 6, 4 + 8 / 6, 6, 4 + 16 / 6, 7],
    )
    assert warped(motion, true, laid(2, 2))[-1, 0] == 7  # what is over early rests as it ended


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    torch.set_num_threads(1)
    return Corpus(make_small_corpus(tmp_path_factory.mktemp("planted") / "corpus", clips=3))


@pytest.fixture(scope="module")
def model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    backbone = save_small_backbone(folder / "backbone.safetensors")
    return train(on_arkit("personalized", backbone), corpus.folder, folder / "run")


def test_durations_are_as_wrong_as_planted(corpus: Corpus, model: Path) -> None:
    performed = _Performance(Animator(model, "cpu"), corpus, 0, 1)
    true, frames = performed.runs.durations, performed.labels.shape[1]
    rng = np.random.default_rng(0)
    longer = performed.planted("stretched", 0.2, rng).durations
    assert int(longer.sum()) == round(1.2 * frames)
    assert torch.equal(performed.planted("stretched", 0.0, rng).durations, true)
    for kind in ("jittered", "predicted"):
        found = performed.planted(kind, 0.4, rng)
        assert int(found.durations.sum()) == frames and not torch.equal(found.durations, true)
        assert found.phone_of_frame.shape == (1, frames)
    with torch.inference_mode():
        plain = performed._hear(None).features
        assert torch.equal(performed._hear(performed.runs).features, plain)
        other = performed._hear(performed.planted("stretched", 0.2, rng)).features
    assert not torch.allclose(other, plain)


def test_errors_of_durations_are_seen(corpus: Corpus, model: Path) -> None:
    judges = load_judges(corpus, steps=3)
    clips = [index for index, clip in enumerate(corpus.clips) if clip.split == "train"][:3]
    surface = ArkitSurface(corpus.channels)
    found = planted_durations(Animator(model, "cpu"), corpus, clips, surface, judges)
    kinds = [one.kind for one in found]
    assert kinds == ["stretched"] * len(STRETCHED) + ["jittered"] * len(JITTERED) + ["predicted"]
    by_size = {one.error: one for one in found if one.kind == "stretched"}
    assert by_size[0.0].apart_ms == 0.0 and by_size[0.0].truth["lve_mm"] == 0.0
    for sign in (-1, 1):
        row = [by_size[sign * error] for error in (0.05, 0.1, 0.2, 0.4)]
        assert (np.diff([one.apart_ms for one in row]) > 0).all()
        assert (np.diff([one.truth["lve_mm"] for one in row]) > 0).all()
    jittered = [one.truth["lve_mm"] for one in found if one.kind == "jittered"]
    assert jittered[-1] > jittered[0] > 0.0
    assert found[0].model != by_size[0.0].model
    assert [by_size[0.2].name, found[-2].name, found[-1].name] == [
        "stretched +20%", "jittered ±80%", "predicted",
    ]  # fmt: skip


def test_command(
    corpus: Corpus, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--corpus", str(corpus.folder), "--split", "valid", "--limit", "1"]
    common += ["--judge-steps", "3"]
    assert main(["--checkpoint", str(model), *common, "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "| stretched +40% |" in printed and "| predicted |" in printed
    assert (tmp_path / "durations.png").read_bytes()[:4] == b"\x89PNG"
    backbone = save_small_backbone(tmp_path / "backbone.safetensors")
    other = train(on_arkit("idiolect", backbone), corpus.folder, tmp_path / "run")
    assert main(["--checkpoint", str(other), *common]) == 2
    assert "does not expand by durations" in capsys.readouterr().err
