"""Finish again, animate a range anew, and what layers are for: corrections and a clean Action."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import BoolProperty, IntProperty

from .. import keying, preferences, properties
from ..animation import applying, planning, refinishing, speaking
from ..jobs import job
from ..jobs.buttons import Button
from ..worker.protocol import WorkerError
from .common import ForCharacter, WorkerOperator


class IDIOLECT_OT_finish(ForCharacter, WorkerOperator, bpy.types.Operator):
    """Finish Again."""

    bl_idname = "idiolect.finish"
    bl_label = "Finish Again"
    bl_description = (
        "Finish the stored motion by the settings as they are now, without the model. With Live on"
        " this happens by itself"
    )
    bl_options = {"UNDO"}
    job_title = "Finishing"

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """From the settings to keys."""
        target = self.target(context)
        return refinishing.steps(context.scene, target, preferences.of(context))


class IDIOLECT_OT_animate_range(ForCharacter, WorkerOperator, bpy.types.Operator):
    """Re-animate Range."""

    bl_idname = "idiolect.animate_range"
    bl_label = "Re-animate Range"
    bl_description = (
        "Animate the frames of the preview range anew, by the settings as they are now. Outside it"
        " nothing changes; within, old and new are cross-faded at both ends"
    )
    bl_options = {"UNDO"}
    job_title = "Animating the range"

    first: IntProperty(name="First", description="First frame that may change")
    last: IntProperty(name="Last", description="Last frame that may change")

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """From the settings to keys, within the range."""
        target, scene = self.target(context), context.scene
        task = planning.of_character(scene, target)
        return speaking.steps(applying.within(task, _span(self, scene)), preferences.of(context))


class IDIOLECT_OT_add_corrections(ForCharacter, Button, bpy.types.Operator):
    """Add Correction Layer."""

    bl_idname = "idiolect.add_corrections"
    bl_label = "Add Correction Layer"
    bl_description = (
        "Lay an empty Action on top of the speech. What you key from now on is added to what lies"
        " below, and stays when the speech is animated again or finished otherwise"
    )
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add it to all that speech moves."""
        try:
            target = self.target(context)
            blocks = applying.spoken_blocks(target)
        except WorkerError as error:
            return self.refused(error)
        without = [block for block in blocks if keying.corrections_of(block) is None]
        if not without:
            self.report({"INFO"}, f"“{target.name}” has a correction layer, which is active")
            return {"CANCELLED"}
        for block in without:
            title = target.name if len(blocks) == 1 else f"{target.name} – {block.name}"
            keying.add_corrections(block, f"{title} corrections")
        applying.show(context.scene)
        return {"FINISHED"}


class IDIOLECT_OT_lift_edits(ForCharacter, WorkerOperator, bpy.types.Operator):
    """Edits to Corrections."""

    bl_idname = "idiolect.lift_edits"
    bl_label = "Edits to Corrections"
    bl_description = (
        "Move what you have edited in the speech's own keys to the correction layer. What is seen"
        " stays the same, and will survive when the speech is animated again or finished otherwise"
    )
    bl_options = {"UNDO"}
    job_title = "Moving edits"

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """From edited keys to corrections."""
        target = self.target(context)
        return refinishing.lift_steps(context.scene, target, preferences.of(context))


class IDIOLECT_OT_limit_corrections(ForCharacter, Button, bpy.types.Operator):
    """Limit Corrections."""

    bl_idname = "idiolect.limit_corrections"
    bl_label = "Limit Corrections"
    bl_description = (
        "Let corrections within the preview range end at both its ends, so that the rest of the"
        " speech is as it was"
    )
    bl_options = {"REGISTER", "UNDO"}

    first: IntProperty(name="First", description="Frame at which they begin")
    last: IntProperty(name="Last", description="Frame at which they end")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set keys that correct nothing."""
        try:
            target = self.target(context)
            span = _span(self, context.scene)
            blocks = [b for b in applying.spoken_blocks(target) if keying.corrections_of(b)]
        except WorkerError as error:
            return self.refused(error)
        if not sum(keying.limit_corrections(block, *span) for block in blocks):
            self.report({"INFO"}, f"No corrections lie between frames {span[0]} and {span[1]}")
            return {"CANCELLED"}
        applying.show(context.scene)
        return {"FINISHED"}


class IDIOLECT_OT_bake(ForCharacter, Button, bpy.types.Operator):
    """Bake to Action."""

    bl_idname = "idiolect.bake"
    bl_label = "Bake to Action"
    bl_description = (
        "Put speech, corrections and NLA tracks together in one clean Action, and mute the tracks."
        " The Actions that were there stay in the file"
    )
    bl_options = {"REGISTER", "UNDO"}

    sparse: BoolProperty(
        name="Sparse Keys",
        description="Few keys, within the bound of the panel, instead of one at each frame",
        default=True,
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Sample what is seen, and key it."""
        try:
            target = self.target(context)
            blocks = applying.spoken_blocks(target)
        except WorkerError as error:
            return self.refused(error)
        bound = properties.of(target).keys.bound if self.sparse else 0.0
        first, last = keying.bake(context.scene, blocks, f"{target.name} baked", bound)
        self.report({"INFO"}, f"{target.name}: baked, frames {first}–{last}")
        return {"FINISHED"}


def _span(operator: Any, scene: bpy.types.Scene) -> tuple[int, int]:
    """The frames that a script names, or else the preview range.

    Raises:
        WorkerError: if there is neither.
    """
    given = operator.properties.is_property_set
    if given("first") and given("last"):
        return operator.first, operator.last
    if scene.use_preview_range:
        return scene.frame_preview_start, scene.frame_preview_end
    raise WorkerError(
        "No range is chosen.",
        hint="Drag out a preview range in the timeline (press P), then press again.",
        code="bad_range",
    )


CLASSES = (
    IDIOLECT_OT_finish,
    IDIOLECT_OT_animate_range,
    IDIOLECT_OT_add_corrections,
    IDIOLECT_OT_lift_edits,
    IDIOLECT_OT_limit_corrections,
    IDIOLECT_OT_bake,
)
