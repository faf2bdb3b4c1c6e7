"""Speech from a strip of the sequencer: its place, its trimming, its speed; silence says why."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from scenes import curves, points, speaking_mesh

from blender_addon.animation import planning, speaking
from blender_addon.sequencer import strips
from blender_addon.sequencer.clock import Clock
from blender_addon.worker.protocol import WorkerError

pytestmark = [
    pytest.mark.usefixtures("scene"),
    pytest.mark.skipif(not bpy.app.build_options.audaspace, reason="this Blender has no audio"),
]

FPS = 24


@pytest.fixture
def strip(tmp_path: Path) -> Any:
    """A strip of five seconds from frame 11 on."""
    file = tmp_path / "five.wav"
    with wave.open(str(file), "wb") as out:
        out.setparams((1, 2, 16000, 0, "NONE", ""))
        out.writeframes((np.sin(np.arange(5 * 16000) / 20) * 9000).astype(np.int16).tobytes())
    editor = bpy.context.scene.sequence_editor_create()
    collection = editor.strips if hasattr(editor, "strips") else editor.sequences
    return collection.new_sound("Line", str(file), 2, 11)


def trim(strip: Any, left: int = 0, right: int = 0) -> None:
    """Move the handles inwards by so many frames."""
    names = ("left_handle_offset", "right_handle_offset")
    if not hasattr(strip, names[0]):
        names = ("frame_offset_start", "frame_offset_end")
    for name, frames in zip(names, (left, right), strict=True):
        setattr(strip, name, frames)


def move(strip: Any, frame: int) -> None:
    """Shift the whole strip so that its content begins at a frame."""
    name = "content_start" if hasattr(strip, "content_start") else "frame_start"
    setattr(strip, name, frame)


def heard() -> strips.Spoken:
    return strips.spoken_in(bpy.context.scene, "Line")


def test_a_whole_strip_is_its_file_at_its_place(strip: Any) -> None:
    spoken = heard()
    assert (spoken.start_frame, spoken.start_s, spoken.speed) == (11, 0.0, 1.0)
    assert spoken.duration_s == pytest.approx(5.0)
    move(strip, 40)
    assert heard().start_frame == 40


def test_trimming_says_which_part_of_the_file(strip: Any) -> None:
    trim(strip, left=24, right=36)
    spoken = heard()
    assert spoken.start_frame == 11 + 24
    assert spoken.start_s == pytest.approx(1.0)
    assert spoken.duration_s == pytest.approx(5.0 - 1.0 - 1.5)


def test_a_strip_that_was_pulled_out_begins_with_its_sound(strip: Any) -> None:
    trim(strip, left=-5, right=-10)
    spoken = heard()
    assert (spoken.start_frame, spoken.start_s) == (11, 0.0)
    assert spoken.duration_s == pytest.approx(5.0)


def test_an_offset_of_the_sound_counts(strip: Any) -> None:
    if not hasattr(strip, "sound_offset"):
        pytest.skip("strips have no sound offset in this version")
    strip.sound_offset = 0.5
    assert heard().start_s == pytest.approx(0.5)


@pytest.mark.skipif(
    bpy.app.version < (5, 0, 0), reason="scripts cannot add the first retiming key before 5.0"
)
def test_a_faster_strip_hears_the_file_in_less_time(strip: Any) -> None:
    keys = strip.retiming_keys
    keys.add(timeline_frame=11)
    keys.add(timeline_frame=131)
    keys[-1].timeline_frame = 11 + 60
    before = set(bpy.data.scenes), set(bpy.data.sounds)
    spoken = heard()
    assert (set(bpy.data.scenes), set(bpy.data.sounds)) == before
    assert spoken.speed == pytest.approx(2.0)
    assert spoken.duration_s == pytest.approx(5.0)
    trim(strip, left=12)
    assert heard().start_s == pytest.approx(1.0), "12 frames at twice the speed"
    keys.add(timeline_frame=40)
    with pytest.raises(WorkerError, match="speed of the strip"):
        heard()


@pytest.mark.parametrize("how", ["strip", "channel"])
def test_what_is_muted_says_nothing(strip: Any, how: str) -> None:
    hero = speaking_mesh()
    hero.idiolect.speech_source, hero.idiolect.strip = "STRIP", "Line"
    assert planning.of_character(bpy.context.scene, hero).start_frame == 11
    if how == "strip":
        strip.mute = True
    else:
        bpy.context.scene.sequence_editor.channels[2].mute = True
    with pytest.raises(WorkerError, match="muted"):
        planning.of_character(bpy.context.scene, hero)


def test_a_strip_that_is_gone(strip: Any) -> None:
    with pytest.raises(WorkerError, match="no sound strip"):
        strips.spoken_in(bpy.context.scene, "Other")


def test_conditions_follow_the_speed() -> None:
    clock = Clock(start_frame=11, fps=24, speed=2.0)
    assert clock.seconds(11 + 12) == pytest.approx(1.0)


def test_the_worker_is_asked_for_the_strips_part(strip: Any, tmp_path: Path) -> None:
    from blender_addon import preferences

    hero = speaking_mesh()
    hero.idiolect.speech_source, hero.idiolect.strip = "STRIP", "Line"
    trim(strip, left=24, right=24)
    task = planning.of_character(bpy.context.scene, hero)
    asked = speaking.request(task, preferences.Settings(), tmp_path, tmp_path / "out.npz")
    assert asked["start_s"] == pytest.approx(1.0)
    assert asked["duration_s"] == pytest.approx(3.0)
    assert asked["fps"] == pytest.approx(FPS)


@pytest.mark.usefixtures("worker")
def test_the_button_animates_from_a_strip_and_adds_none(speech_file: Path) -> None:
    hero, scene = speaking_mesh(), bpy.context.scene
    editor = scene.sequence_editor_create()
    collection = editor.strips if hasattr(editor, "strips") else editor.sequences
    line = collection.new_sound("Line", str(speech_file), 1, 21)
    trim(line, left=10, right=30)
    hero.idiolect.speech_source, hero.idiolect.strip = "STRIP", "Line"
    assert bpy.ops.idiolect.animate() == {"FINISHED"}
    first, last = (points(curves(_action(hero))["jawOpen"])[[0, -1], 0]).tolist()
    left, right = strips.handles(line)
    assert (first, last) == (left, right)
    assert [strip.name for strip in strips.sounds(scene)] == ["Line"]


def _action(hero: bpy.types.Object) -> bpy.types.Action:
    animation_data = hero.data.shape_keys.animation_data
    if animation_data.action is not None:
        return animation_data.action
    return animation_data.nla_tracks[-1].strips[0].action
