"""The measures against slow plain references, cases worked by hand, and the traps of the field."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.flame_file import FlameData
from core.face.head import built_in_head
from core.face.lips import lip_gap_mm
from core.motion import ARKIT_CHANNELS
from core.phones import PHONE_INDEX, PHONES
from training import metrics
from training.corpus import UNKNOWN_PHONE
from training.motion_score import MEASURES, MotionScore
from training.surfaces import (
    ArkitSurface,
    FlameSurface,
    VertexSurface,
    read_vertex_set,
    surface_for,
)

RNG = np.random.default_rng(7)
MM = 1e-3


def vertex_score(
    truth: np.ndarray, predicted: np.ndarray, lips: list[int], upper: list[int], fps: float = 25.0
) -> dict[str, float]:
    """Measures of sequences (T, V, 3) given as a list of one."""
    return vertex_scores([(truth, predicted)], lips, upper, fps)


def vertex_scores(
    pairs: list[tuple[np.ndarray, np.ndarray]], lips: list[int], upper: list[int], fps: float = 25.0
) -> dict[str, float]:
    count = pairs[0][0].shape[1]
    pair = np.array([[lips[0], lips[-1]]])
    score = MotionScore(VertexSurface(count, np.array(lips), np.array(upper), pair), fps)
    for truth, predicted in pairs:
        frames = len(truth)
        phones = np.full(frames, UNKNOWN_PHONE)
        score.add(truth.reshape(frames, -1), predicted.reshape(frames, -1), phones, np.zeros(16000))
    return score.summary()


# ------------------------------------------------------------------------- plain references


def slow_measures(
    truth: np.ndarray, predicted: np.ndarray, lips: list[int], upper: list[int]
) -> dict:
    """The definitions as loops over frames, vertices and axes."""
    frames, count, _ = truth.shape
    face, worst = 0.0, 0.0
    for t in range(frames):
        squares = [sum((truth[t, v, x] - predicted[t, v, x]) ** 2 for x in range(3))
                   for v in range(count)]  # fmt: skip
        face += sum(squares) / count
        worst += max(squares[v] for v in lips)

    def spread(motion: np.ndarray, v: int) -> float:
        sizes = [sum(motion[t, v, x] ** 2 for x in range(3)) for t in range(frames)]
        mean = sum(sizes) / frames
        return math.sqrt(sum((size - mean) ** 2 for size in sizes) / frames)

    lip_spread = [abs(spread(truth, v) - spread(predicted, v)) for v in lips]
    upper_spread = [spread(truth, v) - spread(predicted, v) for v in upper]
    return {
        "fve_m2": face / frames,
        "lve_m2": worst / frames,
        "lve_mm": 1000 * math.sqrt(worst / frames),
        "ldd_m2": sum(lip_spread) / len(lips),
        "fdd_m2": sum(map(abs, upper_spread)) / len(upper),
        "fdd_signed_m2": sum(upper_spread) / len(upper),
        "ldtw_m": slow_dtw(
            truth[:, lips].reshape(frames, -1), predicted[:, lips].reshape(frames, -1)
        ),
    }


def slow_dtw(first: np.ndarray, second: np.ndarray) -> float:
    best: dict[tuple[int, int], tuple[float, int]] = {}
    for i in range(len(first)):
        for j in range(len(second)):
            here = math.dist(first[i], second[j])
            before = [best[at] for at in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if at in best]
            cost, steps = min(before, key=lambda entry: entry[0]) if before else (0.0, 0)
            best[i, j] = (cost + here, steps + 1)
    cost, steps = best[len(first) - 1, len(second) - 1]
    return cost / steps


@pytest.mark.parametrize("frames", [2, 9, 40])
def test_measures_equal_plain_loops(frames: int) -> None:
    truth, predicted = RNG.normal(0, 5 * MM, (2, frames, 12, 3))
    lips, upper = [1, 3, 4, 8], [0, 9, 10]
    found = vertex_score(truth, predicted, lips, upper)
    for name, expected in slow_measures(truth, predicted, lips, upper).items():
        assert found[name] == pytest.approx(expected, rel=1e-9), name


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (7, 7), (5, 11), (12, 4)])
def test_dtw_equals_plain_loops(shape: tuple[int, int]) -> None:
    first, second = RNG.normal(size=(shape[0], 3)), RNG.normal(size=(shape[1], 3))
    assert metrics.dtw(first, second) == pytest.approx(slow_dtw(first, second), rel=1e-12)


def test_dtw_forgives_time_and_only_time() -> None:
    curve = np.sin(np.linspace(0, 9, 60))[:, None]
    assert metrics.dtw(curve, curve) == 0
    assert metrics.dtw(curve, np.repeat(curve, 2, axis=0)) == 0
    # A constant distance d costs d a step, however long the path.
    assert metrics.dtw(np.zeros((50, 1)), np.full((50, 1), 0.3)) == pytest.approx(0.3)


def test_long_sequences_are_warped_in_parts() -> None:
    truth = np.zeros((1300, 3, 3))  # 52 s: three parts
    found = vertex_score(truth, truth + 1 * MM, [0, 1], [2])
    assert found["ldtw_m"] == pytest.approx(math.sqrt(6) * MM)


# ------------------------------------------------------------------------------------ traps


def test_metres_and_millimetres() -> None:
    """Every vertex 1 mm off: 10⁻⁶ m², and 1 mm."""
    truth = np.zeros((4, 5, 3))
    predicted = truth + np.array([0.0, 1 * MM, 0.0])
    found = vertex_score(truth, predicted, [0, 1], [2])
    assert found["fve_m2"] == pytest.approx(1e-6)
    assert found["lve_m2"] == pytest.approx(1e-6)
    assert found["lve_mm"] == pytest.approx(1.0)
    # Mimic's 3.20e-5, printed as "mm", is 5.7 mm.
    assert 1000 * math.sqrt(3.20e-5) == pytest.approx(5.66, abs=0.01)
    scaled = MEASURES["lve_m2"].scale * found["lve_m2"]
    assert (scaled, MEASURES["lve_m2"].unit) == (pytest.approx(0.1), "10⁻⁵ m²")


def test_maximum_first_then_mean() -> None:
    """The worst vertex changes from frame to frame: the mean's maximum would be half."""
    truth = np.zeros((2, 2, 3))
    predicted = truth.copy()
    predicted[0, 0, 0] = predicted[1, 1, 1] = 2 * MM
    assert vertex_score(truth, predicted, [0, 1], [0])["lve_m2"] == pytest.approx(4e-6)


