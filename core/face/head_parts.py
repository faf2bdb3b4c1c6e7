"""The built-in head's separate pieces: eyeballs, teeth with gums, tongue, brows, lashes.

Frame and units: head_shape.py. The left-hand pieces are described, their twins are mirror images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from core.face.head_materials import (
    BROW,
    EYE_WHITE,
    GUMS,
    IRIS,
    IRIS_RIM,
    LASHES,
    PUPIL,
    TEETH,
    TONGUE,
)
from core.face.head_shape import (
    EYE_CENTRE,
    EYE_RADIUS,
    MOUTH_Y,
    front_depth,
)


@dataclass(frozen=True)
class Part:
    """A piece of mesh: vertices (V, 3) cm, quads (Q, 4), material of each quad (Q,)."""

    name: str
    vertices: np.ndarray
    quads: np.ndarray
    material: np.ndarray

    def mirrored(self, name: str) -> Part:
        """The piece on the other side of the face, still facing outwards."""
        return Part(name, self.vertices * [-1, 1, 1], self.quads[:, ::-1], self.material)


def all_parts(upper_lid_edge: np.ndarray) -> list[Part]:
    """Every piece; `upper_lid_edge` (n, 3) is the left upper lid's edge from nose to temple."""
    depth = lip_depth()
    eye, brow, lashes = eyeball(), eyebrow(), eyelashes(upper_lid_edge)
    return [
        eye,
        eye.mirrored("eyeRight"),
        teeth(upper=True, lip_z=depth),
        teeth(upper=False, lip_z=depth),
        tongue(depth),
        brow,
        brow.mirrored("browRight"),
        lashes,
        lashes.mirrored("lashesRight"),
    ]


def lip_depth() -> float:
    """Depth z of the face where the lips meet, in the middle."""
    return float(front_depth(np.array([0.0]), np.array([MOUTH_Y]))[0])


# --- eyes ----------------------------------------------------------------------------------------
EYE_SEGMENTS = 24
PUPIL_DEG, IRIS_DEG, IRIS_EDGE_DEG = 11.5, 25.0, 29.0
# Angles from the front pole at which rings lie; the outer ones are hidden by the head.
EYE_RINGS_DEG = (5.5, PUPIL_DEG, 18.0, IRIS_DEG, IRIS_EDGE_DEG, 34.0, 42.0, 54.0, 70.0, 90.0, 120.0)
# The cornea bulges by this share of the radius, fading out past the iris.
CORNEA_BULGE = 0.045


def eyeball() -> Part:
    """The left eyeball, its pole in front: pupil, iris with a dark edge, white."""
    angles = np.radians(EYE_RINGS_DEG)
    turn = 2 * np.pi * np.arange(EYE_SEGMENTS) / EYE_SEGMENTS
    rings = np.stack(
        [
            np.sin(angles)[:, None] * np.cos(turn),
            np.sin(angles)[:, None] * np.sin(turn),
            np.repeat(np.cos(angles)[:, None], EYE_SEGMENTS, axis=1),
        ],
        axis=2,
    ).reshape(-1, 3)
    points = np.concatenate([[[0, 0, 1.0]], rings, [[0, 0, -1.0]]])
    from_pole = np.arccos(np.clip(points[:, 2], -1, 1))
    bulge = 1 + CORNEA_BULGE * np.exp(-((from_pole / np.radians(IRIS_DEG)) ** 4))
    quads, material = [], []
    last, n = len(points) - 1, EYE_SEGMENTS
    for k in range(0, n, 2):
        quads.append((0, 1 + k, 1 + (k + 1) % n, 1 + (k + 2) % n))
        material.append(PUPIL)
    for ring in range(len(angles) - 1):
        for k in range(n):
            a, b = 1 + ring * n + k, 1 + ring * n + (k + 1) % n
            quads.append((a, a + n, b + n, b))
            material.append(_eye_material(EYE_RINGS_DEG[ring + 1]))
    base = 1 + (len(angles) - 1) * n
    for k in range(0, n, 2):
        quads.append((base + k, last, base + (k + 2) % n, base + (k + 1) % n))
        material.append(EYE_WHITE)
    vertices = EYE_CENTRE + EYE_RADIUS * points * bulge[:, None]
    return Part("eyeLeft", vertices, np.array(quads), np.array(material))


def _eye_material(outer_deg: float) -> int:
    for limit, material in ((PUPIL_DEG, PUPIL), (IRIS_DEG, IRIS), (IRIS_EDGE_DEG, IRIS_RIM)):
        if outer_deg <= limit:
            return material
    return EYE_WHITE


