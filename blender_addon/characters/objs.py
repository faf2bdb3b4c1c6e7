"""A character from a folder of OBJ files: a neutral face, and one file for each shape.

Blender's own importer makes the neutral mesh, with its UVs and materials; of the shapes only the
vertices are read, which must be as many and in the same order.

Shapes: V vertices, K shape keys.
"""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
import numpy.typing as npt

from ..rig.meshes import add_keys
from ..rig.names import meaning_of
from ..worker.protocol import WorkerError

_NEUTRAL_WORDS = ("neutral", "basis", "base", "rest")


def build(path: str) -> bpy.types.Object:
    """Import a neutral OBJ into the scene, with the shapes beside it as keys.

    Args:
        path: the neutral file, or the folder that holds it.

    Raises:
        WorkerError: if there is no neutral face, or a shape does not fit it.
    """
    neutral = _neutral_file(Path(bpy.path.abspath(path)))
    shapes = sorted(
        file
        for file in neutral.parent.iterdir()
        if file.suffix.lower() == ".obj" and file != neutral and meaning_of(file.stem).channels
    )
    if not shapes:
        raise _bad(f"There are no shapes beside {neutral.name}.", "Name them jawOpen.obj, …")
    at_rest = _vertices(neutral)
    offsets = []
    for file in shapes:
        points = _vertices(file)
        if points.shape != at_rest.shape:
            raise _bad(
                f"{file.name} has {len(points)} vertices, and {neutral.name} {len(at_rest)}.",
                "Export all shapes from one mesh, with vertex order kept.",
            )
        offsets.append(points - at_rest)
    made = _import(neutral)
    try:
        if len(made.data.vertices) != len(at_rest):
            raise _bad(f"{neutral.name} did not import with all its vertices.", "Export it again.")
        add_keys(made, [file.stem for file in shapes], np.stack(offsets))
    except BaseException:  # Esc too: nothing half-made stays
        bpy.data.meshes.remove(made.data)
        raise
    made.name = neutral.parent.name
    return made


def _neutral_file(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.obj")) if path.is_dir() else []
    for word in _NEUTRAL_WORDS:
        for file in found:
            if word in file.stem.lower():
                return file
    raise _bad(f"There is no neutral face in {path}.", "Choose the OBJ file of the neutral face.")


def _import(neutral: Path) -> bpy.types.Object:
    before = set(bpy.data.objects)
    bpy.ops.wm.obj_import(filepath=str(neutral), use_split_objects=False, use_split_groups=False)
    (made,) = set(bpy.data.objects) - before
    return made


def _vertices(file: Path) -> npt.NDArray[np.float32]:
    """Vertices (V, 3) of an OBJ file, in its own axes."""
    try:
        lines = file.read_bytes().split(b"\n")
        rows = [line.split()[1:4] for line in lines if line.startswith((b"v ", b"v\t"))]
        return np.array(rows, np.float32).reshape(-1, 3)
    except (OSError, ValueError) as error:
        raise _bad(f"{file.name} cannot be read ({error}).", "Export it again.") from error


def _bad(problem: str, hint: str) -> WorkerError:
    return WorkerError(problem, hint=hint, code="bad_objs", setting="filepath")
