"""The sidebar tab."""

from __future__ import annotations

import bpy

from . import (
    animation,
    character,
    drawing,
    installs,
    job,
    making,
    operators,
    preferences,
    properties,
    rig,
)
from .properties import character_of


class _Tab:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Idiolect"


class _CharacterTab(_Tab):
    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The settings live on the character."""
        return character_of(context) is not None


class IDIOLECT_PT_character(_Tab, bpy.types.Panel):
    """Who speaks."""

    bl_label = "Character"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout, width = self.layout, context.region.width
        if warning := installs.warning(__package__):
            drawing.say(layout, warning, "ERROR", width)
        layout.prop(properties.of_scene(context.scene), "character", text="")
        row = layout.row(align=True)
        row.operator("idiolect.add_head", text="Add Head", icon="ADD")
        row.operator("idiolect.import_flame", text="Import FLAME…", icon="IMPORT")
        target = character_of(context)
        if target is None:
            drawing.say(
                layout,
                "Pick a mesh with ARKit shape keys, add the built-in head, or import FLAME",
                "INFO",
                width,
            )
            return
        if properties.of_scene(context.scene).character is None:
            layout.label(text=f"Active: {target.name}", icon="MESH_DATA")
        actor = rig.rig_of(target)
        followed = len(character.ARKIT_KEYS) - len(actor.missing)
        layout.label(
            text="Visemes" if actor.mouth == "VISEMES" else f"{followed} of 52 speech keys",
            icon="CHECKMARK" if actor.can_speak else "ERROR",
        )
        if len(target.data.vertices) == making.FLAME_VERTICES and actor.missing:
            layout.operator("idiolect.add_speech_keys", icon="SHAPEKEY_DATA")


class IDIOLECT_PT_speech(_CharacterTab, bpy.types.Panel):
    """What is said, and when."""

    bl_label = "Speech"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        settings, column = properties.of(target), self.layout.column()
        column.prop(settings, "speech", text="")
        column.prop(settings, "start_frame")


class IDIOLECT_PT_style(_CharacterTab, bpy.types.Panel):
    """In whose manner."""

    bl_label = "Style"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        settings, column = properties.of(target), self.layout.column()
        column.row(align=True).prop(settings, "reference_kind", expand=True)
        field = {
            "STYLE": "style",
            "ACTION": "reference_action",
            "MESH": "reference_mesh",
            "FILE": "reference_file",
        }[settings.reference_kind]
        # Only texts have room for a word where nothing is chosen.
        hint = {"placeholder": "The model's usual manner"} if field == "style" else {}
        column.prop(settings, field, text="", **hint)


class IDIOLECT_PT_animate(_Tab, bpy.types.Panel):
    """The button, its progress, and how things stand."""

    bl_label = "Animate"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout, width = self.layout, context.region.width
        if job.current is not None:
            drawing.draw_progress(layout)
        else:
            button = layout.column()
            button.scale_y = 1.6
            button.operator("idiolect.animate", icon="PLAY")
            reason = _why_not(context)
            button.enabled = not reason
            if reason:
                drawing.say(layout, reason, "INFO", width)
            drawing.draw_outcome(layout, width)
        preferences.draw_status(layout, context)


def _why_not(context: bpy.types.Context) -> str:
    """Why the panel's button cannot be pressed; a script may name another character or speech."""
    target = character_of(context)
    reason = operators.IDIOLECT_OT_animate.disabled_reason(context) or animation.why_not(target)
    if reason or target is None:
        return reason
    return "" if properties.of(target).speech else "Choose a speech file"


CLASSES = (IDIOLECT_PT_character, IDIOLECT_PT_speech, IDIOLECT_PT_style, IDIOLECT_PT_animate)


def register() -> None:
    """Add the tab."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Take it away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
