"""The procedural animator: what must hold for every manner of speaking."""

from __future__ import annotations

import numpy as np
import pytest

from core.emotions import EMOTION_INDEX, EMOTIONS
from core.face.lips import CLOSED_MM, lip_gap_mm
from core.motion import ARKIT_CHANNELS, MotionClip
from training.synthesis.animator import animate_phones
from training.synthesis.emotions import (
    Feeling,
    draw_intensities,
    strongest,
    vary_expressions,
)
from training.synthesis.roughen import roughen
from training.synthesis.styles import (
    READY_MADE,
    SpeakingStyle,
    sample_style,
    style_traits,
    vary_style,
)

WORDS = (
    *(("SIL", 0.25), ("B", 0.09), ("AA", 0.14), ("B", 0.07), ("P", 0.1), ("AE", 0.12)),
    *(("K", 0.08), ("T", 0.06), ("M", 0.06), ("AY", 0.2), ("F", 0.1), ("AY", 0.18), ("V", 0.07)),
    *(("S", 0.1), ("UW", 0.2), ("M", 0.08), ("SIL", 0.6), ("OW", 0.2), ("SIL", 0.3)),
)


def line() -> list[tuple[str, float, float]]:
    ends = np.cumsum([length for _, length in WORDS])
    return [(p, float(e - length), float(e)) for (p, length), e in zip(WORDS, ends, strict=True)]


def voice(loudness: float = 0.0) -> np.ndarray:
    frames = round(line()[-1][2] * 50)
    return np.tile(np.array([loudness, 0.2, 0.8, 0.1]), (frames, 1))


def column(clip: MotionClip, name: str) -> np.ndarray:
    return clip.weights[:, ARKIT_CHANNELS.index(name)]


def frames_of(phone: str, nth: int = 0, fps: float = 50.0) -> slice:
    _, start, end = [segment for segment in line() if segment[0] == phone][nth]
    return slice(round(start * fps), round(end * fps) + 1)


def all_styles() -> list[SpeakingStyle]:
    rng = np.random.default_rng(7)
    return [*READY_MADE.values(), *(sample_style(rng) for _ in range(60))]


@pytest.mark.parametrize("fps", [50.0, 60.0])
def test_lips_seal_on_every_bilabial_in_every_style(fps: float) -> None:
    for style in all_styles():
        gap = lip_gap_mm(animate_phones(line(), voice(), style, fps=fps).weights).max(1)
        for phone, start, end in line():
            if phone in "BPM":
                assert gap[round(start * fps) : round(end * fps) + 1].min() <= CLOSED_MM, style


def one_emotion(name: str, intensity: float = 1.0) -> np.ndarray:
    return intensity * np.eye(len(EMOTIONS))[EMOTION_INDEX[name]]


@pytest.mark.parametrize("name", EMOTIONS)
def test_emotions_keep_closures_sealed_and_pauses_closed_in_every_style(name: str) -> None:
    rng = np.random.default_rng(3)
    for style in all_styles():
        shown = vary_expressions(rng)
        clip = animate_phones(line(), voice(), style, emotion=one_emotion(name), expressions=shown)
        gap = lip_gap_mm(clip.weights).max(1)
        for phone, start, end in line():
            if phone in "BPM":
                assert gap[round(start * 50) : round(end * 50) + 1].min() <= CLOSED_MM, style
        assert gap[frames_of("AE")].max() > 1.0, style
        pause = slice(frames_of("SIL", 1).start + 10, frames_of("SIL", 1).stop - 12)
        assert gap[pause].max() <= CLOSED_MM, style


