"""Styles that are saved, and files of styles that are dropped into the window."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
from bpy.props import EnumProperty, StringProperty

from .. import preferences, properties
from ..animation import planning, reference
from ..environment import models
from ..jobs import job
from ..properties import character_of
from ..properties.options import PATH_OPTIONS
from ..worker.client import get_client
from ..worker.protocol import WorkerError
from .common import WithCharacter, WorkerOperator

SLOTS = (
    ("A", "Style A", "The character's style A"),
    ("B", "Style B", "The character's style B; Mix goes towards it"),
)


class IDIOLECT_OT_save_style(WorkerOperator, bpy.types.Operator):
    """Save Style."""

    bl_idname = "idiolect.save_style"
    bl_label = "Save Style…"
    bl_description = (
        "Save the style as it is mixed at this frame, as a small file of its own. It then appears"
        " in the list of styles, in all your files"
    )
    job_title = "Saving the style"

    name: StringProperty(
        name="Name", description="By which the style will be found in the list", default="My Style"
    )
    filepath: StringProperty(
        name="File",
        description="Where to write it (.style.npz). Empty: into your own list of styles",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"} | PATH_OPTIONS,
    )

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now."""
        if character_of(context) is None:
            return "Choose a character"
        return super().disabled_reason(context)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for a name; ``execute`` then waits the moment that it takes."""
        if bpy.app.background:
            return self.execute(context)
        return context.window_manager.invoke_props_dialog(self)  # type: ignore[return-value]

    def draw(self, context: bpy.types.Context) -> None:
        """The dialog."""
        self.layout.prop(self, "name")  # type: ignore[attr-defined]

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """Have it written."""
        target = character_of(context)
        if target is None:
            raise WorkerError("There is no character.", hint="Choose one.", code="bad_character")
        output = self._output(context)
        # As it stands now: keyframed sliders are numbers at this frame.
        style = planning.style_of(context.scene, target)
        return _save(style, self.name, output, preferences.of(context))

    def _output(self, context: bpy.types.Context) -> Path:
        if self.filepath:
            path = Path(preferences.absolute(self.filepath)).absolute()
            ending = models.STYLE_SUFFIX
            return path if path.name.endswith(ending) else path.with_name(f"{path.stem}{ending}")
        name = self.name.strip()
        if not name or name != bpy.path.clean_name(name, replace=" ") or name.startswith("."):
            problem = f"“{name}” cannot be the name of a file."
        elif name in models.own_styles(preferences.of(context).checkpoint_path()):
            problem = f"The model has a style “{name}” of its own."
        else:
            models.styles_folder().mkdir(parents=True, exist_ok=True)
            return models.styles_folder() / f"{name}{models.STYLE_SUFFIX}"
        raise WorkerError(problem, hint="Choose another name.", code="bad_style", setting="name")


def _save(
    style: reference.Manner, name: str, output: Path, settings: preferences.Settings
) -> job.Steps:
    with tempfile.TemporaryDirectory(prefix="idiolect-") as folder:
        params = {
            "style": style.as_params(Path(folder)),
            "name": name,
            "output": str(output),
            "checkpoint": settings.checkpoint_path(),
        }
        yield get_client(settings.worker()).request("save_style", params)
    return job.Outcome(f"The style “{name}” is saved.")


class IDIOLECT_OT_use_style(WithCharacter, bpy.types.Operator):
    """Use Style File."""

    bl_idname = "idiolect.use_style"
    bl_label = "Use as Style"
    bl_description = "Use a file as the character's style: a saved style, or motion of a face"
    filepath: StringProperty(name="File", subtype="FILE_PATH", options={"SKIP_SAVE"} | PATH_OPTIONS)
    slot: EnumProperty(name="Use As", items=SLOTS)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask which of the two styles it shall be."""
        return context.window_manager.invoke_props_dialog(self)  # type: ignore[return-value]

    def draw(self, context: bpy.types.Context) -> None:
        """The dialog."""
        self.layout.label(text=Path(self.filepath).name)
        self.layout.row().prop(self, "slot", expand=True)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set it."""
        target = character_of(context)
        if target is None:
            return {"CANCELLED"}
        settings = properties.of(target)
        style = settings.style_b if self.slot == "B" else settings.style_a
        style.file, style.kind = self.filepath, "FILE"
        return {"FINISHED"}


class IDIOLECT_FH_style(bpy.types.FileHandler):
    """Files that may be dropped into the 3D viewport."""

    bl_idname = "IDIOLECT_FH_style"
    bl_label = "Speaking Style"
    bl_import_operator = "idiolect.use_style"
    bl_file_extensions = ".npz;.csv;.json"

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Onto a viewport with a character."""
        area = context.area
        return area is not None and area.type == "VIEW_3D" and character_of(context) is not None


CLASSES = (IDIOLECT_OT_save_style, IDIOLECT_OT_use_style, IDIOLECT_FH_style)
