"""Speech keys for a neutral face: landmark displacements, spread smoothly, kept free of collisions.

The spread D of landmark displacements H over a surface minimises

    l^4 |A^(-1/2) L D|^2 + w |C D - H|^2,   D = 0 on the fixed vertices

with L the cotangent Laplacian, A vertex areas and C the landmark rows: a thin plate (Botsch and
Sorkine, "On linear variational surface deformation methods", 2008, eq. 8) with soft handles. The
lips, the lids and the eyeballs then ask for corrections, which are spread in the same way.

Frame: x to the subject's left, y up, z front; unit: the distance between the eye centres (IOD);
origin: midway between the eye centres. Shape letters: V vertices, R landmark rows, K keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from core.face.geometry import cotangent_laplacian
from core.face.landmarks import (
    CHIN,
    NOSE_BASE,
    LandmarkRows,
    landmark_table,
)

# Reach l of a landmark (IOD) and weight w of hitting it: found on four FLAME identities.
REACH, HANDLE_WEIGHT = 0.05, 0.02
# Corrections reach further than landmarks, so that they leave no dents.
SEAL_REACH, LIP_REACH, LID_REACH = 0.08, 0.06, 0.06
# How the way to a closed mouth is shared when the jaw is down: the lower lip does most of it.
UPPER_LIP_SHARE = 0.15
# The outlines of the lips follow their inner edges by these shares.
SEAL_FOLLOWS, PUSH_FOLLOWS = 0.85, 0.7
# Lips count as colliding when they are closer than in neutral by more than this (IOD, 0.13 mm).
LIP_SLACK = 0.002
PUSH_ROUNDS = 2
# Lips that slide along each other part by so much (IOD, .25 mm): their hidden inner sides collide.
SLIDING_PARTS = {f"mouth{way}": 0.004 for way in ("Left", "Right", "DimpleLeft", "DimpleRight")}
BLINK_ROUNDS = 4
# Landmarks at the corners of the inner lips.
INNER_CORNERS = (60, 64)
# Keys of the mouth and the jaw that need no look for collisions.
OPENING_OR_SEALED = ("jawOpen", "mouthFunnel", "mouthClose")
# Least distance of a lid from the eyeball's centre, in its radii.
LID_CLEARANCE = 1.045
# Lid vertices in neutral lie between these distances, in radii; beyond is the brow.
LID_ZONE = (0.98, 2.2)
# In a blink the outside of the lid is held this far out; its inner layer, which starts closer
# than `LID_LAYER` radii, a little less.
LID_LAYER, INNER_LID_CLEARANCE = 1.06, 1.055
MOVES_AT_ALL = 0.01


@dataclass(frozen=True)
class Eyeball:
    """A sphere that lids must not enter; IOD."""

    centre: np.ndarray
    radius: float


@dataclass(frozen=True)
class FaceSurface:
    """A neutral face, ready for the solve; IOD.

    Attributes:
        points: (V, 3).
        triangles: (T, 3) of skin, lips and lids. The mouth must be an open hole.
        landmarks: the 202 points on it.
        fixed: (V,) bool, vertices that no key moves.
        eyeballs: spheres inside the lids.
        blink_clearance: how far out a closed lid lies, in radii: more over a bulging cornea.
    """

    points: np.ndarray
    triangles: np.ndarray
    landmarks: LandmarkRows
    fixed: np.ndarray
    eyeballs: tuple[Eyeball, ...]
    blink_clearance: float


def solve_keys(surface: FaceSurface) -> dict[str, np.ndarray]:
    """The 52 keys of a surface: ARKit name -> displacements (V, 3), IOD.

    Eyeballs and tongue are not part of the surface: looking about moves the lids only, and
    tongueOut is empty.
    """
    table = landmark_table()
    spread = Spread(surface)
    wanted = table.displacements * _local_scale(surface)
    everywhere = np.arange(len(table.names))
    fields = spread(everywhere, wanted, np.full(len(everywhere), HANDLE_WEIGHT), REACH)
    keys = dict(zip(table.shapes, fields, strict=True))
    lips = LipContact(surface, spread)
    keys["mouthClose"] = lips.seal(keys["jawOpen"], keys["mouthClose"])
    lips.keep_apart(keys)
    # Pushing a lid off the eyeball parts the lids again by a little, hence more than one round.
    for _ in range(BLINK_ROUNDS):
        for name, lid in (("eyeBlinkRight", RIGHT_LIDS), ("eyeBlinkLeft", LEFT_LIDS)):
            keys[name] = keys[name] + _closing(surface, spread, keys[name], lid)
        for eyeball in surface.eyeballs:
            _keep_off_eyeball(surface, eyeball, keys)
    return keys


def _local_scale(surface: FaceSurface) -> np.ndarray:
    """Scale (3,) of displacements: x by the width of the mouth, y from nose to chin, z as is."""
    table = landmark_table()
    here, there = surface.landmarks.at(surface.points), table.neutral
    mouth = _mouth_rows()
    across = here[mouth, 0] - here[mouth, 0].mean()
    across_there = there[mouth, 0] - there[mouth, 0].mean()
    width = (across * across_there).sum() / (across_there**2).sum()
    height = (here[NOSE_BASE, 1] - here[CHIN, 1]) / (there[NOSE_BASE, 1] - there[CHIN, 1])
    return np.array([width, height, 1.0])


class Spread:
    """Spreads displacements of landmarks over a surface; remembers its factorisations."""

    def __init__(self, surface: FaceSurface):
        laplacian, areas = cotangent_laplacian(surface.points, surface.triangles)
        free = ~surface.fixed
        bending = (laplacian.T @ sp.diags(1 / areas) @ laplacian).tocsr()
        self._bending = bending[free][:, free]
        self._mass = sp.diags(areas[free])
        self._rows = surface.landmarks.matrix(len(surface.points))[:, free]
        self._free, self._count = free, len(free)
        self._solvers: dict[bytes, object] = {}

    def __call__(
        self, rows: np.ndarray, targets: np.ndarray, weights: np.ndarray, reach: float
    ) -> np.ndarray:
        """Displacement fields that meet targets at landmark rows.

        Args:
            rows: (R,) landmark rows used as handles.
            targets: (..., R, 3) wanted displacements, IOD.
            weights: (R,) weight of each handle.
            reach: l of the module's formula, IOD.

        Returns:
            (..., V, 3) displacements, exactly zero on fixed vertices.
        """
        handles = self._rows[rows]
        weighted = (handles.T @ sp.diags(weights)).tocsr()
        key = rows.tobytes() + weights.tobytes() + np.float64(reach).tobytes()
        if key not in self._solvers:
            # The last term only guards patches without handles or fixed vertices.
            system = reach**4 * self._bending + weighted @ handles + 1e-7 * self._mass
            self._solvers[key] = splu(system.tocsc())
        many = targets.reshape(-1, len(rows), 3)
        right = np.concatenate([weighted @ target for target in many], axis=1)
        solved = self._solvers[key].solve(np.ascontiguousarray(right))  # type: ignore[attr-defined]
        fields = np.zeros((len(many), self._count, 3))
        fields[:, self._free] = solved.reshape(-1, len(many), 3).transpose(1, 0, 2)
        return fields.reshape(*targets.shape[:-2], self._count, 3)


def _mouth_rows() -> list[int]:
    """Rows of the lips' outlines and inner edges."""
    table = landmark_table()
    return table.starting_with("lip") + list(range(48, 68))


