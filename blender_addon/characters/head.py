"""Heads from the worker's arrays: meshes, materials, keys.

Convention: the worker's head is in metres, x to the subject's left, y up, z to the front. Blender's
z is up, and faces look along -y. ``to_blender`` is the only bridge.

Shapes: V vertices, F faces, K shape keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..rig.meshes import Array, add_keys
from ..worker.motion_file import read_arrays
from ..worker.protocol import WorkerError

_SKIN_DEPTH_M = 0.006
"""How far light travels in skin, at most."""


def to_blender(points: Array) -> Array:
    """(…, 3) from the worker's axes to Blender's."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def build_head(face_file: Path, name: str) -> bpy.types.Object:
    """Make a mesh object, not yet in any scene, from the worker's ``face`` arrays.

    Raises:
        WorkerError: if the file is not what the worker promises.
    """
    arrays = face_arrays(face_file, ("vertices", "faces", "key_names", "key_offsets"))
    mesh = bpy.data.meshes.new(name)
    head = None
    try:
        fill_mesh(mesh, to_blender(arrays["vertices"]), arrays["faces"])
        _set_materials(mesh, arrays)
        _set_uvs(mesh, arrays)
        head = bpy.data.objects.new(name, mesh)
        add_keys(head, arrays["key_names"].tolist(), to_blender(arrays["key_offsets"]))
        smooth: Any = head.modifiers.new("Subdivision", "SUBSURF")
        # Subdivision is evaluated again on each frame of playback, so the viewport goes without.
        smooth.levels, smooth.render_levels = 0, 1
    except BaseException:
        remove_head(head or mesh)
        raise
    return head


def remove_head(made: bpy.types.Object | bpy.types.Mesh) -> None:
    """Take back what ``build_head`` made, materials included."""
    mesh = made if isinstance(made, bpy.types.Mesh) else made.data
    materials = [material for material in mesh.materials if material]
    bpy.data.meshes.remove(mesh)
    for material in materials:
        if material.users == 0:
            bpy.data.materials.remove(material)


def read_keys(face_file: Path) -> tuple[list[str], Array]:
    """Names and offsets (K, V, 3) of the speech keys in a face file, in the axes that it is in.

    Raises:
        WorkerError: if the file is not what the worker promises.
    """
    arrays = face_arrays(face_file, ("key_names", "key_offsets"))
    return [str(name) for name in arrays["key_names"].tolist()], arrays["key_offsets"]


def face_arrays(face_file: Path, needed: tuple[str, ...]) -> dict[str, Array]:
    """The arrays of a face file, these among them.

    Raises:
        WorkerError: if the file is not what the worker promises.
    """
    arrays = read_arrays(face_file)
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise WorkerError(
            f"The worker's face lacks {', '.join(missing)}.",
            hint="Use Repair in the add-on's preferences, so that both sides are of one version.",
            code="bad_face",
        )
    return arrays


def fill_mesh(mesh: bpy.types.Mesh, vertices: Array, faces: Array) -> None:
    """Vertices (V, 3), faces (F, 4) with -1 in the last place of a triangle."""
    sizes = np.where(faces[:, 3] < 0, 3, 4).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", np.asarray(vertices, np.float32).ravel())
    mesh.loops.add(int(sizes.sum()))
    mesh.loops.foreach_set("vertex_index", faces[faces >= 0].astype(np.int32))
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", starts)
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    mesh.update(calc_edges=True)
    # validate() would drop a bad face and with it the match of arrays to elements.
    if mesh.validate(verbose=False):
        raise WorkerError("The worker's face is not a valid mesh.", code="bad_face")


def _set_materials(mesh: bpy.types.Mesh, arrays: dict[str, Array]) -> None:
    names = [str(name) for name in arrays.get("material_names", np.empty(0, str)).tolist()]
    for index, name in enumerate(names):
        look = [arrays[f"material_{what}"][index] for what in ("rgba", "roughness", "subsurface")]
        mesh.materials.append(_material(name, *look))
    if names:
        mesh.polygons.foreach_set("material_index", arrays["material_index"].astype(np.int32))


def _material(name: str, rgba: Array, roughness: float, subsurface: float) -> bpy.types.Material:
    material = bpy.data.materials.new(name)
    material.diffuse_color = [float(value) for value in rgba]  # what Solid shading shows
    material.roughness = float(roughness)
    if bpy.app.version < (5, 0, 0):
        material.use_nodes = True
    shader = next(n for n in material.node_tree.nodes if n.bl_idname == "ShaderNodeBsdfPrincipled")
    shader.inputs["Base Color"].default_value = [float(value) for value in rgba]
    shader.inputs["Roughness"].default_value = float(roughness)
    shader.inputs["Subsurface Weight"].default_value = float(subsurface)
    shader.inputs["Subsurface Scale"].default_value = _SKIN_DEPTH_M
    return material


def _set_uvs(mesh: bpy.types.Mesh, arrays: dict[str, Array]) -> None:
    uvs = arrays.get("uvs")
    if uvs is None or not len(uvs):
        return
    layer = mesh.uv_layers.new(name="UVMap")
    layer.data.foreach_set("uv", uvs[arrays["faces"] >= 0].astype(np.float32).ravel())