def test_squares_are_summed_over_axes() -> None:
    truth = np.zeros((2, 1, 3))
    predicted = np.full((2, 1, 3), 1 * MM)
    assert vertex_score(truth, predicted, [0], [0])["fve_m2"] == pytest.approx(3e-6)


def test_frames_are_pooled_over_sequences() -> None:
    """Ten bad frames and thirty good ones are a quarter bad, not half."""
    bad = (np.zeros((10, 2, 3)), np.full((10, 2, 3), 1 * MM))
    good = (np.zeros((30, 2, 3)), np.zeros((30, 2, 3)))
    found = vertex_scores([bad, good], [0, 1], [0])
    assert found["lve_m2"] == pytest.approx(3e-6 / 4)
    assert found["fve_m2"] == pytest.approx(3e-6 / 4)


def test_sequences_are_averaged_for_dynamics() -> None:
    moving = np.zeros((10, 1, 3))
    moving[::2, 0, 1] = 2 * MM  # ‖offset‖² is 4e-6 or 0: deviation 2e-6
    still = np.zeros((30, 1, 3))
    pairs = [(moving, np.zeros_like(moving)), (still, still)]
    found = vertex_scores(pairs, [0], [0])
    assert found["ldd_m2"] == pytest.approx(1e-6)
    assert found["fdd_m2"] == found["fdd_signed_m2"] == pytest.approx(1e-6)


def test_regions_are_not_diluted() -> None:
    """The same lips in a mesh twenty times as large give the same figures."""
    truth, predicted = RNG.normal(0, 2 * MM, (2, 12, 5, 3))
    small = vertex_score(truth, predicted, [0, 1, 2], [3, 4])
    padding = ((0, 0), (0, 95), (0, 0))
    large = vertex_score(np.pad(truth, padding), np.pad(predicted, padding), [0, 1, 2], [3, 4])
    for name in ("lve_m2", "ldd_m2", "fdd_m2", "ldtw_m", "lip_jerk_m_s3"):
        assert large[name] == pytest.approx(small[name], rel=1e-12), name
    assert large["fve_m2"] == pytest.approx(small["fve_m2"] / 20)