def inner_lip_rows() -> np.ndarray:
    """(15, 2) landmark rows on the inner edges that face each other: upper, lower."""
    table = landmark_table()
    pairs = [(61, 67), (62, 66), (63, 65)]
    across = {"60_61": "67_60", "61_62": "66_67", "62_63": "65_66", "63_64": "64_65"}
    for row in table.starting_with("lipInUp"):
        segment, step = table.names[row].removeprefix("lipInUp_").rsplit("_", 1)
        k, steps = map(int, step.split("of"))
        pairs.append((row, table.index(f"lipInLo_{across[segment]}_{steps - k}of{steps}")))
    return np.array(pairs)


class LipContact:
    """Corrections that make lips meet, and keep them from passing through each other."""

    def __init__(self, surface: FaceSurface, spread: Spread):
        table = landmark_table()
        self._surface, self._spread = surface, spread
        self._at_rest = surface.landmarks.at(surface.points)
        self._pairs = inner_lip_rows()
        self._outer_low = np.array([*table.starting_with("lipOutLo"), *range(55, 60)])
        rest = np.setdiff1d(np.arange(len(table.names)), _mouth_rows())
        self._rows = np.concatenate([self._pairs[:, 0], self._pairs[:, 1], self._outer_low, rest])
        weights = (1.0, 1.0, 0.2, 0.05)  # inner edges exactly, outline loosely, the rest stays
        groups = (len(self._pairs), len(self._pairs), len(self._outer_low), len(rest))
        self._weights = np.repeat(weights, groups)
        self._rest = np.zeros((len(rest), 3))
        self._neutral_gap = self._gap(np.zeros_like(surface.points))

    def seal(self, jaw_open: np.ndarray, guess: np.ndarray) -> np.ndarray:
        """The mouthClose that undoes jawOpen at the lips: (V, 3).

        Every inner pair returns to its neutral gap, so jawOpen = mouthClose = t seals for every t.
        """
        excess = self._gap(jaw_open + guess) - self._neutral_gap
        upper, lower = -UPPER_LIP_SHARE * excess, (1 - UPPER_LIP_SHARE) * excess
        return guess + self._correction(upper, lower, SEAL_FOLLOWS, SEAL_REACH)

    def keep_apart(self, keys: dict[str, np.ndarray]) -> None:
        """Push lips apart where a mouth or jaw key makes them collide."""
        at_rest = self._height(np.zeros_like(self._surface.points))
        for name in keys:
            if not name.startswith(("mouth", "jaw")) or name in OPENING_OR_SEALED:
                continue
            least = at_rest + SLIDING_PARTS.get(name, 0.0)
            for _ in range(PUSH_ROUNDS):
                deeper = np.minimum(self._height(keys[name]) - least, 0.0)
                if deeper.min() > -LIP_SLACK:
                    break
                half = np.zeros((len(self._pairs), 3))
                half[:, 1] = -deeper / 2
                keys[name] = keys[name] + self._correction(half, -half, PUSH_FOLLOWS, LIP_REACH)

    def _gap(self, field: np.ndarray) -> np.ndarray:
        """(P, 3) upper less lower lip at the pairs."""
        at = self._surface.landmarks.at(self._surface.points + field)
        return at[self._pairs[:, 0]] - at[self._pairs[:, 1]]

    def _height(self, field: np.ndarray) -> np.ndarray:
        """(P,) how high the upper points are over the lower lip's edge, wherever that has moved."""
        at = self._surface.landmarks.at(self._surface.points + field)
        upper, lower = at[self._pairs[:, 0]], at[[*self._pairs[:, 1], *INNER_CORNERS]]
        order = np.argsort(lower[:, 0])
        return upper[:, 1] - np.interp(upper[:, 0], lower[order, 0], lower[order, 1])

    def _correction(
        self, upper: np.ndarray, lower: np.ndarray, follows: float, reach: float
    ) -> np.ndarray:
        x = self._at_rest[self._pairs[:, 1], 0]
        order = np.argsort(x)
        outline = np.stack(
            [
                np.interp(self._at_rest[self._outer_low, 0], x[order], lower[order, axis])
                for axis in range(3)
            ],
            axis=1,
        )
        targets = np.concatenate([upper, lower, follows * outline, self._rest])
        return self._spread(self._rows, targets, self._weights, reach)


