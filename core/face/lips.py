"""How far apart the lips are, from key weights alone."""

from __future__ import annotations

import functools

import numpy as np

from core.face.head import built_in_head
from core.face.mesh import FaceMesh
from core.motion import ARKIT_CHANNELS

MM_PER_METRE = 1000.0
# A mouth counts as closed up to this distance between the inner edges of the lips.
CLOSED_MM = 0.5


def lip_gap_mm(weights: np.ndarray, mesh: FaceMesh | None = None) -> np.ndarray:
    """Vertical distance between the inner edges of the lips.

    Args:
        weights: (T, 52) key weights in the order of ARKIT_CHANNELS.
        mesh: the face; the built-in head by default.

    Returns:
        (T, P) millimetres at P places across the mouth, from the subject's left to right; zero or
        negative where the lips touch. Linear in the weights. A mouth is closed where no gap is over
        CLOSED_MM.
    """
    gaps = lip_gap_basis_mm(mesh)
    return (np.asarray(weights, dtype=np.float64) @ gaps[1:] + gaps[0]).astype(np.float32)


def lip_gap_basis_mm(mesh: FaceMesh | None = None) -> np.ndarray:
    """(53, P): the gap in neutral, then what a weight of 1 adds to it for each of the 52 keys."""
    return _built_in_basis() if mesh is None else _basis(mesh)


@functools.cache
def _built_in_basis() -> np.ndarray:
    return _basis(built_in_head())


def _basis(mesh: FaceMesh) -> np.ndarray:
    upper, lower = mesh.inner_lip_pairs.T
    heights = [mesh.vertices, *mesh.offsets(ARKIT_CHANNELS)]
    gaps = [field[upper, 1] - field[lower, 1] for field in heights]
    return np.stack(gaps).astype(np.float64) * MM_PER_METRE
