"""What an Action shows: names of shape keys that it moves, and their values."""

from __future__ import annotations

import bpy
import numpy as np
import numpy.typing as npt

from . import actions
from .curves import Floats, value_path


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
