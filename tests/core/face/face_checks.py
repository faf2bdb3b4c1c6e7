"""Measures of a keyed face: what can go wrong with lips, lids and surfaces, in millimetres.

All take vertices (V, 3) in x left, y up, z front; `mm` is the number of millimetres in their unit.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from core.face.geometry import closest_on_mesh, edge_lengths, edges_of
from core.face.landmarks import LandmarkRows, landmark_table
from core.face.shapes import LEFT_LIDS, RIGHT_LIDS, inner_lip_rows

# Rays of the see-through test are this far apart.
RAY_STEP_MM = 0.5
# A surface counts as lip when it lies at most this far behind the front of the mouth.
LIP_DEPTH_MM = 35.0
# The lips are what lies within this distance of the line where they meet.
LIP_ZONE_MM = 8.0
NEAR_OTHER_LIP_MM = 2.0
# Collisions are looked for in this middle share of the mouth: at its corners the lips are one.
CENTRAL_SHARE = 0.8
# The skin round a mouth reaches this far; its holes are closed by tubes this long.
CROP_MM, TUBE_MM = 42.0, 30.0
# A point this far before a surface is outside of the skin that it belongs to.
OFF_SURFACE_MM = 0.02


def see_through_mm2(
    vertices: np.ndarray, triangles: np.ndarray, landmarks: LandmarkRows, mm: float
) -> float:
    """Area between the outlines of the lips that frontal rays pass without meeting skin or lips."""
    at = landmarks.at(vertices) * mm
    points = vertices * mm
    upper, lower = _outline_rows()
    upper = sorted(upper, key=lambda row: at[row, 0])
    lower = sorted(lower, key=lambda row: at[row, 0])
    x = np.arange(at[48, 0], at[54, 0], RAY_STEP_MM)
    top = np.interp(x, at[upper, 0], at[upper, 1])
    bottom = np.interp(x, at[lower, 0], at[lower, 1])
    y = np.arange(bottom.min(), top.max(), RAY_STEP_MM)
    grid_x, grid_y = np.meshgrid(x, y)
    within = (grid_y < top) & (grid_y > bottom)
    rays = np.stack([grid_x[within], grid_y[within]], axis=1)
    corners = points[triangles]
    front = at[upper, 2].max()
    near = (corners[..., 2].max(1) > front - LIP_DEPTH_MM) & (
        (corners[..., :2].max(1) > rays.min(0)) & (corners[..., :2].min(1) < rays.max(0))
    ).all(1)
    return float((~_covered(rays, corners[near, :, :2])).sum() * RAY_STEP_MM**2)


def _outline_rows() -> tuple[list[int], list[int]]:
    table = landmark_table()
    upper = [*table.starting_with("lipOutUp"), *range(48, 55)]
    lower = [*table.starting_with("lipOutLo"), 48, 54, *range(55, 60)]
    return upper, lower


def _covered(rays: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Whether each ray (N, 2) passes through one of the flat triangles (T, 3, 2)."""
    hit = np.zeros(len(rays), dtype=bool)
    order = np.argsort(rays[:, 0], kind="stable")
    sorted_x = rays[order, 0]
    for a, b, c in corners:
        low, high = min(a[0], b[0], c[0]), max(a[0], b[0], c[0])
        ids = order[np.searchsorted(sorted_x, low) : np.searchsorted(sorted_x, high, "right")]
        p = rays[ids]
        sides = [
            (e[0] - s[0]) * (p[:, 1] - s[1]) - (e[1] - s[1]) * (p[:, 0] - s[0])
            for s, e in ((a, b), (b, c), (c, a))
        ]
        tolerance = 1e-9
        positive = np.all([side >= -tolerance for side in sides], axis=0)
        negative = np.all([side <= tolerance for side in sides], axis=0)
        hit[ids[positive | negative]] = True
    return hit


def lid_gap_mm(vertices: np.ndarray, landmarks: LandmarkRows, mm: float) -> np.ndarray:
    """Height of the upper lids' edges over the lower ones, along both eyes."""
    at = landmarks.at(vertices) * mm
    gaps = []
    for lids in (RIGHT_LIDS, LEFT_LIDS):
        upper, lower = lids.rows()
        lower = sorted(lower, key=lambda row: at[row, 0])
        gaps.append(at[upper, 1] - np.interp(at[upper, 0], at[lower, 0], at[lower, 1]))
    return np.concatenate(gaps)


def inner_lip_gap_mm(vertices: np.ndarray, landmarks: LandmarkRows, mm: float) -> np.ndarray:
    """(15, 3) upper less lower lip at the inner pairs of landmarks."""
    at = landmarks.at(vertices) * mm
    upper, lower = inner_lip_rows().T
    return at[upper] - at[lower]


def lip_penetration_mm(
    vertices: np.ndarray, closed: np.ndarray, lips: tuple[np.ndarray, np.ndarray], mm: float
) -> float:
    """How deep the vertices of one lip stand inside the other, at most."""
    return float(lip_depths_mm(vertices, closed, lips, mm).max())


