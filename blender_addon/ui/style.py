"""Style: whose manner. A, B, how much of each, and how strong."""

from __future__ import annotations

from typing import Any

import bpy

from .. import properties
from ..animation import planning, reference
from ..environment import models
from ..properties import character_of
from ..sequencer.clock import frame_rate
from . import drawing, presets
from .tab import CharacterTab

_FIELDS = {"STYLE": "style", "ACTION": "action", "MESH": "mesh", "FILE": "file"}


class IDIOLECT_PT_style(CharacterTab, bpy.types.Panel):
    """In whose manner."""

    bl_label = "Style"

    def draw_header_preset(self, context: bpy.types.Context) -> None:
        """Presets of style, emotion and finish."""
        presets.IDIOLECT_PT_presets.draw_panel_header(self.layout)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        settings, layout, width = properties.of(target), self.layout, context.region.width
        fps = frame_rate(context.scene)
        draw_choice(layout.column(align=True), settings.style_a, "A", fps, width)
        layout.prop(settings, "mix", slider=True)
        second = layout.column(align=True)
        second.active = planning.uses_b(settings)
        draw_choice(second, settings.style_b, "B", fps, width)
        layout.prop(settings, "strength", slider=True)
        layout.operator("idiolect.save_style", icon="FILE_TICK")


def draw_choice(column: bpy.types.UILayout, choice: Any, name: str, fps: float, width: int) -> None:
    """One reference: its kind, what of that kind, which part, and what is wrong with it."""
    row = column.split(factor=0.36, align=True)
    row.prop(choice, "kind", text="", icon=f"EVENT_{name}" if len(name) == 1 else "NONE")
    # Only texts have room for a word where nothing is chosen.
    field = _FIELDS[choice.kind]
    hint = {"placeholder": "The usual manner"} if field == "style" else {}
    row.prop(choice, field, text="", **hint)
    if choice.kind == "STYLE" or (
        choice.kind == "FILE" and choice.file.lower().endswith(models.STYLE_SUFFIX)
    ):
        return
    row = column.row(align=True)
    row.prop(choice, "use_range", text="Part" if choice.use_range else None)
    if choice.use_range:
        first, last = ("start_s", "end_s") if choice.kind == "FILE" else ("first", "last")
        row.prop(choice, first)
        row.prop(choice, last)
    if warning := reference.length_warning(choice, fps):
        drawing.say(column, warning, "ERROR", width)
    elif not getattr(choice, field):
        drawing.say(column, "4 to 10 seconds of speech are enough", "INFO", width)


CLASSES = (IDIOLECT_PT_style,)
