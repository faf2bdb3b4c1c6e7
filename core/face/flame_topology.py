"""ARKit speech keys for a mesh with the vertices and faces of FLAME.

Nothing of FLAME is shipped: the mesh is recognised by counts and by a hash of its face list, and
the regions follow from its own geometry and the 68 landmark vertices.
"""

from __future__ import annotations

import hashlib

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from core.errors import IdiolectError
from core.face.eyes import look_keys
from core.face.geometry import fit_sphere
from core.face.landmarks import CHIN, IBUG_COUNT, landmark_table, place_landmarks
from core.face.shapes import Eyeball, FaceSurface, solve_keys

VERTEX_COUNT, FACE_COUNT = 5023, 9976
# SHA-256 of the triangles, each sorted, then the rows sorted, as little-endian int32: the same
# whatever the order of the faces, another one as soon as vertices are renumbered.
FACES_SHA256 = "cb2e0bc686b21ecbd4b1d090ee78d903dadb5346bc64ea6791a158cf67b48fbd"

# A head that is turned less than this from one whose axes lie along x, y, z counts as upright:
# faces differ in how far they look up, and averaging that away would tilt the jaw's axis.
UPRIGHT_WITHIN_DEG = 30.0
# Landmarks of any human face lie this close to the table's, root mean square (IOD).
LARGEST_MISFIT = 0.25
# What no key moves, relative to the landmarks (IOD): behind the first and last point of the jaw
# line (ears, nape), above the forehead's highest point, and this far under the chin.
BEHIND_JAW_LINE, UNDER_CHIN = 0.02, 0.75
# Between the centres of an adult's eyes.
EYE_DISTANCE_M = 0.063
# A lid is thin on FLAME and its eyeball's cornea is part of the fitted radius.
BLINK_CLEARANCE = 1.045


