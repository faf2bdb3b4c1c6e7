"""What the buttons do. Every option is a property, so that scripts can press them too."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, EnumProperty, FloatProperty, IntProperty, StringProperty

from . import animation, job, making, planning, preferences
from .properties import character_of
from .style_properties import PATH_OPTIONS, REFERENCE_KINDS
from .worker.protocol import WorkerError

OPTIONS = (
    *("speech", "strip", "start_frame", "transcript", "transcript_file", "accurate"),
    *(f"{name}{which}" for which in ("", "_b") for name in ("reference_kind", "style")),
    *(f"reference_{name}{which}" for which in ("", "_b") for name in ("action", "mesh", "file")),
    *("mix", "strength", "emotion"),
)
"""What a script may ask of ``idiolect.animate`` in place of the character's settings."""


def named_or_chosen(context: bpy.types.Context, name: str) -> bpy.types.Object | None:
    """The object that a script names, or else the panel's character.

    Raises:
        WorkerError: if nothing of that name is in the scene.
    """
    if not name:
        return character_of(context)
    target = context.scene.objects.get(name)
    if target is None:
        raise WorkerError(
            f"There is no object “{name}” in the scene “{context.scene.name}”.",
            hint="Name a mesh of the scene, or press Add Head.",
            code="bad_character",
            setting="character",
        )
    return target


class IDIOLECT_OT_add_head(job.JobOperator, bpy.types.Operator):
    """Add Head."""

    bl_idname = "idiolect.add_head"
    bl_label = "Add Head"
    bl_description = "Add a head with all 52 ARKit shape keys, ready to speak"
    bl_options = {"UNDO"}
    job_title = "Making the head"

    name: StringProperty(name="Name", default="Head")

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now."""
        if context.mode != "OBJECT":
            return "Go to Object Mode first"
        return job.busy_reason() or preferences.not_ready_reason(context)

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Have it made, then show it."""
        scene = job.DataRef.to(context.scene, "scenes")
        return making.head(preferences.of(context).worker(), scene, self.name)


class _FlameFile:
    """What both the import of a FLAME file and its file browser ask for."""

    filepath: StringProperty(
        name="File",
        description="A FLAME model as downloaded; empty: choose one",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"} | PATH_OPTIONS,
    )
    shape_keys: BoolProperty(
        name="Shape Keys of Identity",
        description="Also a key for each component of FLAME's shape: several hundred",
    )


class IDIOLECT_OT_import_flame(_FlameFile, job.JobOperator, bpy.types.Operator):
    """Import FLAME: a head with FLAME's own keys and bones, and the 52 keys that speech drives.

    Speech leaves the jaw bone at rest, so the jaw is never moved twice.
    """

    bl_idname = "idiolect.import_flame"
    bl_label = "Import FLAME…"
    bl_description = (
        "Add the head of a FLAME file of yours (.pkl or .npz), with expression keys, bones and all "
        "52 ARKit shape keys, ready to speak"
    )
    bl_options = {"UNDO"}
    job_title = "Importing FLAME"

    name: StringProperty(name="Name", description="Empty: the file's name", options={"SKIP_SAVE"})

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now."""
        return IDIOLECT_OT_add_head.disabled_reason(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Choose a file first; the file browser then comes back with it."""
        if self.filepath or bpy.app.background:
            return super().invoke(context, event)
        # An operator that is undone as one step must not open a file browser: that is another step.
        bpy.ops.idiolect.choose_flame("INVOKE_DEFAULT")  # type: ignore[attr-defined]
        return {"CANCELLED"}

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Have it read, then show it."""
        return making.flame(
            preferences.of(context).worker(),
            job.DataRef.to(context.scene, "scenes"),
            self.filepath,
            self.name,
            shape_keys=self.shape_keys,
        )


class IDIOLECT_OT_choose_flame(_FlameFile, bpy.types.Operator):
    """The file browser of Import FLAME."""

    bl_idname = "idiolect.choose_flame"
    bl_label = "Import FLAME"
    bl_description = "Choose a FLAME file"
    bl_options = {"INTERNAL"}

    filter_glob: StringProperty(default="*.pkl;*.npz", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Open the file browser."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import what was chosen."""
        try:
            bpy.ops.idiolect.import_flame(  # type: ignore[attr-defined]
                "INVOKE_DEFAULT", filepath=self.filepath, shape_keys=self.shape_keys
            )
        except RuntimeError as error:  # what the import has reported at once
            self.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
            return {"CANCELLED"}
        return {"FINISHED"}


class IDIOLECT_OT_add_speech_keys(job.JobOperator, bpy.types.Operator):
    """Add Speech Keys."""

    bl_idname = "idiolect.add_speech_keys"
    bl_label = "Add Speech Keys"
    bl_description = (
        "Give a mesh of FLAME topology the 52 ARKit shape keys. Keys that it has are left alone"
    )
    bl_options = {"UNDO"}
    job_title = "Shaping speech keys"

    character: StringProperty(name="Character", description="Empty: the panel's character")

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now."""
        reason = job.busy_reason() or preferences.not_ready_reason(context)
        return reason or making.why_no_speech_keys(character_of(context))

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Have them made, then add them."""
        target = named_or_chosen(context, self.character)
        return making.speech_keys(preferences.of(context).worker(), target)


class IDIOLECT_OT_animate(preferences.WorkerOperator, bpy.types.Operator):
    """Animate from Speech."""

    bl_idname = "idiolect.animate"
    bl_label = "Animate from Speech"
    bl_description = "Animate the character from its speech, in the manner of the chosen style"
    bl_options = {"UNDO"}
    job_title = "Animating"

    # What a script leaves out comes from the character's settings in the panel.
    character: StringProperty(name="Character", description="Empty: the panel's character")
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
        target = named_or_chosen(context, self.character)
        given = {
            name: getattr(self, name) for name in OPTIONS if self.properties.is_property_set(name)
        }
        task = planning.of_character(context.scene, target, given)
        return animation.steps(task, preferences.of(context))


class IDIOLECT_OT_cancel(job.Button, bpy.types.Operator):
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


CLASSES = (
    IDIOLECT_OT_add_head,
    IDIOLECT_OT_import_flame,
    IDIOLECT_OT_choose_flame,
    IDIOLECT_OT_add_speech_keys,
    IDIOLECT_OT_animate,
    IDIOLECT_OT_cancel,
)


def register() -> None:
    """Add the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Take them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
