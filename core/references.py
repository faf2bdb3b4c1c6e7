"""Reference clips: whose manner, or emotion, is to be taken over."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from core.errors import IdiolectError
from core.motion import FloatArray, MotionClip, frame_count

SHORTEST_S = 0.5
ENOUGH_S = 4.0
"""Less than this shows a manner only in part."""


def cut(clip: MotionClip, start_s: float = 0.0, end_s: float | None = None) -> MotionClip:
    """A stretch of a clip.

    Raises:
        IdiolectError: code "bad_range" when there is nothing in it.
    """
    first = max(0, math.ceil(start_s * clip.fps - 1e-6))
    last = len(clip.weights) if end_s is None else math.floor(end_s * clip.fps + 1e-6) + 1
    weights = clip.weights[first:last]
    if not len(weights):
        to = "the end" if end_s is None else f"{end_s:g} s"
        raise IdiolectError(
            f"the reference has no frames from {start_s:g} s to {to}: it lasts "
            f"{clip.duration_s:.2f} s",
            hint="Choose a range inside of it, 4 to 10 seconds long.",
            code="bad_range",
            setting="reference",
        )
    return replace(clip, weights=weights)


def prepare(
    clip: MotionClip,
    space: str,
    channels: tuple[str, ...],
    fps: float,
    warn: Callable[[str], None],
) -> FloatArray:
    """A reference's motion as an encoder wants it.

    Args:
        clip: The reference.
        space: The motion space that the model speaks.
        channels: Its channels, C of them.
        fps: The encoder's frame rate.
        warn: Called with what might be wrong with it.

    Returns:
        (R, C) at `fps`; channels that the reference lacks are zero.

    Raises:
        IdiolectError: The clip is of another motion space, too short, or does not move.
    """
    if clip.space != space:
        raise IdiolectError(
            f"the reference is '{clip.space}' motion, but the model wants '{space}'",
            hint="Choose a reference of the same kind, or another model.",
            code="reference_space",
            setting="reference",
        )
    if space == "vertices" and clip.channels != channels:
        raise IdiolectError(
            f"the reference has {len(clip.channels) // 3} vertices, but the model wants "
            f"{len(channels) // 3}",
            hint="Choose a reference on the mesh that the model was trained on.",
            code="reference_topology",
            setting="reference",
        )
    if clip.duration_s < SHORTEST_S:
        raise IdiolectError(
            f"the reference animation is too short: {clip.duration_s:.2f} s",
            hint=f"Give at least {SHORTEST_S:g} s; 4 to 10 are better.",
            code="reference_short",
            setting="reference",
        )
    # Interpolated plainly: closures are not to be moved about in what a style is read from.
    times = np.arange(frame_count(clip.duration_s, fps))
    position = (times / fps * clip.fps).clip(0, len(clip.weights) - 1)
    weights = clip.select(channels)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, len(weights) - 1)
    part = (position - before)[:, None].astype(np.float32)
    motion = weights[before] * (1.0 - part) + weights[after] * part
    if float(np.ptp(motion, axis=0).max()) < 1e-3:
        raise IdiolectError(
            "the reference animation does not move the face",
            hint="Choose an Action or file with animated ARKit shape keys.",
            code="reference_still",
            setting="reference",
        )
    if clip.duration_s < ENOUGH_S:
        warn(f"The reference lasts only {clip.duration_s:.1f} s: 4 to 10 s show a manner better.")
    return np.ascontiguousarray(motion, np.float32)
