"""What the buttons do. Every option is a property, so that scripts can press them too."""

from __future__ import annotations

import bpy

from . import animate, characters, emotion, environment, finish, mark_face, rig, style

CLASSES = (
    *environment.CLASSES,
    *characters.CLASSES,
    *mark_face.CLASSES,
    *rig.CLASSES,
    *animate.CLASSES,
    *style.CLASSES,
    *emotion.CLASSES,
    *finish.CLASSES,
)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
