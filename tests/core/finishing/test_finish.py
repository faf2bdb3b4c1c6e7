"""Finishing: closures sealed, silence calmed, nothing else touched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.face.lips import CLOSED_MM, lip_gap_mm
from core.finishing.finish import FinishSettings, finish
from core.finishing.raw_motion import Heard
from core.motion import ARKIT_CHANNELS, MotionClip
from core.phones import PHONE_INDEX, PHONES

LIFELESS = {
    "smoothing_s": 0.0,
    "blink_strength": 0.0,
    "gaze_strength": 0.0,
    "brow_strength": 0.0,
}
BARE = FinishSettings(closure_guard=False, parting_guard=False, silence_gate=False, **LIFELESS)
JAW, CLOSE = ARKIT_CHANNELS.index("jawOpen"), ARKIT_CHANNELS.index("mouthClose")


def talking(frames: int = 200, fps: float = 50.0) -> MotionClip:
    """A mouth that never quite shuts."""
    rng = np.random.default_rng(4)
    weights = np.zeros((frames, 52), np.float32)
    swing = 0.5 + 0.4 * np.sin(np.arange(frames) / 4)
    for name, most in (
        ("jawOpen", 0.6),
        ("mouthUpperUpLeft", 0.4),
        ("mouthUpperUpRight", 0.3),
        ("mouthLowerDownLeft", 0.5),
        ("mouthFunnel", 0.6),
        ("mouthSmileLeft", 0.4),
        ("noseSneerLeft", 0.2),
        ("mouthPucker", 0.3),
    ):
        weights[:, ARKIT_CHANNELS.index(name)] = most * swing
    weights += rng.uniform(0, 0.01, weights.shape).astype(np.float32)
    return MotionClip(weights, ARKIT_CHANNELS, fps)


def heard_as(*phones: tuple[str, int, int], frames: int = 200) -> Heard:
    """Posteriors that are sure of these phones (name, first, last) and of AA elsewhere."""
    posteriors = np.full((frames, len(PHONES)), 0.1 / 39, np.float32)
    labels = np.full(frames, PHONE_INDEX["AA"])
    for name, first, last in phones:
        labels[first:last] = PHONE_INDEX[name]
    posteriors[np.arange(frames), labels] = 0.9
    return Heard.of(posteriors, np.zeros(frames, np.float32))


@pytest.mark.parametrize("phone", ["P", "B", "M"])
def test_guard_seals_the_lips_on_the_head(phone: str) -> None:
    raw = talking()
    heard = heard_as((phone, 100, 104))
    done = finish(raw, FinishSettings(), heard)
    gap = lip_gap_mm(done.weights).max(1)
    assert lip_gap_mm(raw.weights).max(1)[100:104].min() > CLOSED_MM
    assert (gap[100:104] <= CLOSED_MM).all()
    far = np.r_[0:90, 114:200]
    assert gap[far].mean() > 0.8 * lip_gap_mm(raw.weights).max(1)[far].mean()


def test_guard_needs_confidence() -> None:
    heard = heard_as(("M", 100, 104))
    unsure = replace(heard, closure=heard.closure * 0.3)
    done = finish(talking(), FinishSettings(), unsure)
    assert lip_gap_mm(done.weights).max(1)[100:104].min() > CLOSED_MM


def test_a_single_frame_closure_survives_smoothing() -> None:
    raw = talking()
    weights = raw.weights.copy()
    weights[60] = 0.0
    weights[60, [JAW, CLOSE]] = 0.2
    settings = replace(BARE, smoothing_s=0.02)
    done = finish(MotionClip(weights, ARKIT_CHANNELS, 50.0), settings, heard_as())
    assert lip_gap_mm(done.weights[60:61]).max() <= CLOSED_MM


def test_a_long_closure_is_shut_within_its_blurred_ends() -> None:
    settings = replace(FinishSettings(**LIFELESS), parting_guard=False)
    short = finish(talking(), settings, heard_as(("M", 100, 104)))
    long = finish(talking(), settings, heard_as(("M", 100, 108)))
    assert (lip_gap_mm(short.weights[100:104]).max(1) <= CLOSED_MM).all()
    gap = lip_gap_mm(long.weights[98:110]).max(1)
    assert (gap[3:9] <= CLOSED_MM).all()
    assert gap[0] > CLOSED_MM and gap[-1] > CLOSED_MM
    assert gap[2] > lip_gap_mm(short.weights[100:101]).max() and gap[2] < 0.7 * gap[0]


def test_lips_that_shut_on_a_vowel_are_parted_and_others_left_alone() -> None:
    raw = talking()
    weights = raw.weights.copy()
    weights[100:106] = 0.0
    shut = MotionClip(weights, ARKIT_CHANNELS, 50.0)
    done = finish(shut, replace(BARE, parting_guard=True), heard_as())
    assert lip_gap_mm(shut.weights[100:106]).max() <= CLOSED_MM
    assert lip_gap_mm(done.weights[100:106]).max(1).min() > 2 * CLOSED_MM
    rest = np.r_[0:100, 106:200]
    np.testing.assert_allclose(done.weights[rest], shut.weights[rest], atol=0.01)


@pytest.mark.parametrize(("phone", "frames"), [("M", 5), ("SIL", 20)])
def test_lips_stay_shut_on_closures_and_in_pauses(phone: str, frames: int) -> None:
    weights = talking().weights.copy()
    weights[100 : 100 + frames] = 0.0
    shut = MotionClip(weights, ARKIT_CHANNELS, 50.0)
    heard = heard_as((phone, 100, 100 + frames))
    done = finish(shut, replace(BARE, parting_guard=True), heard).weights[100 : 100 + frames]
    if phone == "SIL":
        # The last sound lingers on; the lips meet after it.
        assert lip_gap_mm(done[:6]).max(1).min() > 2 * CLOSED_MM
        done = done[8:-2]
    np.testing.assert_array_equal(done, 0.0)


def test_lips_that_shut_on_the_last_sound_stay_shut_in_the_pause_after_it() -> None:
    weights = talking().weights.copy()
    weights[100:125] = 0.0
    shut = MotionClip(weights, ARKIT_CHANNELS, 50.0)
    heard = heard_as(("M", 100, 105), ("SIL", 105, 125))
    done = finish(shut, replace(BARE, parting_guard=True), heard)
    np.testing.assert_array_equal(done.weights[100:123], 0.0)


def test_the_hush_inside_a_consonant_is_no_pause() -> None:
    weights = talking().weights.copy()
    weights[100:104] = 0.0
    shut = MotionClip(weights, ARKIT_CHANNELS, 50.0)
    done = finish(shut, replace(BARE, parting_guard=True), heard_as(("SIL", 100, 104)))
    assert lip_gap_mm(done.weights[100:104]).max(1).min() > 2 * CLOSED_MM


def test_silence_closes_and_stills_the_mouth_but_keeps_its_habits() -> None:
    done = finish(talking(), FinishSettings(), heard_as(("SIL", 80, 140)))
    rest = done.weights[92:128]
    assert rest[:, JAW].max() < 1e-3 and np.abs(np.diff(rest[:, JAW])).max() < 1e-3
    assert rest[:, ARKIT_CHANNELS.index("mouthSmileLeft")].mean() > 0.1
    assert done.weights[:70, JAW].mean() > 0.2


def test_a_short_pause_is_left_alone() -> None:
    done = finish(talking(), FinishSettings(), heard_as(("SIL", 100, 106)))
    assert done.weights[100:106, JAW].min() > 0.02


def test_silence_at_both_ends_is_whole() -> None:
    done = finish(talking(), FinishSettings(), heard_as(("SIL", 0, 40), ("SIL", 160, 200)))
    assert done.weights[0, JAW] == 0.0 and done.weights[-1, JAW] == 0.0


def test_smoothing_takes_jitter_away() -> None:
    raw = talking()
    shaky = raw.weights + np.random.default_rng(0).normal(0, 0.02, raw.weights.shape)
    clip = MotionClip(shaky.clip(0, 1).astype(np.float32), ARKIT_CHANNELS, 50.0)
    done = finish(clip, FinishSettings(smoothing_s=0.02, blinks_per_minute=0.0), heard_as())
    assert (
        np.abs(np.diff(done.weights, 2, axis=0)).mean()
        < 0.5 * np.abs(np.diff(clip.weights, 2, axis=0)).mean()
    )


def test_blinks_come_in_pairs_follow_the_speech_and_leave_blinking_motion_alone() -> None:
    lids = [ARKIT_CHANNELS.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    raw = talking(1500)
    heard = heard_as(frames=1500)
    done = finish(raw, FinishSettings(), heard).weights[:, lids]
    down = (done[1:-1, 0] > 0.9) & (done[1:-1, 0] >= done[:-2, 0]) & (done[1:-1, 0] > done[2:, 0])
    assert 3 <= down.sum() <= 15
    np.testing.assert_allclose(done[:, 0], done[:, 1], atol=0.02)
    np.testing.assert_array_equal(done, finish(raw, FinishSettings(), heard).weights[:, lids])
    weights = raw.weights.copy()
    weights[50:55, lids] = 1.0
    own = finish(MotionClip(weights, ARKIT_CHANNELS, 50.0), FinishSettings(), heard)
    assert own.weights[100:, lids].max() < 0.1


def test_everything_off_only_clamps() -> None:
    raw = talking()
    wild = MotionClip(raw.weights * 3.0 - 0.5, ARKIT_CHANNELS, 50.0)
    done = finish(wild, BARE, heard_as(("M", 10, 20)))
    np.testing.assert_allclose(done.weights, wild.weights.clip(0, 1), atol=1e-6)


def test_without_phones_or_arkit_nothing_is_guessed() -> None:
    nothing = Heard.of(np.zeros((200, 0), np.float32), np.zeros(200, np.float32))
    raw = talking()
    np.testing.assert_array_equal(
        finish(raw, replace(FinishSettings(), **LIFELESS), nothing).weights, raw.weights
    )
    flame = MotionClip(np.full((10, 3), 2.0, np.float32), ("a", "b", "c"), 25.0, "flame")
    np.testing.assert_array_equal(
        finish(flame, FinishSettings(), heard_as()).weights, flame.weights
    )
