"""The built-in head's skin under construction: points, quads and named rings."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from core.face.head_features import Ring
from core.face.head_materials import SKIN


@dataclass
class Skin:
    """Quads under construction.

    Attributes:
        points: vertices so far.
        pinned: whether each must stay where it is.
        quads: vertex ids, anticlockwise from outside.
        material: material index of each quad.
        rings: named closed rows of vertices; "Left"/"Right" are the subject's.
    """

    points: list[np.ndarray] = field(default_factory=list)
    pinned: list[bool] = field(default_factory=list)
    quads: list[tuple[int, int, int, int]] = field(default_factory=list)
    material: list[int] = field(default_factory=list)
    rings: dict[str, np.ndarray] = field(default_factory=dict)

    def add_points(self, points: np.ndarray, pinned: bool = False) -> np.ndarray:
        """Append points (P, 3) and return their ids (P,)."""
        first = len(self.points)
        self.points.extend(np.asarray(points, dtype=np.float64))
        self.pinned.extend([pinned] * len(points))
        return np.arange(first, len(self.points))

    def add_quad(self, a: int, b: int, c: int, d: int, material: int = SKIN) -> None:
        """Append one quad."""
        self.quads.append((int(a), int(b), int(c), int(d)))
        self.material.append(material)

    def add_ring(self, outer: np.ndarray, ring: Ring) -> np.ndarray:
        """Append a ring inside of `outer` and the quads between them; return its ids."""
        inner = self.add_points(ring.points, ring.pinned)
        for k in range(len(outer)):
            after = (k + 1) % len(outer)
            self.add_quad(outer[k], outer[after], inner[after], inner[k], ring.material)
        return inner

    def close_ring(self, ring: np.ndarray, centre: np.ndarray, material: int) -> int:
        """Fill a ring of even length with quads that meet in one point."""
        middle = int(self.add_points(centre[None], pinned=True)[0])
        for k in range(0, len(ring), 2):
            self.add_quad(ring[k], ring[k + 1], ring[(k + 2) % len(ring)], middle, material)
        return middle

    def set_points(self, points: np.ndarray) -> None:
        """Move all points (P, 3)."""
        self.points[:] = list(points)

    def quads_of(self, *materials: int) -> np.ndarray:
        """Quads (Q, 4) of the given materials."""
        return np.array(self.quads)[np.isin(self.material, materials)]
