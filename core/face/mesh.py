"""The face mesh that the rest of the house passes around.

Convention: x points to the subject's left, y up, z out of the face; metres. Quads are rows of four
vertex ids, counter-clockwise seen from outside; a triangle has -1 as its fourth id.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from core.motion import ARKIT_CHANNELS


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    Attributes:
        name: name of the material.
        rgba: linear RGB and alpha, 0..1.
        roughness: 0 mirror .. 1 chalk.
        subsurface: share of light scattered under the surface, 0..1.
    """

    name: str
    rgba: tuple[float, float, float, float]
    roughness: float
    subsurface: float = 0.0


@dataclass(frozen=True)
class FaceMesh:
    """A neutral face and its shape keys.

    Attributes:
        name: name of the mesh.
        vertices: (V, 3) float32, metres.
        faces: (F, 4) int32, -1 in the last column for triangles.
        material_index: (F,) int32 into `materials`.
        materials: the materials.
        keys: ARKit name -> (V, 3) float32 offsets, metres.
        uvs: (F, 4, 2) float32 in 0..1, or None.
        inner_lip_pairs: (P, 2) int32, upper and lower vertices that meet when the lips close.
        groups: named vertex sets, each (n,) int32: "lips", "upper_face", "skin", ...
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    material_index: np.ndarray
    materials: tuple[Material, ...]
    keys: dict[str, np.ndarray]
    uvs: np.ndarray | None
    inner_lip_pairs: np.ndarray
    groups: dict[str, np.ndarray] = field(default_factory=dict)

    def offsets(self, names: tuple[str, ...] = ARKIT_CHANNELS) -> np.ndarray:
        """Key offsets stacked in the order of `names`: (C, V, 3), zeros for a missing key."""
        none = np.zeros_like(self.vertices)
        return np.stack([self.keys.get(name, none) for name in names])

    def posed(self, weights: dict[str, float]) -> np.ndarray:
        """Vertices (V, 3) under the given key weights."""
        posed = self.vertices.astype(np.float64)
        for name, weight in weights.items():
            posed = posed + weight * self.keys[name]
        return posed


def triangulated(faces: np.ndarray) -> np.ndarray:
    """Split quads along their first diagonal: (F, 4) -> (T, 3)."""
    quads = faces[:, 3] >= 0
    return np.concatenate([faces[:, :3], faces[quads][:, [0, 2, 3]]]).astype(np.int64)
