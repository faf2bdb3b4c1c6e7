"""Sliders, keyframes and lists of transitions, as the worker takes them: values at times.

A track is a number, or ``{"times_s": […], "values": […]}``: linear between, held outside, seconds
of the speech from its start. Whatever changes here changes smoothly: a jump is softened over
``SOFTEN_S``, so that no emotion and no style makes a face twitch.

Shapes: K moments of a track, E = 8 emotions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from .. import keying
from ..properties.transitions import EMOTIONS, frame_of, marker_frame, parse
from ..sequencer.clock import Clock

_EASES: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "SMOOTH": lambda x: x * x * x * (10.0 + x * (6.0 * x - 15.0)),  # least jerk
    "IN": lambda x: x * x,
    "OUT": lambda x: x * (2.0 - x),
    "LINEAR": lambda x: x,
}

RATE_HZ = 50.0
"""As the worker listens."""
SOFTEN_S = 0.2
"""A jump takes this long."""
_SAME = 1e-6

Floats = npt.NDArray[np.float64]
Track = float | dict[str, list[float]]
Emotions = dict[str, Any]
"""``{"times_s": [K], "intensities": [[E] × K]}``, or ``{"reference": path}`` for a clip's."""


@dataclass(frozen=True)
class Change:
    """A transition to an emotion.

    Attributes:
        time_s: when it begins; minus infinity: it is there from the start.
        emotion: one of ``EMOTIONS``.
        intensity: 0..1.
        duration_s: how long it takes.
        ease: one of ``EASES``.
        keep: whether the emotions that are there stay.
    """

    time_s: float
    emotion: str
    intensity: float = 1.0
    duration_s: float = 0.5
    ease: str = "SMOOTH"
    keep: bool = False


# ------------------------------------------------------------------------------ emotions over time


def emotions_of_changes(changes: Iterable[Change]) -> Emotions:
    """A list of transitions as intensities over time."""
    ordered = sorted(changes, key=lambda change: change.time_s)
    begins = [change.time_s for change in ordered if np.isfinite(change.time_s)] or [0.0]
    ends = [change.time_s + change.duration_s for change in ordered]
    first = min(begins) - SOFTEN_S
    last = max([end for end in ends if np.isfinite(end)] or [0.0]) + SOFTEN_S
    times = first + np.arange(int(np.ceil((last - first) * RATE_HZ)) + 2) / RATE_HZ
    values = np.zeros((len(times), len(EMOTIONS)))
    target = np.zeros(len(EMOTIONS))
    for change in ordered:
        target = target.copy() if change.keep else np.zeros(len(EMOTIONS))
        target[EMOTIONS.index(change.emotion)] = change.intensity
        if not np.isfinite(change.time_s):
            values[:] = target
            continue
        share = ((times - change.time_s) / max(change.duration_s, _SAME)).clip(0.0, 1.0)
        here = int(np.searchsorted(times, change.time_s))
        start = values[max(here - 1, 0)]
        eased = _EASES[change.ease](share[here:, None])
        values[here:] = start + (target - start) * eased
    return _emotions(times, values)


def emotions_of_sliders(
    target: bpy.types.Object, sliders: Any, path: str, clock: Clock
) -> Emotions:
    """Eight sliders, keyframed or not, as intensities over time.

    Args:
        target: the object whose Action may move them.
        sliders: what has one property for each emotion.
        path: the sliders' data path from the object, with a dot at its end.
        clock: from frames to seconds.
    """
    curves = [keying.curve_of(target, path + name) for name in EMOTIONS]
    frames = _frames([curve for curve in curves if curve is not None], clock)
    values = np.zeros((len(frames), len(EMOTIONS)))
    for column, (name, curve) in enumerate(zip(EMOTIONS, curves, strict=True)):
        values[:, column] = _sampled(curve, frames, getattr(sliders, name))
    return _emotions(np.array([clock.seconds(frame) for frame in frames]), values)


def _emotions(times: Floats, values: Floats) -> Emotions:
    """Softened, within bounds, neutral where nothing else is felt, and no longer than need be."""
    values = _soften(times, values).clip(0.0, 1.0)
    others = values[:, 1:].sum(axis=1)
    values[:, 0] = np.maximum(values[:, 0], 1.0 - others).clip(0.0, 1.0)
    kept = _turning_points(values)
    return {
        "times_s": np.round(times[kept], 4).tolist(),
        "intensities": np.round(values[kept], 5).tolist(),
    }


