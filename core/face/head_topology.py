"""The quads of the built-in head's skin: a grid round the skull, and rings in its holes.

The holes are filled with concentric rings: true edge loops. Rings that must lie exactly somewhere
(lips, lids, nostrils, ears) are pinned to explicit curves (head_features.py); the rest slides over
the surface until its edges are even.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from core.face import head_features as features
from core.face.head_grid import HALF_FRONT, HOLES, Hole, add_grid
from core.face.head_shape import distance_and_outward, fitting_step, project
from core.face.head_skin import Skin

RELAXING_ROUNDS = 50


def build_skin() -> Skin:
    """Skin, lips, lids, mouth bag, nostrils and ears, relaxed and exactly symmetric."""
    skin = Skin()
    grid = add_grid(skin)
    _fill(skin, grid, HOLES["mouth"], "mouth", features.mouth_rings)
    for name, rings in (
        ("eye", features.eye_rings),
        ("nostril", features.nostril_rings),
        ("ear", features.ear_rings),
    ):
        _fill(skin, grid, HOLES[name], name + "Left", rings)
        _fill(skin, grid, HOLES[name].mirrored(), name + "Right", rings, mirror=True)
    skin.rings["middle"] = grid[:, HALF_FRONT][grid[:, HALF_FRONT] >= 0]
    _relax(skin)
    _symmetrise(skin)
    return skin


def _fill(
    skin: Skin,
    grid: np.ndarray,
    hole: Hole,
    name: str,
    rings: Callable[[int], list[features.Ring]],
    mirror: bool = False,
) -> None:
    """Fill a hole with the rings of a feature; rings are described for the subject's left."""
    outer = np.array([grid[row, column] for row, column in hole.rim()])
    skin.rings[name + "Rim"] = outer
    count = len(outer)
    described = rings(count)
    for ring in described:
        if mirror:
            ring = ring.mirrored()
        outer = skin.add_ring(outer, ring)
        if ring.name:
            skin.rings[name + ring.name] = outer
    last = described[-1].mirrored() if mirror else described[-1]
    if last.closing_point is None:
        raise ValueError(f"the last ring of {name} has no point to close it")
    middle = skin.close_ring(outer, last.closing_point, last.material)
    skin.rings[name + "Floor"] = np.array([middle])


def _relax(skin: Skin) -> None:
    """Even out the edges of the unpinned points, along the surface."""
    points, pinned = np.array(skin.points), np.array(skin.pinned)
    quads = np.array(skin.quads)
    sides = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    edges = np.unique(np.sort(sides, axis=1), axis=0)
    degree = np.bincount(edges.ravel(), minlength=len(points))[:, None]
    free = ~pinned
    for _ in range(RELAXING_ROUNDS):
        total = np.zeros_like(points)
        np.add.at(total, edges[:, 0], points[edges[:, 1]])
        np.add.at(total, edges[:, 1], points[edges[:, 0]])
        pull = (total / degree - points)[free]
        distance, normal = distance_and_outward(points[free])
        pull -= (pull * normal).sum(1, keepdims=True) * normal
        points[free] += 0.5 * pull - fitting_step(distance)[:, None] * normal
    points[free] = project(points[free])
    skin.set_points(points)


def _symmetrise(skin: Skin) -> None:
    """Average every point with the mirror image of its counterpart."""
    points = np.array(skin.points)
    partner = mirror_partners(points)
    skin.set_points((points + points[partner] * [-1, 1, 1]) / 2)


def mirror_partners(points: np.ndarray) -> np.ndarray:
    """For each point (P, 3) the one nearest to its mirror image in x: (P,)."""
    return cKDTree(points * [-1, 1, 1]).query(points)[1]
