"""From motion in any space to vertices in metres, with the vertex sets that measures need.

ARKit motion is measured on the built-in head, whatever character it drives, with the head's own
named sets; channels are found by name. The other spaces carry meshes whose regions are not ours to
ship: their vertex sets come from a file (FLAME's masks, or lists of indices as CodeTalker's).

Shape letters: T frames, C channels, V vertices, n vertices of a set, P places across the mouth.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.head import built_in_head
from core.face.lips import lip_gap_mm
from core.motion import ARKIT_CHANNELS
from core.restricted_pickle import load_restricted
from training.readers.interface import bad_source, check_shape, read_lines

MM_PER_METRE = 1000.0

FLAME_LIP_PAIR = (3546, 3504)
"""Upper and lower vertex of FLAME at the middle of the mouth."""
LIP_MASKS = ("lips",)
UPPER_FACE_MASKS = ("forehead", "eye_region")
"""The upper face of the published measures: forehead and eye region together."""


class Surface(Protocol):
    """A face that motion moves.

    Attributes:
        face: Ids of all vertices that are measured.
        lips: Ids of the lips.
        upper_face: Ids of the upper face.
    """

    face: np.ndarray
    lips: np.ndarray
    upper_face: np.ndarray

    def offsets(self, motion: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Offsets (T, n, 3) from the face at rest, metres, of some vertices under motion (T, C)."""
        ...

    def lip_gap_mm(self, motion: np.ndarray) -> np.ndarray:
        """Distance (T, P) of the lips' inner edges, mm; 0 where they touch at rest or closed."""
        ...


