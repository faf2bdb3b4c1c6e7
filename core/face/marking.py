"""Speech keys for any neutral face on which an artist has marked a handful of points.

Eleven marks, the left eye's and the mouth's left corner among them, are enough: the right side is
their mirror image, lids and lips follow the mesh's own edges between the marks, and the other
landmarks of the 68 are where the table's face has them once it is laid over the marks. From there
on it is the solve that FLAME meshes and the built-in head get.

Frame: as in `core.face.shapes`. Shape letters: V vertices, T triangles.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy.sparse as sp
from scipy.interpolate import RBFInterpolator
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from core.errors import IdiolectError
from core.face.eyes import look_keys
from core.face.flame_topology import BEHIND_JAW_LINE, UNDER_CHIN, upright
from core.face.geometry import edge_graph, fit_sphere
from core.face.landmarks import CHIN, IBUG_COUNT, LandmarkRows, landmark_table, place_landmarks
from core.face.shapes import Eyeball, FaceSurface, solve_keys

# What is marked, and which of the 68 it is. Left is the subject's.
MARKS = {
    "eyeOuterLeft": 45,
    "eyeInnerLeft": 42,
    "eyeUpperLeft": 44,
    "eyeLowerLeft": 46,
    "mouthCornerLeft": 54,
    "lipUpperOuter": 51,
    "lipUpperInner": 62,
    "lipLowerInner": 66,
    "lipLowerOuter": 57,
    "noseTip": 30,
    "chin": 8,
}
# Marks of the right side may be given as well; else they are found by symmetry.
_MIRRORED = {45: 36, 42: 39, 44: 37, 46: 41, 54: 48}
_MIDDLE = (51, 62, 66, 57, 30, 8)
# Landmarks between two others, at a share of the way along the mesh's edges: lids, outline of the
# lips, their inner edges. And the landmark of the right side that is each one's mirror image.
_BETWEEN = {
    43: (42, 44, 0.5), 47: (42, 46, 0.5),
    53: (54, 51, 0.33), 52: (54, 51, 0.8), 55: (54, 57, 0.33), 56: (54, 57, 0.75),
    63: (64, 62, 0.5), 65: (64, 66, 0.5),
}  # fmt: skip
_OTHER_SIDE = {
    **_MIRRORED,
    **{43: 38, 47: 40, 53: 49, 52: 50, 55: 59, 56: 58, 63: 61, 65: 67, 64: 60},
}
# An eyeball as the lids show it: its radius (IOD), and how far out the lids' edges lie, in radii.
EYE_RADIUS, LIDS_LIE_AT = 0.19, 1.03
BLINK_CLEARANCE = 1.06
# A piece of the mesh within so many radii of an eye's centre is its eyeball.
EYEBALL_REACH = 1.6
# Landmarks that go with the jaw as one: the jaw line round the chin, the lower lip's outline.
_ON_THE_JAW = [*range(4, 13), *range(55, 60)]
# A skin is symmetric when so many vertices have a partner this close to their mirror image (IOD).
SYMMETRIC_WITHIN, MOSTLY_SYMMETRIC = 2e-3, 0.98
# Marks that fit the table's face worse than this (IOD, root mean square) are on the wrong places.
LARGEST_MISFIT = 0.3


def marked_keys(
    vertices: np.ndarray, triangles: np.ndarray, marks: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """The 52 ARKit keys of a marked face.

    Args:
        vertices: (V, 3) of a neutral face with its mouth shut, in any unit and upright axes.
        triangles: (T, 3).
        marks: vertex id of each of `MARKS`, and of right ones ("eyeOuterRight", …) if wanted.

    Returns:
        ARKit name -> (V, 3) float32 offsets in the mesh's unit and axes. Of pieces apart
        from the skin, eyeballs, lower teeth and a tongue move. tongueOut is zero.

    Raises:
        IdiolectError: "bad_marks" when marks are missing, or are not where a face has them.
    """
    missing = [name for name in MARKS if name not in marks]
    if missing:
        raise _bad(f"These points are not marked: {', '.join(missing)}.")
    vertices = np.asarray(vertices, np.float64)
    skin = _piece_of(triangles, len(vertices), marks["chin"])
    if any(vertex not in skin for vertex in marks.values()):
        raise _bad("The marks lie on different pieces of the mesh.")
    given = {row: marks[name] for name, row in MARKS.items()}
    axes, origin, unit = _frame(vertices, given)
    points = (vertices - origin) @ axes.T / unit
    skin_triangles = triangles[np.isin(triangles, skin).all(1)]
    landmark_ids = _all_68(points, skin, skin_triangles, _both_sides(points, skin, given, marks))
    landmarks = place_landmarks(points, skin_triangles, landmark_ids)
    balls = [_eyeball(points, landmark_ids[first : first + 6]) for first in (36, 42)]
    at = landmarks.at(points)
    still = points[:, 2] < at[[0, 16], 2].mean() - BEHIND_JAW_LINE
    still |= points[:, 1] > at[landmark_table().index("foreheadHi"), 1]
    still |= points[:, 1] < at[CHIN, 1] - UNDER_CHIN
    still[np.setdiff1d(np.arange(len(points)), skin)] = True
    surface = FaceSurface(points, skin_triangles, landmarks, still, tuple(balls), BLINK_CLEARANCE)
    keys = _symmetric(points, skin, solve_keys(surface))
    _move_pieces(points, triangles, skin, balls, landmarks, keys)
    return {name: (field @ axes * unit).astype(np.float32) for name, field in keys.items()}


def _bad(problem: str) -> IdiolectError:
    return IdiolectError(
        problem,
        hint="Mark the points again, with Mark Face: each on the face's skin, on the side shown.",
        code="bad_marks",
        setting="character",
    )


def _piece_of(triangles: np.ndarray, count: int, vertex: int) -> np.ndarray:
    """Vertices that hang together with this one."""
    return np.flatnonzero((labels := _pieces(triangles, count)) == labels[vertex])


def _pieces(triangles: np.ndarray, count: int) -> np.ndarray:
    ends = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]]])
    graph = sp.coo_matrix((np.ones(len(ends)), ends.T), (count, count))
    return connected_components(graph, directed=False)[1]


def _frame(vertices: np.ndarray, given: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray, float]:
    """Axes (3, 3, rows x left, y up, z front), origin between the eyes, distance of the eyes.

    The table's face is laid over the marks (Umeyama, "Least-squares estimation of transformation
    parameters", 1991); marks in the middle keep it upright, the left ones tell left.
    """
    rows = list(given)
    here, there = vertices[list(given.values())], landmark_table().neutral[rows]
    centred, target = here - here.mean(0), there - there.mean(0)
    u, sizes, vt = np.linalg.svd(target.T @ centred)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    axes = u @ flip @ vt
    spread = (target**2).sum()
    unit = float((sizes * np.diag(flip)).sum() / spread)
    misfit = np.sqrt((((centred @ axes.T) / max(unit, 1e-12) - target) ** 2).sum(1).mean())
    if not (unit > 0 and misfit < LARGEST_MISFIT):
        raise _bad("The marks are not where a face has them.")
    axes = upright(axes)
    middle = vertices[[given[row] for row in _MIDDLE]] @ axes.T
    eye = vertices[[given[row] for row in (45, 42, 44, 46)]].mean(0) @ axes.T
    half = float(eye[0] - middle[:, 0].mean())
    if half <= 0:
        raise _bad("The eye's marks are on the subject's right; mark the left eye.")
    origin = np.array([middle[:, 0].mean(), eye[1], eye[2]]) @ axes
    return axes, origin, 2 * half


def _both_sides(
    points: np.ndarray, skin: np.ndarray, given: Mapping[int, int], marks: Mapping[str, int]
) -> dict[int, int]:
    tree, known = cKDTree(points[skin]), dict(given)
    names = {row: name for name, row in MARKS.items()}
    for left, right in _MIRRORED.items():
        marked = marks.get(names[left].replace("Left", "Right"))
        mirrored = int(skin[tree.query(points[given[left]] * [-1, 1, 1])[1]])
        known[right] = mirrored if marked is None else marked
    known[64], known[60] = known[54], known[48]  # the lips' corners, inside and outside
    return known


def _all_68(
    points: np.ndarray, skin: np.ndarray, triangles: np.ndarray, known: dict[int, int]
) -> np.ndarray:
    """Vertex ids (68,)."""
    graph = edge_graph(points, triangles)
    sources = sorted({s for start, _, _ in _BETWEEN.values() for s in (start, _OTHER_SIDE[start])})
    _, before = dijkstra(graph, indices=[known[s] for s in sources], return_predecessors=True)
    ids = dict(known)
    for row, (start, end, share) in _BETWEEN.items():
        path = _path(before[sources.index(start)], known[start], known[end])
        steps = np.linalg.norm(np.diff(points[path], axis=0), axis=1)
        travelled = np.r_[0.0, np.cumsum(steps)]
        ids[row] = path[int(np.abs(travelled - share * travelled[-1]).argmin())]
        # On the other side the same way, to where the mirror image is: lips that touch have
        # vertices of both at one place, and only the way tells them apart.
        start, end = _OTHER_SIDE[start], _OTHER_SIDE.get(end, end)
        path = _path(before[sources.index(start)], known[start], known[end])
        away = np.linalg.norm(points[path] - points[ids[row]] * [-1, 1, 1], axis=1)
        ids[_OTHER_SIDE[row]] = path[int(away.argmin())]
    rest = [row for row in range(IBUG_COUNT) if row not in ids]
    neutral, rows = landmark_table().neutral, list(ids)
    # A smooth map from the table's face to this one. Two marks of one place would be one too many.
    _, first = np.unique(neutral[rows].round(4), axis=0, return_index=True)
    chosen = [rows[i] for i in first]
    warp = RBFInterpolator(
        neutral[chosen], points[[ids[row] for row in chosen]] - neutral[chosen], degree=1,
        smoothing=1e-3,
    )  # fmt: skip
    aims = neutral[rest] + warp(neutral[rest])
    nearest = skin[cKDTree(points[skin]).query(aims)[1]]
    ids |= dict(zip(rest, nearest.tolist(), strict=True))
    return np.array([ids[row] for row in range(IBUG_COUNT)])


def _path(before: np.ndarray, start: int, end: int) -> list[int]:
    """Vertices on the shortest way from start to end."""
    path = [end]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    return path[::-1]


def _eyeball(points: np.ndarray, lids: np.ndarray) -> Eyeball:
    """A sphere behind the lids' landmarks (6,)."""
    edge = points[lids]
    centre = edge.mean(0)
    wide = np.linalg.norm((edge - centre)[:, :2], axis=1).mean()
    depth = np.sqrt(max((LIDS_LIE_AT * EYE_RADIUS) ** 2 - wide**2, 0.0))
    return Eyeball(centre - [0.0, 0.0, depth], EYE_RADIUS)


