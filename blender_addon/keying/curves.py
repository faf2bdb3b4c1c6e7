"""One animated property, and the keys of one F-curve as arrays.

Shapes: T motion frames, N keys of one curve.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import bpy
import numpy as np
import numpy.typing as npt

from .reduction import Reduced

MARK = "idiolect"
"""Custom property of an Action that this add-on made: the lines it holds, and a digest."""

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

Place = tuple[str, int]
"""What a curve moves on its data-block: data path and index."""


@dataclass(frozen=True)
class Curve:
    """One property that motion animates.

    Attributes:
        datablock: whose property it is: shape keys, an object, an armature's object, …
        data_path: its path from there.
        index: which element of an array property; 0 where there is only one.
        values: (T,) one for each whole frame of the line.
        label: what the artist calls it; the name of the shape key, or of the bone.
        channel: the channel of motion that it comes from, or comes from most.
    """

    datablock: bpy.types.ID
    data_path: str
    index: int
    values: Floats
    label: str
    channel: str

    @property
    def place(self) -> Place:
        """Where it goes on its data-block."""
        return self.data_path, self.index


@dataclass(frozen=True)
class Keys:
    """Keys of one F-curve: positions (N, 2) as (frame, value), and (N,) of Blender's own codes."""

    co: Floats
    handle_left: Floats
    handle_right: Floats
    interpolation: Ints
    handle_left_type: Ints
    handle_right_type: Ints

    def __len__(self) -> int:
        return len(self.co)

    @property
    def frames(self) -> Floats:
        """(N,) when they are."""
        return self.co[:, 0]

    def joined(self, which: int | slice, code: int) -> Keys:
        """The same keys, some of them joined otherwise to what follows."""
        interpolation = self.interpolation.copy()
        interpolation[which] = code
        return replace(self, interpolation=interpolation)

    def only(self, chosen: npt.NDArray[np.bool_]) -> Keys:
        """Some of them."""
        return Keys(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def and_also(self, others: Keys) -> Keys:
        """These and others, in the order of time."""
        order = np.argsort(np.concatenate([self.frames, others.frames]), kind="stable")
        return Keys(
            *(
                np.concatenate([getattr(self, field.name), getattr(others, field.name)])[order]
                for field in fields(self)
            )
        )


def value_path(key_name: str) -> str:
    """The data path of a shape key's value."""
    return f'key_blocks["{bpy.utils.escape_identifier(key_name)}"].value'


def every_frame(values: Floats, first_frame: int) -> Keys:
    """A key at each frame, joined by straight lines: a spline has nothing to add there, and would
    overshoot where lips meet. A channel that never moves needs only its two ends.
    """
    frames = np.arange(first_frame, first_frame + len(values), dtype=np.float32)
    co = np.stack([frames, np.asarray(values, np.float32)], axis=1)
    return linear(co[[0, -1]] if len(co) > 2 and np.ptp(co[:, 1]) == 0 else co)


def linear(co: Floats) -> Keys:
    """Keys joined by straight lines.

    Their handles are automatic: for the artist who changes a key to Bezier later.
    """
    auto = np.full(len(co), _code("handle_left_type", "AUTO_CLAMPED"), np.int32)
    return Keys(co, co.copy(), co.copy(), np.full(len(co), LINEAR, np.int32), auto, auto)


def bezier(co: Floats, slope_in: Floats, slope_out: Floats) -> Keys:
    """Keys joined by cubics that arrive and leave with these slopes (N,), in value per frame.

    With handles a third of the way to the next key, Blender's Bezier is Hermite's curve.
    """
    third = np.diff(co[:, 0]) / 3.0
    before, after = np.concatenate([third[:1], third]), np.concatenate([third, third[-1:]])
    left = co - np.stack([before, before * slope_in], axis=1)
    right = co + np.stack([after, after * slope_out], axis=1)
    free = np.full(len(co), _code("handle_left_type", "FREE"), np.int32)
    joints = np.full(len(co), _code("interpolation", "BEZIER"), np.int32)
    joints[-1] = LINEAR  # to a later line's first key
    return Keys(co, left.astype(np.float32), right.astype(np.float32), joints, free, free)


def from_reduced(every: Mapping[Place, Keys], reduced: Reduced) -> dict[Place, Keys]:
    """Fewer keys: those that a reduction has chosen.

    Args:
        every: curves with a key at each frame, in the order of the reduction's rows.
        reduced: which of them stay. Channels that never move have only two, and keep them.
    """
    keys = {}
    for row, (place, dense) in enumerate(every.items()):
        (at,) = np.nonzero(reduced.is_key[row])
        if len(dense) <= 2:
            keys[place] = dense
        else:
            slopes = reduced.slope_in[row, at], reduced.slope_out[row, at]
            keys[place] = bezier(dense.co[at], *slopes)
    return keys


def read(curve: bpy.types.FCurve) -> Keys:
    """The keys of a curve."""
    points = curve.keyframe_points
    arrays = []
    for field in fields(Keys):
        flat = np.empty(len(points) * (2 if _is_place(field.name) else 1), _dtype(field.name))
        points.foreach_get(field.name, flat)
        arrays.append(flat.reshape(-1, 2) if _is_place(field.name) else flat)
    return Keys(*arrays)


def write(curve: bpy.types.FCurve, keys: Keys) -> None:
    """Give a curve these keys and no others."""
    points = curve.keyframe_points
    if len(points):
        points.clear()
    points.add(len(keys))
    # Types first: Blender moves handles of some types while others are being set. Between straight
    # lines handles have no say, and setting them would take most of the time.
    straight = bool((keys.interpolation == LINEAR).all())
    for field in reversed(fields(Keys)):
        if straight and field.name not in ("co", "interpolation"):
            continue
        flat = np.ascontiguousarray(getattr(keys, field.name), _dtype(field.name)).ravel()
        points.foreach_set(field.name, flat)
    curve.update()


def digest(keys: Keys) -> str:
    """Tells whether keys were edited since they were written."""
    total = hashlib.sha1(usedforsecurity=False)
    for field in fields(Keys):
        total.update(np.ascontiguousarray(getattr(keys, field.name)).tobytes())
    return total.hexdigest()[:12]


def _is_place(field: str) -> bool:
    return field in ("co", "handle_left", "handle_right")


def _dtype(field: str) -> type[np.generic]:
    return np.float32 if _is_place(field) else np.int32


def _code(prop: str, identifier: str) -> int:
    return bpy.types.Keyframe.bl_rna.properties[prop].enum_items[identifier].value


LINEAR = _code("interpolation", "LINEAR")