def test_too_much_here_and_too_little_there_do_not_cancel() -> None:
    wave = np.zeros((10, 1, 3))
    wave[::2] = 2 * MM
    truth = np.concatenate([wave, np.zeros_like(wave)], axis=1)
    predicted = truth[:, ::-1]
    found = vertex_score(truth, predicted, [0, 1], [0, 1])
    assert found["fdd_signed_m2"] == pytest.approx(0, abs=1e-15)
    assert found["fdd_m2"] == found["ldd_m2"] == pytest.approx(6e-6)
    # Signed: a face that moves too little has a positive deviation.
    frozen = vertex_score(truth, np.zeros_like(truth), [0, 1], [0, 1])
    assert frozen["fdd_signed_m2"] == pytest.approx(3e-6)


def test_channels_go_by_name() -> None:
    """jawOpen moves the lips wherever its column stands."""
    order = RNG.permutation(52)
    shuffled = tuple(ARKIT_CHANNELS[i] for i in order)
    motion = RNG.uniform(0, 0.5, (6, 52))
    plain, mixed = ArkitSurface(), ArkitSurface(shuffled)
    np.testing.assert_allclose(
        plain.offsets(motion, plain.lips), mixed.offsets(motion[:, order], mixed.lips), atol=1e-12
    )
    np.testing.assert_allclose(plain.lip_gap_mm(motion), mixed.lip_gap_mm(motion[:, order]))
    jaw = np.eye(52)[[shuffled.index("jawOpen")]]
    assert np.linalg.norm(mixed.offsets(jaw, mixed.lips), axis=2).max() > 10 * MM
    assert np.abs(mixed.offsets(jaw, mixed.upper_face)).max() < 2 * MM
    brows = np.eye(52)[[shuffled.index("browInnerUp")]]
    assert np.linalg.norm(mixed.offsets(brows, mixed.upper_face), axis=2).max() > 3 * MM


def test_arkit_offsets_are_the_heads() -> None:
    surface, head = ArkitSurface(), built_in_head()
    weights = RNG.uniform(0, 1, 52)
    expected = head.posed(dict(zip(ARKIT_CHANNELS, weights, strict=True))) - head.vertices
    found = surface.offsets(weights[None], surface.face)[0]
    np.testing.assert_allclose(found, expected[surface.face], atol=1e-7)
    np.testing.assert_allclose(surface.lip_gap_mm(weights[None]), lip_gap_mm(weights[None]))


# --------------------------------------------------------------------- time, silence, closures


def test_jerk_of_a_cube() -> None:
    """x = t³ has a third derivative of 6."""
    time = np.arange(20) / 50
    offsets = np.zeros((20, 2, 3))
    offsets[:, 0, 1] = time**3
    assert metrics.lip_jerk(offsets, 50) == pytest.approx(3.0)  # the mean with one that rests


def test_speed_in_mm_per_second() -> None:
    offsets = np.zeros((11, 2, 3))
    offsets[:, :, 2] = (np.arange(11) * 0.5 * MM)[:, None]
    assert metrics.lip_speed_mm_s(offsets, 25) == pytest.approx(12.5)


def test_only_the_middle_of_a_pause_is_silence() -> None:
    fps = 25.0
    phones = np.array([PHONE_INDEX["AA"]] * 10 + [0] * 25 + [UNKNOWN_PHONE] * 5 + [0] * 20)
    steps = metrics.silent_steps(phones, fps)
    # Frames 15 to 29 are more than 0.2 s from speech and from what is unknown; and from 45 on.
    assert np.flatnonzero(steps).tolist() == [*range(15, 29), *range(45, 59)]
    assert not metrics.silent_steps(np.full(30, UNKNOWN_PHONE), fps).any()


