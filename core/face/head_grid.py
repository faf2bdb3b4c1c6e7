"""The grid of latitudes and longitudes that the built-in head's skin is made of, with its holes.

A cap closes the top (so that there is no pole), rows run down the neck to a closed bust.
Rectangular holes for the mouth, the eyes, the nostrils and the ears wait for their rings.
Frame and units: head_shape.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.face.head_features import neck_axis_depth
from core.face.head_materials import SKIN
from core.face.head_shape import cast
from core.face.head_skin import Skin

# Columns: how many between the middle of the face and its side (+-FRONT_DEG), along one side of
# the head, and azimuths of the front ones.
HALF_FRONT, SIDE = 16, 14
FRONT_DEG, BACK_DEG = 54.0, 126.0
FRONT_AZIMUTHS_DEG = (
    *(0.0, 1.8, 3.7, 5.7, 7.7, 9.8),  # nose
    *(13.2, 16.8, 20.4, 24.0, 27.7, 31.4, 35.0, 38.6),  # eye
    *(43.5, 48.7, FRONT_DEG),  # cheek
)
COLUMNS = 2 * (2 * HALF_FRONT + SIDE)

# Rows, from under the chin to the top of the forehead: where they start (degrees above the
# horizon, seen from GRID_CENTRE) and how many there are up to the next.
ROW_BANDS = (
    ("chin", -64.0, 9),
    ("mouth", -30.0, 6),
    ("nose", -18.0, 10),
    ("eyes", 9.0, 6),
    ("forehead", 26.0, 8),
)
TOP_DEG = 57.0
GRID_CENTRE = np.array([0.0, -2.5, -7.2])
# Behind the jaw the grid ends higher than under the chin: azimuth -> elevation of the lowest row.
LOWEST_ROW_DEG = ([0, 25, 60, 90, 180], [-64, -62, -54, -46, -38])
ROW_START = dict(
    zip([b[0] for b in ROW_BANDS], np.cumsum([0, *[b[2] for b in ROW_BANDS[:-1]]]), strict=True)
)
ROWS = sum(band[2] for band in ROW_BANDS)

NECK_ROWS = 9
NECK_BOTTOM_Y = -18.2
# Depth of the neck's axis at its cut.
NECK_END_Z = float(neck_axis_depth(np.array(NECK_BOTTOM_Y)))
# The rounded edge of the bust: size of the ring as a share of the cut, how far below it (cm).
BUST_EDGE = ((0.985, 0.28), (0.94, 0.42), (0.80, 0.46))
# Rays start this far out: outside of the whole head.
OUTSIDE_CM = 26.0


@dataclass(frozen=True)
class Hole:
    """A rectangle of grid cells that is left open: columns and rows, ends included as its rim."""

    name: str
    left: int
    right: int
    bottom: int
    top: int

    def mirrored(self) -> Hole:
        """The same hole on the other side of the face (columns count from the middle)."""
        left, right = ((2 * HALF_FRONT - column) % COLUMNS for column in (self.right, self.left))
        return Hole(self.name, left, right, self.bottom, self.top)

    def columns(self) -> list[int]:
        """Column numbers from left to right; may run through the seam at the right side's end."""
        width = (self.right - self.left) % COLUMNS
        return [(self.left + k) % COLUMNS for k in range(width + 1)]

    def rim(self) -> list[tuple[int, int]]:
        """(row, column) round the hole, anticlockwise from the middle of its right side."""
        middle, columns = (self.bottom + self.top) // 2, self.columns()
        first, last = columns[0], columns[-1]
        return (
            [(row, last) for row in range(middle, self.top)]
            + [(self.top, column) for column in columns[:0:-1]]
            + [(row, first) for row in range(self.top, self.bottom, -1)]
            + [(self.bottom, column) for column in columns[:-1]]
            + [(row, last) for row in range(self.bottom, middle)]
        )


def _holes() -> dict[str, Hole]:
    middle, row = HALF_FRONT, ROW_START
    return {
        "mouth": Hole("mouth", middle - 9, middle + 9, row["mouth"], row["mouth"] + 6),
        "eye": Hole("eye", middle + 5, middle + 13, row["eyes"], row["eyes"] + 6),
        "nostril": Hole("nostril", middle + 1, middle + 4, row["nose"] + 2, row["nose"] + 6),
        "ear": Hole("ear", 2 * middle + 5, 2 * middle + 10, row["nose"] + 4, row["nose"] + 16),
    }


HOLES = _holes()


def add_grid(skin: Skin) -> np.ndarray:
    """Add grid, cap and neck, lying on the head's surface.

    Returns:
        (ROWS + 1, COLUMNS) vertex ids, -1 inside of holes.
    """
    grid = _add_directions(skin)
    _add_cap(skin, grid[-1])
    _cast_out(skin)
    _add_neck(skin, grid[0])
    return grid


def azimuths_deg() -> np.ndarray:
    """Azimuth of each column, from -FRONT_DEG round the left side and the back: (COLUMNS,)."""
    front = [-a for a in FRONT_AZIMUTHS_DEG[:0:-1]] + list(FRONT_AZIMUTHS_DEG)
    left = np.linspace(FRONT_DEG, BACK_DEG, SIDE + 1)[1:]
    back = np.linspace(BACK_DEG, 360 - BACK_DEG, 2 * HALF_FRONT + 1)[1:]
    right = np.linspace(360 - BACK_DEG, 360 - FRONT_DEG, SIDE + 1)[1:-1]
    return np.concatenate([front, left, back, right])


