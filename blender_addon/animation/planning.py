"""What a character's settings ask for, with a script's options in their place.

The one bridge from settings to ``task.Task``: the button, the live update and scripts use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy

from .. import preferences, properties
from ..jobs import job
from ..sequencer import strips
from ..sequencer.clock import Clock, frame_rate
from ..worker.protocol import WorkerError
from . import applying, reference, speaking, tracks
from .task import Emotion, Task, plan

ALIGNMENTS = (".textgrid", ".csv")
"""Suffixes of transcripts that hold times as well as words."""


def of_character(
    scene: bpy.types.Scene,
    target: bpy.types.Object | None,
    given: Mapping[str, Any] | None = None,
    *,
    reuse: bool = False,
) -> Task:
    """What the settings of a character ask for.

    Args:
        scene: where.
        target: who speaks; its settings count.
        given: options that come before the settings, by the names that the operator
            ``idiolect.animate`` has for them: ``speech``, ``strip``, ``start_frame``, ``style``,
            ``reference_action``, ``style_b``, ``mix``, ``emotion`` and so on.
        reuse: whether a reference that was sampled before may be taken as it was then.

    Raises:
        WorkerError: if what they ask for is not there, or cannot be.
    """
    given = given or {}
    fps = frame_rate(scene)
    settings = properties.of(target) if target is not None else None
    speech, start, part = _spoken(scene, settings, given)
    clock = Clock(part.start_frame if part else start, fps, part.speed if part else 1.0)
    style = reference.Manner(
        _reference(scene, settings, given, "", fps, reuse=reuse),
        _reference(scene, settings, given, "_b", fps, reuse=reuse),
        _track(target, given, "mix", 0.0, clock),
        _track(target, given, "strength", 1.0, clock),
    )
    transcript, alignment = _words(settings, given)
    return plan(
        scene,
        target,
        speech,
        start,
        style,
        emotion=_emotion(scene, target, given, clock, reuse=reuse),
        part=part,
        transcript=transcript,
        alignment=alignment,
        accurate=_said(settings, given, "accurate", False),
        from_settings=not given,
    )


def again(scene: bpy.types.Scene, target: bpy.types.Object) -> job.Steps | None:
    """For ``live``: the steps to what the settings ask for now, if that is something new.

    Only in another manner: another speech waits for the button.
    """
    settings = properties.of(target)
    try:
        task = of_character(scene, target, reuse=True)
    except WorkerError as error:
        if error.code in ("missing_speech", "bad_strip"):
            return None
        raise
    digest = task.digest
    if settings.made_of.split(" ")[0] != digest.split(" ")[0]:
        return None
    # What the keys say counts. Undo restores an Action only if a step of undo knows it as changed,
    # and keys that came after the slider's step are in none.
    action = applying.stored_action(target)
    if action is not None and action.get(speaking.MADE_OF) == digest:
        return None
    return speaking.steps(task, preferences.of(bpy.context))


def style_of(scene: bpy.types.Scene, target: bpy.types.Object) -> reference.Manner:
    """A character's style as it stands at this frame: Mix and Strength are numbers."""
    settings, fps = properties.of(target), frame_rate(scene)
    return reference.Manner(
        reference.as_reference(settings.style_a, scene, fps),
        reference.as_reference(settings.style_b, scene, fps)
        if settings.mix > 0.0
        else reference.Reference(),
        settings.mix,
        settings.strength,
    )


def _said(settings: Any, given: Mapping[str, Any], name: str, default: Any) -> Any:
    """A script's word, else the settings'."""
    if name in given:
        return given[name]
    return getattr(settings, name) if settings is not None else default


def _spoken(
    scene: bpy.types.Scene, settings: Any, given: Mapping[str, Any]
) -> tuple[str, int, strips.Spoken | None]:
    """Speech file and start frame, or the part of a file that a strip plays."""
    start = _said(settings, given, "start_frame", 1)
    wants_strip = settings is not None and settings.speech_source == "STRIP"
    if "strip" in given or ("speech" not in given and wants_strip):
        part = strips.spoken_in(scene, _said(settings, given, "strip", ""))
        return part.file, part.start_frame, part
    return _said(settings, given, "speech", ""), start, None


