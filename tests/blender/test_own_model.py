"""From training to the button: a model that was just trained animates a character."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import bpy
import numpy as np
import pytest
from commands import run
from scenes import curves, flac_seconds, points

from blender_addon import preferences
from blender_addon.environment import models

pytestmark = pytest.mark.usefixtures("scene", "worker")

_CORPUS = """
import sys
from pathlib import Path
sys.path.insert(0, ".")
from tests.training.small_corpus import make_small_corpus, save_small_backbone
make_small_corpus(Path(sys.argv[1]))
save_small_backbone(Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus and a speech backbone."""
    if not os.environ.get("IDIOLECT_PYTHON"):
        pytest.skip("IDIOLECT_PYTHON names no Python with PyTorch")
    folder = tmp_path_factory.mktemp("own")
    run("-c", _CORPUS, folder / "corpus", folder / "backbone.safetensors")
    return folder / "corpus", folder / "backbone.safetensors"


@pytest.mark.parametrize("decoder", ["parallel", "autoregressive"])
def test_train_then_press(
    corpus: tuple[Path, Path],
    speech_file: Path,
    tmp_path: Path,
    decoder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, backbone = corpus
    command = ["-m", "training.train", "--config", "training/configs/tiny.toml"]
    command += ["--corpus", data, "--out", tmp_path / "run"]
    command += ["--set", f"backbone_weights='{backbone.as_posix()}'"]
    command += ["--set", f"model.decoder_kind={decoder}", "--set", "device=cpu"]
    model = Path(run(*command).strip())
    chosen = replace(preferences.of(bpy.context), checkpoint=str(model))
    monkeypatch.setattr(preferences, "of", lambda context: chosen)
    # The people it learnt from are there to choose from.
    assert models.own_styles(preferences.of(bpy.context).checkpoint_path()) == [
        "mean",
        "ready-broad",
        "ready-neutral",
    ]
    assert bpy.ops.idiolect.add_head() == {"FINISHED"}
    head = bpy.context.active_object
    head.idiolect.style_a.kind, head.idiolect.style_a.style = "STYLE", "ready-broad"
    assert bpy.ops.idiolect.animate(speech=str(speech_file)) == {"FINISHED"}
    found = curves(head.data.shape_keys.animation_data.action)
    last = max(points(curve)[-1, 0] for curve in found.values()) - 1
    assert last == pytest.approx(flac_seconds(speech_file) * 24, abs=1)
    assert all(np.isfinite(points(curve)).all() for curve in found.values())
    assert any(np.ptp(points(curve)[:, 1]) > 1e-3 for curve in found.values())
