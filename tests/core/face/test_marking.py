"""Speech keys from a handful of marks, on faces that are treated as unknown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import IdiolectError
from core.face.head import built_in_head
from core.face.landmarks import landmark_table, place_landmarks
from core.face.marking import MARKS, marked_keys
from core.face.mesh import triangulated
from core.motion import ARKIT_CHANNELS
from tests.core.face import face_checks as checks

MM = 1000.0
SKIN_MATERIALS = ("skin", "lips", "lid_rim", "nostril")


def marks_from(landmark_ids: np.ndarray) -> dict[str, int]:
    return {name: int(landmark_ids[row]) for name, row in MARKS.items()}


def check(keys, vertices, skin, landmark_ids, lids_mm: float) -> None:
    """Seal, blink and sizes, measured at the face's true landmarks."""
    assert tuple(keys) == ARKIT_CHANNELS
    rows = place_landmarks(vertices, skin, landmark_ids)
    opened = vertices + keys["jawOpen"]
    assert checks.see_through_mm2(opened, skin, rows, MM) > 500
    for t in (0.25, 0.5, 0.75, 1.0):
        closed = vertices + t * (keys["jawOpen"] + keys["mouthClose"])
        assert checks.see_through_mm2(closed, skin, rows, MM) == 0, t
    blink = vertices + keys["eyeBlinkLeft"] + keys["eyeBlinkRight"]
    assert np.abs(checks.lid_gap_mm(blink, rows, MM)).max() < lids_mm
    for name, field in keys.items():
        assert np.isfinite(field).all()
        assert (np.abs(field).max() > 5e-4) == (name != "tongueOut"), name


def test_the_built_in_heads_neutral_mesh() -> None:
    head = built_in_head()
    vertices, triangles = head.vertices.astype(float), triangulated(head.faces)
    wanted = [i for i, m in enumerate(head.materials) if m.name in SKIN_MATERIALS]
    skin = triangulated(head.faces[np.isin(head.material_index, wanted)])
    ids = head.groups["landmarks"]
    keys = marked_keys(vertices, triangles, marks_from(ids))
    check(keys, vertices, skin, ids, 0.3)
    for name in ("jawOpen", "mouthSmileLeft", "browInnerUp", "eyeLookUpLeft"):
        ours, own = (np.linalg.norm(k[name], axis=1).max() for k in (keys, head.keys))
        assert 0.7 < ours / own < 1.3, name
    # In Blender's axes and centimetres it is the same.
    to_blender = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    moved = marked_keys(vertices @ to_blender.T * 100 + 5, triangles, marks_from(ids))
    assert np.allclose(moved["jawOpen"], keys["jawOpen"] @ to_blender.T * 100, atol=2e-2)


@pytest.mark.shared
@pytest.mark.parametrize("identity", ["M003", "W016"])
def test_a_flame_face_as_if_unknown(shared: Path, identity: str) -> None:
    with np.load(shared / "faces" / "flame_topology.npz") as file:
        vertices, faces = file[identity].astype(float), file["faces"].astype(np.int64)
    ids = landmark_table().flame_landmark_ids
    keys = marked_keys(vertices, faces, marks_from(ids))
    skin = faces[(faces < len(vertices) - 1092).all(1)]
    check(keys, vertices, skin, ids, 1.0)


def test_bad_marks_are_refused() -> None:
    head = built_in_head()
    vertices, triangles = head.vertices.astype(float), triangulated(head.faces)
    marks = marks_from(head.groups["landmarks"])
    tooth = int(head.groups["teethUpper"][0])
    for wrong, words in (
        ({name: marks[name] for name in list(MARKS)[:-1]}, "not marked: chin"),
        ({**marks, "noseTip": tooth}, "different pieces"),
        ({**marks, "chin": marks["eyeUpperLeft"], "eyeUpperLeft": marks["chin"]}, "where a face"),
    ):
        with pytest.raises(IdiolectError, match=words):
            marked_keys(vertices, triangles, wrong)
