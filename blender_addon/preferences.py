"""The add-on's preferences in use, and whether the worker can be used with them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import bpy

from . import environment
from .worker.client import WorkerSettings
from .worker.protocol import WorkerError

ADDON = __package__
"""The add-on's module name, which depends on how it was installed."""

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


def of(context: bpy.types.Context) -> Settings:
    """The preferences in use."""
    addon = context.preferences.addons.get(ADDON)
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


def worker_info() -> dict[str, object]:
    """What the last worker said of itself; empty if none has."""
    return _worker_info


def absolute(path: str) -> str:
    """A path as the artist wrote it, which may begin with // for the .blend's folder."""
    return bpy.path.abspath(path) if path else ""
