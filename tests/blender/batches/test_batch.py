"""batch.py as a command: results, renders, exit codes, one-line errors, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import wave
from pathlib import Path

import bpy
import numpy as np
import pytest
from commands import BATCH, batch, errors_of
from scenes import bad_speech, curves, flac_seconds, speaking_mesh

from blender_addon import keying
from blender_addon.rig.names import ARKIT_KEYS
from blender_addon.worker.motion_file import Motion, write_motion

pytestmark = pytest.mark.usefixtures("scene", "worker")


def keys_in(blend: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames, and all 52 channels at them, of an object in a .blend."""
    bpy.ops.wm.open_mainfile(filepath=str(blend))
    action = bpy.data.objects[name].data.shape_keys.animation_data.action
    found, line = curves(action), keying.lines_of(action)[-1]
    frames = np.arange(line.first, line.last + 1)
    return frames, np.array([[found[k].evaluate(f) for k in ARKIT_KEYS] for f in frames])


def test_a_speech_file_becomes_a_blend_with_the_buttons_keys(speech_file, tmp_path) -> None:
    run = batch(speech_file, "--out", tmp_path, "--fps", "29.97")
    assert run.returncode == 0, run.stderr
    assert "[1/1] speech: done" in run.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["speech.blend"]
    frames, values = keys_in(tmp_path / "speech.blend", "Head")
    scene = bpy.context.scene
    assert scene.render.fps == 30 and scene.render.fps_base == pytest.approx(30 / 29.97)
    assert (scene.frame_start, scene.frame_end) == (1, len(frames))
    assert len(frames) == round(flac_seconds(speech_file) * 29.97) + 1
    (action,) = bpy.data.actions
    assert len(action.idiolect_motions) == 1, "it cannot be finished again"
    assert scene.camera is not None and len([o for o in scene.objects if o.type == "LIGHT"]) == 3

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    hero, scene = speaking_mesh(), bpy.context.scene
    scene.render.fps, scene.render.fps_base = 30, 30 / 29.97
    bpy.ops.idiolect.animate(speech=str(speech_file))
    pressed = curves(hero.data.shape_keys.animation_data.action)
    theirs = np.array([[pressed[k].evaluate(f) for k in ARKIT_KEYS] for f in frames])
    np.testing.assert_allclose(values, theirs, atol=1e-4)


