"""The built-in head: made by code, with all 52 ARKit keys.

    mesh = built_in_head()

The first call takes a few seconds; later ones read a cache that is keyed by the source that makes
the head, so a change of code makes a new head and never reads an old one.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from pathlib import Path

import numpy as np

from core.errors import IdiolectError
from core.face import head_keys, head_parts, head_topology
from core.face.face_file import load_face, save_face
from core.face.landmarks import TABLE_PATH
from core.face.mesh import FaceMesh, Material
from core.files import cache_dir
from core.motion import ARKIT_CHANNELS

log = logging.getLogger(__name__)

CM = 0.01
# Coordinates are rounded to this many decimals of a metre, so that the last bits of a processor's
# arithmetic do not show in the hash.
DECIMALS = 7

# In the order of the indices in head_topology (skin and what opens in it) and head_parts.
MATERIALS = (
    Material("skin", (0.60, 0.36, 0.26, 1.0), 0.48, 0.12),
    Material("lips", (0.50, 0.20, 0.17, 1.0), 0.38, 0.10),
    Material("mouth", (0.19, 0.035, 0.035, 1.0), 0.55),
    Material("lid_rim", (0.52, 0.24, 0.20, 1.0), 0.30, 0.10),
    Material("nostril", (0.24, 0.09, 0.07, 1.0), 0.60),
    Material("eye_white", (0.74, 0.72, 0.70, 1.0), 0.12, 0.05),
    Material("iris", (0.075, 0.17, 0.23, 1.0), 0.10),
    Material("iris_rim", (0.025, 0.05, 0.07, 1.0), 0.10),
    Material("pupil", (0.004, 0.004, 0.005, 1.0), 0.06),
    Material("teeth", (0.76, 0.71, 0.63, 1.0), 0.20, 0.05),
    Material("gums", (0.42, 0.13, 0.12, 1.0), 0.32),
    Material("tongue", (0.45, 0.14, 0.14, 1.0), 0.40, 0.05),
    Material("brow", (0.085, 0.047, 0.030, 1.0), 0.80),
    Material("lashes", (0.012, 0.009, 0.008, 1.0), 0.60),
)


@functools.cache
def built_in_head() -> FaceMesh:
    """The built-in head, from the cache if it is there.

    Returns:
        A FaceMesh in metres that stands on y = 0, its neck's axis near x = z = 0. Treat it as
        read-only: every caller gets the same one.
    """
    try:
        path = cache_dir() / f"head-{source_hash()}.npz"
    except IdiolectError as error:
        log.warning("The head cannot be kept: %s", error)
        return make_head()
    if path.exists():
        try:
            return load_face(path)
        except IdiolectError as error:
            log.warning("The kept head is made anew: %s", error)
    head = make_head()
    try:
        save_face(head, path)
    except IdiolectError as error:
        log.warning("The head cannot be kept: %s", error)
    return head


def source_hash() -> str:
    """Hash of everything that the head follows from: this package's code and the table."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")) + [TABLE_PATH]:
        # Line endings differ between checkouts on different systems.
        digest.update(path.name.encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def make_head() -> FaceMesh:
    """Make the head from nothing."""
    skin = head_topology.build_skin()
    points = np.array(skin.points)
    edge = skin.rings["eyeLeftEdge"]
    upper_lid = points[edge[: len(edge) // 2 + 1][::-1]]
    parts = head_parts.all_parts(upper_lid)
    skin_keys = head_keys.skin_keys(skin, points)

    first = np.cumsum([0, len(points), *[len(part.vertices) for part in parts]])
    vertices = np.concatenate([points, *[part.vertices for part in parts]])
    keys = {name: np.zeros_like(vertices) for name in ARKIT_CHANNELS}
    for name, field in skin_keys.items():
        keys[name][: len(points)] = field
    for part, start in zip(parts, first[1:-1], strict=True):
        for name, field in head_keys.part_keys(part, skin, points, skin_keys).items():
            keys[name][start : start + len(field)] = field
    faces = [np.array(skin.quads)]
    faces += [part.quads + start for part, start in zip(parts, first[1:-1], strict=True)]
    material = [np.array(skin.material), *[part.material for part in parts]]
    floor_y = head_topology.NECK_BOTTOM_Y - head_topology.BUST_EDGE[-1][1]
    stand = np.array([0.0, floor_y, head_topology.NECK_END_Z])
    groups = _groups(skin, points)
    groups["landmarks"] = head_keys.landmark_vertices(skin, points)
    for part, start in zip(parts, first[1:-1], strict=True):
        groups[part.name] = np.arange(start, start + len(part.vertices))
    return FaceMesh(
        name="Idiolect Head",
        vertices=_metres(vertices - stand),
        faces=np.concatenate(faces).astype(np.int32),
        material_index=np.concatenate(material).astype(np.int32),
        materials=MATERIALS,
        keys={name: _metres(field) for name, field in keys.items()},
        uvs=None,
        inner_lip_pairs=_inner_lip_pairs(skin),
        groups={name: ids.astype(np.int32) for name, ids in groups.items()},
    )


def _metres(centimetres: np.ndarray) -> np.ndarray:
    # Adding zero turns -0.0 into 0.0.
    return (np.round(centimetres * CM, DECIMALS) + 0.0).astype(np.float32)


def _inner_lip_pairs(skin: head_topology.Skin) -> np.ndarray:
    """Upper and lower vertices (P, 2) of the contact rings, corners left out."""
    ring = skin.rings["mouthContact"]
    half = len(ring) // 2
    upper = ring[1:half]
    lower = ring[len(ring) - np.arange(1, half)]
    return np.stack([upper, lower], axis=1).astype(np.int32)


# The upper face for measures of expression: brows, lids and forehead, cm in the head's frame.
UPPER_FACE_Y, UPPER_FACE_TOP_Y, FACE_FRONT_Z = -1.5, 7.5, -4.5
LIPS_REACH_CM = 0.2


def _groups(skin: head_topology.Skin, points: np.ndarray) -> dict[str, np.ndarray]:
    quads, material = np.array(skin.quads), np.array(skin.material)
    skin_ids = np.unique(quads[material == head_topology.SKIN])
    lips = np.unique(quads[material == head_topology.LIPS])
    at = points[skin_ids]
    upper = (at[:, 1] > UPPER_FACE_Y) & (at[:, 1] < UPPER_FACE_TOP_Y) & (at[:, 2] > FACE_FRONT_Z)
    return {"skin": skin_ids, "lips": lips, "upper_face": skin_ids[upper]}
