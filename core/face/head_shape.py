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
EYE_CENTRE = np.array([3.12, 0.0, -1.06])
EYE_RADIUS = 1.30
# Height of the line where the lips meet, and half its width.
MOUTH_Y = -6.58
MOUTH_HALF_WIDTH = 2.36


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
    Blob((0, 2.5, -7.9), (6.95, 7.1, 8.5), 0.0),  # cranium
    Blob((0, 3.8, -4.4), (5.8, 4.7, 5.0), 3.0),  # forehead
    Blob((0, -2.6, -5.3), (6.2, 5.9, 6.0), 2.5),  # middle of the face
    Blob((0, -6.3, -5.0), (4.7, 4.2, 5.4), 2.5),  # jaw
    Blob((4.45, -5.2, -5.9), (0.8, 2.1, 1.9), 2.0),  # angle of the jaw
    Blob((0, -6.6, -1.6), (3.2, 2.9, 3.45), 1.8),  # muzzle
    Blob((0, -5.6, -0.9), (2.1, 1.35, 3.0), 1.4),  # over the upper teeth
    Blob((0, -9.35, -0.25), (1.8, 1.25, 2.0), 1.9),  # chin
    Blob((4.05, -2.0, -2.4), (2.1, 1.4, 2.1), 2.2),  # cheekbone
    Blob((2.95, -3.6, -1.6), (1.8, 1.9, 1.8), 1.8),  # cheek
    Blob((2.75, 1.8, -0.6), (2.6, 0.8, 1.3), 1.4, (0.0, 24.0, 0.0)),  # brow ridge
    Blob((3.2, -0.15, 1.4), (1.95, 1.1, 1.7), 1.2, carves=True),  # eye socket
    Blob((3.12, 0.0, -1.06), (1.66, 1.5, 1.48), 0.6),  # lids round the eyeball
    Bone((0, 0.6, 0.70), (0, -2.7, 2.85), (0.58, 0.64), 0.9),  # ridge of the nose
    Blob((0, -2.7, 0.6), (1.35, 1.9, 1.9), 0.8),  # sides of the nose
    Blob((0, -3.3, 2.8), (0.86, 0.76, 0.84), 0.6),  # tip of the nose
    Bone((0, -3.9, 2.75), (0, -4.3, 2.0), (0.30, 0.28), 0.4),  # between the nostrils
    Blob((1.08, -3.78, 1.8), (0.62, 0.66, 0.92), 0.5),  # wing of the nose
    Bone((0, -6.0, -8.6), (0, -18.0, -10.0), (4.1, 4.2), 2.2),  # neck
    Bone((0, -12.5, -10.9), (7.2, -18.2, -10.6), (2.3, 2.2), 3.0),  # slope of the shoulders
    Blob((0, -20.5, -9.6), (8.8, 4.4, 5.4), 3.0),  # chest
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


def distance_and_outward(points: np.ndarray, step: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance (P,) and its unit gradient (P, 3), from four samples round each point."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1.0]])
    samples = np.stack([signed_distance(points + step * corner) for corner in corners])
    gradient = samples.T @ corners
    gradient /= np.linalg.norm(gradient, axis=1, keepdims=True) + 1e-12
    return samples.mean(0), gradient


def project(points: np.ndarray, rounds: int = 4) -> np.ndarray:
    """Move points (P, 3) onto the surface along the gradient."""
    for _ in range(rounds):
        distance, outward = distance_and_outward(points)
        points = points - fitting_step(distance)[:, None] * outward
    return points


def fitting_step(distance: np.ndarray) -> np.ndarray:
    """How far to go towards the surface at once: distances are exact only near it."""
    return 0.9 * np.clip(distance, -1.0, 1.0)


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
