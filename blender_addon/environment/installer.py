"""Runs the commands of a set-up: log, progress, cancel, and words for what pip complains about.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..worker import process
from ..worker.protocol import WorkerError
from .packages import Step

Progress = Callable[[str, int, int], None]
Cancelled = Callable[[], bool]

_SILENT_S = 1800.0
"""Unpacking a large package onto a slow disk says nothing for minutes."""


class Runner:
    """Runs commands one after another, with a log, progress and cancel."""

    def __init__(
        self, log_path: Path, progress: Progress | None, cancelled: Cancelled | None
    ) -> None:
        self._log_path = log_path
        self._log: IO[str] | None = None
        self._progress = progress
        self._cancelled = cancelled
        self._raw_bar = False
        self._title = ""
        self._before = 0.0
        self._share = 0.0

    def __enter__(self) -> Runner:
        self._log = open(self._log_path, "w", encoding="utf-8")
        return self

    def __exit__(self, *_: object) -> None:
        if self._log is not None:
            self._log.close()

    def stage(self, title: str, share: float) -> None:
        """Begin a stage that takes this share of the whole."""
        self._before += self._share
        self._title, self._share = title, share
        self._within(0.0)

    def finish(self) -> None:
        """Fill the bar."""
        self._before, self._share = 1.0, 0.0
        self._within(0.0)

    def pip(self, python: Path, step: Step) -> None:
        """Run a pip command, then its fallback.

        Raises:
            WorkerError: if both failed and the step is not optional, or if cancelled.
        """
        self.stage(step.title, step.share)
        attempts = [step.arguments, step.fallback] if step.fallback else [step.arguments]
        tail: list[str] = []
        for arguments in attempts:
            bar = ["--progress-bar", "raw"] if self._raw_bar else []
            command = [str(python), "-I", "-m", "pip", *arguments, *bar]
            code, tail = self._run(command, _PipOutput(self._within))
            if code == 0:
                return
        if not step.optional:
            raise pip_error(tail, offline="--no-index" in step.arguments, log=str(self._log_path))

    def look_at_pip(self, python: Path) -> None:
        """Find out whether this pip can report how much of a file it has (24.1 and later)."""
        _, tail = self._run([str(python), "-I", "-m", "pip", "--version"], None)
        version = re.match(r"pip (\d+)\.(\d+)", tail[-1] if tail else "")
        self._raw_bar = version is not None and (int(version[1]), int(version[2])) >= (24, 1)

    def command(self, command: list[Any], failure: str) -> None:
        """Run a command that has to succeed.

        Raises:
            WorkerError: beginning with ``failure``, or if cancelled.
        """
        code, tail = self._run([str(part) for part in command], None)
        if code != 0:
            raise WorkerError(
                f"{failure}: {tail[-1] if tail else process.describe_exit(code)}",
                hint="The log has the details.",
                code="set_up_failed",
                log_path=str(self._log_path),
                log_tail="\n".join(tail),
            )

    def succeeds(self, command: list[Any]) -> bool:
        """Run a command; does it end well?"""
        return self._run([str(part) for part in command], None)[0] == 0

    def _within(self, fraction: float, detail: str = "") -> None:
        if self._progress is not None:
            done = self._before + self._share * min(1.0, fraction)
            title = f"{self._title}: {detail}" if detail else self._title
            self._progress(title, round(1000 * min(1.0, done)), 1000)

    def _run(self, command: list[str], output: _PipOutput | None) -> tuple[int, list[str]]:
        assert self._log is not None
        self._log.write(f"$ {' '.join(command)}\n")
        child = process.spawn(
            command,
            env=_pip_environment(offline="--no-index" in command),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            cwd=self._log_path.parent,
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=_drain, args=(child, lines), daemon=True).start()
        tail: list[str] = []
        heard = time.monotonic()
        try:
            while True:
                if self._cancelled is not None and self._cancelled():
                    raise WorkerError("Cancelled.", code="cancelled")
                try:
                    line = lines.get(timeout=0.1)
                except queue.Empty:
                    if time.monotonic() - heard > _SILENT_S:
                        tail.append(f"no output for {_SILENT_S / 60:.0f} minutes; given up")
                        return 1, tail
                    continue
                if line is None:
                    return child.wait(), tail
                heard = time.monotonic()
                if output is None or not output.take(line):
                    self._log.write(line + "\n")
                    self._log.flush()
                    tail = [*tail[-60:], line]
        finally:
            process.kill_tree(child)


class _PipOutput:
    """Reads progress out of what pip prints."""

    _USUAL_PACKAGES = 40

    def __init__(self, report: Callable[[float, str], None]) -> None:
        self._report = report
        self._names = 0
        self._name = ""

    def take(self, line: str) -> bool:
        """Read a line; True if it was only a tick of a progress bar."""
        if tick := re.match(r"Progress (\d+) of (\d+)", line):
            done, total = int(tick[1]), max(1, int(tick[2]))
            self._tell(done / total, f" {done / 1e6:.0f} of {total / 1e6:.0f} MB")
            return True
        if found := re.match(r"Collecting ([\w.\-]+)", line):
            self._names += 1
            self._name = found[1]
            self._tell(0.0)
        elif line.startswith("Installing collected packages"):
            self._report(0.85, "unpacking")
        return False

    def _tell(self, within: float, amount: str = "") -> None:
        # How many packages will come is not known beforehand: approach the end without reaching it.
        before = 1.0 - 0.5 ** ((self._names - 1) / (self._USUAL_PACKAGES / 4))
        after = 1.0 - 0.5 ** (self._names / (self._USUAL_PACKAGES / 4))
        self._report(0.8 * (before + (after - before) * within), f"{self._name}{amount}")


def _drain(child: subprocess.Popen[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    assert child.stdout is not None
    with contextlib.suppress(OSError, ValueError):
        for raw in child.stdout:
            lines.put(raw.decode("utf-8", "replace").rstrip())
    lines.put(None)


def _pip_environment(*, offline: bool) -> dict[str, str]:
    """The user's own pip settings (mirror, proxy, certificates), but for where to install.

    From a wheel folder they are left out altogether: what is installed is what lies there.
    """
    env = process.clean_environment()
    if offline:
        env = {name: value for name, value in env.items() if not name.upper().startswith("PIP_")}
        env["PIP_CONFIG_FILE"] = os.devnull
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_REQUIREMENT", "PIP_CONSTRAINT"):
        env.pop(name, None)
    env.update(
        PIP_USER="0",
        PIP_NO_COLOR="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        PIP_REQUIRE_VIRTUALENV="0",
    )
    return env


_PIP_PROBLEMS = (
    (
        r"No space left on device|\[Errno 28\]|not enough space",
        "disk_full",
        "The disk is full.",
        "Free some space, or set the environment variable IDIOLECT_DATA to a folder on another"
        " disk.",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSL: ",
        "network",
        "The package index cannot be trusted: its certificate does not check out.",
        "Behind a company's proxy, tell pip its certificate (pip config set global.cert FILE), or"
        " use a folder of wheels.",
    ),
    (
        r"NewConnectionError|Max retries exceeded|getaddrinfo failed|Name or service not known"
        r"|ProxyError|Read timed out|ConnectionResetError|Network is unreachable|Connection broken",
        "network",
        "The package index cannot be reached.",
        "Check the network connection (pip's own proxy and mirror settings are used), or use a"
        " folder of wheels.",
    ),
    (
        r"DO NOT MATCH THE HASHES|BadZipFile|IncompleteRead",
        "network",
        "A download arrived damaged.",
        "Try again; if it happens again, run 'pip cache purge'.",
    ),
    (
        r"Permission denied|Access is denied|\[Errno 13\]|\[WinError 5\]",
        "access_refused",
        "Access to a file was refused.",
        "Close other Blenders that use the worker, and check the folder's permissions.",
    ),
)


def pip_error(tail: list[str], *, offline: bool, log: str) -> WorkerError:
    """What the user is told when pip has failed."""
    text = "\n".join(tail)
    missing = re.search(r"No matching distribution found for ([^\s(]+)", text)
    problem = ("set_up_failed", "The packages cannot be installed.", "The log has the details.")
    for pattern, *found in _PIP_PROBLEMS:
        if re.search(pattern, text, re.IGNORECASE):
            problem = (found[0], found[1], found[2])
            break
    else:
        if missing and offline:
            problem = (
                "no_wheels",
                f"The wheel folder has no {missing[1]} that fits this Python and system.",
                "Download the packages again, on a computer with the same system and Python.",
            )
        elif missing:
            problem = (
                "set_up_failed",
                f"The package index has no {missing[1]} that fits this Python and system.",
                "Choose another Python in the add-on's preferences (3.11 to 3.13 are safest).",
            )
    code, message, hint = problem
    setting = "wheel_folder" if code == "no_wheels" else ""
    return WorkerError(
        message, hint=hint, code=code, setting=setting, log_path=log, log_tail="\n".join(tail[-40:])
    )
