"""A character from a folder of OBJ files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import bpy
import numpy as np
import pytest
from scenes import curves, digest, points

from blender_addon import rig
from blender_addon.rig.names import ARKIT_KEYS

pytestmark = pytest.mark.usefixtures("scene")

SQUARE = ["v 0 0 0", "v 1 0 0", "v 1 1 0", "v 0 1 0", "f 1 2 3 4"]


def write(folder: Path, **shapes: list[str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, lines in shapes.items():
        (folder / f"{name}.obj").write_text("\n".join(lines))
    return folder


def moved(height: float) -> list[str]:
    return [f"v 0 {height} 0", *SQUARE[1:]]


def test_shapes_become_keys(tmp_path) -> None:
    folder = write(
        tmp_path / "Ada", **{"_neutral": SQUARE, "jawOpen": moved(-0.5), "mouthClose": moved(0.25)},
        notes=["# nothing"],
    )  # fmt: skip
    (folder / "notes.obj").rename(folder / "scan_01.obj")
    assert bpy.ops.idiolect.import_objs(filepath=str(folder)) == {"FINISHED"}
    made = bpy.context.scene.idiolect.character
    blocks = made.data.shape_keys.key_blocks
    assert made.name == "Ada" and blocks.keys() == ["Basis", "jawOpen", "mouthClose"]
    offset = blocks["jawOpen"].data[0].co - blocks["Basis"].data[0].co
    assert (made.matrix_world.to_3x3() @ offset).z == pytest.approx(-0.5)
    assert rig.rig_of(made).can_speak


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"jawOpen": SQUARE}, "no neutral"),
        ({"neutral": SQUARE}, "no shapes"),
        ({"neutral": SQUARE, "jawOpen": SQUARE[1:]}, "3 vertices"),
        ({"neutral": SQUARE, "jawOpen": ["v 1 2 x", *SQUARE[1:]]}, "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, shapes, words) -> None:
    folder, before = write(tmp_path / "Ada", **shapes), digest()
    with pytest.raises(RuntimeError, match=words):
        bpy.ops.idiolect.import_objs(filepath=str(folder))
    assert digest() == before


@pytest.mark.shared
def test_a_character_of_52_files_speaks(shared, tmp_path, worker) -> None:
    with zipfile.ZipFile(shared / "faces" / "arkit_52_objs.zip") as archive:
        archive.extractall(tmp_path / "Zip")
    assert bpy.ops.idiolect.import_objs(filepath=str(tmp_path / "Zip")) == {"FINISHED"}
    hero = bpy.context.scene.idiolect.character
    assert rig.rig_of(hero).missing == ()
    speech = str(shared / "speech" / "jfk.flac")
    assert bpy.ops.idiolect.animate(speech=speech) == {"FINISHED"}
    found = curves(hero.data.shape_keys.animation_data.action)
    assert set(found) == set(ARKIT_KEYS)
    seconds = np.linspace(0, 11, 500)
    fps = bpy.context.scene.render.fps
    jaw, close = (
        np.interp(1 + seconds * fps, *points(found[name]).T) for name in ("jawOpen", "mouthClose")
    )
    gap = jaw - close
    said = {"my": (0.99, 1.04), "f of fellow": (1.26, 1.31)}  # by forced alignment
    for word, (start, end) in said.items():
        assert gap[(seconds > start) & (seconds < end)].min() < 0.02, word
    for start, end in ((1.08, 1.2), (3.3, 3.6), (4.05, 4.25)):  # my, ask, not
        assert gap[(seconds > start) & (seconds < end)].max() > 0.08
