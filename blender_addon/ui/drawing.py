"""Pieces of interface that the panel and the preferences share."""

from __future__ import annotations

import textwrap

import bpy

from ..jobs import job


def say(layout: bpy.types.UILayout, text: str, icon: str, width: int) -> None:
    """A text of any length, in lines that fit a region of that width in pixels."""
    scale = bpy.context.preferences.system.ui_scale or 1.0  # 0 without a window
    letters = max(20, int(width / (7.2 * scale)) - 7)
    column = layout.column(align=True)
    column.scale_y = 0.75
    for number, line in enumerate(textwrap.wrap(text, letters)):
        column.label(text=line, icon=icon if number == 0 else "BLANK1")


def draw_progress(layout: bpy.types.UILayout) -> None:
    """The running job: a bar, and a button that stops it."""
    if job.current is None:
        return
    row = layout.row(align=True)
    progress = job.current.progress
    factor = progress.fraction if progress else 0.0
    row.progress(factor=factor, text=job.current.describe(), type="BAR")
    row.operator("idiolect.cancel", text="", icon="X")


def draw_outcome(layout: bpy.types.UILayout, width: int) -> None:
    """How the last job ended, with the remedy if it failed, until the next one starts."""
    outcome = job.last_outcome
    if outcome is None or job.current is not None:
        return
    box = layout.box()
    say(box, outcome.message, "ERROR" if outcome.failed else "CHECKMARK", width)
    for detail in outcome.details:
        say(box, detail, "BLANK1", width)
    if outcome.log_path:
        box.operator("wm.path_open", text="Open Log", icon="TEXT").filepath = outcome.log_path
