"""Sliders, keyframes and lists, as tracks: where they end, how they change, and that nothing
jumps."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from scenes import speaking_mesh

from blender_addon import keying
from blender_addon.animation import tracks
from blender_addon.animation.tracks import Change
from blender_addon.properties import transitions
from blender_addon.properties.transitions import EMOTIONS
from blender_addon.sequencer.clock import Clock
from blender_addon.worker.protocol import WorkerError

pytestmark = pytest.mark.usefixtures("scene")

CLOCK = Clock(start_frame=1, fps=24.0)


def at(felt: dict, time_s: float) -> dict[str, float]:
    """What is felt at a time, as the worker reads it: linear between, held outside."""
    values = np.asarray(felt["intensities"])
    now = [float(np.interp(time_s, felt["times_s"], column)) for column in values.T]
    return {name: value for name, value in zip(EMOTIONS, now, strict=True) if value > 1e-4}


def test_the_emotions_are_the_workers_in_its_order() -> None:
    from core.emotions import EMOTIONS as THEIRS

    assert EMOTIONS == THEIRS


def test_a_list_goes_from_one_emotion_to_the_next() -> None:
    felt = tracks.emotions_of_changes(
        [Change(3.0, "sadness", 0.6, 1.0), Change(1.0, "happiness", 0.8, 0.5)]
    )
    assert at(felt, 0.0) == {"neutral": 1.0}
    assert at(felt, 2.0) == pytest.approx({"neutral": 0.2, "happiness": 0.8}, abs=1e-4)
    middle = at(felt, 3.5)
    assert middle["happiness"] == pytest.approx(0.4, abs=0.01)
    assert middle["sadness"] == pytest.approx(0.3, abs=0.01)
    assert at(felt, 9.0) == pytest.approx({"neutral": 0.4, "sadness": 0.6}, abs=1e-4)


def test_an_emotion_can_join_those_that_are_there_and_end_alone() -> None:
    felt = tracks.emotions_of_changes(
        [
            Change(1.0, "happiness", 0.5, 0.4),
            Change(2.0, "surprise", 0.4, 0.4, keep=True),
            Change(3.0, "happiness", 0.0, 0.4, keep=True),
        ]
    )
    assert at(felt, 2.8) == pytest.approx({"neutral": 0.1, "happiness": 0.5, "surprise": 0.4})
    assert at(felt, 4.0) == pytest.approx({"neutral": 0.6, "surprise": 0.4}, abs=1e-4)


@pytest.mark.parametrize("ease", ["SMOOTH", "IN", "OUT", "LINEAR"])
@pytest.mark.parametrize("duration", [0.0, 0.1, 0.5, 2.0])
def test_no_transition_jumps(ease: str, duration: float) -> None:
    """Neither the value nor its velocity, even where one change cuts off another."""
    felt = tracks.emotions_of_changes(
        [
            Change(1.0, "anger", 1.0, duration, ease),
            Change(1.0 + duration / 2, "fear", 0.7, duration, ease),
        ]
    )
    times = np.arange(0, 5, 0.005)
    values = np.stack(
        [np.interp(times, felt["times_s"], column) for column in np.transpose(felt["intensities"])]
    )
    speed = np.abs(np.diff(values)).max() / 0.005
    assert speed <= 2.2 / max(duration, tracks.SOFTEN_S) * 1.05
    assert values.min() >= 0.0 and values.max() <= 1.0


def test_a_constant_mixture_is_one_row() -> None:
    felt = tracks.emotions_of_changes(
        Change(-np.inf, name, value, keep=True)
        for name, value in (("happiness", 0.6), ("surprise", 0.3))
    )
    assert len(felt["times_s"]) == 1
    assert at(felt, 5.0) == pytest.approx({"neutral": 0.1, "happiness": 0.6, "surprise": 0.3})


def test_tracks_are_as_short_as_they_can_be() -> None:
    felt = tracks.emotions_of_changes(
        [Change(10.0, "anger", 1.0, 0.5), Change(3000.0, "fear", 1.0, 0.5)]
    )
    assert len(felt["times_s"]) < 120, "an hour that is mostly still takes no more than its changes"


def test_a_slider_is_a_number_until_it_is_keyframed() -> None:
    hero = speaking_mesh()
    hero.idiolect.mix = 0.25
    assert tracks.track(hero, "idiolect.mix", CLOCK) == 0.25
    for frame, value in ((25, 0.0), (49, 1.0)):
        hero.idiolect.mix = value
        hero.keyframe_insert("idiolect.mix", frame=frame)
    track = tracks.track(hero, "idiolect.mix", CLOCK)
    values = np.interp([0.0, 0.5, 1.5, 2.5, 9.0], track["times_s"], track["values"])
    np.testing.assert_allclose(values, [0.0, 0.0, 0.5, 1.0, 1.0], atol=0.01)
    assert values[0] == 0.0 and values[-1] == 1.0, "the ends are A and B to the last bit"


def test_a_stepped_keyframe_is_softened() -> None:
    hero = speaking_mesh()
    for frame, value in ((1, 0.0), (25, 2.0)):
        hero.idiolect.strength = value
        hero.keyframe_insert("idiolect.strength", frame=frame)
    curve = keying.curve_of(hero, "idiolect.strength")
    for point in curve.keyframe_points:
        point.interpolation = "CONSTANT"
    track = tracks.track(hero, "idiolect.strength", CLOCK)
    assert max(np.abs(np.diff(track["values"]))) < 1.1
    assert (track["values"][0], track["values"][-1]) == (0.0, 2.0)


def test_sliders_of_emotion_may_be_up_together() -> None:
    hero = speaking_mesh()
    emotion = hero.idiolect.emotion
    emotion.happiness = 0.3
    for frame, value in ((1, 0.0), (49, 0.6)):
        emotion.anger = value
        hero.keyframe_insert("idiolect.emotion.anger", frame=frame)
    felt = tracks.emotions_of_sliders(hero, emotion, "idiolect.emotion.", CLOCK)
    assert at(felt, 5.0) == pytest.approx(
        {"neutral": 0.1, "happiness": 0.3, "anger": 0.6}, abs=1e-3
    )
    assert at(felt, -1.0) == pytest.approx({"neutral": 0.7, "happiness": 0.3}, abs=1e-3)


def test_the_list_of_a_character_and_its_markers() -> None:
    hero, scene = speaking_mesh(), bpy.context.scene
    scene.timeline_markers.new("turn", frame=73)
    bpy.ops.idiolect.add_emotion(emotion="happiness", frame=25, intensity=0.8)
    bpy.ops.idiolect.add_emotion(emotion="fear", frame=1)
    rows = hero.idiolect.emotion.changes
    rows[1].marker, rows[1].duration, rows[1].keep = "turn", 24, True
    first, second = tracks.changes_of_list(rows, scene, CLOCK)
    assert (first.time_s, first.intensity, first.duration_s) == (1.0, pytest.approx(0.8), 0.75)
    assert (second.time_s, second.duration_s, second.keep) == (3.0, 1.0, True)
    scene.timeline_markers.clear()
    with pytest.raises(WorkerError, match="no marker “turn”"):
        tracks.changes_of_list(rows, scene, CLOCK)
    bpy.ops.idiolect.remove_emotion()
    assert [row.emotion for row in rows] == ["happiness"]


def test_a_list_survives_being_written_as_text() -> None:
    hero = speaking_mesh()
    text = 'happiness 0.7 @ 24 over 12 smooth, +surprise 0.4 @ "turn" over 0 linear'
    emotion = hero.idiolect.emotion
    emotion.text = text
    assert emotion.text == text
    emotion.text = "anger @ 2s over 0.5s"
    (row,) = emotion.changes
    assert (row.emotion, row.frame, row.duration) == ("anger", 49, 12)


def test_what_scripts_may_write() -> None:
    scene = bpy.context.scene
    changes = tracks.changes_of_text(
        "Happiness 0.7, +surprise .4, sadness @ 97 over 12, anger @ 4.5s over 1 s in", scene, CLOCK
    )
    assert [change.time_s for change in changes] == [-np.inf, -np.inf, 4.0, 4.5]
    assert [change.duration_s for change in changes] == [0.5, 0.5, 0.5, 1.0]
    assert [change.keep for change in changes] == [False, True, False, False]
    assert changes[3].ease == "IN"
    felt = tracks.emotions_of_changes(changes[:2])
    assert at(felt, 0.0) == pytest.approx({"happiness": 0.7, "surprise": 0.4})
    for wrong in ("joy", "happiness lots", "anger @ soon"):
        with pytest.raises(WorkerError, match="no emotion"):
            transitions.parse(wrong)
