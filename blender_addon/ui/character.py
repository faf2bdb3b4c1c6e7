"""Character: who speaks."""

from __future__ import annotations

import bpy

from .. import properties, rig
from ..characters import making
from ..properties import character_of
from ..rig.names import ARKIT_KEYS
from . import drawing, installs
from .tab import Tab


class IDIOLECT_PT_character(Tab, bpy.types.Panel):
    """Who speaks."""

    bl_label = "Character"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout, width = self.layout, context.region.width
        if warning := installs.warning():
            drawing.say(layout, warning, "ERROR", width)
        layout.prop(properties.of_scene(context.scene), "character", text="")
        row = layout.row(align=True)
        row.operator("idiolect.add_head", text="Add Head", icon="ADD")
        row.operator("idiolect.import_flame", text="Import FLAME…", icon="IMPORT")
        target = character_of(context)
        if target is None:
            drawing.say(
                layout,
                "Pick a mesh with ARKit shape keys, add the built-in head, or import FLAME",
                "INFO",
                width,
            )
            return
        if properties.of_scene(context.scene).character is None:
            layout.label(text=f"Active: {target.name}", icon="MESH_DATA")
        actor = rig.rig_of(target)
        followed = len(ARKIT_KEYS) - len(actor.missing)
        layout.label(
            text="Visemes" if actor.mouth == "VISEMES" else f"{followed} of 52 speech keys",
            icon="CHECKMARK" if actor.can_speak else "ERROR",
        )
        if actor.missing and not making.why_no_speech_keys(target):
            layout.operator("idiolect.add_speech_keys", icon="SHAPEKEY_DATA")


CLASSES = (IDIOLECT_PT_character,)
