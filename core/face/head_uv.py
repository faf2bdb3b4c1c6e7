"""Texture coordinates of the built-in head.

The skin is laid out like a globe, its seam down the back of the head, in the upper part of the
square; the inside of the mouth and every other piece have a tile of their own in the strip below.
"""

from __future__ import annotations

import numpy as np

from core.face.head_materials import MOUTH
from core.face.head_parts import Part
from core.face.head_skin import Skin

# The globe's centre (cm, the head's frame), and the height at which the strip of tiles ends.
GLOBE_CENTRE = np.array([0.0, -7.0, -7.5])
STRIP_TOP = 0.2
TILE_MARGIN = 0.06


def uv_map(skin: Skin, points: np.ndarray, parts: list[Part]) -> np.ndarray:
    """(F, 4, 2) float32 in 0..1 for the corners of the skin's quads, then of each part's."""
    corners = points[np.array(skin.quads)]
    uvs = _globe(corners)
    tiles = len(parts) + 1
    bag = np.array(skin.material) == MOUTH
    uvs[bag] = _tile(corners[bag], 0, tiles)
    pieces = [_tile(part.vertices[part.quads], k + 1, tiles) for k, part in enumerate(parts)]
    return np.concatenate([uvs, *pieces]).astype(np.float32)


def _globe(corners: np.ndarray) -> np.ndarray:
    """Longitude and latitude of corners (F, 4, 3), in the part of the square over the strip."""
    x, y, z = np.moveaxis(corners - GLOBE_CENTRE, 2, 0)
    around = np.arctan2(x, z) / (2 * np.pi) + 0.5
    # Quads across the seam keep together: on the side where most of them lies.
    middle = around[:, :1]
    around = around - np.round(around - middle)
    around -= np.floor(around.mean(1, keepdims=True))
    up = np.arctan2(y, np.hypot(x, z)) / np.pi + 0.5
    above_strip = STRIP_TOP + (1 - STRIP_TOP) * up
    return np.clip(np.stack([around, above_strip], axis=2), 0, 1)


def _tile(corners: np.ndarray, index: int, tiles: int) -> np.ndarray:
    """Corners (F, 4, 3) seen along their shortest extent, fitted into one tile of the strip."""
    flat = corners.reshape(-1, 3)
    low, size = flat.min(0), np.ptp(flat, axis=0)
    across, up = np.sort(np.argsort(size)[1:])
    share = (corners[..., [across, up]] - low[[across, up]]) / size[[across, up]]
    share = TILE_MARGIN + (1 - 2 * TILE_MARGIN) * share
    return np.stack([(index + share[..., 0]) / tiles, share[..., 1] * STRIP_TOP], axis=2)
