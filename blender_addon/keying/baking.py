"""All that moves a data-block, in one Action: what can be handed on and edited without layers."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from . import actions, curves, nla, reduction
from .curves import Floats, Keys, Place

Samples = dict[Place, Floats]
"""Values (T,) of each property."""


def bake(
    scene: bpy.types.Scene, blocks: list[bpy.types.ID], name: str, bound: float
) -> tuple[int, int]:
    """Put all that is seen in an Action of the artist's for each data-block, and mute NLA tracks.

    The Actions that were there keep a user, and so are saved. Drivers are left to themselves.

    Args:
        scene: where it is seen.
        blocks: what to bake; something must animate them.
        name: name for the Actions.
        bound: how far curves may be off for the sake of fewer keys; 0: a key at each frame.

    Returns:
        The first and the last frame.
    """
    first, last = _frame_range(blocks)
    now = scene.frame_current, scene.frame_subframe
    seen = _sample(scene, blocks, first, last)
    for block, samples in seen.items():
        title = name if len(blocks) == 1 else f"{name} – {block.name}"
        _put(block, _reduced(samples, first, bound), title)
    scene.frame_set(now[0], subframe=now[1])
    return first, last


def _frame_range(blocks: list[bpy.types.ID]) -> tuple[int, int]:
    """First and last frame of everything that moves these data-blocks."""
    ends: list[float] = []
    for block in blocks:
        for owner in nla.owners(block.animation_data):
            if owner == block.animation_data:
                ends.extend(owner.action.frame_range)
            else:
                ends.extend((owner.frame_start, owner.frame_end))
    return int(np.floor(min(ends))), int(np.ceil(max(ends)))


def _sample(
    scene: bpy.types.Scene, blocks: list[bpy.types.ID], first: int, last: int
) -> dict[bpy.types.ID, Samples]:
    """What Blender shows of each animated property at each frame."""
    found: dict[bpy.types.ID, Samples] = {}
    for block in blocks:
        driven = {(d.data_path, d.array_index) for d in block.animation_data.drivers}
        moved = {
            (curve.data_path, curve.array_index)
            for owner in nla.owners(block.animation_data)
            for curve in actions.active_curves(owner)
        }
        found[block] = {
            place: np.zeros(last - first + 1, np.float32)
            for place in sorted(moved - driven)
            if _value(block, place) is not None
        }
    for frame in range(first, last + 1):
        scene.frame_set(frame)
        for block, samples in found.items():
            for place, values in samples.items():
                values[frame - first] = _value(block, place)
    return found


def _put(block: bpy.types.ID, keys: dict[Place, Keys], name: str) -> None:
    """Make these curves the active Action, and all else silent."""
    animation = block.animation_data
    nla.leave_tweak_mode(animation)
    action = actions.new(name, block)
    where = actions.bag(action, action.slots[0] if actions.HAS_SLOTS else None).fcurves
    for (path, index), chosen in keys.items():
        curves.write(where.new(path, index=index), chosen)
    if animation.action is not None:
        animation.action.use_fake_user = True
    for track in animation.nla_tracks:
        track.mute = True
    actions.assign(animation, action)
    animation.action_blend_type, animation.action_extrapolation = "REPLACE", "HOLD"
    animation.action_influence = 1.0


def _reduced(samples: Samples, first: int, bound: float) -> dict[Place, Keys]:
    every = {place: curves.every_frame(values, first) for place, values in samples.items()}
    if bound <= 0.0 or not samples:
        return every
    reduced = reduction.reduce(np.stack(list(samples.values())), bound)
    return curves.from_reduced(every, reduced)


def _value(block: bpy.types.ID, place: Place) -> float | None:
    """A property's value; None if it is not there or is no number."""
    try:
        value: Any = block.path_resolve(place[0])
        return float(value[place[1]] if hasattr(value, "__len__") else value)
    except (ValueError, TypeError, IndexError):
        return None
