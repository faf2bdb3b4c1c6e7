"""A face of any topology: marked, given speech keys, animated."""

from __future__ import annotations

import json
import os
import subprocess

import bpy
import numpy as np
import pytest
from commands import ROOT
from scenes import curves, points, speaking_mesh

from blender_addon import rig
from blender_addon.characters import making
from blender_addon.characters.marks import MARKS, marks_of, next_mark
from blender_addon.rig.meshes import basis_of

pytestmark = pytest.mark.usefixtures("scene")


def test_marks_are_vertex_groups() -> None:
    target = speaking_mesh(keys=())
    assert next_mark(target) == "eyeOuterLeft"
    assert bpy.ops.idiolect.mark_face(point="chin", vertex=2) == {"FINISHED"}
    assert bpy.ops.idiolect.mark_face(point="chin", vertex=1) == {"FINISHED"}
    group = target.vertex_groups.new(name="noseTip")  # as an artist may name one
    group.add([0], 0.5, "REPLACE")
    group.add([2], 1.0, "REPLACE")
    assert marks_of(target) == {"chin": 1, "noseTip": 2}
    with pytest.raises(RuntimeError, match="no such vertex"):
        bpy.ops.idiolect.mark_face(point="chin", vertex=3)
    assert "Mark Face" in making.why_no_speech_keys(target)


def test_the_marks_are_those_that_the_worker_knows(worker) -> None:
    assert list(MARKS) == list(landmark_vertices())


def test_a_marked_face_speaks(worker, speech_file) -> None:
    assert bpy.ops.idiolect.add_head() == {"FINISHED"}
    head = bpy.context.scene.idiolect.character
    basis = basis_of(head)
    names = ("jawOpen", "mouthSmileLeft")
    own = {name: size_of(head, name) for name in names}
    head.shape_key_clear()
    head.data.vertices.foreach_set("co", basis.ravel())
    head.vertex_groups.clear()
    for name, vertex in landmark_vertices().items():
        assert bpy.ops.idiolect.mark_face(point=name, vertex=vertex) == {"FINISHED"}
    assert making.why_no_speech_keys(head) == ""
    assert bpy.ops.idiolect.add_speech_keys() == {"FINISHED"}
    assert rig.rig_of(head).missing == ()
    for name in names:
        assert 0.7 < size_of(head, name) / own[name] < 1.3
    assert bpy.ops.idiolect.animate(speech=str(speech_file)) == {"FINISHED"}
    found = curves(head.data.shape_keys.animation_data.action)
    assert np.ptp(points(found["jawOpen"])[:, 1]) > 0.2


def size_of(target: bpy.types.Object, key: str) -> float:
    """How far a key moves any vertex."""
    basis = basis_of(target)
    flat = np.empty(basis.size, np.float32)
    target.data.shape_keys.key_blocks[key].data.foreach_get("co", flat)
    return float(np.linalg.norm(flat.reshape(-1, 3) - basis, axis=1).max())


def landmark_vertices() -> dict[str, int]:
    """The vertices of the built-in head that a careful artist would mark."""
    code = (
        "import json; from core.face.head import built_in_head;"
        "from core.face.marking import MARKS;"
        "ids = built_in_head().groups['landmarks'];"
        "print(json.dumps({name: int(ids[row]) for name, row in MARKS.items()}))"
    )
    run = subprocess.run(
        [os.environ["IDIOLECT_PYTHON"], "-c", code],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return json.loads(run.stdout)
