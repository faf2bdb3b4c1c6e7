"""What an artist sees: the sidebar's tab, a module a panel; the preferences' page; the ribbon."""

from __future__ import annotations

import bpy

from . import animate, character, emotion, finish, presets, rig, speech, style

# In the order of the tab; the presets come first, since the Style panel's header shows them.
CLASSES = (
    *presets.CLASSES,
    *character.CLASSES,
    *rig.CLASSES,
    *speech.CLASSES,
    *style.CLASSES,
    *emotion.CLASSES,
    *animate.CLASSES,
    *finish.CLASSES,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
