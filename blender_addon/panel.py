"""The sidebar tab."""

from __future__ import annotations

import bpy

from . import (
    animation,
    character,
    drawing,
    emotion_panel,
    finish_panel,
    installs,
    job,
    live,
    making,
    operators,
    preferences,
    properties,
    rig,
    strips,
    style_panel,
)
from .properties import character_of
from .tab import CharacterTab, Tab


class IDIOLECT_PT_character(Tab, bpy.types.Panel):
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
        if actor.missing and not making.why_no_speech_keys(target):
            layout.operator("idiolect.add_speech_keys", icon="SHAPEKEY_DATA")


class IDIOLECT_PT_speech(CharacterTab, bpy.types.Panel):
    """What is said, and when."""

    bl_label = "Speech"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        settings, column = properties.of(target), self.layout.column()
        column.row(align=True).prop(settings, "speech_source", expand=True)
        if settings.speech_source == "STRIP":
            column.prop(settings, "strip", text="", icon="SEQUENCE")
        else:
            column.prop(settings, "speech", text="")
            column.prop(settings, "start_frame")
        column.separator()
        column.prop(settings, "transcript", text="", placeholder="Transcript (optional)")
        column.prop(settings, "transcript_file", text="", placeholder="…or its file")
        row = column.row()
        row.active = not (settings.transcript or settings.transcript_file)
        row.prop(settings, "accurate")


class IDIOLECT_PT_animate(Tab, bpy.types.Panel):
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
            self._live(context, width)
        preferences.draw_status(layout, context)

    def _live(self, context: bpy.types.Context, width: int) -> None:
        target = character_of(context)
        if target is None:
            return
        row = self.layout.row()
        row.prop(properties.of(target), "live")
        if live.problem is not None:
            for text in (live.problem.message, *live.problem.details):
                drawing.say(self.layout, text, "ERROR", width)


def _why_not(context: bpy.types.Context) -> str:
    """Why the panel's button cannot be pressed; a script may name another character or speech."""
    target = character_of(context)
    reason = operators.IDIOLECT_OT_animate.disabled_reason(context) or animation.why_not(target)
    if reason or target is None:
        return reason
    settings = properties.of(target)
    if settings.speech_source == "STRIP":
        return strips.why_unusable(context.scene, settings.strip)
    return "" if settings.speech else "Choose a speech file"


CLASSES = (
    IDIOLECT_PT_character,
    IDIOLECT_PT_speech,
    *style_panel.CLASSES,
    *emotion_panel.CLASSES,
    IDIOLECT_PT_animate,
    *finish_panel.CLASSES,
)


def register() -> None:
    """Add the tab."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Take it away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