class ArkitSurface:
    """The built-in head under ARKit weights.

    Args:
        channels: Names of the motion's columns, in any order; absent ones are zero.
    """

    def __init__(self, channels: Sequence[str] = ARKIT_CHANNELS) -> None:
        head = built_in_head()
        self._columns = [ARKIT_CHANNELS.index(name) for name in channels]
        self._offsets = head.offsets(tuple(channels)).astype(np.float64)  # (C, V, 3)
        self.face = head.groups["skin"]
        self.lips = head.groups["lips"]
        self.upper_face = head.groups["upper_face"]
        named = (self.face, self.lips, self.upper_face)
        self._bases = {id(ids): self._basis(ids) for ids in named}

    def offsets(self, motion: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """See `Surface.offsets`."""
        basis = self._bases.get(id(ids))
        basis = self._basis(ids) if basis is None else basis
        return (np.asarray(motion, np.float64) @ basis).reshape(len(motion), -1, 3)

    def _basis(self, ids: np.ndarray) -> np.ndarray:
        """(C, 3n) offsets of some vertices."""
        return np.ascontiguousarray(self._offsets[:, ids]).reshape(len(self._offsets), -1)

    def lip_gap_mm(self, motion: np.ndarray) -> np.ndarray:
        """See `Surface.lip_gap_mm`."""
        weights = np.zeros((len(motion), len(ARKIT_CHANNELS)))
        weights[:, self._columns] = motion
        return lip_gap_mm(weights)


class VertexSurface:
    """A mesh whose motion is its vertices' offsets.

    Args:
        vertices: Number of vertices V; motion has 3V columns.
        lips: Ids of the lips.
        upper_face: Ids of the upper face.
        lip_pairs: (P, 2) ids of the upper and lower lip; their distance at rest counts as closed.
    """

    def __init__(
        self, vertices: int, lips: np.ndarray, upper_face: np.ndarray, lip_pairs: np.ndarray
    ) -> None:
        self.face = np.arange(vertices)
        self.lips, self.upper_face = lips, upper_face
        self._upper, self._lower = np.asarray(lip_pairs).T

    def offsets(self, motion: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """See `Surface.offsets`."""
        return np.asarray(motion).reshape(len(motion), -1, 3)[:, ids].astype(np.float64)

    def lip_gap_mm(self, motion: np.ndarray) -> np.ndarray:
        """See `Surface.lip_gap_mm`."""
        height = self.offsets(motion, np.arange(len(self.face)))[..., 1]
        return (height[:, self._upper] - height[:, self._lower]) * MM_PER_METRE


class FlameSurface(VertexSurface):
    """A FLAME face under expression coefficients and the jaw's rotation.

    Args:
        model: The user's FLAME model.
        lips: Ids of the lips.
        upper_face: Ids of the upper face.
    """

    def __init__(self, model: FlameModel, lips: np.ndarray, upper_face: np.ndarray) -> None:
        super().__init__(len(model.v_template), lips, upper_face, np.array([FLAME_LIP_PAIR]))
        self._model = model

    @torch.inference_mode()
    def offsets(self, motion: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """See `Surface.offsets`; motion (T, E + 3) as `core.face.flame_rig` names its channels."""
        values = torch.from_numpy(np.asarray(motion, np.float32)).to(self._model.v_template)
        posed = self._model(expression=values[:, :-3], jaw_pose=values[:, -3:]).vertices
        return (posed - self._model.v_template)[:, ids].numpy().astype(np.float64)


def read_vertex_set(path: Path, names: Sequence[str], vertices: int) -> np.ndarray:
    """A set of vertices from a file.

    Args:
        path: Text with indices parted by commas or spaces, or a pickle of named arrays
            (FLAME_masks.pkl).
        names: Of a pickle, the arrays that make up the set together.
        vertices: Number of vertices of the mesh.

    Returns:
        (n,) ids, each once.

    Raises:
        IdiolectError: The file is no such set, or an index is beyond the mesh.
    """
    if path.suffix == ".pkl":
        masks = load_restricted(path, setting="--lips")
        if not isinstance(masks, dict) or not set(names) <= set(masks):
            found = ", ".join(masks) if isinstance(masks, dict) else type(masks).__name__
            raise bad_source(path, f"expected the masks {', '.join(names)}; found {found}")
        ids = np.concatenate([np.asarray(masks[name]) for name in names])
    else:
        words = " ".join(read_lines(path)).replace(",", " ").split()
        if wrong := next((word for word in words if not word.isdigit()), None):
            raise bad_source(path, f"expected indices of vertices, found {wrong!r}")
        ids = np.array([int(word) for word in words], np.int64)
    check_shape(path, "indices", ids, (None,))
    if ids.min() < 0 or ids.max() >= vertices:
        raise bad_source(path, f"expected indices below {vertices}, found {ids.max()}")
    return np.unique(ids).astype(np.int64)


@functools.cache
def _arkit(channels: tuple[str, ...]) -> ArkitSurface:
    return ArkitSurface(channels)


def surface_for(
    space: str,
    channels: tuple[str, ...],
    *,
    lips: Path | None = None,
    upper_face: Path | None = None,
    lip_pair: tuple[int, int] = FLAME_LIP_PAIR,
    flame: FlameModel | None = None,
) -> Surface:
    """The surface that motion of a space is measured on.

    Args:
        space: Motion space.
        channels: Its channel names.
        lips: File of the lips' vertices; not for "arkit".
        upper_face: File of the upper face's vertices (`lips` itself, where that holds masks).
        lip_pair: Ids of the upper and the lower lip's middle, in the space "vertices".
        flame: The FLAME model, in the space "flame".

    Raises:
        IdiolectError: A file is missing or does not fit.
    """
    if space == "arkit":
        return _arkit(channels)
    upper_face = upper_face or lips
    if lips is None or upper_face is None or (space == "flame" and flame is None):
        needed = "--lips (FLAME_masks.pkl, or indices in a text file)"
        needed += ", and --flame (a FLAME model)" if space == "flame" else ""
        raise IdiolectError(
            f"motion in the space {space} cannot be measured without {needed}",
            hint="Idiolect may not ship them; they come with FLAME and with the corpora.",
            code="regions_missing",
            setting="--lips",
        )
    vertices = len(flame.v_template) if flame is not None else len(channels) // 3
    lip_ids = read_vertex_set(lips, LIP_MASKS, vertices)
    upper_ids = read_vertex_set(upper_face, UPPER_FACE_MASKS, vertices)
    if space == "flame" and flame is not None:
        return FlameSurface(flame, lip_ids, upper_ids)
    if max(lip_pair) >= vertices:
        raise IdiolectError(
            f"expected a lip pair below {vertices}, found {lip_pair}", setting="--lip-pair"
        )
    return VertexSurface(vertices, lip_ids, upper_ids, np.array([lip_pair]))
