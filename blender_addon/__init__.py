"""Idiolect: speech to facial animation, in the manner of the person you choose.

This package is Blender's side: it reads the scene, talks to the worker (``worker/``), and writes
keys. It knows nothing about faces or speech, and imports nothing but Python's standard library,
numpy and bpy. What computes lives in ``core/``, in the worker's process.
"""

from __future__ import annotations

from typing import Any

import bpy

from . import operators, properties, ui
from .animation import planning, raw_motion, refinishing
from .batches import command
from .jobs import job, live
from .ui import installs, preferences_page, ribbon
from .worker.client import close_client

# For installs of the old kind. The version stands in blender_manifest.toml, and nowhere else.
bl_info = {
    "name": "Idiolect",
    "author": "The Idiolect contributors",
    "description": "Speech to facial animation, in the manner of a chosen person",
    "blender": (4, 2, 0),
    "location": "3D View > Sidebar > Idiolect",
    "category": "Animation",
}

_registered: list[Any] = []


@bpy.app.handlers.persistent
def _before_load(*_: object) -> None:
    # A job belongs to the file in which it was started.
    job.stop_current()
    live.stop()


def register() -> None:
    """Switch the add-on on."""
    if installs.other_running():
        parts: list[Any] = [preferences_page]
    else:
        parts = [preferences_page, raw_motion, properties, operators, ui, live, ribbon, command]
        live.makers[live.ANIMATE] = planning.again
        live.makers[live.FINISH] = refinishing.again
    for part in parts:
        part.register()
        _registered.append(part)
    if len(parts) > 1:
        bpy.app.handlers.load_pre.append(_before_load)


def unregister() -> None:
    """Switch it off: no class, no handler, no process stays behind."""
    job.stop_current()
    close_client()
    if _before_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_before_load)
    while _registered:
        _registered.pop().unregister()