def _row_elevations_deg() -> np.ndarray:
    starts = [band[1] for band in ROW_BANDS] + [TOP_DEG]
    pieces = [
        np.linspace(start, end, band[2], endpoint=False)
        for start, end, band in zip(starts[:-1], starts[1:], ROW_BANDS, strict=True)
    ]
    return np.r_[np.concatenate(pieces), TOP_DEG]


def _add_directions(skin: Skin) -> np.ndarray:
    """Add the grid's points as unit vectors: ids (ROWS + 1, COLUMNS), -1 where a hole is."""
    azimuth, elevation = azimuths_deg(), _row_elevations_deg()
    off_front = np.abs((azimuth + 180) % 360 - 180)
    lowest = np.interp(off_front, *LOWEST_ROW_DEG)
    share = (elevation - elevation[0]) / (TOP_DEG - elevation[0])
    tilt = np.radians(lowest[None, :] + share[:, None] * (TOP_DEG - lowest[None, :]))
    turn = np.broadcast_to(np.radians(azimuth), tilt.shape)
    directions = np.stack(
        [np.cos(tilt) * np.sin(turn), np.sin(tilt), np.cos(tilt) * np.cos(turn)], axis=2
    )
    closed = np.ones((ROWS, COLUMNS), dtype=bool)
    inside = np.zeros((ROWS + 1, COLUMNS), dtype=bool)
    for hole in [*HOLES.values(), *[h.mirrored() for k, h in HOLES.items() if k != "mouth"]]:
        columns = hole.columns()
        closed[np.ix_(range(hole.bottom, hole.top), columns[:-1])] = False
        inside[np.ix_(range(hole.bottom + 1, hole.top), columns[1:-1])] = True
    grid = np.full((ROWS + 1, COLUMNS), -1)
    grid[~inside] = skin.add_points(directions[~inside])
    for row, column in np.argwhere(closed):
        after = (column + 1) % COLUMNS
        skin.add_quad(
            grid[row, column], grid[row, after], grid[row + 1, after], grid[row + 1, column]
        )
    return grid


def _add_cap(skin: Skin, rim: np.ndarray) -> None:
    """A patch over the top of the skull, spanned between the four sides of the grid's last row."""
    wide, deep = 2 * HALF_FRONT, SIDE
    cap = np.full((deep + 1, wide + 1), -1)
    cap[0] = rim[: wide + 1]
    for k in range(1, deep + 1):
        cap[k, wide], cap[k, 0] = rim[wide + k], rim[(COLUMNS - k) % COLUMNS]
    cap[deep, ::-1] = rim[wide + deep : 2 * wide + deep + 1]
    at = np.array(skin.points)
    u, v = np.meshgrid(np.linspace(0, 1, wide + 1), np.linspace(0, 1, deep + 1))
    u, v = u[..., None], v[..., None]
    front, back, right, left = at[cap[0]], at[cap[deep]], at[cap[:, 0]], at[cap[:, wide]]
    # Coons patch: the two ruled surfaces less the bilinear one through the corners.
    patch = (1 - v) * front + v * back + (1 - u) * right[:, None] + u * left[:, None]
    patch = patch - ((1 - u) * (1 - v) * front[0] + u * (1 - v) * front[-1])
    patch = patch - ((1 - u) * v * back[0] + u * v * back[-1])
    patch[..., 1:2] += 0.4 * np.sqrt(np.maximum(np.sin(np.pi * u) * np.sin(np.pi * v), 0))
    patch /= np.linalg.norm(patch, axis=2, keepdims=True)
    cap[1:-1, 1:-1] = skin.add_points(patch[1:-1, 1:-1].reshape(-1, 3)).reshape(deep - 1, wide - 1)
    for row in range(deep):
        for column in range(wide):
            skin.add_quad(
                cap[row, column],
                cap[row, column + 1],
                cap[row + 1, column + 1],
                cap[row + 1, column],
            )


def _cast_out(skin: Skin) -> None:
    """Replace the directions gathered so far by points on the surface."""
    directions = np.array(skin.points)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centre = np.broadcast_to(GRID_CENTRE, directions.shape)
    skin.points[:] = list(cast(centre, directions, start=OUTSIDE_CM))


def _add_neck(skin: Skin, rim: np.ndarray) -> None:
    """Rows from the lowest row of the grid down to a level cut."""
    start = np.array(skin.points)[rim]
    above = rim
    for k in range(1, NECK_ROWS + 1):
        share = k / NECK_ROWS
        y = start[:, 1] + (NECK_BOTTOM_Y - start[:, 1]) * share
        axis = np.stack([0 * y, y, neck_axis_depth(y)], axis=1)
        directions = start - axis
        directions[:, 1] = 0
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        row = skin.add_points(cast(axis, directions, start=OUTSIDE_CM), pinned=k == NECK_ROWS)
        for i in range(COLUMNS):
            after = (i + 1) % COLUMNS
            skin.add_quad(row[i], row[after], above[after], above[i])
        above = row
    skin.rings["neckEnd"] = above
    _close_below(skin, above)


def _close_below(skin: Skin, rim: np.ndarray) -> None:
    """A rounded edge under the bust and a flat floor."""
    edge = np.array(skin.points)[rim]
    middle = np.array([0.0, NECK_BOTTOM_Y, NECK_END_Z])
    for share, drop in BUST_EDGE:
        ring = skin.add_points((edge - middle) * [share, 0, share] + middle - [0, drop, 0], True)
        for i in range(COLUMNS):
            after = (i + 1) % COLUMNS
            skin.add_quad(ring[i], ring[after], rim[after], rim[i])
        rim = ring
    skin.close_ring(rim[::-1], middle - [0, BUST_EDGE[-1][1], 0], SKIN)
