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
from core.face.head_grid import BUST_EDGE, NECK_BOTTOM_Y, NECK_END_Z
from core.face.head_materials import LID_RIM, LIPS, MATERIALS, SKIN
from core.face.head_skin import Skin
from core.face.head_uv import uv_map
from core.face.landmarks import TABLE_PATH
from core.face.mesh import FaceMesh
from core.files import cache_dir
from core.motion import ARKIT_CHANNELS

log = logging.getLogger(__name__)

CM = 0.01
# Modules beside head*.py that decide what the head is like.
SHARED_CODE = ("eyes", "face_file", "geometry", "landmarks", "mesh", "shapes")
# Coordinates are rounded to this many decimals of a metre, so that the last bits of a processor's
# arithmetic do not show in the hash.
DECIMALS = 7


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
    """Hash of everything that the head follows from: the code that makes it and the table."""
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    helpers = [folder / f"{name}.py" for name in SHARED_CODE]
    for path in [*sorted(folder.glob("head*.py")), *helpers, TABLE_PATH]:
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
    floor_y = NECK_BOTTOM_Y - BUST_EDGE[-1][1]
    stand = np.array([0.0, floor_y, NECK_END_Z])
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
        uvs=uv_map(skin, points, parts),
        inner_lip_pairs=_inner_lip_pairs(skin),
        groups={name: ids.astype(np.int32) for name, ids in groups.items()},
    )


def _metres(centimetres: np.ndarray) -> np.ndarray:
    # Adding zero turns -0.0 into 0.0.
    return (np.round(centimetres * CM, DECIMALS) + 0.0).astype(np.float32)


def _inner_lip_pairs(skin: Skin) -> np.ndarray:
    """Upper and lower vertices (P, 2) of the contact rings, corners left out."""
    ring = skin.rings["mouthContact"]
    half = len(ring) // 2
    upper = ring[1:half]
    lower = ring[len(ring) - np.arange(1, half)]
    return np.stack([upper, lower], axis=1).astype(np.int32)


# The upper face for measures of expression: brows, lids and forehead, cm in the head's frame.
UPPER_FACE_Y, UPPER_FACE_TOP_Y, FACE_FRONT_Z = -1.5, 7.5, -4.5


def _groups(skin: Skin, points: np.ndarray) -> dict[str, np.ndarray]:
    skin_ids, lips = np.unique(skin.quads_of(SKIN)), np.unique(skin.quads_of(LIPS))
    at = points[skin_ids]
    upper = (at[:, 1] > UPPER_FACE_Y) & (at[:, 1] < UPPER_FACE_TOP_Y) & (at[:, 2] > FACE_FRONT_Z)
    return {
        "skin": skin_ids,
        "lips": lips,
        "lid_rim": np.unique(skin.quads_of(LID_RIM)),
        "upper_face": skin_ids[upper],
    }
