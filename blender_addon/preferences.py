"""Add-on preferences: the worker's environment, device and model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from . import installs
from .worker.client import WorkerSettings
from .worker.protocol import WorkerError

DEVICES = (
    ("auto", "Automatic", "The graphics card if PyTorch can use it, else the processor"),
    ("cpu", "Processor", "Always the processor"),
    ("cuda", "NVIDIA (CUDA)", "The NVIDIA graphics card"),
    ("mps", "Apple (Metal)", "The graphics part of an Apple processor"),
)


@dataclass(frozen=True)
class Settings:
    """The preferences in use, or their defaults where the add-on was not enabled but loaded by a
    script, as batch.py does from a checkout.
    """

    worker_python: str = ""
    wheel_folder: str = ""
    device: str = "auto"
    checkpoint: str = ""

    def worker(self) -> WorkerSettings:
        """Which worker to run.

        Raises:
            WorkerError: if there is no Python for it.
        """
        python = self.worker_python or os.environ.get("IDIOLECT_PYTHON", "")
        if not python:
            raise WorkerError("no environment", code="no_environment")
        return WorkerSettings(
            python=Path(bpy.path.abspath(python)),
            device=self.device,
            online=bpy.app.online_access,
        )

    def checkpoint_path(self) -> str:
        """The model's file; empty for the bundled one."""
        return bpy.path.abspath(self.checkpoint) if self.checkpoint else ""


class IdiolectPreferences(bpy.types.AddonPreferences):
    """What is set once for all files."""

    bl_idname = __package__

    worker_python: StringProperty(
        name="Worker Python",
        description="A Python that has PyTorch and the rest. Empty: the environment below",
        subtype="FILE_PATH",
    )
    wheel_folder: StringProperty(
        name="Wheel Folder",
        description="Folder with the packages as wheels, for computers without network",
        subtype="DIR_PATH",
    )
    device: EnumProperty(name="Device", description="What computes", items=DEVICES)
    checkpoint: StringProperty(
        name="Model",
        description="A checkpoint of your own (.safetensors). Empty: the bundled model",
        subtype="FILE_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        layout = self.layout
        if warning := installs.warning(__package__):
            layout.label(text=warning, icon="ERROR")
        layout.prop(self, "worker_python")
        layout.prop(self, "wheel_folder")
        layout.prop(self, "device")
        layout.prop(self, "checkpoint")


def of(context: bpy.types.Context) -> Settings:
    """The preferences in use."""
    addon = context.preferences.addons.get(__package__)
    if addon is None or addon.preferences is None:
        return Settings()
    chosen = addon.preferences
    return Settings(
        worker_python=chosen.worker_python,
        wheel_folder=chosen.wheel_folder,
        device=chosen.device,
        checkpoint=chosen.checkpoint,
    )


def not_ready_reason(context: bpy.types.Context) -> str:
    """Why the worker cannot be used now; empty if it can."""
    try:
        of(context).worker()
    except WorkerError as error:
        return error.message
    return ""


def draw_status(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """How things stand, in the panel."""
    reason = not_ready_reason(context)
    if reason:
        layout.label(text=reason, icon="ERROR")


def register() -> None:
    """Add the preferences."""
    bpy.utils.register_class(IdiolectPreferences)


def unregister() -> None:
    """Take them away."""
    bpy.utils.unregister_class(IdiolectPreferences)
