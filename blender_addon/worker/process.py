"""Child processes: started with a clean environment, ended with all their descendants.

Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# Blender exports these for its own Python and libraries; another Python would load the wrong
# ones, or not start at all.
_STRIPPED_PREFIXES = ("PYTHON", "BLENDER_", "DYLD_")
_STRIPPED_NAMES = {"LD_LIBRARY_PATH", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV"}


NO_WINDOW: int = getattr(subprocess, "CREATE_NO_WINDOW", 0)
"""Flag for subprocess: Windows would flash up a console for every child."""


def clean_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment variables that a foreign Python may inherit from Blender."""
    environ = os.environ if environ is None else environ
    return {
        name: value
        for name, value in environ.items()
        if name.upper() not in _STRIPPED_NAMES and not name.upper().startswith(_STRIPPED_PREFIXES)
    }


def spawn(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path | str | None = None,
    stdin: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, without a console window on Windows.

    Raises:
        OSError: if the program cannot be started.
    """
    flags = 0
    if sys.platform == "win32":
        flags = NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return subprocess.Popen(
        [str(part) for part in command],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=dict(env),
        cwd=cwd,
        creationflags=flags,
        # The group lets kill_tree() reach grandchildren, and keeps Ctrl-C in the terminal from
        # ending the worker before Blender has heard of it.
        start_new_session=sys.platform != "win32",
    )


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """End a child started by ``spawn`` and all that it started itself. Never raises."""
    if sys.platform == "win32":
        if process.poll() is None:
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(
                    ["taskkill", "/T", "/F", "/PID", str(process.pid)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    creationflags=NO_WINDOW,
                    timeout=10,
                )
    else:
        # The group outlives its leader for as long as a grandchild is in it, so this is right
        # for a child that has already ended too; and no new process can take the number of a
        # group that still has members.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(OSError):
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=5)


def describe_exit(returncode: int | None) -> str:
    """Say in words how a process ended."""
    if returncode is None:
        return "it is still running"
    if returncode == -9 or returncode == 137:
        return "killed by the system, perhaps for want of memory"
    if returncode < 0:
        try:
            return f"ended by {signal.Signals(-returncode).name}"
        except ValueError:
            return f"ended by signal {-returncode}"
    if returncode >= 0xC0000000:
        return f"crashed with code {returncode:#x}"
    return f"exit code {returncode}"
