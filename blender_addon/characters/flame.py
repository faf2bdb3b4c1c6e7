"""A FLAME file as Blender has it: shape keys under five bones, and the speech keys.

Two sets of controls move such a head, each without the other. Speech drives the 52 ARKit keys,
jawOpen among them, and leaves the bones at rest: nothing moves the jaw twice unless an artist turns
the jaw bone as well. FLAME's own motion is Exp… keys, bones, and the correctives Pose001…Pose036,
whose values are the entries of the rotation matrices of neck, jaw and eyes less the identity, in
FLAME's axes. With these the mesh is the FLAME model itself.

Bones rest along +y without roll, so that their own axes are the armature's. Convention and shapes
as in ``head``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

from ..rig import flame
from ..rig.meshes import add_keys
from .head import Array, face_arrays, fill_mesh, to_blender

# Components have unit variance; correctives lie between -2 and 1.
SLIDER = 10.0
_BONE_LENGTH_M = 0.03
_NEEDED = (
    *("vertices", "faces", "key_names", "key_offsets", "speech_key_names", "speech_key_offsets"),
    *("joint_names", "joint_parents", "joint_heads", "skin_weights"),
)


def build(face_file: Path, name: str) -> bpy.types.Object:
    """Make a mesh object, and the armature that is its parent, from the worker's arrays.

    Neither is in any scene yet.

    Raises:
        WorkerError: if the file is not what the worker promises.
    """
    arrays = face_arrays(face_file, _NEEDED)
    mesh = bpy.data.meshes.new(name)
    armature = None
    try:
        fill_mesh(mesh, to_blender(arrays["vertices"]), arrays["faces"])
        made = bpy.data.objects.new(name, mesh)
        made[flame.OURS] = True
        _add_keys(made, arrays, "key", SLIDER)
        _add_keys(made, arrays, "speech_key", None)
        if len(arrays["joint_names"]):
            armature = bpy.data.armatures.new(f"{name} Rig")
            _rig(made, armature, arrays)
    except BaseException:  # Esc too: nothing half-made stays
        bpy.data.meshes.remove(mesh)
        if armature is not None:
            bpy.data.armatures.remove(armature)
        raise
    return made


def _add_keys(
    made: bpy.types.Object, arrays: dict[str, Array], kind: str, slider: float | None
) -> None:
    names = [str(name) for name in arrays[f"{kind}_names"].tolist()]
    if names:
        add_keys(made, names, to_blender(arrays[f"{kind}_offsets"]), slider)


def _rig(made: bpy.types.Object, armature: bpy.types.Armature, arrays: dict[str, Array]) -> None:
    """Bones, and the mesh hung on them."""
    rig = bpy.data.objects.new(armature.name, armature)
    armature.display_type = "STICK"
    rig.show_in_front = True
    names = [str(name) for name in arrays["joint_names"].tolist()]
    heads = to_blender(arrays["joint_heads"]).tolist()
    with _edit_mode(rig):
        for name, head, parent in zip(names, heads, arrays["joint_parents"], strict=True):
            bone = armature.edit_bones.new(name)
            bone.head = head
            bone.tail = (head[0], head[1] + _BONE_LENGTH_M, head[2])
            if parent >= 0:
                bone.parent = armature.edit_bones[names[parent]]
    _weigh(made, names, arrays["skin_weights"])
    made.parent = rig
    skin: Any = made.modifiers.new("Armature", "ARMATURE")
    skin.object = rig


def _weigh(made: bpy.types.Object, names: list[str], skin_weights: Array) -> None:
    """Vertex groups of these names by weights (V, J)."""
    for name, weights in zip(names, skin_weights.T, strict=True):
        group = made.vertex_groups.new(name=name)
        for vertex in (weights > 0).nonzero()[0].tolist():
            group.add([vertex], float(weights[vertex]), "REPLACE")


@contextlib.contextmanager
def _edit_mode(rig: bpy.types.Object) -> Iterator[None]:
    """Edit Mode on an armature of no scene, since bones cannot be made without it."""
    context: Any = bpy.context
    view_layer = context.view_layer
    active, selected = view_layer.objects.active, list(context.selected_objects)
    context.scene.collection.objects.link(rig)
    try:
        for one in selected:
            one.select_set(False)
        view_layer.objects.active = rig
        bpy.ops.object.mode_set(mode="EDIT")
        try:
            yield
        finally:
            bpy.ops.object.mode_set(mode="OBJECT")
    finally:
        context.scene.collection.objects.unlink(rig)
        view_layer.objects.active = active
        for one in selected:
            one.select_set(True)
