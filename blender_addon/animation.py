"""One speech onto one character: from what the scene asks for to keys, as steps of a job."""

from __future__ import annotations

import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from . import character, job, keying, preferences, properties, reference, sound
from .worker.client import get_client
from .worker.motion_file import Motion, read_motion
from .worker.protocol import WorkerError


@dataclass(frozen=True)
class Task:
    """Everything that is known when the button is pressed.

    Attributes:
        character: who speaks.
        scene: where.
        speech: the speech file, as the artist wrote it.
        start_frame: frame at which it starts.
        reference: whose manner.
        fps: the scene's frame rate; need not be whole.
    """

    character: job.DataRef
    scene: job.DataRef
    speech: str
    start_frame: int
    reference: reference.Reference
    fps: float


def frame_rate(scene: bpy.types.Scene) -> float:
    """Frames per second; 29.97 is 30 with a base of 1.001."""
    return scene.render.fps / scene.render.fps_base


def why_not(target: bpy.types.Object | None) -> str:
    """Why this object cannot speak; empty if it can."""
    if target is None:
        return "Choose a character: a mesh with ARKit shape keys, or press Add Head"
    if target.type != "MESH":
        return f"“{target.name}” is not a mesh"
    if target.data.library is not None:
        return f"“{target.name}” is linked: make a library override of it first"
    if target.mode == "EDIT":
        return f"“{target.name}” is in Edit Mode: leave it first"
    keys = character.speech_keys_of(target)
    if not keys.can_speak:
        if keys.driven:
            return f"The shape keys of “{target.name}” are moved by drivers"
        return f"“{target.name}” has no ARKit shape keys for a mouth (jawOpen, mouthClose, …)"
    return ""


def plan(
    scene: bpy.types.Scene,
    target: bpy.types.Object | None,
    speech: str,
    start_frame: int,
    style: reference.Reference,
) -> Task:
    """Check what can be checked before the worker is asked.

    Raises:
        WorkerError: if the speech is not there, or the character cannot speak.
    """
    reason = why_not(target)
    if reason:
        raise WorkerError(
            f"{reason}.",
            hint="Choose another mesh, add its speech keys, or press Add Head.",
            code="bad_character",
            setting="character",
        )
    if not speech:
        problem = "No speech is chosen."
    elif not Path(bpy.path.abspath(speech)).is_file():
        problem = f"The speech file does not exist: {bpy.path.abspath(speech)}."
    else:
        return Task(
            character=job.DataRef.to(target),
            scene=job.DataRef.to(scene, "scenes"),
            speech=speech,
            start_frame=start_frame,
            reference=style,
            fps=frame_rate(scene),
        )
    raise WorkerError(
        problem, hint="Choose an audio file that exists.", code="missing_speech", setting="speech"
    )


def steps(task: Task, settings: preferences.Settings) -> job.Steps:
    """Ask the worker for the motion, then key it. The scene changes in the last step only."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        client = get_client(settings.worker())
        output = Path(folder) / "motion.npz"
        yield client.request("animate", request(task, settings, Path(folder), output))
        preferences.remember_worker(client.info)
        motion = read_motion(output)
    details = apply(task, motion)
    last = task.start_frame + len(motion.weights) - 1
    seconds = time.monotonic() - started
    name, first = Path(task.speech).name, task.start_frame
    return job.Outcome(
        f"{task.character.name}: {name}, frames {first}–{last} ({seconds:.1f} s)",
        tuple(details),
    )


def request(
    task: Task, settings: preferences.Settings, folder: Path, output: Path
) -> dict[str, Any]:
    """What the worker's ``animate`` is asked for.

    Args:
        task: what to animate.
        settings: which model to ask.
        folder: where a sampled reference may be put, for the worker to read.
        output: where the worker shall write the motion, .npz.
    """
    return {
        "speech": str(Path(preferences.absolute(task.speech)).absolute()),
        "start_s": 0.0,
        "duration_s": None,
        "fps": task.fps,
        "style": task.reference.as_params(folder),
        "checkpoint": settings.checkpoint_path(),
        "output": str(output),
    }


def apply(task: Task, motion: Motion) -> list[str]:
    """Key the motion and place its sound: all of it, or nothing.

    Returns:
        What the artist should know.

    Raises:
        WorkerError: if the character or the scene is gone, or cannot speak any more.
    """
    target, scene = task.character.find(), task.scene.find()
    if reason := why_not(target):
        raise WorkerError(f"{reason}.", hint="Nothing was changed.", code="bad_character")
    keys = character.speech_keys_of(target)
    columns = [i for i, channel in enumerate(motion.channels) if channel in keys.names]
    last = task.start_frame + len(motion.weights) - 1
    placed = sound.place(scene, task.speech, task.start_frame)
    try:
        keyed = keying.key_motion(
            target.data.shape_keys,
            motion.weights[:, columns],
            [keys.names[motion.channels[i]] for i in columns],
            keying.Line(str(Path(bpy.path.abspath(task.speech))), task.start_frame, last),
            f"{target.name} speech {Path(task.speech).stem}",
        )
    except BaseException:
        sound.withdraw(scene, placed)
        raise
    sound.settle(scene, placed, last, _mark_of(target))
    sound.make_room(scene, task.start_frame, last)
    scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)  # so that it shows
    details = [placed.reason] if placed.reason else []
    if keyed.kept:
        details.append(f"Kept: the Action “{keyed.kept}”, which was here before.")
    if keys.driven:
        details.append(f"Not keyed, because drivers move them: {', '.join(keys.driven)}.")
    return details


def _mark_of(target: bpy.types.Object) -> str:
    """The character's mark; a copy of a character gets one of its own."""
    settings = properties.of(target)
    taken = {properties.of(other).mark for other in bpy.data.objects if other != target}
    if not settings.mark or settings.mark in taken:
        settings.mark = uuid.uuid4().hex
    return settings.mark
