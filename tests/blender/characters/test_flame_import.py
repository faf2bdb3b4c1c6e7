"""Import FLAME with the real worker: Blender's mesh is the FLAME layer, and it can speak."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from commands import BATCH
from mathutils import Quaternion, Vector
from scenes import curves, digest, evaluated, import_flame, points

from blender_addon.characters import flame
from blender_addon.characters.head import to_blender
from blender_addon.jobs import job
from blender_addon.rig.meshes import speech_keys_of
from blender_addon.rig.names import ARKIT_KEYS

JOINTS = ["root", "neck", "jaw", "left_eye", "right_eye"]
LARGEST_ERROR_M = 1e-5

pytestmark = pytest.mark.usefixtures("scene", "worker")


def largest_error(target: bpy.types.Object, folder: Path) -> float:
    """Pose keys and bones as the core says, and compare with the core's vertices. Metres."""
    with np.load(folder / "expected.npz") as file:
        expected = dict(file)
    blocks, rig = target.data.shape_keys.key_blocks, target.parent
    assert np.abs(evaluated(target) - to_blender(expected["neutral"])).max() < 1e-6
    worst = 0.0
    for frame, vertices in enumerate(to_blender(expected["vertices"])):
        for name, value in zip(expected["key_names"], expected["key_values"][frame], strict=True):
            blocks[str(name)].value = value
        for joint, name in enumerate(expected["joint_names"]):
            turn = Vector(to_blender(expected["rotations"][frame, joint]))
            bone = rig.pose.bones[str(name)]
            bone.rotation_quaternion = Quaternion(turn.normalized(), turn.length)
            bone.location = to_blender(expected["locations"][frame, joint])
        worst = max(worst, np.abs(evaluated(target) - vertices).max())
    print(f"\nBlender {bpy.app.version_string}, {len(vertices)} vertices: {worst:.2e} m")
    return float(worst)


def test_a_flame_file_becomes_keys_and_bones(small) -> None:
    bpy.context.scene.cursor.location = (1, 2, 3)
    other = bpy.data.objects.new("Other", None)
    bpy.context.scene.collection.objects.link(other)
    other.select_set(True)
    head = import_flame(small)
    assert head.name == "model" and bpy.context.active_object == head
    assert bpy.context.selected_objects == [head] and bpy.context.mode == "OBJECT"
    assert tuple(head.parent.location) == (1, 2, 3) and tuple(head.location) == (0, 0, 0)
    blocks = head.data.shape_keys.key_blocks
    wanted = [f"Exp{i:03d}" for i in range(1, 101)] + [f"Pose{i:03d}" for i in range(1, 37)]
    assert blocks.keys() == ["Basis", *wanted]
    for block in blocks[1:]:
        assert (block.slider_min, block.slider_max, block.value) == (-10, 10, 0)
    armature = head.parent.data
    assert armature.bones.keys() == JOINTS and head.vertex_groups.keys() == JOINTS
    parents = [bone.parent.name if bone.parent else "" for bone in armature.bones]
    assert parents == ["", "root", "neck", "neck", "neck"]
    for bone in armature.bones:
        assert np.allclose(np.array(bone.matrix_local)[:3, :3], np.eye(3), atol=1e-6)
    (skin,) = head.modifiers
    assert skin.type == "ARMATURE" and skin.object == head.parent
    # Not FLAME's own topology: that it cannot speak is said, and no reason to refuse it.
    assert "no speech keys" in job.last_outcome.details[0] and not job.last_outcome.failed


def test_identity_has_keys_when_wanted(small) -> None:
    head = import_flame(small, shape_keys=True, name="Ada")
    blocks = head.data.shape_keys.key_blocks
    assert head.name == "Ada" and len(blocks) == 1 + 100 + 300 + 36
    assert blocks["Shape300"].slider_max == 10


def test_what_blender_shows_is_the_flame_layer(small) -> None:
    assert largest_error(import_flame(small), small) < LARGEST_ERROR_M


def test_twice_in_one_scene(small) -> None:
    one, two = import_flame(small), import_flame(small)
    assert one.parent != two.parent and two.modifiers[0].object == two.parent
    assert largest_error(two, small) < LARGEST_ERROR_M


class _Hostile:
    def __reduce__(self) -> tuple:
        return os.system, ("touch hostile-was-here",)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("hostile", "system"), ("text", "model.pkl"), ("none", "no file"), ("zip", "model.npz")],
)
def test_what_is_no_flame_file_is_refused_and_leaves_no_trace(tmp_path, kind, words) -> None:
    path = tmp_path / ("model.npz" if kind == "zip" else "model.pkl")
    if kind == "hostile":
        path.write_bytes(pickle.dumps({"v_template": _Hostile()}, 2))
    elif kind != "none":
        path.write_text("no model")
    before = digest()
    with pytest.raises(RuntimeError, match=words):
        bpy.ops.idiolect.import_flame(filepath=str(path))
    assert digest() == before
    assert job.last_outcome.failed and job.last_outcome.details, "an error without a remedy"
    assert not list(tmp_path.rglob("hostile*")) and not Path("hostile-was-here").exists()


def test_a_failure_in_the_middle_leaves_no_trace(small, monkeypatch) -> None:
    before = digest()
    broken = RuntimeError("no bones today")

    def fail(*_: object) -> None:
        raise broken

    monkeypatch.setattr(flame, "_weigh", fail)
    with pytest.raises(RuntimeError, match="no bones today"):
        import_flame(small)
    assert digest() == before and bpy.context.mode == "OBJECT"


@pytest.mark.shared
def test_a_face_of_flame_speaks(full, speech_file) -> None:
    head = import_flame(full)
    assert len(speech_keys_of(head)) == 52
    assert (head.data.shape_keys.key_blocks["jawOpen"].slider_min) == 0
    assert largest_error(head, full) < LARGEST_ERROR_M
    for bone in head.parent.pose.bones:
        bone.rotation_quaternion, bone.location = (1, 0, 0, 0), (0, 0, 0)
    assert bpy.ops.idiolect.animate(speech=str(speech_file)) == {"FINISHED"}
    found = curves(head.data.shape_keys.animation_data.action)
    assert set(found) == set(ARKIT_KEYS)
    assert np.ptp(points(found["jawOpen"])[:, 1]) > 0.2
    # Speech moves the keys alone: a jaw bone that turned as well would open the mouth twice.
    assert head.parent.animation_data is None
    assert all(bone.rotation_quaternion.angle == 0 for bone in head.parent.pose.bones)


@pytest.mark.shared
def test_batch_imports_it(full, speech_file, tmp_path) -> None:
    command = [sys.executable, str(BATCH)]
    command += [str(speech_file), "--out", str(tmp_path), "--flame"]
    run = subprocess.run(
        [*command, str(full / "model.pkl")],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "speech.blend"))
    keys = bpy.data.objects["model"].data.shape_keys
    assert np.ptp(points(curves(keys.animation_data.action)["jawOpen"])[:, 1]) > 0.2
    for words in (["missing.pkl"], [str(full / "model.pkl"), "--character", "head"]):
        run = subprocess.run([*command, *words], capture_output=True, timeout=60, check=False)
        assert run.returncode == 2
