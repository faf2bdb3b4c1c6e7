"""Buttons that make characters out of what the artist has: a folder of OBJ files."""

from __future__ import annotations

import bpy
from bpy.props import StringProperty

from . import obj_character, properties, rig
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


CLASSES = (IDIOLECT_OT_import_objs,)


def register() -> None:
    """Add the operators."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Take them away."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
