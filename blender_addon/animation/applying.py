"""What happens in the scene with a motion that has arrived: keys on the face, sound beside it, and
the raw motion stored, so that it can be finished again.
"""

from __future__ import annotations

import ast
import uuid
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from .. import keying, properties, rig
from ..keying import reduction
from ..properties import finish
from ..sequencer import sound
from ..worker.motion_file import Motion
from ..worker.protocol import WorkerError
from . import raw_motion
from .raw_motion import Stored

if TYPE_CHECKING:
    from .task import Task


def apply(task: Task, motion: Motion, raw: bytes = b"") -> list[str]:
    """Key the motion and place its sound: all of it, or nothing.

    Args:
        task: what was asked for.
        motion: what came of it, finished.
        raw: the worker's file of raw motion, to be stored; empty: nothing is.

    Returns:
        What the artist should know.

    Raises:
        WorkerError: if the character or the scene is gone, or cannot speak any more.
    """
    target, scene = task.character.find(), task.scene.find()
    if reason := rig.why_not(target):
        raise WorkerError(f"{reason}.", hint="Nothing was changed.", code="bad_character")
    line = line_of(task, len(motion.weights))
    earlier = raw_motion.motions_of(stored_action(target))
    _check_mixable(target, task, earlier, raw)
    # A strip that the artist laid down is the sound already, and a range has its sound.
    mark = properties.of(target).mark
    sounding = (
        task.strip or task.span or sound.lies_there(scene, task.speech, line.first, line.last, mark)
    )
    placed = sound.Placed() if sounding else sound.place(scene, task.speech, task.start_frame)
    try:
        keyed = key_motion(target, motion, line, task.span)
    except BaseException:  # Esc too: nothing half-made stays
        sound.withdraw(scene, placed)
        raise
    if raw:
        fps = task.fps / task.speed
        new = Stored(
            line.speech, line.first, task.speed, raw, finished_by(target, fps, task.finishing)
        )
        new = replace(new, keys=keyed.keys, dense=keyed.dense, error=keyed.error)
        store(keyed, earlier, _mixed(target, task, earlier, new))
    sound.settle(scene, placed, line.last, mark_of(target))
    sound.make_room(scene, line.first, line.last)
    show(scene)
    details = [placed.reason] if placed.reason else []
    details += kept_by(keyed)
    details += [f"{note}." for note in rig.rig_of(target).notes]
    return details


def within(task: Task, span: tuple[int, int]) -> Task:
    """The same task, for some frames only of an animation that is there.

    Raises:
        WorkerError: if there is none, or it has none of these frames.
    """
    target = task.character.find()
    wanted = line_of(task, 1)
    lines = [keying.lines_of(keying.speech_action(block)) for block in blocks_of(target)]
    there = [o for o in chain(*lines) if (o.speech, o.first) == (wanted.speech, wanted.first)]
    if not there:
        raise WorkerError(
            f"“{target.name}” does not say this speech from frame {task.start_frame} yet.",
            hint="Press Animate from Speech first, then animate ranges of it anew.",
            code="bad_range",
        )
    first, last = max(span[0], there[0].first), min(span[1], there[0].last)
    if last - first < 2:
        raise WorkerError(
            f"Frames {span[0]}–{span[1]} have no three frames of the speech in them,"
            f" which goes from {there[0].first} to {there[0].last}.",
            hint="Choose another preview range.",
            code="bad_range",
        )
    return replace(task, span=(first, last), from_settings=False)


def spoken_blocks(target: bpy.types.Object | None) -> list[bpy.types.ID]:
    """The data-blocks that have speech on them.

    Raises:
        WorkerError: if there are none.
    """
    blocks = [] if target is None else blocks_of(target)
    spoken = [block for block in blocks if keying.speech_action(block) is not None]
    if not spoken:
        name = f"“{target.name}”" if target is not None else "The character"
        raise WorkerError(
            f"{name} has no animated speech.",
            hint="Press Animate from Speech first.",
            code="no_speech",
        )
    return spoken


def line_of(task: Task, frames: int) -> keying.Line:
    """The speech of a task within an Action, for motion of so many frames."""
    speech = str(Path(bpy.path.abspath(task.speech)))
    return keying.Line(speech, task.start_frame, task.start_frame + frames - 1)


def key_motion(
    target: bpy.types.Object,
    motion: Motion,
    line: keying.Line,
    span: tuple[int, int] | None = None,
) -> keying.Keyed:
    """Key finished motion in the manner that the character's settings ask for."""
    settings = properties.of(target).keys
    manner = keying.Manner(
        on_layer=settings.placement == "NLA",
        bound=finish.error_bound(settings),
        closures=reduction.closures(motion.channels, motion.weights),
        span=span,
        fade=settings.fade,
        holds=finish.holds(settings),
    )
    name = f"{target.name} speech {Path(line.speech).stem}"
    actor = rig.rig_for(target, motion.space)
    return keying.key_curves(actor.curves(motion), line, name, manner)


