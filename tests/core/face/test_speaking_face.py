"""Motion in FLAME's terms, or of vertices, as what rigs understand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.flame_file import load_flame
from core.face.speaking import SpeakingFace, SpeakingFaces
from core.motion import ARKIT_CHANNELS, MotionClip, channel_names
from tests.core.face.flame_files import random_flame, small_mesh, write_flame

FRAMES, EXPRESSIONS = 12, 10


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLAME file of the published form whose components vary slowly, as real ones do."""
    path = tmp_path_factory.mktemp("flame") / "flame.npz"
    made = random_flame(*small_mesh(), shape=300, expression=EXPRESSIONS, smooth=True)
    made["shapedirs"] *= 0.3  # to the size of FLAME's own, some tenths of a mm a unit
    return write_flame(path, made, "npz")


def flame_motion(expressions: int, seed: int = 0) -> MotionClip:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1.5, 1.5, (FRAMES, expressions + 3))
    values[:, -3:] = rng.uniform((0.0, -0.1, -0.05), (0.35, 0.1, 0.05), (FRAMES, 3))
    return MotionClip(values, channel_names("flame", expressions + 3), 25.0, "flame")


def layer_offsets(path: Path, clip: MotionClip) -> np.ndarray:
    """Offsets (T, V, 3) of the FLAME layer in double precision."""
    model = FlameModel(load_flame(path), torch.float64)
    values = torch.from_numpy(clip.weights.astype(np.float64))
    posed = model(expression=values[:, :-3], jaw_pose=values[:, -3:]).vertices
    return (posed - model.v_template).numpy()


def test_offsets_are_those_of_the_flame_layer(small: Path) -> None:
    clip = flame_motion(EXPRESSIONS)
    face = SpeakingFace.of_flame(small)
    found = face.offsets(clip.select(face.face.coefficient_names).astype(np.float64))
    wanted = layer_offsets(small, clip)
    one = face.face.offsets(clip.select(face.face.coefficient_names)[3].astype(np.float64))
    np.testing.assert_allclose(found[3], one, atol=1e-12)
    # Expressions shift the joint a little, which the layer knows.
    assert np.abs(found - wanted).max() < 5e-4 < 0.1 * np.abs(wanted).max()


def test_vertices_become_expressions_and_jaw(small: Path) -> None:
    clip = flame_motion(EXPRESSIONS)
    wanted = layer_offsets(small, clip)
    moved = MotionClip(
        wanted.reshape(FRAMES, -1), channel_names("vertices", wanted[0].size), 25.0, "vertices"
    )
    face = SpeakingFace.of_flame(small)
    found = face.turned(moved, "flame")
    assert found.space == "flame" and found.channels == face.face.coefficient_names
    shown = face.offsets(found.weights.astype(np.float64))
    error = np.linalg.norm(shown - wanted, axis=2)
    assert error.max() < 1e-3 and error.mean() < 2e-4  # metres
    assert np.abs(found.weights[:, :EXPRESSIONS]).max() <= 5.0
    jaw = found.select(("jaw_x", "jaw_y", "jaw_z"))
    assert np.abs(jaw - clip.weights[:, -3:]).max() < 0.03


def test_a_face_refuses_motion_that_is_not_its_own(small: Path, tmp_path: Path) -> None:
    face = SpeakingFace.of_flame(small)
    with pytest.raises(IdiolectError, match=r"moves 4 vertices, and a FLAME face has 192"):
        face.check("vertices", channel_names("vertices", 12))
    with pytest.raises(IdiolectError, match="moves 20 expressions, and the FLAME face has 10"):
        face.check("flame", channel_names("flame", 23))
    face.check("flame", channel_names("flame", 8))
    faces = SpeakingFaces()
    assert faces.find({"flame": str(small)})[0] is faces.find({"flame": str(small)})[0]
    for wrong in ({"flame": "a.npz"}, {"flame": str(small), "into": "x"}, {"rig": 3}):
        with pytest.raises(IdiolectError) as caught:
            faces.find(wrong)
        assert caught.value.code == "bad_request"
    with pytest.raises(IdiolectError) as caught:
        faces.find({"rig": str(small)})
    assert caught.value.code == "flame_mismatch"
    with pytest.raises(IdiolectError) as caught:
        faces.find({"flame": str(tmp_path / "none.npz")})
    assert caught.value.code == "missing_file"


@pytest.mark.shared
def test_vertices_become_the_arkit_weights_that_moved_them(shared: Path, tmp_path: Path) -> None:
    with np.load(shared / "faces" / "flame_topology.npz") as archive:
        mesh = archive["M003"].astype(float), archive["faces"]
    made = random_flame(*mesh, shape=300, expression=4, smooth=True)
    face = SpeakingFace.of_flame(write_flame(tmp_path / "flame.npz", made, "npz"))
    from core.face.flame_topology import speech_keys

    keys = speech_keys(*mesh)
    rng = np.random.default_rng(0)
    asked = rng.uniform(0, 0.6, (5, 52)) * (rng.random((5, 52)) < 0.3)
    asked[:, ARKIT_CHANNELS.index("tongueOut")] = 0  # FLAME has none
    offsets = np.tensordot(asked, np.stack([keys[name] for name in ARKIT_CHANNELS]), 1)
    channels = channel_names("vertices", offsets[0].size)
    clip = MotionClip(offsets.reshape(5, -1), channels, 25.0, "vertices")
    found = face.turned(clip, "arkit")
    assert found.channels == ARKIT_CHANNELS and found.space == "arkit"
    shown = np.tensordot(found.weights, np.stack([keys[name] for name in ARKIT_CHANNELS]), 1)
    assert np.linalg.norm(shown - offsets, axis=2).max() < 2e-4  # metres
    assert np.abs(found.weights - asked).max() < 0.05
