"""Presets of a character's settings, in Blender's own preset system.

What belongs to one shot (the speech, Actions, meshes) is no part of a preset. The list of emotions
goes in as one line of text: Blender would add to a list, and not replace it.
"""

from __future__ import annotations

import bpy
from bl_operators.presets import AddPresetBase
from bl_ui.utils import PresetPanel

from ..properties import character_of

_STYLE = ("kind", "style", "file", "use_range", "first", "last", "start_s", "end_s")
_EMOTION = (
    *("text", "source", "reference", "neutral", "happiness", "anger", "sadness", "contempt"),
    *("surprise", "fear", "disgust"),
)
SUBFOLDER = "idiolect"


class IDIOLECT_MT_presets(bpy.types.Menu):
    """The presets, as a menu: Blender's preset operators ask for one."""

    bl_label = "Idiolect Presets"
    preset_subdir = SUBFOLDER
    preset_operator = "script.execute_preset"
    draw = bpy.types.Menu.draw_preset


class IDIOLECT_PT_presets(PresetPanel, bpy.types.Panel):
    """The presets, in the header of the Style panel."""

    bl_label = "Idiolect Presets"
    preset_subdir = SUBFOLDER
    preset_operator = "script.execute_preset"
    preset_add_operator = "idiolect.add_preset"


class IDIOLECT_OT_add_preset(AddPresetBase, bpy.types.Operator):
    """Add or remove a preset."""

    bl_idname = "idiolect.add_preset"
    bl_label = "Add Idiolect Preset"
    bl_description = "Keep style, emotion and finish of this character as a preset, or remove one"
    preset_menu = "IDIOLECT_MT_presets"
    preset_subdir = SUBFOLDER

    preset_defines = [
        "settings = (bpy.context.scene.idiolect.character or bpy.context.object).idiolect"
    ]
    preset_values = [
        *(f"settings.style_{which}.{name}" for which in ("a", "b") for name in _STYLE),
        *("settings.mix", "settings.strength", "settings.accurate"),
        *(f"settings.emotion.{name}" for name in _EMOTION),
        *("settings.finish", "settings.keys"),
    ]

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only with a character."""
        return character_of(context) is not None


CLASSES = (IDIOLECT_MT_presets, IDIOLECT_PT_presets, IDIOLECT_OT_add_preset)
