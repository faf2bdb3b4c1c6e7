"""The small buttons of the Emotion panel."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, FloatProperty, IntProperty

from .. import properties
from ..jobs import live
from ..properties import character_of, transitions
from ..properties.emotion import EMOTIONS
from .common import WithCharacter


class IDIOLECT_OT_add_emotion(WithCharacter, bpy.types.Operator):
    """Add Emotion."""

    bl_idname = "idiolect.add_emotion"
    bl_label = "Add Emotion"
    bl_description = "Add a transition at the current frame"

    emotion: EnumProperty(name="Emotion", items=EMOTIONS, default="happiness")
    frame: IntProperty(name="Frame", description="Not given: the current frame")
    intensity: FloatProperty(name="Intensity", default=1.0, min=0.0, max=1.0, subtype="FACTOR")
    duration: IntProperty(name="Duration", default=18, min=0)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it, and select it."""
        target = character_of(context)
        if target is None:
            return {"CANCELLED"}
        emotion = properties.of(target).emotion
        change = emotion.changes.add()
        change.emotion, change.intensity = self.emotion, self.intensity
        given = self.properties.is_property_set("frame")
        change.frame = self.frame if given else context.scene.frame_current
        change.duration = self.duration
        emotion.source, emotion.active = "LIST", len(emotion.changes) - 1
        live.changed(target)
        return {"FINISHED"}


class IDIOLECT_OT_remove_emotion(WithCharacter, bpy.types.Operator):
    """Remove Emotion."""

    bl_idname = "idiolect.remove_emotion"
    bl_label = "Remove Emotion"
    bl_description = "Remove the selected transition"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove it."""
        target = character_of(context)
        emotion = properties.of(target).emotion if target else None
        if emotion is None or not 0 <= emotion.active < len(emotion.changes):
            return {"CANCELLED"}
        emotion.changes.remove(emotion.active)
        emotion.active = max(0, emotion.active - 1)
        live.changed(target)
        return {"FINISHED"}


class IDIOLECT_OT_key_emotions(WithCharacter, bpy.types.Operator):
    """Keyframe Emotions."""

    bl_idname = "idiolect.key_emotions"
    bl_label = "Keyframe All"
    bl_description = "Insert a keyframe for each of the eight sliders at the current frame"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Insert them."""
        target = character_of(context)
        if target is None:
            return {"CANCELLED"}
        properties.of(target).emotion.source = "SLIDERS"
        for name in transitions.EMOTIONS:
            target.keyframe_insert(f"idiolect.emotion.{name}", group="Idiolect")
        live.changed(target)
        return {"FINISHED"}


CLASSES = (IDIOLECT_OT_add_emotion, IDIOLECT_OT_remove_emotion, IDIOLECT_OT_key_emotions)
