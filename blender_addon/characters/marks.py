"""Marks on a face of any topology, from which speech keys can be made: a handful of clicks.

A mark is a vertex group of its name that holds one vertex, so that marks show and can be changed
with Blender's own tools, and groups that an artist has named so are marks as well.
"""

from __future__ import annotations

import bpy
import numpy as np
import numpy.typing as npt

MARKS = {
    "eyeOuterLeft": "outer corner of the left eye",
    "eyeInnerLeft": "inner corner of the left eye",
    "eyeUpperLeft": "edge of the left upper lid, outer half",
    "eyeLowerLeft": "edge of the left lower lid, outer half",
    "mouthCornerLeft": "left corner of the mouth",
    "lipUpperOuter": "middle of the upper lip's outline, above",
    "lipUpperInner": "middle of the upper lip's edge, where lips meet",
    "lipLowerInner": "middle of the lower lip's edge, where lips meet",
    "lipLowerOuter": "middle of the lower lip's outline, below",
    "noseTip": "tip of the nose, below",
    "chin": "lowest point of the chin",
}
"""What to mark, in order; left is the character's own left."""


def marks_of(target: bpy.types.Object) -> dict[str, int]:
    """The vertices that are marked, also on the right side where an artist has marked it."""
    names = [*MARKS, *(name.replace("Left", "Right") for name in MARKS if name.endswith("Left"))]
    groups = {target.vertex_groups[n].index: n for n in names if n in target.vertex_groups}
    best: dict[str, tuple[float, int]] = {}
    for vertex in target.data.vertices if groups else ():
        for element in vertex.groups:
            name = groups.get(element.group)
            if name and element.weight > best.get(name, (0.0, 0))[0]:
                best[name] = (element.weight, vertex.index)
    return {name: vertex for name, (_, vertex) in best.items()}


def next_mark(target: bpy.types.Object) -> str:
    """The first of `MARKS` that is missing; empty if none is."""
    marked = marks_of(target)
    return next((name for name in MARKS if name not in marked), "")


def mark(target: bpy.types.Object, name: str, vertex: int) -> None:
    """Mark a vertex, in place of what had this mark."""
    unmark(target, name)
    target.vertex_groups.new(name=name).add([vertex], 1.0, "REPLACE")


def unmark(target: bpy.types.Object, name: str) -> None:
    """Take a mark away."""
    if name in target.vertex_groups:
        target.vertex_groups.remove(target.vertex_groups[name])


def tessellated(target: bpy.types.Object) -> npt.NDArray[np.int32]:
    """All faces as triangles (T, 3)."""
    mesh = target.data
    mesh.calc_loop_triangles()
    flat = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", flat)
    return flat.reshape(-1, 3)