# --- teeth ---------------------------------------------------------------------------------------
TEETH_COUNT, STEPS_PER_TOOTH = 14, 4
# Half axes of the dental arch, and how far round it goes to each side (radians).
ARCH_WIDTH, ARCH_DEPTH, ARCH_TURN = 2.3, 2.8, 1.32
# The front of the upper arch lies this far behind the lips; the lower one stands behind it.
UPPER_BEHIND_LIPS, LOWER_BEHIND_UPPER = 0.50, 0.28
# Cutting edges relative to the line of the lips: the upper ones reach below it, so that they show
# when the jaw drops and meet the lower lip in f and v; the lower ones stand behind them.
UPPER_EDGE_Y, LOWER_EDGE_Y = -0.43, -0.14
# Cross-section from inside the gum over the tooth to the palate side: outwards, away from the
# cutting edge (cm), material.
TOOTH_PROFILE = (
    (-0.30, 1.95, GUMS),
    (0.02, 1.65, GUMS),
    (0.09, 1.32, GUMS),
    (0.06, 1.12, GUMS),
    (0.0, 1.05, TEETH),
    (0.04, 0.48, TEETH),
    (-0.02, 0.06, TEETH),
    (-0.10, 0.0, TEETH),
    (-0.22, 0.06, TEETH),
    (-0.42, 0.60, TEETH),
    (-0.55, 1.05, GUMS),
    (-0.75, 1.95, GUMS),
)


