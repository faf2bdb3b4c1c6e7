"""FLAME rigs: expression keys and a jaw bone, moved by ARKit motion through one matrix.

The worker fits the matrix once to the rig as it stands (*Fit Expressions*), and it stays with the
character in the .blend. From then on both ways are products in here: ARKit weights to coefficients,
which go to the Exp… keys, the jaw bone and its correctives; and back, for references.

Rotations are axis-angle vectors in FLAME's axes: x to the subject's left, y up, z front.
Shapes: T frames, C ARKit channels, N coefficients.
"""

from __future__ import annotations

import functools
import io
import re
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Matrix

from ..worker.protocol import WorkerError
from . import visemes
from .bones import Turn, find_bones, turn_of
from .meshes import basis_of, key_names, triangles_of

Array = npt.NDArray[Any]

PREFIX = "flame "
"""Of the coefficients' names, when they are channels of a rig."""
REST = "_rest"
"""Of keys that hold what expressions cannot do: eyeBlinkLeft_rest."""
FLAME_VERTICES = 5023

OURS = "idiolect_flame_file"
"""Custom property of a mesh that was imported from a FLAME file; its axes are then known."""
OUR_AXES = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])

_STORE = "idiolect_flame"
_JAW = ("jaw_x", "jaw_y", "jaw_z")
_FIRST_JAW_CORRECTIVE, _JAW_CORRECTIVES = 10, 9  # Pose010…Pose018, after the neck's nine
# Standard deviations that a pair of shapes, such as jawOpen and mouthClose, may reach together;
# less would part lips that are to meet.
_LIMIT = 8.0
_RIDGE = 1e-6


@dataclass(frozen=True)
class Fitted:
    """The matrix of a rig.

    Attributes:
        channels: C ARKit names.
        coefficients: N names: Exp001…, then jaw_x, jaw_y, jaw_z if there is a jaw bone.
        matrix: (C, N) coefficients at weight 1.
        metric: (N, N) how far coefficients move the face.
        axes: (3, 3) rows left, up, front in the mesh's own axes.
    """

    channels: tuple[str, ...]
    coefficients: tuple[str, ...]
    matrix: Array
    metric: Array
    axes: Array

    def to_flame(self, weights: dict[str, Array], frames: int) -> dict[str, Array]:
        """Coefficients (T,) by name of ARKit weights (T,) by channel."""
        none = np.zeros(frames)
        values = np.stack([weights.get(name, none) for name in self.channels], axis=1) @ self.matrix
        expressions = [name.startswith("Exp") for name in self.coefficients]
        values[:, expressions] = np.clip(values[:, expressions], -_LIMIT, _LIMIT)
        found = {name: values[:, i] for i, name in enumerate(self.coefficients)}
        if set(_JAW) <= set(found):
            jaw = np.stack([found[name] for name in _JAW], axis=1)
            found |= _correctives(jaw)
        return found

    def to_arkit(self, coefficients: dict[str, Array], frames: int) -> dict[str, Array]:
        """The ARKit weights within 0..1 whose coefficients move the face as these do."""
        none = np.zeros(frames)
        values = np.stack([coefficients.get(name, none) for name in self.coefficients], axis=1)
        effect = self.metric @ self.matrix.T
        gram = self.matrix @ effect
        able = np.diag(gram) > _RIDGE * np.diag(gram).mean()
        gram = gram[np.ix_(able, able)]
        gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        found = visemes.solve_within(gram, (values @ effect)[:, able], sweeps=1000)
        names = [name for name, can in zip(self.channels, able, strict=True) if can]
        return {name: found[:, i] for i, name in enumerate(names)}


def _correctives(jaw: Array) -> dict[str, Array]:
    """Values of the jaw's Pose… keys for its rotations (T, 3)."""
    turned = rotation_matrices(jaw) - np.eye(3)
    first = _FIRST_JAW_CORRECTIVE
    return {f"Pose{first + i:03d}": entry for i, entry in enumerate(turned.reshape(-1, 9).T)}


def rotation_matrices(turns: Array) -> Array:
    """Rotation matrices (T, 3, 3) of axis-angle vectors (T, 3), radians (Rodrigues)."""
    angle = np.linalg.norm(turns, axis=1)[:, None, None]
    x, y, z = (turns / np.maximum(angle[:, :, 0], 1e-12)).T
    none = np.zeros_like(x)
    cross = np.stack([none, -z, y, z, none, -x, -y, x, none], axis=1).reshape(-1, 3, 3)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)


def expression_keys(mesh: bpy.types.Object) -> dict[str, str]:
    """Exp001… to the key of that number, however it is padded."""
    return _numbered(mesh, "Exp")


def has_expressions(mesh: bpy.types.Object) -> bool:
    """Whether this is a FLAME mesh with expression keys."""
    fits = mesh.type == "MESH" and len(mesh.data.vertices) == FLAME_VERTICES
    return fits and bool(expression_keys(mesh))


def keys_of(mesh: bpy.types.Object, fitted: Fitted) -> dict[str, tuple[str, ...]]:
    """Coefficients, correctives and residuals (by channel names of a rig) to the mesh's keys."""
    named = expression_keys(mesh) | _numbered(mesh, "Pose")
    wanted = set(fitted.coefficients)
    if set(_JAW) <= wanted:
        first = _FIRST_JAW_CORRECTIVE
        wanted |= {f"Pose{first + i:03d}" for i in range(_JAW_CORRECTIVES)}
    found = {PREFIX + name: (key,) for name, key in named.items() if name in wanted}
    names = mesh.data.shape_keys.key_blocks.keys()
    return found | {c: (c + REST,) for c in fitted.channels if c + REST in names}


