"""An .npy file that is written row by row, so that a corpus larger than memory can be made."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from core.errors import write_failed


class GrowingArray:
    """An array on disk that rows are appended to.

    Until `close` it lies beside its final name, where nobody takes it for finished.

    Args:
        path: The .npy file to make.
        dtype: Its type of number.
        row_shape: Shape of one row.

    Raises:
        IdiolectError: "unwritable_file", by every method.
    """

    def __init__(self, path: Path, dtype: str, row_shape: tuple[int, ...] = ()) -> None:
        self.path, self.dtype, self.row_shape = path, np.dtype(dtype), row_shape
        self.rows = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".npy")
            self._temporary = Path(name)
            self._file = os.fdopen(handle, "wb")
            self._write_header()
        except OSError as error:
            raise write_failed(path, error) from error

    def append(self, rows: np.ndarray) -> None:
        """Add rows (n, *row_shape)."""
        if rows.shape[1:] != self.row_shape:
            raise ValueError(f"expected rows of shape {self.row_shape}, found {rows.shape[1:]}")
        try:
            self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        except OSError as error:
            raise write_failed(self.path, error) from error
        self.rows += len(rows)

    def close(self) -> None:
        """Write the final shape and put the file under its name."""
        try:
            self._file.seek(0)
            self._write_header()
            self._file.close()
            self._temporary.chmod(0o644)  # mkstemp makes files that only the owner may read
            self._temporary.replace(self.path)
        except OSError as error:
            raise write_failed(self.path, error) from error

    def discard(self) -> None:
        """Forget everything; nothing stays on disk."""
        self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _write_header(self) -> None:
        # numpy leaves room in the header for the first dimension to grow, so the data never moves.
        shape = (self.rows, *self.row_shape)
        header = {
            "descr": np.lib.format.dtype_to_descr(self.dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(self._file, header)
