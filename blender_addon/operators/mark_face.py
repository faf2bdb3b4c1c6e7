"""Mark Face: a handful of clicks on a face of any topology, from which speech keys can be made."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import EnumProperty, IntProperty
from bpy_extras import view3d_utils

from ..characters.marks import MARKS, mark, marks_of, next_mark, unmark
from ..properties import character_of


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


CLASSES = (IDIOLECT_OT_mark_face,)
