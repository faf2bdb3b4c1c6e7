"""Small scenes for the tests, and a digest by which two states of a file can be compared."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Quaternion

from blender_addon import keying
from blender_addon.rig.names import ARKIT_KEYS
from blender_addon.worker.motion_file import Motion


def speaking_mesh(name: str = "Hero", keys: tuple[str, ...] = ARKIT_KEYS) -> bpy.types.Object:
    """A tiny mesh with shape keys of these names, linked to the scene and active."""
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (0, 1, 0)], [], [(0, 1, 2)])
    made = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(made)
    made.shape_key_add(name="Basis")
    for key in keys:
        made.shape_key_add(name=key)
    bpy.context.view_layer.objects.active = made
    return made


FACE_BONES = {
    "head": ((0, 0, 0), (0, 0, 0.2)),
    "jaw": ((0, 0, 0.05), (0, -0.1, 0)),
    "eye.L": ((0.03, -0.08, 0.1), (0.03, -0.1, 0.1)),
    "eye.R": ((-0.03, -0.08, 0.1), (-0.03, -0.1, 0.1)),
}


def armature(bones: dict[str, tuple], name: str = "Rig") -> bpy.types.Object:
    """An armature of bones (head, tail)."""
    made = bpy.data.objects.new(name, bpy.data.armatures.new(name))
    bpy.context.scene.collection.objects.link(made)
    bpy.context.view_layer.objects.active = made
    bpy.ops.object.mode_set(mode="EDIT")
    for bone, (head, tail) in bones.items():
        new = made.data.edit_bones.new(bone)
        new.head, new.tail = head, tail
    bpy.ops.object.mode_set(mode="OBJECT")
    return made


def posed(target: bpy.types.Object, bone: str) -> Quaternion:
    """How a bone is turned from its rest, in the armature's own axes."""
    bpy.context.view_layer.update()
    pose = target.pose.bones[bone]
    rest = pose.bone.matrix_local.to_quaternion()
    return pose.matrix.to_quaternion() @ rest.inverted()


def import_flame(folder: Path, **options: object) -> bpy.types.Object:
    """The character that Import FLAME makes of ``folder/model.pkl``."""
    path = str(folder / "model.pkl")
    assert bpy.ops.idiolect.import_flame(filepath=path, **options) == {"FINISHED"}
    return bpy.context.scene.idiolect.character


def evaluated(target: bpy.types.Object) -> np.ndarray:
    """Vertices (V, 3) as the modifiers leave them, in the object's own axes."""
    bpy.context.view_layer.update()
    shown = target.evaluated_get(bpy.context.evaluated_depsgraph_get())
    flat = np.empty(3 * len(target.data.vertices), np.float32)
    shown.data.vertices.foreach_get("co", flat)
    return flat.reshape(-1, 3)


def motion(**channels: list[float]) -> Motion:
    """Motion of these channels at 30 fps."""
    return Motion(np.array(list(channels.values()), np.float32).T, tuple(channels), 30.0)


def curves_on(
    target: bpy.types.Object, weights: np.ndarray, keys: list[str] | tuple[str, ...] = ARKIT_KEYS
) -> list[keying.Curve]:
    """Motion (T, C) on a mesh's shape keys."""
    block = target.data.shape_keys
    return [
        keying.Curve(block, keying.value_path(key), 0, weights[:, column], key, key)
        for column, key in enumerate(keys)
    ]


def handmade_action(target: bpy.types.Object, keys: dict[str, list[tuple[float, float]]]) -> Any:
    """Key shape keys as an artist does: ``{key name: [(frame, value), …]}``."""
    for name, points in keys.items():
        block = target.data.shape_keys.key_blocks[name]
        for frame, value in points:
            block.value = value
            block.keyframe_insert("value", frame=frame)
    return target.data.shape_keys.animation_data.action


def curves(action: Any) -> dict[str, Any]:
    """Key name to F-curve, by the API of the Blender at hand."""
    if hasattr(action, "layers"):
        found = [
            curve
            for layer in action.layers
            for strip in layer.strips
            for bag in strip.channelbags
            for curve in bag.fcurves
        ]
    else:
        found = list(action.fcurves)
    return {[*c.data_path.split('"'), ""][1] or c.data_path: c for c in found}


def points(curve: Any) -> np.ndarray:
    """Keys (N, 2) of an F-curve."""
    return np.array([point.co[:] for point in curve.keyframe_points])


def played(target: bpy.types.Object, key: str, frames: list[float]) -> list[float]:
    """What Blender's own animation system shows for a shape key."""
    scene, values = bpy.context.scene, []
    for frame in frames:
        scene.frame_set(int(frame), subframe=frame % 1)
        evaluated = target.evaluated_get(bpy.context.evaluated_depsgraph_get())
        values.append(evaluated.data.shape_keys.key_blocks[key].value)
    return values


def digest() -> dict[str, Any]:
    """Everything about the open file that a failed operator could have changed."""
    state: dict[str, Any] = {}
    for prop in bpy.data.bl_rna.properties:
        collection = getattr(bpy.data, prop.identifier)
        if prop.type == "COLLECTION" and prop.identifier not in {"window_managers", "screens"}:
            state[prop.identifier] = [(data.name, data.users) for data in collection]
    for key in bpy.data.shape_keys:
        animation = key.animation_data
        state[f"key {key.name}"] = (
            [(b.name, b.value, b.slider_min, b.slider_max) for b in key.key_blocks],
            animation and animation.action and animation.action.name,
            animation and [(t.name, t.mute) for t in animation.nla_tracks],
        )
    for action in bpy.data.actions:
        state[f"action {action.name}"] = {n: points(c).tolist() for n, c in curves(action).items()}
    for scene in bpy.data.scenes:
        editor = scene.sequence_editor
        strips = getattr(editor, "strips_all", None) or getattr(editor, "sequences_all", ())
        state[f"scene {scene.name}"] = (
            *(scene.frame_start, scene.frame_end, scene.frame_current, scene.sync_mode),
            *(scene.render.fps, scene.render.fps_base, editor is None),
            [(strip.name, strip.frame_start, strip.channel) for strip in strips],
        )
    for one in bpy.data.objects:
        state[f"object {one.name}"] = str(one.idiolect.mark)
    return state


def flac_seconds(path: Path) -> float:
    """Length of a FLAC file, from its first block."""
    header = path.read_bytes()[:42]
    facts = int.from_bytes(header[18:26], "big")
    return (facts & (1 << 36) - 1) / (facts >> 44)


def bad_speech(kind: str, folder: Path, good: Path) -> Path:
    """A file that is no usable speech."""
    path = folder / f"{kind}.{'flac' if kind == 'cut' else 'wav'}"
    if kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("these are words, and no sound " * 100)
    elif kind == "cut":
        path.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif kind in ("silent", "zero_length"):
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(bytes(64000 if kind == "silent" else 0))
    return path
