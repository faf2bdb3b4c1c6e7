"""One worker process from its start to its end, and the calls that wait for it.

Three threads serve the process. Two drain its pipes (a pipe that nobody reads stops the child
when it is full), and one watches the clock, so that a worker which hangs ends in an error and
not in waiting for ever. Threads never touch Blender's data: they fill in calls, and whoever
polls them acts on the result.

Standard library only, Python 3.11 to 3.14.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import process, protocol
from .protocol import WorkerError


@dataclass(frozen=True)
class Limits:
    """How patient the client is, in seconds (the last: in lines)."""

    start_s: float = 120.0
    """From the start of the process to its answer to ``hello``, which has to import PyTorch."""
    silence_s: float = 30.0
    """Without any sign of life, which a sound worker gives every second."""
    stall_s: float = 900.0
    """Alive, but the job makes no progress. Long: fetching a backbone reports none."""
    cancel_s: float = 5.0
    """From the wish to cancel to the process being ended."""
    close_s: float = 3.0
    """From ``shutdown`` to the process being ended."""
    junk_lines: int = 50
    """Lines on stdout that are no messages, before the process is taken for something else."""


class Call:
    """One request under way. Safe to use from the thread that made it."""

    def __init__(self, life: Life, request: protocol.Request) -> None:
        self.id = request.id
        self.method = request.method
        self.progress: protocol.Progress | None = None
        self.cancel_requested = False
        self._life = life
        self._finished = threading.Event()
        self._result: dict[str, Any] | None = None
        self._error: WorkerError | None = None
        # Counted by the watchdog.
        self.quiet_s = 0.0
        self.cancelling_s = 0.0

    @property
    def done(self) -> bool:
        """True once ``poll`` gives a result or raises."""
        return self._finished.is_set()

    def poll(self) -> dict[str, Any] | None:
        """The result, or None while there is none.

        Raises:
            WorkerError: if the job failed, was cancelled, or its worker died.
        """
        if not self._finished.is_set():
            return None
        if self._error is not None:
            raise self._error
        return self._result

    def wait(
        self,
        timeout: float | None = None,
        on_progress: Callable[[protocol.Progress], None] | None = None,
    ) -> dict[str, Any]:
        """Block until the result is there. ``on_progress`` is called in this thread.

        Raises:
            WorkerError: as ``poll``; with the code ``timeout`` if it takes longer than allowed.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        shown: protocol.Progress | None = None
        while not self._finished.wait(0.05):
            if on_progress is not None and self.progress not in (None, shown):
                shown = self.progress
                on_progress(shown)  # type: ignore[arg-type]
            if deadline is not None and time.monotonic() > deadline:
                raise WorkerError(
                    f"The worker did not answer '{self.method}' within {timeout:g} s.",
                    code="timeout",
                    log_path=self._life.log_path,
                )
        if on_progress is not None and self.progress not in (None, shown):
            on_progress(self.progress)  # type: ignore[arg-type]
        result = self.poll()
        return {} if result is None else result

    def cancel(self) -> None:
        """Ask for an early end; the call then fails with the code ``cancelled``.

        A worker that does not listen in time is ended: the next request starts a fresh one.
        """
        if not self.done and not self.cancel_requested:
            self.cancel_requested = True
            self._life.post("cancel", {"id": self.id})

    def finish(self, result: dict[str, Any] | None, error: WorkerError | None) -> None:
        """For the reader threads: fill in the end, once; what comes later is ignored."""
        if not self._finished.is_set():
            self._result, self._error = result, error
            self._finished.set()


