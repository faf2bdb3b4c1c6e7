"""The sidebar tab that all panels are in."""

from __future__ import annotations

import bpy

from ..properties import character_of


class Tab:
    """In the 3D viewport's sidebar."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Idiolect"


class CharacterTab(Tab):
    """Shown only where there is a character: its settings live on it."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is one."""
        return character_of(context) is not None
