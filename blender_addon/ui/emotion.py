"""Emotion: a list of transitions, sliders, or that of a clip."""

from __future__ import annotations

from typing import Any

import bpy

from .. import properties
from ..properties import character_of, transitions
from ..sequencer.clock import frame_rate
from . import drawing
from .style import draw_choice
from .tab import CharacterTab


class IDIOLECT_UL_emotions(bpy.types.UIList):
    """The transitions, in the order of time."""

    def draw_item(
        self,
        context: bpy.types.Context,
        layout: bpy.types.UILayout,
        data: Any,
        item: Any,
        icon: Any,
        active_data: Any,
        active_property: str | None,
        index: int = 0,
        flt_flag: int = 0,
    ) -> None:
        """One transition in a row."""
        row = layout.split(factor=0.3, align=True)
        if item.marker:
            row.label(text=item.marker, icon="MARKER_HLT")
        else:
            row.prop(item, "frame", text="", emboss=False)
        row = row.split(factor=0.55, align=True)
        row.prop(item, "emotion", text="", emboss=False)
        row.prop(item, "intensity", text="", emboss=False, slider=True)

    def filter_items(
        self, context: bpy.types.Context, data: Any, property: str
    ) -> tuple[list[int], list[int]]:
        """All of them, by time."""
        rows = list(getattr(data, property))
        markers = context.scene.timeline_markers
        frames = [markers[row.marker].frame if row.marker in markers else row.frame for row in rows]
        order = sorted(range(len(rows)), key=lambda index: frames[index])
        places = [0] * len(rows)
        for place, index in enumerate(order):
            places[index] = place
        return [], places


class IDIOLECT_PT_emotion(CharacterTab, bpy.types.Panel):
    """How it is felt."""

    bl_label = "Emotion"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        settings, layout = properties.of(target), self.layout
        emotion = settings.emotion
        layout.row(align=True).prop(emotion, "source", expand=True)
        if emotion.source == "LIST":
            self._list(context, emotion)
        elif emotion.source == "SLIDERS":
            column = layout.column(align=True)
            for name in transitions.EMOTIONS:
                column.prop(emotion, name, slider=True)
            layout.operator("idiolect.key_emotions", icon="KEY_HLT")
        elif emotion.source == "REFERENCE":
            layout.row(align=True).prop(emotion, "reference", expand=True)
            if emotion.reference == "OTHER":
                fps = frame_rate(context.scene)
                column, width = layout.column(align=True), context.region.width
                draw_choice(column, emotion.other, "Clip", fps, width)
        layout.prop(properties.of_scene(context.scene), "show_ribbon")

    def _list(self, context: bpy.types.Context, emotion: Any) -> None:
        layout = self.layout
        row = layout.row()
        row.template_list("IDIOLECT_UL_emotions", "", emotion, "changes", emotion, "active", rows=3)
        buttons = row.column(align=True)
        buttons.operator("idiolect.add_emotion", text="", icon="ADD")
        buttons.operator("idiolect.remove_emotion", text="", icon="REMOVE")
        if not 0 <= emotion.active < len(emotion.changes):
            drawing.say(
                layout, "Press + to feel something from this frame on", "INFO", context.region.width
            )
            return
        change = emotion.changes[emotion.active]
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(change, "emotion")
        column.prop(change, "intensity", slider=True)
        column.prop(change, "frame")
        column.prop(change, "marker", icon="MARKER")
        column.prop(change, "duration")
        column.prop(change, "ease")
        column.prop(change, "keep")


CLASSES = (IDIOLECT_UL_emotions, IDIOLECT_PT_emotion)
