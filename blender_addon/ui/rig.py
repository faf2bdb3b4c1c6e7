"""The sub-panel about a character's rig: what follows the motion, what does not, and how much."""

from __future__ import annotations

from typing import Any

import bpy

from .. import properties, rig
from ..characters.marks import MARKS, marks_of
from ..properties import character_of
from ..rig import flame
from . import drawing
from .tab import CharacterTab

_LISTED = 12
"""More missing keys than this are a number, and no list."""


class IDIOLECT_UL_gains(bpy.types.UIList):
    """Gains of single channels."""

    def draw_item(  # Blender counts the arguments
        self,
        _context: bpy.types.Context,
        layout: bpy.types.UILayout,
        _data: bpy.types.AnyType,
        item: Any,
        _icon: int,
        _active_data: bpy.types.AnyType,
        _active_property: str,
    ) -> None:
        """One row."""
        row = layout.row(align=True)
        row.label(text=item.name)
        row.prop(item, "value", text="", slider=True)


class IDIOLECT_PT_rig(CharacterTab, bpy.types.Panel):
    """How keys and bones follow."""

    bl_label = "Rig"
    bl_parent_id = "IDIOLECT_PT_character"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        target = character_of(context)
        if target is None:
            return
        layout, width = self.layout, context.region.width
        settings, actor = properties.of(target).rig, rig.rig_of(target)
        if actor.can_speak and 0 < len(actor.missing) <= _LISTED:
            drawing.say(layout, f"Missing: {', '.join(actor.missing)}", "BLANK1", width)
        elif actor.can_speak and actor.missing:
            drawing.say(layout, f"{len(actor.missing)} keys are missing", "BLANK1", width)
        if target.override_library is not None and target.data.library is not None:
            layout.operator("idiolect.override_meshes", icon="LIBRARY_DATA_OVERRIDE")
        for note in actor.notes:
            drawing.say(layout, note, "INFO", width)
        if len(actor.meshes) > 1:
            others = ", ".join(mesh.name for mesh in actor.meshes if mesh != target)
            drawing.say(layout, f"Together with: {others}", "MESH_DATA", width)
        column = layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(settings, "mouth")
        if flame.has_expressions(target):
            column.operator("idiolect.fit_expressions", icon="MOD_MESHDEFORM")
        elif len(actor.missing) > _LISTED:
            _draw_marks(column, target)
        column.prop(settings, "other_meshes")
        _draw_bones(column, target, settings)
        layout.label(text="Gains")
        row = layout.row()
        row.template_list(
            "IDIOLECT_UL_gains", "", settings, "gains", settings, "gain_index", rows=2
        )
        buttons = row.column(align=True)
        buttons.operator("idiolect.add_gain", icon="ADD", text="")
        buttons.operator("idiolect.remove_gain", icon="REMOVE", text="")


def _draw_bones(
    column: bpy.types.UILayout, target: bpy.types.Object, settings: bpy.types.AnyType
) -> None:
    armature = rig.armature_of(target)
    if armature is None:
        return
    column.prop(settings, "jaw")
    column.prop(settings, "gaze")
    column.prop(settings, "head_motion")
    for name in ("head", "jaw_bone", "eye_left", "eye_right"):
        column.prop_search(settings, name, armature.data, "bones")


def _draw_marks(layout: bpy.types.UILayout, target: bpy.types.Object) -> None:
    """How far the marking has come."""
    marked = marks_of(target)
    layout.operator("idiolect.mark_face", icon="EYEDROPPER")
    if marked:
        missing = [MARKS[name] for name in MARKS if name not in marked]
        text = f"{len(MARKS) - len(missing)} of {len(MARKS)} points are marked"
        layout.label(text=text, icon="BLANK1" if missing else "CHECKMARK")


CLASSES = (IDIOLECT_UL_gains, IDIOLECT_PT_rig)
