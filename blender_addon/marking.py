"""Marks on a face of any topology, from which speech keys can be made: a handful of clicks.

A mark is a vertex group of its name that holds one vertex, so that marks show and can be changed
with Blender's own tools, and groups that an artist has named so are marks as well.
"""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from bpy.props import EnumProperty, IntProperty
from bpy_extras import view3d_utils

from .properties import character_of

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


def triangles_of(target: bpy.types.Object) -> npt.NDArray[np.int32]:
    """All faces as triangles (T, 3)."""
    mesh = target.data
    mesh.calc_loop_triangles()
    flat = np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.loop_triangles.foreach_get("vertices", flat)
    return flat.reshape(-1, 3)


class IDIOLECT_OT_mark_face(bpy.types.Operator):
    """Mark Face: points on a face, clicked one after another as the header asks for them."""

    bl_idname = "idiolect.mark_face"
    bl_label = "Mark Face"
    bl_description = (
        "Click eleven points of a face that is not FLAME's, so that speech keys can be made for it."
        " The header tells which comes next; Backspace takes the last one back"
    )
    bl_options = {"UNDO"}

    point: EnumProperty(name="Point", items=[(name, name, told) for name, told in MARKS.items()])
    vertex: IntProperty(name="Vertex", default=-1, min=-1, options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Only on a mesh of one's own, in Object Mode."""
        target = character_of(context)
        return (
            target is not None
            and target.type == "MESH"
            and target.mode == "OBJECT"
            and target.library is None
            and target.data.library is None
        )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """For scripts: mark a vertex by its number."""
        target = character_of(context)
        if target is None or not 0 <= self.vertex < len(target.data.vertices):
            self.report({"ERROR"}, "There is no such vertex.")
            return {"CANCELLED"}
        mark(target, self.point, self.vertex)
        return {"FINISHED"}

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask for the first missing mark; for all again if none is missing."""
        target = character_of(context)
        if target is None:
            return {"CANCELLED"}
        if not next_mark(target):
            for name in MARKS:
                unmark(target, name)
        context.window_manager.modal_handler_add(self)
        self._ask(context, target)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """A click marks what is asked for; everything but the keys of the operator goes on."""
        target = character_of(context)
        if target is None or event.type in {"ESC", "RIGHTMOUSE", "RET"}:
            return self._end(context)
        in_view = context.region is not None and context.region.type == "WINDOW"
        if event.type == "LEFTMOUSE" and event.value == "PRESS" and in_view:
            vertex = _vertex_under(context, event, target)
            if vertex is None:
                return {"RUNNING_MODAL"}
            mark(target, next_mark(target), vertex)
            if not next_mark(target):
                return self._end(context)
        elif event.type == "BACK_SPACE" and event.value == "PRESS":
            marked = [name for name in MARKS if name in marks_of(target)]
            if marked:
                unmark(target, marked[-1])
        else:
            return {"PASS_THROUGH"}
        self._ask(context, target)
        return {"RUNNING_MODAL"}

    @staticmethod
    def _ask(context: bpy.types.Context, target: bpy.types.Object) -> None:
        name = next_mark(target)
        number = list(MARKS).index(name) + 1
        text = f"{number} of {len(MARKS)}: click the {MARKS[name]}"
        if context.area is not None:
            context.area.header_text_set(text)
            context.area.tag_redraw()
        if context.workspace is not None:
            context.workspace.status_text_set(f"{text}   |   Backspace: take back   |   Esc: end")

    @staticmethod
    def _end(context: bpy.types.Context) -> set[str]:
        if context.area is not None:
            context.area.header_text_set(None)
        if context.workspace is not None:
            context.workspace.status_text_set(None)
        return {"FINISHED"}


def _vertex_under(
    context: bpy.types.Context, event: bpy.types.Event, target: bpy.types.Object
) -> int | None:
    """The vertex nearest to where a click meets the mesh."""
    place: Any = (event.mouse_region_x, event.mouse_region_y)
    region, view = context.region, context.region_data
    origin = view3d_utils.region_2d_to_origin_3d(region, view, place)
    direction = view3d_utils.region_2d_to_vector_3d(region, view, place)
    into = target.matrix_world.inverted()
    hit, where, _, face = target.ray_cast(into @ origin, into.to_3x3() @ direction)
    if not hit:
        return None
    corners = target.data.polygons[face].vertices
    return min(corners, key=lambda v: (target.data.vertices[v].co - where).length_squared)


def draw(layout: bpy.types.UILayout, target: bpy.types.Object) -> None:
    """How far the marking has come."""
    marked = marks_of(target)
    layout.operator("idiolect.mark_face", icon="EYEDROPPER")
    if marked:
        missing = [MARKS[name] for name in MARKS if name not in marked]
        text = f"{len(MARKS) - len(missing)} of {len(MARKS)} points are marked"
        layout.label(text=text, icon="BLANK1" if missing else "CHECKMARK")
