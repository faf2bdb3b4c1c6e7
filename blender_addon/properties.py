"""What is stored in the .blend: a character's speech and style, and which character is chosen."""

from __future__ import annotations

import bpy
from bpy.props import EnumProperty, IntProperty, PointerProperty, StringProperty

from . import keying, models, rig_properties

REFERENCE_KINDS = (
    ("STYLE", "Preset", "A ready-made style that comes with the model"),
    ("ACTION", "Action", "An Action that moves ARKit shape keys: the manner it was spoken in"),
    ("MESH", "Mesh", "A mesh whose shape keys are animated"),
    ("FILE", "File", "A motion file: .npz, LiveLink Face .csv or BEAT .json"),
)

PATH_OPTIONS = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()
"""Paths may begin with // for the .blend's folder; newer Blenders want to be told."""


def _is_mesh(_self: object, candidate: bpy.types.Object) -> bool:
    return candidate.type == "MESH"


def _moves_shape_keys(_self: object, action: bpy.types.Action) -> bool:
    return bool(keying.shape_key_names(action))


def _animated_meshes(_self: object, candidate: bpy.types.Object) -> bool:
    keys = candidate.data.shape_keys if candidate.type == "MESH" else None
    return bool(keys and keys.animation_data)


def _style_names(_self: object, context: bpy.types.Context, _typed: str) -> list[str]:
    return models.style_names(context)


class IdiolectCharacter(bpy.types.PropertyGroup):
    """What a character says, and how. Lives on the character's object."""

    speech: StringProperty(
        name="Speech",
        description="What the character says: an audio file (wav, flac, mp3, ogg, m4a, …)",
        subtype="FILE_PATH",
        options=PATH_OPTIONS,
    )
    start_frame: IntProperty(
        name="Start Frame", description="Frame at which the speech starts", default=1
    )
    reference_kind: EnumProperty(
        name="Style",
        description="Whose manner of speaking the animation takes on",
        items=REFERENCE_KINDS,
    )
    style: StringProperty(
        name="Style",
        description="A ready-made style of the model. Empty: its usual manner",
        search=_style_names,
    )
    reference_action: PointerProperty(
        name="Action",
        description="An Action that moves ARKit shape keys",
        type=bpy.types.Action,
        poll=_moves_shape_keys,
    )
    reference_mesh: PointerProperty(
        name="Mesh",
        description="A mesh whose ARKit shape keys are animated",
        type=bpy.types.Object,
        poll=_animated_meshes,
    )
    reference_file: StringProperty(
        name="Motion File",
        description="Motion of a face: .npz, LiveLink Face .csv or BEAT .json",
        subtype="FILE_PATH",
        options=PATH_OPTIONS,
    )
    rig: PointerProperty(type=rig_properties.IdiolectRig)
    mark: StringProperty(
        name="Mark",
        description="By which this character's strips in the sequencer are known",
        options={"HIDDEN"},
    )


class IdiolectScene(bpy.types.PropertyGroup):
    """Which character the panel is about."""

    character: PointerProperty(
        name="Character",
        description="The mesh that speaks. Empty: the active object",
        type=bpy.types.Object,
        poll=_is_mesh,
    )


CLASSES = (*rig_properties.CLASSES, IdiolectCharacter, IdiolectScene)


def register() -> None:
    """Add the properties to Blender's objects and scenes."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.Object.idiolect = PointerProperty(type=IdiolectCharacter)  # type: ignore
    bpy.types.Scene.idiolect = PointerProperty(type=IdiolectScene)  # type: ignore


def unregister() -> None:
    """Take them away again; what a .blend holds of them stays in it."""
    del bpy.types.Scene.idiolect  # type: ignore
    del bpy.types.Object.idiolect  # type: ignore
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)


def of(target: bpy.types.Object) -> IdiolectCharacter:
    """What a character says, and how: what Blender's own types do not know of."""
    return target.idiolect  # type: ignore[attr-defined]


def of_scene(scene: bpy.types.Scene) -> IdiolectScene:
    """Which character a scene's panel is about."""
    return scene.idiolect  # type: ignore[attr-defined]


def character_of(context: bpy.types.Context) -> bpy.types.Object | None:
    """The character that the panel and the operators are about, if there is one."""
    chosen = of_scene(context.scene).character
    # A deleted object lives on as long as this pointer holds it; it is in no scene, and gone.
    if chosen is not None and chosen.name in context.scene.objects:
        return chosen
    active = context.active_object
    return active if active is not None and active.type == "MESH" else None
