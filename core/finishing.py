"""What is done to ARKit motion after the model: closures sealed and parted, silence calmed, jitter
removed, blinks.

Everything works on plain arrays and never invents articulation: a closure is only completed where
the phones that were heard ask for one, and the mouth is only calmed where nothing was said.

Shapes: T motion frames, N speech frames (50 Hz).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.motion import MotionClip
from core.phones import BILABIALS, PHONE_INDEX, SILENCE

SPEECH_RATE_HZ = 50

_PARTING = (
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthFunnel",
    "mouthShrugUpper",
    "tongueOut",
)
"""Channels that part the lips by themselves, beside the pair jawOpen / mouthClose."""

_LIFTING = ("noseSneerLeft", "noseSneerRight", "jawForward")
"""Channels that part the lips a little on the way to something else."""

_SPEAKING = (
    *_PARTING,
    "jawOpen",
    "mouthClose",
    "jawForward",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthShrugLower",
)
"""Channels that rest at zero in a calm mouth; smiles and pursed lips are habits and stay."""

Array = NDArray[Any]


class Heard(NamedTuple):
    """What was heard, for finishing.

    Attributes:
        posteriors: (N, 40) phone probabilities at 50 Hz, or (N, 0) where the backbone knows none.
        loudness: (N,) of `core.model.speech.prosody`: units of 20 dB, 0 = active speech.
    """

    posteriors: Array
    loudness: Array


@dataclass(frozen=True)
class FinishSettings:
    """What to do, and how much."""

    closure_guard: bool = True
    """Seal the lips wherever p, b or m was heard with confidence."""
    closure_confidence: float = 0.4
    """Probability of p, b or m above which they are sealed."""
    closure_ramp_s: float = 0.05
    """Time the lips take to meet and to part."""
    parting_guard: bool = True
    """Part the lips a little wherever there is speech in which no p, b or m was heard."""
    parting_confidence: float = 0.3
    """Probability of p, b or m below which they are parted."""
    silence_gate: bool = True
    """Close and calm the mouth where nothing is said."""
    silence_confidence: float = 0.6
    """Probability of silence above which a frame counts as silent."""
    silence_shortest_s: float = 0.2
    """Shorter pauses are left as they are."""
    silence_ramp_s: float = 0.1
    """Time the mouth takes to come to rest, and to leave it."""
    smoothing_s: float = 0.008
    """Standard deviation of the smoothing, in seconds; closures stay sharp. 0 = none."""
    blinks_per_minute: float = 14.0
    """Blinks put in where the motion has none; 0 = none. The same speech blinks the same way."""


def finish(clip: MotionClip, settings: FinishSettings, heard: Heard | None = None) -> MotionClip:
    """Finish ARKit motion; other spaces come back as they are.

    Args:
        clip: Raw motion of the model.
        settings: What to do.
        heard: What was heard. Without it there is only smoothing.

    Returns:
        Motion of the same length, clamped to 0..1.
    """
    if clip.space != "arkit":
        return clip
    columns = {name: i for i, name in enumerate(clip.channels)}
    weights = clip.weights.clip(0.0, 1.0).astype(np.float64)
    times = np.arange(len(weights)) / clip.fps
    closure, parting = np.zeros(len(weights)), np.zeros(len(weights))
    if heard is not None and heard.posteriors.shape[1]:
        if settings.closure_guard:
            closure = closure_level(heard, times, settings)
        if settings.parting_guard:
            parting = parting_level(heard, times, settings) * (1.0 - closure)
        if settings.silence_gate:
            calm(weights, columns, silence_level(heard, times, settings) * (1.0 - closure))
    if settings.smoothing_s > 0.0:
        smooth = _smooth(weights, settings.smoothing_s * clip.fps)
        # Where lips shut on their own account they must stay shut as well.
        sharp = np.maximum(closure, _sealedness(weights, columns))[:, None]
        weights = weights * sharp + smooth * (1.0 - sharp)
    seal(weights, columns, closure)
    part(weights, columns, parting)
    if heard is not None and settings.blinks_per_minute > 0.0:
        _blink(weights, columns, times, heard, settings.blinks_per_minute)
    return replace(clip, weights=weights.clip(0.0, 1.0).astype(np.float32))


def seal(weights: Array, columns: dict[str, int], closure: Array) -> None:
    """Bring the lips together in place, as far as `closure` (T,) says: 1 = sealed.

    On an ARKit face jawOpen and mouthClose at the same weight leave the lips shut, whatever the
    weight; so mouthClose is moved to jawOpen, and what parts the lips by itself is taken away.
    """
    jaw, close = columns.get("jawOpen"), columns.get("mouthClose")
    if jaw is not None and close is not None:
        weights[:, close] += closure * (weights[:, jaw] - weights[:, close])
    for name in (*_PARTING, *_LIFTING):
        if name in columns:
            weights[:, columns[name]] *= 1.0 - closure


_PARTED = 0.06
"""jawOpen less mouthClose of lips that are seen to be apart: 1 to 2 mm on the built-in head."""


def part(weights: Array, columns: dict[str, int], parting: Array) -> None:
    """Keep the lips a little apart in place, as far as `parting` (T,) says: 1 = `_PARTED`.

    A model that is unsure shuts the lips between two sounds, or on the hush inside a "k"; a viewer
    takes that for a "b".
    """
    if not {"jawOpen", "mouthClose"} <= columns.keys():
        return
    jaw, close = weights[:, columns["jawOpen"]], weights[:, columns["mouthClose"]]
    lacking = (_PARTED * parting - (jaw - close)).clip(0.0)
    given = np.minimum(lacking, close)
    weights[:, columns["mouthClose"]] = close - given
    weights[:, columns["jawOpen"]] = jaw + lacking - given


def calm(weights: Array, columns: dict[str, int], silence: Array) -> None:
    """Bring the mouth to rest in place, as far as `silence` (T,) says: 1 = at rest."""
    for name in _SPEAKING:
        if name in columns:
            weights[:, columns[name]] *= 1.0 - silence


def closure_level(heard: Heard, times: Array, settings: FinishSettings) -> Array:
    """How far the lips must be together at each time, (T,) in 0..1."""
    shut = heard.posteriors[:, [PHONE_INDEX[phone] for phone in BILABIALS]].sum(1)
    runs = _runs(shut >= settings.closure_confidence)
    return _envelope(runs, times, settings.closure_ramp_s)


_NEAR = 2
"""Speech frames (40 ms) around a possible closure in which the lips may be shut as well."""


def parting_level(heard: Heard, times: Array, settings: FinishSettings) -> Array:
    """How far the lips must be apart at each time, (T,) in 0..1."""
    shut = heard.posteriors[:, [PHONE_INDEX[phone] for phone in BILABIALS]].sum(1)
    possible = _widened(shut >= settings.parting_confidence, _NEAR)
    # Only a pause lets the mouth close; the hush inside a consonant is short.
    quiet = heard.posteriors[:, PHONE_INDEX[SILENCE]] >= 0.5
    shortest = settings.silence_shortest_s * SPEECH_RATE_HZ
    resting = np.zeros(len(quiet), bool)
    for first, last in _runs(quiet):
        if last - first + 1 >= shortest or first == 0 or last == len(quiet) - 1:
            resting[int(first) : int(last) + 1] = True
    runs = _runs(~possible & ~_widened(resting, _NEAR + 1))
    return _envelope(runs, times, _NEAR / SPEECH_RATE_HZ)


def _widened(flags: Array, frames: int) -> Array:
    """True within so many frames of a true flag."""
    return np.convolve(flags, np.ones(2 * frames + 1), mode="same") > 0.5


def silence_level(heard: Heard, times: Array, settings: FinishSettings) -> Array:
    """How far the mouth must be at rest at each time, (T,) in 0..1."""
    quiet = heard.posteriors[:, PHONE_INDEX[SILENCE]] >= settings.silence_confidence
    last = len(quiet) - 1
    runs = []
    for first, end in _runs(quiet):
        # Rest begins after the mouth has had its time to close, but is whole at both ends of a
        # file.
        start_s = first / SPEECH_RATE_HZ + (settings.silence_ramp_s if first > 0 else 0.0)
        end_s = end / SPEECH_RATE_HZ - (settings.silence_ramp_s if end < last else -1.0)
        long_enough = (end - first + 1) / SPEECH_RATE_HZ >= settings.silence_shortest_s
        if long_enough and end_s > start_s:
            runs.append((start_s * SPEECH_RATE_HZ, end_s * SPEECH_RATE_HZ))
    return _envelope(runs, times, settings.silence_ramp_s)


def _runs(flags: Array) -> list[tuple[float, float]]:
    """First and last index of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(float(a), float(b - 1)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _envelope(runs: list[tuple[float, float]], times: Array, ramp_s: float) -> Array:
    """1 over each run (speech frames), smooth ramps beside it."""
    level = np.zeros(len(times))
    for first, last in runs:
        start, end = first / SPEECH_RATE_HZ, last / SPEECH_RATE_HZ
        a, b = np.searchsorted(times, (start - ramp_s, end + ramp_s))
        near = times[a:b]
        ramp = (np.minimum(near - start, end - near) / ramp_s + 1.0).clip(0.0, 1.0)
        level[a:b] = np.maximum(level[a:b], ramp * ramp * (3.0 - 2.0 * ramp))
    return level


def _sealedness(weights: Array, columns: dict[str, int]) -> Array:
    """1 where the motion itself has the lips shut while the jaw is open, 0 where they are apart."""
    if "jawOpen" not in columns or "mouthClose" not in columns:
        return np.zeros(len(weights))
    jaw, close = weights[:, columns["jawOpen"]], weights[:, columns["mouthClose"]]
    share = np.where(jaw > 0.02, close / np.maximum(jaw, 1e-6), 0.0)
    return ((share - 0.6) / 0.3).clip(0.0, 1.0)


def _smooth(weights: Array, sigma: float) -> Array:
    """Gaussian smoothing over time with the ends held."""
    reach = max(1, int(np.ceil(3.0 * sigma)))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    taps /= taps.sum()
    padded = np.pad(weights, ((reach, reach), (0, 0)), mode="edge")
    out = np.zeros_like(weights)
    for shift, tap in enumerate(taps):
        out += tap * padded[shift : shift + len(weights)]
    return out


def _blink(
    weights: Array, columns: dict[str, int], times: Array, heard: Heard, per_minute: float
) -> None:
    """Blinks at chance times that follow from the speech, in place; none where eyes move
    already.
    """
    lids = [columns[name] for name in ("eyeBlinkLeft", "eyeBlinkRight") if name in columns]
    if not lids or weights[:, lids].max(initial=0.0) > 0.6:
        return
    seed = zlib.crc32(np.ascontiguousarray(heard.loudness, np.float32).tobytes())
    rng = np.random.default_rng(seed)
    pause_s = 60.0 / per_minute
    when = rng.uniform(0.3, 1.0) * pause_s
    while when < times[-1] - 0.2:
        # Lids fall in 80 ms and rise in twice that.
        level = np.minimum((times - when) / 0.08 + 1.0, 1.0 - (times - when - 0.02) / 0.16)
        level = level.clip(0.0, 1.0)
        level = level * level * (3.0 - 2.0 * level)
        for column in lids:
            weights[:, column] = np.maximum(weights[:, column], level)
        when += 0.8 + rng.exponential(max(pause_s - 0.8, 0.1))
