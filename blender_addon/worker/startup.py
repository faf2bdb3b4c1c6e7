"""What the worker does before it serves: it secures its pipes and opens its log.

Standard library only.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import sys
import time
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger("idiolect.worker")

_KEPT_LOGS = 10


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Keep stdin and stdout for messages alone; returns both.

    A print anywhere, or a library that writes to descriptor 1, goes to stderr from here on, and a
    child process reads an empty input and not our requests.
    """
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, answers


def start_log(folder: Path | None) -> str:
    """Log to stderr, and to a file of this process's own in a folder.

    Returns:
        The file; empty if there is none, since a worker without a log is better than no worker.
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.captureWarnings(True)
    if folder is None:
        return ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("worker-*.log*"))[: -_KEPT_LOGS + 1]:
            with contextlib.suppress(OSError):  # Windows: another worker has it open
                old.unlink()
        # One file a process: on Windows a log that two of them share cannot be rotated.
        path = folder / f"worker-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=1_000_000, backupCount=1, encoding="utf-8"
        )
    except OSError as error:
        log.warning("there is no log file: %s", error)
        return ""
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    return str(path)
