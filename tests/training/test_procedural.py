"""The procedural animator: what must hold for every manner of speaking."""

from __future__ import annotations

import numpy as np
import pytest

from core.face.lips import CLOSED_MM, lip_gap_mm
from core.motion import ARKIT_CHANNELS, MotionClip
from training.synthesis.animator import animate_phones
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
