"""ARKit motion on a FLAME rig that already stands in a scene, by its own keys and jaw bone.

The scene sends the mesh as it is: neutral vertices, expression keys, what the jaw bone moves. Here
its axes are found, its ARKit shapes made (or taken from its keys), and one matrix fitted between
the two (`core.face.retarget`). What the rig cannot do can be had as keys of its own.

Convention: the mesh comes in its own axes and unit; rotations are axis-angle vectors about x to
the subject's left, y up, z front. Shape letters: V vertices, E expression keys, C ARKit channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from core.errors import IdiolectError
from core.face.flame_rig import JointMotion
from core.face.flame_topology import face_axes, landmark_ids, speech_keys
from core.face.retarget import (
    ON_TOP_OF,
    FlameFace,
    Retarget,
    fit_retarget,
    lip_and_lid_importance,
    residual_offsets,
)

# Under this a residual is not worth a key of its own.
SMALLEST_RESIDUAL_MM = 0.2


@dataclass(frozen=True)
class RigMesh:
    """A FLAME rig as the scene has it, in the mesh's own axes.

    Attributes:
        vertices: (5023, 3) at rest.
        faces: (9976, 3).
        expressions: (E, V, 3) offsets of the Exp… keys at value 1.
        jaw_head: (3,) where the jaw bone starts; None without a jaw bone.
        jaw_weights: (V,) share with which each vertex follows it.
        jaw_correctives: (9, V, 3) offsets of the jaw's Pose… keys; zeros where there are none.
    """

    vertices: np.ndarray
    faces: np.ndarray
    expressions: np.ndarray
    jaw_head: np.ndarray | None
    jaw_weights: np.ndarray | None
    jaw_correctives: np.ndarray | None


def fit_rig(mesh: RigMesh, *, residual: bool = False) -> tuple[Retarget, dict[str, np.ndarray]]:
    """The matrix of a rig, and what it misses as keys.

    Args:
        mesh: the rig.
        residual: whether the keys are wanted.

    Returns:
        The matrix; "axes" (3, 3), whose rows are left, up and front in the mesh's axes, and, if
        wanted, "key_names" and "key_offsets" (K, V, 3): what is left of each ARKit shape, in the
        mesh's axes and before the jaw bone turns it.

    Raises:
        IdiolectError: "not_flame" and others of `flame_topology`; "bad_setting" without keys.
    """
    face, axes, scale = face_of(mesh)
    into = axes.T / scale
    wanted = speech_keys(mesh.vertices, mesh.faces)
    keys = {name: field.astype(np.float64) @ into for name, field in wanted.items()}
    found = fit_retarget(face, keys)
    extra: dict[str, np.ndarray] = {"axes": axes}
    if residual:
        names, offsets = _residual_keys(face, keys, found)
        extra |= {
            "key_names": np.array(names),
            "key_offsets": np.array(offsets) @ axes * scale,
        }
    return found, extra


def face_of(mesh: RigMesh) -> tuple[FlameFace, np.ndarray, float]:
    """What a rig can do, in metres and FLAME's axes.

    Returns:
        The face; axes (3, 3), whose rows are left, up and front in the mesh's axes; and the mesh's
        units in a metre.

    Raises:
        IdiolectError: "not_flame" and others of `flame_topology`; "bad_setting" without keys.
    """
    if not len(mesh.expressions):
        raise IdiolectError(
            "This FLAME mesh has no expression keys (Exp001, Exp002, …).",
            hint="Press Add Speech Keys, or import a FLAME file.",
            code="bad_setting",
            setting="character",
        )
    ids = landmark_ids(mesh.vertices, mesh.faces)
    if ids is None:
        raise IdiolectError(
            "This mesh is not of FLAME topology.",
            hint="Choose a FLAME mesh without modifiers applied.",
            code="not_flame",
            setting="character",
        )
    axes, scale = face_axes(mesh.vertices, ids)
    into = axes.T / scale  # to metres, x left, y up, z front
    vertices = mesh.vertices.astype(np.float64) @ into
    joints = {}
    if mesh.jaw_head is not None and mesh.jaw_weights is not None:
        correctives = mesh.jaw_correctives
        if correctives is None:
            correctives = np.zeros((9, *vertices.shape))
        joints["jaw"] = JointMotion(
            np.asarray(mesh.jaw_head, np.float64) @ into,
            np.asarray(mesh.jaw_weights, np.float64),
            np.moveaxis(correctives.astype(np.float64) @ into, 0, 2),
        )
    face = FlameFace(
        vertices,
        mesh.expressions.astype(np.float64) @ into,
        joints,
        lip_and_lid_importance(vertices, mesh.faces),
    )
    return face, axes, scale


def _residual_keys(
    face: FlameFace, keys: dict[str, np.ndarray], found: Retarget
) -> tuple[list[str], list[np.ndarray]]:
    rows = dict(zip(found.channels, found.matrix, strict=True))
    missed = residual_offsets(face, keys, rows)
    names, offsets = [], []
    for name, whole in missed.items():
        # mouthClose is told together with the jawOpen that it sits on, whose key acts as well.
        field = whole - missed.get(ON_TOP_OF.get(name, ""), 0.0)
        if 1000 * np.linalg.norm(field, axis=1).max() < SMALLEST_RESIDUAL_MM:
            continue
        row = rows[name] + rows.get(ON_TOP_OF.get(name, ""), 0.0)
        names.append(f"{name}_rest")
        offsets.append(_before_joints(face, row, field))
    return names, offsets


def _before_joints(face: FlameFace, row: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Offsets (V, 3) that become `field` when the joints turn as in coefficients (N,)."""
    for name, joint in face.joints.items():
        turned = Rotation.from_rotvec(row[face.slots(name)]).as_matrix() - np.eye(3)
        skin = np.eye(3) + joint.weights[:, None, None] * turned
        field = np.linalg.solve(skin, field[..., None])[..., 0]
    return field
