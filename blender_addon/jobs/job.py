"""Work that waits for the worker: written once, run in two ways.

A job is a generator. It yields whatever it waits for (a ``Call`` to the worker, or a ``Threaded``
function), is sent the result, and returns its own. All that it does between two yields runs on the
main thread and may touch Blender's data, but the scene can have changed while it waited: undo,
another file, a deleted object. So it holds no reference to a data-block across a yield, only
``DataRef``.

* In the window, ``buttons.JobOperator.invoke`` steps it from a timer: the interface lives on, Esc
  cancels.
* In scripts and in ``blender -b``, where timers do not fire, its ``execute`` waits.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol

import bpy

from ..worker.protocol import Progress, WorkerError


class Awaitable(Protocol):
    """What a job may yield: the worker's ``Call``, or a ``Threaded``."""

    progress: Progress | None

    def poll(self) -> Any | None:
        """The result, or None while there is none; raises WorkerError."""

    def cancel(self) -> None:
        """Ask for an early end."""


Steps = Generator[Awaitable, Any, "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """How a job ended, in words for the panel.

    Attributes:
        message: one sentence.
        details: more sentences: what was kept, what could not be done.
        failed: whether it is an error; then ``details`` holds the remedy.
        log_path: where more can be read; may be empty.
    """

    message: str
    details: tuple[str, ...] = ()
    failed: bool = False
    log_path: str = ""


@dataclass(frozen=True)
class DataRef:
    """A data-block that is found again after undo, redo or a deletion, when Python's own
    reference would be stale.
    """

    collection: str
    name: str
    session_uid: int

    @classmethod
    def to(cls, data: bpy.types.ID, collection: str = "objects") -> DataRef:
        """Remember a data-block of ``bpy.data.<collection>``."""
        return cls(collection, data.name_full, data.session_uid)

    def find(self) -> Any:
        """The data-block.

        Raises:
            WorkerError: if it is gone.
        """
        for data in getattr(bpy.data, self.collection):
            if data.session_uid == self.session_uid:
                return data
        raise WorkerError(
            f"“{self.name}” was removed while the work was going on.",
            hint="Nothing was changed. Choose another and press again.",
            code="data_gone",
        )


class Threaded:
    """A blocking function in a thread of its own; it must not touch Blender's data."""

    def __init__(self, function: Callable[[Callable[..., None], Callable[[], bool]], Any]) -> None:
        """Start. ``function`` receives ``progress(stage, done, total)`` and ``cancelled()``."""
        self.progress: Progress | None = None
        self._cancelled = threading.Event()
        self._result: Any = None
        self._error: WorkerError | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[Callable[..., None], Callable[[], bool]], Any]) -> None:
        try:
            self._result = function(self._take_progress, self._cancelled.is_set)
        except WorkerError as error:
            self._error = error
        except Exception as error:
            traceback.print_exc()
            self._error = WorkerError(f"Unexpected: {error!r}.", hint="See the console.")

    def _take_progress(self, stage: str, done: int, total: int) -> None:
        self.progress = Progress(1, stage, done, total)

    def poll(self) -> Any | None:
        """The result, or None while there is none.

        Raises:
            WorkerError: if the function did.
        """
        if self._thread.is_alive():
            return None
        if self._error is not None:
            raise self._error
        return True if self._result is None else self._result

    def cancel(self) -> None:
        """Ask for an early end."""
        self._cancelled.set()


class Job:
    """One run of a generator of steps."""

    def __init__(self, title: str, steps: Steps) -> None:
        self.title = title
        self.started = time.monotonic()
        self.cancelling = False
        self._steps = steps
        self._waiting: Awaitable | None = None

    @property
    def progress(self) -> Progress | None:
        """Progress of what is waited for."""
        return self._waiting.progress if self._waiting else None

    def describe(self) -> str:
        """Progress as one short line."""
        if self.cancelling:
            return f"{self.title}: stopping…"
        progress = self.progress
        if progress is None or not progress.stage:
            return f"{self.title}…"
        share = f" {progress.fraction:.0%}" if progress.total > 0 else "…"
        return f"{self.title}: {progress.stage}{share}"

    def advance(self) -> Outcome | None:
        """Go on as far as possible without waiting. Returns the outcome when there is one.

        Raises:
            WorkerError: if a step failed or was cancelled; the steps have tidied up by then.
        """
        try:
            if self._waiting is None:
                self._waiting = next(self._steps)
            while True:
                try:
                    result = self._waiting.poll()
                except WorkerError as error:
                    self._waiting = self._steps.throw(error)
                    continue
                if result is None:
                    return None
                if self.cancelling:
                    # It finished before it heard of the cancel: the wish counts all the same.
                    raise WorkerError("Cancelled.", code="cancelled")
                self._waiting = self._steps.send(result)
        except StopIteration as end:
            return end.value
        except BaseException:
            self._steps.close()
            raise

    def cancel(self) -> None:
        """Ask for an early end: a later ``advance`` raises with the code ``cancelled``."""
        self.cancelling = True
        if self._waiting is not None:
            self._waiting.cancel()

    def abandon(self) -> None:
        """End now, without waiting for anybody: Blender quits or loads another file."""
        self.cancel()
        self._steps.close()

    def run(self, on_progress: Callable[[Job], None] | None = None) -> Outcome:
        """Wait until it is done.

        Raises:
            WorkerError: as ``advance``.
        """
        shown = ""
        try:
            while (outcome := self.advance()) is None:
                if on_progress and self.describe() != shown:
                    shown = self.describe()
                    on_progress(self)
                time.sleep(0.01)
        except KeyboardInterrupt:
            self.abandon()
            raise
        return outcome


current: Job | None = None
"""The job that runs in the window; one at a time."""

last_outcome: Outcome | None = None
"""How the last one ended, for the panel; None before the first and while one runs."""


def busy_reason() -> str:
    """Why no other job can start now; empty if one can."""
    return "Something is still going on: wait, or press Esc" if current else ""


def outcome_of(error: WorkerError) -> Outcome:
    """An error as the panel shows it."""
    if error.cancelled:
        return Outcome("Cancelled. Nothing was changed.")
    hints = (error.hint,) if error.hint else ()
    return Outcome(error.message, hints, failed=True, log_path=error.log_path)


def stop_current() -> None:
    """End a running job at once: for loading a file, unregistering and quitting."""
    global current
    if current is not None:
        current.abandon()
        current = None
        show_status(None)


def show_status(text: str | None) -> None:
    """Progress in the status bar of every window, and in the panels."""
    for workspace in bpy.data.workspaces:
        workspace.status_text_set(text)
    for window in bpy.context.window_manager.windows if bpy.context.window_manager else ():
        for area in window.screen.areas:
            if area.type in {"VIEW_3D", "PREFERENCES"}:
                area.tag_redraw()
