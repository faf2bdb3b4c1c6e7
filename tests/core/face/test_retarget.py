"""ARKit motion on FLAME faces and back."""

import time

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import lsq_linear
from scipy.sparse.csgraph import connected_components

from core.errors import IdiolectError
from core.face.bounded import bounded_least_squares
from core.face.eyes import DOWN_DEG, SIDE_DEG, UP_DEG
from core.face.flame_file import FlameData, load_flame
from core.face.flame_topology import speech_keys
from core.face.retarget import FlameFace, Retarget, fit_retarget, residual_offsets
from core.motion import ARKIT_CHANNELS, MotionClip
from tests.core.face.flame_files import random_flame, small_mesh, write_flame

EXPRESSIONS = 60
JAW_OPEN = np.radians(25.3)
OPPOSITES = [("jawLeft", "jawRight")] + [
    (f"eyeLook{one}{side}", f"eyeLook{other}{side}")
    for one, other in (("Up", "Down"), ("In", "Out"))
    for side in ("Left", "Right")
]
EYES = [name for name in ARKIT_CHANNELS if name.startswith("eyeLook")]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> FlameData:
    model = random_flame(*small_mesh(), shape=300, expression=EXPRESSIONS, smooth=True)
    return load_flame(write_flame(tmp_path_factory.mktemp("flame") / "m.npz", model, "npz"))


@pytest.fixture(scope="module")
def face(data) -> FlameFace:
    return FlameFace.of(data)


def spanned_coefficients(face: FlameFace) -> dict[str, np.ndarray]:
    """Coefficients of 52 shapes that FLAME can make exactly: random expressions; jaw and eyes turn,
    and mouthClose undoes jawOpen's lips."""
    rng = np.random.default_rng(5)
    rows = {}
    for name in ARKIT_CHANNELS:
        row = np.zeros(len(face.coefficient_names))
        # Joints are found first, by themselves, so their shapes hold little else; eyes nothing.
        size = 0 if name in EYES else 0.02 if name in ("jawOpen", "jawLeft", "jawRight") else 0.7
        row[:EXPRESSIONS] = size * rng.standard_normal(EXPRESSIONS)
        rows[name] = row
    rows["jawOpen"][face.slots("jaw")] = [JAW_OPEN, 0, 0]
    rows["jawLeft"][face.slots("jaw")] = [0, 0.15, 0.02]
    rows["jawRight"][face.slots("jaw")] = [0, -0.15, -0.02]
    for name in EYES:
        way = {"Up": [-0.4, 0, 0], "Do": [0.45, 0, 0], "In": [0, -0.5, 0], "Ou": [0, 0.5, 0]}
        turn = np.array(way[name[7:9]]) * (1 if name.endswith("Left") else [1, -1, 1])
        rows[name][face.slots("left_eye" if name.endswith("Left") else "right_eye")] = turn
    return rows


