"""What is stored in the .blend: a character's speech and style, and which character is chosen."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from ..sequencer import strips
from . import emotion, finish, rig
from .emotion import IdiolectEmotion
from .finish import IdiolectFinish, IdiolectKeys
from .options import OVERRIDABLE, PATH_OPTIONS, live_update
from .style import IdiolectStyle

SPEECH_SOURCES = (
    ("FILE", "File", "An audio file, which is placed in the sequencer"),
    ("STRIP", "Strip", "A sound strip that lies in the sequencer: trimmed and moved as you like"),
)


def _is_mesh(_self: object, candidate: bpy.types.Object) -> bool:
    return candidate.type == "MESH"


def _sound_strips(_self: object, context: bpy.types.Context, _typed: str) -> list[str]:
    return [strip.name for strip in strips.sounds(context.scene)]


class IdiolectCharacter(bpy.types.PropertyGroup):
    """What a character says, and how. Lives on the character's object."""

    # What is said, and when.
    speech_source: EnumProperty(
        name="Source",
        description="Where the speech comes from",
        items=SPEECH_SOURCES,
        override=OVERRIDABLE,
    )
    speech: StringProperty(
        name="Speech",
        description="What the character says: an audio file (wav, flac, mp3, ogg, m4a, …)",
        subtype="FILE_PATH",
        options=PATH_OPTIONS,
        override=OVERRIDABLE,
    )
    strip: StringProperty(
        name="Strip",
        description="A sound strip of the sequencer. Its place, trimming and speed count",
        search=_sound_strips,
        override=OVERRIDABLE,
    )
    start_frame: IntProperty(
        name="Start Frame",
        description="Frame at which the speech starts",
        default=1,
        override=OVERRIDABLE,
    )
    transcript: StringProperty(
        name="Transcript",
        description="The words that are spoken (English). They make lip closures more certain."
        " Empty: the speech is heard without",
        override=OVERRIDABLE,
    )
    transcript_file: StringProperty(
        name="Transcript File",
        description="The words in a text file, or with their times in a TextGrid or CSV file",
        subtype="FILE_PATH",
        options=PATH_OPTIONS,
        override=OVERRIDABLE,
    )
    accurate: BoolProperty(
        name="Accurate",
        description="Recognise the words first (English): slower, with more certain lip closures."
        " Not needed with a transcript",
        override=OVERRIDABLE,
    )

    # In whose manner, and how it is felt.
    style_a: PointerProperty(type=IdiolectStyle, name="Style A", override=OVERRIDABLE)
    style_b: PointerProperty(type=IdiolectStyle, name="Style B", override=OVERRIDABLE)
    mix: FloatProperty(
        name="Mix",
        description="From style A (0) to style B (1). May be keyframed",
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        override=OVERRIDABLE,
        update=live_update,
    )
    strength: FloatProperty(
        name="Strength",
        description="How much of the style: 0 is an average manner, 1 the style as it was captured,"
        " 2 a caricature. May be keyframed",
        min=0.0,
        max=2.0,
        default=1.0,
        subtype="FACTOR",
        override=OVERRIDABLE,
        update=live_update,
    )
    emotion: PointerProperty(type=IdiolectEmotion, name="Emotion", override=OVERRIDABLE)

    # What happens with it in the scene.
    finish: PointerProperty(type=IdiolectFinish, name="Finish", override=OVERRIDABLE)
    keys: PointerProperty(type=IdiolectKeys, name="Keys", override=OVERRIDABLE)

    live: BoolProperty(
        name="Live",
        description="Show changes of style and emotion at once, in the animation that is there",
        default=True,
        override=OVERRIDABLE,
    )
    made_of: StringProperty(
        name="Made Of",
        description="By which it is known whether the animation is what the settings ask for",
        options={"HIDDEN"},
        override=OVERRIDABLE,
    )
    rig: PointerProperty(type=rig.IdiolectRig, override=OVERRIDABLE)
    mark: StringProperty(
        name="Mark",
        description="By which this character's strips in the sequencer are known",
        options={"HIDDEN"},
        override=OVERRIDABLE,
    )


class IdiolectScene(bpy.types.PropertyGroup):
    """Which character the panel is about."""

    character: PointerProperty(
        name="Character",
        description="The mesh that speaks. Empty: the active object",
        type=bpy.types.Object,
        poll=_is_mesh,
    )
    show_ribbon: BoolProperty(
        name="Show in Timeline",
        description="Draw the speech and its emotions along the bottom of the timeline, the dope"
        " sheet and the sequencer",
        default=True,
    )


CLASSES = (
    *rig.CLASSES,
    IdiolectStyle,
    *emotion.CLASSES,
    *finish.CLASSES,
    IdiolectCharacter,
    IdiolectScene,
)


def register() -> None:
    """Add the properties to Blender's objects and scenes."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Object.idiolect = PointerProperty(  # type: ignore
        type=IdiolectCharacter, name="Idiolect", override=OVERRIDABLE
    )
    bpy.types.Scene.idiolect = PointerProperty(type=IdiolectScene)  # type: ignore


def unregister() -> None:
    """Take them away again; what a .blend holds of them stays in it."""
    del bpy.types.Scene.idiolect  # type: ignore
    del bpy.types.Object.idiolect  # type: ignore
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)


def of(target: bpy.types.Object) -> IdiolectCharacter:
    """What a character says, and how: what Blender's own types do not know of."""
    return target.idiolect  # type: ignore[attr-defined]


def of_scene(scene: bpy.types.Scene) -> IdiolectScene:
    """Which character a scene's panel is about."""
    return scene.idiolect  # type: ignore[attr-defined]


def character_of(context: bpy.types.Context) -> bpy.types.Object | None:
    """The character that the panel and the operators are about, if there is one."""
    chosen = of_scene(context.scene).character
    # A deleted object lives on as long as this pointer holds it; it is in no scene, and gone.
    if chosen is not None and chosen.name in context.scene.objects:
        return chosen
    active = context.active_object
    return active if active is not None and active.type == "MESH" else None
