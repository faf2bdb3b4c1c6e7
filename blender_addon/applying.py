"""What happens in the scene with a motion that has arrived: keys on the face, sound beside it."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import bpy

from . import keying, properties, rig, sound
from .worker.motion_file import Motion
from .worker.protocol import WorkerError

if TYPE_CHECKING:
    from .animation import Task


def apply(task: Task, motion: Motion) -> list[str]:
    """Key the motion and place its sound: all of it, or nothing.

    Returns:
        What the artist should know.

    Raises:
        WorkerError: if the character or the scene is gone, or cannot speak any more.
    """
    target, scene = task.character.find(), task.scene.find()
    if reason := rig.why_not(target):
        raise WorkerError(f"{reason}.", hint="Nothing was changed.", code="bad_character")
    actor = rig.rig_of(target)
    last = task.start_frame + len(motion.weights) - 1
    # A strip that the artist laid down is the sound already.
    placed = sound.Placed() if task.strip else sound.place(scene, task.speech, task.start_frame)
    try:
        keyed = keying.key_curves(
            actor.curves(motion),
            keying.Line(str(Path(bpy.path.abspath(task.speech))), task.start_frame, last),
            f"{target.name} speech {Path(task.speech).stem}",
        )
    except BaseException:
        sound.withdraw(scene, placed)
        raise
    sound.settle(scene, placed, last, mark_of(target))
    sound.make_room(scene, task.start_frame, last)
    scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)  # so that it shows
    details = [placed.reason] if placed.reason else []
    details += [f"Kept: the Action “{name}”, which was here before." for name in keyed.kept]
    details += [f"{note}." for note in actor.notes]
    return details


def mark_of(target: bpy.types.Object) -> str:
    """The character's mark; a copy of a character gets one of its own."""
    settings = properties.of(target)
    taken = {properties.of(other).mark for other in bpy.data.objects if other != target}
    if not settings.mark or settings.mark in taken:
        settings.mark = uuid.uuid4().hex
    return settings.mark
