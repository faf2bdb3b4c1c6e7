"""At once: what a slider does after the first press, with the real worker. How it feels in the
window is seen in tests/gui; here nobody's timer fires, so the tests look themselves."""

from __future__ import annotations

import itertools
from pathlib import Path

import bpy
import numpy as np
import pytest
from scenes import played, speaking_mesh

from blender_addon import preferences
from blender_addon.animation import planning, speaking
from blender_addon.environment import models
from blender_addon.jobs import job, live
from blender_addon.sequencer import strips

pytestmark = pytest.mark.usefixtures("scene", "worker")

FRAMES = list(range(1, 110, 4))
KEYS = ("jawOpen", "mouthClose", "mouthSmileLeft", "browInnerUp")


@pytest.fixture
def hero(speech_file: Path) -> bpy.types.Object:
    """A character that has been animated in the first style of the model."""
    made = speaking_mesh()
    made.idiolect.speech = str(speech_file)
    own = models.own_styles()
    made.idiolect.style_a.style, made.idiolect.style_b.style = own[0], own[-1]
    assert bpy.ops.idiolect.animate() == {"FINISHED"}
    return made


def face(hero: bpy.types.Object) -> np.ndarray:
    return np.array([played(hero, key, FRAMES) for key in KEYS])


def settled(hero: bpy.types.Object) -> np.ndarray:
    """The face, once live updates have caught up."""
    live.wait()
    assert live.problem is None, live.problem
    return face(hero)


def test_mix_goes_from_exactly_a_to_exactly_b(hero: bpy.types.Object) -> None:
    at_a = face(hero)
    hero.idiolect.mix = 1.0
    at_b = settled(hero)
    hero.idiolect.mix = 0.5
    between = settled(hero)
    hero.idiolect.mix = 0.0
    np.testing.assert_array_equal(settled(hero), at_a)
    assert np.abs(at_a - at_b).max() > 0.05 and np.abs(between - at_b).max() > 0.01
    bpy.ops.idiolect.animate(style=hero.idiolect.style_b.style)
    np.testing.assert_array_equal(face(hero), at_b)
    bpy.ops.idiolect.animate(mix=0.5)
    np.testing.assert_array_equal(face(hero), between)


def test_strength_zero_is_the_same_average_manner_for_all(hero: bpy.types.Object) -> None:
    in_style = face(hero)
    hero.idiolect.strength = 0.0
    average = settled(hero)
    assert np.abs(average - in_style).max() > 0.02
    hero.idiolect.style_a.style = hero.idiolect.style_b.style
    np.testing.assert_allclose(settled(hero), average, atol=1e-6)
    hero.idiolect.strength = 1.0
    assert np.abs(settled(hero) - average).max() > 0.02


def test_lips_open_ever_more_from_a_quiet_to_a_lively_style(hero: bpy.types.Object) -> None:
    ranges = {}
    for name in models.own_styles():
        bpy.ops.idiolect.animate(style=name)
        ranges[name] = np.ptp(played(hero, "jawOpen", FRAMES))
    quiet, lively = min(ranges, key=ranges.get), max(ranges, key=ranges.get)
    opened = []
    for mix in (0.0, 0.25, 0.5, 0.75, 1.0):
        bpy.ops.idiolect.animate(style=quiet, style_b=lively, mix=mix)
        opened.append(float(np.ptp(played(hero, "jawOpen", FRAMES))))
    assert all(a < b for a, b in itertools.pairwise(opened)), opened


def test_the_last_value_wins(hero: bpy.types.Object) -> None:
    for mix in np.linspace(0.05, 0.6, 12):
        hero.idiolect.mix = float(mix)
        live.tick()
    last = settled(hero)
    assert live.tick() is None and not live.busy()
    bpy.ops.idiolect.animate(mix=hero.idiolect.mix)
    np.testing.assert_array_equal(face(hero), last)


def test_a_keyframed_slider_changes_on_the_way(hero: bpy.types.Object) -> None:
    at_a = face(hero)
    for frame, value in ((1, 0.0), (50, 0.0), (70, 1.0)):
        hero.idiolect.mix = value
        hero.keyframe_insert("idiolect.mix", frame=frame)
    live.changed(hero)
    mixed = settled(hero)
    early = np.array(FRAMES) < 40
    np.testing.assert_allclose(mixed[:, early], at_a[:, early], atol=0.02)
    assert np.abs(mixed[:, ~early] - at_a[:, ~early]).max() > 0.05


def test_keys_that_an_undo_has_left_behind_are_made_again(hero: bpy.types.Object) -> None:
    """Undo knows nothing of keys that came after the slider's step: the settings go back alone."""
    at_a, made = face(hero), hero.idiolect.made_of
    hero.idiolect.mix = 1.0
    settled(hero)
    hero.idiolect.live = False
    hero.idiolect.mix, hero.idiolect.made_of, hero.idiolect.live = 0.0, made, True
    live.changed(hero)
    np.testing.assert_array_equal(settled(hero), at_a)


