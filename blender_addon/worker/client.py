"""Blender's end of the pipe: which worker to run, and the one that runs.

Nothing here blocks Blender: ``request`` returns a ``Call`` at once, and ``Call.poll`` says
whether it is done. What happens to one process from start to end is in ``life.py``.

Standard library only, Python 3.11 to 3.14.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import process
from .life import Call, Life, Limits
from .protocol import WorkerError

__all__ = [
    "Call",
    "Limits",
    "WorkerClient",
    "WorkerSettings",
    "close_client",
    "find_root",
    "get_client",
]


@dataclass(frozen=True)
class WorkerSettings:
    """Which worker to run. Two equal settings share one process."""

    python: Path
    """The interpreter that has PyTorch (see ``environment.find_python``)."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``mps``."""
    idle_unload_s: float = 600.0
    """Free the model's memory after so long without a job."""
    online: bool = False
    """May models be fetched from the hub? Blender's *Allow Online Access*."""
    threads: int = 0
    """CPU threads of PyTorch; 0: its own choice."""
    log_dir: Path | None = None
    """None: a folder in the user's cache."""


class WorkerClient:
    """Keeps one worker alive: starts it when first needed, and again after it has died."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        root: Path | None = None,
        limits: Limits | None = None,
        environ: Mapping[str, str] | None = None,
        command: list[str] | None = None,
    ) -> None:
        """Prepare, without starting anything.

        Args:
            settings: which worker.
            root: the folder that holds ``core/``; found by itself if None.
            limits: how patient to be.
            environ: what the child's environment is made from; None: this process's.
            command: the whole command line, in place of the one made from the settings.
        """
        self.settings = settings
        self.limits = limits or Limits()
        self._root = root
        self._environ = environ
        self._command = command
        self._life: Life | None = None
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Is there a process now?"""
        return self._life is not None and not self._life.ended

    @property
    def info(self) -> dict[str, Any] | None:
        """The running worker's answer to ``hello``; None before it, and after its death."""
        life = self._life
        if life is None or life.ended or not life.hello.done:
            return None
        try:
            return life.hello.poll()
        except WorkerError:
            return None

    @property
    def log_path(self) -> str:
        """The log of the running or the last worker, once it has said where that is."""
        return self._life.log_path if self._life is not None else ""

    @property
    def pid(self) -> int | None:
        """The process number of the running worker."""
        return self._life.pid if self._life is not None and not self._life.ended else None

    def start(self) -> Call:
        """Start the process if none runs. Returns its ``hello``, without waiting for it.

        Raises:
            WorkerError: if the interpreter cannot be started at all.
        """
        with self._lock:
            if self._life is None or self._life.ended:
                self._life = Life(self._command_line(), self._child_environment(), self.limits)
            return self._life.hello

    def request(self, method: str, params: dict[str, Any] | None = None) -> Call:
        """Send a request, starting the worker first if need be. Paths must be absolute.

        Raises:
            WorkerError: if the interpreter cannot be started at all.
        """
        self.start()
        life = self._life
        assert life is not None
        return life.post(method, params or {})

    def close(self) -> None:
        """End the worker, gently and then by force. Pending calls fail at once."""
        with self._lock:
            life, self._life = self._life, None
        if life is not None:
            life.close()

    def _command_line(self) -> list[str]:
        if self._command is not None:
            return self._command
        settings = self.settings
        command = [
            str(settings.python),
            # Isolated: no PYTHON* variables, no user site, no current folder on sys.path.
            "-I",
            "-u",
            "-X",
            "utf8",
            str(Path(__file__).with_name("__main__.py")),
            "--root",
            str(self._root or find_root()),
            "--device",
            settings.device,
            "--idle-unload",
            str(settings.idle_unload_s),
            "--threads",
            str(settings.threads),
        ]
        if settings.log_dir is not None:
            command += ["--log-dir", str(settings.log_dir)]
        return command

    def _child_environment(self) -> dict[str, str]:
        env = process.clean_environment(self._environ)
        env["HF_HUB_DISABLE_TELEMETRY"] = "1"
        if not self.settings.online:
            env["HF_HUB_OFFLINE"] = env["TRANSFORMERS_OFFLINE"] = "1"
        return env


def find_root() -> Path:
    """The folder that holds ``core/``: the installed add-on's own, or its parent in a checkout.

    Raises:
        WorkerError: if neither has it.
    """
    # A developer may have linked the folder into Blender's: look beside the link, then behind it.
    for addon in (Path(__file__).absolute().parents[1], Path(__file__).resolve().parents[1]):
        for root in (addon, addon.parent):
            if (root / "core" / "__init__.py").is_file():
                return root
    raise WorkerError(
        "The add-on is incomplete: its folder 'core' is missing.",
        hint="Install it again from its zip file.",
        code="damaged_install",
    )


_client: WorkerClient | None = None


def get_client(settings: WorkerSettings) -> WorkerClient:
    """The one client of this Blender. Other settings than last time end the old worker."""
    global _client
    if _client is None or _client.settings != settings:
        close_client()
        _client = WorkerClient(settings)
    return _client


def close_client() -> None:
    """End the one worker, if there is one. For unregistering the add-on, and for exit."""
    global _client
    client, _client = _client, None
    if client is not None:
        client.close()


atexit.register(close_client)
