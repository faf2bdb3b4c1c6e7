"""Finish again: other settings, same motion. The .blend has all it takes: no model, no sound file.

``again`` is what ``live`` asks while a slider is dragged; the button and scripts use ``steps``.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy

from .. import keying, preferences, properties, rig
from ..jobs import job
from ..properties import finish
from ..sequencer.clock import frame_rate
from ..worker.client import get_client
from ..worker.motion_file import read_motion
from ..worker.protocol import WorkerError
from . import applying, raw_motion
from .raw_motion import Stored

_folder: tempfile.TemporaryDirectory[str] | None = None
"""Raw motion as files, for the worker: written once, however often a slider moves."""


def why_not(target: bpy.types.Object | None) -> str:
    """Why a character cannot be finished again; empty if it can."""
    if target is None:
        return "Choose a character"
    if reason := rig.why_not(target):
        return reason
    if applying.stored_action(target) is None:
        return f"“{target.name}” has no stored motion: press Animate from Speech first"
    return ""


def again(scene: bpy.types.Scene, target: bpy.types.Object) -> job.Steps | None:
    """For ``live``: the steps to what the settings ask for now, if that is something new."""
    if why_not(target):
        return None
    action = applying.stored_action(target)
    wanted = [
        one.finished != applying.finished_by(target, _fps(scene, one))
        for one in raw_motion.motions_of(action)
    ]
    return steps(scene, target, preferences.of(bpy.context)) if any(wanted) else None


def steps(
    scene: bpy.types.Scene, target: bpy.types.Object | None, settings: preferences.Settings
) -> job.Steps:
    """Finish all that a character says. The scene changes in the last step only.

    Raises:
        WorkerError: if there is nothing to finish.
    """
    reason = why_not(target)
    if reason or target is None:
        raise WorkerError(f"{reason}.", hint="Nothing was changed.", code="no_raw")
    started = time.monotonic()
    who, where = job.DataRef.to(target), job.DataRef.to(scene, "scenes")
    motions = raw_motion.motions_of(applying.stored_action(target))
    # As the settings are now: they may change while the worker is at it.
    finished = [applying.finished_by(target, _fps(scene, one)) for one in motions]
    client, results = get_client(settings.worker()), []
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        for number, motion in enumerate(motions):
            output = Path(folder) / f"{number}.npz"
            yield client.request("finish", _request(scene, target, motion, output))
            target, scene = who.find(), where.find()
            results.append(read_motion(output))
    if reason := rig.why_not(target):
        raise WorkerError(f"{reason}.", hint="Nothing was changed.", code="bad_character")
    details: list[str] = []
    for motion, result, word in zip(motions, results, finished, strict=True):
        last = motion.first + len(result.weights) - 1
        line = keying.Line(motion.speech, motion.first, last)
        keyed = applying.key_motion(target, result, line)
        counts = {"keys": keyed.keys, "dense": keyed.dense, "error": keyed.error}
        applying.store(keyed, motions, replace(motion, finished=word, **counts))
        details += applying.kept_by(keyed)
    applying.show(scene)
    seconds = time.monotonic() - started
    return job.Outcome(
        f"{target.name}: finished again ({seconds:.2f} s)",
        tuple(details),
    )


def lift_steps(
    scene: bpy.types.Scene, target: bpy.types.Object | None, settings: preferences.Settings
) -> job.Steps:
    """Move keys that were edited in the speech itself to the correction layer.

    What the keys were before is found by finishing again as it was done then.

    Raises:
        WorkerError: if nothing was edited, or it cannot be known.
    """
    reason = why_not(target)
    if not reason and not any(keying.edits_of(block) for block in applying.blocks_of(target)):
        reason = f"No keys of “{target.name}” were edited since they were made"
    if reason or target is None:
        raise WorkerError(f"{reason}.", hint="Nothing was changed.", code="no_edits")
    who, where = job.DataRef.to(target), job.DataRef.to(scene, "scenes")
    motions = raw_motion.motions_of(applying.stored_action(target))
    client, results = get_client(settings.worker()), []
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        for number, motion in enumerate(motions):
            output = Path(folder) / f"{number}.npz"
            finishing, fps = applying.finished_as(motion.finished)
            params = {"raw": str(_file_of(motion)), "fps": fps, "finishing": finishing}
            yield client.request("finish", {**params, "output": str(output)})
            results.append(read_motion(output))
        target, scene = who.find(), where.find()
    slack = finish.error_bound(properties.of(target).keys) + 1e-4
    lifted, details = 0, []
    for motion, result in zip(motions, results, strict=True):
        clean: dict[bpy.types.ID, dict[keying.Place, Any]] = {}
        for curve in rig.rig_for(target, result.space).curves(result):
            clean.setdefault(curve.datablock, {})[curve.place] = curve.values
        for block, values in clean.items():
            title = f"{target.name} corrections"
            lifted += keying.lift_edits(block, values, motion.first, slack, title)
        last = motion.first + len(result.weights) - 1
        line = keying.Line(motion.speech, motion.first, last)
        keyed = applying.key_motion(target, result, line)
        applying.store(keyed, motions, motion)
        details += applying.kept_by(keyed)
    applying.show(scene)
    return job.Outcome(
        f"{target.name}: edits of {lifted} curves are on the correction layer", tuple(details)
    )


def _request(
    scene: bpy.types.Scene, target: bpy.types.Object, motion: Stored, output: Path
) -> dict[str, Any]:
    fps = _fps(scene, motion)
    return {
        "raw": str(_file_of(motion)),
        "fps": fps,
        "finishing": finish.as_params(properties.of(target).finish, fps),
        "output": str(output),
    }


def _fps(scene: bpy.types.Scene, motion: Stored) -> float:
    """Frames of the scene in a second of the speech."""
    return frame_rate(scene) / motion.speed


def _file_of(motion: Stored) -> Path:
    """Its raw motion, as a file for the worker."""
    global _folder
    if _folder is None or not Path(_folder.name).is_dir():
        _folder = tempfile.TemporaryDirectory(prefix="idiolect-raw-")
    name = hashlib.sha1(motion.raw, usedforsecurity=False).hexdigest()
    path = Path(_folder.name) / f"{name}.npz"
    if not path.exists():
        path.write_bytes(motion.raw)
    return path
