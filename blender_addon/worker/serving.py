"""The worker's loop: requests in, answers out, one job at a time.

Three threads. The main one runs jobs. One reads requests, so that a cancel, or the end of the
input, is noticed in the middle of a job. One gives signs of life, and notices when the parent has
died while some other process of its keeps our input open.

Knows nothing of speech or faces, and does not import ``core``. Standard library only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any, BinaryIO

from . import protocol
from .protocol import Failure, Progress, Request, Result, WorkerError

log = logging.getLogger("idiolect.worker")

_UNWIND_S = 2.0
"""What a job gets to notice that nobody waits for it any more, and to remove its half files."""
_PROGRESS_EVERY_S = 0.05


class Job:
    """One request while it is worked on: its parameters, its progress, and whether to stop."""

    def __init__(self, server: Server, request: Request) -> None:
        self.id = request.id
        self.method = request.method
        self.params = request.params
        self._server = server
        self._last_stage = ""
        self._last_sent = 0.0

    def progress(self, stage: str, done: int, total: int) -> None:
        """Tell the add-on how far the job is; at most twenty times a second."""
        now = time.monotonic()
        soon = now - self._last_sent < _PROGRESS_EVERY_S
        if stage == self._last_stage and done != total and soon:
            return
        self._last_stage, self._last_sent = stage, now
        self._server.send(Progress(self.id, stage, int(done), int(total)))

    def cancelled(self) -> bool:
        """Should the job end early? Asked often, so it must be cheap."""
        return self._server.is_cancelled(self.id)


class Server:
    """Serves one parent over a pair of binary streams until the parent goes away."""

    def __init__(self, requests: BinaryIO, answers: BinaryIO) -> None:
        self._requests = requests
        self._answers = answers
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._open: set[int] = set()
        self._cancelled: set[int] = set()
        self._closing = threading.Event()
        self._send_lock = threading.Lock()

    def send(self, answer: protocol.Answer) -> None:
        """Write one answer. A parent that no longer listens is no error here."""
        self._write(answer.to_line())

    def _write(self, line: bytes) -> None:
        with self._send_lock, contextlib.suppress(OSError, ValueError):
            self._answers.write(line)
            self._answers.flush()

    def is_cancelled(self, request_id: int) -> bool:
        """Has this request been cancelled, or is the whole worker about to end?"""
        return request_id in self._cancelled or self._closing.is_set()

    def run(
        self,
        handle: Callable[[Job], dict[str, Any]],
        describe: Callable[[BaseException], WorkerError],
        *,
        idle_s: float,
        on_idle: Callable[[], None],
    ) -> None:
        """Serve until the input ends.

        Args:
            handle: does a job and returns its result; what it raises goes to ``describe``.
            describe: turns any exception into what the user is told.
            idle_s: seconds without a job after which ``on_idle`` is called, once; 0: never.
            on_idle: frees what a resting worker should not hold.
        """
        for target in (self._read, self._live):
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        rested = False
        while not self._closing.is_set():
            try:
                request = self._queue.get(timeout=None if rested or idle_s <= 0 else idle_s)
            except queue.Empty:
                on_idle()
                rested = True
                continue
            if request is not None:
                self._work(Job(self, request), handle, describe)
                rested = False

    def _work(
        self,
        job: Job,
        handle: Callable[[Job], dict[str, Any]],
        describe: Callable[[BaseException], WorkerError],
    ) -> None:
        started = time.monotonic()
        try:
            if job.cancelled():
                raise WorkerError("Cancelled.", code="cancelled")
            line, ending = Result(job.id, handle(job)).to_line(), "done"
        # The one place where everything is caught: a bug in a job must reach the add-on as an
        # error with its log, not as a dead worker.
        except Exception as error:
            told = describe(error)
            line, ending = Failure(job.id, told).to_line(), told.code
        self._open.discard(job.id)
        self._cancelled.discard(job.id)
        log.info("%s: %s after %.2f s", job.method, ending, time.monotonic() - started)
        self._write(line)

    # The other two threads.

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := self._requests.readline(protocol.MAX_LINE_BYTES):
                try:
                    request = protocol.parse_request(line)
                except protocol.JunkError as junk:
                    log.warning("ignored a line that is no request: %s", junk)
                    continue
                if request.method == "cancel":
                    self._cancel(request)
                elif request.method == "shutdown":
                    self.send(Result(request.id, {}))
                    break
                else:
                    self._open.add(request.id)
                    self._queue.put(request)
        self._close("the input has ended")

    def _cancel(self, request: Request) -> None:
        target = request.params.get("id")
        found = target in self._open
        if found:
            self._cancelled.add(target)  # type: ignore[arg-type]
        self.send(Result(request.id, {"cancelled": found}))

    def _live(self) -> None:
        parent = os.getppid()
        while not self._closing.wait(protocol.ALIVE_EVERY_S):
            self.send(protocol.Alive())
            if os.name == "posix" and os.getppid() != parent:
                self._close("the parent has died")

    def _close(self, why: str) -> None:
        """End the worker: a resting one at once, a busy one after a moment to clean up."""
        if self._closing.is_set():
            return
        log.info("ending: %s", why)
        self._closing.set()
        self._queue.put(None)
        guard = threading.Timer(_UNWIND_S, _end_group)
        guard.daemon = True  # a loop that returns in time takes the guard with it
        guard.start()


def _end_group() -> None:
    """End this process and whatever it has started (a decoder, say), without further ado."""
    with contextlib.suppress(OSError):
        if os.name == "posix" and os.getpgrp() == os.getpid():
            os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)