def _symmetric(
    points: np.ndarray, skin: np.ndarray, keys: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Each key averaged with the mirror image of its counterpart, where the skin has one."""
    distance, nearest = cKDTree(points[skin] * [-1, 1, 1]).query(points[skin])
    # Vertices at one place, of two lips that touch, may have each other's partners: left alone.
    paired = (nearest[nearest] == np.arange(len(skin))) & (distance < SYMMETRIC_WITHIN)
    if paired.mean() < MOSTLY_SYMMETRIC:
        return keys
    ours, theirs = skin[paired], skin[nearest[paired]]
    found = {name: field.copy() for name, field in keys.items()}
    for name, field in keys.items():
        found[name][ours] = (field[ours] + keys[_other_side(name)][theirs] * [-1, 1, 1]) / 2
    return found


def _other_side(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def _move_pieces(
    points: np.ndarray,
    triangles: np.ndarray,
    skin: np.ndarray,
    balls: list[Eyeball],
    landmarks: LandmarkRows,
    keys: dict[str, np.ndarray],
) -> None:
    """Pieces apart from the skin: eyes turn with eyeLook, lower teeth and tongue with the jaw."""
    at = landmarks.at(points)
    there = landmarks.at(points + keys["jawOpen"])[_ON_THE_JAW]
    opened, shift = _rigid(at[_ON_THE_JAW], there)
    lips_meet, mouth = at[[62, 66]].mean(0), np.abs(at[[60, 64], 0]).max()
    labels = _pieces(triangles, len(points))
    for piece in set(labels[triangles].ravel().tolist()) - {int(labels[skin[0]])}:
        ids = np.flatnonzero(labels == piece)
        for ball, side in zip(balls, ("Right", "Left"), strict=True):
            away = np.linalg.norm(points[ids] - ball.centre, axis=1)
            if len(ids) > 3 and away.max() < EYEBALL_REACH * ball.radius:
                centre = fit_sphere(points[ids])[0]
                for name, turn in look_keys(points[ids], centre, side).items():
                    keys[name][ids] = turn
        middle = points[ids].mean(0)
        within = np.abs(points[ids, 0]).max() < 1.5 * mouth and abs(middle[1] - lips_meet[1]) < 0.5
        if within and middle[1] < lips_meet[1] and middle[2] < lips_meet[2]:
            keys["jawOpen"][ids] = points[ids] @ opened.T + shift - points[ids]


def _rigid(here: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rotation (3, 3) and shift (3,) that take points (N, 3) closest to others (Kabsch)."""
    u, _, vt = np.linalg.svd((there - there.mean(0)).T @ (here - here.mean(0)))
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return rotation, there.mean(0) - rotation @ here.mean(0)
