"""FLAME model files: the user's own download, pickle or npz, checked before anything uses it.

FLAME 2017, 2019, 2020, 2023 (with and without jaw rotation) and 2023 Open all hold the same arrays;
what differs is the wrapping: chumpy objects, a sparse joint regressor, unsigned indices whose root
parent is 2³² − 1, Python 2 text. Here they become plain numpy arrays. Idiolect ships no FLAME data.

Convention: x to the subject's left, y up, z front; metres. Shape letters: V vertices, F triangles,
J = 5 joints, S shape (identity) components, E expression components.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from core.errors import IdiolectError, read_failed
from core.restricted_pickle import load_restricted, loads_restricted

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
PARENTS = (-1, 0, 1, 1, 1)
# Published models hold 300 shape and then 100 expression components.
SHAPE_COMPONENTS = 300
# The cut-down ones made with smplx hold ten of each.
SMALL_MODEL = (20, 10)
# A file's skin weights add up to one but for the rounding of the file's own precision.
WEIGHT_TOLERANCE = 1e-3
# A member of an npz that unpacks to more than this is no face model.
MAX_MEMBER_BYTES = 1 << 28

_REQUIRED = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights")


@dataclass(frozen=True)
class FlameData:
    """A FLAME model, double precision.

    Attributes:
        name: The file's name.
        v_template: (V, 3) the mean face, metres.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        shapedirs: (V, 3, S) metres a unit of `betas`; components have unit variance.
        expression_dirs: (V, 3, E) metres a unit of `expression`; unit variance.
        posedirs: (V, 3, 36) metres a unit of the rotation matrices, less the identity, of
            neck, jaw and eyes, row by row.
        joint_regressor: (J, V) the joints as weighted means of the vertices.
        lbs_weights: (V, J) skin weights; each row adds up to 1.
    """

    name: str
    v_template: np.ndarray
    faces: np.ndarray
    shapedirs: np.ndarray
    expression_dirs: np.ndarray
    posedirs: np.ndarray
    joint_regressor: np.ndarray
    lbs_weights: np.ndarray


def load_flame(path: str | Path, *, shape_components: int | None = None) -> FlameData:
    """Reads a FLAME model file.

    Args:
        path: A ``.npz``, or a pickle under any other name.
        shape_components: How many of the file's components are shape, the rest being expression;
            by default 300 (10 in models of 20 components). Only cut-down files need it.

    Raises:
        IdiolectError: "missing_file", "unreadable_file"; "unsafe_file" and "broken_file" from
            `core.restricted_pickle`; "bad_flame" with the file, what was expected and what found.
    """
    path = Path(path)
    arrays = _read_npz(path) if path.suffix.lower() == ".npz" else _read_pickle(path)
    try:
        return _checked(path.name, arrays, shape_components)
    except (ValueError, TypeError) as problem:
        raise _bad(path.name, str(problem)) from problem


def _bad(name: str, problem: str) -> IdiolectError:
    return IdiolectError(
        f"{name} is not a FLAME model that can be used: {problem}.",
        hint="Choose the model file as downloaded from flame.is.tue.mpg.de (.pkl or .npz).",
        code="bad_flame",
        setting="flame_file",
    )


def _check_names(name: str, found: Iterable[str]) -> None:
    found = set(found)
    if missing := [key for key in _REQUIRED if key not in found]:
        plural = "s" if len(missing) > 1 else ""
        listed = ", ".join(sorted(found)[:20]) or "nothing"
        raise _bad(name, f"expected the array{plural} {', '.join(missing)}; found {listed}")


def _read_pickle(path: Path) -> Mapping[str, Any]:
    data = load_restricted(path, setting="flame_file")
    if not isinstance(data, dict):
        raise _bad(path.name, f"expected named arrays, found a {type(data).__name__}")
    _check_names(path.name, data)
    return data


def _read_npz(path: Path) -> Mapping[str, Any]:
    """The required arrays of an npz; an object array (a sparse matrix) is read as a pickle."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            _check_names(path.name, members)
            return {name: _read_npy(archive, members[name], path.name) for name in _REQUIRED}
    except OSError as error:
        raise read_failed(path, error, setting="flame_file") from error
    except (ValueError, EOFError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as problem:
        raise _bad(path.name, f"it does not read as .npz ({problem})") from problem


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, file_name: str) -> Any:
    """One array. Its bytes are read first, so that a header cannot claim more than there is."""
    if member.file_size > MAX_MEMBER_BYTES:
        raise ValueError(f"{member.filename} unpacks to {member.file_size >> 20} MB")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read_header is None:
            raise ValueError(f"{member.filename} has version {version} of the npy format")
        shape, fortran, dtype = read_header(file)
        content = file.read(MAX_MEMBER_BYTES)
    if dtype.hasobject:
        return loads_restricted(content, f"{file_name}/{member.filename}", setting="flame_file")
    array = np.frombuffer(content, dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _checked(name: str, arrays: Mapping[str, Any], shape_components: int | None) -> FlameData:
    """The arrays in their final types, after every check.

    Raises:
        ValueError: with what was expected and what was found.
    """
    v_template = _array(arrays, "v_template", (None, 3))
    count = len(v_template)
    joints = len(JOINTS)
    _check_tree(arrays["kintree_table"])
    dirs = _array(arrays, "shapedirs", (count, 3, None))
    split = _shape_count(dirs.shape[2], shape_components)
    weights = _array(arrays, "weights", (count, joints))
    if weights.min() < -WEIGHT_TOLERANCE or np.abs(weights.sum(1) - 1).max() > WEIGHT_TOLERANCE:
        raise ValueError("expected skin weights from 0 to 1 that add up to 1 at each vertex")
    return FlameData(
        name=name,
        v_template=v_template,
        faces=_faces(arrays, count),
        shapedirs=dirs[:, :, :split],
        expression_dirs=dirs[:, :, split:],
        posedirs=_array(arrays, "posedirs", (count, 3, 9 * (joints - 1))),
        joint_regressor=_array(arrays, "J_regressor", (joints, count)),
        lbs_weights=weights,
    )


def _array(arrays: Mapping[str, Any], key: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """One array in double precision; None in `shape` stands for any number above zero."""
    found = arrays[key]
    found_shape = getattr(found, "shape", None)
    fits = (
        found_shape is not None
        and len(found_shape) == len(shape)
        and all(
            size == wanted or (wanted is None and size > 0)
            for size, wanted in zip(found_shape, shape, strict=True)
        )
    )
    if not fits:
        wanted_text = " × ".join("any" if n is None else str(n) for n in shape)
        found_text = " × ".join(map(str, found_shape)) if found_shape else type(found).__name__
        raise ValueError(f"expected {key} of {wanted_text}, found {found_text}")
    array = found.toarray() if sp.issparse(found) else np.asarray(found)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"expected numbers in {key}, found {array.dtype}")
    array = np.ascontiguousarray(array, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{key} holds values that are not finite")
    return array


def _faces(arrays: Mapping[str, Any], vertex_count: int) -> np.ndarray:
    faces = _array(arrays, "f", (None, 3)).astype(np.int64)
    if faces.min() < 0 or faces.max() >= vertex_count:
        raise ValueError(
            f"expected faces between vertices 0 and {vertex_count - 1}, "
            f"found {faces.min()} to {faces.max()}"
        )
    return faces


def _check_tree(table: Any) -> None:
    """The joints must be FLAME's; the root's parent is written as −1 or as 2³² − 1."""
    table = np.asarray(table)
    if table.shape != (2, len(JOINTS)) or table.dtype.kind not in "fiu":
        raise ValueError(
            f"expected a kintree_table of 2 × {len(JOINTS)} joints ({', '.join(JOINTS)}), "
            f"found {' × '.join(map(str, table.shape)) or table.dtype}"
        )
    parents = tuple(table[0].astype(np.int64).tolist())
    if parents[1:] != PARENTS[1:]:
        raise ValueError(f"expected joints with the parents {PARENTS}, found {parents}")


def _shape_count(components: int, wanted: int | None) -> int:
    """How many of a file's components are shape."""
    if wanted is None:
        small, small_shape = SMALL_MODEL
        wanted = small_shape if components == small else SHAPE_COMPONENTS
    if not 0 <= wanted < components:
        raise ValueError(
            f"expected more than {wanted} components in shapedirs (shape, then expression), "
            f"found {components}; say how many of them are shape"
        )
    return wanted