def test_emotions_show_grow_and_are_told_apart() -> None:
    def mean(name: str, intensity: float = 1.0) -> np.ndarray:
        emotion = one_emotion(name, intensity)
        return animate_phones(line(), voice(), SpeakingStyle(), emotion=emotion).weights.mean(0)

    neutral = mean("neutral")
    np.testing.assert_array_equal(
        neutral, animate_phones(line(), voice(), SpeakingStyle()).weights.mean(0)
    )
    full = {name: mean(name) for name in EMOTIONS}
    for name in EMOTIONS[1:]:
        half, whole = (np.abs(w - neutral).sum() for w in (mean(name, 0.5), full[name]))
        assert 0.3 * whole < half < 0.7 * whole and whole > 1.0
        others = [np.abs(full[name] - full[other]).sum() for other in EMOTIONS if other != name]
        assert min(others) > 0.8, name

    def change(name: str, channel: str) -> float:
        index = ARKIT_CHANNELS.index(channel)
        return float(full[name][index] - neutral[index])

    assert change("happiness", "mouthSmileLeft") > 0.4
    assert change("anger", "browDownLeft") > 0.6 and change("anger", "jawOpen") > 0.01
    assert change("sadness", "mouthFrownRight") > 0.3 and change("sadness", "jawOpen") < -0.02
    assert change("contempt", "mouthSmileLeft") > change("contempt", "mouthSmileRight") + 0.25
    assert change("surprise", "eyeWideLeft") > 0.5 and change("surprise", "jawOpen") > 0.03
    assert change("fear", "browInnerUp") > 0.6 and change("fear", "mouthStretchLeft") > 0.25
    assert change("disgust", "noseSneerLeft") > 0.3


def test_a_transition_moves_no_faster_than_speech() -> None:
    frames = round(line()[-1][2] * 50) + 1
    rise = np.clip((np.arange(frames) - 60) / 15, 0.0, 1.0)[:, None]
    rise = rise * rise * (3 - 2 * rise)
    emotion = (1 - rise) * one_emotion("sadness") + rise * one_emotion("surprise")
    weights = animate_phones(line(), voice(), SpeakingStyle(), emotion=emotion).weights
    for end, name in ((slice(0, 60), "sadness"), (slice(76, None), "surprise")):
        held = animate_phones(line(), voice(), SpeakingStyle(), emotion=one_emotion(name))
        np.testing.assert_allclose(weights[end], held.weights[end], atol=1e-6)
    assert np.abs(np.diff(weights[58:78], axis=0)).max() < 0.2


def test_emotions_are_drawn_alike_whoever_speaks_and_the_same_from_the_same_seed() -> None:
    def drawn(seed: int) -> np.ndarray:
        return draw_intensities(200, 50.0, np.random.default_rng(seed))

    np.testing.assert_array_equal(drawn(4), drawn(4))
    clips = np.stack([drawn(seed) for seed in range(400)])
    assert clips.min() >= 0.0 and clips.max() <= 1.0
    assert np.abs(np.diff(clips[:, :, 1:], axis=1)).max() < 0.2  # no jumps
    shown = np.array([np.bincount(strongest(clip), minlength=8).argmax() for clip in clips])
    counts = np.bincount(shown, minlength=8)
    assert counts.min() > 20 and counts[0] > counts[1:].max()
    moving = np.ptp(clips[:, :, 1:], axis=1).max(1) > 0.2
    mixed = (clips[:, 100, 1:] > 0.05).sum(1) > 1
    assert 0.1 < moving.mean() < 0.35 and mixed.mean() > 0.1


def test_emotions_mix() -> None:
    both = one_emotion("happiness", 0.5) + one_emotion("surprise", 0.5)
    held = Feeling(both[None]).held[0]
    assert held[ARKIT_CHANNELS.index("mouthSmileLeft")] > 0.2
    assert held[ARKIT_CHANNELS.index("eyeWideLeft")] > 0.2
    assert Feeling(np.ones((1, 8))).held.max() <= 1.0