def jaw_turn(mesh: bpy.types.Object, armature: bpy.types.Object, bone: str, axes: Array) -> Turn:
    """The jaw bone, turned by jaw_x, jaw_y, jaw_z in FLAME's axes (3, 3), rows as in `Fitted`."""
    axes = mesh.matrix_world.to_quaternion().to_matrix() @ Matrix(axes.T.tolist())
    units = dict(zip((PREFIX + name for name in _JAW), np.eye(3).tolist(), strict=True))
    return turn_of(armature, bone, units, axes)


def jaw_bone(mesh: bpy.types.Object, armature: bpy.types.Object | None) -> str:
    """The bone that turns the jaw of this mesh; empty if none does."""
    bone = find_bones(armature, {})["jaw"] if armature is not None else ""
    return bone if bone in mesh.vertex_groups else ""


def axes_of(mesh: bpy.types.Object) -> Array | None:
    """FLAME's axes in a mesh's own, rows as in `Fitted`; None where they are not known: of a mesh
    that is neither fitted nor of our own importing.
    """
    matrix = fitted(mesh)
    if matrix is not None:
        return matrix.axes
    return OUR_AXES if mesh.get(OURS) else None


def own_channels(motion: dict[str, Array], frames: int) -> dict[str, Array]:
    """Channels of a rig, of motion in coefficients (T,) by name; correctives included."""
    none = np.zeros(frames)
    jaw = np.stack([motion.get(name, none) for name in _JAW], axis=1)
    return {PREFIX + name: values for name, values in (motion | _correctives(jaw)).items()}


def own_keys(mesh: bpy.types.Object) -> dict[str, tuple[str, ...]]:
    """Expressions and the jaw's correctives, by channels of a rig, to the mesh's keys."""
    named = expression_keys(mesh)
    poses, first = _numbered(mesh, "Pose"), _FIRST_JAW_CORRECTIVE
    wanted = {f"Pose{first + i:03d}" for i in range(_JAW_CORRECTIVES)}
    named |= {name: key for name, key in poses.items() if name in wanted}
    return {PREFIX + name: (key,) for name, key in named.items()}


def keep(target: bpy.types.Object, arrays: dict[str, Array]) -> None:
    """Keep the matrix that was fitted to a rig, with the character."""
    packed = io.BytesIO()
    kept = ("channels", "coefficients", "matrix", "metric", "axes")
    np.savez_compressed(packed, **{name: arrays[name] for name in kept})
    target[_STORE] = packed.getvalue()


def fitted(target: bpy.types.Object) -> Fitted | None:
    """The matrix that is kept with a character."""
    packed = target.get(_STORE)
    return _unpacked(bytes(packed)) if packed is not None else None


@functools.lru_cache(maxsize=8)
def _unpacked(packed: bytes) -> Fitted:
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        return Fitted(
            tuple(map(str, file["channels"])),
            tuple(map(str, file["coefficients"])),
            *(file[name].astype(np.float64) for name in ("matrix", "metric", "axes")),
        )


def _numbered(mesh: bpy.types.Object, kind: str) -> dict[str, str]:
    matches = {name: re.fullmatch(rf"{kind}0*(\d+)", name) for name in key_names(mesh)}
    return {f"{kind}{int(m.group(1)):03d}": name for name, m in matches.items() if m}


def arrays_of(target: bpy.types.Object, armature: bpy.types.Object | None) -> dict[str, Array]:
    """A rig as the worker wants it: in the mesh's own axes.

    Raises:
        WorkerError: if expressions are missing among its keys.
    """
    at_rest, blocks = basis_of(target), target.data.shape_keys.key_blocks

    def offsets(name: str) -> Array:
        flat = np.empty(at_rest.size, np.float32)
        blocks[name].data.foreach_get("co", flat)
        return flat.reshape(-1, 3) - at_rest

    expressions = expression_keys(target)
    numbers = sorted(expressions)
    if numbers != [f"Exp{i:03d}" for i in range(1, len(numbers) + 1)]:
        raise WorkerError(
            f"The expression keys of “{target.name}” are not numbered from 1 on.",
            hint="Import the FLAME rig again.",
            code="bad_topology",
        )
    arrays = {
        "vertices": at_rest,
        "faces": triangles_of(target),
        "expressions": np.stack([offsets(expressions[number]) for number in numbers]),
    }
    bone = jaw_bone(target, armature)
    if armature is None or not bone:
        return arrays
    group = target.vertex_groups[bone].index
    weights = np.zeros(len(at_rest), np.float32)
    for vertex in target.data.vertices:
        for element in vertex.groups:
            if element.group == group:
                weights[vertex.index] = element.weight
    head = armature.matrix_world @ armature.data.bones[bone].head_local
    arrays |= {
        "jaw_weights": weights,
        "jaw_head": np.array(target.matrix_world.inverted() @ head, np.float32),
    }
    poses = _numbered(target, "Pose")
    wanted = [f"Pose{_FIRST_JAW_CORRECTIVE + i:03d}" for i in range(_JAW_CORRECTIVES)]
    if set(wanted) <= set(poses):
        arrays["jaw_correctives"] = np.stack([offsets(poses[name]) for name in wanted])
    return arrays
