"""The shape of the built-in head: a smooth union of ellipsoids and capsules.

Frame of all the head_*.py files: x to the subject's left, y up, z front; centimetres; origin midway
between the eye centres, in the plane of the lids. Proportions follow the neutral face of the
landmark table (an average of many people) at 6.3 cm between the eye centres; only the left half is
described, the right half is its mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.face.geometry import rotation_x, rotation_y, rotation_z

EYE_DISTANCE_CM = 6.3
EYE_CENTRE = np.array([3.12, 0.0, -1.02])
EYE_RADIUS = 1.25
# Height of the line where the lips meet, and half its width.
MOUTH_Y = -6.58
MOUTH_HALF_WIDTH = 2.42


@dataclass(frozen=True)
class Blob:
    """An ellipsoid, turned by degrees about x, then y, then z, that melts into what is there.

    `blend` is the width of the melting zone in cm; a negative blob carves.
    """

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    blend: float
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    carves: bool = False

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Approximate signed distance (P,), exact to first order at the surface."""
        local = points - np.array(self.centre)
        if any(self.turn_deg):
            x, y, z = self.turn_deg
            local = local @ (rotation_z(z) @ rotation_y(y) @ rotation_x(x))
        local = local / np.array(self.radii)
        scaled = np.sqrt((local * local).sum(1))
        local = local / np.array(self.radii)
        slope = np.sqrt((local * local).sum(1)) + 1e-9
        return scaled * (scaled - 1.0) / slope


@dataclass(frozen=True)
class Bone:
    """A capsule from `start` to `end` whose radius goes from `radii[0]` to `radii[1]`."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radii: tuple[float, float]
    blend: float
    carves: bool = False

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Signed distance (P,)."""
        start = np.array(self.start)
        axis = np.array(self.end) - start
        offset = points - start
        along = np.clip(offset @ axis / (axis @ axis), 0, 1)
        apart = offset - along[:, None] * axis
        radius = self.radii[0] + (self.radii[1] - self.radii[0]) * along
        return np.sqrt((apart * apart).sum(1)) - radius


# In the order in which they melt together: large forms first.
PARTS: tuple[Blob | Bone, ...] = (
    Blob((0, 2.6, -8.4), (7.1, 7.4, 9.1), 0.0),  # cranium
    Blob((0, 4.0, -4.4), (5.9, 4.8, 5.0), 3.0),  # forehead
    Blob((0, -2.6, -5.4), (6.35, 6.0, 6.1), 2.5),  # middle of the face
    Blob((0, -6.4, -5.4), (5.1, 4.3, 5.8), 2.5),  # jaw
    Blob((4.7, -6.0, -5.6), (0.9, 2.3, 2.0), 2.0),  # angle of the jaw
    Blob((0, -6.6, -1.6), (3.2, 2.9, 3.45), 1.8),  # muzzle
    Blob((0, -5.6, -0.9), (2.1, 1.35, 3.0), 1.4),  # over the upper teeth
    Blob((0, -9.5, -0.55), (2.0, 1.3, 2.1), 1.9),  # chin
    Blob((4.1, -2.0, -2.5), (2.1, 1.5, 2.1), 2.2),  # cheekbone
    Blob((3.0, -3.6, -1.6), (1.8, 2.0, 1.8), 1.8),  # cheek
    Blob((2.55, 1.85, -0.45), (2.6, 0.85, 1.35), 1.2, (0.0, 24.0, 0.0)),  # brow ridge
    Blob((3.1, -0.15, 1.35), (1.95, 1.15, 1.75), 1.2, carves=True),  # eye socket
    Blob((3.12, 0.0, -1.02), (1.6, 1.45, 1.42), 0.6),  # lids round the eyeball
    Bone((0, 0.5, 0.75), (0, -2.7, 2.95), (0.55, 0.66), 0.9),  # ridge of the nose
    Blob((0, -2.7, 0.6), (1.3, 1.9, 1.9), 0.8),  # sides of the nose
    Blob((0, -3.2, 2.9), (0.82, 0.75, 0.85), 0.6),  # tip of the nose
    Blob((0.98, -3.78, 1.95), (0.58, 0.62, 0.85), 0.5),  # wing of the nose
    Bone((0, -7.5, -9.0), (0, -19.0, -10.5), (4.6, 5.0), 2.0),  # neck
)


def signed_distance(points: np.ndarray) -> np.ndarray:
    """Signed distance (P,) of points (P, 3) to the head, cm; negative inside."""
    left = points.copy()
    left[:, 0] = np.abs(left[:, 0])
    total = PARTS[0].distance(left)
    for part in PARTS[1:]:
        other = part.distance(left)
        if part.carves:
            total = -_melt(-total, other, part.blend)
        else:
            total = _melt(total, other, part.blend)
    return total


def _melt(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Smooth minimum: the polynomial one, C1, that differs from min() only where |a-b| < width."""
    overlap = np.maximum(width - np.abs(a - b), 0.0)
    return np.minimum(a, b) - overlap * overlap / (4.0 * width)


def outward(points: np.ndarray, step: float = 1e-3) -> np.ndarray:
    """Unit gradient (P, 3) of the distance, by four samples at the corners of a tetrahedron."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1.0]])
    gradient = sum(corner * signed_distance(points + step * corner)[:, None] for corner in corners)
    return gradient / (np.linalg.norm(gradient, axis=1, keepdims=True) + 1e-12)


def project(points: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Move points (P, 3) onto the surface along the gradient."""
    for _ in range(rounds):
        # The distance is only exact near the surface, hence short and slightly careful steps.
        distance = np.clip(signed_distance(points), -1.0, 1.0)
        points = points - 0.9 * distance[:, None] * outward(points)
    return points


def cast(origins: np.ndarray, directions: np.ndarray, start: float, rounds: int = 90) -> np.ndarray:
    """First surface point (P, 3) met when coming inwards along rays.

    The rays start at `origins + start * directions` and run against `directions`: from outside, so
    that a nose or a chin is met at its outer side.
    """
    travelled = np.full(len(directions), float(start))
    active = np.arange(len(directions))
    for _ in range(rounds):
        at = origins[active] + travelled[active, None] * directions[active]
        # The smooth union underestimates distances, and ellipsoids overestimate: walk carefully.
        step = np.clip(signed_distance(at), -0.5, 1.0) * 0.7
        travelled[active] -= step
        active = active[np.abs(step) > 1e-6]
        if len(active) == 0:
            break
    return origins + travelled[:, None] * directions


def front_depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth z (P,) of the face's surface, seen from the front at (x, y)."""
    origins = np.stack([x, y, np.zeros_like(x)], axis=1)
    towards_viewer = np.broadcast_to([0.0, 0.0, 1.0], origins.shape)
    return cast(origins, towards_viewer, start=9.0)[:, 2]