@pytest.mark.parametrize("late_ms", [-120.0, -30.0, 0.0, 40.0, 55.0, 200.0])
@pytest.mark.parametrize("fps", [25.0, 60.0])
def test_lag_is_found_between_frames(late_ms: float, fps: float) -> None:
    time = np.arange(round(8 * fps)) / fps

    def curve(at: np.ndarray) -> np.ndarray:
        return np.sin(2 * np.pi * 1.3 * at) + 0.7 * np.sin(2 * np.pi * 2.9 * at + 1)

    correlation = metrics.cross_correlation(curve(time - late_ms / 1000), curve(time), fps)
    assert metrics.lag_ms(correlation, fps) == pytest.approx(late_ms, abs=6)


def test_no_lag_where_nothing_moves() -> None:
    still = metrics.cross_correlation(np.zeros(100), RNG.normal(size=100), 25)
    assert math.isnan(metrics.lag_ms(still, 25))
    short = metrics.cross_correlation(RNG.normal(size=10), RNG.normal(size=10), 25)
    assert math.isnan(metrics.lag_ms(short, 25))


def test_loudness_follows_the_sound() -> None:
    samples = np.zeros(16000, np.float32)
    samples[8000:9600] = 0.1
    loudness = metrics.loudness_db(samples, 25, 25)
    assert loudness.shape == (25,)
    assert loudness[14] == pytest.approx(-20, abs=0.01)  # 0.56 s, inside 0.5 to 0.6 s
    assert loudness[12] == loudness[16] == pytest.approx(-60, abs=0.1)


