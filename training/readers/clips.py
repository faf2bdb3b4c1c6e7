"""From a performance as a corpus gives it to a clip as training reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.audio import SAMPLE_RATE_HZ, speech_gain
from core.errors import IdiolectError
from core.motion import ARKIT_CHANNELS, MotionClip, resample
from core.phones import PHONE_INDEX, SILENCE, Segment
from training.corpus import UNKNOWN_EMOTION, UNKNOWN_PHONE
from training.readers.interface import Take

Align = Callable[[np.ndarray, str], "Sequence[Segment] | None"]
"""Finds the phones of a text in samples (S,) at 16 kHz; None where they do not fit."""

SHORTEST_S = 0.5


@dataclass(frozen=True)
class Options:
    """How recordings are turned into clips."""

    fps: float = 25.0
    """Frames per second of the corpus."""
    tolerance_s: float = 0.5
    """Difference in length of sound and motion that is cut off without a word."""
    trim: bool = False
    """Cut larger differences too, and report them."""
    skip_bad: bool = False
    """Leave out recordings that cannot be used, and report them."""


class Clip(NamedTuple):
    """A recording in the corpus' form.

    Attributes:
        samples: (S,) level-normalised, 16 kHz.
        motion: (T, C) at the corpus' frame rate.
        phones: (T,) uint8 phone indices.
        emotion: (T,) uint8 emotion indices.
        trimmed_s: How much longer the longer of sound and motion was, seconds.
    """

    samples: np.ndarray
    motion: np.ndarray
    phones: np.ndarray
    emotion: np.ndarray
    trimmed_s: float


def make_clip(take: Take, options: Options, align: Align | None = None) -> Clip:
    """Resample, normalise, label and cut one performance.

    Raises:
        IdiolectError: "length_mismatch" where sound and motion do not belong together,
            "clip_too_short".
    """
    motion = take.motion
    sound_s, motion_s = len(take.samples) / SAMPLE_RATE_HZ, len(motion.weights) / motion.fps
    difference_s = abs(sound_s - motion_s)
    if difference_s > options.tolerance_s and not options.trim:
        raise IdiolectError(
            f"expected sound and motion of one length, found {sound_s:.2f} s and {motion_s:.2f} s",
            hint="Check that they belong together; --trim cuts such recordings to the shorter, "
            "--tolerance says what counts as one length.",
            code="length_mismatch",
            setting="--tolerance",
        )
    covered_s = min(sound_s, motion.duration_s)
    if covered_s < SHORTEST_S:
        raise IdiolectError(
            f"expected at least {SHORTEST_S} s, found {covered_s:.2f} s",
            code="clip_too_short",
        )
    frames = int(covered_s * options.fps + 1e-6) + 1
    times = np.arange(frames) / options.fps
    resampled = resample(motion, options.fps, frames=frames)
    weights = _in_order(resampled) if motion.space == "arkit" else resampled.weights
    samples = take.samples[: round(frames / options.fps * SAMPLE_RATE_HZ)]
    samples = samples * np.float32(speech_gain(samples))
    phones = np.full(frames, UNKNOWN_PHONE, np.uint8)
    if take.phones is not None:
        phones = phones_at(times, take.phones)
    elif take.transcript and align and (aligned := align(samples, take.transcript)) is not None:
        # An alignment covers the whole sound; what rounding leaves over at its ends is silent.
        phones = phones_at(times, aligned, otherwise=PHONE_INDEX[SILENCE])
    emotion = np.full(frames, UNKNOWN_EMOTION, np.uint8)
    if take.emotion is not None:
        nearest = (times * motion.fps).round().astype(int).clip(0, len(take.emotion) - 1)
        emotion = take.emotion[nearest]
    return Clip(samples, weights, phones, emotion, difference_s)


def _in_order(motion: MotionClip) -> np.ndarray:
    """ARKit weights (T, 52) in the order of ARKIT_CHANNELS."""
    if foreign := sorted(set(motion.channels) - set(ARKIT_CHANNELS)):
        raise IdiolectError(
            f"expected ARKit channels, found {', '.join(foreign[:4])} and others",
            hint="Rename them to Apple's 52 names.",
            code="foreign_channels",
            setting="source",
        )
    return motion.select(ARKIT_CHANNELS)


def phones_at(
    times: np.ndarray, segments: Sequence[Segment], otherwise: int = UNKNOWN_PHONE
) -> np.ndarray:
    """Phone indices (T,) at times (T,) seconds; `otherwise` where no segment is."""
    phones = np.full(len(times), otherwise, np.uint8)
    for phone, start_s, end_s in segments:
        first, last = np.searchsorted(times, (start_s - 1e-6, end_s - 1e-6))
        phones[first:last] = PHONE_INDEX[phone]
    return phones
