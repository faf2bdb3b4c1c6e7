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
# The same of vertices numbered by `neighbourhoods`, and the numbers of the 68 landmarks.
REFINEMENT_ROUNDS = 9
NEIGHBOURHOODS_SHA256 = "43f815da7d0cb836a2401670551a7403f68f735f7fe2b37bd562bc512142c2f1"
LANDMARK_NEIGHBOURHOODS = np.array([
    4519, 3362, 3411, 1009, 4875, 2748, 1013, 1839, 3317, 1838, 880, 3193, 4097, 869, 3383,
    3387, 4757, 702, 3367, 1386, 4233, 2728, 2889, 4254, 1377, 3385, 704, 58, 1825, 2439,
    3101, 3302, 2540, 3297, 2824, 3332, 910, 4614, 819, 4107, 1768, 2114, 4880, 789, 4461,
    909, 2168, 3294, 538, 2966, 1032, 1695, 1031, 3014, 536, 4619, 3922, 87, 3896, 4368, 1751,
    3019, 2655, 2934, 1750, 3192, 2567, 2790,
])  # fmt: skip

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
    """Whether a mesh has FLAME's topology, in whatever order its vertices are.

    Args:
        vertices: (V, 3).
        faces: (F, 3), or (F, 4) with -1 as the fourth id.

    Raises:
        IdiolectError: code "reordered_flame" when the counts are FLAME's but the faces are not.
    """
    return landmark_ids(vertices, faces) is not None


def landmark_ids(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray | None:
    """The 68 landmark vertices of a mesh of FLAME topology; None for another mesh.

    A mesh in FLAME's own order is known by its face list. In another order it is FLAME's for
    certain when its vertices, renumbered by what their neighbourhoods look like, have the face list
    that FLAME's have; the landmarks are then known by their numbers.

    Raises:
        IdiolectError: code "reordered_flame" when the counts are FLAME's but the faces are not.
    """
    if len(vertices) != VERTEX_COUNT or len(faces) != FACE_COUNT:
        return None
    triangles = np.asarray(faces)
    if triangles.shape[1] == 4:
        if (triangles[:, 3] >= 0).any():
            return None
        triangles = triangles[:, :3]
    if faces_sha256(triangles) == FACES_SHA256:
        return landmark_table().flame_landmark_ids
    colours = neighbourhoods(triangles.astype(np.int64), len(vertices))
    if faces_sha256(colours[triangles]) == NEIGHBOURHOODS_SHA256:
        return np.argsort(colours)[LANDMARK_NEIGHBOURHOODS]
    raise IdiolectError(
        "This mesh has as many vertices and faces as FLAME, but they are joined in another way.",
        hint="Import it again without merging vertices.",
        code="reordered_flame",
        setting="character",
    )


def neighbourhoods(triangles: np.ndarray, count: int) -> np.ndarray:
    """A number (V,) for each vertex that tells how the mesh looks from there.

    Colour refinement (Weisfeiler and Leman, 1968) over the corners of oriented triangles: in each
    round a vertex' colour becomes that of itself and of its triangles' other corners, in order.
    It does not depend on how vertices and faces are numbered. On FLAME it tells all vertices apart,
    so that the numbers are an order of their own.
    """
    colours = np.zeros(count, np.int64)
    corners = np.concatenate([np.roll(triangles, -shift, axis=1) for shift in range(3)])
    for _ in range(REFINEMENT_ROUNDS):
        seen = _mixed(colours[corners[:, 1]].astype(np.uint64) * np.uint64(count + 1))
        seen = _mixed(seen + colours[corners[:, 2]].astype(np.uint64))
        around = np.zeros(count, np.uint64)
        np.add.at(around, corners[:, 0], seen)
        both = np.stack([colours.astype(np.uint64), around], axis=1)
        colours = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return colours


def _mixed(values: np.ndarray) -> np.ndarray:
    """Numbers that differ become numbers whose sums differ (the finaliser of splitmix64)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


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
    ids = landmark_ids(vertices, faces)
    if ids is None:
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
    axes, origin, unit = _frame(vertices, ids)
    points = (vertices - origin) @ axes.T / unit
    eyes = _eyeballs(points, triangles)
    keys = _solve(points, triangles, eyes, ids)
    for side, ids in eyes.items():
        centre, _ = fit_sphere(points[ids])
        for name, turn in look_keys(points[ids], centre, side).items():
            keys[name][ids] = turn
    return {name: (field @ axes * unit).astype(np.float32) for name, field in keys.items()}


def face_axes(vertices: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, float]:
    """How a mesh with these landmarks (68,) stands.

    Returns:
        Axes (3, 3), rows left, up, front, and the mesh's units in a metre, as far as the distance
        between the eyes of adults tells: a power of ten.

    Raises:
        IdiolectError: "not_a_face".
    """
    axes, _, unit = _frame(np.asarray(vertices, np.float64), ids)
    return axes, float(10.0 ** np.round(np.log10(unit / EYE_DISTANCE_M)))


def _frame(vertices: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Axes (3, 3, rows x left, y up, z front), origin between the eyes and their distance."""
    table = landmark_table()
    here, there = vertices[ids], table.neutral[:IBUG_COUNT]
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
    return upright(axes), (left + right) / 2, unit


def upright(axes: np.ndarray) -> np.ndarray:
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
    points: np.ndarray, triangles: np.ndarray, eyes: dict[str, np.ndarray], ids: np.ndarray
) -> dict[str, np.ndarray]:
    table = landmark_table()
    landmarks = place_landmarks(points, triangles, ids)
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