@pytest.fixture(scope="module")
def spanned(face) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Coefficients and the keys that they make."""
    rows = spanned_coefficients(face)
    keys = {name: face.offsets(row) for name, row in rows.items()}
    keys["mouthClose"] = face.offsets(rows["jawOpen"] + rows["mouthClose"]) - keys["jawOpen"]
    return rows, keys


@pytest.fixture(scope="module")
def retarget(face, spanned) -> Retarget:
    return fit_retarget(face, spanned[1], ridge=1e-9)


def random_motion(frames: int = 200) -> MotionClip:
    """Speech-like sparse weights: each channel is up in a third of the frames, and of two that
    undo each other (look up and down) only one: of both, no face shows more than the difference."""
    rng = np.random.default_rng(6)
    weights = rng.uniform(0, 1, (frames, 52)) * (rng.uniform(0, 1, (frames, 52)) < 0.33)
    for one, other in OPPOSITES:
        weights[weights[:, ARKIT_CHANNELS.index(one)] > 0, ARKIT_CHANNELS.index(other)] = 0
    return MotionClip(weights, ARKIT_CHANNELS, 30)


def error_table(found: np.ndarray, wanted: np.ndarray) -> str:
    error = np.abs(found - wanted)
    rows = [
        f"{name:22s} mean {error[:, i].mean():.4f}  max {error[:, i].max():.4f}"
        for i, name in enumerate(ARKIT_CHANNELS)
    ]
    return "\n".join(["round trip, in units of weight:", *rows])


# ------------------------------------------------------------------------------- the matrix


def test_shapes_that_flame_can_make_are_found_exactly(retarget):
    assert retarget.channels == ARKIT_CHANNELS
    assert retarget.residual_mm.max() < 0.2, dict(
        zip(retarget.channels, retarget.residual_mm.round(3), strict=True)
    )


def test_the_jaw_is_found_as_a_rotation_and_not_as_expression(face, retarget):
    row = retarget.matrix[ARKIT_CHANNELS.index("jawOpen")]
    found = row[face.slots("jaw")]
    assert np.degrees(np.linalg.norm(found - [JAW_OPEN, 0, 0])) < 0.5
    others = [i for i, name in enumerate(ARKIT_CHANNELS) if not name.startswith("jaw")]
    assert not retarget.matrix[others][:, face.slots("jaw")].any()


def test_an_eye_is_found_as_a_rotation(face, spanned, retarget):
    for name in EYES:
        joint = "left_eye" if name.endswith("Left") else "right_eye"
        found = retarget.matrix[ARKIT_CHANNELS.index(name), face.slots(joint)]
        assert np.degrees(np.linalg.norm(found - spanned[0][name][face.slots(joint)])) < 0.01


def test_round_trip_of_motion_that_the_basis_spans(retarget):
    motion = random_motion()
    values = motion.weights @ retarget.matrix
    within = np.abs(values[:, :EXPRESSIONS]).max(1) < 5  # what FRAME_LIMIT leaves alone
    assert within.sum() > 100
    motion = MotionClip(motion.weights[within], ARKIT_CHANNELS, 30)
    back = retarget.to_arkit(retarget.to_flame(motion))
    error = np.abs(back.weights - motion.weights)
    table = error_table(back.weights, motion.weights)
    print(table)
    assert error.max() < 0.01, table
    assert error.mean() < 0.001, table


def test_flame_motion_survives_the_way_through_arkit(face, retarget):
    """On the face, where it counts: vertices within a tenth of a millimetre."""
    flame = retarget.to_flame(random_motion(20))
    again = retarget.to_flame(retarget.to_arkit(flame))
    for one, two in zip(flame.weights, again.weights, strict=True):
        if np.abs(one[:EXPRESSIONS]).max() < 5:
            difference = face.offsets(one.astype(float)) - face.offsets(two.astype(float))
            assert np.abs(difference).max() < 1e-4


def test_weights_stay_between_0_and_1(retarget):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 3, (30, len(retarget.coefficients)))
    weights = retarget.to_arkit(MotionClip(values, retarget.coefficients, 30, "flame")).weights
    assert weights.min() >= 0
    assert weights.max() <= 1


def test_coefficients_are_bounded(face, spanned):
    keys = {"mouthPucker": 20 * spanned[1]["mouthPucker"]}
    fitted = fit_retarget(face, keys, limit=3.0)
    assert np.abs(fitted.matrix[:, :EXPRESSIONS]).max() <= 3.0
    motion = MotionClip(np.full((1, 1), 3.0), ("mouthPucker",), 30)
    assert np.abs(fitted.to_flame(motion).weights[:, :EXPRESSIONS]).max() <= 5.0


def test_what_flame_cannot_do_is_a_residual_that_can_be_added(face, spanned):
    rng = np.random.default_rng(1)
    keys = dict(spanned[1])
    keys["cheekPuff"] = 5e-3 * rng.standard_normal(face.vertices.shape)
    fitted = fit_retarget(face, keys)
    puff = fitted.channels.index("cheekPuff")
    assert fitted.residual_mm[puff] > 0.5 * fitted.size_mm[puff]
    rows = dict(zip(fitted.channels, fitted.matrix, strict=True))
    missed = residual_offsets(face, keys, rows)
    assert np.allclose(face.offsets(rows["cheekPuff"]) + missed["cheekPuff"], keys["cheekPuff"])
    both = face.offsets(rows["jawOpen"] + rows["mouthClose"]) + missed["mouthClose"]
    assert np.allclose(both, keys["jawOpen"] + keys["mouthClose"])


def test_a_shape_without_effect_stays_at_zero_on_the_way_back(face, spanned):
    keys = {**spanned[1], "tongueOut": np.zeros_like(face.vertices)}
    fitted = fit_retarget(face, keys)
    back = fitted.to_arkit(fitted.to_flame(random_motion(20))).weights
    assert not back[:, ARKIT_CHANNELS.index("tongueOut")].any()
    assert np.isfinite(back).all()


def test_a_part_of_the_shapes_is_enough(face, spanned):
    keys = {name: spanned[1][name] for name in ("jawOpen", "mouthPucker", "notAShape")
            if name in spanned[1]}  # fmt: skip
    fitted = fit_retarget(face, keys)
    assert fitted.channels == ("jawOpen", "mouthPucker")
    with pytest.raises(IdiolectError, match="no keys with ARKit names"):
        fit_retarget(face, {"Exp001": face.basis[0]})


def test_gains_scale_one_shape_and_the_way_back_knows(retarget):
    louder = retarget.with_gains({"jawOpen": 1.5})
    motion = MotionClip([[0.5, 0.4]], ("jawOpen", "mouthPucker"), 30)
    plain, gained = retarget.to_flame(motion), louder.to_flame(motion)
    jaw = retarget.coefficients.index("jaw_x")
    assert gained.weights[0, jaw] == pytest.approx(1.5 * plain.weights[0, jaw], rel=1e-5)
    assert np.abs(louder.to_arkit(gained).select(motion.channels) - motion.weights).max() < 1e-3
    for gains in ({"jawOpen": 0.0}, {"jawopen": 1.0}):
        with pytest.raises(IdiolectError, match="gains"):
            retarget.with_gains(gains)


def test_the_matrix_survives_its_file(retarget, tmp_path):
    retarget.save(tmp_path / "rig.npz")
    again = Retarget.load(tmp_path / "rig.npz")
    for name, value in vars(retarget).items():
        assert np.array_equal(getattr(again, name), value), name


def eyeballs(vertices: np.ndarray, faces: np.ndarray) -> list[np.ndarray]:
    """Vertices of the left and the right eyeball: pieces apart from the head."""
    ends = np.concatenate([faces[:, :2], faces[:, 1:]]).T
    graph = sp.coo_matrix((np.ones(ends.shape[1]), ends), (len(vertices),) * 2)
    labels = connected_components(graph, directed=False)[1]
    pieces = np.argsort(np.bincount(labels))[::-1][1:3]
    eyes = [np.flatnonzero(labels == piece) for piece in pieces]
    return sorted(eyes, key=lambda ids: -vertices[ids, 0].mean())


@pytest.mark.shared
def test_the_speech_keys_of_a_real_flame_mesh(shared, tmp_path):
    """On FLAME's own mesh with smooth random components: what joints make is theirs, the way back
    returns the weights, and it is quick."""
    with np.load(shared / "faces" / "flame_topology.npz") as file:
        vertices, faces = file["M003"].astype(np.float64), file["faces"]
    keys = speech_keys(vertices, faces)
    model = random_flame(
        vertices, faces, shape=10, expression=100, smooth=True, eyes=eyeballs(vertices, faces)
    )
    path = write_flame(tmp_path / "flame.npz", model, "npz")
    data = load_flame(path, shape_components=10)
    face = FlameFace.of(data)
    assert face.importance.min() == 1
    assert face.importance.max() > 10  # lips and lids
    start = time.perf_counter()
    fitted = fit_retarget(face, keys)
    fit_s = time.perf_counter() - start
    jaw = np.degrees(fitted.matrix[fitted.channels.index("jawOpen"), face.slots("jaw")])
    assert 10 < jaw[0] < 40
    assert np.abs(jaw[1:]).max() < 2
    motion = random_motion(300)
    back = fitted.to_arkit(fitted.to_flame(motion))
    error = np.abs(back.weights - motion.weights)[:, fitted.size_mm > 0]  # no tongue in FLAME
    print(f"fit {fit_s:.1f} s, round trip mean {error.mean():.4f}, max {error.max():.3f}")
    print(error_table(back.weights, motion.weights))
    rows = dict(zip(fitted.channels, fitted.matrix, strict=True))
    wanted = {"U": [-UP_DEG, 0, 0], "D": [DOWN_DEG, 0, 0], "I": [0, -SIDE_DEG, 0],
              "O": [0, SIDE_DEG, 0]}  # fmt: skip
    for name in EYES:
        side = "left_eye" if name.endswith("Left") else "right_eye"
        turn = np.degrees(rows[name][face.slots(side)])
        mirrored = np.array(wanted[name[7]]) * [1, 1 if side == "left_eye" else -1, 1]
        assert np.abs(turn - mirrored).max() < 1
    assert error.mean() < 0.001
    assert error.max() < 0.02


# ------------------------------------------------------------------------------- the solver


def test_bounded_least_squares_equals_scipy():
    rng = np.random.default_rng(0)
    for rows, columns, low, high in ((40, 12, 0, 1), (80, 52, 0, 1), (60, 30, -4, 4)):
        design = rng.standard_normal((rows, columns)) @ np.diag(rng.uniform(0.01, 10, columns))
        targets = rng.standard_normal((8, rows)) * 3
        found = bounded_least_squares(design.T @ design, targets @ design, low, high)
        for one, target in zip(found, targets, strict=True):
            wanted = lsq_linear(design, target, (low, high), method="bvls", tol=1e-14).x
            assert np.abs(one - wanted).max() < 1e-6


def test_bounded_least_squares_of_nearly_parallel_shapes():
    """Left and right of a shape nearly the same: the solution still meets its conditions."""
    rng = np.random.default_rng(2)
    design = rng.standard_normal((60, 20))
    design = np.concatenate([design, design + 1e-3 * rng.standard_normal((60, 20))], axis=1)
    gram, targets = design.T @ design, 9 * rng.standard_normal((500, 60)) @ design
    found = bounded_least_squares(gram, targets, 0.0, 1.0)
    slope = found @ gram - targets
    assert found.min() >= 0
    assert found.max() <= 1
    assert (slope[found == 0] > -1e-6).all()
    assert (slope[found == 1] < 1e-6).all()
    assert (np.abs(slope[(found > 0) & (found < 1)]) < 1e-6).all()
    assert (found == 0).any() and (found == 1).any()