def test_mouth_opens_on_vowels_and_rests_closed_in_pauses() -> None:
    for style in all_styles():
        clip = animate_phones(line(), voice(), style)
        gap = lip_gap_mm(clip.weights).max(1)
        assert gap[frames_of("AE")].max() > 2.0, style
        pause = slice(frames_of("SIL", 1).start + 10, frames_of("SIL", 1).stop - 12)
        assert gap[pause].max() <= CLOSED_MM, style
        assert np.abs(np.diff(column(clip, "jawOpen")[pause])).max() < 1e-3


def test_loudness_opens_the_jaw() -> None:
    quiet, loud = (
        column(animate_phones(line(), voice(level), SpeakingStyle()), "jawOpen").mean()
        for level in (-0.6, 0.3)
    )
    assert loud > 1.3 * quiet


def test_rounding_begins_before_its_vowel() -> None:
    start = frames_of("UW").start

    def lead(style: SpeakingStyle) -> float:
        pucker = column(animate_phones(line(), voice(), style), "mouthPucker")
        return float(pucker[start - 5] / pucker[start : start + 10].max())

    assert lead(SpeakingStyle(anticipation_s=0.15)) > lead(SpeakingStyle(anticipation_s=0.05))
    assert lead(SpeakingStyle()) > 0.15


def test_labiodentals_tuck_the_lower_lip() -> None:
    roll = column(animate_phones(line(), voice(), SpeakingStyle()), "mouthRollLower")
    assert roll[frames_of("F")].max() > 0.3 > roll[frames_of("AE")].max() + 0.1


def test_styles_show() -> None:
    def mean(name: str, channel: str) -> float:
        return float(column(animate_phones(line(), voice(), READY_MADE[name]), channel).mean())

    assert mean("broad", "jawOpen") > 1.2 * mean("neutral", "jawOpen")
    assert mean("mumbling", "jawOpen") < 0.7 * mean("neutral", "jawOpen")
    assert mean("smiling", "mouthSmileLeft") > mean("neutral", "mouthSmileLeft") + 0.2
    assert mean("lopsided", "mouthSmileLeft") > 1.5 * mean("lopsided", "mouthSmileRight")
    assert len(READY_MADE) >= 8


def test_any_rate_covers_the_line_and_stays_in_range() -> None:
    for fps in (24.0, 30000 / 1001, 60.0):
        clip = animate_phones(line(), voice(), READY_MADE["broad"], fps=fps)
        assert len(clip.weights) == round(line()[-1][2] * fps) + 1
        assert clip.weights.min() >= 0.0 and clip.weights.max() <= 1.0


def test_blinks_are_drawn_from_the_given_chance_only() -> None:
    style = SpeakingStyle(blinks_per_minute=120.0)

    def blinks(seed: int | None) -> np.ndarray:
        rng = None if seed is None else np.random.default_rng(seed)
        return column(animate_phones(line(), voice(), style, rng=rng), "eyeBlinkLeft")

    assert blinks(None).max() == 0.0 and blinks(1).max() > 0.9
    np.testing.assert_array_equal(blinks(1), blinks(1))


def test_sampled_styles_differ_and_vary_little_from_take_to_take() -> None:
    rng = np.random.default_rng(0)
    styles = [sample_style(rng) for _ in range(50)]
    spread = np.std([style_traits(style) for style in styles], axis=0)
    again = np.std([style_traits(vary_style(styles[0], rng)) for _ in range(50)], axis=0)
    assert (spread > 0).all() and (again < 0.5 * spread).all()


def test_roughened_speech_keeps_its_time_and_level() -> None:
    rng = np.random.default_rng(0)
    samples = np.zeros(32000, np.float32)
    samples[16000:24000] = 0.15 * np.sin(np.arange(8000) / 8)
    for _ in range(10):
        rough = roughen(samples, rng)
        assert rough.shape == samples.shape and rough.dtype == np.float32
        power = np.square(rough).reshape(-1, 1600).mean(1)
        assert np.argmax(power) in range(10, 15)
        assert power[:9].max() < 0.5 * power[10:15].mean()
        assert 0.03 < np.sqrt(power[10:15].mean()) < 0.3