# ------------------------------------------------------------------------------- single properties


def track(target: bpy.types.Object, path: str, clock: Clock) -> Track:
    """A number that may be keyframed: ``path`` is its data path from the object."""
    value = float(target.path_resolve(path))
    curve = keying.curve_of(target, path)
    if curve is None:
        return value
    prop = path.rsplit(".", 1)[-1]
    owner: Any = target.path_resolve(path.rsplit(".", 1)[0])
    limits = owner.bl_rna.properties[prop]
    frames = _frames([curve], clock)
    times = np.array([clock.seconds(frame) for frame in frames])
    values = _sampled(curve, frames, value).clip(limits.hard_min, limits.hard_max)
    values = _soften(times, values[:, None]).clip(limits.hard_min, limits.hard_max)
    kept = _turning_points(values)
    if len(kept) == 1:
        return float(values[kept[0], 0])
    return {"times_s": np.round(times[kept], 4).tolist(), "values": values[kept, 0].tolist()}


def is_keyframed(target: bpy.types.Object, path: str) -> bool:
    """Whether the object's Action moves this property."""
    return keying.curve_of(target, path) is not None


def _frames(curves: list[bpy.types.FCurve], clock: Clock) -> Floats:
    """Every frame at which these curves may have something to say."""
    if not curves:
        return np.array([clock.start_frame])
    ranges = [curve.range() for curve in curves]
    first = int(np.floor(min(r[0] for r in ranges)))
    last = int(np.ceil(max(r[1] for r in ranges)))
    if any(len(curve.modifiers) for curve in curves):  # noise and cycles go on for ever
        first = min(first, int(clock.start_frame))
        last = max(last, bpy.context.scene.frame_end)
    pad = int(np.ceil(SOFTEN_S * clock.fps))
    return np.arange(first - pad, last + pad + 1, dtype=np.float64)


def _sampled(curve: bpy.types.FCurve | None, frames: Floats, value: float) -> Floats:
    if curve is None:
        return np.full(len(frames), float(value))
    return np.array([curve.evaluate(frame) for frame in frames])


def _soften(times: Floats, values: Floats) -> Floats:
    """Average over ``SOFTEN_S`` with a bell-shaped weight; what is constant stays as it is."""
    if len(times) < 3:
        return values
    half = round(SOFTEN_S / 2 / (times[1] - times[0]))
    if half < 1:
        return values
    bell = np.hanning(2 * half + 3)[1:-1]
    bell /= bell.sum()
    padded = np.pad(values, ((half, half), (0, 0)), mode="edge")
    # On differences to the edge, so that a constant comes out to the last bit.
    base = values[:1]
    columns = [np.convolve(column, bell, mode="valid") for column in (padded - base).T]
    return base + np.stack(columns, axis=1)


def _turning_points(values: Floats) -> list[int]:
    """Rows (K,) that are needed so that straight lines between them tell the same."""
    if len(values) == 1 or np.ptp(values, axis=0).max() < _SAME:
        return [0]
    still = np.abs(np.diff(values, axis=0)).max(axis=1) < _SAME
    inner = [i for i in range(1, len(values) - 1) if not (still[i - 1] and still[i])]
    return [0, *inner, len(values) - 1]


def changes_of_text(text: str, scene: bpy.types.Scene, clock: Clock) -> list[Change]:
    """The transitions that a text asks for.

    Raises:
        WorkerError: if it cannot be read, or names a marker that is not there.
    """
    changes = []
    for item in parse(text):
        if item.marker:
            time_s = clock.seconds(marker_frame(scene, item.marker))
        elif item.at is None:
            time_s = -np.inf
        else:
            time_s = item.at if item.at_in_seconds else clock.seconds(item.at)
        over = item.over if item.over_in_seconds else item.over / clock.fps * clock.speed
        changes.append(Change(time_s, item.emotion, item.intensity, over, item.ease, item.keep))
    return changes


def changes_of_list(rows: Iterable[Any], scene: bpy.types.Scene, clock: Clock) -> list[Change]:
    """The transitions of a character's list (``properties.emotion.IdiolectEmotionChange``).

    Raises:
        WorkerError: if one names a marker that is not there.
    """
    return [
        Change(
            clock.seconds(frame_of(row, scene)),
            row.emotion,
            row.intensity,
            row.duration / clock.fps * clock.speed,
            row.ease,
            row.keep,
        )
        for row in rows
    ]
