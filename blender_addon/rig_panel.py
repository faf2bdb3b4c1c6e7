"""The sub-panel about a character's rig: what follows the motion, what does not, and how much."""

from __future__ import annotations

from typing import Any

import bpy

from . import drawing, marking, properties, rig, rig_flame
from .key_names import ARKIT_KEYS
from .properties import character_of
from .rig_bones import HEAD_TURNS

_CHANNELS = [(name, name, "") for name in (*ARKIT_KEYS, *HEAD_TURNS)]
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


class IDIOLECT_OT_add_gain(bpy.types.Operator):
    """Add Gain."""

    bl_idname = "idiolect.add_gain"
    bl_label = "Add Gain"
    bl_description = "Make one channel stronger or weaker on this character"
    bl_options = {"UNDO"}

    bl_property = "channel"

    channel: bpy.props.EnumProperty(name="Channel", items=_CHANNELS)
    value: bpy.props.FloatProperty(name="Gain", default=1.0, min=0.0, max=10.0)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask which channel."""
        context.window_manager.invoke_search_popup(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it, or change the one that there is."""
        target = character_of(context)
        if target is None:
            return {"CANCELLED"}
        settings = properties.of(target).rig
        index = settings.gains.find(self.channel)
        gain = settings.gains[index] if index >= 0 else settings.gains.add()
        gain.name, gain.value = self.channel, self.value
        settings.gain_index = settings.gains.find(self.channel)
        return {"FINISHED"}


class IDIOLECT_OT_remove_gain(bpy.types.Operator):
    """Remove Gain."""

    bl_idname = "idiolect.remove_gain"
    bl_label = "Remove Gain"
    bl_description = "Let this channel be as it is"
    bl_options = {"UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the chosen row."""
        target = character_of(context)
        if target is None:
            return {"CANCELLED"}
        settings = properties.of(target).rig
        settings.gains.remove(settings.gain_index)
        settings.gain_index = max(0, settings.gain_index - 1)
        return {"FINISHED"}


class IDIOLECT_OT_override_meshes(bpy.types.Operator):
    """Override Mesh Data."""

    bl_idname = "idiolect.override_meshes"
    bl_label = "Override Mesh Data"
    bl_description = "Make library overrides of the character's linked meshes, whose keys speak"
    bl_options = {"UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only on an overridden character."""
        target = character_of(context)
        return target is not None and target.override_library is not None

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Override them."""
        target = character_of(context)
        done = rig.override_meshes(target) if target is not None else 0
        return {"FINISHED"} if done else {"CANCELLED"}


class IDIOLECT_PT_rig(bpy.types.Panel):
    """How keys and bones follow."""

    bl_label = "Rig"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Idiolect"
    bl_parent_id = "IDIOLECT_PT_character"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """The settings live on the character."""
        target = character_of(context)
        return target is not None and target.type == "MESH"

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
        if rig_flame.has_expressions(target):
            column.operator("idiolect.fit_expressions", icon="MOD_MESHDEFORM")
        elif len(actor.missing) > _LISTED:
            marking.draw(column, target)
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


CLASSES = (
    IDIOLECT_UL_gains,
    IDIOLECT_OT_add_gain,
    IDIOLECT_OT_remove_gain,
    IDIOLECT_OT_override_meshes,
    IDIOLECT_PT_rig,
)


def register() -> None:
    """Add the sub-panel."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Take it away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
