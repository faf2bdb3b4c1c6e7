"""Explicit curves of the built-in head: lips and mouth bag, lids, nostrils, ears.

Each function describes the rings of one feature from its rim inwards. A ring of n points starts at
the middle of the feature's right side as one looks at it (for the subject's left eye, ear and
nostril) and runs anticlockwise; points k and n-k therefore lie above and below each other. Frame
and units: head_shape.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.interpolate import CubicSpline

from core.face.head_materials import LID_RIM, LIPS, MOUTH, NOSTRIL, SKIN
from core.face.head_shape import (
    EYE_CENTRE,
    EYE_RADIUS,
    MOUTH_HALF_WIDTH,
    MOUTH_Y,
    front_depth,
    project,
)


@dataclass(frozen=True)
class Ring:
    """One closed row of points (n, 3), and the material of the quads on its outer side."""

    points: np.ndarray
    material: int = SKIN
    pinned: bool = True
    name: str = ""
    closing_point: np.ndarray | None = None

    def mirrored(self) -> Ring:
        """The same ring on the other side of the face, still anticlockwise from the right."""
        count = len(self.points)
        order = (count // 2 - np.arange(count)) % count
        closing = None if self.closing_point is None else self.closing_point * [-1, 1, 1]
        return replace(self, points=self.points[order] * [-1, 1, 1], closing_point=closing)


def _round(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cosine and sine of each point's angle, and its side: 1 above, -1 below, 0 at the ends."""
    angle = 2 * np.pi * np.arange(count) / count
    side = np.sign(np.sin(angle))
    side[[0, count // 2]] = 0.0
    return np.cos(angle), np.sin(angle), side


def neck_axis_depth(y: np.ndarray) -> np.ndarray:
    """Depth z of the neck's axis at height y: it leans back on its way down."""
    return -8.7 - (-6.0 - y) * 0.12


# --- mouth ---------------------------------------------------------------------------------------
UPPER_LIP_CM, LOWER_LIP_CM = 0.80, 0.88
# The dip of the cupid's bow and its half width as a share of the half mouth.
BOW_DIP_CM, BOW_SHARE = 0.13, 0.17
# The corners lie a little higher than the middle: a friendly mouth at rest.
CORNER_RISE_CM = 0.12
# Neighbouring lips overlap by a hair so that subdivision of the mesh does not open them.
CONTACT_OVERLAP_CM = 0.03

# Rings of the red of the lips, from its outline inwards: name, height as a share of the lip
# (0 where the lips meet, 1 outline), forward bulge of upper and lower lip (cm), width of the
# ring as a share of the mouth, depth of its corners (cm), material.
LIP_RINGS = (
    ("Outline", 1.0, 0.22, 0.10, 1.02, 0.02, SKIN),
    ("", 0.80, 0.37, 0.34, 1.01, 0.0, LIPS),
    ("", 0.45, 0.42, 0.47, 1.0, -0.02, LIPS),
    ("", 0.12, 0.29, 0.33, 0.985, -0.08, LIPS),
)


def mouth_rings(count: int) -> list[Ring]:
    """From the skin round the mouth over the lips into the closed mouth bag."""
    x, sin, side = _round(count)
    body = np.clip(1 - x * x, 0, 1)
    bow = BOW_DIP_CM * np.exp(-((x / BOW_SHARE) ** 2))
    upper = UPPER_LIP_CM * body - bow * body
    lower = LOWER_LIP_CM * (1 - np.abs(x) ** 3)
    line = MOUTH_Y + CORNER_RISE_CM * x * x - 0.03 * np.exp(-((x / 0.22) ** 2))
    depth = front_depth(x * MOUTH_HALF_WIDTH * 0.98, line)

    def lip(
        share: float, bulge_up: float, bulge_low: float, width: float, corner: float
    ) -> np.ndarray:
        height = np.where(side > 0, upper, np.where(side < 0, -lower, 0.0)) * share
        bulge = np.where(side > 0, bulge_up, np.where(side < 0, bulge_low, 0.0)) * body**0.6
        z = depth + bulge + corner * (1 - body)
        return np.stack([x * MOUTH_HALF_WIDTH * width, line + height, z], axis=1)

    def around(margin: float, width: float) -> np.ndarray:
        grown = margin * (0.55 + 0.45 * body)
        height = np.where(side > 0, upper + grown, np.where(side < 0, -lower - grown, 0.0))
        xs, ys = x * MOUTH_HALF_WIDTH * width, line + height
        return np.stack([xs, ys, front_depth(xs, ys)], axis=1)

    rings = [Ring(around(0.75, 1.34), pinned=False), Ring(around(0.33, 1.14), pinned=False)]
    for name, share, up, low, width, corner, material in LIP_RINGS:
        rings.append(Ring(lip(share, up, low, width, corner), material, name=name))
    meet = lip(0.0, 0.07, 0.07, 0.965, -0.20)
    meet[:, 1] -= side * CONTACT_OVERLAP_CM * body**0.25 / 2
    rings.append(Ring(meet, LIPS, name="Contact"))
    rings.append(Ring(lip(0.05, -0.35, -0.35, 0.94, -0.45), LIPS, name="Inside"))
    rings.append(Ring(lip(0.55, -0.75, -0.75, 0.95, -0.8), MOUTH))
    front = depth[count // 4]
    # The bag: half widths, heights over and under the lip line, distance behind the lips.
    for width, over, under, back in (
        (2.5, 1.35, 1.5, 1.3),
        (2.55, 1.7, 1.9, 3.0),
        (2.2, 1.4, 1.7, 4.6),
        (1.2, 0.7, 0.8, 5.4),
    ):
        y = MOUTH_Y + np.where(sin > 0, over, under) * sin
        z = np.full(count, front - back) - 0.14 * (x * width) ** 2
        rings.append(Ring(np.stack([width * x, y, z], axis=1), MOUTH))
    closing = np.array([0.0, MOUTH_Y, front - 5.7])
    rings[-1] = replace(rings[-1], closing_point=closing)
    return rings


# --- eyes ----------------------------------------------------------------------------------------
# Rings of the lids from the eye socket to the inside of the lid: name, height of the upper and
# the lower lid over the middle of the eye (cm), half width (cm), distance from the eyeball's
# centre as a multiple of its radius, least depth before that centre (cm), material.
LID_RINGS = (
    ("", 1.00, 0.82, 1.74, 1.23, 0.46, SKIN),
    ("", 0.86, 0.70, 1.62, 1.15, 0.46, SKIN),
    ("", 0.70, 0.60, 1.52, 1.135, 0.50, SKIN),
    ("Edge", 0.585, 0.495, 1.44, 1.10, 0.50, SKIN),
    ("EdgeInner", 0.54, 0.46, 1.40, 1.03, 0.42, LID_RIM),
    ("Inside", 0.61, 0.53, 1.42, 0.99, 0.05, LID_RIM),
)
# The corner at the nose lies before the one at the temple (cm).
INNER_CORNER_FORWARD, OUTER_CORNER_BACK = 0.25, 0.15


def eye_rings(count: int) -> list[Ring]:
    """From the socket over the lids to behind their edges, for the subject's left eye."""
    x, _, side = _round(count)
    body = np.clip(1 - x * x, 0, 1)

    def lid(up: float, low: float, width: float, ratio: float, least: float) -> np.ndarray:
        # The upper lid is fullest towards the nose, the lower one towards the temple.
        above = up * body**0.62 * (1 - 0.10 * x)
        below = -low * body**0.7 * (1 + 0.15 * x)
        y = 0.08 * x + np.where(side > 0, above, np.where(side < 0, below, 0.0))
        across = x * width
        radius = EYE_RADIUS * ratio
        depth = np.sqrt(np.maximum(radius**2 - across**2 - y**2, 0.16))
        depth = np.maximum(depth, least) - OUTER_CORNER_BACK * np.clip(x, 0, 1) ** 3
        depth = depth + INNER_CORNER_FORWARD * np.clip(-x, 0, 1) ** 4
        return EYE_CENTRE + np.stack([across, y, depth], axis=1)

    rings = [Ring(project(lid(1.16, 1.02, 1.98, 1.33, 0.3)), pinned=False)]
    for name, up, low, width, ratio, least, material in LID_RINGS:
        rings.append(Ring(lid(up, low, width, ratio, least), material, name=name))
    rings[-1] = replace(
        rings[-1],
        points=rings[-1].points - [0, 0, 0.25],
        closing_point=EYE_CENTRE - [0, 0, 0.3],
    )
    return rings


# --- nostrils ------------------------------------------------------------------------------------
NOSTRIL_CENTRE = np.array([0.63, -4.35, 2.28])
# Half axes of the opening: along the nostril (forward and inward) and across it.
NOSTRIL_LONG = np.array([-0.13, 0.09, 0.43])
# From the opening to the end of the nostril.
NOSTRIL_DEPTH = np.array([0.0, 0.8, -0.1])
NOSTRIL_ACROSS = np.array([0.25, 0.02, 0.06])


def nostril_rings(count: int) -> list[Ring]:
    """From the underside of the nose into a nostril, on the subject's left."""
    cos, sin, _ = _round(count)
    opening = NOSTRIL_CENTRE + cos[:, None] * NOSTRIL_ACROSS + sin[:, None] * NOSTRIL_LONG
    rim = project(opening)
    outer = project(NOSTRIL_CENTRE + (opening - NOSTRIL_CENTRE) * 1.45)
    centre = rim.mean(0)

    def inside(share: float, rise: float) -> np.ndarray:
        return centre + (rim - centre) * share + [0.0, rise, -0.1 * rise]

    return [
        Ring(outer, pinned=False),
        Ring(rim, SKIN, name="Edge"),
        Ring(inside(0.86, 0.10), NOSTRIL),
        Ring(inside(0.72, 0.55), NOSTRIL, closing_point=centre + NOSTRIL_DEPTH),
    ]


# --- ears ----------------------------------------------------------------------------------------
EAR_ROOT = np.array([6.75, -0.95, -6.7])
# The ear leans back at the top and stands off from the head at the back (degrees).
EAR_LEAN_DEG, EAR_FLARE_DEG = 7.0, 30.0
# Outline in the ear's own plane, from its back over the top to the front and the lobe: backwards
# and up from the ear canal, cm.
EAR_OUTLINE = (
    *((1.85, 0.5), (1.65, 1.7), (0.85, 2.6), (-0.15, 2.65), (-0.85, 1.9), (-0.95, 0.8)),
    *((-0.95, -0.6), (-0.95, -1.7), (-0.75, -2.5), (-0.1, -2.85), (0.6, -2.5), (1.25, -1.3)),
)
# Rings from the side of the head over the rim into the bowl: size as a share of the outline, and
# height over the ear's plane at the back, in front (where the ear runs into the cheek) and in the
# lobe, cm.
EAR_RINGS = (
    (0.58, -0.80, -0.40, -0.50),  # root
    (0.86, -0.22, -0.15, -0.12),  # back of the ear
    (1.00, 0.04, 0.00, 0.05),  # outline
    (0.97, 0.24, 0.10, 0.18),  # helix
    (0.88, 0.24, 0.14, 0.20),
    (0.80, -0.02, 0.12, 0.16),  # groove behind the antihelix
    (0.68, 0.06, 0.12, 0.12),
    (0.58, 0.20, 0.16, 0.10),  # antihelix; in front the tragus
    (0.47, 0.06, 0.14, 0.02),
    (0.38, -0.42, -0.20, -0.20),  # wall of the bowl
    (0.20, -0.62, -0.50, -0.40),
)
EAR_FLOOR_HEIGHT = -0.66
# The tragus: where it stands in front of the canal (height along the ear), its half length, how far
# it rises and how far it leans back over the bowl, cm.
TRAGUS_UP, TRAGUS_HALF_LENGTH, TRAGUS_HEIGHT, TRAGUS_BACK = -0.15, 0.45, 0.22, 0.18


def ear_rings(count: int) -> list[Ring]:
    """From the side of the head over the rim of the ear into its bowl, on the subject's left."""
    outline = _ear_outline(count)
    in_front = _smooth_step(-outline[:, 0], 0.1, 0.8) * _smooth_step(-outline[:, 1], -2.3, -1.0)
    in_lobe = _smooth_step(-outline[:, 1], 1.2, 2.2) * (1 - 0.5 * in_front)
    tragus = in_front * np.exp(-(((outline[:, 1] - TRAGUS_UP) / TRAGUS_HALF_LENGTH) ** 2))
    rings = []
    for share, back, front, lobe in EAR_RINGS:
        height = back + (front - back) * in_front
        height = height + (lobe - height) * in_lobe
        flat = outline * share
        if 0.4 < share < 0.7 and back > 0:
            height = height + TRAGUS_HEIGHT * tragus
            flat = flat + TRAGUS_BACK * tragus[:, None] * [1.0, 0.0]
        rings.append(Ring(_ear_point(flat, height)))
    floor = _ear_point(np.zeros((1, 2)), np.array([EAR_FLOOR_HEIGHT]))[0]
    rings[-1] = replace(rings[-1], closing_point=floor)
    return rings


def _smooth_step(x: np.ndarray, start: float, end: float) -> np.ndarray:
    share = np.clip((x - start) / (end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _ear_outline(count: int) -> np.ndarray:
    """Outline (count, 2) of the ear in its own plane: backwards and up, cm, at even distances."""
    control = np.array([*EAR_OUTLINE, EAR_OUTLINE[0]])
    travelled = np.r_[0, np.cumsum(np.linalg.norm(np.diff(control, axis=0), axis=1))]
    spline = CubicSpline(travelled, control, bc_type="periodic")
    return spline(np.arange(count) / count * travelled[-1])


def _ear_point(flat: np.ndarray, height: np.ndarray) -> np.ndarray:
    """From the ear's plane (n, 2) and height (n,) over it to the head's frame (n, 3)."""
    lean, flare = np.radians(EAR_LEAN_DEG), np.radians(EAR_FLARE_DEG)
    up = np.array([0.0, np.cos(lean), -np.sin(lean)])
    back = np.array([np.sin(flare), -np.cos(flare) * np.sin(lean), -np.cos(flare) * np.cos(lean)])
    out = np.cross(up, back)
    out = out * np.sign(out[0])
    return EAR_ROOT + flat[:, :1] * back + flat[:, 1:] * up + height[:, None] * out
