"""The reference: whose manner of speaking, as the worker is told of it.

A ready-made style goes by its name. A file goes by its path, as it is. An Action, or a mesh that is
animated, is sampled to a motion file first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from . import keying
from .key_names import arkit_channel
from .worker.motion_file import Motion, write_motion
from .worker.protocol import WorkerError

SUFFIXES = (".npz", ".csv", ".json")
LONGEST_S = 60.0
"""More of a reference says no more about its manner; the worker listens to a few seconds."""

_STILL = 1e-4
"""Weights that differ by less do not move a face."""


@dataclass(frozen=True)
class Reference:
    """A style as the artist chose it. Exactly one field is set, or none: the average manner."""

    style: str = ""
    file: str = ""
    motion: Motion | None = None

    def as_params(self, folder: Path) -> dict[str, str] | None:
        """What the worker's ``animate`` takes as its style; sampled motion goes to ``folder``."""
        if self.style:
            return {"name": self.style}
        if self.motion is not None:
            write_motion(folder / "reference.npz", self.motion)
            return {"reference": str(folder / "reference.npz")}
        return {"reference": self.file} if self.file else None


def from_file(path: str) -> Reference:
    """A reference file, checked as far as can be told without reading it.

    Raises:
        WorkerError: if it is not there, or of a kind that nobody reads.
    """
    file = Path(bpy.path.abspath(path))
    if not path:
        problem = "No reference file is chosen."
    elif not file.is_file():
        problem = f"The reference file does not exist: {file}."
    elif file.suffix.lower() not in SUFFIXES:
        problem = f"The reference file is of a kind that is not read: {file.name}."
    else:
        return Reference(file=str(file.absolute()))
    raise WorkerError(
        problem,
        hint=f"Choose a motion file ({', '.join(SUFFIXES)}), or another kind of reference.",
        code="bad_reference",
        setting="reference_file",
    )


def from_action(action: bpy.types.Action | None, fps: float) -> Reference:
    """Sample an Action that moves ARKit shape keys.

    Args:
        action: the Action; any data-block may use it.
        fps: the scene's frame rate, so that frames become seconds.

    Raises:
        WorkerError: if there is none, or it moves no face.
    """
    if action is None:
        raise _unusable("No reference Action is chosen.")
    names = _channels(keying.shape_key_names(action))
    if not names:
        raise _unusable(f"The Action “{action.name}” moves no ARKit shape keys.")
    start, end = action.curve_frame_range
    frames = _frames(start, end, fps)
    return _sampled(
        keying.sample_action(action, list(names.values()), frames), names, fps, action.name
    )


def from_mesh(
    scene: bpy.types.Scene, mesh_object: bpy.types.Object | None, fps: float
) -> Reference:
    """Sample the shape keys of an animated mesh: by its Action, or frame by frame where NLA strips
    or drivers have a say.

    Raises:
        WorkerError: if there is none, or its face never moves.
    """
    if mesh_object is None:
        raise _unusable("No reference mesh is chosen.")
    keys = mesh_object.data.shape_keys if mesh_object.type == "MESH" else None
    animation = keys.animation_data if keys else None
    if keys is None or animation is None:
        raise _unusable(f"“{mesh_object.name}” has no animated shape keys.")
    strips = [s for t in animation.nla_tracks if not t.mute for s in t.strips if not s.mute]
    strips = strips if animation.use_nla else []
    if not strips and not len(animation.drivers):
        if animation.action is None:
            raise _unusable(f"“{mesh_object.name}” has no animated shape keys.")
        return from_action(animation.action, fps)
    ranges = [(strip.frame_start, strip.frame_end) for strip in strips]
    if animation.action is not None:
        ranges.append(tuple(animation.action.curve_frame_range))
    if not ranges:  # only drivers: what moves them is not known from here
        ranges = [(scene.frame_start, scene.frame_end)]
    frames = _frames(min(r[0] for r in ranges), max(r[1] for r in ranges), fps)
    names = _channels([block.name for block in keys.key_blocks])
    values = np.zeros((len(frames), len(names)), np.float32)
    now, part = scene.frame_current, scene.frame_subframe
    try:
        for row, frame in enumerate(frames):
            scene.frame_set(int(frame))
            values[row] = [keys.key_blocks[name].value for name in names.values()]
    finally:
        scene.frame_set(now, subframe=part)
    return _sampled(values, names, fps, mesh_object.name)


def _channels(key_names: list[str]) -> dict[str, str]:
    """ARKit channel to key name, the first of each channel."""
    names: dict[str, str] = {}
    for name in key_names:
        channel = arkit_channel(name)
        if channel:
            names.setdefault(channel, name)
    return names


def _frames(start: float, end: float, fps: float) -> npt.NDArray[np.float64]:
    first = int(np.floor(start))
    last = min(int(np.ceil(end)), first + int(LONGEST_S * fps))
    return np.arange(first, last + 1, dtype=np.float64)


def _sampled(
    values: npt.NDArray[np.float32], names: dict[str, str], fps: float, source: str
) -> Reference:
    if len(values) < 2 or float(np.ptp(values, axis=0).max()) < _STILL:
        raise _unusable(f"“{source}” does not move the face.")
    return Reference(motion=Motion(values, tuple(names), fps))


def _unusable(problem: str) -> WorkerError:
    return WorkerError(
        problem,
        hint="Choose an Action or a mesh whose ARKit shape keys are animated (some seconds of"
        " speech), a motion file, or a ready-made style.",
        code="bad_reference",
        setting="reference",
    )


def as_reference(choice: Any, scene: bpy.types.Scene, fps: float) -> Reference:
    """The reference that a character's settings (``properties.IdiolectCharacter``) ask for.

    Raises:
        WorkerError: if what they name cannot serve as one.
    """
    if choice.reference_kind == "FILE":
        return from_file(choice.reference_file)
    if choice.reference_kind == "ACTION":
        return from_action(choice.reference_action, fps)
    if choice.reference_kind == "MESH":
        return from_mesh(scene, choice.reference_mesh, fps)
    return Reference(style=choice.style)
