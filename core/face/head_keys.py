"""The 52 keys of the built-in head.

The skin's come from the landmark solve; here are what is particular to a head of our own: where its
68 landmarks lie, lips that stay before the teeth, the mouth bag, eyeballs, jaw, tongue, brows.
Frame and units: head_shape.py.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from core.face.eyes import look_keys
from core.face.geometry import closest_on_mesh, rotation_x, turned
from core.face.head_materials import LID_RIM, LIPS, NOSTRIL, SKIN
from core.face.head_parts import ARCH_DEPTH, ARCH_WIDTH, UPPER_BEHIND_LIPS, Part, lip_depth
from core.face.head_shape import (
    EYE_CENTRE,
    EYE_DISTANCE_CM,
    EYE_RADIUS,
    MOUTH_HALF_WIDTH,
    MOUTH_Y,
    project,
)
from core.face.head_skin import Skin
from core.face.head_topology import mirror_partners
from core.face.landmarks import IBUG_COUNT, landmark_table, place_landmarks
from core.face.shapes import Eyeball, FaceSurface, solve_keys

# Nothing moves above the hairline, behind the ears' front and on the lower neck.
STILL_ABOVE_Y, STILL_BEHIND_Z, STILL_BELOW_Y = 8.2, -6.0, -14.5
# A closed lid clears the cornea's bulge.
BLINK_CLEARANCE = 1.10
# The mandible turns a little less than the skin over it, from which the angle was measured.
MANDIBLE_SHARE = 0.97
# The jaw's share of each jaw key as a rigid move, measured on the landmark table: IOD.
JAW_SHIFTS = {
    "jawForward": (0.0, -0.026, 0.136),
    "jawLeft": (0.099, -0.009, 0.009),
    "jawRight": (-0.099, -0.009, 0.009),
}
# How the tongue comes out: it climbs over the teeth, reaches forward, bends down, gets thinner.
TONGUE_RISE_CM, TONGUE_REACH_CM, TONGUE_BEND_CM, TONGUE_THINS = 1.5, 3.0, 2.1, 0.35
# The mouth bag follows the lips down to this depth behind them (cm), fading out.
BAG_FOLLOWS_CM = 3.0
# An upper lip that rolls in by all that was measured would stand .9 mm in the lower one.
ROLL_UPPER_SHARE = 0.8
# Skin farther than this from a brow is not under it.
RIDE_REACH_CM = 0.6


def skin_keys(skin: Skin, points: np.ndarray) -> dict[str, np.ndarray]:
    """Keys (V, 3) of the skin's vertices, cm."""
    unit, origin = _frame(skin, points)
    quads = skin.quads_of(SKIN, LIPS, LID_RIM, NOSTRIL)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    used = np.unique(triangles)
    compact = np.full(len(points), -1)
    compact[used] = np.arange(len(used))
    framed = (points[used] - origin) / unit
    landmark_ids = compact[landmark_vertices(skin, points)]
    surface = FaceSurface(
        points=framed,
        triangles=compact[triangles],
        landmarks=place_landmarks(framed, compact[triangles], landmark_ids),
        fixed=_still(points[used]),
        eyeballs=tuple(
            Eyeball((EYE_CENTRE * [side, 1, 1] - origin) / unit, EYE_RADIUS / unit)
            for side in (1, -1)
        ),
        blink_clearance=BLINK_CLEARANCE,
    )
    keys = {}
    for name, field in solve_keys(surface).items():
        keys[name] = np.zeros_like(points)
        keys[name][used] = field * unit
    keys["mouthRollUpper"] *= ROLL_UPPER_SHARE
    _keep_before_teeth(skin, points, keys)
    keys = _symmetric(points, keys)
    _carry_mouth_bag(skin, points, keys, unit, origin)
    return keys


