"""What several buttons share: whom they are about, and that they need the worker."""

from __future__ import annotations

import bpy
from bpy.props import StringProperty

from .. import preferences
from ..jobs import job
from ..jobs.buttons import Button, JobOperator
from ..properties import character_of
from ..worker.protocol import WorkerError


class WorkerOperator(JobOperator):
    """Mix-in for operators whose job needs the worker."""

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now; empty if it can."""
        return job.busy_reason() or preferences.not_ready_reason(context)


class ForCharacter:
    """Mix-in for buttons about the panel's character, or about one that a script names."""

    character: StringProperty(name="Character", description="Empty: the panel's character")

    def target(self, context: bpy.types.Context) -> bpy.types.Object | None:
        """Whom it is about.

        Raises:
            WorkerError: if nothing of the given name is in the scene.
        """
        if not self.character:
            return character_of(context)
        target = context.scene.objects.get(self.character)
        if target is None:
            raise WorkerError(
                f"There is no object “{self.character}” in the scene “{context.scene.name}”.",
                hint="Name a mesh of the scene, or press Add Head.",
                code="bad_character",
                setting="character",
            )
        return target


class WithCharacter(Button):
    """Mix-in for small buttons that need a character, and no worker."""

    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now; empty if it can."""
        return "" if character_of(context) else "Choose a character"
