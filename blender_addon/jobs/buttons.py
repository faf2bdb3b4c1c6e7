"""Operators that are grey while they cannot run, and operators that run a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bpy

from ..worker.protocol import WorkerError
from . import job

TICK_S = 0.1


class Button:
    """Mix-in for operators that are grey while they cannot run, and say why."""

    if TYPE_CHECKING:  # what bpy.types.Operator, the other base, brings along

        def report(self, kind: set[str], message: str) -> None:
            """Tell the artist."""

        @classmethod
        def poll_message_set(cls, message: str) -> None:
            """Say why the button is grey."""

    @classmethod
    def disabled_reason(cls, context: bpy.types.Context) -> str:
        """Why the button cannot be pressed now; empty if it can."""
        del context
        return job.busy_reason()

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Grey the button out, and say why in its tooltip."""
        reason = cls.disabled_reason(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def refused(self, error: WorkerError) -> set[str]:
        """Tell why nothing was done."""
        self.report({"ERROR"}, "\n".join(filter(None, (error.message, error.hint))))
        return {"CANCELLED"}


class JobOperator(Button):
    """Mix-in for operators that run a job: modal from the interface, synchronous from scripts."""

    job_title = ""

    _timer: bpy.types.Timer | None = None
    _job: job.Job | None = None

    def steps(self, context: bpy.types.Context) -> job.Steps:
        """The work. Reads the scene before its first yield, and writes it after its last."""
        raise WorkerError(f"{type(self).__name__} has no steps.")

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Start, and go on from a timer."""
        if bpy.app.background or context.window is None:
            return self.execute(context)
        job.last_outcome = None
        try:
            self._job = job.current = job.Job(self.job_title, self.steps(context))
        except WorkerError as error:
            return self._fail(error)
        ended = self._advance()
        if ended:
            return ended
        # The Preferences are a window of their own, which people close while a set-up still runs:
        # the job lives in the window from which that one was opened.
        window = context.window
        while window.parent is not None:
            window = window.parent
        with context.temp_override(window=window):  # type: ignore[attr-defined]
            self._timer = context.window_manager.event_timer_add(TICK_S, window=window)
            context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Step on the timer; Esc asks to stop; everything else is left to the interface."""
        if job.current is None or self._job is not job.current:
            # Ended from outside: another file was loaded, or the add-on switched off.
            self._remove_timer(context)
            return {"CANCELLED"}
        if event.type == "ESC" and event.value == "PRESS":
            job.current.cancel()
            job.show_status(job.current.describe())
            return {"RUNNING_MODAL"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"}
        ended = self._advance()
        if not ended:
            return {"PASS_THROUGH"}
        self._remove_timer(context)
        return ended

    def cancel(self, context: bpy.types.Context) -> None:
        """Blender itself ends the operator: on quit, on load, when its window closes."""
        if self._job is job.current:
            job.stop_current()
        self._remove_timer(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Do it all now, and wait."""
        job.last_outcome = None
        try:
            outcome = job.Job(self.job_title, self.steps(context)).run()
        except WorkerError as error:
            return self._fail(error)
        return self._succeed(outcome)

    def _advance(self) -> set[str]:
        """One step of the modal run. Returns an empty set while it goes on."""
        assert job.current is not None
        try:
            outcome = job.current.advance()
        except WorkerError as error:
            ended = self._fail(error)
        except Exception:  # a fault of ours: it is shown as such, but no job may seem to run on
            job.current = None
            job.show_status(None)
            raise
        else:
            if outcome is None:
                job.show_status(job.current.describe() + "   —   Esc to cancel")
                return set()
            ended = self._succeed(outcome)
        job.current = None
        job.show_status(None)
        return ended

    def _succeed(self, outcome: job.Outcome) -> set[str]:
        job.last_outcome = outcome
        for detail in outcome.details:
            self.report({"WARNING"}, detail)
        self.report({"INFO"}, outcome.message)
        return {"FINISHED"}

    def _fail(self, error: WorkerError) -> set[str]:
        job.last_outcome = job.outcome_of(error)
        if not error.cancelled:
            return self.refused(error)
        self.report({"INFO"}, job.last_outcome.message)
        return {"CANCELLED"}

    def _remove_timer(self, context: bpy.types.Context) -> None:
        if self._timer is not None:
            context.window_manager.event_timer_remove(self._timer)
            self._timer = None
