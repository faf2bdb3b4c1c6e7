"""What a speaking face does beside speaking: blinks, glances, small movements of head and brows.

Everything follows from the speech and a seed, so the same speech lives the same way. Each kind has
chance numbers of its own: changing one leaves the others as they are.

Convention:
    Tracks are (T,), one value a motion frame. Head rotations are in radians, right-handed about
    the face's axes (x the subject's left, y up, z the front): pitch > 0 nods down, yaw > 0 turns to
    the subject's left, roll > 0 tilts to the subject's right.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from core.finishing.mouth import runs
from core.finishing.raw_motion import SPEECH_RATE_HZ, Heard

HEAD_CHANNELS = ("headPitch", "headYaw", "headRoll")

_LOUD_ABOVE = -1.0
"""Loudness (units of 20 dB) of what is certainly said, where no phones are known."""
_PHRASE_PAUSE_S = 0.25
_ACCENTS_APART_S = 0.6
_DEGREE = np.pi / 180.0


@dataclass(frozen=True)
class Rhythm:
    """When the speaker speaks, and where the stress lies.

    Attributes:
        times_s: (T,) of the motion's frames.
        ends_s: Ends of phrases, where a pause begins.
        accents_s: Stressed syllables.
        accent_strengths: How much each stands out, 0..1.
        seed: Follows from the speech.
    """

    times_s: np.ndarray
    ends_s: np.ndarray
    accents_s: np.ndarray
    accent_strengths: np.ndarray
    seed: int


def rhythm(heard: Heard, times_s: np.ndarray) -> Rhythm:
    """Find the rhythm of what was heard, for motion at these times."""
    loudness = heard.loudness.astype(np.float64)
    quiet = heard.silence >= 0.5 if heard.knows_phones else loudness < _LOUD_ABOVE
    pauses = [(a, b) for a, b in runs(quiet) if (b - a + 1) / SPEECH_RATE_HZ >= _PHRASE_PAUSE_S]
    ends = [a / SPEECH_RATE_HZ for a, _ in pauses if a > 0]
    accents, strengths = _accents(loudness, quiet)
    # Half precision: raw motion that was stored must live as it did.
    seed = zlib.crc32(np.ascontiguousarray(heard.loudness, np.float16).tobytes())
    return Rhythm(times_s, np.array(ends), accents, strengths, seed)


def _accents(loudness: np.ndarray, quiet: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times and strengths of syllables that are louder than what surrounds them."""
    if len(loudness) < 5:
        return np.zeros(0), np.zeros(0)
    syllables = _blurred(loudness, 0.06)
    emphasis = np.where(quiet, -1.0, syllables - _blurred(loudness.clip(-1.5), 0.7))
    inner = emphasis[1:-1]
    peaks = 1 + np.flatnonzero((inner > emphasis[:-2]) & (inner >= emphasis[2:]) & (inner > 0.08))
    free = np.ones(len(loudness), bool)
    reach = round(_ACCENTS_APART_S * SPEECH_RATE_HZ)
    chosen = []
    for peak in peaks[np.argsort(-emphasis[peaks], kind="stable")].tolist():  # the strongest first
        if free[peak]:
            chosen.append(peak)
            free[max(0, peak - reach) : peak + reach + 1] = False
    chosen.sort()
    return np.array(chosen) / SPEECH_RATE_HZ, (emphasis[chosen] / 0.4).clip(0.0, 1.0)


def blinks(pulse: Rhythm, per_minute: float, seed: int) -> np.ndarray:
    """How far the lids are shut, (T,): at chance intervals, drawn to the ends of phrases."""
    rng = _chance(pulse, seed, 1)
    level = np.zeros(len(pulse.times_s), np.float32)
    if per_minute <= 0.0 or not len(level):
        return level
    pause_s = 60.0 / per_minute
    before, when = -1.0, rng.uniform(0.3, 1.0) * pause_s
    while when < pulse.times_s[-1] - 0.2:
        # Speakers blink where a phrase ends (Cummins 2012); one within a second attracts the blink.
        near = pulse.ends_s[np.abs(pulse.ends_s - when) < 1.0]
        near = near[near > before + 0.6]
        if len(near):
            when = float(near[np.abs(near - when).argmin()]) + rng.uniform(0.0, 0.12)
        _bump(level, pulse.times_s, when, *_LID_S)
        if rng.random() < 0.08:  # now and then there are two
            _bump(level, pulse.times_s, when + 0.36, *_LID_S)
        before = when
        when += 0.8 + rng.gamma(2.0, max(pause_s - 0.8, 0.1) / 2.0)
    return level


