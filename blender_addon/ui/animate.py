"""Animate: the button, its progress, and how things stand."""

from __future__ import annotations

import bpy

from .. import properties, rig
from ..jobs import job, live
from ..operators.animate import IDIOLECT_OT_animate
from ..properties import character_of
from ..sequencer import strips
from . import drawing
from .preferences_page import draw_status
from .tab import Tab


class IDIOLECT_PT_animate(Tab, bpy.types.Panel):
    """The button, its progress, and how things stand."""

    bl_label = "Animate"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        layout, width = self.layout, context.region.width
        if job.current is not None:
            drawing.draw_progress(layout)
        else:
            button = layout.column()
            button.scale_y = 1.6
            button.operator("idiolect.animate", icon="PLAY")
            reason = _why_not(context)
            button.enabled = not reason
            if reason:
                drawing.say(layout, reason, "INFO", width)
            drawing.draw_outcome(layout, width)
            self._live(context, width)
        draw_status(layout, context)

    def _live(self, context: bpy.types.Context, width: int) -> None:
        target = character_of(context)
        if target is None:
            return
        row = self.layout.row()
        row.prop(properties.of(target), "live")
        if live.problem is not None:
            for text in (live.problem.message, *live.problem.details):
                drawing.say(self.layout, text, "ERROR", width)


def _why_not(context: bpy.types.Context) -> str:
    """Why the panel's button cannot be pressed; a script may name another character or speech."""
    target = character_of(context)
    reason = IDIOLECT_OT_animate.disabled_reason(context) or rig.why_not(target)
    if reason or target is None:
        return reason
    settings = properties.of(target)
    if settings.speech_source == "STRIP":
        return strips.why_unusable(context.scene, settings.strip)
    return "" if settings.speech else "Choose a speech file"


CLASSES = (IDIOLECT_PT_animate,)
