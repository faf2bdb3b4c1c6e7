"""What several buttons share: whom they are about, and that they need the worker."""

from __future__ import annotations

import bpy

from .. import preferences
from ..jobs import job
from ..jobs.buttons import JobOperator
from ..properties import character_of
from ..worker.protocol import WorkerError


def named_or_chosen(context: bpy.types.Context, name: str) -> bpy.types.Object | None:
    """The object that a script names, or else the panel's character.

    Raises:
        WorkerError: if nothing of that name is in the scene.
    """
    if not name:
        return character_of(context)
    target = context.scene.objects.get(name)
    if target is None:
        raise WorkerError(
            f"There is no object “{name}” in the scene “{context.scene.name}”.",
            hint="Name a mesh of the scene, or press Add Head.",
            code="bad_character",
            setting="character",
        )
    return target


class WorkerOperator(JobOperator):
    """Mix-in for operators whose job needs the worker."""

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now; empty if it can."""
        return job.busy_reason() or preferences.not_ready_reason(context)
