"""What a batch says: one line for each event, errors on stderr, a table at the end."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from ..worker.protocol import WorkerError

_SAY_EVERY_S = 2.0
_terminal: TextIO | None = None
"""Where progress goes while Blender's own stdout is switched off."""


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=_terminal or sys.stdout, flush=True)


def complain(error: WorkerError, line: str = "") -> None:
    """An error as one line on stderr."""
    text = " ".join(f"{error.message} {error.hint}".split())
    log = f" (log: {error.log_path})" if error.log_path else ""
    print(f"{line}: error: {text}{log}".removeprefix(": "), file=sys.stderr, flush=True)


def span(seconds: float) -> str:
    """A time for people: "40 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of text in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


class Progress:
    """Stages of one line of speech: each new one at once, the same one now and then."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._stage = ""
        self._said = 0.0
        self._began = time.monotonic()

    def __call__(self, text: str) -> None:
        """Say it, unless the same was said a moment ago."""
        stage = text.rstrip("0123456789% …")
        now = time.monotonic()
        if stage != self._stage or now - self._said > _SAY_EVERY_S:
            self._stage, self._said = stage, now
            say(f"{self._line}: {text}")

    def frames(self, done: int, total: int) -> None:
        """Frames rendered, and how long the rest will take."""
        if done == 1:
            self._began = time.monotonic()
        left = (time.monotonic() - self._began) / max(1, done - 1) * (total - done)
        rest = f", {span(left)} left" if done > 1 else ""
        if done in (1, total) or time.monotonic() - self._said > _SAY_EVERY_S:
            self._said = time.monotonic()
            say(f"{self._line}: rendered {done} of {total} frames{rest}")


@contextlib.contextmanager
def quiet_blender() -> Iterator[None]:
    """Silence the many lines that Blender and its exporters print."""
    global _terminal
    if _terminal is not None:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    _terminal = os.fdopen(os.dup(kept), "w", encoding=sys.stdout.encoding or "utf-8")
    try:
        yield
    finally:
        sys.stdout.flush()  # what Python held back goes where it belongs
        _terminal.close()
        _terminal = None
        os.dup2(kept, 1)
        os.close(kept)
