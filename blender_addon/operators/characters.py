"""Buttons that make characters, or make them able to speak: the head, FLAME, OBJ files, keys."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, StringProperty

from .. import preferences, properties, rig
from ..characters import making, objs
from ..jobs import job
from ..jobs.buttons import JobOperator
from ..properties import character_of
from ..properties.options import PATH_OPTIONS
from ..worker.protocol import WorkerError
from .common import ForCharacter, WorkerOperator


class IDIOLECT_OT_add_head(WorkerOperator, bpy.types.Operator):
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
        return super().disabled_reason(context)

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Have it made, then show it."""
        scene = job.DataRef.to(context.scene, "scenes")
        return making.add_head(preferences.of(context).worker(), scene, self.name)


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


class IDIOLECT_OT_import_flame(_FlameFile, JobOperator, bpy.types.Operator):
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
        return making.import_flame(
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


class IDIOLECT_OT_add_speech_keys(ForCharacter, WorkerOperator, bpy.types.Operator):
    """Add Speech Keys."""

    bl_idname = "idiolect.add_speech_keys"
    bl_label = "Add Speech Keys"
    bl_description = (
        "Give a mesh of FLAME topology the 52 ARKit shape keys. Keys that it has are left alone"
    )
    bl_options = {"UNDO"}
    job_title = "Shaping speech keys"

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now."""
        return super().disabled_reason(context) or making.why_no_speech_keys(character_of(context))

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Have them made, then add them."""
        target = self.target(context)
        return making.add_speech_keys(preferences.of(context).worker(), target)


class IDIOLECT_OT_import_objs(bpy.types.Operator):
    """Character from OBJs."""

    bl_idname = "idiolect.import_objs"
    bl_label = "Character from OBJs…"
    bl_description = (
        "Import the OBJ file of a neutral face, with the shapes beside it (jawOpen.obj, …) as keys"
    )
    bl_options = {"UNDO"}

    filepath: StringProperty(
        name="Neutral Face",
        description="The OBJ file of the neutral face, or the folder that holds it",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    filter_glob: StringProperty(default="*.obj", options={"HIDDEN"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only in Object Mode."""
        return context.mode == "OBJECT"

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Open the file browser."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import it, and make it the panel's character."""
        try:
            made = objs.build(self.filepath)
        except WorkerError as error:
            self.report({"ERROR"}, f"{error.message} {error.hint}")
            return {"CANCELLED"}
        properties.of_scene(context.scene).character = made
        missing = rig.rig_of(made).missing
        told = f", without {', '.join(missing)}" if missing else ""
        keys = len(made.data.shape_keys.key_blocks) - 1
        self.report({"INFO"}, f"Imported “{made.name}” with {keys} keys{told}")
        return {"FINISHED"}


class IDIOLECT_OT_fit_expressions(ForCharacter, WorkerOperator, bpy.types.Operator):
    """Fit Expressions."""

    bl_idname = "idiolect.fit_expressions"
    bl_label = "Fit Expressions"
    bl_description = (
        "Let speech move a FLAME rig by its own Exp… keys and its jaw bone (or by keys alone, where"
        " Jaw is set to Key)"
    )
    bl_options = {"UNDO"}
    job_title = "Fitting expressions"

    residual: BoolProperty(
        name="Keys for the Rest",
        description="Also add keys for what expressions cannot do: blinks, puffed cheeks",
        default=True,
    )

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Have the matrix made, then keep it with the character."""
        target = self.target(context)
        armature = rig.armature_of(target) if target is not None else None
        if target is not None and properties.of(target).rig.jaw == "KEY":
            armature = None
        worker = preferences.of(context).worker()
        return making.fit_expressions(worker, target, armature, residual=self.residual)


CLASSES = (
    IDIOLECT_OT_add_head,
    IDIOLECT_OT_import_flame,
    IDIOLECT_OT_choose_flame,
    IDIOLECT_OT_add_speech_keys,
    IDIOLECT_OT_import_objs,
    IDIOLECT_OT_fit_expressions,
)
