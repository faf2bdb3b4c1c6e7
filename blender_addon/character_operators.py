"""Buttons that make characters speak out of what the artist has: OBJ files, FLAME rigs, marks."""

from __future__ import annotations

import bpy
from bpy.props import BoolProperty, StringProperty

from . import job, marking, obj_character, preferences, properties, rig, rig_flame
from .worker.protocol import WorkerError


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
            made = obj_character.build(self.filepath)
        except WorkerError as error:
            self.report({"ERROR"}, f"{error.message} {error.hint}")
            return {"CANCELLED"}
        properties.of_scene(context.scene).character = made
        missing = rig.rig_of(made).missing
        told = f", without {', '.join(missing)}" if missing else ""
        keys = len(made.data.shape_keys.key_blocks) - 1
        self.report({"INFO"}, f"Imported “{made.name}” with {keys} keys{told}")
        return {"FINISHED"}


class IDIOLECT_OT_fit_expressions(preferences.WorkerOperator, bpy.types.Operator):
    """Fit Expressions."""

    bl_idname = "idiolect.fit_expressions"
    bl_label = "Fit Expressions"
    bl_description = (
        "Let speech move a FLAME rig by its own Exp… keys and its jaw bone (or by keys alone, where"
        " Jaw is set to Key)"
    )
    bl_options = {"UNDO"}
    job_title = "Fitting expressions"

    character: StringProperty(name="Character", description="Empty: the panel's character")
    residual: BoolProperty(
        name="Keys for the Rest",
        description="Also add keys for what expressions cannot do: blinks, puffed cheeks",
        default=True,
    )

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Have the matrix made, then keep it with the character."""
        named = context.scene.objects.get(self.character) if self.character else None
        target = named or properties.character_of(context)
        armature = rig.armature_of(target) if target is not None else None
        if target is not None and properties.of(target).rig.jaw == "KEY":
            armature = None
        worker = preferences.of(context).worker()
        return rig_flame.steps(worker, target, armature, residual=self.residual)


CLASSES = (IDIOLECT_OT_import_objs, IDIOLECT_OT_fit_expressions, marking.IDIOLECT_OT_mark_face)


def register() -> None:
    """Add the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Take them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
