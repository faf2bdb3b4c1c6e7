"""Motion to F-curves and back: the only file that knows how an Action stores them.

Until Blender 4.3 an Action holds F-curves itself; from 4.4 it holds slots, and one layer with one
strip holds a channelbag of F-curves for each slot (``action.fcurves`` is gone in 5.0).

Everything goes through ``foreach_set``: hundreds of times faster than ``keyframe_insert``. Keys lie
on whole frames and are joined by straight lines: at one key a frame a spline has nothing to add,
and it would overshoot where lips meet.

Shapes: T motion frames, C channels, N keys of one curve.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import bpy
import numpy as np
import numpy.typing as npt

HAS_SLOTS = bpy.app.version >= (4, 4, 0)

MARK = "idiolect"
"""Custom property of an Action that this add-on made: the lines it holds, and a digest."""

SLIDER_LIMIT = 10.0
"""Blender lets no slider of a shape key go beyond this."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Line:
    """One speech within an Action of ours: its file, its first and its last frame."""

    speech: str
    first: int
    last: int

    def gives_way_to(self, other: Line) -> bool:
        """Whether it goes when ``other`` is keyed: it wants the same frames, or is the same
        speech at an older place.
        """
        return self.speech == other.speech or (
            self.first <= other.last and other.first <= self.last
        )


@dataclass(frozen=True)
class Keyed:
    """What ``key_motion`` did: the new Action's name, and that of an earlier one that it kept."""

    action: str
    kept: str = ""


def key_motion(
    shape_keys: bpy.types.Key, weights: Floats, key_names: list[str], line: Line, name: str
) -> Keyed:
    """Put motion on shape keys, in an Action of its own that becomes the active one.

    An Action that the artist made moves down to an NLA track, unchanged and playing as before;
    ours lies above it and takes over only the keys that it holds. An Action that this function made
    is replaced, and other lines in it are carried over; if it was edited since, it is kept too.

    Either everything is done, or an exception leaves all as it was.

    Args:
        shape_keys: the mesh's shape keys.
        weights: (T, C) float32, one row for each whole frame from ``line.first`` on.
        key_names: C names of shape keys, all of which exist.
        line: which speech this is, and where.
        name: name for the Action.
    """
    animation = shape_keys.animation_data or shape_keys.animation_data_create()
    earlier = animation.action
    ours = earlier is not None and MARK in earlier
    lines = lines_of(earlier)
    leaving = [other for other in lines if other.gives_way_to(line)]

    curves = {
        value_path(key): _keys_of(weights[:, column], line.first)
        for column, key in enumerate(key_names)
    }
    if ours:
        curves = _carried_over(_read_curves(earlier, shape_keys), [*leaving, line], curves)

    action = bpy.data.actions.new(name)
    try:
        slot = _write_curves(action, shape_keys, curves)
        staying = [other for other in lines if other not in leaving]
        action[MARK] = json.dumps(
            {
                "lines": [[o.speech, o.first, o.last] for o in [*staying, line]],
                "digest": _digest(curves),
            }
        )
        if animation.use_tweak_mode:
            animation.use_tweak_mode = False
        if earlier is not None and not ours:
            _move_to_nla(animation, earlier)
    except BaseException:
        bpy.data.actions.remove(action)
        raise

    # From here on nothing can fail.
    _widen_sliders(shape_keys, key_names, weights)
    edited = ours and json.loads(earlier[MARK])["digest"] != _digest(
        _read_curves(earlier, shape_keys)
    )
    animation.action = action
    if HAS_SLOTS:
        animation.action_slot = slot
    kept = ""
    if earlier is not None and (edited or not ours):
        kept = earlier.name
        earlier.use_fake_user = earlier.use_fake_user or edited
    elif earlier is not None and earlier.users == 0:
        bpy.data.actions.remove(earlier)
    return Keyed(action.name, kept)


def value_path(key_name: str) -> str:
    """The data path of a shape key's value."""
    return f'key_blocks["{bpy.utils.escape_identifier(key_name)}"].value'


def lines_of(action: bpy.types.Action | None) -> list[Line]:
    """The speeches in an Action of ours, in the order in which they were keyed."""
    if action is None or MARK not in action:
        return []
    return [Line(str(s), int(a), int(b)) for s, a, b in json.loads(action[MARK])["lines"]]


def shape_key_names(action: bpy.types.Action) -> list[str]:
    """Names of all shape keys that the Action moves, in any slot."""
    names = []
    for curve in _all_curves(action):
        path = curve.data_path
        if path.startswith('key_blocks["') and path.endswith('"].value'):
            names.append(
                bpy.utils.unescape_identifier(path[len('key_blocks["') : -len('"].value')])
            )
    return list(dict.fromkeys(names))


def sample_action(
    action: bpy.types.Action, key_names: list[str], frames: npt.NDArray[np.float64]
) -> Floats:
    """Values (T, C) of shape keys at any frames, fractions of a frame included.

    Where several slots move a key of the same name, the first one counts.
    """
    by_path: dict[str, bpy.types.FCurve] = {}
    for curve in _all_curves(action):
        by_path.setdefault(curve.data_path, curve)
    values = np.zeros((len(frames), len(key_names)), np.float32)
    for column, name in enumerate(key_names):
        curve = by_path.get(value_path(name))
        if curve is not None:
            values[:, column] = [curve.evaluate(frame) for frame in frames]
    return values


def _keys_of(values: Floats, first_frame: int) -> Floats:
    """Keys (N, 2) as (frame, value). A channel that never moves needs only its two ends."""
    frames = np.arange(first_frame, first_frame + len(values), dtype=np.float32)
    keys = np.stack([frames, np.asarray(values, np.float32)], axis=1)
    return keys[[0, -1]] if len(keys) > 2 and np.ptp(keys[:, 1]) == 0 else keys


