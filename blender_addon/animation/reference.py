"""The reference: whose manner of speaking, as the worker is told of it.

A ready-made style goes by its name. A file goes by its path, as it is. An Action, or a mesh that is
animated, is sampled to a motion file first. A manner is two of them, mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from .. import keying, preferences
from ..environment import models
from ..rig import reading
from ..rig.names import arkit_channel
from ..worker.motion_file import Motion, write_motion
from ..worker.protocol import WorkerError
from . import tracks

SUFFIXES = (".npz", ".csv", ".json")
LONGEST_S = 60.0
"""More of a reference says no more about its manner; the worker listens to a few seconds."""
SHORTEST_S = 4.0
"""With less of it, a manner can hardly be heard: the artist is told."""

_STILL = 1e-4
"""Weights that differ by less do not move a face."""
_KEPT = 8
_HARDLY_MOVES = 0.08
"""A mouth that opens by less all the time says little about how somebody speaks."""


@dataclass(frozen=True)
class Reference:
    """A style as the artist chose it; nothing set: the average manner.

    Attributes:
        style: a ready-made one of the model.
        file: a motion file, or a saved style.
        motion: motion sampled from the scene.
        start_s: second of the file from which to listen; None: all of it.
        end_s: second of the file up to which to listen.
        warnings: what the artist should know of it.
    """

    style: str = ""
    file: str = ""
    motion: Motion | None = None
    start_s: float | None = None
    end_s: float | None = None
    warnings: tuple[str, ...] = ()

    @property
    def has_motion(self) -> bool:
        """Whether it is a clip, with an emotion of its own, and not only a manner."""
        return self.motion is not None or bool(self.file and not is_saved_style(self.file))

    def as_params(self, folder: Path, name: str = "reference") -> dict[str, Any] | None:
        """What the worker's ``animate`` takes as its style; sampled motion goes to ``folder``."""
        if self.style:
            return {"name": self.style}
        if self.motion is not None:
            write_motion(folder / f"{name}.npz", self.motion)
            return {"reference": str(folder / f"{name}.npz")}
        if not self.file:
            return None
        if is_saved_style(self.file):
            return {"file": self.file}
        if self.start_s is None:
            return {"reference": self.file}
        return {"reference": self.file, "start_s": self.start_s, "end_s": self.end_s}


@dataclass(frozen=True)
class Manner:
    """Two styles, how much of each, and how strong: what the worker calls the style.

    Attributes:
        a: style A.
        b: style B.
        mix: 0 is A alone, 1 is B alone; a number or a track.
        strength: 0 is the average manner, 1 the style as it is; a number or a track.
    """

    a: Reference = Reference()
    b: Reference = Reference()
    mix: tracks.Track = 0.0
    strength: tracks.Track = 1.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the artist should know of the styles that are used."""
        used = (self.a if self.mix != 1.0 else None, self.b if self.mix != 0.0 else None)
        return tuple(
            dict.fromkeys(w for reference in used if reference for w in reference.warnings)
        )

    def as_params(self, folder: Path) -> dict[str, Any] | None:
        """What the worker's ``animate`` takes as its style."""
        if self.strength == 1.0 and self.mix in (0.0, 1.0):
            return (self.b if self.mix else self.a).as_params(folder)
        return {
            "a": self.a.as_params(folder, "reference_a") if self.mix != 1.0 else None,
            "b": self.b.as_params(folder, "reference_b") if self.mix != 0.0 else None,
            "mix": self.mix,
            "strength": self.strength,
        }


def is_saved_style(path: str) -> bool:
    """Whether a file is a style that *Save Style* wrote, and no motion."""
    return path.lower().endswith(models.STYLE_SUFFIX)


def ready_made(name: str) -> Reference:
    """A style that goes by its name: the model's own, or one that was saved."""
    saved = models.saved_styles().get(name)
    if saved is not None and name not in models.own_styles(
        preferences.of(bpy.context).checkpoint_path()
    ):
        return Reference(file=str(saved))
    return Reference(style=name)


