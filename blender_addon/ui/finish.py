"""Finish: what can be changed at once, where the keys lie, and how many there are."""

from __future__ import annotations

import bpy

from .. import keying, properties
from ..animation import applying, raw_motion, refinishing
from ..properties import character_of
from . import drawing
from .tab import CharacterTab


class IDIOLECT_PT_finish(CharacterTab, bpy.types.Panel):
    """More or less of what is there."""

    bl_label = "Finish"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        layout, settings = self.layout, properties.of(target)
        reason = refinishing.why_not(target)
        if reason:
            drawing.say(
                layout,
                "Takes effect at once when speech has been animated",
                "INFO",
                context.region.width,
            )
        finish = settings.finish
        gains = layout.column(align=True)
        for name in ("gain_jaw", "gain_lips", "gain_cheeks", "gain_brows", "gain_lids"):
            gains.prop(finish, name, slider=True)
        time = layout.column(align=True)
        time.prop(finish, "smoothing")
        time.prop(finish, "offset")
        row = layout.row()
        row.prop(finish, "closure_guard")
        row.prop(finish, "silence_gate")
        if not settings.live and not reason:
            layout.operator("idiolect.finish", icon="FILE_REFRESH")


class _FinishPart(CharacterTab):
    bl_parent_id = "IDIOLECT_PT_finish"
    bl_options = {"DEFAULT_CLOSED"}


class IDIOLECT_PT_liveliness(_FinishPart, bpy.types.Panel):
    """What a face does beside speaking."""

    bl_label = "Liveliness"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        finish, column = properties.of(target).finish, self.layout.column(align=True)
        for name in ("blinks", "gaze", "head", "brows"):
            column.prop(finish, name, slider=True)
        self.layout.prop(finish, "seed")


class IDIOLECT_PT_keys(_FinishPart, bpy.types.Panel):
    """Where the keys lie, how many, and of what."""

    bl_label = "Keys and Layers"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        layout, width, scene = self.layout, context.region.width, context.scene
        keys = properties.of(target).keys
        layout.row(align=True).prop(keys, "placement", expand=True)
        row = layout.row(align=True)
        row.prop(keys, "sparse")
        bound = row.row(align=True)
        bound.active = keys.sparse
        bound.prop(keys, "bound")
        count, dense, error = raw_motion.summary(applying.stored_action(target))
        if count and dense > count:
            text = f"{count} keys instead of {dense}, off by at most {error:.4f}"
            drawing.say(layout, text, "INFO", width)
        row = layout.row(align=True)
        for name in ("lower_face", "upper_face", "head"):
            row.prop(keys, name, toggle=True)
        drawing.say(layout, "Curves with a padlock are left alone, too", "LOCKED", width)
        column = layout.column(align=True)
        row = column.row(align=True)
        row.prop(scene, "use_preview_range", text="")
        part = row.row(align=True)
        part.active = scene.use_preview_range
        part.prop(scene, "frame_preview_start", text="First")
        part.prop(scene, "frame_preview_end", text="Last")
        column.prop(keys, "fade")
        column.operator("idiolect.animate_range", icon="PREVIEW_RANGE")
        column = layout.column(align=True)
        if any(keying.corrections_of(block) for block in applying.blocks_of(target)):
            text = "Keys that you set now go to the correction layer"
            drawing.say(column, text, "CHECKMARK", width)
            column.operator("idiolect.limit_corrections", icon="PREVIEW_RANGE")
        else:
            column.operator("idiolect.add_corrections", icon="NLA_PUSHDOWN")
        column.operator("idiolect.lift_edits", icon="FORWARD")
        column.operator("idiolect.bake", icon="ACTION")


CLASSES = (IDIOLECT_PT_finish, IDIOLECT_PT_liveliness, IDIOLECT_PT_keys)
