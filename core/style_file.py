"""A captured manner as a small file: a style code, its name, and the model that it belongs to."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import IdiolectError, read_failed
from core.files import load_record, save_record

SUFFIX = ".style.npz"
FORMAT = "idiolect-style-1"


@dataclass(frozen=True)
class StyleFile:
    """What a style file holds.

    Attributes:
        format: `FORMAT`.
        name: What the user calls it.
        code: (d_s,) float32.
        model: Name of the model whose code this is.
        fingerprint: That model's `core.animator.Animator.fingerprint`.
    """

    format: str
    name: str
    code: np.ndarray
    model: str
    fingerprint: str


def save_style(path: Path, name: str, code: np.ndarray, model: str, fingerprint: str) -> None:
    """Write a style file.

    Raises:
        IdiolectError: "bad_output" unless the name ends in `SUFFIX`; "unwritable_file".
    """
    if not path.name.endswith(SUFFIX):
        raise IdiolectError(
            f"{path.name} is no name for a style.",
            hint=f"Let it end in {SUFFIX}.",
            code="bad_output",
            setting="output",
        )
    save_record(StyleFile(FORMAT, name, np.asarray(code, np.float32), model, fingerprint), path)


def load_style(path: Path, fingerprint: str) -> StyleFile:
    """Read a style file.

    Args:
        path: The file.
        fingerprint: Of the model that is to speak in this style.

    Raises:
        IdiolectError: "missing_file", "unreadable_file"; "bad_style" for another kind of file, or
            another model's style.
    """
    try:
        style = load_record(StyleFile, path)
    except OSError as error:
        raise read_failed(path, error, setting="style") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _bad(path, f"it is no style file ({error})", "Choose one made by Save Style.") from (
            error
        )
    if style.format != FORMAT or style.code.ndim != 1 or not np.isfinite(style.code).all():
        raise _bad(path, "it is no style file", "Choose one made by Save Style.")
    if style.fingerprint != fingerprint:
        raise _bad(
            path,
            f"it was saved with another model, '{style.model}'",
            "Choose that model, or capture the style from its reference again.",
        )
    return style


def _bad(path: Path, problem: str, hint: str) -> IdiolectError:
    return IdiolectError(
        f"{path.name} cannot be used: {problem}.", hint=hint, code="bad_style", setting="style"
    )