def _write_curves(
    action: bpy.types.Action, shape_keys: bpy.types.Key, curves: dict[str, Floats]
) -> bpy.types.ID | None:
    """Fill a new Action. Returns its slot where Actions have slots."""
    if HAS_SLOTS:
        slot = action.slots.new(id_type="KEY", name=shape_keys.name)
        strip = action.layers.new("Speech").strips.new(type="KEYFRAME")
        collection = strip.channelbag(slot, ensure=True).fcurves
    else:
        slot, collection = None, action.fcurves
    linear = _enum_value("interpolation", "LINEAR")
    auto = _enum_value("handle_left_type", "AUTO_CLAMPED")
    for path, keys in curves.items():
        curve = collection.new(path)
        points = curve.keyframe_points
        points.add(len(keys))
        points.foreach_set("co", np.ascontiguousarray(keys, np.float32).ravel())
        points.foreach_set("interpolation", np.full(len(keys), linear, np.int32))
        # For the artist who changes a key to Bezier later: handles that lie sensibly.
        for side in ("handle_left_type", "handle_right_type"):
            points.foreach_set(side, np.full(len(keys), auto, np.int32))
        curve.update()
    return slot


def _read_curves(action: bpy.types.Action, shape_keys: bpy.types.Key) -> dict[str, Floats]:
    """Data path to keys (N, 2), of the curves that move these shape keys."""
    curves = {}
    for curve in _curves_for(action, shape_keys):
        keys = np.empty(len(curve.keyframe_points) * 2, np.float32)
        curve.keyframe_points.foreach_get("co", keys)
        curves[curve.data_path] = keys.reshape(-1, 2)
    return curves


def _carried_over(
    earlier: dict[str, Floats], gone: list[Line], curves: dict[str, Floats]
) -> dict[str, Floats]:
    """New curves, with the earlier keys that lie in none of the lines that are gone."""
    merged = dict(curves)
    for path, keys in earlier.items():
        stays = np.ones(len(keys), bool)
        for line in gone:
            stays &= (keys[:, 0] < line.first - 0.5) | (keys[:, 0] > line.last + 0.5)
        if stays.any():
            together = np.concatenate([keys[stays], merged.get(path, np.empty((0, 2), np.float32))])
            merged[path] = together[np.argsort(together[:, 0], kind="stable")]
    return merged


def _curves_for(action: bpy.types.Action, shape_keys: bpy.types.Key) -> Iterable[bpy.types.FCurve]:
    """The curves by which an Action moves this data-block, which uses it."""
    if not HAS_SLOTS:
        return list(action.fcurves)
    slot = shape_keys.animation_data.action_slot
    if slot is None:
        return []
    return [curve for bag in _bags(action) if bag.slot == slot for curve in bag.fcurves]


def _all_curves(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    """Every curve of an Action, whatever data-blocks use it."""
    if not HAS_SLOTS:
        return list(action.fcurves)
    return [curve for bag in _bags(action) for curve in bag.fcurves]


def _bags(action: bpy.types.Action) -> Iterable[bpy.types.ID]:
    return (
        bag
        for layer in action.layers
        for strip in layer.strips
        if strip.type == "KEYFRAME"
        for bag in strip.channelbags
    )


def _move_to_nla(animation: bpy.types.AnimData, action: bpy.types.Action) -> None:
    """Push an Action down to an NLA track where it plays as it did while it was the active one."""
    track = animation.nla_tracks.new()
    try:
        track.name = action.name
        start, end = action.frame_range
        strip = track.strips.new(action.name, int(np.floor(start)), action)
        strip.name = action.name  # some versions ignore the name given to new()
        if HAS_SLOTS:
            strip.action_slot = animation.action_slot
        strip.frame_start, strip.frame_end = start, max(end, start + 1)
        strip.action_frame_start, strip.action_frame_end = start, max(end, start + 1)
        strip.extrapolation = animation.action_extrapolation
        strip.blend_type = animation.action_blend_type
        strip.influence = animation.action_influence
    except BaseException:
        animation.nla_tracks.remove(track)
        raise
    if not animation.use_nla:
        # The artist had switched the NLA off: what lies there stays silent, what played goes on.
        for other in animation.nla_tracks:
            other.mute = other.mute or other != track
        animation.use_nla = True
    animation.action_extrapolation = "HOLD"
    animation.action_blend_type = "REPLACE"
    animation.action_influence = 1.0


def _widen_sliders(shape_keys: bpy.types.Key, key_names: list[str], weights: Floats) -> None:
    """Make room for the motion: Blender clamps a shape key's value to its slider's range."""
    for column, name in enumerate(key_names):
        block = shape_keys.key_blocks[name]
        lowest, highest = float(weights[:, column].min()), float(weights[:, column].max())
        block.slider_max = min(SLIDER_LIMIT, max(block.slider_max, highest))
        block.slider_min = max(-SLIDER_LIMIT, min(block.slider_min, lowest))


def _digest(curves: dict[str, Floats]) -> str:
    """Tells whether keys were edited since they were written."""
    total = hashlib.sha1(usedforsecurity=False)
    for path in sorted(curves):
        total.update(path.encode())
        total.update(np.ascontiguousarray(curves[path], np.float32).tobytes())
    return total.hexdigest()


def _enum_value(prop: str, identifier: str) -> int:
    return bpy.types.Keyframe.bl_rna.properties[prop].enum_items[identifier].value
