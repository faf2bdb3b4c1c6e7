"""The built-in head: what it is made of, and that its keys hold what lips and lids promise."""

from __future__ import annotations

import hashlib
import time

import numpy as np
import pytest
from scipy.spatial import cKDTree

from core.face import head as head_module
from core.face.face_file import load_face, save_face
from core.face.head import built_in_head, make_head
from core.face.landmarks import LandmarkRows, place_landmarks
from core.face.lips import CLOSED_MM, lip_gap_basis_mm, lip_gap_mm
from core.face.mesh import FaceMesh, triangulated
from core.motion import ARKIT_CHANNELS
from tests.core.face import face_checks as checks

MM = 1000.0
SKIN_MATERIALS = ("skin", "lips", "lid_rim", "nostril")
# Skin folds over itself by more than a right angle only where it must: rolled lips, lids that
# close, and mouthClose on its own (a lower lip drawn up over the upper one: never used alone).
TURNED_ALLOWED = {"mouthRollUpper": 40, "mouthRollLower": 10, "mouthClose": 80, "jawOpen": 12}
TURNED_IN_A_BLINK, TURNED_ELSEWHERE = 8, 2


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IDIOLECT_CACHE", str(tmp_path_factory.mktemp("cache")))
        built_in_head.cache_clear()
        yield
    built_in_head.cache_clear()


@pytest.fixture(scope="module")
def head() -> FaceMesh:
    return make_head()


@pytest.fixture(scope="module")
def surface(head: FaceMesh) -> np.ndarray:
    """Triangles of the skin without the inside of the mouth."""
    wanted = [i for i, m in enumerate(head.materials) if m.name in SKIN_MATERIALS]
    return triangulated(head.faces[np.isin(head.material_index, wanted)])


@pytest.fixture(scope="module")
def rows(head: FaceMesh, surface: np.ndarray) -> LandmarkRows:
    return place_landmarks(head.vertices.astype(float), surface, head.groups["landmarks"])


def test_it_has_all_keys_and_sound_arrays(head: FaceMesh):
    count = len(head.vertices)
    assert tuple(head.keys) == ARKIT_CHANNELS
    assert all(field.shape == (count, 3) for field in head.keys.values())
    assert all(np.isfinite(field).all() for field in head.keys.values())
    assert all(np.abs(field).max() > 1e-4 for field in head.keys.values())
    assert head.faces.min() >= 0, "all quads"
    assert head.faces.max() == count - 1
    assert np.array_equal(np.unique(head.faces), np.arange(count)), "no loose vertices"
    assert set(np.unique(head.material_index)) == set(range(len(head.materials)))
    assert head.uvs is not None
    assert head.uvs.shape == (*head.faces.shape, 2)
    assert head.uvs.min() >= 0
    assert head.uvs.max() <= 1


def test_it_has_human_size_and_stands_on_the_floor(head: FaceMesh):
    low, high = head.vertices.min(0), head.vertices.max(0)
    assert low[1] == pytest.approx(0, abs=1e-6)
    assert 0.26 < high[1] < 0.32
    assert head.vertices[head.groups["lips"], 2].mean() > 0.05, "the face looks along +z"


def test_no_edge_belongs_to_more_than_two_faces_and_the_skin_is_closed(head: FaceMesh):
    skin = head.faces[(head.faces < head.groups["eyeLeft"][0]).all(1)]
    sides = np.concatenate([skin[:, [k, (k + 1) % 4]] for k in range(4)])
    _, count = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)
    assert (count == 2).all()
    directed = {tuple(side) for side in sides.tolist()}
    assert len(directed) == len(sides), "neighbours are wound the same way"


def test_every_piece_faces_outwards(head: FaceMesh):
    triangles = triangulated(head.faces)
    corners = head.vertices[triangles].astype(float)
    skin = triangles.max(1) < head.groups["eyeLeft"][0]
    pieces = {name: np.isin(triangles[:, 0], ids) for name, ids in head.groups.items()}
    for mask in [skin, *(pieces[n] for n in ("eyeLeft", "eyeRight", "tongue", "teethUpper"))]:
        at = corners[mask] - corners[mask].mean((0, 1))
        volume = (np.cross(at[:, 0], at[:, 1]) * at[:, 2]).sum() / 6
        assert volume > 0


def test_it_is_symmetric(head: FaceMesh):
    skin = np.arange(head.groups["eyeLeft"][0])
    points = head.vertices[skin].astype(float)
    distance, partner = cKDTree(points * [-1, 1, 1]).query(points)
    assert distance.max() < 1e-6
    assert np.array_equal(partner[partner], skin)
    for name, field in head.keys.items():
        other = name
        if name.endswith("Left"):
            other = name.removesuffix("Left") + "Right"
        elif name.endswith("Right"):
            other = name.removesuffix("Right") + "Left"
        mirrored = head.keys[other][skin][partner] * [-1, 1, 1]
        assert np.abs(field[skin] - mirrored).max() < 1e-6, name


def test_the_same_head_every_time(head: FaceMesh):
    def digest(mesh: FaceMesh) -> str:
        arrays = [mesh.vertices, mesh.faces, mesh.uvs, mesh.offsets()]
        return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()

    started = time.process_time()
    again = make_head()
    assert time.process_time() - started < 10
    assert digest(again) == digest(head)


def test_the_cache_gives_the_same_head_and_mends_itself(head: FaceMesh, monkeypatch):
    first = built_in_head()
    path = head_module.cache_dir() / f"head-{head_module.source_hash()}.npz"
    assert path.exists()
    built_in_head.cache_clear()
    monkeypatch.setattr(head_module, "make_head", lambda: pytest.fail("made again"))
    second = built_in_head()
    assert np.array_equal(first.offsets(), second.offsets())
    assert second.materials == head.materials
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:1000])
    built_in_head.cache_clear()
    assert np.array_equal(built_in_head().vertices, head.vertices)


