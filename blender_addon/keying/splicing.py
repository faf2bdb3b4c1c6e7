"""Old keys and new ones in one curve.

What an artist sees outside the frames that change stays the same to the last bit, at every whole
frame, although the keys that shaped it there may be gone.
"""

from __future__ import annotations

from collections.abc import Callable

import bpy
import numpy as np

from .curves import LINEAR, Floats, Keys, linear

Evaluate = Callable[[Floats], Floats]
"""Values (F,) of the old curve at frames (F,)."""


def evaluator(curve: bpy.types.FCurve) -> Evaluate:
    """What a curve shows now."""
    return lambda frames: np.array([curve.evaluate(float(f)) for f in frames], np.float32)


def without(keys: Keys, spans: list[tuple[int, int]]) -> Keys:
    """The keys that lie in none of the spans of frames, both ends included."""
    stays = np.ones(len(keys), bool)
    for first, last in spans:
        stays &= (keys.frames < first - 0.5) | (keys.frames > last + 0.5)
    return keys.only(stays)


def cross_fade(old: Floats, new: Floats, fade: int) -> Floats:
    """From old values to new ones and back, within the same frames.

    Args:
        old: (F,) or (F, C).
        new: the same shape.
        fade: over how many frames; less where there are not twice as many.
    """
    count = len(new)
    fade = max(1, min(fade, (count - 1) // 2))
    inwards = np.minimum(np.arange(count), np.arange(count)[::-1]) / fade
    share = inwards.clip(0.0, 1.0).astype(np.float32)
    share = share * share * (3.0 - 2.0 * share)
    share = share.reshape(-1, *[1] * (new.ndim - 1))
    # Not old + share · (new - old): at the ends that would be off by a rounding error.
    return np.where(share == 0, old, old * (1 - share) + new * share).astype(np.float32)


def replaced(old: Keys, evaluate: Evaluate, new: Keys) -> Keys:
    """The old curve with the new keys in place of its own, from their first to their last frame.

    The new ones must start and end on the old curve.
    """
    first, last = float(new.frames[0]), float(new.frames[-1])
    before, after = old.only(old.frames < first), old.only(old.frames > last)
    if len(before):
        bridge = np.arange(np.floor(before.frames[-1]) + 1.0, first, dtype=np.float32)
        ends = np.array([before.frames[-1], first], np.float32)
        before = before.joined(-1, LINEAR).and_also(_on(evaluate, bridge, ends))
    if len(after):
        bridge = np.arange(last + 1.0, np.ceil(after.frames[0]), dtype=np.float32)
        ends = np.array([last, after.frames[0]], np.float32)
        new = new.joined(-1, LINEAR)
        after = _on(evaluate, bridge, ends).and_also(after)
    return before.and_also(new).and_also(after)


def _on(evaluate: Evaluate, frames: Floats, ends: Floats) -> Keys:
    """Keys that hold a curve where it was between two others; none where it is flat."""
    values = evaluate(frames)
    if len(values) and np.ptp(np.concatenate([values, evaluate(ends)])) == 0:
        frames, values = frames[:0], values[:0]
    return linear(np.stack([frames, values], axis=1))
