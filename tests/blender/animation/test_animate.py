"""The button, with the real worker: speech to keys, and everything that can go wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import bpy
import numpy as np
import pytest
from commands import ROOT
from scenes import (
    bad_speech,
    curves,
    digest,
    flac_seconds,
    handmade_action,
    played,
    points,
    speaking_mesh,
)

from blender_addon import keying, preferences
from blender_addon.animation import applying, reference, speaking
from blender_addon.animation.task import plan
from blender_addon.characters.head import to_blender
from blender_addon.jobs import job
from blender_addon.rig.meshes import basis_of
from blender_addon.rig.names import ARKIT_KEYS
from blender_addon.sequencer.strips import handles
from blender_addon.worker.motion_file import Motion, read_motion, write_motion
from blender_addon.worker.protocol import WorkerError

pytestmark = pytest.mark.usefixtures("scene", "worker")


def strips(scene: bpy.types.Scene) -> list:
    editor = scene.sequence_editor
    found = getattr(editor, "strips_all", None) or getattr(editor, "sequences_all", ())
    return list(found)


def weights_of(hero: bpy.types.Object) -> tuple[np.ndarray, np.ndarray]:
    """Frames, and values of all 52 keys at them."""
    action = hero.data.shape_keys.animation_data.action
    found, line = curves(action), keying.lines_of(action)[-1]
    frames = np.arange(line.first, line.last + 1)
    values = [[found[key].evaluate(frame) for key in ARKIT_KEYS] for frame in frames]
    return frames, np.array(values)


def press(**options) -> set[str]:
    return bpy.ops.idiolect.animate(**options)


def refused(**options) -> str:
    """Press, expect an error, and that nothing has changed. Returns what was reported."""
    before = digest()
    with pytest.raises(RuntimeError) as caught:
        press(**options)
    assert digest() == before
    assert job.last_outcome is not None and job.last_outcome.failed
    assert job.last_outcome.details, "an error without a remedy"
    return str(caught.value)


def test_the_built_in_head_speaks(speech_file: Path) -> None:
    assert bpy.ops.idiolect.add_head() == {"FINISHED"}
    head, scene = bpy.context.active_object, bpy.context.scene
    assert scene.idiolect.character == head
    assert len(head.data.shape_keys.key_blocks) == 53
    head.idiolect.speech, head.idiolect.start_frame = str(speech_file), 11
    assert press() == {"FINISHED"}
    frames, values = weights_of(head)
    np.testing.assert_array_equal(frames, np.arange(11, 11 + len(frames)))
    assert len(frames) == round(flac_seconds(speech_file) * 24) + 1
    assert np.ptp(values[:, ARKIT_KEYS.index("jawOpen")]) > 0.2
    action = head.data.shape_keys.animation_data.action
    assert action.name == "Head speech speech"
    assert (scene.render.fps, scene.render.fps_base) == (24, 1.0)
    assert (scene.frame_start, scene.frame_end) == (1, 250)


@pytest.mark.parametrize(("fps", "base"), [(30, 1.001), (24, 1.0), (60, 1.0), (30, 1.2)])
def test_any_frame_rate_without_changing_it(speech_file: Path, fps: int, base: float) -> None:
    hero, scene = speaking_mesh(), bpy.context.scene
    scene.render.fps, scene.render.fps_base = fps, base
    press(speech=str(speech_file), start_frame=1)
    assert (scene.render.fps, scene.render.fps_base) == (fps, pytest.approx(base))
    frames, _ = weights_of(hero)
    np.testing.assert_array_equal(frames, np.arange(1, len(frames) + 1))
    assert abs((len(frames) - 1) / (fps / base) - flac_seconds(speech_file)) <= base / fps


def test_the_same_keys_as_the_command_line(speech_file: Path, tmp_path: Path) -> None:
    hero = speaking_mesh()
    hero.idiolect.keys.sparse = False
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = 30, 1.001
    press(speech=str(speech_file))
    _, ours = weights_of(hero)
    out = tmp_path / "motion.npz"
    command = [os.environ["IDIOLECT_PYTHON"], "-m", "core.animate", str(speech_file)]
    command += ["--fps", str(30 / 1.001), "-o", str(out)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    theirs = read_motion(out)
    columns = [theirs.channels.index(key) for key in ARKIT_KEYS]
    np.testing.assert_allclose(ours, theirs.weights[:, columns], atol=1e-4)


def test_sound_and_frame_range(speech_file: Path) -> None:
    speaking_mesh()
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 20, 40
    press(speech=str(speech_file), start_frame=10)
    assert scene.frame_start == 10 and scene.frame_end > 100
    if not bpy.app.build_options.audaspace:
        assert "no audio" in job.last_outcome.details[0] and not strips(scene)
        return
    (strip,) = strips(scene)
    assert handles(strip)[0] == 10 and Path(strip.sound.filepath) == speech_file
    assert scene.sync_mode == "AUDIO_SYNC"
    press(speech=str(speech_file), start_frame=30)
    (strip,) = strips(scene)
    assert handles(strip)[0] == 30 and len(bpy.data.sounds) == 1


@pytest.mark.skipif(not bpy.app.build_options.audaspace, reason="this Blender has no audio")
def test_the_artists_strips_stay(speech_file: Path) -> None:
    speaking_mesh()
    scene = bpy.context.scene
    editor = scene.sequence_editor_create()
    collection = editor.strips if hasattr(editor, "strips") else editor.sequences
    music = collection.new_sound("Music", str(speech_file), 1, 5)
    for _ in range(2):
        press(speech=str(speech_file))
        assert {s.name for s in strips(scene)} == {"Music", "speech"}
    assert (music.channel, handles(music)[0]) == (1, 5)
    assert scene.sync_mode == "NONE", "who has sound already has chosen the sync mode"


def test_the_artists_animation_stays(speech_file: Path) -> None:
    hero = speaking_mesh(keys=(*ARKIT_KEYS, "Scar"))
    hand = handmade_action(hero, {"Scar": [(1, 0.0), (50, 1.0)]})
    before = played(hero, "Scar", [1, 20.5, 50, 90])
    press(speech=str(speech_file))
    np.testing.assert_allclose(played(hero, "Scar", [1, 20.5, 50, 90]), before, atol=1e-6)
    assert hand.name in job.last_outcome.details[-1]
    np.testing.assert_array_equal(points(curves(hand)["Scar"]), [[1, 0], [50, 1]])


def test_one_undo_step(speech_file: Path) -> None:
    hero = speaking_mesh()
    hero.idiolect.speech = str(speech_file)
    bpy.ops.ed.undo_push(message="before")
    before = digest()
    bpy.ops.idiolect.animate("EXEC_DEFAULT", True)
    assert bpy.data.actions
    bpy.ops.ed.undo()
    assert digest() == before
    bpy.ops.ed.redo()
    hero = bpy.data.objects["Hero"]
    assert len(weights_of(hero)[0]) > 50


def test_add_head_is_one_undo_step() -> None:
    bpy.ops.ed.undo_push(message="before")
    before = digest()
    bpy.ops.idiolect.add_head("EXEC_DEFAULT", True)
    bpy.ops.ed.undo()
    assert digest() == before


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "silent", "zero_length", "cut"])
def test_a_bad_speech_file_changes_nothing(kind: str, speech_file: Path, tmp_path: Path) -> None:
    speaking_mesh()
    bad = bad_speech(kind, tmp_path, speech_file)
    message = refused(speech=str(bad))
    assert "\n" in message.strip(), "message and remedy"
    assert "Traceback" not in message


def test_no_speech_chosen() -> None:
    speaking_mesh()
    assert "No speech is chosen" in refused()


def test_a_mesh_that_cannot_speak(speech_file: Path) -> None:
    speaking_mesh("Bare", keys=())
    assert "no ARKit shape keys" in refused(speech=str(speech_file))
    assert "no object “Nobody”" in refused(speech=str(speech_file), character="Nobody")


def test_references_without_animation(speech_file: Path, tmp_path: Path) -> None:
    hero = speaking_mesh()
    still = handmade_action(speaking_mesh("Other"), {"jawOpen": [(1, 0.5), (80, 0.5)]})
    bone = bpy.data.actions.new("Walk")
    empty = tmp_path / "still.npz"
    write_motion(empty, Motion(np.zeros((90, 52), np.float32), ARKIT_KEYS, 30.0))
    junk = tmp_path / "junk.npz"
    junk.write_text("not an archive")
    base = {"speech": str(speech_file), "character": hero.name}
    assert "does not move the face" in refused(**base, reference_action=still.name)
    assert "moves no ARKit" in refused(**base, reference_action=bone.name)
    assert "No reference Action" in refused(**base, reference_action="none of that name")
    assert "no animated shape keys" in refused(**base, reference_mesh=hero.name)
    assert "does not exist" in refused(**base, reference_file=str(tmp_path / "none.npz"))
    assert "not read" in refused(**base, reference_file=str(speech_file))
    refused(**base, reference_file=str(empty))
    refused(**base, reference_file=str(junk))
    refused(**base, style="no such style")


def lively(seconds: float = 6.0, fps: float = 24.0) -> np.ndarray:
    """Wide open, fast motion of all keys (T, 52)."""
    t = np.arange(int(seconds * fps)) / fps
    phase = np.arange(52) * 0.7
    return (0.5 - 0.5 * np.cos(t[:, None] * 9 + phase)).astype(np.float32)


def test_a_reference_action_a_mesh_and_a_file_mean_the_same(
    speech_file: Path, tmp_path: Path
) -> None:
    hero, actor, scene = speaking_mesh(), speaking_mesh("Actor"), bpy.context.scene
    actor.idiolect.keys.sparse = False
    motion = Motion(lively(), ARKIT_KEYS, 24.0)
    task = plan(scene, actor, str(speech_file), 7, reference.Reference())
    applying.apply(task, motion)
    action = actor.data.shape_keys.animation_data.action
    write_motion(tmp_path / "lively.npz", motion)
    base = {"speech": str(speech_file), "character": hero.name}
    results = []
    for choice in (
        {"reference_action": action.name},
        {"reference_mesh": actor.name},
        {"reference_file": str(tmp_path / "lively.npz")},
        {},
    ):
        press(**base, **choice)
        results.append(weights_of(hero)[1])
    np.testing.assert_allclose(results[1], results[0], atol=1e-6)
    np.testing.assert_allclose(results[2], results[0], atol=1e-4)
    assert np.abs(results[3] - results[0]).max() > 1e-3, "the reference makes no difference"
    assert len(actor.data.shape_keys.animation_data.action.name) and len(scene.objects) == 2


def test_a_mesh_played_by_nla_strips_is_sampled_frame_by_frame(speech_file: Path) -> None:
    actor, scene = speaking_mesh("Actor"), bpy.context.scene
    actor.idiolect.keys.sparse = False
    motion = Motion(lively(3.0), ARKIT_KEYS, 24.0)
    task = plan(scene, actor, str(speech_file), 1, reference.Reference())
    applying.apply(task, motion)
    animation_data = actor.data.shape_keys.animation_data
    action = animation_data.action
    strip = animation_data.nla_tracks.new().strips.new("s", 11, action)
    if hasattr(strip, "action_slot"):
        strip.action_slot = action.slots[0]
    animation_data.action = None
    scene.frame_set(5)
    sampled = reference.from_mesh(scene, actor, 24.0).motion
    assert scene.frame_current == 5
    columns = [sampled.channels.index(key) for key in ARKIT_KEYS]
    np.testing.assert_allclose(
        sampled.weights[: len(motion.weights), columns], motion.weights, atol=1e-5
    )


def test_settings_survive_saving(speech_file: Path, tmp_path: Path) -> None:
    hero = speaking_mesh()
    hero.idiolect.speech = "//speech.flac"
    (tmp_path / "speech.flac").write_bytes(speech_file.read_bytes())
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    hero = bpy.data.objects["Hero"]
    assert hero.idiolect.speech == "//speech.flac"
    press()
    assert weights_of(hero)[1].any()
    if bpy.app.build_options.audaspace:
        assert strips(bpy.context.scene)[0].sound.filepath == "//speech.flac"


def test_a_character_deleted_in_the_meantime(speech_file: Path) -> None:
    hero, scene = speaking_mesh(), bpy.context.scene
    task = plan(scene, hero, str(speech_file), 1, reference.Reference())
    steps = speaking.steps(task, preferences.of(bpy.context))
    asked = next(steps)  # by hand: a warm worker may answer before a job's first look
    bpy.data.objects.remove(hero)
    before = digest()
    while (motion := asked.poll()) is None:
        time.sleep(0.01)
    with pytest.raises(WorkerError, match="removed"):
        steps.send(motion)
    assert digest() == before


def test_a_worker_that_does_not_start(speech_file: Path, monkeypatch, tmp_path: Path) -> None:
    speaking_mesh()
    wrong = tmp_path / "python"
    monkeypatch.setenv("IDIOLECT_PYTHON", str(wrong))
    before = digest()
    with pytest.raises(RuntimeError, match="no Python at"):
        press(speech=str(speech_file))
    wrong.write_text("#!/bin/sh\necho this is not a worker\n")
    wrong.chmod(0o755)
    with pytest.raises(RuntimeError) as caught:
        press(speech=str(speech_file))
    assert "worker" in str(caught.value).lower() and job.last_outcome.details
    assert digest() == before


def test_without_network_set_up_says_so(monkeypatch) -> None:
    if bpy.app.online_access:
        pytest.skip("this Blender was started with online access")
    with pytest.raises(RuntimeError, match="Online Access"):
        bpy.ops.idiolect.setup_environment()


def test_set_up_from_a_folder_without_wheels_says_so(monkeypatch, tmp_path: Path) -> None:
    wheels = preferences.Settings(wheel_folder=str(tmp_path))
    monkeypatch.setattr(preferences, "of", lambda context: wheels)
    with pytest.raises(RuntimeError, match="no wheel of PyTorch"):
        bpy.ops.idiolect.setup_environment()
    assert job.last_outcome.details
    with pytest.raises(RuntimeError, match="no environment to remove"):
        bpy.ops.idiolect.remove_environment()


def test_what_fills_a_folder_of_wheels_is_copied(monkeypatch) -> None:
    assert bpy.ops.idiolect.copy_download_commands() == {"FINISHED"}
    wrong = preferences.Settings(device="mps" if sys.platform != "darwin" else "cuda")
    monkeypatch.setattr(preferences, "of", lambda context: wrong)
    with pytest.raises(RuntimeError, match="device"):
        bpy.ops.idiolect.copy_download_commands()


def test_check_says_who_answers() -> None:
    assert bpy.ops.idiolect.check_environment() == {"FINISHED"}
    assert "PyTorch" in job.last_outcome.message


@pytest.mark.shared
def test_a_flame_mesh_gets_speech_keys_and_speaks(shared: Path, speech_file: Path) -> None:
    with np.load(shared / "faces" / "flame_topology.npz") as file:
        names = list(file)
        faces = file[next(n for n in names if file[n].shape == (9976, 3))]
        vertices = next(file[n] for n in names if file[n].shape[-2:] == (5023, 3))
    vertices = vertices.reshape(-1, 5023, 3)[0]
    mesh = bpy.data.meshes.new("Flame")
    mesh.from_pydata(to_blender(vertices).tolist(), [], faces.tolist())
    flame = bpy.data.objects.new("Flame", mesh)
    bpy.context.scene.collection.objects.link(flame)
    bpy.context.scene.idiolect.character = flame
    flame.shape_key_add(name="Basis")
    own = flame.shape_key_add(name="Exp001")
    own.data[0].co = (1, 2, 3)
    assert bpy.ops.idiolect.add_speech_keys() == {"FINISHED"}
    blocks = flame.data.shape_keys.key_blocks
    assert len(blocks) == 54 and blocks["Exp001"].data[0].co[:] == (1, 2, 3)
    basis = basis_of(flame)
    moved = np.empty(basis.size, np.float32)
    blocks["jawOpen"].data.foreach_get("co", moved)
    fall = (moved.reshape(-1, 3) - basis)[:, 2].min()
    assert -0.06 < fall < -0.015, "an open jaw comes down by centimetres"
    press(speech=str(speech_file))
    assert np.ptp(weights_of(flame)[1]) > 0.2
    with pytest.raises(RuntimeError, match="all speech keys already"):
        bpy.ops.idiolect.add_speech_keys()


def test_a_mesh_of_another_topology_gets_no_keys() -> None:
    speaking_mesh(keys=())
    before = digest()
    with pytest.raises(RuntimeError, match=r"is no FLAME mesh .3 vertices.: press Mark Face"):
        bpy.ops.idiolect.add_speech_keys()
    assert digest() == before


def test_json_of_an_action_of_ours_is_readable(speech_file: Path) -> None:
    hero = speaking_mesh()
    press(speech=str(speech_file), start_frame=3)
    mark = json.loads(hero.data.shape_keys.animation_data.action["idiolect"])
    ((path, first, last),) = mark["lines"]
    assert (Path(path), first) == (speech_file, 3) and last > 100
