"""Facial motion: one array, the names of its columns, and its frame rate.

Convention:
    A clip's frame i stands at i / fps seconds. ARKit weights run from 0 (neutral) to 1 (full).
    Shape letters: T motion frames, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.errors import IdiolectError

FloatArray = NDArray[np.float32]

ARKIT_CHANNELS: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "eyeSquintRight", "eyeWideRight",
    "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft", "mouthStretchRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight",
    "tongueOut",
)  # fmt: skip
"""The 52 blend shapes of Apple's ARKit, grouped as in its documentation."""

SPACES = ("arkit", "flame", "vertices")
"""ARKit weights; FLAME expression and joint rotations (radians); vertex offsets (metres)."""


def flame_channels(expressions: int) -> tuple[str, ...]:
    """Channels of flame motion: Exp001, Exp002, … then the jaw's axis-angle, jaw_x, jaw_y, jaw_z.

    As `core.face.flame_rig` names keys and joints.
    """
    names = (f"Exp{number:03d}" for number in range(1, expressions + 1))
    return (*names, "jaw_x", "jaw_y", "jaw_z")


@cache
def vertex_channels(vertices: int) -> tuple[str, ...]:
    """Channels of vertex motion: x0, y0, z0, x1 and so on."""
    return tuple(f"{axis}{vertex}" for vertex in range(vertices) for axis in "xyz")


def channel_names(space: str, count: int) -> tuple[str, ...]:
    """Names of the columns of motion with `count` channels in a space.

    Raises:
        IdiolectError: The space has no motion of so many channels.
    """
    if space == "arkit" and count == len(ARKIT_CHANNELS):
        return ARKIT_CHANNELS
    if space == "flame" and count > 3:
        return flame_channels(count - 3)
    if space == "vertices" and count >= 3 and count % 3 == 0:
        return vertex_channels(count // 3)
    expected = {
        "arkit": f"{len(ARKIT_CHANNELS)}",
        "flame": "the expressions and three for the jaw",
        "vertices": "three for each vertex",
    }
    raise IdiolectError(
        f"motion in the space '{space}' cannot have {count} channels",
        hint=f"It has {expected[space]}." if space in expected else f"Use {', '.join(SPACES)}.",
        code="config_invalid",
        setting="model.motion.channels",
    )


@dataclass(frozen=True)
class MotionClip:
    """Motion of one face.

    Attributes:
        weights: Shape (T, C), float32, T ≥ 1; units by `space`.
        channels: The C column names, all different.
        fps: Frames per second, > 0; need not be whole (29.97).
        space: One of `SPACES`.

    Raises:
        IdiolectError: When shapes, names or rate do not fit, or a value is not finite.
    """

    weights: FloatArray
    channels: tuple[str, ...]
    fps: float
    space: str = "arkit"

    def __post_init__(self) -> None:
        weights = np.ascontiguousarray(self.weights, dtype=np.float32)
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "channels", tuple(self.channels))
        object.__setattr__(self, "fps", float(self.fps))
        problem = self._problem()
        if problem:
            raise IdiolectError(
                f"This is not usable motion: {problem}.",
                hint="Export it again, or choose another file.",
                code="bad_motion",
                setting="reference",
            )

    def _problem(self) -> str:
        if self.weights.ndim != 2 or 0 in self.weights.shape:
            return f"expected frames × channels, found an array of shape {self.weights.shape}"
        if len(self.channels) != self.weights.shape[1]:
            return f"{len(self.channels)} channel names for {self.weights.shape[1]} columns"
        if len(set(self.channels)) != len(self.channels):
            return "a channel name occurs twice"
        if not (np.isfinite(self.fps) and self.fps > 0):
            return f"the frame rate is {self.fps}"
        if self.space not in SPACES:
            return f"unknown motion space {self.space!r} (known: {', '.join(SPACES)})"
        bad = ~np.isfinite(self.weights).all(axis=1)
        if bad.any():
            return f"frame {int(bad.argmax())} holds a value that is not a number"
        return ""

    @property
    def duration_s(self) -> float:
        """Seconds from the first frame to the last."""
        return (len(self.weights) - 1) / self.fps

    def select(self, channels: Sequence[str]) -> FloatArray:
        """The columns of these channels, (T, len(channels)); absent ones are zero."""
        column = {name: i for i, name in enumerate(self.channels)}
        out = np.zeros((len(self.weights), len(channels)), np.float32)
        for i, name in enumerate(channels):
            if name in column:
                out[:, i] = self.weights[:, column[name]]
        return out