def gaze(pulse: Rhythm, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the eyes look, degrees to the subject's left and up, (T,) each.

    They rest on the listener, leave him for a moment (mostly after a phrase), and jump a little
    between the two in between. Jumps last as long as those of eyes: 21 ms and 2.2 ms a degree
    (Bahill et al. 1975).
    """
    rng = _chance(pulse, seed, 2)
    knots, left, up = [-1.0], [0.0], [0.0]
    end = pulse.times_s[-1] if len(pulse.times_s) else 0.0
    when = float(rng.uniform(0.3, 1.5))
    while when < end:
        since = when - pulse.ends_s
        after_phrase = bool(((since >= 0.0) & (since < 0.6)).any())
        away = rng.random() < (0.5 if after_phrase else 0.12)
        spread = (9.0, 5.0) if away else (1.6, 1.0)
        to_left, to_up = rng.normal(0.0, spread[0]), rng.normal(0.0, spread[1])
        jump_s = 0.021 + 0.0022 * float(np.hypot(to_left - left[-1], to_up - up[-1]))
        knots += [when, when + jump_s]
        left += [left[-1], float(np.clip(to_left, -20.0, 20.0))]
        up += [up[-1], float(np.clip(to_up, -12.0, 8.0))]
        when += jump_s + (rng.uniform(0.35, 0.9) if away else rng.gamma(2.0, 0.55) + 0.2)
    return np.interp(pulse.times_s, knots, left), np.interp(pulse.times_s, knots, up)


def head(pulse: Rhythm, seed: int) -> np.ndarray:
    """Rotation of the head, (T, 3) radians in the order of `HEAD_CHANNELS`.

    A slow sway, and a small nod on stressed syllables.
    """
    rng = _chance(pulse, seed, 3)
    times = pulse.times_s
    end = times[-1] if len(times) else 0.0
    knots = np.arange(-1.0, end + 3.0, 1.0)
    turns = np.zeros((len(times), 3), np.float32)
    for axis, degrees in enumerate((1.2, 2.0, 1.0)):
        turns[:, axis] = degrees * _DEGREE * _smooth_noise(rng, knots, times)
    nods = np.zeros(len(times), np.float32)
    for when, strength in zip(pulse.accents_s, pulse.accent_strengths, strict=True):
        degrees = (0.8 + 1.7 * strength) * rng.uniform(0.4, 1.0)
        _bump(nods, times, when, 0.2, 0.0, 0.4, degrees * _DEGREE)
    turns[:, 0] += nods
    return turns


def brows(pulse: Rhythm, seed: int) -> np.ndarray:
    """How far the brows rise on stressed syllables, (T,) in 0..1."""
    rng = _chance(pulse, seed, 4)
    level = np.zeros(len(pulse.times_s), np.float32)
    for when, strength in zip(pulse.accents_s, pulse.accent_strengths, strict=True):
        height = strength * rng.uniform(0.3, 1.0)
        if rng.random() < 0.25 + 0.5 * strength:
            _bump(level, pulse.times_s, when, 0.16, 0.06, 0.3, height)
    return level


def _chance(pulse: Rhythm, seed: int, kind: int) -> Generator:
    return np.random.default_rng([pulse.seed, seed & 0xFFFFFFFF, kind])


_LID_S = (0.08, 0.02, 0.16)
"""Seconds in which lids fall, are shut, and rise: rising takes twice as long."""


def _bump(
    level: np.ndarray,
    times_s: np.ndarray,
    when: float,
    rise_s: float,
    hold_s: float,
    fall_s: float,
    height: float = 1.0,
) -> None:
    """Raise a track to `height` at a time, with smooth ramps, where it is not higher already."""
    a, b = np.searchsorted(times_s, (when - rise_s, when + hold_s + fall_s))
    near = times_s[a:b] - when
    ramp = np.minimum(near / rise_s + 1.0, 1.0 - (near - hold_s) / fall_s).clip(0.0, 1.0)
    level[a:b] = np.maximum(level[a:b], height * ramp * ramp * (3.0 - 2.0 * ramp))


def _smooth_noise(rng: Generator, knots: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """Chance values at even knots, joined by cubics (Catmull-Rom): no corner anywhere."""
    values = rng.normal(0.0, 1.0, len(knots)).clip(-2.0, 2.0)
    position = ((times_s - knots[0]) / (knots[1] - knots[0])).clip(1.0, len(knots) - 2.001)
    at = position.astype(int)
    x = position - at
    p, q, r, s = (values[at + shift] for shift in (-1, 0, 1, 2))
    return q + 0.5 * x * (r - p + x * (2 * p - 5 * q + 4 * r - s + x * (3 * (q - r) + s - p)))


def _blurred(track: np.ndarray, sigma_s: float) -> np.ndarray:
    """Gaussian smoothing of a track at 50 Hz, with the ends held."""
    sigma = sigma_s * SPEECH_RATE_HZ
    reach = max(1, int(np.ceil(3.0 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(track, reach, mode="edge"), taps / taps.sum(), mode="valid")
