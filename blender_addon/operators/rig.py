"""The small buttons of the Rig panel: gains of single channels, and overrides of linked meshes."""

from __future__ import annotations

import bpy

from .. import properties, rig
from ..properties import character_of
from ..rig.bones import HEAD_TURNS
from ..rig.names import ARKIT_KEYS
from .common import WithCharacter

_CHANNELS = [(name, name, "") for name in (*ARKIT_KEYS, *HEAD_TURNS)]


class IDIOLECT_OT_add_gain(WithCharacter, bpy.types.Operator):
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


class IDIOLECT_OT_remove_gain(WithCharacter, bpy.types.Operator):
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


CLASSES = (IDIOLECT_OT_add_gain, IDIOLECT_OT_remove_gain, IDIOLECT_OT_override_meshes)