def teeth(upper: bool, lip_z: float) -> Part:
    """One row of teeth in its gum, swept along the arch."""
    sign = 1.0 if upper else -1.0
    edge_y = MOUTH_Y + (UPPER_EDGE_Y if upper else LOWER_EDGE_Y)
    front = lip_z - UPPER_BEHIND_LIPS - (0.0 if upper else LOWER_BEHIND_UPPER)
    steps = TEETH_COUNT * STEPS_PER_TOOTH
    turn = np.linspace(-ARCH_TURN, ARCH_TURN, steps + 1)
    phase = np.arange(steps + 1) % STEPS_PER_TOOTH / STEPS_PER_TOOTH
    crown = 0.5 - 0.5 * np.cos(2 * np.pi * phase)  # 0 between two teeth, 1 in the middle of one
    out, up, material = (np.array(column) for column in zip(*TOOTH_PROFILE, strict=True))
    is_tooth = material == TEETH
    side = np.abs(turn) / ARCH_TURN
    # Between teeth the enamel steps back, and the gum rises to a point.
    outwards = out[None] - np.where(is_tooth, 0.07, 0.0) * (1 - crown[:, None])
    height = up[None] + np.where(is_tooth & (up < 0.5), 0.05, 0.0) * (1 - crown[:, None])
    height = height - np.where(is_tooth & (up > 0.5), 0.12, 0.0) * (1 - crown[:, None])
    height = height * np.where(up < 0.5, 1.0, 1 - 0.15 * side[:, None])
    normal = np.stack([np.sin(turn) / ARCH_WIDTH, np.cos(turn) / ARCH_DEPTH], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    x = ARCH_WIDTH * np.sin(turn)[:, None] + normal[:, :1] * outwards
    z = front - ARCH_DEPTH + ARCH_DEPTH * np.cos(turn)[:, None] + normal[:, 1:] * outwards
    vertices = np.stack([x, edge_y + sign * height, z], axis=2).reshape(-1, 3)
    rows = len(TOOTH_PROFILE)
    quads, materials = [], []
    for k in range(steps):
        for j in range(rows - 1):
            a, b = k * rows + j, (k + 1) * rows + j
            quad = (a, a + 1, b + 1, b)
            quads.append(quad if upper else quad[::-1])
            materials.append(TEETH if is_tooth[j] and is_tooth[j + 1] else GUMS)
    name = "teethUpper" if upper else "teethLower"
    return Part(name, vertices, np.array(quads), np.array(materials))


# --- tongue --------------------------------------------------------------------------------------
TONGUE_ROWS, TONGUE_SEGMENTS = 14, 16
TONGUE_LENGTH, TONGUE_HALF_WIDTH, TONGUE_HALF_HEIGHT = 4.3, 1.65, 0.5
TONGUE_BEHIND_LIPS, TONGUE_UNDER_LIPS = 1.15, 0.92
# The share of the length from which the outline rounds off to the tip.
TONGUE_TIP = 0.62


def tongue(lip_z: float) -> Part:
    """The tongue on the floor of the mouth, with a groove along its middle and a round tip."""
    vertices, quads = [], []
    for row in range(TONGUE_ROWS + 1):
        # Rows lie closer towards the tip, where the outline is round.
        along = np.sin(0.5 * np.pi * row / TONGUE_ROWS)
        tip = max(along - TONGUE_TIP, 0.0) / (1 - TONGUE_TIP)
        taper = np.sqrt(max(1 - tip**2, 0.0)) + 0.02
        centre_y = MOUTH_Y - TONGUE_UNDER_LIPS + 0.3 * np.sin(np.pi * min(along * 1.05, 1.0))
        turn = 2 * np.pi * np.arange(TONGUE_SEGMENTS) / TONGUE_SEGMENTS
        across, over = np.cos(turn), np.sin(turn)
        groove = 0.16 * taper * np.exp(-((across / 0.3) ** 2)) * (over > 0)
        x = TONGUE_HALF_WIDTH * taper * across * (1 - 0.1 * (1 - along))
        y = centre_y + TONGUE_HALF_HEIGHT * taper * over - groove
        z = np.full_like(x, lip_z - TONGUE_BEHIND_LIPS - (1 - along) * TONGUE_LENGTH)
        vertices.append(np.stack([x, y, z], axis=1))
    for row in range(TONGUE_ROWS):
        for k in range(TONGUE_SEGMENTS):
            a, b = row * TONGUE_SEGMENTS + k, row * TONGUE_SEGMENTS + (k + 1) % TONGUE_SEGMENTS
            quads.append((a, b, b + TONGUE_SEGMENTS, a + TONGUE_SEGMENTS))
    material = np.full(len(quads), TONGUE)
    return Part("tongue", np.concatenate(vertices), np.array(quads), material)


# --- brows and lashes ----------------------------------------------------------------------------
# Middle line (x, y), cm, and half width of the left brow from nose to temple.
BROW_LINE = ((1.25, 2.12), (2.1, 2.38), (3.2, 2.66), (4.2, 2.66), (5.25, 2.10))
BROW_HALF_WIDTH = (0.22, 0.27, 0.24, 0.17, 0.03)
BROW_COLUMNS, BROW_ACROSS = 16, 5
BROW_LIFT, BROW_THICKNESS = 0.06, 0.09


def eyebrow() -> Part:
    """The left brow: a slim cushion on the skin."""
    along = np.linspace(0, 1, BROW_COLUMNS + 1)
    knots = np.linspace(0, 1, len(BROW_LINE))
    middle = PchipInterpolator(knots, np.array(BROW_LINE))(along)
    half = PchipInterpolator(knots, np.array(BROW_HALF_WIDTH))(along)
    half = half * np.clip(along * 8 + 0.45, 0, 1)
    across = np.linspace(-1, 1, BROW_ACROSS)
    x = np.repeat(middle[:, :1], BROW_ACROSS, axis=1)
    y = middle[:, 1:] + half[:, None] * across
    z = front_depth(x.ravel(), y.ravel()).reshape(x.shape) + BROW_LIFT
    z = z + BROW_THICKNESS * (1 - across**2) - 0.06 * (np.abs(across) == 1)
    vertices = np.stack([x, y, z], axis=2).reshape(-1, 3)
    quads = _strip(BROW_COLUMNS, BROW_ACROSS)
    return Part("browLeft", vertices, quads, np.full(len(quads), BROW))


LASH_LENGTH, LASH_LIFT = 0.16, 0.07


def eyelashes(edge: np.ndarray) -> Part:
    """A dark fringe on the left upper lid's edge (n, 3), longest towards the temple."""
    share = np.linspace(0, 1, len(edge))
    length = LASH_LENGTH * np.sin(np.pi * share**1.3) ** 0.8
    outwards = edge - EYE_CENTRE
    outwards /= np.linalg.norm(outwards, axis=1, keepdims=True)
    root = edge - 0.02 * outwards
    tip = (
        edge
        + outwards * length[:, None]
        + [0.0, 1.0, 0.0] * (LASH_LIFT * length / LASH_LENGTH)[:, None]
    )
    vertices = np.stack([root, tip], axis=1).reshape(-1, 3)
    quads = _strip(len(edge) - 1, 2)
    return Part("lashesLeft", vertices, quads, np.full(len(quads), LASHES))


def _strip(columns: int, across: int) -> np.ndarray:
    """Quads of a (columns + 1, across) sheet of points that runs to the subject's left."""
    first = np.arange(columns)[:, None] * across + np.arange(across - 1)
    quads = np.stack([first, first + across, first + across + 1, first + 1], axis=2)
    return quads.reshape(-1, 4)
