"""A sound strip of the sequencer as speech: what part of its file is heard, when, and how fast.

Convention: strips count frames of the scene. A strip's content may begin before its left handle
(trimmed) or after it (the strip was pulled out over silence).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from ..worker.protocol import WorkerError
from .clock import frame_rate

_SHORTEST_S = 0.05


@dataclass(frozen=True)
class Spoken:
    """What is heard of a sound file, and when.

    Attributes:
        file: the file, as the artist wrote it.
        start_frame: frame of the scene at which it begins.
        start_s: second of the file that is heard then.
        duration_s: seconds of the file that are heard; None: up to its end.
        speed: seconds of the file that go by in one second of the scene.
        strip: name of the strip that it comes from; empty: a plain file.
    """

    file: str
    start_frame: int
    start_s: float = 0.0
    duration_s: float | None = None
    speed: float = 1.0
    strip: str = ""


def sounds(scene: bpy.types.Scene) -> list[Any]:
    """The sound strips of a scene, those within metastrips included, in the order of time."""
    editor = scene.sequence_editor
    found = getattr(editor, "strips_all", None) or getattr(editor, "sequences_all", ())
    return sorted((s for s in found if s.type == "SOUND"), key=lambda strip: handles(strip)[0])


def spoken_in(scene: bpy.types.Scene, name: str) -> Spoken:
    """What a strip of this name says.

    Raises:
        WorkerError: if there is none, or it is muted, empty, or of changing speed.
    """
    if reason := why_unusable(scene, name):
        raise _unusable(f"{reason}.", "Choose a sound strip that can be heard, or a file.")
    strip = next(strip for strip in sounds(scene) if strip.name == name)
    fps = frame_rate(scene)
    left, right = handles(strip)
    begin, length = _content(strip)
    first = max(left, begin)
    start_frame = int(-(-first // 1))  # the first whole frame
    end = min(right, begin + length)
    speed = _speed(scene, strip)
    start_s = (start_frame - begin) / fps * speed + getattr(strip, "sound_offset", 0.0)
    duration_s = (end - start_frame) / fps * speed
    if duration_s < _SHORTEST_S:
        raise _unusable(f"Nothing is heard of the strip “{name}”.", "Move its handles apart.")
    return Spoken(strip.sound.filepath, start_frame, max(0.0, start_s), duration_s, speed, name)


def why_unusable(scene: bpy.types.Scene, name: str) -> str:
    """Why a strip of this name says nothing; empty if it speaks."""
    if not name:
        return "Choose a sound strip of the sequencer"
    strip = next((strip for strip in sounds(scene) if strip.name == name), None)
    if strip is None or strip.sound is None:
        return f"The sequencer has no sound strip “{name}”"
    part: Any = strip
    while part is not None:
        if part.mute:
            return f"The strip “{part.name}” is muted"
        outer = part.parent_meta()
        channel = (outer or scene.sequence_editor).channels[part.channel]
        if channel.mute:
            return f"The channel “{channel.name}” of the sequencer is muted"
        part = outer
    return ""


def handles(strip: Any) -> tuple[float, float]:
    """First frame of a strip, and the frame after its last."""
    if hasattr(strip, "left_handle"):  # from Blender 5.2 on; the other names go in 6.0
        return strip.left_handle, strip.right_handle
    return strip.frame_final_start, strip.frame_final_end


def _content(strip: Any) -> tuple[float, float]:
    """Frame at which the file begins, and how many frames it fills at the strip's speed."""
    if hasattr(strip, "content_start"):
        return strip.content_start, strip.content_duration
    return strip.frame_start, strip.frame_duration


def _speed(scene: bpy.types.Scene, strip: Any) -> float:
    """How fast the file is played.

    Raises:
        WorkerError: if the speed changes within the strip.
    """
    keys = [key.timeline_frame for key in getattr(strip, "retiming_keys", ())]
    if not keys:
        return 1.0
    if len(keys) > 2:
        raise _unusable(
            f"The speed of the strip “{strip.name}” changes on its way.",
            "Clear its retiming but for one speed, or mix it down to a file of its own.",
        )
    return max(_whole_frames(scene, strip), 1) / max(keys[-1] - keys[0], 1)


def _whole_frames(scene: bpy.types.Scene, strip: Any) -> int:
    """How many frames the strip's file fills at its own speed: Blender tells of new strips only."""
    probe = bpy.data.scenes.new("Idiolect")
    try:
        probe.render.fps, probe.render.fps_base = scene.render.fps, scene.render.fps_base
        editor: Any = probe.sequence_editor_create()
        collection = editor.strips if hasattr(editor, "strips") else editor.sequences
        path = bpy.path.abspath(strip.sound.filepath)
        fresh = collection.new_sound(Path(path).stem, path, 1, 1)
        sound, length = fresh.sound, _content(fresh)[1]
        collection.remove(fresh)
        if sound is not strip.sound and sound.users == 0:
            bpy.data.sounds.remove(sound)
        return int(length)
    except RuntimeError as error:
        raise _unusable(f"The sound of “{strip.name}” cannot be read: {error}", "") from error
    finally:
        bpy.data.scenes.remove(probe)


def _unusable(problem: str, hint: str) -> WorkerError:
    return WorkerError(
        problem, hint=hint or "Choose an audio file.", code="bad_strip", setting="strip"
    )
