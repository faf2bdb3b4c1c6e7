"""What an Action shows: the properties that it moves, and their values."""

from __future__ import annotations

import bpy
import numpy as np
import numpy.typing as npt

from . import actions, nla
from .curves import MARK, Floats, Place, value_path


def shape_key_names(action: bpy.types.Action) -> list[str]:
    """Names of all shape keys that the Action moves, in any slot."""
    names = []
    for curve in actions.all_curves(action):
        path = curve.data_path
        if path.startswith('key_blocks["') and path.endswith('"].value'):
            names.append(
                bpy.utils.unescape_identifier(path[len('key_blocks["') : -len('"].value')])
            )
    return list(dict.fromkeys(names))


def curve_of(data: bpy.types.ID, path: str) -> bpy.types.FCurve | None:
    """The curve by which a data-block's Action moves one of its properties; None if none does."""
    if data.animation_data is None:
        return None
    for curve in actions.active_curves(data.animation_data):
        if curve.data_path == path and not curve.mute and not curve.is_empty:
            return curve
    return None


def sample_action(
    action: bpy.types.Action, key_names: list[str], frames: npt.NDArray[np.float64]
) -> Floats:
    """Values (T, C) of shape keys at any frames, fractions of a frame included.

    Where several slots move a key of the same name, the first one counts.
    """
    by_path: dict[str, bpy.types.FCurve] = {}
    for curve in actions.all_curves(action):
        by_path.setdefault(curve.data_path, curve)
    values = np.zeros((len(frames), len(key_names)), np.float32)
    for column, name in enumerate(key_names):
        curve = by_path.get(value_path(name))
        if curve is not None:
            values[:, column] = [curve.evaluate(frame) for frame in frames]
    return values


def sample_places(
    action: bpy.types.Action, places: list[Place], frames: npt.NDArray[np.float64]
) -> list[Floats | None]:
    """Values (T,) of properties at any frames; None for those that the Action does not move."""
    found: dict[Place, bpy.types.FCurve] = {}
    for curve in actions.all_curves(action):
        found.setdefault((curve.data_path, curve.array_index), curve)
    return [
        np.array([found[place].evaluate(frame) for frame in frames], np.float32)
        if place in found
        else None
        for place in places
    ]


def places_of(action: bpy.types.Action) -> set[Place]:
    """Every property that an Action moves, in any slot."""
    return {(curve.data_path, curve.array_index) for curve in actions.all_curves(action)}


def animated_elsewhere(datablock: bpy.types.ID, data_path: str) -> bool:
    """Whether an Action that is not ours moves a property, by itself or in the NLA."""
    return any(
        path == data_path
        for owner in nla.owners(datablock.animation_data)
        if MARK not in owner.action and nla.CORRECTIONS not in owner.action
        for path, _ in places_of(owner.action)
    )
