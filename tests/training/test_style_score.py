"""The score of style and emotion: right answers are told from wrong ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.emotions import EMOTIONS
from core.phones import Segment
from tests.training.small_corpus import make_small_corpus, save_small_backbone
from training.style_score import Sentence, _judge, closed_share, main
from training.synthesis.styles import SpeakingStyle, sample_style
from training.train import main as train_main

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def sentence() -> Sentence:
    phones = ["SIL", "B", "AA", "T", "UW", "M", "IY", "S", "P", "AE", "SIL"]
    segments = [Segment(p, 0.15 * i, 0.15 * (i + 1)) for i, p in enumerate(phones)]
    voice = np.tile([0.0, 0.1, 0.8, 0.0], (83, 1))
    return Sentence(segments, voice, None, 82 / 50)  # type: ignore[arg-type]


def test_the_judge_finds_styles_and_emotions_through_small_errors() -> None:
    rng = np.random.default_rng(0)
    said, styles = sentence(), [sample_style(rng) for _ in range(6)]
    of_style = np.stack([said.performed(style, 3) for style in styles])
    of_emotion = np.stack([said.performed(styles[2], e) for e in range(len(EMOTIONS))])
    rough = of_style[2] + rng.normal(0.0, 0.02, of_style[2].shape)
    assert _judge(rough, of_style) == 2
    assert _judge(rough, of_emotion) == 3


def test_closed_lips_are_counted_on_the_head() -> None:
    said = sentence()
    performed = said.performed(replace(SpeakingStyle(), jaw=1.2), 0)
    assert closed_share(performed, said.segments) == 1.0
    assert closed_share(np.full_like(performed, 0.3), said.segments) == 0.0


def test_command_scores_a_trained_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = make_small_corpus(tmp_path / "corpus", clips=4)
    backbone = save_small_backbone(tmp_path / "backbone.safetensors")
    run = tmp_path / "run"
    settings = [f"backbone_weights='{backbone}'", "optim.steps=1", "device=cpu"]
    sets = [part for setting in settings for part in ("--set", setting)]
    arguments = ["--config", str(CONFIGS / "tiny.toml"), "--corpus", str(corpus)]
    assert train_main([*arguments, "--out", str(run), *sets]) == 0
    model = ["--checkpoint", str(run / "model.safetensors"), "--corpus", str(corpus)]
    assert main([*model, "--styles", "2", "--json", str(tmp_path / "s.json")]) == 0
    printed = capsys.readouterr().out
    assert "emotion made" in printed and (tmp_path / "s.json").exists()
    assert main(["--checkpoint", str(tmp_path / "nowhere"), "--corpus", str(corpus)]) == 2
