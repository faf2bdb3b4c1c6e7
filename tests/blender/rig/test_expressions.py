"""FLAME rigs: speech on their own expression keys and jaw bone, and the way back."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from scenes import evaluated, import_flame

from blender_addon import keying, rig
from blender_addon.animation import reference
from blender_addon.rig import flame
from blender_addon.rig.names import ARKIT_KEYS
from blender_addon.worker.motion_file import Motion
from blender_addon.worker.protocol import WorkerError

pytestmark = [pytest.mark.usefixtures("scene", "worker"), pytest.mark.shared]

REST = ("mouthClose", "eyeBlinkLeft", "jawOpen", "mouthPucker")


@pytest.fixture
def head(full) -> bpy.types.Object:
    """A FLAME rig as the FLAME add-on leaves it: expressions, correctives, bones."""
    made = import_flame(full)
    for block in list(made.data.shape_keys.key_blocks):
        if block.name in ARKIT_KEYS:
            made.shape_key_remove(block)
    return made


def motion(**channels: list[float]) -> Motion:
    frames = len(next(iter(channels.values())))
    channels = dict.fromkeys(REST, [0.0] * frames) | channels
    return Motion(np.array(list(channels.values()), np.float32).T, tuple(channels), 30.0)


def show(target: bpy.types.Object, asked: Motion) -> np.ndarray:
    """Vertices (V, 3) of the last frame of a motion."""
    keying.key_curves(
        rig.rig_of(target).curves(asked), keying.Line("x.wav", 1, len(asked.weights)), "x"
    )
    bpy.context.scene.frame_set(len(asked.weights))
    return evaluated(target)


def test_speech_moves_expressions_and_the_jaw_bone_as_it_would_move_speech_keys(head) -> None:
    assert "Fit Expressions" in rig.why_not(head)
    assert bpy.ops.idiolect.fit_expressions() == {"FINISHED"}
    actor = rig.rig_of(head)
    assert actor.can_speak and actor.mouth == "EXPRESSIONS"
    rested = {name for name in ARKIT_KEYS if f"{name}_rest" in head.data.shape_keys.key_blocks}
    assert set(REST) <= rested
    neutral = evaluated(head).copy()
    shown = {name: show(head, motion(**{name: [0.0, 1.0]})) - neutral for name in REST[1:]}
    names = {curve.label for curve in actor.curves(motion(jawOpen=[1.0]))}
    assert "jaw" in names and "Exp001" in names and not names & set(ARKIT_KEYS)
    shown["closed"] = show(head, motion(jawOpen=[0.0, 1.0], mouthClose=[0.0, 1.0])) - neutral
    # The same mesh with speech keys of its own.
    head.animation_data_clear()
    head.parent.animation_data_clear()
    head.data.shape_keys.animation_data_clear()
    for pose in head.parent.pose.bones:
        pose.rotation_quaternion = (1, 0, 0, 0)
    assert bpy.ops.idiolect.add_speech_keys() == {"FINISHED"}
    blocks = head.data.shape_keys.key_blocks
    for name, found in shown.items():
        for block in blocks:
            block.value = 0
        for key in ("jawOpen", "mouthClose") if name == "closed" else (name,):
            blocks[key].value = 1
        wanted = evaluated(head) - neutral
        error = 1000 * np.linalg.norm(found - wanted, axis=1).max()
        size = 1000 * np.linalg.norm(wanted, axis=1).max()
        print(f"{name}: {error:.2f} mm of {size:.1f}")
        assert error < 0.05 + 0.02 * size, name


def test_with_jaw_by_key_the_bone_rests(head) -> None:
    head.idiolect.rig.jaw = "KEY"
    assert bpy.ops.idiolect.fit_expressions() == {"FINISHED"}
    labels = {curve.label for curve in rig.rig_of(head).curves(motion(jawOpen=[1.0]))}
    assert "jaw" not in labels and "jawOpen_rest" in labels


def test_an_action_on_a_flame_rig_is_read_back(head) -> None:
    assert bpy.ops.idiolect.fit_expressions(residual=False) == {"FINISHED"}
    rng = np.random.default_rng(0)
    names = ("jawOpen", "mouthPucker", "mouthSmileLeft", "mouthSmileRight")
    asked = Motion(rng.uniform(0, 0.4, (20, 4)).astype(np.float32), names, 30.0)
    actor = rig.rig_of(head)
    values = {(c.datablock, c.data_path, c.index): c.values for c in actor.curves(asked)}
    found = actor.weights_of(lambda *place: values.get(place))
    for column, name in enumerate(names):
        assert np.abs(found[name] - asked.weights[:, column]).max() < 0.02, name
    assert "jawOpen" in found


def test_a_mesh_without_expressions_cannot_be_fitted() -> None:
    from scenes import speaking_mesh

    speaking_mesh()
    with pytest.raises(RuntimeError, match="no FLAME mesh"):
        bpy.ops.idiolect.fit_expressions()
    assert flame.fitted(bpy.context.active_object) is None


def test_flame_motion_in_files_is_a_reference_where_a_rig_is_fitted(head, tmp_path) -> None:
    rng = np.random.default_rng(1)
    names = ("jawOpen", "mouthPucker", "mouthFunnel")
    weights = np.abs(np.cumsum(rng.normal(0, 0.05, (150, 3)), axis=0)).clip(0, 0.5)
    path = tmp_path / "take.npz"
    np.savez(path, expressions=np.zeros((150, 100)), jaw_pose=np.zeros((150, 3)))
    with pytest.raises(WorkerError, match="no FLAME rig"):
        reference.from_file(str(path))
    assert bpy.ops.idiolect.fit_expressions(residual=False) == {"FINISHED"}
    fitted = flame.fitted(head)
    channels = {name: weights[:, i] for i, name in enumerate(names)}
    values = fitted.to_flame(channels, 150)
    expression = np.stack([values[f"Exp{i:03d}"] for i in range(1, 101)], axis=1)
    jaw = np.stack([values[f"jaw_{axis}"] for axis in "xyz"], axis=1)
    ours = {"weights": np.c_[expression, jaw], "channels": [*values][:103], "space": "flame"}
    for arrays in (
        {"expressions": expression, "jaw_pose": jaw, "mocap_frame_rate": 30},
        {**ours, "fps": 30},
    ):
        np.savez(path, **arrays)
        found = reference.from_file(str(path)).motion
        assert found.fps == 30
        for i, name in enumerate(names):
            column = found.weights[:, found.channels.index(name)]
            assert np.abs(column - weights[:, i]).max() < 0.02, name


def test_an_animated_flame_rig_is_a_reference(head) -> None:
    assert bpy.ops.idiolect.fit_expressions() == {"FINISHED"}
    asked = motion(jawOpen=list(np.linspace(0, 0.5, 40)), mouthPucker=list(np.linspace(0.4, 0, 40)))
    show(head, asked)
    found = reference.from_mesh(bpy.context.scene, head, 24.0).motion
    for name in ("jawOpen", "mouthPucker"):
        wanted = asked.weights[:, asked.channels.index(name)]
        column = found.weights[: len(wanted), found.channels.index(name)]
        assert np.abs(column - wanted).max() < 0.03, name
