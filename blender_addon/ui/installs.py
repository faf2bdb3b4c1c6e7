"""This add-on installed twice, as an extension and the old way: noticed and said.

Both would register the same classes and properties, and whichever came last would break the other.
So the second to be switched on registers nothing but a word of warning in its preferences.
"""

from __future__ import annotations

import sys

import bpy

from ..preferences import ADDON


def others() -> list[str]:
    """Module names of other enabled installs of this add-on."""
    name = ADDON.rpartition(".")[2]
    addons = bpy.context.preferences.addons.keys()
    return [
        module
        for module in addons
        if module != ADDON and (module == name or module.endswith(f".{name}"))
    ]


def other_running() -> str:
    """Module name of another install that has registered already; empty if there is none."""
    for module in others():
        if getattr(sys.modules.get(module), "__addon_enabled__", False):
            return module
    return ""


def warning() -> str:
    """What to say in the panels; empty if this is the only install."""
    found = others()
    return f"Installed twice: also as “{found[0]}”. Remove one of the two" if found else ""
