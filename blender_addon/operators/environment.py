"""The buttons that make, check, repair and remove the worker's environment."""

from __future__ import annotations

import bpy

from .. import environment, preferences
from ..jobs import job
from ..jobs.buttons import Button, JobOperator
from ..worker.client import close_client, get_client
from ..worker.protocol import WorkerError
from .common import WorkerOperator


class _MakeEnvironment(JobOperator):
    """Set Up and Repair: both make the environment afresh, and swap it in when it works."""

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now."""
        return job.busy_reason() or preferences.why_no_set_up(preferences.of(context))

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Make the environment, in a thread."""
        settings, online = preferences.of(context), bpy.app.online_access
        close_client()  # Windows cannot replace files that a worker holds open
        made = yield job.Threaded(
            lambda progress, cancelled: environment.set_up(
                device=settings.device,
                online=online,
                wheel_folder=preferences.absolute(settings.wheel_folder),
                base_python=preferences.absolute(settings.base_python),
                progress=progress,
                cancelled=cancelled,
            )
        )
        preferences.look_again()
        return job.Outcome(
            f"The worker is set up (PyTorch for {made.build})", log_path=str(made.log_path)
        )


class IDIOLECT_OT_setup_environment(_MakeEnvironment, bpy.types.Operator):
    """Set Up."""

    bl_idname = "idiolect.setup_environment"
    bl_label = "Set Up"
    bl_description = (
        "Make the environment in which the worker runs: downloads PyTorch and other packages into"
        " a folder of their own. Blender's Python is not touched"
    )
    job_title = "Setting up"


class IDIOLECT_OT_repair_environment(_MakeEnvironment, bpy.types.Operator):
    """Repair."""

    bl_idname = "idiolect.repair_environment"
    bl_label = "Repair"
    bl_description = "Make the environment afresh. The present one stays until the new one works"
    job_title = "Repairing"


class IDIOLECT_OT_check_environment(WorkerOperator, bpy.types.Operator):
    """Check."""

    bl_idname = "idiolect.check_environment"
    bl_label = "Check"
    bl_description = "Start the worker, and show what it says of itself"
    job_title = "Starting the worker"

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Ask the worker who it is."""
        info = yield get_client(preferences.of(context).worker()).start()
        preferences.remember_worker(info)
        return job.Outcome(
            f"The worker answers: Python {info.get('python')}, PyTorch {info.get('torch')},"
            f" device {info.get('device')}",
            log_path=str(info.get("log_path") or ""),
        )


class IDIOLECT_OT_remove_environment(JobOperator, bpy.types.Operator):
    """Remove."""

    bl_idname = "idiolect.remove_environment"
    bl_label = "Remove"
    bl_description = "Delete the environment that Set Up made, to free its disk space"
    job_title = "Removing"

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now."""
        return job.busy_reason() or (
            "" if preferences.environment_ready() else "There is no environment to remove"
        )

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask first; then ``execute``."""
        return context.window_manager.invoke_confirm(self, event)

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Delete it, in a thread."""
        close_client()
        count = yield job.Threaded(lambda progress, cancelled: environment.remove())
        preferences.look_again()
        return job.Outcome(f"Removed {count} environment{'s' if count != 1 else ''}")


class IDIOLECT_OT_copy_download_commands(Button, bpy.types.Operator):
    """Copy Download Commands."""

    bl_idname = "idiolect.copy_download_commands"
    bl_label = "Copy Download Commands"
    bl_description = (
        "Copy to the clipboard what to run on a computer with network, of the same system and"
        " Python, to fill the folder of wheels for this one"
    )
    bl_options = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy them."""
        settings = preferences.of(context)
        folder = preferences.absolute(settings.wheel_folder)
        try:
            commands = environment.download_commands(settings.device, folder)
        except WorkerError as error:
            return self.refused(error)
        context.window_manager.clipboard = "\n".join(commands)
        self.report({"INFO"}, f"{len(commands)} commands are on the clipboard")
        return {"FINISHED"}


CLASSES = (
    IDIOLECT_OT_copy_download_commands,
    IDIOLECT_OT_setup_environment,
    IDIOLECT_OT_repair_environment,
    IDIOLECT_OT_check_environment,
    IDIOLECT_OT_remove_environment,
)