@dataclass(frozen=True)
class _Lids:
    """Landmarks of one eye's lids: name prefixes of the curves, iBUG points, corners."""

    upper: str
    lower: str
    upper_points: tuple[int, int]
    lower_points: tuple[int, int]
    corners: tuple[int, int]

    def rows(self) -> tuple[list[int], list[int]]:
        """Rows of the upper lid, and of the lower lid with the corners."""
        table = landmark_table()
        upper = table.starting_with(self.upper) + list(self.upper_points)
        lower = table.starting_with(self.lower) + list(self.lower_points + self.corners)
        return upper, lower


RIGHT_LIDS = _Lids("eyeUpR", "eyeLoR", (37, 38), (40, 41), (36, 39))
LEFT_LIDS = _Lids("eyeUpL", "eyeLoL", (43, 44), (46, 47), (42, 45))


def _closing(surface: FaceSurface, spread: Spread, blink: np.ndarray, lids: _Lids) -> np.ndarray:
    """What a blink lacks: the upper lid's edge moves vertically onto the moved lower one."""
    upper, lower = lids.rows()
    at = surface.landmarks.at(surface.points + blink)
    lower = sorted(lower, key=lambda row: at[row, 0])
    missing = np.zeros((len(upper), 3))
    missing[:, 1] = np.interp(at[upper, 0], at[lower, 0], at[lower, 1]) - at[upper, 1]
    rest = np.setdiff1d(np.arange(len(at)), upper)
    rows = np.concatenate([upper, rest])
    targets = np.concatenate([missing, np.zeros((len(rest), 3))])
    weights = np.repeat((1.0, 0.1), (len(upper), len(rest)))
    return spread(rows, targets, weights, LID_REACH)


def _keep_off_eyeball(surface: FaceSurface, eyeball: Eyeball, keys: dict[str, np.ndarray]) -> None:
    """Push lid vertices outwards that a key moves into the eyeball."""
    radius = eyeball.radius
    at_rest = np.linalg.norm(surface.points - eyeball.centre, axis=1)
    zone = (at_rest > LID_ZONE[0] * radius) & (at_rest < LID_ZONE[1] * radius) & ~surface.fixed
    lid = np.flatnonzero(zone)
    outer_layer = at_rest[lid] > LID_LAYER * radius
    for name, field in keys.items():
        moved = surface.points[lid] + field[lid] - eyeball.centre
        distance = np.linalg.norm(moved, axis=1)
        least = np.minimum(at_rest[lid], LID_CLEARANCE * radius)
        if name.startswith("eyeBlink"):
            moves = np.linalg.norm(field[lid], axis=1) > MOVES_AT_ALL
            inner = np.where(moves, INNER_LID_CLEARANCE * radius, least)
            least = np.where(outer_layer, surface.blink_clearance * radius, inner)
        inside = distance < least
        push = moved / distance[:, None] * (least - distance)[:, None]
        field[lid[inside]] += push[inside]