def _said(fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Five times [pause, m, a]: phones, the right motion on the head, and its sound."""
    names = ([("SIL", 0.8), ("M", 0.16), ("AA", 0.4)] * 5) + [("SIL", 0.8)]
    phones = np.concatenate([[PHONE_INDEX[n]] * round(s * fps) for n, s in names])
    jaw = np.where(phones == PHONE_INDEX["AA"], 0.5, 0.0)
    motion = np.zeros((len(phones), 52))
    motion[:, ARKIT_CHANNELS.index("jawOpen")] = jaw
    samples = np.repeat(0.2 * jaw, round(16000 / fps)) * RNG.choice(
        [-1, 1], len(jaw) * round(16000 / fps)
    )
    return phones, motion, samples


def _score(predicted: np.ndarray, fps: float = 25.0) -> dict[str, float]:
    phones, truth, samples = _said(fps)
    score = MotionScore(ArkitSurface(), fps)
    score.add(truth, predicted, phones, samples)
    return score.summary()


def test_the_truth_is_perfect() -> None:
    found = _score(_said(25.0)[1])
    for name in ("fve_m2", "lve_m2", "ldtw_m", "ldd_m2", "fdd_m2", "fdd_signed_m2"):
        assert found[name] == 0, name
    assert found["closure_recall"] == found["closure_precision"] == 1
    assert found["silent_motion_mm_s"] == 0
    assert found["lip_lag_ms"] == pytest.approx(0, abs=1e-6)
    for name in ("closure_recall", "silent_motion_mm_s", "audio_lag_ms", "lip_jerk_m_s3"):
        assert found[name] == found[f"true_{name}"], name
    assert set(MEASURES) <= set(found) and found["clips"] == 1


def test_an_open_mouth_closes_nothing() -> None:
    found = _score(_said(25.0)[1] * 0 + np.eye(52)[ARKIT_CHANNELS.index("jawOpen")] * 0.4)
    assert (found["closure_recall"], found["true_closure_recall"]) == (0, 1)
    assert found["lve_mm"] > 10
    assert math.isnan(found["lip_lag_ms"]) and math.isnan(found["audio_lag_ms"])


def test_a_shut_mouth_scores_nothing_either() -> None:
    found = _score(np.zeros_like(_said(25.0)[1]))
    assert found["closure_precision"] == 0 and found["closure_recall"] == 0


def test_late_lips_are_told() -> None:
    late = np.roll(_said(50.0)[1], 4, axis=0)
    found = _score(late, 50.0)
    assert found["lip_lag_ms"] == pytest.approx(80, abs=1)
    assert found["audio_lag_ms"] - found["true_audio_lag_ms"] == pytest.approx(80, abs=10)


def test_restless_lips_in_silence_are_told() -> None:
    truth = _said(25.0)[1]
    nervous = truth.copy()
    nervous[::2, ARKIT_CHANNELS.index("mouthFunnel")] += 0.2
    found = _score(nervous)
    assert found["silent_motion_mm_s"] > 5 and found["true_silent_motion_mm_s"] == 0


def test_without_phones_what_needs_them_is_unknown() -> None:
    truth = _said(25.0)[1]
    score = MotionScore(ArkitSurface(), 25.0)
    score.add(truth, truth, np.full(len(truth), UNKNOWN_PHONE), np.zeros(1000))
    found = score.summary()
    assert math.isnan(found["closure_recall"]) and math.isnan(found["silent_motion_mm_s"])
    assert found["lve_m2"] == 0


def test_other_shapes_are_refused() -> None:
    score = MotionScore(ArkitSurface(), 25.0)
    with pytest.raises(ValueError, match="expected motion of"):
        score.add(np.zeros((10, 52)), np.zeros((9, 52)), np.zeros(10), np.zeros(10))


def test_bilabials_and_silence_by_phone() -> None:
    phones = np.array([*range(len(PHONES)), UNKNOWN_PHONE])
    wanted, silent, unknown = metrics.closure_flags(phones)
    assert [PHONES[i] for i in np.flatnonzero(wanted)] == ["B", "M", "P"]
    assert np.flatnonzero(silent).tolist() == [0] and np.flatnonzero(unknown).tolist() == [40]


def test_flame_motion_is_measured_on_its_vertices() -> None:
    count, expressions = 9, 4
    joints = RNG.dirichlet(np.ones(count), 5)
    data = FlameData(
        name="random",
        v_template=RNG.normal(0, 0.1, (count, 3)),
        faces=np.array([[0, 1, 2]]),
        shapedirs=RNG.normal(0, MM, (count, 3, 2)),
        expression_dirs=RNG.normal(0, MM, (count, 3, expressions)),
        posedirs=np.zeros((count, 3, 36)),
        joint_regressor=joints,
        lbs_weights=RNG.dirichlet(np.ones(5), count),
    )
    model = FlameModel(data)
    surface = FlameSurface(model, lips=np.array([4, 7]), upper_face=np.array([0]))
    motion = RNG.normal(0, 0.3, (6, expressions + 3)).astype(np.float32)
    posed = model(
        expression=torch.from_numpy(motion[:, :-3]), jaw_pose=torch.from_numpy(motion[:, -3:])
    ).vertices.numpy()
    expected = (posed - data.v_template)[:, [4, 7]]
    np.testing.assert_allclose(surface.offsets(motion, surface.lips), expected, atol=1e-6)
    still = surface.offsets(np.zeros((1, expressions + 3)), surface.face)
    np.testing.assert_allclose(still, 0, atol=1e-6)
    # The jaw counts: it is not among the expressions, and masks by number once lost it.
    jaw = np.zeros((1, expressions + 3))
    jaw[0, -3] = 0.3
    assert np.abs(surface.offsets(jaw, surface.face)).max() > 1 * MM


# ------------------------------------------------------------------------------ vertex sets


def test_vertex_sets_from_files(tmp_path: Path) -> None:
    import pickle

    text = tmp_path / "lve.txt"
    text.write_text("3, 1, 4,\n1, 5")
    assert read_vertex_set(text, ("lips",), 6).tolist() == [1, 3, 4, 5]
    with pytest.raises(IdiolectError, match="expected indices below 5, found 5"):
        read_vertex_set(text, ("lips",), 5)
    text.write_text("3, -1")
    with pytest.raises(IdiolectError, match="found '-1'"):
        read_vertex_set(text, ("lips",), 6)
    masks = {"lips": np.array([7, 7, 2]), "forehead": np.array([0, 1]), "eye_region": np.array([1])}
    pickled = tmp_path / "FLAME_masks.pkl"
    pickled.write_bytes(pickle.dumps(masks, protocol=2))
    channels = tuple(f"{axis}{v}" for v in range(5023) for axis in "xyz")
    surface = surface_for("vertices", channels, lips=pickled)
    assert surface.lips.tolist() == [2, 7] and surface.upper_face.tolist() == [0, 1]
    assert len(surface.face) == 5023
    with pytest.raises(IdiolectError, match="expected the masks chin; found lips, forehead"):
        read_vertex_set(pickled, ("chin",), 5023)
    with pytest.raises(IdiolectError, match="cannot be measured without --lips"):
        surface_for("vertices", channels)
