"""The batch as a command of Blender's own: `blender --command idiolect SPEECH… --out DIR`."""

from __future__ import annotations

from typing import Any

import bpy

from . import running

_registered: list[Any] = []


def register() -> None:
    """Add the command; Blender lists it with ``blender --command help``."""
    utils: Any = bpy.utils  # stubs disagree about what it returns
    _registered.append(utils.register_cli_command("idiolect", running.main))


def unregister() -> None:
    """Take it away again."""
    while _registered:
        bpy.utils.unregister_cli_command(_registered.pop())
