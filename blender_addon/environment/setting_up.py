"""Makes, checks and removes the worker's own Python environment.

Nothing is ever installed into Blender's Python. The environment is made beside its final name and
renamed last: a half-made one never counts.

Blocking functions, to be called from a thread; they report by ``progress(stage, done, total)``
and ask ``cancelled()``.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..worker import process
from ..worker.client import WorkerClient, WorkerSettings, find_root
from ..worker.protocol import WorkerError
from . import packages
from .installer import Cancelled, Progress, Runner
from .place import MARKER, Environment, current, data_dir, python_in

_OLDEST_PYTHON, _NEWEST_PYTHON = (3, 11), (3, 14)
_BYTES_NEEDED = {"cpu": 2_500_000_000, "mac": 2_500_000_000, "cu126": 9e9, "cu130": 9e9}


def set_up(
    *,
    device: str = "auto",
    online: bool = True,
    wheel_folder: str = "",
    base_python: str = "",
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Environment:
    """Make the environment afresh, and swap it in when the worker has answered from it.

    What was there before keeps working until then, and stays if this fails; so this is also how
    an environment is repaired.

    Args:
        device: which build of PyTorch: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        online: may the network be used? Blender's *Allow Online Access*.
        wheel_folder: take the packages from this folder, without any network.
        base_python: the interpreter to make it from; empty: Blender's own or one on PATH.
        progress: called with a stage and how many of 1000 parts are done.
        cancelled: asked often; True ends the set-up.

    Raises:
        WorkerError: with a remedy; code ``cancelled`` if so wished.
    """
    target = current()
    wheels = _checked_wheels(wheel_folder, online)
    machine = packages.detect()
    build = packages.choose_build(machine, device)
    requirements = packages.read_requirements(find_root() / "requirements.txt")
    steps = packages.plan(requirements, build, platform=machine.platform, wheel_folder=wheels)
    making = target.folder.with_name(target.folder.name + ".n")
    try:
        target.folder.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(target.folder.parent), Runner(target.log_path, progress, cancelled) as run:
            _check_space(target.folder.parent, build)
            _remove_folder(making)
            try:
                base = _choose_base(base_python)
                run.stage("Making the environment", 0.02)
                run.command([base, "-I", "-m", "venv", making], "The environment cannot be made")
                python = python_in(making)
                for step in steps:
                    run.look_at_pip(python)
                    run.pip(python, step)
                run.stage("Checking the environment", 0.1)
                _drop_broken_torchaudio(run, python)
                info = check(python)
                marker = {"build": build, "torch": info.get("torch"), "requirements": requirements}
                (making / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
                _swap_in(making, target.folder)
            finally:
                _remove_folder(making)
            run.finish()
    except OSError as error:
        raise _file_error(error, target.log_path) from error
    return current()


def check(python: Path) -> dict[str, Any]:
    """Start a worker with this interpreter, and return what it says of itself.

    Raises:
        WorkerError: if it does not start, hangs, lacks packages or is no worker.
    """
    client = WorkerClient(WorkerSettings(Path(python)))
    try:
        return client.start().wait()
    finally:
        client.close()


def download_commands(device: str, folder: str) -> list[str]:
    """What to run on a computer with network, like this one, to fill a folder of wheels.

    Args:
        device: what is to compute, as for ``set_up``.
        folder: where the wheels are to go; empty for ``wheels``.

    Raises:
        WorkerError: if no build of PyTorch gives this device here, or our files are damaged.
    """
    build = packages.choose_build(packages.detect(), device)
    requirements = packages.read_requirements(find_root() / "requirements.txt")
    return packages.download_commands(requirements, build, folder or "wheels")


def remove() -> int:
    """Delete our environments, of all requirements. Returns how many there were.

    Raises:
        WorkerError: if files are in use or protected.
    """
    folder = data_dir()
    found = sorted(path for path in folder.glob("env-*") if path.is_dir())
    try:
        if found:
            with _only_one(folder):
                for path in found:
                    _remove_folder(path)
    except OSError as error:
        raise _file_error(error, folder / "setup.log") from error
    return len(found)


# The steps of the set-up.


def _checked_wheels(wheel_folder: str, online: bool) -> Path | None:
    if wheel_folder:
        folder = Path(wheel_folder).expanduser().absolute()
        if not any(folder.glob("torch-*.whl")):
            raise WorkerError(
                f"{folder} holds no wheel of PyTorch (torch-….whl).",
                hint="Choose the folder that the packages were downloaded to, or leave it empty.",
                code="no_wheels",
                setting="wheel_folder",
            )
        return folder
    if not online:
        raise WorkerError(
            "Blender may not use the network, so the packages cannot be downloaded.",
            hint="Allow Online Access in Blender's preferences (System, Network), or choose a"
            " folder with the packages as wheels.",
            code="offline",
            setting="wheel_folder",
        )
    return None


def _choose_base(preference: str) -> str:
    """An interpreter that can make virtual environments, of a version PyTorch is built for."""
    candidates: list[list[str]] = []
    if preference:
        candidates = [[preference]]
    else:
        # Inside Blender this is Blender's own Python.
        candidates = [[sys.executable]] if sys.executable else []
        names = ["python3", "python"]
        versions = range(_NEWEST_PYTHON[1] - 1, _OLDEST_PYTHON[1] - 1, -1)
        names = [f"python3.{minor}" for minor in versions] + names
        candidates += [[found] for name in names if (found := shutil.which(name))]
        if launcher := shutil.which("py"):
            candidates += [[launcher, f"-3.{minor}"] for minor in versions]
    problems = []
    for candidate in candidates:
        executable, problem = _ask_python(candidate)
        if executable:
            return executable
        problems.append(f"{' '.join(candidate)}: {problem}")
    wanted = f"Python 3.{_OLDEST_PYTHON[1]} to 3.{_NEWEST_PYTHON[1]}"
    raise WorkerError(
        f"No {wanted} was found that can make a virtual environment"
        f" ({'; '.join(dict.fromkeys(problems)) or 'there is no Python at all'}).",
        hint=f"Install {wanted} from python.org (on Debian: apt install python3-venv), or choose"
        " one in the add-on's preferences.",
        code="no_base_python",
        setting="base_python",
    )


def _ask_python(command: list[str]) -> tuple[str, str]:
    """The interpreter behind a command, and an empty string; or an empty one and its problem."""
    question = (
        "import sys, json, platform, venv, ensurepip;"
        "print(json.dumps([sys.executable, sys.version_info[:2], sys.maxsize > 2**32]))"
    )
    try:
        # Only asking tells: names on PATH may be stand-ins that open a shop or just complain.
        asked = subprocess.run(
            [*command, "-I", "-c", question],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            stdin=subprocess.DEVNULL,
            env=process.clean_environment(),
            creationflags=process.NO_WINDOW,
        )
        executable, version, wide = json.loads(asked.stdout.strip().splitlines()[-1])
    except (OSError, subprocess.SubprocessError):
        return "", "does not run"
    except (ValueError, IndexError, TypeError):
        last = asked.stderr.strip().splitlines()[-1:]
        return "", last[0] if last else "does not answer"
    if not (_OLDEST_PYTHON <= tuple(version) <= _NEWEST_PYTHON and wide):
        return "", f"is version {version[0]}.{version[1]}{'' if wide else ', 32 bits'}"
    return str(executable), ""


def _drop_broken_torchaudio(run: Runner, python: Path) -> None:
    """Remove a torchaudio that does not fit PyTorch: transformers would fail along with it."""
    present = "import importlib.util as u, sys; sys.exit(u.find_spec('torchaudio') is None)"
    if run.succeeds([python, "-I", "-c", present]) and not run.succeeds(
        [python, "-I", "-c", "import torchaudio"]
    ):
        run.command(
            [python, "-I", "-m", "pip", "uninstall", "-y", "torchaudio"],
            "A torchaudio that does not work cannot be removed",
        )


def _check_space(folder: Path, build: str) -> None:
    needed, free = _BYTES_NEEDED[build], shutil.disk_usage(folder).free
    if free < needed:
        raise WorkerError(
            f"The set-up needs {needed / 1e9:.1f} GB in {folder}; {free / 1e9:.1f} GB are free.",
            hint="Free some space, or set the environment variable IDIOLECT_DATA to a folder on"
            " another disk.",
            code="disk_full",
        )


def _swap_in(making: Path, final: Path) -> None:
    """Put the new environment in its place; the old one goes only when the new one is there."""
    old = final.with_name(final.name + ".o")
    _remove_folder(old)
    if final.exists():
        _rename(final, old)
    try:
        _rename(making, final)
    except OSError:
        if old.exists():
            _rename(old, final)
        raise
    # What is left of the old one does no harm; the next set-up tries again.
    with contextlib.suppress(OSError):
        _remove_folder(old)


def _rename(source: Path, target: Path) -> None:
    """Rename; on Windows a virus scanner may hold fresh files for a few seconds."""
    for attempt in range(20):
        try:
            source.rename(target)
            return
        except PermissionError:
            if attempt == 19 or sys.platform != "win32":
                raise
            time.sleep(0.5)


def _remove_folder(folder: Path) -> None:
    if folder.exists():
        # The marker first: what cannot be deleted to the end must not count as ready.
        (folder / MARKER).unlink(missing_ok=True)
        shutil.rmtree(folder)


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold off a second Blender's set-up. The system frees the lock when a holder dies."""
    with open(folder / "setup.lock", "a+b") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkerError(
                "Another Blender is setting up the worker right now.",
                hint="Wait until it is done.",
                code="busy",
            ) from error
        yield


def _file_error(error: OSError, log: Path) -> WorkerError:
    where = error.filename or log.parent
    return WorkerError(
        f"{where} cannot be used: {error.strerror or error}.",
        hint="Close other Blenders that use the worker; or set the environment variable"
        " IDIOLECT_DATA to a folder that you may write to.",
        code="cannot_write",
        log_path=str(log),
    )
