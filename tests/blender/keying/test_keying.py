"""Weights to F-curves, on this Blender's own Action API."""

from __future__ import annotations

import time

import bpy
import numpy as np
import pytest
from scenes import curves, curves_on, digest, handmade_action, played, points, speaking_mesh

from blender_addon import keying
from blender_addon.rig.names import ARKIT_KEYS

pytestmark = pytest.mark.usefixtures("scene")


def motion(frames: int, channels: int = 52, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((frames, channels), dtype=np.float32)


def key(target: bpy.types.Object, weights: np.ndarray, first: int = 1, speech: str = "/a.wav"):
    line = keying.Line(speech, first, first + len(weights) - 1)
    names = list(ARKIT_KEYS[: weights.shape[1]])
    return keying.key_curves(curves_on(target, weights, names), line, "Hero speech a")


def test_keys_lie_on_whole_frames_and_blender_plays_them() -> None:
    hero, weights = speaking_mesh(), motion(25)
    keyed = key(hero, weights, first=10)
    assert keyed.actions == ("Hero speech a",) and not keyed.kept
    assert keyed.keys == keyed.dense == 25 * 52
    action = hero.data.shape_keys.animation_data.action
    assert (action.name,) == keyed.actions
    found = curves(action)
    assert set(found) == set(ARKIT_KEYS)
    np.testing.assert_array_equal(points(found["jawOpen"])[:, 0], np.arange(10, 35))
    column = ARKIT_KEYS.index("jawOpen")
    np.testing.assert_allclose(played(hero, "jawOpen", [10, 20, 34]), weights[[0, 10, 24], column])
    half_way = weights[10:12, column].mean()
    np.testing.assert_allclose(played(hero, "jawOpen", [20.5]), half_way, atol=1e-5)


def test_several_data_blocks_get_an_action_each_or_none_at_all() -> None:
    hero, teeth = speaking_mesh(), speaking_mesh("Teeth", keys=("jawOpen",))
    line, weights = keying.Line("/a.wav", 1, 12), motion(12)
    nod = keying.Curve(hero, "rotation_euler", 2, weights[:, 3], "Head turn", "headYaw")
    together = [*curves_on(hero, weights), *curves_on(teeth, weights[:, :1], ["jawOpen"]), nod]
    keyed = keying.key_curves(together, line, "Hero speech a")
    assert len(keyed.actions) == 3 and len(set(keyed.actions)) == 3
    assert played(teeth, "jawOpen", [5]) == [pytest.approx(weights[4, 0])]
    assert hero.evaluated_get(bpy.context.evaluated_depsgraph_get()).rotation_euler[2] == (
        pytest.approx(weights[4, 3])
    )
    before = digest()
    broken = keying.Curve(teeth, "", -5, "no values", "", "")
    with pytest.raises((TypeError, ValueError)):
        keying.key_curves([*together, broken], line, "Hero speech a")
    assert digest() == before


def test_a_still_channel_needs_two_keys_only() -> None:
    hero, weights = speaking_mesh(), motion(30)
    weights[:, 3] = 0.25
    key(hero, weights)
    found = curves(hero.data.shape_keys.animation_data.action)
    assert len(found[ARKIT_KEYS[3]].keyframe_points) == 2
    assert played(hero, ARKIT_KEYS[3], [1, 15, 30]) == [0.25] * 3


def test_sliders_make_room_and_are_never_narrowed() -> None:
    hero, weights = speaking_mesh(), motion(5)
    weights[2, 0], weights[3, 1] = 1.5, -0.3
    hero.data.shape_keys.key_blocks[ARKIT_KEYS[2]].slider_max = 3.0
    hero.data.shape_keys.key_blocks[ARKIT_KEYS[4]].slider_max = 0.1
    key(hero, weights)
    blocks = hero.data.shape_keys.key_blocks
    assert blocks[ARKIT_KEYS[0]].slider_max == 1.5
    assert blocks[ARKIT_KEYS[1]].slider_min == pytest.approx(-0.3)
    assert blocks[ARKIT_KEYS[2]].slider_max == 3.0
    assert blocks[ARKIT_KEYS[4]].slider_max == weights[:, 4].max()
    assert played(hero, ARKIT_KEYS[0], [3]) == [1.5]


def test_the_artists_action_moves_to_the_nla_and_plays_on() -> None:
    hero = speaking_mesh(keys=(*ARKIT_KEYS, "Scar"))
    hand = handmade_action(hero, {"Scar": [(3.5, 0.0), (20, 1.0)], "jawOpen": [(1, 0.9)]})
    hand.name = "By hand"
    frames = [-3, 1, 7.25, 12, 20, 40]
    before, data = played(hero, "Scar", frames), {n: points(c) for n, c in curves(hand).items()}
    keyed = key(hero, motion(12))
    assert keyed.kept == ("By hand",)
    np.testing.assert_allclose(played(hero, "Scar", frames), before, atol=1e-6)
    for name, keys in data.items():
        np.testing.assert_array_equal(points(curves(hand)[name]), keys)
    animation = hero.data.shape_keys.animation_data
    assert [track.strips[0].action for track in animation.nla_tracks] == [hand]
    assert played(hero, "jawOpen", [5]) != [pytest.approx(0.9)]
    key(hero, motion(12, seed=1))
    assert len(animation.nla_tracks) == 1, "a second press must not stack tracks"


def test_an_nla_that_was_off_stays_silent() -> None:
    hero = speaking_mesh(keys=(*ARKIT_KEYS, "Scar"))
    old = handmade_action(hero, {"Scar": [(1, 0.7)]})
    animation = hero.data.shape_keys.animation_data
    animation.nla_tracks.new().strips.new("old", 1, old)
    animation.action = None
    handmade_action(hero, {"Scar": [(1, 0.2)]})
    animation.use_nla = False
    key(hero, motion(4))
    assert played(hero, "Scar", [2]) == [pytest.approx(0.2)]


def test_a_second_press_replaces_the_first() -> None:
    hero = speaking_mesh()
    key(hero, motion(20))
    keyed = key(hero, motion(9, seed=1), first=5)
    assert keyed.actions == ("Hero speech a",) and not keyed.kept
    assert [action.name for action in bpy.data.actions] == [*keyed.actions]
    frames = points(curves(bpy.data.actions[0])["jawOpen"])[:, 0]
    np.testing.assert_array_equal(frames, np.arange(5, 14))


def test_an_edited_action_of_ours_is_kept() -> None:
    hero = speaking_mesh()
    (first,) = key(hero, motion(20)).actions
    curves(bpy.data.actions[first])["jawOpen"].keyframe_points[3].co[1] = 0.123
    keyed = key(hero, motion(20, seed=1))
    assert keyed.actions == (first,) and keyed.edited == (f"{first} (edited)",)
    kept = bpy.data.actions[keyed.edited[0]]
    assert (
        kept.use_fake_user
        and keying.MARK not in kept
        and points(curves(kept)["jawOpen"])[3, 1] == pytest.approx(0.123)
    )


def test_another_line_of_the_same_character_is_carried_over() -> None:
    hero, one, two = speaking_mesh(), motion(10), motion(10, seed=1)
    key(hero, one, first=1, speech="/one.wav")
    key(hero, two, first=31, speech="/two.wav")
    jaw = ARKIT_KEYS.index("jawOpen")
    np.testing.assert_allclose(played(hero, "jawOpen", [4, 34]), [one[3, jaw], two[3, jaw]])
    key(hero, two, first=41, speech="/two.wav")  # the same line, moved
    frames = points(curves(hero.data.shape_keys.animation_data.action)["jawOpen"])[:, 0]
    np.testing.assert_array_equal(frames, [*range(1, 11), *range(41, 51)])


def test_an_action_shared_with_another_character_is_not_removed() -> None:
    hero, twin = speaking_mesh(), speaking_mesh("Twin")
    (first,) = key(hero, motion(6)).actions
    twin.data.shape_keys.animation_data_create().action = bpy.data.actions[first]
    key(hero, motion(6, seed=1))
    assert twin.data.shape_keys.animation_data.action.name == first


def test_names_with_quotes_and_backslashes() -> None:
    odd = 'say "jaw\\Open"'
    hero = speaking_mesh(keys=(odd,))
    line = keying.Line("/a.wav", 1, 3)
    weights = np.array([[0], [0.5], [1]], np.float32)
    keying.key_curves(curves_on(hero, weights, [odd]), line, "x")
    action = hero.data.shape_keys.animation_data.action
    assert keying.shape_key_names(action) == [odd]
    assert played(hero, odd, [2]) == [0.5]


def test_sampling_reads_back_what_was_keyed() -> None:
    hero, weights = speaking_mesh(), motion(16)
    action = bpy.data.actions[key(hero, weights).actions[0]]
    frames = np.arange(1, 17, dtype=np.float64)
    sampled = keying.sample_action(action, list(ARKIT_KEYS), frames)
    np.testing.assert_allclose(sampled, weights, atol=1e-6)


def test_keying_is_fast() -> None:
    hero, weights = speaking_mesh(), motion(1800)
    started = time.process_time()
    key(hero, weights)
    ours = time.process_time() - started
    blocks = [hero.data.shape_keys.key_blocks[name] for name in ARKIT_KEYS[:4]]
    started = time.process_time()
    for frame in range(60):
        for column, block in enumerate(blocks):
            block.value = weights[frame, column]
            block.keyframe_insert("value", frame=3000 + frame)
    one_by_one = (time.process_time() - started) * (1800 * 52) / (60 * 4)
    print(f"keying 1800 x 52: {ours:.3f} s; keyframe_insert: {one_by_one:.1f} s")
    assert ours < 0.6, "far from the 0.15 s of an idle machine"
    assert one_by_one / ours > 30
