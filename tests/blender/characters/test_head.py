"""Which speech keys a mesh has, and meshes made from the worker's arrays."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from scenes import digest, speaking_mesh

from blender_addon import rig
from blender_addon.characters.head import build_head
from blender_addon.rig.meshes import add_keys
from blender_addon.rig.names import ARKIT_KEYS, arkit_channel
from blender_addon.worker.motion_file import write_arrays
from blender_addon.worker.protocol import WorkerError
from core.motion import ARKIT_CHANNELS

pytestmark = pytest.mark.usefixtures("scene")


def test_the_add_on_knows_the_names_that_the_worker_sends() -> None:
    assert sorted(ARKIT_KEYS) == sorted(ARKIT_CHANNELS)


@pytest.mark.parametrize(
    ("name", "channel"),
    [
        ("jawOpen", "jawOpen"),
        ("JawOpen", "jawOpen"),
        ("jaw_open", "jawOpen"),
        ("eyeBlink_L", "eyeBlinkLeft"),
        ("eyeBlink.R", "eyeBlinkRight"),
        ("eye_blink_left", "eyeBlinkLeft"),
        ("mouthSmile_Right", "mouthSmileRight"),
        ("blendShape1.browInnerUp", "browInnerUp"),
        ("Head_blendShape1.mouth_lower_down_L", "mouthLowerDownLeft"),
        ("mouthLeft", "mouthLeft"),
        ("mouth_L", "mouthLeft"),
        ("jaw.R", "jawRight"),
        ("tongue out", "tongueOut"),
        ("jaw", ""),
        ("Basis", ""),
        ("openjaw", ""),
        ("", ""),
        ("L", ""),
    ],
)
def test_aliases(name: str, channel: str) -> None:
    assert arkit_channel(name) == channel


def test_why_a_mesh_cannot_speak() -> None:
    assert "Add Head" in rig.why_not(None)
    blinker = speaking_mesh("Blinker", keys=("eyeBlinkLeft", "eyeBlinkRight"))
    assert "no ARKit shape keys for a mouth" in rig.why_not(blinker)
    assert "no ARKit shape keys" in rig.why_not(speaking_mesh("Bare", keys=()))
    camera = bpy.data.objects.new("Cam", bpy.data.cameras.new("Cam"))
    assert "not a mesh" in rig.why_not(camera)
    assert rig.why_not(speaking_mesh()) == ""


def face_file(tmp_path, **changes) -> object:
    """A square and a triangle, as the worker would send them."""
    arrays = {
        "vertices": np.array(
            [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 2, 0.25]], np.float32
        ),
        "faces": np.array([[0, 1, 2, 3], [3, 2, 4, -1]], np.int32),
        "material_index": np.array([0, 1], np.int32),
        "material_names": np.array(["skin", "lips"]),
        "material_rgba": np.array([[1, 0.5, 0.25, 1], [0.5, 0.1, 0.1, 1]], np.float32),
        "material_roughness": np.array([0.5, 0.25], np.float32),
        "material_subsurface": np.array([0.125, 0.0], np.float32),
        "key_names": np.array(["jawOpen", "mouthClose"]),
        "key_offsets": np.zeros((2, 5, 3), np.float32),
        "uvs": np.arange(16, dtype=np.float32).reshape(2, 4, 2) / 16,
        **changes,
    }
    arrays["key_offsets"][0, 4] = [0, -1, 2]
    write_arrays(tmp_path / "face.npz", arrays)
    return tmp_path / "face.npz"


def test_a_head_is_built_as_the_worker_describes_it(tmp_path) -> None:
    head = build_head(face_file(tmp_path), "Head")
    mesh = head.data
    assert [v.co[:] for v in mesh.vertices][4] == (0.5, -0.25, 2.0), "y up becomes z up"
    assert [list(p.vertices) for p in mesh.polygons] == [[0, 1, 2, 3], [3, 2, 4]]
    assert [p.material_index for p in mesh.polygons] == [0, 1]
    assert all(p.use_smooth for p in mesh.polygons)
    shader = mesh.materials[0].node_tree.nodes["Principled BSDF"].inputs
    assert shader["Base Color"].default_value[:] == (1, 0.5, 0.25, 1)
    assert shader["Subsurface Weight"].default_value == 0.125
    assert mesh.uv_layers[0].data[5].uv[:] == (10 / 16, 11 / 16)
    jaw = mesh.shape_keys.key_blocks["jawOpen"]
    assert jaw.value == 0 and jaw.data[4].co[:] == (0.5, -2.25, 1.0)
    assert head.modifiers[0].type == "SUBSURF" and head.modifiers[0].levels == 0


@pytest.mark.parametrize(
    "damage",
    [
        {"faces": np.array([[0, 1, 2, 9]], np.int32)},
        {"faces": np.array([[0, 1, 1, -1]], np.int32), "uvs": np.zeros((1, 4, 2), np.float32)},
    ],
)
def test_a_damaged_head_leaves_nothing_behind(tmp_path, damage) -> None:
    before = digest()
    with pytest.raises(WorkerError):
        build_head(face_file(tmp_path, **damage), "Head")
    assert digest() == before


def test_keys_that_a_mesh_has_are_left_alone() -> None:
    hero = speaking_mesh(keys=("jawOpen",))
    hero.data.shape_keys.key_blocks["jawOpen"].data[0].co = (9, 9, 9)
    added = add_keys(hero, ["jawOpen", "mouthClose"], np.ones((2, 3, 3), np.float32))
    assert added == ["mouthClose"]
    assert hero.data.shape_keys.key_blocks["jawOpen"].data[0].co[:] == (9, 9, 9)
    assert hero.data.shape_keys.key_blocks["mouthClose"].data[1].co[:] == (2, 1, 1)
