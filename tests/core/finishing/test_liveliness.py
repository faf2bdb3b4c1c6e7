"""Gains of regions and what a face does beside speaking: chance that can be repeated."""

from __future__ import annotations

import time

import numpy as np
import pytest

from core.face.lips import CLOSED_MM, lip_gap_mm
from core.finishing.finish import FinishSettings, finish, finish_raw
from core.finishing.liveliness import HEAD_CHANNELS, blinks, brows, gaze, head, rhythm
from core.finishing.raw_motion import Heard, RawMotion
from core.finishing.regions import REGIONS
from core.motion import ARKIT_CHANNELS, MotionClip

FPS = 50.0


def spoken(seconds: float = 60.0, seed: int = 0) -> Heard:
    """Phrases of three seconds with a syllable each quarter of one, and half a second between."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * 50)) / 50
    quiet = times % 3.5 > 3.0
    stress = np.repeat(rng.uniform(-0.25, 0.3, len(times) // 12 + 1), 12)[: len(times)]
    loudness = np.where(quiet, -2.5, 0.15 * np.sin(2 * np.pi * 4 * times) + stress)
    silence = quiet.astype(np.float32)
    closure = ((times % 0.7 < 0.06) & ~quiet).astype(np.float32)
    return Heard(loudness.astype(np.float32), silence, closure)


def talking(heard: Heard) -> MotionClip:
    frames = len(heard.loudness) + 1
    swing = 0.3 + 0.25 * np.sin(np.arange(frames) / 4)
    weights = np.zeros((frames, 52), np.float32)
    most_of = {
        "jawOpen": 1.0,
        "mouthUpperUpLeft": 0.4,
        "mouthLowerDownLeft": 0.5,
        "browInnerUp": 0.2,
        "cheekPuff": 0.1,
        "eyeSquintLeft": 0.1,
    }
    for name, most in most_of.items():
        weights[:, ARKIT_CHANNELS.index(name)] = most * swing
    return MotionClip(weights, ARKIT_CHANNELS, FPS)


@pytest.mark.parametrize(
    "gains", [{"gain_jaw": 2.0}, {"gain_lips": 2.0}, {"gain_jaw": 0.5, "gain_lips": 1.7}]
)
def test_gains_scale_a_region_and_leave_closures_shut(gains: dict[str, float]) -> None:
    heard = spoken(14.0)
    raw = talking(heard)
    plain = finish(raw, FinishSettings(), heard)
    gained = finish(raw, FinishSettings(**gains), heard)
    shut = np.flatnonzero(heard.closure > 0.5)
    assert lip_gap_mm(gained.weights[shut]).max() <= CLOSED_MM
    touched = {name for region in gains for name in REGIONS[region.removeprefix("gain_")]}
    for i, name in enumerate(ARKIT_CHANNELS):
        if name not in touched:
            np.testing.assert_allclose(gained.weights[:, i], plain.weights[:, i], atol=0.08)
    jaw = ARKIT_CHANNELS.index("jawOpen")
    ratio = gained.weights[:, jaw].mean() / plain.weights[:, jaw].mean()
    assert (ratio > 1.2) == (gains.get("gain_jaw", 1.0) > 1.0)


def test_a_jaw_that_is_full_open_leaves_lips_as_far_apart_as_they_were() -> None:
    weights = np.zeros((60, 52), np.float32)
    weights[:, ARKIT_CHANNELS.index("jawOpen")] = 0.8
    weights[:, ARKIT_CHANNELS.index("mouthClose")] = 0.4
    raw = MotionClip(weights, ARKIT_CHANNELS, FPS)
    done = finish(raw, FinishSettings(gain_jaw=3.0)).weights
    assert done[0, ARKIT_CHANNELS.index("jawOpen")] == pytest.approx(1.0)
    assert done[0, ARKIT_CHANNELS.index("mouthClose")] == pytest.approx(0.5)


def test_heavy_smoothing_keeps_closures() -> None:
    heard = spoken(14.0)
    done = finish(talking(heard), FinishSettings(smoothing_s=0.1), heard)
    shut = np.flatnonzero(heard.closure > 0.5)
    assert lip_gap_mm(done.weights[shut]).max() <= CLOSED_MM


def test_an_offset_moves_time_and_nothing_else() -> None:
    heard = spoken(10.0)
    raw = RawMotion(talking(heard), heard, 10.0)
    still = {"blink_strength": 0.0, "gaze_strength": 0.0, "brow_strength": 0.0}
    plain = finish_raw(raw, FinishSettings(**still), 30.0).weights
    late = finish_raw(raw, FinishSettings(offset_s=0.2, **still), 30.0).weights
    np.testing.assert_allclose(late[6:], plain[:-6], atol=1e-4)
    early = finish_raw(raw, FinishSettings(offset_s=-0.2, **still), 30.0).weights
    np.testing.assert_allclose(early[:-6], plain[6:], atol=1e-4)


def test_the_same_seed_lives_the_same_and_each_strength_is_its_own() -> None:
    heard = spoken()
    raw = talking(heard)

    def finished(**settings: float) -> np.ndarray:
        return finish(raw, FinishSettings(**settings), heard).weights

    usual = finished()
    np.testing.assert_array_equal(usual, finished())
    assert np.abs(usual - finished(seed=1)).max() > 0.1
    columns = {
        "blink_strength": [i for i, n in enumerate(ARKIT_CHANNELS) if n.startswith("eyeBlink")],
        "gaze_strength": [i for i, n in enumerate(ARKIT_CHANNELS) if n.startswith("eyeLook")],
        "brow_strength": [i for i, n in enumerate(ARKIT_CHANNELS) if n.startswith("brow")],
    }
    for name, own in columns.items():
        off = finished(**{name: 0.0})
        others = [i for i in range(52) if i not in own]
        np.testing.assert_array_equal(off[:, others], usual[:, others])
        assert (usual[:, own] - off[:, own]).max() > 0.05
        # Raising what is added raises nothing else, and in proportion.
        half = finished(**{name: 0.5})
        np.testing.assert_allclose(half[:, own], (usual[:, own] + off[:, own]) / 2, atol=0.02)


def test_life_is_natural_in_its_amounts() -> None:
    heard = spoken(600.0)
    times = np.arange(600 * 50 + 1) / 50
    pulse = rhythm(heard, times)
    lids = blinks(pulse, 14.0, 0)
    shut = np.flatnonzero((lids[1:-1] > 0.9) & (lids[1:-1] > lids[:-2]) & (lids[1:-1] >= lids[2:]))
    assert 90 < len(shut) < 200, "about 14 a minute"
    since_phrase = np.abs(times[shut + 1][:, None] - pulse.ends_s[None]).min(1)
    assert (since_phrase < 0.2).mean() > 0.4, "mostly where a phrase ends"
    left, up = gaze(pulse, 0)
    assert 2.0 < left.std() < 8.0 and np.abs(left).max() <= 20.0 and np.abs(up).max() <= 12.0
    moving = np.abs(np.diff(left)) > 0.2
    assert moving.mean() < 0.2, "eyes rest between jumps"
    turns = np.degrees(head(pulse, 0))
    assert (turns.std(axis=0) > 0.3).all() and np.abs(turns).max() < 8.0
    speed = np.abs(np.diff(turns, axis=0)).max() * 50
    assert speed < 40.0, "degrees a second: small movements"
    raised = brows(pulse, 0)
    assert 0.02 < (raised > 0.2).mean() < 0.4


def test_motion_that_blinks_and_looks_by_itself_is_left_to_it() -> None:
    heard = spoken(20.0)
    raw = talking(heard)
    weights = raw.weights.copy()
    for name in ("eyeBlinkLeft", "eyeLookOutLeft"):
        weights[100:110, ARKIT_CHANNELS.index(name)] = 0.9
    own = finish(MotionClip(weights, ARKIT_CHANNELS, FPS), FinishSettings(), heard).weights
    for name in ("eyeBlinkLeft", "eyeLookOutLeft"):
        assert own[200:, ARKIT_CHANNELS.index(name)].max() < 0.01


def test_the_head_has_channels_of_its_own() -> None:
    heard = spoken(20.0)
    done = finish(talking(heard), FinishSettings(head_strength=1.0), heard)
    assert done.channels == (*ARKIT_CHANNELS, *HEAD_CHANNELS)
    assert finish(talking(heard), FinishSettings(), heard).channels == ARKIT_CHANNELS


def test_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = spoken(30.0)
    raw = RawMotion(talking(heard), heard, 30.0)
    settings = FinishSettings(smoothing_s=0.05, head_strength=1.0, offset_s=0.03)
    for fps in (24.0, 50.0, 60.0):
        whole = finish_raw(raw, settings, fps)
        monkeypatch.setattr("core.finishing.finish._BLOCK_FRAMES", 70)
        blocks = finish_raw(raw, settings, fps)
        monkeypatch.undo()
        np.testing.assert_allclose(blocks.weights, whole.weights, atol=1e-5)
        assert len(whole.weights) == round(30 * fps) + 1


def test_a_minute_is_finished_at_once() -> None:
    heard = spoken()
    raw = RawMotion(talking(heard), heard, 60.0)
    seconds = []
    for seed in range(8):
        began = time.process_time()
        finish_raw(raw, FinishSettings(seed=seed, head_strength=1.0), 30.0)
        seconds.append(time.process_time() - began)
    assert min(seconds) < 0.1
