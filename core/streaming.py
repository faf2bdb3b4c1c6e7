"""Motion while the speech still comes: for live preview.

The same windows as for a file, only smaller: what comes out is what a file of the same sound would
give, as late as the networks look ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from core.animator import Animator, Style, never
from core.audio import LevelMeter
from core.conditioning import EmotionTrack
from core.decoding import Decoder
from core.model.speech import FEATURE_RATE_HZ
from core.motion import MotionClip

_HOP_S = 0.5
_LARGEST_LIVE_GAIN = 10.0
"""Noise before the first word must not be taken for a whisper."""


def look_ahead_s(animator: Animator, hop_s: float = _HOP_S) -> float:
    """How much later than its sound motion comes at most, in seconds, apart from computing.

    Two hops, and what backbone and decoder see of the time to come: about 5 s with the bundled
    model and the usual hop.
    """
    seen = animator.listener.context / FEATURE_RATE_HZ
    return seen + Decoder.margin_s(animator.engine) + 2.0 * hop_s


def animate_stream(
    animator: Animator,
    chunks: Iterable[np.ndarray],
    *,
    style: Style = None,
    emotion: EmotionTrack | None = None,
    gain: float | None = None,
    hop_s: float = _HOP_S,
    cancelled: Callable[[], bool] = never,
) -> Iterator[MotionClip]:
    """Animate speech while it comes.

    Args:
        animator: The model.
        chunks: Samples (S,) at 16 kHz, mono, of any lengths; asked for one at a time, and never
            further ahead of the motion than `look_ahead_s` and a chunk.
        style: As in `Animator.animate`; times count from the first sample.
        emotion: As there.
        gain: Factor that brings active speech to `core.audio.ACTIVE_RMS`, as
            `core.audio.speech_gain` finds it: with it, motion is that of `Animator.animate`
            without finishing (within 2e-3). None estimates it from the sound so far: then the
            first seconds may move a little more or less.
        hop_s: Seconds of motion at a time; smaller is earlier, and more to compute.
        cancelled: Polled between hops.

    Yields:
        Raw motion at the model's own rate: pieces in a row, in all as many frames as the whole
        speech takes.

    Raises:
        IdiolectError: The style is unknown.
        Cancelled: `cancelled` said so.
    """
    conditions = animator.conditions(style, emotion)
    blocks = _levelled(chunks) if gain is None else (chunk * np.float32(gain) for chunk in chunks)
    window = max(1, round(hop_s * FEATURE_RATE_HZ))
    heard = animator.listener.hear(blocks, window)
    decoder = Decoder(animator.engine, heard, conditions, window_s=hop_s)
    for weights in decoder.frames(cancelled):
        limited = weights.clip(0.0, 1.0) if animator.space == "arkit" else weights
        yield MotionClip(limited, animator.channels, animator.fps, animator.space)


def _levelled(chunks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Chunks at the level that the sound so far asks for, which changes without jumps."""
    meter, before = LevelMeter(), 0.0
    for chunk in chunks:
        meter.add(chunk)
        wanted = min(meter.gain, _LARGEST_LIVE_GAIN)
        start = before or wanted
        yield chunk * np.linspace(start, wanted, len(chunk), dtype=np.float32)
        before = wanted
