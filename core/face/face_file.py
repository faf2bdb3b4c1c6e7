"""A face mesh on disk: one .npz without pickles, also what the worker hands to the add-on."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from core.errors import IdiolectError
from core.face.mesh import FaceMesh, Material
from core.files import atomic_path


def save_face(mesh: FaceMesh, path: Path) -> None:
    """Write a face.

    Arrays: vertices, faces, material_index, material_names, material_rgba (M, 4),
    material_roughness (M,), material_subsurface (M,), key_names, key_offsets (K, V, 3), uvs when
    there are any, inner_lip_pairs, and group_NAME for each group.

    Raises:
        IdiolectError: code "unwritable_file".
    """
    arrays: dict[str, np.ndarray] = {
        "name": np.array(mesh.name),
        "vertices": mesh.vertices,
        "faces": mesh.faces,
        "material_index": mesh.material_index,
        "material_names": np.array([m.name for m in mesh.materials]),
        "material_rgba": np.array([m.rgba for m in mesh.materials]),
        "material_roughness": np.array([m.roughness for m in mesh.materials]),
        "material_subsurface": np.array([m.subsurface for m in mesh.materials]),
        "key_names": np.array(list(mesh.keys)),
        "key_offsets": np.stack(list(mesh.keys.values())),
        "inner_lip_pairs": mesh.inner_lip_pairs,
    }
    if mesh.uvs is not None:
        arrays["uvs"] = mesh.uvs
    arrays |= {f"group_{name}": ids for name, ids in mesh.groups.items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_face(path: Path) -> FaceMesh:
    """Read a face that `save_face` wrote.

    Raises:
        IdiolectError: code "broken_face" when the file is damaged or of another kind.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return _face_from(arrays)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise IdiolectError(
            f"The face file {path} cannot be read: {error}.",
            hint="Delete it; it is made again when needed.",
            code="broken_face",
        ) from error


def _face_from(arrays: dict[str, np.ndarray]) -> FaceMesh:
    materials = tuple(
        Material(
            str(name),
            (float(rgba[0]), float(rgba[1]), float(rgba[2]), float(rgba[3])),
            float(roughness),
            float(scatter),
        )
        for name, rgba, roughness, scatter in zip(
            arrays["material_names"],
            arrays["material_rgba"],
            arrays["material_roughness"],
            arrays["material_subsurface"],
            strict=True,
        )
    )
    names = [str(name) for name in arrays["key_names"]]
    return FaceMesh(
        name=str(arrays["name"]),
        vertices=arrays["vertices"],
        faces=arrays["faces"],
        material_index=arrays["material_index"],
        materials=materials,
        keys=dict(zip(names, arrays["key_offsets"], strict=True)),
        uvs=arrays.get("uvs"),
        inner_lip_pairs=arrays["inner_lip_pairs"],
        groups={
            name.removeprefix("group_"): ids
            for name, ids in arrays.items()
            if name.startswith("group_")
        },
    )
