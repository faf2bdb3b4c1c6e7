"""Speech to motion: lengths, windows, memory of what was heard, cancelling, styles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core import decoding, listening
from core.animator import Animator
from core.audio import SAMPLE_RATE_HZ, load_speech, speech_gain
from core.conditioning import EmotionTrack, StyleTrack, Track, mix_styles, strengthen_style
from core.errors import Cancelled, IdiolectError
from core.model.model import IdiolectModel
from core.model.speech import CompactBackbone
from core.motion import ARKIT_CHANNELS, MotionClip
from tests.small_model import save_small_model


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Animator:
    return Animator(save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors"), "cpu")


@pytest.fixture(scope="module")
def samples(speech_file: Path) -> np.ndarray:
    return load_speech(speech_file)


@pytest.mark.parametrize("fps", [12.0, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0])
def test_frame_count_at_any_rate(small: Animator, samples: np.ndarray, fps: float) -> None:
    for length in (len(samples), 12345):
        clip = small.animate(samples[:length], fps=fps)
        assert len(clip.weights) == round(length / SAMPLE_RATE_HZ * fps) + 1
        assert clip.fps == fps and clip.channels == ARKIT_CHANNELS and clip.space == "arkit"
        assert clip.weights.min() >= 0.0 and clip.weights.max() <= 1.0


def test_a_file_and_its_samples_give_the_same(
    small: Animator, samples: np.ndarray, speech_file: Path
) -> None:
    from_samples = small.animate(samples, fps=30.0).weights
    np.testing.assert_allclose(
        small.animate(speech_file, fps=30.0).weights, from_samples, atol=1e-4
    )
    part = small.animate(speech_file, fps=30.0, start_s=1.0, duration_s=1.5)
    assert len(part.weights) == 46


def test_windows_equal_the_whole(
    small: Animator, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = np.tile(samples, 4)
    track = StyleTrack(np.stack(list(small.styles.values())), np.array([2.0, 12.0]))
    windows = small.animate(long, fps=50.0, style=track, finishing=None).weights
    monkeypatch.setattr(decoding, "_WINDOW_S", 1000.0)
    monkeypatch.setattr(listening, "_WINDOW_FRAMES", 100_000)
    small.listener.forget()
    whole = small.animate(long, fps=50.0, style=track, finishing=None).weights
    # What was heard is kept in half precision, whose last digit may fall either way.
    np.testing.assert_allclose(windows, whole, atol=2e-3)


def test_long_speech_is_decoded_while_it_is_heard(
    small: Animator, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = np.tile(samples, 8)[:550_001]
    remembered = small.animate(long, fps=50.0, finishing=None).weights
    small.listener.forget()
    monkeypatch.setattr(listening, "_REMEMBERED_S", 10.0)
    told: list[str] = []
    streamed = small.animate(
        long, fps=50.0, finishing=None, progress=lambda stage, *_: told.append(stage)
    ).weights
    np.testing.assert_allclose(streamed, remembered, atol=1e-5)
    assert not small.listener._memory, "nothing of it is kept"
    assert told.count("Listening") == 1 and told.count("Animating") > 2


def test_no_seam_is_seen_where_windows_meet(small: Animator, samples: np.ndarray) -> None:
    long = np.tile(samples, 14)
    weights = small.animate(long, fps=50.0, finishing=None).weights
    seams = np.arange(500, len(weights) - 5, 500)
    for order in (1, 3):  # velocity and jerk
        change = np.abs(np.diff(weights, order, axis=0)).max(1)
        near = np.concatenate([change[seam - order - 1 : seam + 2] for seam in seams])
        assert len(seams) == 6 and near.max() <= np.percentile(change, 99.5)


def test_pressing_again_listens_no_more(
    small: Animator, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small.animate(samples[:30000], fps=30.0, style="neutral")
    again = small.animate(samples[:30000], fps=30.0, style="neutral")
    np.testing.assert_array_equal(first.weights, again.weights)

    def deaf(*_: object) -> None:
        raise AssertionError("the speech was listened to again")

    monkeypatch.setattr(CompactBackbone, "forward", deaf)
    other = small.animate(samples[:30000], fps=24.0, style="lively")
    assert len(other.weights) == round(30000 / SAMPLE_RATE_HZ * 24) + 1
    with pytest.raises(AssertionError, match="again"):
        small.animate(samples[:30001], fps=30.0)


def test_progress_rises_to_its_end(small: Animator, samples: np.ndarray) -> None:
    told: list[tuple[str, int, int]] = []
    small.animate(np.tile(samples, 6), fps=30.0, progress=lambda *step: told.append(step))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["Listening", "Animating"]
    for stage in stages:
        done = [(d, t) for s, d, t in told if s == stage]
        assert [d for d, _ in done] == sorted(d for d, _ in done) and len(done) > 2
        assert done[-1][0] == done[-1][1]


@pytest.mark.parametrize("patience", [0, 2, 5])
def test_cancel_stops_at_every_stage(small: Animator, samples: np.ndarray, patience: int) -> None:
    polls = iter(range(1000))
    long = np.tile(samples, 7)[: 470_000 + patience]  # never heard before
    with pytest.raises(Cancelled):
        small.animate(long, fps=30.0, cancelled=lambda: next(polls) >= patience)


def test_style_from_motion_depends_on_the_motion(small: Animator) -> None:
    rng = np.random.default_rng(0)
    motion = rng.random((400, 52), np.float32)
    clip = MotionClip(motion, ARKIT_CHANNELS, 60.0)
    code = small.style_from_motion(clip)
    assert code.shape == (16,) and np.isfinite(code).all()
    np.testing.assert_array_equal(code, small.style_from_motion(clip))
    other = small.style_from_motion(MotionClip(0.3 * motion, ARKIT_CHANNELS, 60.0))
    assert np.abs(code - other).max() > 1e-3
    # Columns go by name: the same motion in another order is the same style.
    order = rng.permutation(52)
    shuffled = MotionClip(motion[:, order], tuple(ARKIT_CHANNELS[i] for i in order), 60.0)
    np.testing.assert_allclose(small.style_from_motion(shuffled), code, atol=1e-6)


def test_references_that_cannot_be_used_say_why(small: Animator) -> None:
    still = MotionClip(np.zeros((100, 52), np.float32), ARKIT_CHANNELS, 30.0)
    with pytest.raises(IdiolectError, match="does not move"):
        small.style_from_motion(still)
    short = MotionClip(np.random.default_rng(0).random((5, 52), np.float32), ARKIT_CHANNELS, 30.0)
    with pytest.raises(IdiolectError, match="too short"):
        small.style_from_motion(short)
    flame = MotionClip(np.zeros((100, 2), np.float32), ("jaw", "neck"), 30.0, "flame")
    with pytest.raises(IdiolectError, match="'flame' motion"):
        small.style_from_motion(flame)


def test_bad_requests_say_what_is_wrong(small: Animator, samples: np.ndarray) -> None:
    with pytest.raises(IdiolectError, match="no style 'loud'") as caught:
        small.animate(samples, fps=30.0, style="loud")
    assert "lively, neutral" in caught.value.hint
    with pytest.raises(IdiolectError, match="has 3 numbers"):
        small.animate(samples, fps=30.0, style=np.zeros(3))
    with pytest.raises(IdiolectError, match="frame rate"):
        small.animate(samples, fps=0.0)
    with pytest.raises(IdiolectError, match="too short"):
        small.animate(samples[:100], fps=30.0)
    with pytest.raises(IdiolectError, match="finite"):
        small.animate(np.full(16000, np.nan), fps=30.0)


def test_an_accelerator_that_fails_is_left(
    small: Animator, samples: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = small.animate(samples, fps=30.0).weights
    forward = IdiolectModel.forward

    def fails(self: IdiolectModel, *arguments: Any, **named: Any) -> torch.Tensor:
        if arguments[0].prosody.device.type != "cpu":
            raise RuntimeError("no kernel image is available")
        return forward(self, *arguments, **named)

    monkeypatch.setattr(IdiolectModel, "forward", fails)
    monkeypatch.setattr(small.engine, "device", torch.device("meta"))
    np.testing.assert_array_equal(small.animate(samples, fps=30.0).weights, expected)
    assert small.device.type == "cpu"


def test_want_of_memory_makes_windows_smaller(
    small: Animator,
    samples: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    long = np.tile(samples, 4)
    track = StyleTrack(np.stack(list(small.styles.values())), np.array([2.0, 12.0]))
    expected = small.animate(long, fps=50.0, style=track, finishing=None).weights
    motion_forward, sound_forward = IdiolectModel.forward, CompactBackbone.forward
    sizes = []

    def motion(self: IdiolectModel, tracks: Any, *arguments: Any, **named: Any) -> torch.Tensor:
        sizes.append(tracks.prosody.shape[1])
        if sizes[-1] > 350:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return motion_forward(self, tracks, *arguments, **named)

    def sound(self: CompactBackbone, window: torch.Tensor, *arguments: Any) -> Any:
        if window.shape[1] > 6 * SAMPLE_RATE_HZ:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sound_forward(self, window, *arguments)

    monkeypatch.setattr(IdiolectModel, "forward", motion)
    monkeypatch.setattr(CompactBackbone, "forward", sound)
    small.listener.forget()
    given = small.animate(long, fps=50.0, style=track, finishing=None).weights
    np.testing.assert_allclose(given, expected, atol=2e-3)
    assert "smaller windows" in caplog.text
    assert sum(size > 350 for size in sizes) < 5, "it learns from the first refusal"


def test_style_tracks_mix_and_hold() -> None:
    a, b = np.zeros(3, np.float32), np.ones(3, np.float32)
    track = StyleTrack(np.stack([a, b]), np.array([1.0, 3.0]))
    np.testing.assert_allclose(
        track.at(np.array([0.0, 1.0, 2.0, 3.0, 9.0]))[:, 0], [0, 0, 0.5, 1, 1]
    )
    assert StyleTrack.constant(b).at(np.arange(5.0)).shape == (1, 3)
    np.testing.assert_array_equal(mix_styles(a, b, 0.0), a)
    np.testing.assert_array_equal(mix_styles(a, b, 1.0), b)
    assert mix_styles(a, b, np.linspace(0, 1, 7)).shape == (7, 3)
    np.testing.assert_array_equal(strengthen_style(b, a, 1.0), b)
    np.testing.assert_array_equal(strengthen_style(b, a, 1.5), 1.5 * b)
    with pytest.raises(IdiolectError):
        StyleTrack(np.stack([a, b]), np.array([3.0, 1.0]))


def test_mix_and_strength_end_exactly_where_they_should(
    small: Animator, samples: np.ndarray
) -> None:
    def weights(style: Any) -> np.ndarray:
        return small.animate(samples, fps=30.0, style=style, finishing=None).weights

    a, b = (small.styles[name] for name in ("neutral", "lively"))
    np.testing.assert_array_equal(weights(small.style_control("neutral", "lively")), weights(a))
    np.testing.assert_array_equal(weights(small.style_control(a, b, 1.0)), weights("lively"))
    mean = weights(small.style_control(a, b, 0.3, 0.0))
    np.testing.assert_array_equal(mean, weights(small.mean_style))
    np.testing.assert_allclose(small.mean_style, (a + b) / 2, atol=1e-6)
    over_time = small.style_control(a, b, Track([0, 1], [1.0, 2.0]), Track([1, 0], [3.0, 3.5]))
    moved = weights(over_time)
    np.testing.assert_allclose(moved[:20], weights(a)[:20], atol=0.05)
    np.testing.assert_array_equal(over_time.at(np.array([0.0, 2.5, 4.0])), [a, b, small.mean_style])
    assert np.abs(moved - weights(a)).max() > 0.0
    for wrong in ({"mix": 1.5}, {"strength": -0.1}, {"strength": 2.5}):
        with pytest.raises(IdiolectError):
            small.style_control(a, b, **wrong)


def test_emotions_act_where_they_stand_and_untrained_ones_are_told(
    small: Animator, samples: np.ndarray
) -> None:
    told: list[str] = []
    plain = small.animate(samples, fps=50.0, finishing=None, warn=told.append).weights
    assert not told
    angry = np.eye(8)[2]
    track = EmotionTrack([0 * angry, angry], [2.0, 2.5])
    moved = small.animate(samples, fps=50.0, emotion=track, finishing=None, warn=told.append)
    neutral = EmotionTrack.constant(0 * angry)
    base = small.animate(samples, fps=50.0, emotion=neutral, finishing=None).weights
    reach = small.engine.model.reach or 0
    np.testing.assert_allclose(moved.weights[: 100 - reach], base[: 100 - reach], atol=1e-5)
    assert np.abs(moved.weights[150:] - base[150:]).max() > 1e-3
    assert np.abs(base - plain).max() > 1e-4, "zeros are neutral, not unknown"
    assert len(told) == 1 and "not learnt emotions" in told[0]
    with pytest.raises(IdiolectError, match="intensities of 0"):
        EmotionTrack.constant(2 * angry)
    with pytest.raises(IdiolectError, match="8 intensities"):
        EmotionTrack.constant(np.ones(3))


def test_listening_in_windows_equals_the_whole(small: Animator, samples: np.ndarray) -> None:
    long = np.tile(samples, 5) * np.float32(0.3)  # level must not matter
    _, heard = small.listener.listen(listening.SpeechSource(long), lambda *_: None, lambda: False)
    whole_file = listening.HeardSpeech.joined(list(heard))
    with torch.inference_mode():
        whole = small.engine.backbone(torch.from_numpy(long * speech_gain(long))[None])
    np.testing.assert_allclose(whole_file.hidden, whole.hidden[0].numpy(), atol=4e-3)
    assert len(whole_file.prosody) == len(long) // 320
