"""Add-on preferences: the worker's environment, device and model."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import bpy
from bpy.props import EnumProperty, StringProperty

from . import drawing, environment, installs, job
from .worker.client import WorkerSettings
from .worker.protocol import WorkerError

DEVICES = (
    ("auto", "Automatic", "The graphics card if PyTorch can use it, else the processor"),
    ("cpu", "Processor", "Always the processor"),
    ("cuda", "NVIDIA (CUDA)", "The NVIDIA graphics card"),
    ("mps", "Apple (Metal)", "The graphics part of an Apple processor"),
)

_LOOK_AGAIN_S = 1.0


@dataclass(frozen=True)
class Settings:
    """The preferences in use, or their defaults where the add-on was not enabled but loaded by a
    script, as batch.py does from a checkout.
    """

    worker_python: str = ""
    base_python: str = ""
    wheel_folder: str = ""
    device: str = "auto"
    checkpoint: str = ""
    flame_file: str = ""

    def worker(self) -> WorkerSettings:
        """Which worker to run.

        Raises:
            WorkerError: if there is no Python for it.
        """
        return WorkerSettings(
            python=environment.find_python(absolute(self.worker_python)),
            device=self.device,
            online=bpy.app.online_access,
        )

    def with_changes(self, **changes: str) -> Settings:
        """The same settings, but for those that are given and not empty."""
        return replace(self, **{name: value for name, value in changes.items() if value})

    def checkpoint_path(self) -> str:
        """The model's file; empty for the bundled one."""
        return absolute(self.checkpoint)


class IdiolectPreferences(bpy.types.AddonPreferences):
    """What is set once for all files."""

    bl_idname = __package__

    worker_python: StringProperty(
        name="Worker Python",
        description="A Python of your own that has PyTorch and the rest. Empty: the environment"
        " that Set Up makes",
        subtype="FILE_PATH",
    )
    base_python: StringProperty(
        name="Make It From",
        description="The Python from which Set Up makes the environment. Empty: Blender's own, or"
        " one that is found",
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
    flame_file: StringProperty(
        name="FLAME File",
        description="For a model of your own that was trained on FLAME's coefficients or vertices:"
        " the FLAME file (.pkl, .npz) that tells what its motion looks like. Not needed where a"
        " FLAME head was imported",
        subtype="FILE_PATH",
    )

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        layout, width = self.layout, context.region.width
        layout.use_property_split = True
        if warning := installs.warning(__package__):
            drawing.say(layout, warning, "ERROR", width)
        if installs.other_running(__package__):
            return

        box = layout.box()
        box.label(text="Worker Environment", icon="CONSOLE")
        _draw_readiness(box, of(context), width)
        if job.current is not None:
            drawing.draw_progress(box)
        else:
            row = box.row()
            ready = environment_ready()
            row.operator(f"idiolect.{'repair' if ready else 'setup'}_environment")
            row.operator("idiolect.check_environment")
            row.operator("idiolect.remove_environment")
            if reason := why_no_set_up(of(context)):
                drawing.say(box, f"Set Up: {reason}", "INFO", width)
        drawing.draw_outcome(box, width)
        box.prop(self, "wheel_folder")
        box.prop(self, "base_python")
        box.prop(self, "worker_python")

        box = layout.box()
        box.label(text="Model", icon="FILE_3D")
        box.prop(self, "checkpoint")
        box.prop(self, "flame_file")
        box.prop(self, "device")


def of(context: bpy.types.Context) -> Settings:
    """The preferences in use."""
    addon = context.preferences.addons.get(__package__)
    if addon is None or addon.preferences is None:
        return Settings()
    chosen = addon.preferences
    return Settings(
        worker_python=chosen.worker_python,
        base_python=chosen.base_python,
        wheel_folder=chosen.wheel_folder,
        device=chosen.device,
        checkpoint=chosen.checkpoint,
        flame_file=chosen.flame_file,
    )


_looked: tuple[float, Settings, WorkerError | None] | None = None


def problem_with(settings: Settings) -> WorkerError | None:
    """Why no worker can be started, as far as files tell. Asked on each redraw, so it remembers
    the answer for a moment.
    """
    global _looked
    now = time.monotonic()
    stale = _looked is None or _looked[1] != settings or now - _looked[0] > _LOOK_AGAIN_S
    if stale or bpy.app.background:
        problem = None
        try:
            settings.worker()
        except WorkerError as error:
            problem = error
        _looked = (now, settings, problem)
    return _looked[2] if _looked else None


def look_again() -> None:
    """Forget what was remembered: the environment has just changed."""
    global _looked
    _looked = None


def not_ready_reason(context: bpy.types.Context) -> str:
    """Why the worker cannot be used now; empty if it can."""
    problem = problem_with(of(context))
    return problem.message.rstrip(".") if problem else ""


class WorkerOperator(job.JobOperator):
    """Mix-in for operators whose job needs the worker."""

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now; empty if it can."""
        return job.busy_reason() or not_ready_reason(context)


def why_no_set_up(settings: Settings) -> str:
    """Why the environment cannot be made or repaired now; empty if it can."""
    if bpy.app.online_access or settings.wheel_folder:
        return ""
    return (
        "Blender may not use the network: allow Online Access in Blender's preferences (System,"
        " Network), or choose a folder with wheels"
    )


def environment_ready() -> bool:
    """Whether the environment that Set Up makes is there."""
    try:
        return environment.current().ready
    except (OSError, WorkerError):
        return False


_worker_info: dict[str, object] = {}


def remember_worker(info: dict[str, object] | None) -> None:
    """Keep what a worker said of itself (Python, PyTorch, device), for the panel."""
    _worker_info.clear()
    _worker_info.update(info or {})


def draw_status(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """How things stand, in the panel; with the button that helps."""
    _draw_readiness(layout, of(context), context.region.width)
    problem = problem_with(of(context))
    if problem and problem.code == "no_environment" and job.current is None:
        layout.operator("idiolect.setup_environment", icon="IMPORT")


def _draw_readiness(layout: bpy.types.UILayout, settings: Settings, width: int) -> None:
    problem = problem_with(settings)
    if problem is not None:
        drawing.say(layout, f"{problem.message} {problem.hint}", "ERROR", width)
    elif _worker_info:
        device, torch = _worker_info.get("device"), _worker_info.get("torch")
        drawing.say(layout, f"Ready: PyTorch {torch} on {device}", "CHECKMARK", width)
    else:
        drawing.say(layout, "Ready", "CHECKMARK", width)


def absolute(path: str) -> str:
    """A path as the artist wrote it, which may begin with // for the .blend's folder."""
    return bpy.path.abspath(path) if path else ""


def register() -> None:
    """Add the preferences."""
    bpy.utils.register_class(IdiolectPreferences)


def unregister() -> None:
    """Take them away."""
    bpy.utils.unregister_class(IdiolectPreferences)
