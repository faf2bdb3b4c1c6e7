"""A character's emotion as it is stored: eight sliders to keyframe, or a list of transitions."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from . import transitions
from .options import OVERRIDABLE, live_update
from .style import IdiolectStyle

SOURCES = (
    ("NONE", "None", "The model's own choice: whatever the style brings along"),
    ("LIST", "List", "Transitions at points in time, from one emotion to the next"),
    ("SLIDERS", "Sliders", "Eight sliders that you may keyframe"),
    ("REFERENCE", "Reference", "The emotion of a reference clip"),
)
REFERENCES = (
    ("A", "Style A", "The clip that style A is copied from"),
    ("B", "Style B", "The clip that style B is copied from"),
    ("OTHER", "Another", "A clip of its own"),
)
EMOTIONS = tuple(
    (name, name.capitalize(), f"{name.capitalize()}", number)
    for number, name in enumerate(transitions.EMOTIONS)
)


def _markers(_self: object, context: bpy.types.Context, _typed: str) -> list[str]:
    return [marker.name for marker in context.scene.timeline_markers]


class IdiolectEmotionChange(bpy.types.PropertyGroup):
    """One transition: from then on this emotion, this strong."""

    emotion: EnumProperty(
        name="Emotion",
        description="What is felt from here on",
        items=EMOTIONS,
        default="happiness",
        override=OVERRIDABLE,
        update=live_update,
    )
    frame: IntProperty(
        name="Frame",
        description="Frame of the scene at which the change begins",
        default=1,
        override=OVERRIDABLE,
        update=live_update,
    )
    marker: StringProperty(
        name="Marker",
        description="A marker of the timeline at which the change begins, in place of the frame",
        search=_markers,
        override=OVERRIDABLE,
        update=live_update,
    )
    intensity: FloatProperty(
        name="Intensity",
        description="How strong it is felt. 0 ends it",
        min=0.0,
        max=1.0,
        default=1.0,
        subtype="FACTOR",
        override=OVERRIDABLE,
        update=live_update,
    )
    duration: IntProperty(
        name="Duration",
        description="Frames that the change takes",
        min=0,
        default=18,
        override=OVERRIDABLE,
        update=live_update,
    )
    ease: EnumProperty(
        name="Ease",
        description="How the change begins and ends. None of them jumps",
        items=transitions.EASES,
        override=OVERRIDABLE,
        update=live_update,
    )
    keep: BoolProperty(
        name="Mix In",
        description="Leave the emotions that are there as they are: this one joins them. Otherwise"
        " they fade as it comes",
        override=OVERRIDABLE,
        update=live_update,
    )


def _slider(number: int) -> object:
    name = transitions.EMOTIONS[number]
    return FloatProperty(
        name=name.capitalize(),
        description=f"How strong {name} is. Keyframe it to let it change; several may be up at"
        " once",
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        override=OVERRIDABLE,
        update=live_update,
    )


# Not lambdas in the annotation: until Blender 4.5 those know none of this module's names.
def _text_of(emotion: Any) -> str:
    return transitions.changes_to_text(emotion.changes)


def _fill(emotion: Any, text: str) -> None:
    transitions.fill_changes(emotion.changes, text)


class IdiolectEmotion(bpy.types.PropertyGroup):
    """What a character feels while it speaks; independent of its style."""

    source: EnumProperty(
        name="Emotion",
        description="Where the emotion comes from",
        items=SOURCES,
        override=OVERRIDABLE,
        update=live_update,
    )
    changes: CollectionProperty(
        type=IdiolectEmotionChange, override={"LIBRARY_OVERRIDABLE", "USE_INSERTION"}
    )
    active: IntProperty(description="The selected transition of the list", override=OVERRIDABLE)
    text: StringProperty(
        name="As Text",
        description="The list as one line, as scripts and presets write it",
        get=_text_of,
        set=_fill,
        options={"SKIP_SAVE", "HIDDEN"},
    )
    # One annotation for each of controls.EMOTIONS.
    neutral: _slider(0)
    happiness: _slider(1)
    anger: _slider(2)
    sadness: _slider(3)
    contempt: _slider(4)
    surprise: _slider(5)
    fear: _slider(6)
    disgust: _slider(7)
    reference: EnumProperty(
        name="Clip",
        description="Whose emotion is copied",
        items=REFERENCES,
        override=OVERRIDABLE,
        update=live_update,
    )
    other: PointerProperty(type=IdiolectStyle, override=OVERRIDABLE)


CLASSES = (IdiolectEmotionChange, IdiolectEmotion)
