"""The landmark table: how 202 points of a face move under each of the 52 ARKit shapes.

The figures were measured on ICT-FaceKit (see data/NOTICE). Units: the distance between the eye
centres (IOD); axes: x to the subject's left, y up, z front; origin: midway between the eye centres.

The 202 points all follow from the 68 points of the iBUG mark-up: the 68 themselves, samples of the
shortest paths between two of them (named `curve_from_to_KofN`) and surface points (the closest
point of the skin to a weighted mean of the 68).
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra

from core.face.geometry import closest_on_mesh, edge_graph

TABLE_PATH = Path(__file__).parent / "data" / "arkit_landmarks.npz"
IBUG_COUNT = 68
RIGHT_EYE = slice(36, 42)
LEFT_EYE = slice(42, 48)
CHIN = 8
NOSE_BASE = 33
UNDER_NOSE_TIP = 30

# How much stronger or weaker a shape is wanted than it was on the source: measured against Apple's
# reference meshes, whose names the channels carry.
GAINS = {
    "mouthPressLeft": 2.0,
    "mouthPressRight": 2.0,
    "eyeSquintLeft": 2.0,
    "eyeSquintRight": 2.0,
    "browInnerUp": 1.7,
    "browDownLeft": 1.6,
    "browDownRight": 1.6,
    "mouthStretchLeft": 1.5,
    "mouthStretchRight": 1.5,
    "mouthLowerDownLeft": 1.25,
    "mouthLowerDownRight": 1.25,
    "mouthFunnel": 1.2,
    "cheekPuff": 0.65,
    "mouthRollLower": 0.77,
    "mouthRollUpper": 0.8,
}


@dataclass(frozen=True)
class LandmarkTable:
    """Figures of the source face.

    Attributes:
        shapes: the 52 ARKit names.
        names: the 202 point names.
        neutral: (202, 3) positions, IOD.
        displacements: (52, 202, 3), IOD, with `GAINS` applied.
        surface_weights: (N, 3, 68) weight of each iBUG point, per axis, in the surface points.
        jaw_open_deg: how far the jaw turns in jawOpen.
        jaw_pivot: (3,) the point it turns about, IOD.
        flame_landmark_ids: (68,) the iBUG points on a mesh of FLAME topology.
    """

    shapes: tuple[str, ...]
    names: tuple[str, ...]
    neutral: np.ndarray
    displacements: np.ndarray
    surface_weights: np.ndarray
    jaw_open_deg: float
    jaw_pivot: np.ndarray
    flame_landmark_ids: np.ndarray

    def index(self, name: str) -> int:
        """Row of a point by its name."""
        return self.names.index(name)

    def starting_with(self, *prefixes: str) -> list[int]:
        """Rows of the points whose names start with one of the prefixes."""
        return [i for i, name in enumerate(self.names) if name.startswith(prefixes)]


@functools.cache
def landmark_table() -> LandmarkTable:
    """Read the table (once)."""
    with np.load(TABLE_PATH, allow_pickle=False) as file:
        shapes = tuple(str(name) for name in file["shapes"])
        gains = np.array([GAINS.get(name, 1.0) for name in shapes])
        return LandmarkTable(
            shapes=shapes,
            names=tuple(str(name) for name in file["names"]),
            neutral=file["neutral"].astype(np.float64),
            displacements=file["displacements"].astype(np.float64) * gains[:, None, None],
            surface_weights=file["surface_weights"].astype(np.float64),
            jaw_open_deg=float(file["jaw_open_deg"]),
            jaw_pivot=file["jaw_pivot"].astype(np.float64),
            flame_landmark_ids=file["flame_landmark_ids"].astype(np.int64),
        )


@dataclass(frozen=True)
class LandmarkRows:
    """Where the 202 points lie on a mesh: barycentric weights (202, 3) of vertices (202, 3)."""

    vertices: np.ndarray
    weights: np.ndarray

    def matrix(self, vertex_count: int) -> sp.csr_matrix:
        """The rows as a sparse (202, V) matrix that maps vertex positions to points."""
        rows = np.repeat(np.arange(len(self.vertices)), 3)
        entries = (self.weights.ravel(), (rows, self.vertices.ravel()))
        return sp.coo_matrix(entries, (len(self.vertices), vertex_count)).tocsr()

    def at(self, positions: np.ndarray) -> np.ndarray:
        """Points (202, 3) for vertex positions or displacements (V, 3)."""
        return np.einsum("pkc,pk->pc", positions[self.vertices], self.weights)


def place_landmarks(
    vertices: np.ndarray, triangles: np.ndarray, landmark_ids: np.ndarray
) -> LandmarkRows:
    """Find the 202 points on a mesh from the vertex ids (68,) of the iBUG points."""
    table = landmark_table()
    paths = _Paths(vertices, triangles, landmark_ids)
    ids, weights = [], []
    for name in table.names[: len(table.names) - len(table.surface_weights)]:
        match = re.fullmatch(r"\w+_(\d+)_(\d+)_(\d+)of(\d+)", name)
        if match:
            start, end, step, steps = map(int, match.groups())
            before, after, share = paths.sample(start, end, step / steps)
            ids.append((before, after, before))
            weights.append((1 - share, share, 0.0))
        else:
            ids.append((int(landmark_ids[int(name.removeprefix("ibug"))]),) * 3)
            weights.append((1.0, 0.0, 0.0))
    guesses = np.einsum("nak,ka->na", table.surface_weights, vertices[landmark_ids])
    triangle, bary, _ = closest_on_mesh(guesses, vertices, triangles)
    return LandmarkRows(
        vertices=np.concatenate([np.array(ids), triangles[triangle]]),
        weights=np.concatenate([np.array(weights), bary]),
    )


class _Paths:
    """Shortest paths along edges between iBUG points."""

    def __init__(self, vertices: np.ndarray, triangles: np.ndarray, ids: np.ndarray):
        self._vertices, self._ids = vertices, ids
        graph = edge_graph(vertices, triangles)
        _, self._previous = dijkstra(graph, indices=ids, return_predecessors=True)

    def sample(self, start: int, end: int, fraction: float) -> tuple[int, int, float]:
        """The edge (two vertex ids) at a fraction of the path, and the share along that edge."""
        path = [int(self._ids[end])]
        while path[-1] != self._ids[start]:
            path.append(int(self._previous[start][path[-1]]))
        path.reverse()
        steps = np.linalg.norm(np.diff(self._vertices[path], axis=0), axis=1)
        travelled = np.r_[0.0, np.cumsum(steps)]
        wanted = travelled[-1] * fraction
        at = int(np.clip(np.searchsorted(travelled, wanted, side="right") - 1, 0, len(path) - 2))
        share = (wanted - travelled[at]) / (travelled[at + 1] - travelled[at] + 1e-12)
        return path[at], path[at + 1], float(share)