def recognise(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Whether a mesh has FLAME's topology.

    Args:
        vertices: (V, 3).
        faces: (F, 3), or (F, 4) with -1 as the fourth id.

    Raises:
        IdiolectError: code "reordered_flame" when the counts are FLAME's but the faces are not.
    """
    if len(vertices) != VERTEX_COUNT or len(faces) != FACE_COUNT:
        return False
    triangles = np.asarray(faces)
    if triangles.shape[1] == 4:
        if (triangles[:, 3] >= 0).any():
            return False
        triangles = triangles[:, :3]
    if faces_sha256(triangles) == FACES_SHA256:
        return True
    raise IdiolectError(
        "This mesh has as many vertices and faces as FLAME, but they are in another order.",
        hint="Import it again with vertex order kept (OBJ: keep vertex order; no merging).",
        code="reordered_flame",
        setting="character",
    )


def faces_sha256(triangles: np.ndarray) -> str:
    """Hash of a face list (F, 3) that does not depend on the order of faces or corners."""
    corners = np.sort(np.asarray(triangles, dtype="<i4"), axis=1)
    rows = corners[np.lexsort(corners.T[::-1])]
    return hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()


def speech_keys(vertices: np.ndarray, faces: np.ndarray) -> dict[str, np.ndarray]:
    """The 52 ARKit keys of a neutral face of FLAME topology.

    Args:
        vertices: (5023, 3) in any unit, any upright orientation.
        faces: (9976, 3), or (9976, 4) with -1 as the fourth id.

    Returns:
        ARKit name -> (5023, 3) float32 offsets in the unit and axes of `vertices`. tongueOut is
        zero: FLAME has no tongue.

    Raises:
        IdiolectError: codes "not_flame", "reordered_flame", "broken_mesh", "not_a_face".
    """
    vertices = np.asarray(vertices, dtype=np.float64)
    if not recognise(vertices, faces):
        raise IdiolectError(
            f"This mesh is not of FLAME topology ({len(vertices)} vertices, {len(faces)} faces; "
            f"FLAME has {VERTEX_COUNT} and {FACE_COUNT}).",
            hint="Choose a FLAME mesh without modifiers applied, or add the built-in head.",
            code="not_flame",
            setting="character",
        )
    if not np.isfinite(vertices).all():
        raise IdiolectError(
            "Some vertices of this mesh have no finite position.",
            hint="Import the mesh again.",
            code="broken_mesh",
            setting="character",
        )
    triangles = np.asarray(faces)[:, :3].astype(np.int64)
    axes, origin, unit = _frame(vertices)
    points = (vertices - origin) @ axes.T / unit
    eyes = _eyeballs(points, triangles)
    keys = _solve(points, triangles, eyes)
    for side, ids in eyes.items():
        centre, _ = fit_sphere(points[ids])
        for name, turn in look_keys(points[ids], centre, side).items():
            keys[name][ids] = turn
    return {name: (field @ axes * unit).astype(np.float32) for name, field in keys.items()}


def face_axes(vertices: np.ndarray) -> tuple[np.ndarray, float]:
    """How a mesh of FLAME topology stands.

    Returns:
        Axes (3, 3), rows left, up, front, and the mesh's units in a metre, as far as the distance
        between the eyes of adults tells: a power of ten.

    Raises:
        IdiolectError: "not_a_face".
    """
    axes, _, unit = _frame(np.asarray(vertices, np.float64))
    return axes, float(10.0 ** np.round(np.log10(unit / EYE_DISTANCE_M)))


def _frame(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Axes (3, 3, rows x left, y up, z front), origin between the eyes and their distance."""
    table = landmark_table()
    here, there = vertices[table.flame_landmark_ids], table.neutral[:IBUG_COUNT]
    right, left = here[36:42].mean(0), here[42:48].mean(0)
    unit = float(np.linalg.norm(left - right))
    centred, target = here - here.mean(0), there - there.mean(0)
    # Kabsch: the rotation that brings the landmarks closest to the table's.
    u, _, vt = np.linalg.svd(target.T @ centred)
    axes = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    misfit = np.inf
    if unit > 0:
        misfit = np.sqrt(((centred @ axes.T / unit - target) ** 2).sum(1).mean())
    if not misfit < LARGEST_MISFIT:
        raise IdiolectError(
            "This mesh is numbered like FLAME but does not have the shape of a face.",
            hint="Choose the mesh in its neutral pose, without a scale that differs by axis.",
            code="not_a_face",
            setting="character",
        )
    return _upright(axes), (left + right) / 2, unit


def _upright(axes: np.ndarray) -> np.ndarray:
    """The nearest rotation along x, y, z when it is near enough, else the rotation itself."""
    snapped = np.zeros((3, 3))
    snapped[np.arange(3), np.abs(axes).argmax(1)] = np.sign(
        axes[np.arange(3), np.abs(axes).argmax(1)]
    )
    if np.linalg.det(snapped) < 0.5:
        return axes
    angle = np.degrees(np.arccos(np.clip((np.trace(snapped @ axes.T) - 1) / 2, -1, 1)))
    return snapped if angle < UPRIGHT_WITHIN_DEG else axes


def _eyeballs(points: np.ndarray, triangles: np.ndarray) -> dict[str, np.ndarray]:
    """Vertex ids of the eyeballs: the two pieces that hang together apart from the head."""
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = sp.coo_matrix((np.ones(len(ends)), ends.T), (len(points),) * 2)
    _, label = connected_components(graph, directed=False)
    pieces = np.argsort(np.bincount(label))[::-1][1:3]
    eyes = [np.flatnonzero(label == piece) for piece in pieces]
    right, left = sorted(eyes, key=lambda ids: points[ids, 0].mean())
    return {"Left": left, "Right": right}


def _solve(
    points: np.ndarray, triangles: np.ndarray, eyes: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    table = landmark_table()
    landmarks = place_landmarks(points, triangles, table.flame_landmark_ids)
    at = landmarks.at(points)
    still = points[:, 2] < at[[0, 16], 2].mean() - BEHIND_JAW_LINE
    still |= points[:, 1] > at[table.index("foreheadHi"), 1]
    still |= points[:, 1] < at[CHIN, 1] - UNDER_CHIN
    balls = []
    for ids in eyes.values():
        still[ids] = True
        centre, _ = fit_sphere(points[ids])
        balls.append(Eyeball(centre, float(np.linalg.norm(points[ids] - centre, axis=1).max())))
    # Pieces that nothing moves are left out of the surface: they need no factorising.
    skin = triangles[~np.isin(triangles, np.concatenate(list(eyes.values()))).any(1)]
    return solve_keys(FaceSurface(points, skin, landmarks, still, tuple(balls), BLINK_CLEARANCE))
