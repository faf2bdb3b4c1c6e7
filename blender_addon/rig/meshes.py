"""Meshes as arrays, and their shape keys.

Shapes: V vertices, F faces, K shape keys.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from .names import keys_by_channel

Array = npt.NDArray[Any]


def key_names(mesh_object: bpy.types.Object) -> list[str]:
    """Names of the shape keys of an object, but for the basis; none if it is no mesh."""
    keys = mesh_object.data.shape_keys if mesh_object.type == "MESH" else None
    return [block.name for block in list(keys.key_blocks)[1:]] if keys else []


def speech_keys_of(mesh_object: bpy.types.Object) -> dict[str, str]:
    """ARKit channel to the name of the shape key of this one mesh that shows it best."""
    found = keys_by_channel(key_names(mesh_object))
    return {channel: names[0] for channel, names in found.items()}


def add_keys(
    mesh_object: bpy.types.Object,
    names: list[str],
    offsets: Array,
    slider: float | None = None,
) -> list[str]:
    """Add shape keys (K, V, 3), in the mesh's own axes, relative to its basis.

    Keys that the mesh already has are left alone, whatever they look like. Sliders reach from
    -``slider`` to ``slider``, or else from 0 to 1.

    Returns:
        The names of the keys that were added.
    """
    if mesh_object.data.shape_keys is None:
        mesh_object.shape_key_add(name="Basis", from_mix=False)
    blocks = mesh_object.data.shape_keys.key_blocks
    basis = basis_of(mesh_object)
    added = []
    for name, offset in zip(names, offsets, strict=True):
        if name in blocks:
            continue
        block = mesh_object.shape_key_add(name=name, from_mix=False)
        block.data.foreach_set("co", np.asarray(basis + offset, np.float32).ravel())
        if slider is not None:
            block.slider_min, block.slider_max = -slider, slider
        block.value = 0.0  # some versions begin with 1
        added.append(block.name)
    mesh_object.data.update()
    return added


def basis_of(mesh_object: bpy.types.Object) -> Array:
    """Vertices (V, 3) of the mesh at rest, in its own axes."""
    mesh = mesh_object.data
    points = mesh.shape_keys.reference_key.data if mesh.shape_keys else mesh.vertices
    flat = np.empty(len(mesh.vertices) * 3, np.float32)
    points.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def triangles_of(mesh_object: bpy.types.Object) -> Array:
    """Faces (F, 3) int32; an empty array if any face is not a triangle."""
    polygons = mesh_object.data.polygons
    if len(mesh_object.data.loops) != 3 * len(polygons):
        return np.empty((0, 3), np.int32)
    flat = np.empty(len(polygons) * 3, np.int32)
    polygons.foreach_get("vertices", flat)
    return flat.reshape(-1, 3)