def from_file(path: str, start_s: float | None = None, end_s: float | None = None) -> Reference:
    """A reference file, checked as far as can be told without reading it.

    Args:
        path: the file.
        start_s: where in it to begin to listen; None: all of it.
        end_s: where to end.

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
    elif start_s is not None and end_s is not None and end_s <= start_s:
        problem = f"The part of {file.name} ends before it begins."
    else:
        warnings: tuple[str, ...] = ()
        if start_s is not None and end_s is not None:
            warnings = _too_short(end_s - start_s, file.name)
        if reading.is_flame_motion(file):
            motion = reading.from_flame_file(file)
            first = int((start_s or 0.0) * motion.fps)
            last = len(motion.weights) if end_s is None else int(end_s * motion.fps) + 1
            return _of_rig(
                Motion(motion.weights[first:last], motion.channels, motion.fps), file.name
            )
        return Reference(file=str(file.absolute()), start_s=start_s, end_s=end_s, warnings=warnings)
    raise WorkerError(
        problem,
        hint=f"Choose a motion file ({', '.join(SUFFIXES)}), or another kind of reference.",
        code="bad_reference",
        setting="reference_file",
    )


Part = tuple[float, float]
"""First and last frame of a reference."""


def from_action(action: bpy.types.Action | None, fps: float, part: Part | None = None) -> Reference:
    """Sample an Action that moves ARKit shape keys.

    Args:
        action: the Action; any data-block may use it.
        fps: the scene's frame rate, so that frames become seconds.
        part: which frames; None: all.

    Raises:
        WorkerError: if there is none, or it moves no face.
    """
    if action is None:
        raise _unusable("No reference Action is chosen.")
    names = _channels(keying.shape_key_names(action))
    first, last = part or tuple(action.curve_frame_range)
    frames = _frames(first, last, fps)
    if not any(map(_of_mouth, names)):
        motion = reading.from_action(action, frames, fps)
        if motion is None:
            raise _unusable(f"The Action “{action.name}” moves no ARKit shape keys.")
        return _of_rig(motion, action.name)
    return _sampled(
        keying.sample_action(action, list(names.values()), frames), names, fps, action.name
    )


def from_mesh(
    scene: bpy.types.Scene,
    mesh_object: bpy.types.Object | None,
    fps: float,
    part: Part | None = None,
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
    by_keys = any(map(_of_mouth, _channels([block.name for block in keys.key_blocks])))
    if not strips and not len(animation.drivers) and by_keys:
        if animation.action is None:
            raise _unusable(f"“{mesh_object.name}” has no animated shape keys.")
        return from_action(animation.action, fps, part)
    ranges = [(strip.frame_start, strip.frame_end) for strip in strips]
    if animation.action is not None:
        ranges.append(tuple(animation.action.curve_frame_range))
    if not ranges:  # only drivers: what moves them is not known from here
        ranges = [(scene.frame_start, scene.frame_end)]
    frames = _frames(*(part or (min(r[0] for r in ranges), max(r[1] for r in ranges))), fps)
    names = _channels([block.name for block in keys.key_blocks])
    if not any(map(_of_mouth, names)):
        motion = reading.from_mesh(scene, mesh_object, frames, fps)
        if motion is None:
            raise _unusable(f"“{mesh_object.name}” has no animated shape keys.")
        return _of_rig(motion, mesh_object.name)
    values = np.zeros((len(frames), len(names)), np.float32)
    now, part = scene.frame_current, scene.frame_subframe
    try:
        for row, frame in enumerate(frames):
            scene.frame_set(int(frame))
            values[row] = [keys.key_blocks[name].value for name in names.values()]
    finally:
        scene.frame_set(now, subframe=part)
    return _sampled(values, names, fps, mesh_object.name)


def _of_mouth(channel: str) -> bool:
    return channel.startswith(("jaw", "mouth"))


def _of_rig(motion: Motion, source: str) -> Reference:
    names = {channel: channel for channel in motion.channels}
    return _sampled(motion.weights, names, motion.fps, source)


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
    warnings = _too_short((len(values) - 1) / fps, source)
    mouth = [i for i, name in enumerate(names) if _of_mouth(name)]
    if not mouth or float(np.ptp(values[:, mouth], axis=0).max()) < _HARDLY_MOVES:
        warnings += (f"“{source}” hardly moves the mouth: it says little about a manner.",)
    return Reference(motion=Motion(values, tuple(names), fps), warnings=warnings)


def _too_short(seconds: float, source: str) -> tuple[str, ...]:
    if seconds >= SHORTEST_S:
        return ()
    return (f"“{source}” is {seconds:.1f} s of reference; 4 to 10 s tell a manner well.",)


def _unusable(problem: str) -> WorkerError:
    return WorkerError(
        problem,
        hint="Choose an Action or a mesh whose ARKit shape keys are animated (some seconds of"
        " speech), a motion file, or a ready-made style.",
        code="bad_reference",
        setting="reference",
    )


def length_warning(choice: Any, fps: float) -> str:
    """Whether a choice in the panel is too short, as far as can be told at once."""
    if choice.kind == "FILE":
        seconds = choice.end_s - choice.start_s if choice.use_range and choice.file else None
        source = Path(choice.file).name
    else:
        thing = choice.action if choice.kind == "ACTION" else choice.mesh
        if thing is None or (choice.kind == "MESH" and not choice.use_range):
            return ""
        source = thing.name
        part = (choice.first, choice.last) if choice.use_range else tuple(thing.curve_frame_range)
        seconds = (part[1] - part[0]) / fps
    return "" if seconds is None else next(iter(_too_short(seconds, source)), "")


_sampled_before: dict[tuple[Any, ...], Reference] = {}


def as_reference(
    choice: Any, scene: bpy.types.Scene, fps: float, *, reuse: bool = False
) -> Reference:
    """The reference that a choice in the panel (``properties.style.IdiolectStyle``) means.

    Args:
        choice: what was chosen.
        scene: where a mesh is played.
        fps: the scene's frame rate.
        reuse: whether what was sampled for the same choice before will do. Playing a mesh takes
            time, and must not move the scene's time while a slider is dragged.

    Raises:
        WorkerError: if what it names cannot serve as one.
    """
    if choice.kind == "STYLE":
        return ready_made(choice.style)
    if choice.kind == "FILE":
        return from_file(choice.file, *((choice.start_s, choice.end_s) if choice.use_range else ()))
    part = (choice.first, choice.last) if choice.use_range else None
    if part is not None and part[1] <= part[0]:
        raise _unusable("The part of the reference ends before it begins.")
    source = choice.action if choice.kind == "ACTION" else choice.mesh
    key = (choice.kind, source.session_uid if source else 0, part, fps)
    if not reuse or key not in _sampled_before:
        if choice.kind == "ACTION":
            sampled = from_action(source, fps, part)
        else:
            sampled = from_mesh(scene, source, fps, part)
        _sampled_before[key] = sampled
        while len(_sampled_before) > _KEPT:
            del _sampled_before[next(iter(_sampled_before))]
    return _sampled_before[key]
