"""Geometry of triangle meshes in numpy: Laplacian, distances along edges, closest points, turns.

Shape letters: V vertices, T triangles, P points.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

# Cotangents of very flat triangles are cut off: they would stiffen one edge at the cost of all.
SMALLEST_COTANGENT = 0.04
LARGEST_COTANGENT = 10.0
# A sliver's vertex area counts as at least this share of the mean, so that 1/area stays bounded.
SMALLEST_AREA_SHARE = 0.05


def edges_of(triangles: np.ndarray) -> np.ndarray:
    """Unique undirected edges (E, 2) of triangles (T, 3)."""
    pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    return np.unique(np.sort(pairs, axis=1), axis=0)


def edge_lengths(points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Length (E,) of each edge."""
    return np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)


def edge_graph(points: np.ndarray, triangles: np.ndarray) -> sp.csr_matrix:
    """Symmetric (V, V) graph of edge lengths, for shortest paths."""
    edges = edges_of(triangles)
    lengths = edge_lengths(points, edges)
    rows, columns = np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]]
    graph = sp.coo_matrix((np.r_[lengths, lengths], (rows, columns)), (len(points),) * 2)
    return graph.tocsr()


def cotangent_laplacian(
    points: np.ndarray, triangles: np.ndarray
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Cotangent Laplacian (V, V), positive semi-definite, and the area (V,) of each vertex."""
    count = len(points)
    weights = sp.csr_matrix((count, count))
    areas = np.zeros(count)
    for corner in range(3):
        at, left, right = (triangles[:, (corner + k) % 3] for k in range(3))
        to_left, to_right = points[left] - points[at], points[right] - points[at]
        doubled = np.linalg.norm(np.cross(to_left, to_right), axis=1) + 1e-12
        cotangents = np.clip((to_left * to_right).sum(1) / doubled, -1.0, LARGEST_COTANGENT)
        half = np.maximum(cotangents, SMALLEST_COTANGENT) / 2
        weights = weights + sp.coo_matrix((half, (left, right)), (count, count)).tocsr()
        np.add.at(areas, at, doubled / 6)
    weights = weights + weights.T
    laplacian = sp.diags(np.asarray(weights.sum(1)).ravel()) - weights
    return laplacian.tocsr(), np.maximum(areas, areas[areas > 0].mean() * SMALLEST_AREA_SHARE)


def closest_on_mesh(
    points: np.ndarray, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Closest point of a mesh to each point, by trying every triangle.

    Returns:
        triangle (P,), barycentric weights (P, 3), distance (P,).
    """
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    found, weights, distances = [], [], []
    for point in points:
        bary = _closest_barycentric(point, a, b, c)
        foot = bary[:, :1] * a + bary[:, 1:2] * b + bary[:, 2:] * c
        gap = np.linalg.norm(foot - point, axis=1)
        best = int(gap.argmin())
        found.append(best)
        weights.append(bary[best])
        distances.append(gap[best])
    return np.array(found), np.array(weights), np.array(distances)


def _closest_barycentric(
    point: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> np.ndarray:
    """Barycentric weights (T, 3) of the point of each triangle that is closest to `point`."""
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = (ab * ab).sum(1), (ab * ac).sum(1), (ac * ac).sum(1)
    d20, d21 = (ap * ab).sum(1), (ap * ac).sum(1)
    determinant = d00 * d11 - d01 * d01 + 1e-30
    v = (d11 * d20 - d01 * d21) / determinant
    w = (d00 * d21 - d01 * d20) / determinant
    bary = np.stack([1 - v - w, v, w], axis=1)
    outside = (bary < 0).any(1)
    nearest = np.full(len(a), np.inf)
    corners = (a, b, c)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        along = corners[j] - corners[i]
        t = ((point - corners[i]) * along).sum(1) / ((along * along).sum(1) + 1e-30)
        t = np.clip(t, 0, 1)
        gap = np.linalg.norm(corners[i] + t[:, None] * along - point, axis=1)
        better = outside & (gap < nearest)
        nearest[better] = gap[better]
        on_edge = np.zeros((int(better.sum()), 3))
        on_edge[:, i], on_edge[:, j] = 1 - t[better], t[better]
        bary[better] = on_edge
    return bary


def fit_sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares sphere through points (P, 3): centre (3,) and radius."""
    design = np.c_[2 * points, np.ones(len(points))]
    x, y, z, rest = np.linalg.lstsq(design, (points**2).sum(1), rcond=None)[0]
    centre = np.array([x, y, z])
    return centre, float(np.sqrt(rest + centre @ centre))


def rotation_x(degrees: float) -> np.ndarray:
    """Turn about x: positive tips the front (z) down towards -y."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def rotation_y(degrees: float) -> np.ndarray:
    """Turn about y: positive turns the front (z) towards the subject's left (x)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1.0, 0], [-s, 0, c]])


def rotation_z(degrees: float) -> np.ndarray:
    """Turn about z: positive turns x towards y."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def turned(points: np.ndarray, rotation: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """Displacement (P, 3) of points that turn about a pivot."""
    return (points - pivot) @ rotation.T + pivot - points
