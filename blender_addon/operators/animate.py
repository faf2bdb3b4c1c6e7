"""Animate from Speech, and Cancel."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from .. import preferences
from ..animation import planning, speaking
from ..jobs import job
from ..jobs.buttons import Button
from ..properties.options import PATH_OPTIONS
from ..properties.style import REFERENCE_KINDS
from .common import ForCharacter, WorkerOperator

OPTIONS = (
    *("speech", "strip", "start_frame", "transcript", "transcript_file", "accurate"),
    *(f"{name}{which}" for which in ("", "_b") for name in ("reference_kind", "style")),
    *(f"reference_{name}{which}" for which in ("", "_b") for name in ("action", "mesh", "file")),
    *("mix", "strength", "emotion"),
)
"""What a script may ask of ``idiolect.animate`` in place of the character's settings."""


class IDIOLECT_OT_animate(ForCharacter, WorkerOperator, bpy.types.Operator):
    """Animate from Speech."""

    bl_idname = "idiolect.animate"
    bl_label = "Animate from Speech"
    bl_description = "Animate the character from its speech, in the manner of the chosen style"
    bl_options = {"UNDO"}
    job_title = "Animating"

    # What a script leaves out comes from the character's settings in the panel.
    speech: StringProperty(name="Speech", subtype="FILE_PATH", options=PATH_OPTIONS)
    strip: StringProperty(name="Strip", description="A sound strip, in place of a file")
    start_frame: IntProperty(name="Start Frame", default=1)
    transcript: StringProperty(name="Transcript", description="The words that are spoken")
    transcript_file: StringProperty(
        name="Transcript File", subtype="FILE_PATH", options=PATH_OPTIONS
    )
    accurate: BoolProperty(name="Accurate", description="Recognise the words first")
    reference_kind: EnumProperty(name="Reference", items=REFERENCE_KINDS)
    style: StringProperty(name="Style", description="Style A: a ready-made or a saved one")
    reference_action: StringProperty(name="Action")
    reference_mesh: StringProperty(name="Mesh")
    reference_file: StringProperty(name="Motion File", subtype="FILE_PATH", options=PATH_OPTIONS)
    reference_kind_b: EnumProperty(name="Reference B", items=REFERENCE_KINDS)
    style_b: StringProperty(name="Style B", description="A ready-made or a saved style")
    reference_action_b: StringProperty(name="Action B")
    reference_mesh_b: StringProperty(name="Mesh B")
    reference_file_b: StringProperty(
        name="Motion File B", subtype="FILE_PATH", options=PATH_OPTIONS
    )
    mix: FloatProperty(name="Mix", description="From style A to style B", min=0.0, max=1.0)
    strength: FloatProperty(name="Strength", default=1.0, min=0.0, max=2.0)
    emotion: StringProperty(
        name="Emotion",
        description="Such as “happiness 0.7”, or “happiness, +surprise 0.4, sadness @ 96 over 12”:"
        " an emotion, how strong, @ a frame (or 4.5s into the speech), over so many frames",
    )

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """From the panel's settings, or a script's, to keys."""
        target = self.target(context)
        given = {
            name: getattr(self, name) for name in OPTIONS if self.properties.is_property_set(name)
        }
        task = planning.of_character(context.scene, target, given)
        return speaking.steps(task, preferences.of(context))


class IDIOLECT_OT_cancel(Button, bpy.types.Operator):
    """Cancel."""

    bl_idname = "idiolect.cancel"
    bl_label = "Cancel"
    bl_description = "Stop what is going on; the scene stays as it was"

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now."""
        return "" if job.current else "Nothing is going on"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the running job to stop."""
        if job.current is not None:
            job.current.cancel()
        return {"FINISHED"}


CLASSES = (IDIOLECT_OT_animate, IDIOLECT_OT_cancel)