def frame_count(duration_s: float, fps: float) -> int:
    """Number of frames that cover `duration_s` seconds, both ends included."""
    return round(duration_s * fps) + 1


def resample(
    clip: MotionClip, fps: float, *, frames: int | None = None, start_s: float = 0.0
) -> MotionClip:
    """The same motion at another frame rate, by time.

    Values between source frames are interpolated linearly. Of ARKit motion, a closure of the lips
    that falls between two target frames is kept: the target frame nearest to it takes the whole
    source frame (at most half a target frame away), since a "b" that never closes is the first
    thing a viewer sees.

    Args:
        clip: Source motion.
        fps: Target frames per second, > 0.
        frames: Number of target frames; by default what covers the clip's duration. Times before
            and past the clip hold its first and last frame.
        start_s: Where in the clip the first target frame stands, in seconds.
    """
    if frames is None:
        frames = frame_count(clip.duration_s, fps)
    source_times = np.arange(len(clip.weights)) / clip.fps
    target_times = start_s + np.arange(frames) / fps
    position = np.clip(target_times, 0.0, source_times[-1]) * clip.fps
    before = np.minimum(position.astype(int), len(clip.weights) - 1)
    after = np.minimum(before + 1, len(clip.weights) - 1)
    share = (position - before).astype(np.float32)[:, None]
    weights = clip.weights[before] * (1 - share) + clip.weights[after] * share
    if clip.space == "arkit" and fps < clip.fps:
        _keep_closures(weights, clip, fps, start_s)
    return replace(clip, weights=weights, fps=fps)


# A closure is a local minimum of the mouth's opening that is at least this much lower than what
# interpolation left of it; smaller differences are not seen, and moving them would add jitter.
_CLOSURE_LOSS = 0.02


def mouth_opening(clip: MotionClip) -> FloatArray:
    """A measure of how far the lips are apart, (T,), in units of ``jawOpen``.

    Good enough to find closures in time; for millimetres see `core.face.lips`.
    """
    jaw, close, lower_l, lower_r, upper_l, upper_r = clip.select(
        ("jawOpen", "mouthClose", "mouthLowerDownLeft", "mouthLowerDownRight",
         "mouthUpperUpLeft", "mouthUpperUpRight")
    ).T  # fmt: skip
    # Full lowerDown or upperUp part the lips by roughly a fifth of what a full jawOpen does.
    return jaw - close + 0.2 * (lower_l + lower_r + upper_l + upper_r)


def _keep_closures(weights: FloatArray, clip: MotionClip, fps: float, start_s: float) -> None:
    """Puts the closures of `clip` back into `weights`, its resampling to `fps`, in place."""
    opening = mouth_opening(clip)
    inner = opening[1:-1]
    minima = 1 + np.flatnonzero((inner <= opening[:-2]) & (inner < opening[2:]))
    resampled = mouth_opening(replace(clip, weights=weights, fps=fps))
    taken: dict[int, int] = {}
    for source in minima.tolist():
        target = round((source / clip.fps - start_s) * fps)
        if not 0 <= target < len(weights):
            continue
        if resampled[target] - opening[source] < _CLOSURE_LOSS:
            continue
        if target not in taken or opening[source] < opening[taken[target]]:
            taken[target] = source
    for target, source in taken.items():
        weights[target] = clip.weights[source]
