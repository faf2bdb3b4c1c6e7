"""What many properties have in common: options, and what happens when they change."""

from __future__ import annotations

import bpy

from ..jobs import live

PATH_OPTIONS = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()
"""Paths may begin with // for the .blend's folder; newer Blenders want to be told."""

OVERRIDABLE = {"LIBRARY_OVERRIDABLE"}
"""A character that is linked and overridden keeps its settings in the overriding file."""


_SHOWN = {"IdiolectCharacter": "Idiolect", "IdiolectEmotion": "Emotion"}
"""Names of groups whose settings are keyframed: the dope sheet writes “Mix (Idiolect)”."""


def live_update(self: bpy.types.PropertyGroup, _context: bpy.types.Context) -> None:
    """For settings that are heard and seen at once: ask for a new result."""
    shown = _SHOWN.get(type(self).__name__, "")
    if self.name != shown and shown:
        self.name = shown
    live.changed(self.id_data)
