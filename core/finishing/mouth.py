"""The mouth in finishing: closures sealed, lips parted, silence calmed, as levels over time.

A level is (T,) in 0..1, one value a motion frame: how far something is to be done. Levels follow
from what was heard; what is done with them changes weights (T, C) in place.

Shapes: T motion frames, N speech frames (50 Hz), C channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.finishing.raw_motion import SPEECH_RATE_HZ

Columns = Mapping[str, int]

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

_PARTED = 0.06
"""jawOpen less mouthClose of lips that are seen to be apart: 1 to 2 mm on the built-in head."""

_NEAR = 2
"""Speech frames (40 ms) around a possible closure in which the lips may be shut as well."""

_LONG = 5
"""Speech frames (100 ms) from which on a closure is long."""

_LINGERING = 6
"""Speech frames (120 ms) of a pause in which the last sound goes on, too weak to be heard."""


def seal(weights: np.ndarray, columns: Columns, closure: np.ndarray) -> None:
    """Bring the lips together, as far as `closure` (T,) says: 1 = sealed.

    On an ARKit face jawOpen and mouthClose at the same weight leave the lips shut, whatever the
    weight; so mouthClose is moved to jawOpen, and what parts the lips by itself is taken away.
    """
    jaw, close = columns.get("jawOpen"), columns.get("mouthClose")
    if jaw is not None and close is not None:
        weights[:, close] += closure * (weights[:, jaw] - weights[:, close])
    for name in (*_PARTING, *_LIFTING):
        if name in columns:
            weights[:, columns[name]] *= 1.0 - closure


def part(weights: np.ndarray, columns: Columns, parting: np.ndarray) -> None:
    """Keep the lips a little apart, as far as `parting` (T,) says: 1 = `_PARTED`.

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


def calm(weights: np.ndarray, columns: Columns, silence: np.ndarray) -> None:
    """Bring the mouth to rest, as far as `silence` (T,) says: 1 = at rest."""
    for name in _SPEAKING:
        if name in columns:
            weights[:, columns[name]] *= 1.0 - silence


def sealedness(weights: np.ndarray, columns: Columns) -> np.ndarray:
    """1 where the motion itself has the lips shut while the jaw is open, 0 where they are apart."""
    if "jawOpen" not in columns or "mouthClose" not in columns:
        return np.zeros(len(weights), np.float32)
    jaw, close = weights[:, columns["jawOpen"]], weights[:, columns["mouthClose"]]
    share = np.where(jaw > 0.02, close / np.maximum(jaw, 1e-6), 0.0)
    return ((share - 0.6) / 0.3).clip(0.0, 1.0)


def closure_level(
    closure: np.ndarray, times: np.ndarray, confidence: float, ramp_s: float
) -> np.ndarray:
    """How far the lips must be together, (T,). Ends of a long closure are blurred, and left out.

    Args:
        closure: (N,) probability of p, b or m.
        times: (T,) seconds.
        confidence: Probability from which on they are.
        ramp_s: Time the lips take to meet and to part.
    """
    shut = [
        (first + 1, last - 1) if last - first + 1 >= _LONG else (first, last)
        for first, last in runs(closure >= confidence)
    ]
    return _envelope(shut, times, ramp_s)


def parting_level(
    closure: np.ndarray,
    silence: np.ndarray,
    times: np.ndarray,
    confidence: float,
    shortest_s: float,
) -> np.ndarray:
    """How far the lips must be apart, (T,).

    Args:
        closure: (N,) probability of p, b or m.
        silence: (N,) probability of silence.
        times: (T,) seconds.
        confidence: Probability of p, b or m from which on they may be shut.
        shortest_s: Shortest pause in which they may be.
    """
    possible = _widened(closure >= confidence, _NEAR)
    # Only a pause lets the mouth close; the hush inside a consonant is short.
    resting = np.zeros(len(silence), bool)
    for first, last in runs(silence >= 0.5):
        at_an_end = first == 0 or last == len(silence) - 1
        if at_an_end or last - first + 1 >= shortest_s * SPEECH_RATE_HZ:
            # Lips that are shut already stay so.
            lingers = first > 0 and not possible[int(first) : int(first) + _LINGERING].any()
            resting[int(first) + (_LINGERING if lingers else 0) : int(last) + 1] = True
    apart = runs(~possible & ~resting)
    return _envelope(apart, times, _NEAR / SPEECH_RATE_HZ)


def silence_level(
    silence: np.ndarray, times: np.ndarray, confidence: float, shortest_s: float, ramp_s: float
) -> np.ndarray:
    """How far the mouth must be at rest, (T,).

    Args:
        silence: (N,) probability of silence.
        times: (T,) seconds.
        confidence: Probability from which on a frame is silent.
        shortest_s: Shorter pauses do not count.
        ramp_s: Time the mouth takes to come to rest, and to leave it.
    """
    quiet = silence >= confidence
    last = len(quiet) - 1
    pauses = []
    for first, end in runs(quiet):
        # Rest begins after the mouth has had its time to close, but is whole at both ends of a
        # file.
        start_s = first / SPEECH_RATE_HZ + (ramp_s if first > 0 else 0.0)
        end_s = end / SPEECH_RATE_HZ - (ramp_s if end < last else -1.0)
        long_enough = (end - first + 1) / SPEECH_RATE_HZ >= shortest_s
        if long_enough and end_s > start_s:
            pauses.append((start_s * SPEECH_RATE_HZ, end_s * SPEECH_RATE_HZ))
    return _envelope(pauses, times, ramp_s)


def runs(flags: np.ndarray) -> list[tuple[float, float]]:
    """First and last index of each run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(float(a), float(b - 1)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _widened(flags: np.ndarray, frames: int) -> np.ndarray:
    """True within so many frames of a true flag."""
    if not len(flags):
        return flags
    return np.convolve(flags, np.ones(2 * frames + 1), mode="same")[: len(flags)] > 0.5


def _envelope(stretches: list[tuple[float, float]], times: np.ndarray, ramp_s: float) -> np.ndarray:
    """1 over each stretch (speech frames), smooth ramps beside it."""
    level = np.zeros(len(times), np.float32)
    for first, last in stretches:
        start, end = first / SPEECH_RATE_HZ, last / SPEECH_RATE_HZ
        a, b = np.searchsorted(times, (start - ramp_s, end + ramp_s))
        near = times[a:b]
        ramp = (np.minimum(near - start, end - near) / ramp_s + 1.0).clip(0.0, 1.0)
        level[a:b] = np.maximum(level[a:b], ramp * ramp * (3.0 - 2.0 * ramp))
    return level
