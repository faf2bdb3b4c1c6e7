"""Motion beside what is there: NLA layers, ranges, locked curves, sparse keys. Nothing is lost."""

from __future__ import annotations

import time

import bpy
import numpy as np
import pytest
from scenes import curves, curves_on, handmade_action, played, points, speaking_mesh

from blender_addon import keying
from blender_addon.keying import reduction
from blender_addon.rig.names import ARKIT_KEYS

pytestmark = pytest.mark.usefixtures("scene")

JAW, CLOSE = ARKIT_KEYS.index("jawOpen"), ARKIT_KEYS.index("mouthClose")


def speech(frames: int, seed: int = 0) -> np.ndarray:
    """Motion (T, 52) with the pace of speech: smooth, with closures of two frames, and rests."""
    rng = np.random.default_rng(seed)
    knots = rng.random((frames // 10 + 4, 52)) ** 2
    at = np.arange(frames) / 10
    low = at.astype(int)
    share = (at - low)[:, None]
    share = share * share * (3 - 2 * share)
    motion = knots[low] * (1 - share) + knots[low + 1] * share
    motion[:, 30:40] = 0.25  # never moves
    motion[:, CLOSE] *= 0.2 * motion[:, JAW]
    motion[:, [ARKIT_KEYS.index(name) for name in reduction.CLOSING[2:]]] *= 0.05
    for frame in range(10, frames - 1, 17):
        motion[frame : frame + 2, CLOSE] = motion[frame : frame + 2, JAW]
    return motion.astype(np.float32)


def key(target: bpy.types.Object, weights: np.ndarray, first: int = 1, **manner) -> keying.Keyed:
    line = keying.Line("/a.wav", first, first + len(weights) - 1)
    closures = reduction.closures(ARKIT_KEYS, weights)
    how = keying.Manner(closures=closures, **manner)
    return keying.key_curves(curves_on(target, weights), line, "Hero speech a", how)


def shown(action: bpy.types.Action, frames: np.ndarray) -> dict[str, np.ndarray]:
    """What each curve shows at frames, as Blender works it out."""
    return {n: np.array([c.evaluate(f) for f in frames]) for n, c in curves(action).items()}


def active(target: bpy.types.Object) -> bpy.types.Action:
    return target.data.shape_keys.animation_data.action


@pytest.mark.parametrize("first", [1, 100_000])
@pytest.mark.parametrize("bound", [0.002, 0.005, 0.02])
def test_sparse_keys_stay_within_the_bound_at_every_frame(bound: float, first: int) -> None:
    hero, weights = speaking_mesh(), speech(1800)
    started = time.process_time()
    keyed = key(hero, weights, first, bound=bound)
    took = time.process_time() - started
    frames = np.arange(first, first + 1800)
    values = shown(active(hero), frames)
    off = np.abs(np.stack([values[name] for name in ARKIT_KEYS], 1) - weights)
    print(
        f"bound {bound}: {keyed.dense} → {keyed.keys} keys ({keyed.dense / keyed.keys:.1f}×),"
        f" off by {off.max():.5f} (told {keyed.error:.5f}), {took:.3f} s"
    )
    assert off.max() <= bound
    assert keyed.keys < keyed.dense / 3 and took < 1.0
    found = curves(active(hero))
    assert sum(len(c.keyframe_points) for c in found.values()) == keyed.keys
    (exact,) = np.nonzero(reduction.closures(ARKIT_KEYS, weights))
    for name in ("jawOpen", "mouthClose"):
        assert set(first + exact) <= set(points(found[name])[:, 0].tolist())
    lips, wanted = values["jawOpen"] - values["mouthClose"], weights[:, JAW] - weights[:, CLOSE]
    np.testing.assert_allclose(lips[exact], wanted[exact], atol=1e-6)
    assert lips[np.arange(10, 1799, 17)].max() < 0.01, "lips that met do not meet any more"
    top = weights[:, 0].argmax()
    assert values[ARKIT_KEYS[0]][top] == weights[top, 0], "a peak is lost"


def test_an_artist_gets_bezier_keys_on_whole_frames() -> None:
    hero = speaking_mesh()
    key(hero, speech(200), bound=0.005)
    curve = curves(active(hero))["jawOpen"]
    assert {point.interpolation for point in list(curve.keyframe_points)[:-1]} == {"BEZIER"}
    assert all(point.co[0] == round(point.co[0]) for point in curve.keyframe_points)
    assert len(curves(active(hero))[ARKIT_KEYS[35]].keyframe_points) == 2


@pytest.mark.parametrize("bound", [0.0, 0.005])
@pytest.mark.parametrize("edit", [False, True])
def test_a_range_changes_and_nothing_else(bound: float, edit: bool) -> None:
    hero, old, new = speaking_mesh(), speech(240), speech(240, seed=1)
    key(hero, old, 11, bound=bound)
    if edit:
        for point in list(curves(active(hero))["jawOpen"].keyframe_points)[3::5]:
            point.co[1] += 0.1
            point.handle_left[1] += 0.1
            point.handle_right[1] += 0.1
    frames = np.arange(1, 300)
    before = shown(active(hero), frames)
    keys = {name: points(curve) for name, curve in curves(active(hero)).items()}
    key(hero, new, 11, bound=bound, span=(90, 150), fade=6)
    after = shown(active(hero), frames)
    outside = (frames < 90) | (frames > 150)
    inner = (frames >= 96) & (frames <= 144)
    for column, name in enumerate(ARKIT_KEYS):
        np.testing.assert_array_equal(after[name][outside], before[name][outside])
        wanted = new[frames[inner] - 11, column]
        assert np.abs(after[name][inner] - wanted).max() <= max(bound, 1e-6)
        now = points(curves(active(hero))[name])
        for x, y in keys[name]:
            if not 90 <= x <= 150:
                assert [x, y] in now.tolist(), "a key outside the range is gone"
        steps = np.abs(np.diff(after[name]))[88:151].max()
        allowed = max(np.abs(np.diff(x[:, column])).max() for x in (old, new)) + 0.35
        assert steps < allowed, "it jumps"
    assert keying.lines_of(active(hero)) == [keying.Line("/a.wav", 11, 250)]


def test_a_layer_leaves_the_artists_action_in_its_place() -> None:
    hero = speaking_mesh(keys=(*ARKIT_KEYS, "Scar"))
    hand = handmade_action(hero, {"Scar": [(3.5, 0.0), (20, 1.0)], "browInnerUp": [(1, 0.9)]})
    data = {name: points(curve) for name, curve in curves(hand).items()}
    frames = [1, 7.25, 12, 20, 40]
    scar, brow = (played(hero, name, frames) for name in ("Scar", "browInnerUp"))
    weights = speech(30)
    for seed in (0, 1):
        weights = speech(30, seed)
        keyed = key(hero, weights, on_layer=True)
        animation = hero.data.shape_keys.animation_data
        assert animation.action == hand and not keyed.kept
        assert [t.strips[0].action.name for t in animation.nla_tracks] == [*keyed.actions]
        np.testing.assert_allclose(played(hero, "Scar", frames), scar, atol=1e-6)
        np.testing.assert_allclose(played(hero, "browInnerUp", frames), brow, atol=1e-6)
        np.testing.assert_allclose(
            played(hero, "jawOpen", [1, 12, 30]), weights[[0, 11, 29], JAW], atol=1e-6
        )
    for name, keys in data.items():
        np.testing.assert_array_equal(points(curves(hand)[name]), keys)
    longer = speech(60, 2)
    key(hero, longer, on_layer=True)
    assert played(hero, "jawOpen", [50]) == [pytest.approx(longer[49, JAW])]


def test_a_layer_that_was_moved_and_named_stays_so() -> None:
    hero, weights = speaking_mesh(), speech(30)
    key(hero, weights, on_layer=True)
    (track,) = hero.data.shape_keys.animation_data.nla_tracks
    strip = track.strips[0]
    strip.frame_start, strip.frame_end = 101, 130
    track.name = "Dialogue"
    weights = speech(40, 1)
    key(hero, weights, on_layer=True)
    (track,) = hero.data.shape_keys.animation_data.nla_tracks
    assert track.name == "Dialogue"
    assert played(hero, "jawOpen", [120]) == [pytest.approx(weights[19, JAW])]
    assert played(hero, "jawOpen", [138]) == [pytest.approx(weights[37, JAW])]


def test_from_an_action_to_a_layer_and_back() -> None:
    hero, weights = speaking_mesh(), speech(30)
    keyed = key(hero, weights)
    animation = hero.data.shape_keys.animation_data
    key(hero, weights, on_layer=True)
    assert animation.action is None and len(animation.nla_tracks) == 1
    assert played(hero, "jawOpen", [12]) == [pytest.approx(weights[11, JAW])]
    key(hero, weights)
    assert animation.action.name == keyed.actions[0] and not len(animation.nla_tracks)
    assert len(bpy.data.actions) == 1


def test_locked_curves_and_held_channels_stay() -> None:
    hero, old, new = speaking_mesh(), speech(60), speech(60, 1)
    key(hero, old, bound=0.005)
    before = {name: points(curve) for name, curve in curves(active(hero)).items()}
    curves(active(hero))["jawOpen"].lock = True
    key(hero, new, bound=0.005, holds=lambda channel: channel.startswith("brow"))
    after = {name: points(curve) for name, curve in curves(active(hero)).items()}
    for name in (*ARKIT_KEYS[:30], *ARKIT_KEYS[40:]):
        same = np.array_equal(before[name], after[name])
        assert same == (name == "jawOpen" or name.startswith("brow")), name


def test_what_an_artist_has_set_on_curves_stays() -> None:
    hero = speaking_mesh()
    key(hero, speech(60))
    curve = curves(active(hero))["jawOpen"]
    curve.mute, curve.hide = True, True
    noise = curve.modifiers.new("NOISE")
    noise.strength = 0.5
    active(hero).name = "Take 7"
    key(hero, speech(60, 1))
    curve = curves(active(hero))["jawOpen"]
    assert curve.mute and curve.hide and curve.modifiers[0].strength == 0.5
    assert active(hero).name == "Take 7"