def test_a_file_with_a_character_of_its_own(speech_file, tmp_path) -> None:
    scene = bpy.context.scene
    speaking_mesh("Hero")
    scene.render.fps, scene.frame_start, scene.frame_end = 25, 5, 60
    camera = bpy.data.objects.new("Mine", bpy.data.cameras.new("Mine"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    template = tmp_path / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(template))
    before = template.read_bytes()
    t = np.arange(150)[:, None] / 25
    style = tmp_path / "style.npz"
    weights = (0.5 - 0.5 * np.cos(t * 9 + np.arange(52))).astype(np.float32)
    write_motion(style, Motion(weights, ARKIT_KEYS, 25.0))
    out = tmp_path / "out"
    run = batch(
        *(speech_file, "--out", out, "--start", 20, "--reference", style, "--name", "take"),
        file=template,
    )
    assert run.returncode == 0, run.stderr
    assert [path.name for path in out.iterdir()] == ["take.blend"]
    assert template.read_bytes() == before
    frames, _ = keys_in(out / "take.blend", "Hero")
    scene = bpy.context.scene
    assert frames[0] == 20 and (scene.render.fps, scene.frame_start) == (25, 5)
    assert scene.frame_end == frames[-1]
    assert scene.camera.name == "Mine" and not [o for o in scene.objects if o.type == "LIGHT"]


def test_a_bad_file_among_good_ones(speech_file, tmp_path) -> None:
    silent = bad_speech("silent", tmp_path, speech_file)
    again = tmp_path / "again" / "speech.flac"
    again.parent.mkdir()
    again.write_bytes(speech_file.read_bytes())
    out = tmp_path / "out"
    run = batch(speech_file, silent, tmp_path / "none.wav", again, "--out", out)
    assert run.returncode == 4
    names = sorted(path.name for path in out.iterdir())
    assert names == ["results.jsonl", "speech-2.blend", "speech.blend"]
    errors = errors_of(run)
    assert len(errors) == 3 and "2 of 4 failed" in errors[2]
    assert errors[0].startswith("[2/4] silent: error: ")
    assert errors[1].startswith("[3/4] none: error: There is no file")


def test_bad_input(speech_file, tmp_path) -> None:
    speaking_mesh("Ada")
    speaking_mesh("Bob")
    two = tmp_path / "two.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(two))
    out = ("--out", tmp_path / "out")
    blocked = tmp_path / "blocked"
    blocked.touch()
    cases = [
        ("2 objects of the file can speak", batch(speech_file, *out, file=two)),
        ("no object “Cyd”", batch(speech_file, *out, "--character", "Cyd", file=two)),
        ("no style “none”", batch(speech_file, *out, "--style", "none")),
        ("no checkpoint", batch(speech_file, *out, "--checkpoint", tmp_path / "x.safetensors")),
        ("does not exist", batch(speech_file, *out, "--reference", tmp_path / "x.npz")),
        ("cannot be written", batch(speech_file, "--out", blocked / "sub")),
        ("silent.wav", batch(bad_speech("silent", tmp_path, speech_file), *out)),
    ]
    for words, run in cases:
        assert run.returncode == 2, (words, run.stdout, run.stderr)
        (error,) = errors_of(run)
        assert words in error
    assert not list((tmp_path / "out").iterdir())
    assert batch("--no-such-option").returncode == 2
    assert batch("--help").returncode == 0


def test_a_full_disk(speech_file, mount, tmp_path) -> None:
    folder = mount(tmp_path / "disk", "size=512k")
    run = batch(speech_file, "--out", folder)
    assert run.returncode == 4
    (error,) = [line for line in errors_of(run) if "could not be written" in line]
    assert " MB free" in error and "--out" in error
    assert list(folder.iterdir()) == []


def test_killing_blender_in_mid_job_leaves_no_worker(tmp_path) -> None:
    long = tmp_path / "long.wav"
    noise = np.random.default_rng(0).normal(0, 3000, 16000 * 600).astype("<i2")
    with wave.open(str(long), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(noise.tobytes())
    command = [sys.executable, str(BATCH), "--", str(long), "--out", str(tmp_path / "out")]
    cache = {"IDIOLECT_CACHE": str(tmp_path / "cache")}  # this worker's log is the only one
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, **cache}) as blender:
        for line in blender.stdout:
            if b"Listening" in line:
                break
        worker = int(next((tmp_path / "cache" / "logs").glob("*.log")).stem.rpartition("-")[2])
        assert is_running(worker)
        blender.kill()
    end = time.monotonic() + 20
    while is_running(worker) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_running(worker)
    assert not list(tmp_path.glob("out/*"))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_a_worker(speech_file, tmp_path) -> None:
    run = batch(speech_file, "--out", tmp_path / "out", IDIOLECT_PYTHON=str(tmp_path / "python"))
    assert run.returncode == 3
    (error,) = errors_of(run)
    assert "no Python at" in error
    run = batch(
        *(speech_file, "--out", tmp_path / "out"),
        **{"IDIOLECT_PYTHON": "", "IDIOLECT_DATA": str(tmp_path / "data")},
    )
    assert run.returncode == 3 and "not set up" in errors_of(run)[0]


@pytest.mark.slow
def test_renders(speech_file, tmp_path) -> None:
    size = ("--width", 64, "--height", 72, "--engine", "workbench", "--fps", 6)
    run = batch(speech_file, "--out", tmp_path, "--render", "--stills", 2, *size)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "rendered 27 of 27 frames" in run.stdout or "rendered 28 of 28 frames" in run.stdout
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[0] == "speech.blend" and "speech.mp4" in names and len(names) == 4
    still = bpy.data.images.load(str(tmp_path / names[2]))
    assert tuple(still.size) == (64, 72)
    video = bpy.data.movieclips.load(str(tmp_path / "speech.mp4"))
    assert tuple(video.size) == (64, 72) and abs(video.frame_duration - 27) <= 1
    content = (tmp_path / "speech.mp4").read_bytes()
    assert b"avc1" in content
    assert (b"mp4a" in content) == bpy.app.build_options.audaspace
    run = batch(speech_file, "--out", tmp_path, "--render", "png", *size)
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(list((tmp_path / "speech_frames").glob("*.png"))) in (27, 28)


def test_the_installed_add_on_is_used_and_not_a_second_one(addon, tmp_path) -> None:
    """From within a package, batch.py uses that package; it registers nothing again."""
    from blender_addon import batch

    assert batch.main(["--help"]) == 0
    assert hasattr(bpy.types.Scene, "idiolect"), "it must not unregister what was there before"
    assert "idiolect_checkout" not in sys.modules


def test_a_name_is_for_one_file(tmp_path, speech_file) -> None:
    run = batch(speech_file, speech_file, "--name", "one", "--out", tmp_path)
    assert run.returncode == 2 and "single speech file" in errors_of(run)[0]
    assert not list(tmp_path.iterdir())
