"""The add-on's page in Blender's preferences, and what the tab shows of it."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, StringProperty

from .. import preferences
from ..jobs import job
from . import drawing, installs


class IdiolectPreferences(bpy.types.AddonPreferences):
    """What is set once for all files."""

    bl_idname = preferences.ADDON

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
    device: EnumProperty(name="Device", description="What computes", items=preferences.DEVICES)
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
        if warning := installs.warning():
            drawing.say(layout, warning, "ERROR", width)
        if installs.other_running():
            return

        box = layout.box()
        box.label(text="Worker Environment", icon="CONSOLE")
        _draw_readiness(box, preferences.of(context), width)
        if job.current is not None:
            drawing.draw_progress(box)
        else:
            row = box.row()
            ready = preferences.environment_ready()
            row.operator(f"idiolect.{'repair' if ready else 'setup'}_environment")
            row.operator("idiolect.check_environment")
            row.operator("idiolect.remove_environment")
            if reason := preferences.why_no_set_up(preferences.of(context)):
                drawing.say(box, f"Set Up: {reason}", "INFO", width)
        drawing.draw_outcome(box, width)
        row = box.row()
        row.prop(self, "wheel_folder")
        row.operator("idiolect.copy_download_commands", text="", icon="COPYDOWN")
        box.prop(self, "base_python")
        box.prop(self, "worker_python")

        box = layout.box()
        box.label(text="Model", icon="FILE_3D")
        box.prop(self, "checkpoint")
        box.prop(self, "flame_file")
        box.prop(self, "device")


def draw_status(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """How things stand, in the panel; with the button that helps."""
    _draw_readiness(layout, preferences.of(context), context.region.width)
    problem = preferences.problem_with(preferences.of(context))
    if problem and problem.code == "no_environment" and job.current is None:
        layout.operator("idiolect.setup_environment", icon="IMPORT")


def _draw_readiness(layout: bpy.types.UILayout, settings: preferences.Settings, width: int) -> None:
    problem = preferences.problem_with(settings)
    if problem is not None:
        drawing.say(layout, f"{problem.message} {problem.hint}", "ERROR", width)
    elif info := preferences.worker_info():
        text = f"Ready: PyTorch {info.get('torch')} on {info.get('device')}"
        drawing.say(layout, text, "CHECKMARK", width)
    else:
        drawing.say(layout, "Ready", "CHECKMARK", width)


CLASSES = (IdiolectPreferences,)

register, unregister = bpy.utils.register_classes_factory(CLASSES)
