"""From training to the button, for models that speak in FLAME's terms, or in vertices."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from commands import ROOT, batch, run
from scenes import curves, digest, evaluated, flac_seconds, import_flame, points

from blender_addon import preferences
from blender_addon.animation import applying, raw_motion
from blender_addon.characters.head import to_blender
from blender_addon.jobs import job
from blender_addon.rig.names import ARKIT_KEYS
from blender_addon.worker.motion_file import read_motion

pytestmark = [pytest.mark.usefixtures("scene", "worker"), pytest.mark.shared]

SPACES = ("flame", "vertices")

# A FLAME file of the published form on a face of its topology, corpora of both spaces whose motion
# follows the loudness of noise, and models trained on them for a few steps.
_TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
import numpy as np
from core.face.flame_file import load_flame
from core.face.speaking import SpeakingFace
from core.motion import MotionClip, channel_names
from tests.core.face.flame_files import random_flame, write_flame
from tests.training.small_corpus import save_small_backbone
from training.corpus import CorpusWriter
from training.train import TrainConfig, train
from core.model.config import load_toml
folder, mesh = Path(sys.argv[1]), np.load(sys.argv[2])
made = random_flame(mesh["M003"].astype(float), mesh["faces"], expression=100, smooth=True)
made["shapedirs"] *= 0.3
flame = write_flame(folder / "model.pkl", made, "python2")
backbone = save_small_backbone(folder / "backbone.safetensors")
face = SpeakingFace.of_flame(flame)
rng = np.random.default_rng(0)
directions = np.concatenate([rng.uniform(-1.5, 1.5, (2, 8)), [[0.3, 0.05, 0], [0.2, 0, 0]]], 1)
for space in ("flame", "vertices"):
    count = 11 if space == "flame" else mesh["M003"].size
    with CorpusWriter(folder / space, channel_names(space, count), 25.0, space) as writer:
        for clip in range(4):
            level = np.abs(np.sin(np.arange(50) * (0.2 + 0.05 * clip)))
            samples = np.repeat(level, 640) * rng.standard_normal(32000) * 0.1
            values = level[:, None] * directions[clip % 2]
            motion = MotionClip(values, channel_names("flame", 11), 25.0, "flame")
            if space == "vertices":
                values = face.offsets(motion.select(face.face.coefficient_names).astype(float))
            writer.add(f"clip{clip}", f"person{clip % 2}", "train", samples.astype(np.float32),
                       values.reshape(50, -1).astype(np.float32), np.where(level > 0.5, 1, 0))
    config = load_toml(TrainConfig, "training/configs/tiny.toml", [
        f"backbone_weights='{backbone}'", f"model.motion.space={space}", "device=cpu",
        f"model.motion.channels={count}", "model.motion.fps=25", "data.validation_batches=0",
        # Of vertices by the decoder that starts at rest: metres of random offsets are no face.
        "optim.steps=60", "optim.learning_rate=1e-3",
        "model.decoder_kind=" + ("parallel" if space == "flame" else "autoregressive")])
    print(train(config, folder / space, folder / f"run_{space}"))
"""

