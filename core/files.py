"""Where files go, and how they are written so that nobody ever meets half of one."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from core.errors import write_failed

Record = TypeVar("Record")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path beside `path` and renames it to `path` when the block succeeds.

    The temporary name keeps the suffix, since libraries choose a format by it. When the block
    raises, the temporary file is removed and what stood at `path` stays.

    Raises:
        IdiolectError: code "unwritable_file" when the folder or disk refuses.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix
        )
        os.close(handle)
    except OSError as error:
        raise write_failed(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(_default_mode())  # mkstemp makes files that only the owner may read
        temporary.replace(path)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _default_mode() -> int:
    """The permissions that `open` gives a new file (the mask can only be read by setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def cache_dir() -> Path:
    """The per-user folder for things that can be made again; created on demand.

    ``IDIOLECT_CACHE`` overrides it (tests, render farms).
    """
    if override := os.environ.get("IDIOLECT_CACHE"):
        folder = Path(override)
    elif sys.platform == "win32":
        folder = Path(os.environ.get("LOCALAPPDATA", Path.home())) / "Idiolect" / "cache"
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Caches" / "Idiolect"
    else:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "idiolect"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failed(folder, error, setting="IDIOLECT_CACHE") from error
    return folder


def save_record(record: Any, path: str | os.PathLike[str]) -> None:
    """Writes a dataclass of arrays, strings and tuples of strings as an .npz, one entry a field.

    Raises:
        IdiolectError: "unwritable_file".
    """
    with atomic_path(Path(path).with_suffix(".npz")) as temporary:
        np.savez(temporary, **{field.name: getattr(record, field.name) for field in fields(record)})


def load_record(kind: type[Record], path: str | os.PathLike[str]) -> Record:
    """Reads what `save_record` wrote, without pickles."""
    values: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as file:
        for field in fields(kind):  # type: ignore[arg-type]
            value = file[field.name]
            if field.type in ("str", str):
                values[field.name] = str(value)
            elif str(field.type).startswith("tuple[str"):
                values[field.name] = tuple(map(str, value))
            else:
                values[field.name] = value
    return kind(**values)