def _reference(
    scene: bpy.types.Scene,
    settings: Any,
    given: Mapping[str, Any],
    which: str,
    fps: float,
    *,
    reuse: bool,
) -> reference.Reference:
    """Style A (``which`` is empty) or B (``_b``)."""
    kind = given.get(f"reference_kind{which}", "")
    for other, name in (("FILE", "file"), ("ACTION", "action"), ("MESH", "mesh")):
        value = given.get(f"reference_{name}{which}")
        if kind == other or (not kind and value is not None):
            if other == "FILE":
                return reference.from_file(value or "")
            if other == "ACTION":
                return reference.from_action(bpy.data.actions.get(value or ""), fps)
            return reference.from_mesh(scene, bpy.data.objects.get(value or ""), fps)
    if kind == "STYLE" or f"style{which}" in given or settings is None:
        return reference.ready_made(given.get(f"style{which}", ""))
    if which and not uses_b(settings, given):
        return reference.Reference()
    return reference.as_reference(
        settings.style_b if which else settings.style_a, scene, fps, reuse=reuse
    )


def uses_b(settings: Any, given: Mapping[str, Any] | None = None) -> bool:
    """Whether style B has a say: it need not be a good one while Mix stands at A."""
    mix = (given or {}).get("mix", settings.mix)
    return mix > 0.0 or tracks.is_keyframed(settings.id_data, "idiolect.mix")


def _track(
    target: bpy.types.Object | None,
    given: Mapping[str, Any],
    name: str,
    default: float,
    clock: Clock,
) -> tracks.Track:
    if name in given:
        return float(given[name])
    return default if target is None else tracks.track(target, f"idiolect.{name}", clock)


def _emotion(
    scene: bpy.types.Scene,
    target: bpy.types.Object | None,
    given: Mapping[str, Any],
    clock: Clock,
    *,
    reuse: bool,
) -> Emotion:
    if "emotion" in given:
        changes = tracks.changes_of_text(given["emotion"], scene, clock)
        return tracks.emotions_of_changes(changes) if changes else None
    if target is None:
        return None
    settings = properties.of(target)
    emotion = settings.emotion
    if emotion.source == "LIST" and len(emotion.changes):
        changes = tracks.changes_of_list(emotion.changes, scene, clock)
        return tracks.emotions_of_changes(changes)
    if emotion.source == "SLIDERS":
        return tracks.emotions_of_sliders(target, emotion, "idiolect.emotion.", clock)
    if emotion.source != "REFERENCE":
        return None
    choice = {"A": settings.style_a, "B": settings.style_b, "OTHER": emotion.other}
    clip = reference.as_reference(choice[emotion.reference], scene, clock.fps, reuse=reuse)
    if not clip.has_motion:
        raise WorkerError(
            "A ready-made or saved style is a manner without an emotion of its own.",
            hint="Take the emotion from a clip: an Action, a mesh, or a motion file.",
            code="bad_emotion",
            setting="emotion",
        )
    return clip


def _words(settings: Any, given: Mapping[str, Any]) -> tuple[str, str]:
    """The transcript, and the file of words with times.

    Raises:
        WorkerError: if the file cannot be read.
    """
    if "transcript" in given and "transcript_file" not in given:
        return given["transcript"], ""
    written = _said(settings, given, "transcript_file", "")
    if not written:
        return _said(settings, given, "transcript", ""), ""
    path = Path(preferences.absolute(written)).absolute()
    try:
        if path.suffix.lower() in ALIGNMENTS and path.is_file():
            return "", str(path)
        return path.read_text(encoding="utf-8-sig"), ""
    except (OSError, UnicodeDecodeError) as error:
        raise WorkerError(
            f"The transcript cannot be read: {path}.",
            hint="Choose a text file (UTF-8), a TextGrid or a CSV file, or clear the field.",
            code="bad_transcript",
            setting="transcript",
        ) from error