# What a model says itself, in its own space, and where that puts the vertices of the FLAME layer.
_SAY = """
import sys
sys.path.insert(0, ".")
from pathlib import Path
import numpy as np, torch
from core.animator import Animator
from core.face.flame import FlameModel
from core.face.flame_file import load_flame
model, flame, speech, output = sys.argv[1:]
clip = Animator(Path(model), "cpu").animate(speech, fps=24.0)
if clip.space == "flame":
    layer = FlameModel(load_flame(flame))
    said = torch.from_numpy(clip.weights)
    vertices = layer(expression=said[:, :-3], jaw_pose=said[:, -3:]).vertices - layer.v_template
else:
    vertices = clip.weights.reshape(len(clip.weights), -1, 3)
np.save(output, np.asarray(vertices, np.float32))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """A folder with flame.pkl and a model of each space."""
    if not os.environ.get("IDIOLECT_PYTHON"):
        pytest.skip("IDIOLECT_PYTHON names no Python with PyTorch")
    folder = tmp_path_factory.mktemp("spaces")
    print(run("-c", _TRAIN, folder, shared / "faces" / "flame_topology.npz"))
    return folder


def model_of(folder: Path, space: str) -> Path:
    return folder / f"run_{space}" / "model.safetensors"


def choose(monkeypatch: pytest.MonkeyPatch, folder: Path, space: str, flame: str = "") -> None:
    chosen = replace(
        preferences.of(bpy.context), checkpoint=str(model_of(folder, space)), flame_file=flame
    )
    monkeypatch.setattr(preferences, "of", lambda context: chosen)


def all_finite(found: dict[str, bpy.types.FCurve]) -> bool:
    return all(np.isfinite(points(curve)).all() for curve in found.values())


@pytest.mark.parametrize("space", SPACES)
def test_a_flame_head_follows_the_models_own_vertices(
    space: str, trained: Path, speech_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(monkeypatch, trained, space)
    head = import_flame(trained)
    neutral = evaluated(head).copy()
    assert bpy.ops.idiolect.animate(speech=str(speech_file)) == {"FINISHED"}
    assert any("of the finishing only" in told for told in job.last_outcome.details)
    found = curves(head.data.shape_keys.animation_data.action)
    assert all_finite(found) and {"Exp001", "Pose010"} <= set(found)
    assert not any(np.abs(points(found[name])[:, 1]).max() > 0 for name in ARKIT_KEYS)
    paths = {curve.data_path for curve in _curves(head.parent)}
    assert 'pose.bones["jaw"].rotation_quaternion' in paths
    run("-c", _SAY, model_of(trained, space), trained / "model.pkl", speech_file,
        tmp_path / "said.npy")  # fmt: skip
    said = to_blender(np.load(tmp_path / "said.npy"))
    assert len(said) == round(flac_seconds(speech_file) * 24) + 1
    errors, sizes = [], []
    for frame in range(0, len(said), 7):
        bpy.context.scene.frame_set(frame + 1)
        errors.append(np.linalg.norm(evaluated(head) - neutral - said[frame], axis=1))
        sizes.append(np.linalg.norm(said[frame], axis=1).max())
    worst, mean = 1000 * np.max(errors), 1000 * np.mean(errors)
    print(f"\n{space}: {worst:.3f} mm at most, {mean:.3f} in the mean, of {1000 * max(sizes):.1f}")
    assert max(sizes) > 2e-3, "the model does not move"
    # Coefficients: a bone's rest does not follow the joint that expressions shift, by 3 mm in this
    # random model. Vertices: what this model says of each vertex is not quite a FLAME face.
    assert worst < (2.0 if space == "flame" else 4.5)
    assert mean < (0.1 if space == "flame" else 0.6)
    # The motion is stored as the rig's own, and finishing it again changes nothing.
    (stored,) = raw_motion.motions_of(applying.stored_action(head))
    bpy.context.scene.frame_set(20)
    before = evaluated(head).copy()
    head.idiolect.finish.seed = 5
    assert bpy.ops.idiolect.finish() == {"FINISHED"}
    bpy.context.scene.frame_set(20)
    np.testing.assert_allclose(evaluated(head), before, atol=1e-5)
    assert stored.raw


def _curves(target: bpy.types.Object) -> list[bpy.types.FCurve]:
    action = target.animation_data.action
    if getattr(action, "fcurves", None) is not None:
        return list(action.fcurves)
    return list(action.layers[0].strips[0].channelbags[0].fcurves)


@pytest.mark.parametrize("space", SPACES)
def test_the_built_in_head_speaks_by_way_of_a_flame_file(
    space: str, trained: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(monkeypatch, trained, space)
    assert bpy.ops.idiolect.add_head() == {"FINISHED"}
    head, before = bpy.context.active_object, digest()
    with pytest.raises(RuntimeError, match="no FLAME face is here"):
        bpy.ops.idiolect.animate(speech=str(speech_file))
    assert digest() == before, "the scene was changed"
    choose(monkeypatch, trained, space, flame=str(trained / "none.pkl"))
    with pytest.raises(RuntimeError, match="There is no FLAME file"):
        bpy.ops.idiolect.animate(speech=str(speech_file))
    assert digest() == before, "the scene was changed"
    choose(monkeypatch, trained, space, flame=str(trained / "model.pkl"))
    assert bpy.ops.idiolect.animate(speech=str(speech_file)) == {"FINISHED"}
    found = curves(head.data.shape_keys.animation_data.action)
    assert all_finite(found) and set(ARKIT_KEYS) <= set(found)
    values = {name: points(found[name])[:, 1] for name in ARKIT_KEYS}
    assert all(v.min() >= -1e-6 and v.max() <= 1 + 1e-6 for v in values.values())
    assert max(np.ptp(values[name]) for name in ARKIT_KEYS if "mouth" in name) > 0.02
    # A FLAME head in the file serves as well.
    choose(monkeypatch, trained, space)
    import_flame(trained)
    bpy.context.scene.idiolect.character = head
    assert bpy.ops.idiolect.animate(speech=str(speech_file)) == {"FINISHED"}
    again = curves(head.data.shape_keys.animation_data.action)
    for name in ("jawOpen", "mouthClose", "mouthPucker"):
        frames = np.arange(1, 100)
        one, two = ([c[name].evaluate(f) for f in frames] for c in (found, again))
        np.testing.assert_allclose(one, two, atol=0.02)


def test_models_of_two_spaces_take_turns_on_one_head(
    trained: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = import_flame(trained)
    head.idiolect.speech = str(speech_file)
    assert bpy.ops.idiolect.animate() == {"FINISHED"}
    bpy.context.scene.frame_set(40)
    spoken = evaluated(head).copy()
    with monkeypatch.context() as patch:
        choose(patch, trained, "flame")
        before = digest()
        with pytest.raises(RuntimeError, match="cannot be mixed"):
            bpy.ops.idiolect.animate_range(first=30, last=60)
        assert digest() == before, "the scene was changed"
        assert bpy.ops.idiolect.animate() == {"FINISHED"}
        bpy.context.scene.frame_set(40)
        assert np.abs(evaluated(head) - spoken).max() > 1e-3
    # Nothing of the other model's speech is left.
    assert bpy.ops.idiolect.animate() == {"FINISHED"}
    bpy.context.scene.frame_set(40)
    np.testing.assert_allclose(evaluated(head), spoken, atol=2e-5)


@pytest.mark.parametrize("space", SPACES)
def test_batch_and_command_line_take_the_model(
    space: str, trained: Path, speech_file: Path, tmp_path: Path
) -> None:
    model, flame = model_of(trained, space), trained / "model.pkl"
    done = batch(speech_file, "--out", tmp_path, "--checkpoint", model, "--checkpoint-flame", flame,
                 "--formats", "npz,csv,blend")  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = read_motion(tmp_path / "speech.npz")
    assert made.space == "arkit" and made.weights.shape[1] == 52
    assert np.ptp(made.weights, axis=0).max() > 0.02
    # The same by core.animate, and its own terms where no FLAME file is given.
    words = ["-m", "core.animate", speech_file, "--checkpoint", model, "--fps", "30", "--quiet"]
    run(*words, "--flame", flame, "-o", tmp_path / "line.npz")
    line = read_motion(tmp_path / "line.npz")
    assert line.space == "arkit" and line.weights.shape == made.weights.shape
    np.testing.assert_allclose(line.weights, made.weights, atol=0.02)
    if space == "vertices":
        return  # told in the same words
    refused = batch(speech_file, "--out", tmp_path / "none", "--checkpoint", model)
    assert refused.returncode == 2 and "no FLAME face is here" in refused.stderr
    run(*words, "-o", tmp_path / "own.npz")
    own = read_motion(tmp_path / "own.npz")
    assert own.space == space and np.isfinite(own.weights).all()
    command = [os.environ["IDIOLECT_PYTHON"], *map(str, words), "-o", str(tmp_path / "no.csv")]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 2 and "--flame" in said.stderr
    assert not (tmp_path / "no.csv").exists()