def kept_by(keyed: keying.Keyed) -> list[str]:
    """What keying has kept, in words for the artist."""
    return [
        *(f"Kept: the Action “{name}”, which was here before." for name in keyed.kept),
        *(
            f"Keys that you had edited are kept in the Action “{name}”. Edits on a correction layer"
            " stay where they are."
            for name in keyed.edited
        ),
    ]


def store(keyed: keying.Keyed, earlier: list[Stored], *motions: Stored) -> None:
    """Store motions with the Action that plays them; it may be another one than before."""
    action = bpy.data.actions[keyed.actions[0]]
    new = {one.speech for one in motions}
    have = {one.speech for one in raw_motion.motions_of(action)}
    for motion in (*(one for one in earlier if one.speech not in new | have), *motions):
        raw_motion.keep(action, motion)


def stored_action(target: bpy.types.Object) -> bpy.types.Action | None:
    """The Action that holds a character's raw motion, if there is one."""
    found = (keying.speech_action(block) for block in blocks_of(target))
    return next((action for action in found if action and raw_motion.has_any(action)), None)


def blocks_of(target: bpy.types.Object) -> list[bpy.types.ID]:
    """The data-blocks that speech animates on a character."""
    actor = rig.rig_of(target)
    owners = [control.at.owner for control in actor.controls]
    armatures = [turn.armature for turn in actor.turns]
    if rig.speaks_flame(target) and (armature := rig.armature_of(target)) is not None:
        armatures.append(armature)  # its jaw, where motion is FLAME's own
    return list(dict.fromkeys([*owners, *armatures]))


def finished_by(
    target: bpy.types.Object, fps: float, finishing: dict[str, Any] | None = None
) -> str:
    """All settings that finished motion and its keys depend on, as text.

    Args:
        target: the character.
        fps: frames of the scene in a second of the speech.
        finishing: what the worker was told; None: what it would be told now.
    """
    settings = properties.of(target)
    keys = settings.keys
    regions = (keys.lower_face, keys.upper_face, keys.head)
    bound = round(finish.error_bound(keys), 6)
    told = finishing or finish.as_params(settings.finish, fps)
    return repr((told, fps, keys.placement, bound, regions))


def finished_as(text: str) -> tuple[dict[str, Any], float]:
    """From such text: what the worker was told, and the frame rate.

    Raises:
        WorkerError: if it is no such text.
    """
    try:
        finishing, fps, *_ = ast.literal_eval(text)
        return dict(finishing), float(fps)
    except (ValueError, TypeError, SyntaxError) as error:
        raise WorkerError(
            "It is not known how this motion was finished.",
            hint="Press Finish Again first.",
            code="bad_raw",
        ) from error


def show(scene: bpy.types.Scene) -> None:
    """Let the scene show its new keys."""
    scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)


def mark_of(target: bpy.types.Object) -> str:
    """The character's mark; a copy of a character gets one of its own."""
    settings = properties.of(target)
    taken = {properties.of(other).mark for other in bpy.data.objects if other != target}
    if not settings.mark or settings.mark in taken:
        settings.mark = uuid.uuid4().hex
    return settings.mark


def _kept_beside(
    target: bpy.types.Object, task: Task, earlier: list[Stored], speech: str
) -> Stored | None:
    """The earlier motion of a speech that stays beside a range, or in regions that are held."""
    keys = properties.of(target).keys
    if task.span is None and keys.lower_face and keys.upper_face and keys.head:
        return None
    return next((one for one in earlier if one.speech == speech), None)


def _check_mixable(target: bpy.types.Object, task: Task, earlier: list[Stored], raw: bytes) -> None:
    """Refuse to put motion of one space beside motion of another.

    Raises:
        WorkerError: code "bad_range".
    """
    old = _kept_beside(target, task, earlier, line_of(task, 1).speech)
    if raw and old is not None and not raw_motion.alike(old.raw, raw):
        raise WorkerError(
            "The speech was animated by a model of another motion space, and the two cannot be"
            " mixed.",
            hint="Nothing was changed. Animate all of it anew, all regions, or choose that model.",
            code="bad_range",
        )


def _mixed(target: bpy.types.Object, task: Task, earlier: list[Stored], new: Stored) -> Stored:
    """New raw motion, with the earlier one beside a range, and in regions that are held."""
    old = _kept_beside(target, task, earlier, new.speech)
    if old is None:
        return new
    keys = properties.of(target).keys
    span_s, fps = None, task.fps / task.speed
    if task.span is not None:
        begin = new.first + properties.of(target).finish.offset
        span_s = ((task.span[0] - begin) / fps, (task.span[1] - begin) / fps)
        new = replace(new, dense=old.dense, error=max(old.error, new.error))
    raw = raw_motion.merged(old.raw, new.raw, finish.holds(keys), span_s, keys.fade / fps)
    return replace(new, raw=raw)