class Life:
    """One process from start to end. Once ended it stays so; the client makes another."""

    def __init__(self, command: list[str], env: dict[str, str], limits: Limits) -> None:
        self.limits = limits
        self.log_path = ""
        self.ended = False
        self._program = command[0]
        self._calls: dict[int, Call] = {}
        self._next_id = 1
        self._tail: deque[str] = deque(maxlen=40)
        self._junk: list[str] = []
        self._silent_s = 0.0
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()  # apart: a write to a stopped worker may block
        try:
            # Not the add-on's folder: Windows cannot remove a folder that is someone's current one.
            self._child = process.spawn(command, env=env, cwd=tempfile.gettempdir())
        except OSError as error:
            raise WorkerError(
                f"The worker's Python cannot be started: {command[0]} ({error.strerror or error}).",
                hint="Set up the worker in the add-on's preferences, or choose another Python.",
                code="no_python",
                setting="worker_python",
            ) from error
        self.pid = self._child.pid
        self.hello = self.post("hello", {})
        self._threads = [
            threading.Thread(target=target, name=f"idiolect-{name}", daemon=True)
            for name, target in (
                ("stderr", self._read_stderr),  # first: the next one waits for its last words
                ("answers", self._read_answers),
                ("watchdog", self._watch),
            )
        ]
        for thread in self._threads:
            thread.start()

    def post(self, method: str, params: dict[str, Any]) -> Call:
        """Send one request. A worker that is gone fails the call; nothing is raised here."""
        with self._lock:
            request = protocol.Request(self._next_id, method, params)
            self._next_id += 1
            call = Call(self, request)
            if self.ended:
                call.finish(None, self._death("The worker has stopped.", "worker_died"))
                return call
            self._calls[call.id] = call
        # The reader of stdout sees a broken pipe's cause, and reports it with all that is known.
        with self._write_lock, contextlib.suppress(OSError, ValueError):
            assert self._child.stdin is not None
            self._child.stdin.write(request.to_line())
            self._child.stdin.flush()
        return call

    def close(self) -> None:
        """Shut down: ask, wait a little, then end by force."""
        self._fail_all(WorkerError("The worker was shut down.", code="cancelled"))
        if not self.ended:
            self.post("shutdown", {})
            with contextlib.suppress(OSError, ValueError):
                assert self._child.stdin is not None
                self._child.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(timeout=self.limits.close_s)
        self._end(WorkerError("The worker was shut down.", code="cancelled"))
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=2)

    # What the threads do.

    def _read_answers(self) -> None:
        stream = self._child.stdout
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            while line := stream.readline(protocol.MAX_LINE_BYTES):
                try:
                    self._take(protocol.parse_answer(line))
                except protocol.JunkError as junk:
                    self._junk.append(str(junk))
                    if len(self._junk) > self.limits.junk_lines:
                        self._end(self._not_our_worker())
                        return
        # End of output: the process is dead, or about to be.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=1)
        self._threads[0].join(timeout=0.5)  # so that the last words are in the message
        self._report_death()

    def _report_death(self) -> None:
        how = process.describe_exit(self._child.poll())
        if self.hello.done:
            self._end(self._death(f"The worker stopped unexpectedly ({how}).", "worker_died"))
        elif self._junk:
            self._end(self._not_our_worker())
        else:
            self._end(self._death(f"The worker did not start ({how}).", "worker_start"))

    def _take(self, answer: protocol.Answer) -> None:
        self._silent_s = 0.0
        if isinstance(answer, protocol.Alive):
            return
        with self._lock:
            call = self._calls.get(answer.id)
            if call is None:
                return
            if not isinstance(answer, protocol.Progress):
                del self._calls[answer.id]
                # The next in the queue has only now come up.
                for other in self._calls.values():
                    other.quiet_s = 0.0
        call.quiet_s = 0.0
        if isinstance(answer, protocol.Progress):
            call.progress = answer
        elif isinstance(answer, protocol.Failure):
            call.finish(None, answer.error)
        else:
            if call is self.hello:
                self.log_path = str(answer.result.get("log_path") or "")
                if answer.result.get("protocol") != protocol.PROTOCOL_VERSION:
                    self._end(_wrong_version(answer.result.get("protocol")))
                    return
            call.finish(answer.result, None)

    def _read_stderr(self) -> None:
        stream = self._child.stderr
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            while line := stream.readline(64 * 1024):
                self._tail.append(line.decode("utf-8", "replace").rstrip())

    def _watch(self) -> None:
        before = time.monotonic()
        exited_s = 0.0
        while not self.ended:
            time.sleep(0.1)
            now = time.monotonic()
            # Capped: after the computer has slept, hours have passed for the clock but not for
            # the worker.
            step, before = min(now - before, 1.0), now
            self._silent_s += step
            with self._lock:
                # Jobs run one after another: only the oldest can be at work.
                waiting = list(self._calls.values())
            for call in waiting:
                call.cancelling_s += step if call.cancel_requested else 0.0
            for call in waiting[:1]:
                call.quiet_s += step
            # A grandchild may hold the pipes open after the child has died: then they never end.
            exited_s += 0.0 if self._child.poll() is None else step
            if exited_s > 1.0:
                self._report_death()
            if error := self._complaint(waiting):
                self._end(error)

    def _complaint(self, waiting: list[Call]) -> WorkerError | None:
        """Why the process should be ended now, if it should."""
        limits = self.limits
        if any(call.cancelling_s > limits.cancel_s for call in waiting):
            return self._death("The worker did not react to Cancel, and was ended.", "worker_hangs")
        if self._silent_s > limits.silence_s:
            return self._death(
                f"The worker hangs: no sign of life for {limits.silence_s:g} s. It was ended.",
                "worker_hangs",
            )
        if not self.hello.done and self.hello.quiet_s > limits.start_s:
            return self._death(
                f"The worker was not ready after {limits.start_s:g} s. It was ended.",
                "worker_hangs",
            )
        if waiting and waiting[0].quiet_s > limits.stall_s:
            return self._death(
                f"The job made no progress for {limits.stall_s:g} s. It was ended.",
                "worker_hangs",
            )
        return None

    # How it ends.

    def _end(self, error: WorkerError) -> None:
        with self._lock:
            if self.ended:
                return
            self.ended = True
        # Calls first: killing may take seconds where the system is in trouble.
        self._fail_all(error)
        process.kill_tree(self._child)
        with contextlib.suppress(OSError, ValueError):
            assert self._child.stdin is not None
            self._child.stdin.close()

    def _fail_all(self, error: WorkerError) -> None:
        with self._lock:
            calls = list(self._calls.values())
            self._calls.clear()
        for call in calls:
            wanted = call.cancel_requested
            call.finish(None, WorkerError("Cancelled.", code="cancelled") if wanted else error)

    def _death(self, message: str, code: str) -> WorkerError:
        if self.hello.done:
            hint = "Try again: a new worker starts by itself. If it happens again, read the log."
        else:
            hint = "Check the worker in the add-on's preferences, or repair its environment."
        return WorkerError(
            message,
            hint=hint,
            code=code,
            setting="" if self.hello.done else "worker_python",
            log_path=self.log_path,
            log_tail="\n".join(self._tail),
        )

    def _not_our_worker(self) -> WorkerError:
        return WorkerError(
            f"The worker talks junk instead of answering ({self._junk[0]}).",
            hint="Point the preference at a Python that has the worker's packages, or repair the"
            " environment.",
            code="worker_junk",
            setting="worker_python",
            log_path=self.log_path,
            log_tail="\n".join(self._tail),
        )


def _wrong_version(version: object) -> WorkerError:
    return WorkerError(
        f"The worker speaks protocol {version}, the add-on {protocol.PROTOCOL_VERSION}.",
        hint="Restart Blender: an old worker or half an update is still loaded.",
        code="version_mismatch",
    )
