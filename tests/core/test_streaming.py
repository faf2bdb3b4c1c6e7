"""Motion while speech comes equals motion of the whole, and comes in time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from core.animator import Animator
from core.audio import SAMPLE_RATE_HZ, load_speech, speech_gain
from core.conditioning import EmotionTrack
from core.errors import Cancelled
from core.streaming import animate_stream, look_ahead_s
from tests.small_model import save_small_model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    return Animator(save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors"), "cpu")


@pytest.fixture(scope="module")
def samples(speech_file: Path) -> np.ndarray:
    return np.tile(load_speech(speech_file), 3)[:200_123]


def chunks(samples: np.ndarray, size: int, given: list[int] | None = None) -> Iterator[np.ndarray]:
    for first in range(0, len(samples), size):
        if given is not None:
            given.append(min(first + size, len(samples)))
        yield samples[first : first + size]


@pytest.mark.parametrize(("size", "hop_s"), [(700, 0.5), (16_000, 0.2), (1_000_000, 3.0)])
def test_a_stream_moves_as_the_whole_speech_does(
    small: Animator, samples: np.ndarray, size: int, hop_s: float
) -> None:
    emotion = EmotionTrack([[0] * 8, [0, 0, 1, 0, 0, 0, 0, 0]], np.array([3.0, 5.0]))
    control = small.style_control("neutral", "lively", 0.4)
    whole = small.animate(
        samples, fps=small.fps, style=control, emotion=emotion, finishing=None
    ).weights
    pieces = animate_stream(
        small,
        chunks(samples, size),
        style=control,
        emotion=emotion,
        gain=speech_gain(samples),
        hop_s=hop_s,
    )
    streamed = np.concatenate([piece.weights for piece in pieces])
    assert streamed.shape == whole.shape
    np.testing.assert_allclose(streamed, whole, atol=2e-3)


def test_it_waits_no_longer_than_it_says(small: Animator, samples: np.ndarray) -> None:
    given: list[int] = []
    done = 0
    late = []
    for piece in animate_stream(small, chunks(samples[:150_000], 160, given), hop_s=0.5):
        late.append(given[-1] / SAMPLE_RATE_HZ - done / small.fps)
        done += len(piece.weights)
    assert max(late) <= look_ahead_s(small, 0.5) + 160 / SAMPLE_RATE_HZ + 0.02
    assert late[0] < 0.9 * 150_000 / SAMPLE_RATE_HZ, "it begins before the speech ends"


def test_a_level_found_on_the_way_comes_to_the_same(small: Animator, samples: np.ndarray) -> None:
    quiet = samples * np.float32(0.2)
    whole = small.animate(quiet, fps=small.fps, finishing=None).weights
    pieces = animate_stream(small, chunks(quiet, 1600))
    streamed = np.concatenate([piece.weights for piece in pieces])
    spread = float(whole.std(axis=0).mean())
    assert np.abs(streamed[200:] - whole[200:]).mean() < 0.1 * spread


def test_a_stream_can_be_stopped(small: Animator, samples: np.ndarray) -> None:
    polls = iter(range(100))
    pieces = animate_stream(small, chunks(samples, 1600), cancelled=lambda: next(polls) > 2)
    with pytest.raises(Cancelled):
        list(pieces)