def lip_depths_mm(
    vertices: np.ndarray, closed: np.ndarray, lips: tuple[np.ndarray, np.ndarray], mm: float
) -> np.ndarray:
    """How deep each vertex (V,) of one lip stands inside the other; zero for those that do not.

    Args:
        vertices: (V, 3) of the pose.
        closed: (T, 3) triangles of a skin without holes, the inside of the mouth included.
        lips: triangles of the upper and of the lower lip.
        mm: millimetres per unit.
    """
    points = vertices * mm
    depths = np.zeros(len(points))
    normals = _vertex_normals(points, closed)
    for own, other in (lips, lips[::-1]):
        ids = np.unique(own)
        x = points[ids, 0]
        ids = ids[np.abs(x - x.mean()) < CENTRAL_SHARE * np.ptp(x) / 2]
        # Winding numbers are dear: only what is near the other lip can have just entered it.
        ids = ids[cKDTree(points[np.unique(other)]).query(points[ids])[0] < NEAR_OTHER_LIP_MM]
        off_surface = points[ids] + OFF_SURFACE_MM * normals[ids]
        # Just outside of a skin the winding number is 0, but 1 where another part of it overlaps.
        inside = ids[_winding_number(off_surface, points[closed]) > 0.5]
        if len(inside):
            depths[inside] = closest_on_mesh(points[inside], points, other)[2]
    return depths


def closed_mouth(
    vertices: np.ndarray, triangles: np.ndarray, centre: np.ndarray, mm: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The skin round a mouth with its holes closed, so that winding numbers tell inside.

    Each hole gets a tube that leads backwards (`with_tubes` places it) and a lid on its end.

    Args:
        vertices: (V, 3) in neutral.
        triangles: (T, 3) of the skin, open at the mouth.
        centre: (3,) of the mouth.
        mm: millimetres per unit.

    Returns:
        Triangles (T', 3), and the loops (n,) of the holes.
    """
    near = np.linalg.norm(vertices - centre, axis=1) * mm < CROP_MM
    skin = triangles[near[triangles].all(1)]
    ends = np.concatenate([skin[:, [k, (k + 1) % 3]] for k in range(3)])
    directed = set(map(tuple, ends.tolist()))
    after = {b: a for a, b in directed if (b, a) not in directed}
    loops, parts, count = [], [skin], len(vertices)
    while after:
        loop = [next(iter(after))]
        while (following := after.pop(loop[-1])) != loop[0]:
            loop.append(following)
        rim = np.array(loop)
        end = count + np.arange(len(rim))
        ahead, end_ahead = np.roll(rim, -1), np.roll(end, -1)
        lid = np.full(len(rim), count + len(rim))
        parts += [np.c_[rim, ahead, end_ahead], np.c_[rim, end_ahead, end]]
        parts += [np.c_[end, end_ahead, lid]]
        count += len(rim) + 1
        loops.append(rim)
    return np.concatenate(parts), loops


def with_tubes(vertices: np.ndarray, loops: list[np.ndarray], mm: float) -> np.ndarray:
    """Vertices of a pose, and those of the tubes of `closed_mouth`; the wide outer one is longer,
    so that the mouth's lies inside of it."""
    parts = [vertices]
    for loop in loops:
        length = TUBE_MM if np.ptp(vertices[loop, 1]) * mm < CROP_MM else 2 * TUBE_MM
        ends = vertices[loop] + np.array([0, 0, -length]) / mm
        parts += [ends, ends.mean(0)[None]]
    return np.concatenate(parts)


def lip_triangles(
    vertices: np.ndarray, triangles: np.ndarray, pairs: np.ndarray, mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the upper and of the lower lip round the line where they meet.

    Args:
        vertices: (V, 3) in neutral.
        triangles: (T, 3) to choose from.
        pairs: (P, 2) upper and lower vertices that meet, from one corner to the other.
        mm: millimetres per unit.
    """
    upper, lower = vertices[pairs].transpose(1, 0, 2) * mm
    near = triangles[(cKDTree(upper).query(vertices * mm)[0] < LIP_ZONE_MM)[triangles].all(1)]
    height = vertices[:, 1] * mm - np.interp(
        vertices[:, 0] * mm, *_sorted_line((upper + lower) / 2)
    )
    above = height[near].mean(1) > 0
    return near[above], near[~above]


def _sorted_line(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(points[:, 0])
    return points[order, 0], points[order, 1]


def _vertex_normals(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    a, b, c = (points[triangles[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], np.cross(b - a, c - a))
    return normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12)


def _winding_number(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Sum of the solid angles of triangles (T, 3, 3) seen from points (P, 3), over 4 pi.

    Van Oosterom and Strackee, "The solid angle of a plane triangle", 1983, eq. 8.
    """
    numbers = []
    for point in points:
        a, b, c = np.moveaxis(corners - point, 1, 0)
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        above = (a * np.cross(b, c)).sum(1)
        below = la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la + (c * a).sum(1) * lb
        numbers.append(2 * np.arctan2(above, below).sum() / (4 * np.pi))
    return np.array(numbers)


def turned_faces(neutral: np.ndarray, posed: np.ndarray, triangles: np.ndarray) -> int:
    """Number of triangles whose normal turns by more than 90 degrees."""
    before, after = (
        np.cross(v[triangles[:, 1]] - v[triangles[:, 0]], v[triangles[:, 2]] - v[triangles[:, 0]])
        for v in (neutral, posed)
    )
    return int(((before * after).sum(1) < 0).sum())


def edge_stretch(neutral: np.ndarray, posed: np.ndarray, triangles: np.ndarray) -> float:
    """99.5th percentile of how much longer edges get."""
    edges = edges_of(triangles)
    return float(np.percentile(edge_lengths(posed, edges) / edge_lengths(neutral, edges), 99.5))
