"""Characters that went out of Blender as glTF or FBX and came back speak, bones and all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest
from mathutils import Vector
from scenes import FACE_BONES, armature, motion, posed, speaking_mesh

from blender_addon import keying, rig
from blender_addon.rig.names import ARKIT_KEYS

pytestmark = pytest.mark.usefixtures("scene")


def character() -> bpy.types.Object:
    """A head with teeth under a face's bones; every key moves something."""
    bones = armature(FACE_BONES)
    hero, teeth = speaking_mesh("Hero"), speaking_mesh("Teeth", keys=("jawOpen",))
    for mesh in (hero, teeth):
        for i, block in enumerate(mesh.data.shape_keys.key_blocks[1:]):
            block.data[0].co.z += 0.1 + 0.01 * i
        mesh.vertex_groups.new(name="head").add([0, 1, 2], 1.0, "REPLACE")
        mesh.parent = bones
        mesh.modifiers.new("Armature", "ARMATURE").object = bones
    return hero


# In a process of its own: having used glTF, Blender 4.2 crashes when it quits.
THROUGH_A_FILE = """
import bpy, os, sys
kind, folder = sys.argv[1:]
bpy.ops.preferences.addon_enable(module={"gltf": "io_scene_gltf2", "fbx": "io_scene_fbx"}[kind])
bpy.ops.wm.open_mainfile(filepath=folder + "/made.blend")
if kind == "gltf":
    bpy.ops.export_scene.gltf(filepath=folder + "/hero.glb", export_morph_normal=False)
else:
    bpy.ops.export_scene.fbx(filepath=folder + "/hero.fbx", add_leaf_bones=False)
bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
if kind == "gltf":
    bpy.ops.import_scene.gltf(filepath=folder + "/hero.glb")
else:
    bpy.ops.import_scene.fbx(filepath=folder + "/hero.fbx")
bpy.ops.wm.save_as_mainfile(filepath=folder + "/imported.blend")
os._exit(0)
"""


def there_and_back(kind: str, folder: Path) -> bpy.types.Object:
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "made.blend"))
    command = [sys.executable, "-c", THROUGH_A_FILE, kind, str(folder)]
    subprocess.run(command, check=True, timeout=180, capture_output=True)
    bpy.ops.wm.open_mainfile(filepath=str(folder / "imported.blend"))
    return max(
        (o for o in bpy.context.scene.objects if o.type == "MESH" and o.data.shape_keys),
        key=lambda o: len(o.data.shape_keys.key_blocks),
    )


@pytest.mark.parametrize("kind", ["gltf", "fbx"])
def test_an_imported_character_speaks(kind: str, tmp_path: Path) -> None:
    character()
    hero = there_and_back(kind, tmp_path)
    actor = rig.rig_of(hero)
    assert actor.can_speak and actor.missing == ()
    assert len(actor.meshes) == 2
    rng = np.random.default_rng(0)
    channels = {name: list(rng.uniform(0, 1, 3)) for name in ARKIT_KEYS}
    asked = motion(**channels, headPitch=[0.0, 0.1, 0.2])
    keying.key_curves(actor.curves(asked), keying.Line("x.wav", 1, 3), "x")
    bpy.context.scene.frame_set(3)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    for mesh in actor.meshes:
        shown = mesh.evaluated_get(depsgraph).data.shape_keys.key_blocks
        for block in shown[1:]:
            assert block.value == pytest.approx(channels[block.name][2], abs=1e-5), block.name
    bones = rig.armature_of(hero)
    turned = bones.matrix_world.to_quaternion() @ posed(bones, "head")
    turned = turned @ bones.matrix_world.to_quaternion().inverted()
    assert (turned @ Vector((0, -1, 0))).z == pytest.approx(-np.sin(0.2), abs=1e-3), "down"