def part_keys(
    part: Part, skin: Skin, points: np.ndarray, keys: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Keys (V, 3) of a piece, cm, given those of the skin; without those that do not move it."""
    unit, origin = _frame(skin, points)
    if part.name.startswith("eye"):
        side = part.name.removeprefix("eye")
        return look_keys(part.vertices, EYE_CENTRE * [1 if side == "Left" else -1, 1, 1], side)
    if part.name in ("teethLower", "tongue"):
        moves = {name: jaw_move(part.vertices, name, unit, origin) for name in _jaw_names()}
        if part.name == "tongue":
            moves["tongueOut"] = _tongue_out(part.vertices)
        return moves
    if part.name.startswith(("brow", "lashes")):
        return _ride_on_skin(part, skin, points, keys)
    return {}


def jaw_move(points: np.ndarray, name: str, unit: float, origin: np.ndarray) -> np.ndarray:
    """Rigid displacement (P, 3) of the lower jaw under a jaw key, cm."""
    table = landmark_table()
    if name == "jawOpen":
        turn = rotation_x(table.jaw_open_deg * MANDIBLE_SHARE)
        return turned(points, turn, origin + unit * table.jaw_pivot)
    shift = np.array(JAW_SHIFTS.get(name, (0.0, 0.0, 0.0))) * unit
    return np.broadcast_to(shift, points.shape).copy()


def landmark_vertices(skin: Skin, points: np.ndarray) -> np.ndarray:
    """Vertex ids (68,) of the iBUG landmarks."""
    ids = np.full(IBUG_COUNT, -1)
    _mouth_landmarks(skin.rings["mouthOutline"], skin.rings["mouthContact"], points, ids)
    _eye_landmarks(skin, points, ids)
    table = landmark_table()
    surface = np.unique(skin.quads_of(SKIN))
    tree = cKDTree(points[surface])
    for row in [k for k in range(IBUG_COUNT) if ids[k] < 0]:
        # The head has the table's proportions: the table's own point, dropped onto our skin.
        aim = project(table.neutral[row][None] * EYE_DISTANCE_CM, rounds=8)[0]
        ids[row] = surface[tree.query(aim)[1]]
    return ids


def _frame(skin: Skin, points: np.ndarray) -> tuple[float, np.ndarray]:
    """Distance between the eye centres and the point midway, from the lids' landmarks."""
    ids = np.full(IBUG_COUNT, -1)
    _eye_landmarks(skin, points, ids)
    right, left = points[ids[36:42]].mean(0), points[ids[42:48]].mean(0)
    return float(np.linalg.norm(left - right)), (left + right) / 2


def _nearest_x(ring: np.ndarray, points: np.ndarray, x: float) -> int:
    return int(ring[np.abs(points[ring, 0] - x).argmin()])


def _mouth_landmarks(
    outline: np.ndarray, contact: np.ndarray, points: np.ndarray, ids: np.ndarray
) -> None:
    """Fill rows 48..67: positions across the mouth as the table has them."""
    neutral = landmark_table().neutral
    for ring, first, upper, lower in (
        (outline, 48, (49, 50, 51, 52, 53), (59, 58, 57, 56, 55)),
        (contact, 60, (61, 62, 63), (67, 66, 65)),
    ):
        half = len(ring) // 2
        corner = first + len(upper) + 1
        ids[first], ids[corner] = ring[half], ring[0]
        scale = points[ring[0], 0] / neutral[corner, 0]
        for rows, side in ((upper, ring[1:half]), (lower, ring[half + 1 :])):
            for row in rows:
                ids[row] = _nearest_x(side, points, neutral[row, 0] * scale)


def _eye_landmarks(skin: Skin, points: np.ndarray, ids: np.ndarray) -> None:
    """Fill rows 36..47 from the edges of the lids."""
    for name, sign, rows in (
        ("eyeRightEdge", -1, (36, 37, 38, 39, 40, 41)),
        ("eyeLeftEdge", 1, (45, 44, 43, 42, 47, 46)),
    ):
        edge = skin.rings[name]
        half = len(edge) // 2
        outer, inner = (edge[0], edge[half]) if sign > 0 else (edge[half], edge[0])
        upper, lower = edge[1:half], edge[half + 1 :]
        ids[[rows[0], rows[3]]] = outer, inner
        for row, side, x in (
            (rows[1], upper, 0.6),
            (rows[2], upper, -0.5),
            (rows[4], lower, -0.5),
            (rows[5], lower, 0.6),
        ):
            ids[row] = _nearest_x(side, points, sign * (EYE_CENTRE[0] + x))


def _still(points: np.ndarray) -> np.ndarray:
    return (
        (points[:, 1] > STILL_ABOVE_Y)
        | (points[:, 2] < STILL_BEHIND_Z)
        | (points[:, 1] < STILL_BELOW_Y)
    )


def _keep_before_teeth(skin: Skin, points: np.ndarray, keys: dict[str, np.ndarray]) -> None:
    """Push lip vertices out of the dental arch, taken as an upright elliptic cylinder."""
    arch = np.array([ARCH_WIDTH + 0.15, ARCH_DEPTH + 0.15])
    middle_z = lip_depth() - UPPER_BEHIND_LIPS - ARCH_DEPTH
    outside = np.unique(skin.quads_of(SKIN, LIPS))

    def reach(at: np.ndarray) -> np.ndarray:
        return np.hypot(at[:, 0] / arch[0], (at[:, 2] - middle_z) / arch[1])

    near = (np.abs(points[outside, 1] - MOUTH_Y) < 2.2) & (points[outside, 2] > middle_z + 0.8)
    near &= np.abs(points[outside, 0]) < MOUTH_HALF_WIDTH * 1.3
    lips = outside[near & (reach(points[outside]) > 0.93)]
    least = np.minimum(reach(points[lips]), 1.0)
    for name, field in keys.items():
        if not name.startswith("mouth") or name == "mouthClose":
            continue
        at = points[lips] + field[lips]
        now = reach(at)
        inside = now < least
        grow = (least / now)[inside] - 1
        field[lips[inside], 0] += at[inside, 0] * grow
        field[lips[inside], 2] += (at[inside, 2] - middle_z) * grow


def _other_side(name: str) -> str:
    swap = {"Left": "Right", "Right": "Left"}
    for side, other in swap.items():
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def _symmetric(points: np.ndarray, keys: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Average each key with the mirror image of its counterpart."""
    partner = mirror_partners(points)
    return {
        name: (field + keys[_other_side(name)][partner] * [-1, 1, 1]) / 2
        for name, field in keys.items()
    }


def _jaw_names() -> tuple[str, ...]:
    return ("jawOpen", *JAW_SHIFTS)


def _carry_mouth_bag(
    skin: Skin, points: np.ndarray, keys: dict[str, np.ndarray], unit: float, origin: np.ndarray
) -> None:
    """The bag hangs on the lips in front and on skull and jaw behind."""
    lip_ring = skin.rings["mouthContact"]
    count = len(lip_ring)
    first, last = int(skin.rings["mouthInside"][0]), int(skin.rings["mouthFloor"][0])
    bag = np.arange(first, last + 1)
    at_ring = np.minimum(np.arange(len(bag)) % count, count - 1)
    angle = 2 * np.pi * at_ring / count
    lower = np.clip(0.5 - 1.6 * np.sin(angle), 0, 1)
    lower[-1] = 0.5
    behind = np.clip((points[lip_ring, 2].max() - points[bag, 2]) / BAG_FOLLOWS_CM, 0, 1)
    with_lips = (1 - behind)[:, None] ** 2
    with_lips[:count] = 1.0  # the ring just inside the lips moves as one with them
    for name, field in keys.items():
        jaw = jaw_move(points[bag], name, unit, origin) * lower[:, None]
        field[bag] = with_lips * field[lip_ring[at_ring]] + (1 - with_lips) * jaw


def _tongue_out(vertices: np.ndarray) -> np.ndarray:
    """The tongue comes out over the lower lip and bends down."""
    along = (vertices[:, 2] - vertices[:, 2].min()) / np.ptp(vertices[:, 2])
    rise = TONGUE_RISE_CM * along - TONGUE_BEND_CM * along**6
    thinner = -TONGUE_THINS * along * (vertices[:, 1] - vertices[:, 1].mean())
    return np.stack([0 * along, rise + thinner, TONGUE_REACH_CM * along**1.1], axis=1)


def _ride_on_skin(
    part: Part, skin: Skin, points: np.ndarray, keys: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Move a piece with the closest point of the skin under it."""
    if part.name.startswith("lashes"):
        edge = skin.rings["eye" + part.name.removeprefix("lashes") + "Edge"]
        roots = part.vertices.reshape(-1, 2, 3)[:, 0]
        nearest = edge[cKDTree(points[edge]).query(roots)[1]]
        return {name: np.repeat(field[nearest], 2, axis=0) for name, field in keys.items()}
    quads = skin.quads_of(SKIN)
    reach = cKDTree(part.vertices).query(points)[0] < RIDE_REACH_CM
    near = quads[reach[quads].any(1)]
    triangles = np.concatenate([near[:, [0, 1, 2]], near[:, [0, 2, 3]]])
    triangle, weight, _ = closest_on_mesh(part.vertices, points, triangles)
    corners = triangles[triangle]
    return {name: np.einsum("vkc,vk->vc", field[corners], weight) for name, field in keys.items()}
