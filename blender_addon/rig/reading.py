"""References from any rig: what its controls show, as ARKit weights; and FLAME motion in files.

Shapes: T motion frames, E expression components.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from .. import keying
from ..worker.motion_file import Motion
from ..worker.protocol import WorkerError
from . import flame
from .controls import Rig, Weights
from .finding import rig_of

Array = npt.NDArray[Any]

# Where published FLAME motion keeps expression coefficients, and the jaw's rotation.
_EXPRESSIONS = ("expressions", "expression", "exp", "expression_params")
_JAWS = ("jaw_pose", "jaw", "jaw_params")
_SMPLX_POSES, _SMPLX_JAW = 165, slice(66, 69)
_RATES = ("fps", "mocap_frame_rate")
_PUBLISHED_FPS = 30.0


def from_action(action: bpy.types.Action, frames: Array, fps: float) -> Motion | None:
    """ARKit weights of an Action, by the rig of the scene's that it moves most of."""
    places = keying.places_of(action)
    best: tuple[int, Rig | None] = (0, None)
    for target in bpy.data.objects:
        if target.type == "MESH" and target.data.shape_keys is not None:
            found = rig_of(target)
            moved = sum((c.at.path, c.at.index) in places for c in found.controls)
            best = max(best, (moved, found), key=lambda one: one[0])
    if best[1] is None:
        return None

    def read(_owner: bpy.types.ID, path: str, index: int) -> Array | None:
        return keying.sample_places(action, [(path, index)], frames)[0]

    return _motion(best[1].weights_of(read), fps)


def from_mesh(
    scene: bpy.types.Scene, target: bpy.types.Object, frames: Array, fps: float
) -> Motion | None:
    """ARKit weights of a character as it plays, whatever moves its controls."""
    actor = rig_of(target)
    values: dict[tuple[bpy.types.ID, str], list[Any]] = {
        place: []
        for place in (
            *((control.at.owner, control.at.path) for control in actor.controls),
            *((turn.armature, turn.path) for turn in actor.turns),
        )
    }
    now, part = scene.frame_current, scene.frame_subframe
    try:
        for frame in frames:
            scene.frame_set(int(frame))
            for (owner, path), row in values.items():
                value = owner.path_resolve(path)
                row.append(tuple(value) if hasattr(value, "__len__") else (value,))
    finally:
        scene.frame_set(now, subframe=part)

    def read(owner: bpy.types.ID, path: str, index: int) -> Array | None:
        found = np.array(values[owner, path])
        return found[:, index] if index < found.shape[1] else None

    return _motion(actor.weights_of(read), fps)


def is_flame_motion(file: Path) -> bool:
    """Whether a motion file holds FLAME coefficients."""
    if file.suffix.lower() != ".npz":
        return False
    try:
        with np.load(file, allow_pickle=False) as arrays:
            if "space" in arrays.files:
                return str(arrays["space"]) == "flame"
            return not {"weights", "channels"} <= set(arrays.files) and any(
                name in arrays.files for name in _EXPRESSIONS
            )
    except (OSError, ValueError, EOFError):
        return False  # the worker says what is wrong with it


def from_flame_file(file: Path) -> Motion:
    """ARKit weights of FLAME motion, by a FLAME rig of the scene's that is fitted.

    Files are the worker's own (space "flame"), or published ones: ``expressions``, ``expression``
    or ``exp`` (T, E), with ``jaw_pose`` or ``jaw`` (T, 3), or SMPL-X ``poses`` (T, 165).

    Raises:
        WorkerError: if no rig is fitted, or the file holds something else.
    """
    rigs = (flame.fitted(one) for one in bpy.data.objects if one.type == "MESH")
    fitted = next((one for one in rigs if one is not None), None)
    if fitted is None:
        raise _bad(
            f"{file.name} holds FLAME motion, and no FLAME rig says what it looks like.",
            "Import the FLAME file that it was made with, and press Fit Expressions in Rig.",
        )
    try:
        with np.load(file, allow_pickle=False) as arrays:
            coefficients, fps = _coefficients({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, EOFError) as error:
        raise _bad(f"{file.name} cannot be read ({error}).", "Export it again.") from error
    frames = len(next(iter(coefficients.values())))
    motion = _motion(fitted.to_arkit(coefficients, frames), fps)
    if motion is None:
        raise _bad(f"{file.name} holds no frames.", "Export it again.")
    return motion


def _coefficients(arrays: dict[str, Array]) -> tuple[dict[str, Array], float]:
    """Coefficients (T,) by name, and the frame rate."""
    fps = next((float(arrays[name]) for name in _RATES if name in arrays), _PUBLISHED_FPS)
    if {"weights", "channels"} <= set(arrays):
        names = [str(name) for name in arrays["channels"]]
        return dict(zip(names, arrays["weights"].T.astype(np.float64), strict=True)), fps
    expression = next(arrays[name] for name in _EXPRESSIONS if name in arrays)
    jaw = next((arrays[name] for name in _JAWS if name in arrays), None)
    if jaw is None and "poses" in arrays and arrays["poses"].shape[-1] == _SMPLX_POSES:
        jaw = arrays["poses"][:, _SMPLX_JAW]
    jaw = np.zeros((len(expression), 3)) if jaw is None else jaw
    if expression.ndim != 2 or jaw.shape != (len(expression), 3):
        raise ValueError(f"expression is {expression.shape}, jaw {jaw.shape}")
    found = {f"Exp{i + 1:03d}": column for i, column in enumerate(expression.T)}
    found |= {f"jaw_{axis}": column for axis, column in zip("xyz", jaw.T, strict=True)}
    return {name: column.astype(np.float64) for name, column in found.items()}, fps


def _motion(weights: Weights, fps: float) -> Motion | None:
    if not weights:
        return None
    return Motion(np.stack(list(weights.values()), axis=1).astype(np.float32), tuple(weights), fps)


def _bad(problem: str, hint: str) -> WorkerError:
    return WorkerError(problem, hint=hint, code="bad_reference", setting="reference_file")
