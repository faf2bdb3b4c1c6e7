"""The sidebar tab."""

from __future__ import annotations

import textwrap

import bpy

from . import animation, character, installs, job, operators, preferences
from .properties import character_of


class _Tab:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Idiolect"


def say(layout: bpy.types.UILayout, text: str, icon: str, width: int) -> None:
    """A text of any length, in lines that fit a region of that width in pixels."""
    scale = bpy.context.preferences.system.ui_scale
    letters = max(20, int(width / (6.6 * scale)) - 6)
    column = layout.column(align=True)
    column.scale_y = 0.75
    for number, line in enumerate(textwrap.wrap(text, letters)):
        column.label(text=line, icon=icon if number == 0 else "BLANK1")


class IDIOLECT_PT_character(_Tab, bpy.types.Panel):
    """Who speaks."""

    bl_label = "Character"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout, width = self.layout, context.region.width
        if warning := installs.warning(__package__):
            say(layout, warning, "ERROR", width)
        row = layout.row(align=True)
        row.prop(context.scene.idiolect, "character", text="")
        row.operator("idiolect.add_head", text="Add Head", icon="ADD")
        target = character_of(context)
        if target is None:
            say(
                layout, "Pick a mesh with ARKit shape keys, or add the built-in head", "INFO", width
            )
            return
        if context.scene.idiolect.character is None:
            layout.label(text=f"Active: {target.name}", icon="MESH_DATA")
        keys = character.speech_keys_of(target)
        layout.label(
            text=f"{len(keys.names)} of {len(character.ARKIT_KEYS)} speech keys",
            icon="CHECKMARK" if keys.can_speak else "ERROR",
        )
        if keys.can_speak and keys.missing and len(keys.missing) <= 12:
            say(layout, f"Missing: {', '.join(keys.missing)}", "BLANK1", width)
        if keys.driven:
            say(layout, f"Driven, so not keyed: {', '.join(keys.driven)}", "DRIVER", width)
        if len(target.data.vertices) == operators.FLAME_VERTICES and keys.missing:
            layout.operator("idiolect.add_speech_keys", icon="SHAPEKEY_DATA")


class IDIOLECT_PT_speech(_Tab, bpy.types.Panel):
    """What is said, and when."""

    bl_label = "Speech"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The settings live on the character."""
        return character_of(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        settings = character_of(context).idiolect
        column = self.layout.column()
        column.prop(settings, "speech", text="")
        column.prop(settings, "start_frame")


class IDIOLECT_PT_style(_Tab, bpy.types.Panel):
    """In whose manner."""

    bl_label = "Style"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The settings live on the character."""
        return character_of(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        settings = character_of(context).idiolect
        column = self.layout.column()
        column.row(align=True).prop(settings, "reference_kind", expand=True)
        field = {
            "STYLE": "style",
            "ACTION": "reference_action",
            "MESH": "reference_mesh",
            "FILE": "reference_file",
        }[settings.reference_kind]
        column.prop(settings, field, text="")


class IDIOLECT_PT_animate(_Tab, bpy.types.Panel):
    """The button, its progress, and how things stand."""

    bl_label = "Animate"
    bl_options = {"HIDE_HEADER"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout, width = self.layout, context.region.width
        if job.current is not None:
            _draw_progress(layout)
        else:
            button = layout.column()
            button.scale_y = 1.6
            button.operator("idiolect.animate", icon="PLAY")
            reason = _why_not(context)
            button.enabled = not reason
            if reason:
                say(layout, reason, "INFO", width)
            if job.last_outcome is not None:
                _draw_outcome(layout, job.last_outcome, width)
        preferences.draw_status(layout, context)


def _why_not(context: bpy.types.Context) -> str:
    """Why the panel's button cannot be pressed; a script may name another character or speech."""
    target = character_of(context)
    reason = operators.IDIOLECT_OT_animate.disabled_reason(context) or animation.why_not(target)
    return reason or ("" if target.idiolect.speech else "Choose a speech file")


def _draw_progress(layout: bpy.types.UILayout) -> None:
    row = layout.row(align=True)
    progress = job.current.progress
    row.progress(
        factor=progress.fraction if progress else 0.0, text=job.current.describe(), type="BAR"
    )
    row.operator("idiolect.cancel", text="", icon="X")


def _draw_outcome(layout: bpy.types.UILayout, outcome: job.Outcome, width: int) -> None:
    box = layout.box()
    say(box, outcome.message, "ERROR" if outcome.failed else "CHECKMARK", width)
    for detail in outcome.details:
        say(box, detail, "BLANK1", width)
    if outcome.log_path:
        box.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = outcome.log_path


CLASSES = (IDIOLECT_PT_character, IDIOLECT_PT_speech, IDIOLECT_PT_style, IDIOLECT_PT_animate)


def register() -> None:
    """Add the tab."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Take it away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
