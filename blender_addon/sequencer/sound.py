"""The speech in the sequencer, and a frame range that it fits into.

Never changed: the frame rate, and strips that the artist made. The playback sync mode is set to
*Sync to Audio* only where this add-on brings the scene its first sound, because Blender's default
lets the picture fall behind the voice; where sounds are there already, the artist has chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from .strips import handles

OWNER = "idiolect"
"""Custom property of strips that this add-on made: the mark of the character that speaks."""


@dataclass(frozen=True)
class Placed:
    """A speech in the sequencer, or the reason why it is not there."""

    strip: Any = None
    reason: str = ""
    new_editor: bool = False
    first_sound: bool = False


def lies_there(scene: bpy.types.Scene, speech: str, first: int, last: int, owner: str) -> bool:
    """Whether a strip of this character plays just that already. It then stays: in playback a new
    one would be heard to begin, and it may have a volume of the artist's.
    """
    if scene.sequence_editor is None or not owner:
        return False
    return any(
        strip.get(OWNER) == owner
        and strip.sound is not None
        and strip.sound.filepath == speech
        and handles(strip)[0] == first
        and abs(handles(strip)[1] - last) <= 1
        for strip in _strips(scene.sequence_editor)
    )


def place(scene: bpy.types.Scene, speech: str, first: int) -> Placed:
    """Put a speech into the sequencer. What else lies there is left alone until ``settle``.

    Args:
        scene: where.
        speech: the file, as the artist wrote it: a path relative to the .blend stays so.
        first: frame at which it starts.
    """
    if not bpy.app.build_options.audaspace:  # type: ignore[attr-defined]
        return Placed(reason="This build of Blender has no audio: no sound in the sequencer.")
    new_editor = scene.sequence_editor is None
    strips = _strips(scene.sequence_editor or scene.sequence_editor_create())
    first_sound = not any(strip.type == "SOUND" for strip in strips)
    channel = max((strip.channel for strip in strips), default=0) + 1
    try:
        strip = strips.new_sound(Path(speech).stem, speech, channel, first)
    except RuntimeError as error:
        if new_editor:
            scene.sequence_editor_clear()
        return Placed(reason=f"The speech is not in the sequencer: {str(error).strip()}")
    return Placed(strip, new_editor=new_editor, first_sound=first_sound)


def withdraw(scene: bpy.types.Scene, placed: Placed) -> None:
    """Take back what ``place`` did."""
    if placed.strip is not None:
        _remove(scene, placed.strip)
        if placed.new_editor:
            scene.sequence_editor_clear()


def settle(scene: bpy.types.Scene, placed: Placed, last: int, owner: str) -> None:
    """Let the new strip stay: earlier ones of this character that it replaces go.

    Those are the ones of the same speech, and those in whose time it speaks.

    Args:
        scene: where.
        placed: what ``place`` returned.
        last: last frame of the motion.
        owner: mark of the character.
    """
    strip = placed.strip
    if strip is None:
        return
    first, _ = handles(strip)
    for other in [s for s in _strips(scene.sequence_editor) if s.get(OWNER) == owner]:
        start, end = handles(other)
        if (start <= last and first < end) or other.sound.filepath == strip.sound.filepath:
            channel = other.channel
            _remove(scene, other)
            strip.channel = channel
    strip.name = Path(strip.sound.filepath).stem
    strip[OWNER] = owner
    if placed.first_sound and scene.sync_mode == "NONE":
        scene.sync_mode = "AUDIO_SYNC"


def make_room(scene: bpy.types.Scene, first: int, last: int) -> None:
    """Widen the frame range so that the speech fits in; it is never narrowed."""
    scene.frame_start = max(0, min(scene.frame_start, first))
    scene.frame_end = max(scene.frame_end, last)


def _strips(editor: Any) -> Any:
    """All strips of the sequencer, in the collection that also makes new ones."""
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def _remove(scene: bpy.types.Scene, strip: Any) -> None:
    sound = strip.sound
    _strips(scene.sequence_editor).remove(strip)
    if sound is not None and sound.users == 0:
        bpy.data.sounds.remove(sound)