def test_a_face_survives_its_file(head: FaceMesh, tmp_path):
    save_face(head, tmp_path / "face.npz")
    back = load_face(tmp_path / "face.npz")
    assert back.name == head.name
    assert np.array_equal(back.uvs, head.uvs)
    assert np.array_equal(back.inner_lip_pairs, head.inner_lip_pairs)
    assert back.groups.keys() == head.groups.keys()


def test_an_open_mouth_is_seen_through_and_a_closed_one_is_not(head, surface, rows):
    opened = head.posed({"jawOpen": 1.0})
    assert checks.see_through_mm2(opened, surface, rows, MM) > 500
    for t in (0.0, 0.25, 0.5, 0.75, 1.0):
        closed = head.posed({"jawOpen": t, "mouthClose": t})
        assert checks.see_through_mm2(closed, surface, rows, MM) == 0, t


def test_lids_close(head, rows):
    blink = head.posed({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    assert checks.lid_gap_mm(head.vertices.astype(float), rows, MM).max() > 6
    assert np.abs(checks.lid_gap_mm(blink, rows, MM)).max() <= 0.3


def test_lids_stay_off_the_eyeball(head):
    lids = np.setdiff1d(head.groups["upper_face"], head.groups["lid_rim"])
    for side in ("Left", "Right"):
        eye = head.vertices[head.groups[f"eye{side}"]].astype(float)
        centre = (eye.max(0) + eye.min(0)) / 2
        radius = np.ptp(eye[:, 0]) / 2
        for name in ("eyeBlink", "eyeSquint", "eyeWide", "eyeLookDown", "eyeLookUp"):
            at = head.posed({name + side: 1.0})[lids]
            distance = np.linalg.norm(at - centre, axis=1)
            assert distance.min() > radius * 1.02, name


def test_lips_do_not_enter_each_other(head):
    neutral = head.vertices.astype(float)
    closed = triangulated(head.faces)
    closed = closed[(closed < head.groups["eyeLeft"][0]).all(1)]
    lips = checks.lip_triangles(neutral, closed, head.inner_lip_pairs, MM)

    def depth(**weights: float) -> float:
        return checks.lip_penetration_mm(head.posed(weights), closed, lips, MM)

    at_rest = depth()
    assert at_rest <= 0.5
    assert depth(mouthLowerDownLeft=-0.3, mouthLowerDownRight=-0.3) > 1, "made on purpose"
    one_side = [name for name in ARKIT_CHANNELS if not name.endswith("Right")]  # keys are mirrored
    for name in one_side:
        if name.startswith(("mouth", "jaw")) and name != "mouthClose":
            assert depth(**{name: 1.0}) - at_rest <= 0.5, name
    assert depth(jawOpen=1.0, mouthClose=1.0) - at_rest <= 0.5


def test_no_faces_turn_over_and_edges_keep_their_length(head, surface):
    neutral = head.vertices.astype(float)
    for name in ARKIT_CHANNELS:
        posed = head.posed({name: 1.0})
        elsewhere = TURNED_IN_A_BLINK if name.startswith("eyeBlink") else TURNED_ELSEWHERE
        allowed = TURNED_ALLOWED.get(name, elsewhere)
        assert checks.turned_faces(neutral, posed, surface) <= allowed, name
        longest = 2.6 if name in ("jawOpen", "mouthClose") else 1.8
        assert checks.edge_stretch(neutral, posed, surface) <= longest, name


def test_nape_ears_and_bust_never_move(head):
    skin = head.groups["skin"]
    at = head.vertices[skin]
    eye_z = head.vertices[head.groups["eyeLeft"], 2].max()
    still = skin[(at[:, 2] < eye_z - 0.065) | (at[:, 1] < 0.03)]
    assert len(still) > 500
    assert max(np.abs(field[still]).max() for field in head.keys.values()) == 0


def test_upper_teeth_stay_and_lower_ones_and_the_tongue_go_with_the_jaw(head):
    jaw = head.keys["jawOpen"]
    assert np.abs(jaw[head.groups["teethUpper"]]).max() == 0
    assert jaw[head.groups["teethLower"], 1].mean() < -0.015
    assert jaw[head.groups["tongue"], 1].mean() < -0.005
    opened = head.posed({"jawOpen": 1.0})
    upper_lip = opened[head.inner_lip_pairs[:, 0]]
    middle = len(upper_lip) // 2
    edge = head.vertices[head.groups["teethUpper"], 1].min()
    assert upper_lip[middle, 1] - edge > 0.001, "incisors show under the upper lip"


def test_lip_gaps_are_linear_and_tell_closed_from_open(head):
    weights = np.zeros((6, 52), dtype=np.float32)
    jaw, close = ARKIT_CHANNELS.index("jawOpen"), ARKIT_CHANNELS.index("mouthClose")
    weights[1, jaw] = 1.0
    weights[2:, jaw] = weights[2:, close] = (0.25, 0.5, 0.75, 1.0)
    gaps = lip_gap_mm(weights, head)
    assert gaps.shape == (6, len(head.inner_lip_pairs))
    assert gaps[0].max() <= CLOSED_MM
    assert gaps[1].max() > 20
    assert gaps[2:].max() <= CLOSED_MM
    upper, lower = head.inner_lip_pairs.T
    posed = head.posed({"jawOpen": 1.0})
    assert np.allclose(gaps[1], (posed[upper, 1] - posed[lower, 1]) * MM, atol=1e-3)
    assert lip_gap_basis_mm(head).shape == (53, len(head.inner_lip_pairs))
