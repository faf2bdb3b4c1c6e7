"""Many lines together move as each does alone; failures and want of memory stay their own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.animator import Animator, never
from core.audio import load_speech
from core.batching import Line, perform_many
from core.conditioning import EmotionTrack
from core.errors import Cancelled, IdiolectError
from core.finishing.raw_motion import RawMotion
from core.listening import SpeechSource
from core.model.model import IdiolectModel
from tests.small_model import save_small_model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    return Animator(save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors"), "cpu")


@pytest.fixture(scope="module")
def lines(small: Animator, speech_file: Path) -> list[Line]:
    samples = np.tile(load_speech(speech_file), 4)
    angry = EmotionTrack([[0] * 8, [0, 0, 1, 0, 0, 0, 0, 0]], np.array([0.5, 1.0]))
    moving = small.style_control("neutral", "lively", 0.5, 1.2)
    cuts = ((0, 20_000), (5000, 80_000), (1000, 77_777), (300, 320), (7, 150_000), (0, 200_000))
    styles = (None, "lively", moving, "neutral", np.ones(16, np.float32), None)
    emotions = (None, None, angry, None, None, angry)
    return [
        Line(SpeechSource(samples[first : first + length]), style, emotion)
        for (first, length), style, emotion in zip(cuts, styles, emotions, strict=True)
    ]


def test_together_as_alone(small: Animator, lines: list[Line]) -> None:
    outcomes = dict(perform_many(small, lines))
    assert sorted(outcomes) == list(range(len(lines)))
    for index, line in enumerate(lines):
        together = outcomes[index]
        assert isinstance(together, RawMotion)
        alone = small.perform(line.source, style=line.style, emotion=line.emotion)
        assert together.duration_s == alone.duration_s
        np.testing.assert_allclose(together.clip.weights, alone.clip.weights, atol=1e-4)
        for track in ("loudness", "silence", "closure"):
            np.testing.assert_allclose(
                getattr(together.heard, track), getattr(alone.heard, track), atol=1e-3
            )


def test_a_line_that_fails_fails_alone(small: Animator, lines: list[Line], tmp_path: Path) -> None:
    (tmp_path / "junk.wav").write_text("no sound")
    bad = [
        Line(SpeechSource(tmp_path / "junk.wav")),
        Line(SpeechSource(np.zeros(100))),
        Line(SpeechSource(np.ones(16000)), style="no such"),
    ]
    outcomes = dict(perform_many(small, [*bad[:1], *lines[:2], *bad[1:]]))
    codes = [getattr(outcomes[i], "code", "") for i in range(5)]
    assert codes == ["not_audio", "", "", "short_speech", "unknown_style"]
    assert all(isinstance(outcomes[i], IdiolectError) for i in (0, 3, 4))


def test_want_of_memory_makes_batches_smaller(
    small: Animator,
    lines: list[Line],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    expected = dict(perform_many(small, lines))
    forward = IdiolectModel.forward
    refused = []

    def scarce(self: IdiolectModel, tracks: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        size = tracks.prosody.shape[0] * tracks.prosody.shape[1]
        if size > 300:
            refused.append(size)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, tracks, *arguments, **named)

    monkeypatch.setattr(IdiolectModel, "forward", scarce)
    outcomes = dict(perform_many(small, lines))
    assert refused and "smaller" in caplog.text
    for index, wanted in expected.items():
        given = outcomes[index]
        assert isinstance(given, RawMotion) and isinstance(wanted, RawMotion), given
        np.testing.assert_allclose(given.clip.weights, wanted.clip.weights, atol=2e-3)


def test_stopping(small: Animator, lines: list[Line]) -> None:
    polls = iter(range(100))
    with pytest.raises(Cancelled):
        list(perform_many(small, lines * 3, lambda: next(polls) > 4))


def test_together_is_not_slower(small: Animator, lines: list[Line]) -> None:
    several = [lines[1]] * 8

    def seconds(work: Any) -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    def alone() -> None:
        for line in several:
            small.listener.forget()
            small.perform(line.source, style=line.style)

    ratios = [seconds(lambda: list(perform_many(small, several, never))) / seconds(alone)
              for _ in range(3)]  # fmt: skip
    assert min(ratios) < 1.1  # noise apart; the benchmark measures it well
