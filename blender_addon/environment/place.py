"""Where the worker's own Python environment lies, and which interpreter is taken.

The environment lies in one short per-user folder (Windows is short of path length), named by the
hash of its requirements, so that all versions of Blender share it and an update of the add-on that
needs other packages gets a new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..worker.client import find_root
from ..worker.protocol import WorkerError
from . import packages

MARKER = "idiolect.json"


@dataclass(frozen=True)
class Environment:
    """The environment that belongs to the present requirements, made or not.

    Attributes:
        folder: where it is or would be.
        python: its interpreter.
        ready: whether it has been made to the end.
        build: which PyTorch it holds (``cpu``, ``cu130`` …); empty while not ready.
        log_path: what the last set-up wrote; may not exist.
    """

    folder: Path
    python: Path
    ready: bool
    build: str
    log_path: Path


def data_dir(
    platform: str = sys.platform, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> Path:
    """The per-user folder of environments. ``IDIOLECT_DATA`` overrides it (tests, render farms)."""
    environ = os.environ if environ is None else environ
    home = Path.home() if home is None else home
    if override := environ.get("IDIOLECT_DATA"):
        return Path(override)
    if platform == "win32":
        return Path(environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "Idiolect"
    if platform == "darwin":
        return home / "Library" / "Application Support" / "Idiolect"
    return Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "idiolect"


def current() -> Environment:
    """The environment for the requirements that this add-on came with."""
    requirements = packages.read_requirements(find_root() / "requirements.txt")
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:8]
    folder = data_dir() / f"env-{digest}"
    python = python_in(folder)
    build = ""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        build = str(json.loads((folder / MARKER).read_text(encoding="utf-8")).get("build", ""))
    # The interpreter too: the one it was made from may have been uninstalled since.
    ready = bool(build) and python.is_file()
    return Environment(folder, python, ready, build if ready else "", data_dir() / "setup.log")


def find_python(preference: str = "") -> Path:
    """The worker's interpreter: the preference, else IDIOLECT_PYTHON, else our environment.

    Args:
        preference: an interpreter, or the folder of a virtual environment; may be empty.

    Raises:
        WorkerError: if there is none (code ``no_environment``), or it is not a file.
    """
    for chosen, setting in (
        (preference, "worker_python"),
        (os.environ.get("IDIOLECT_PYTHON", ""), "IDIOLECT_PYTHON"),
    ):
        if chosen:
            path = Path(chosen).expanduser().absolute()
            path = python_in(path) if path.is_dir() else path
            if path.is_file():
                return path
            raise WorkerError(
                f"There is no Python at {path}.",
                hint="Choose another in the add-on's preferences, or leave the field empty.",
                code="no_python",
                setting=setting,
            )
    environment = current()
    if environment.ready:
        return environment.python
    raise WorkerError(
        "The worker is not set up yet.",
        hint="Press Set Up in the add-on's preferences.",
        code="no_environment",
        setting="worker_python",
    )


def python_in(folder: Path) -> Path:
    """The interpreter of a virtual environment in this folder."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
