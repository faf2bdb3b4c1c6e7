"""Speech: what is said, and when."""

from __future__ import annotations

import bpy

from .. import properties
from ..properties import character_of
from .tab import CharacterTab


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


CLASSES = (IDIOLECT_PT_speech,)