def test_nothing_is_done_for_nothing(hero: bpy.types.Object) -> None:
    """After undo everybody is asked again; who is as the settings say has nothing to do."""
    assert planning.again(bpy.context.scene, hero) is None
    hero.idiolect.mix = 0.5
    hero.idiolect.mix = 0.0
    made = hero.idiolect.made_of
    live.wait()
    assert hero.idiolect.made_of == made
    steps = []
    hero.idiolect.strength = 0.5
    steps.append(planning.again(bpy.context.scene, hero))
    assert steps[0] is not None
    steps[0].close()


@pytest.mark.parametrize("why", ["switched off", "never animated", "another speech", "a script"])
def test_what_is_not_followed_live(
    hero: bpy.types.Object, why: str, tmp_path: Path, speech_file: Path
) -> None:
    if why == "switched off":
        hero.idiolect.live = False
    elif why == "never animated":
        hero = speaking_mesh("Other")
    elif why == "another speech":
        other = tmp_path / "other.flac"
        other.write_bytes(speech_file.read_bytes())
        hero.idiolect.speech = str(other)
    else:
        bpy.ops.idiolect.animate(strength=0.3)
    before, actions = face(hero), list(bpy.data.actions)
    hero.idiolect.strength = 1.7
    live.wait()
    assert live.problem is None
    np.testing.assert_array_equal(face(hero), before)
    assert list(bpy.data.actions) == actions


def test_what_cannot_be_shown_is_said_in_the_panel(hero: bpy.types.Object) -> None:
    before = face(hero)
    hero.idiolect.style_a.style = "no such style"
    live.wait()
    assert live.problem is not None and "no such style" in live.problem.message
    np.testing.assert_array_equal(face(hero), before)
    hero.idiolect.style_a.style = hero.idiolect.style_b.style
    settled(hero)


def test_a_character_that_is_deleted_while_it_is_worked_on(hero: bpy.types.Object) -> None:
    hero.idiolect.strength = 0.4
    live.tick()
    bpy.data.objects.remove(hero)
    live.wait()
    assert not live.busy()


def test_a_button_comes_first(hero: bpy.types.Object, monkeypatch) -> None:
    hero.idiolect.strength = 0.4
    monkeypatch.setattr(job, "current", object())
    assert live.tick() is not None and live.busy(), "it waits"
    monkeypatch.setattr(job, "current", None)
    settled(hero)


@pytest.mark.skipif(not bpy.app.build_options.audaspace, reason="this Blender has no audio")
def test_the_strip_stays_as_it_is(hero: bpy.types.Object) -> None:
    (strip,) = strips.sounds(bpy.context.scene)
    strip.volume, strip.name = 0.5, "Quieter"
    hero.idiolect.mix = 1.0
    settled(hero)
    (strip,) = strips.sounds(bpy.context.scene)
    assert (strip.volume, strip.name) == (0.5, "Quieter")


def test_emotions_go_to_the_worker_as_they_are_set(hero: bpy.types.Object) -> None:
    before = hero.idiolect.made_of
    bpy.ops.idiolect.add_emotion(emotion="happiness", frame=20, intensity=0.9)
    live.wait()
    assert live.problem is None and hero.idiolect.made_of != before
    task = planning.of_character(bpy.context.scene, hero)
    felt = np.transpose(task.emotion["intensities"])
    assert np.interp(3.0, task.emotion["times_s"], felt[1]) == pytest.approx(0.9, abs=1e-3)


def test_the_emotion_of_a_clip_is_taken_from_it(hero: bpy.types.Object, tmp_path: Path) -> None:
    ours = hero.idiolect
    ours.emotion.source, ours.emotion.reference = "REFERENCE", "OTHER"
    ours.emotion.other.kind = "MESH"
    ours.emotion.other.mesh = hero
    live.wait()
    task = planning.of_character(bpy.context.scene, hero, reuse=True)
    asked = speaking.request(task, preferences.Settings(), tmp_path, tmp_path / "out.npz")
    assert Path(asked["emotion"]["reference"]).is_file()
    ours.emotion.reference = "A"
    live.wait()
    assert live.problem is not None and "without an emotion" in live.problem.message


def test_a_saved_style_is_found_by_its_name(hero: bpy.types.Object, tmp_path: Path) -> None:
    hero.idiolect.mix = 0.5
    mixed = settled(hero)
    assert bpy.ops.idiolect.save_style(name="Half and Half") == {"FINISHED"}
    assert "Half and Half" in models.style_names()
    path = models.saved_styles()["Half and Half"]
    assert path.stat().st_size < 20_000
    bpy.ops.idiolect.animate(style="Half and Half", mix=0.0)
    np.testing.assert_allclose(face(hero), mixed, atol=1e-5)
    bpy.ops.idiolect.animate(reference_file=str(path), mix=0.0)
    np.testing.assert_allclose(face(hero), mixed, atol=1e-5)
    with pytest.raises(RuntimeError, match="of its own"):
        bpy.ops.idiolect.save_style(name=models.own_styles()[0])
    with pytest.raises(RuntimeError, match="name of a file"):
        bpy.ops.idiolect.save_style(name="a/b")
    path.unlink()
