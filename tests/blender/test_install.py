"""The built zip in a fresh Blender, installed in both ways, and in both at once."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import bpy
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
STORY = Path(__file__).with_name("install_story.py")

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture(scope="session")
def archive() -> Path:
    """The zip, as ``python build.py zip`` makes it."""
    spec = importlib.util.spec_from_file_location("idiolect_build", ROOT / "build.py")
    build = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = build
    spec.loader.exec_module(build)
    # A folder for each version: their tests may run side by side.
    build.DIST = ROOT / "dist" / f"for-{bpy.app.version_string.split()[0]}"
    build.DIST.mkdir(parents=True, exist_ok=True)
    return build.command_zip()


def tell(way: str, archive: Path, speech: Path, profile: Path) -> dict:
    """What the story finds in a Blender that nobody has used before."""
    run = subprocess.run(
        [sys.executable, STORY, way, archive, speech],
        env={**os.environ, "BLENDER_USER_RESOURCES": str(profile)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    lines = [line for line in run.stdout.splitlines() if line.startswith("FOUND ")]
    assert lines, run.stdout[-2000:] + run.stderr[-4000:]
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(lines[0].removeprefix("FOUND "))


@pytest.fixture(scope="session")
def legacy(archive: Path, speech_file: Path, tmp_path_factory) -> dict:
    return tell("legacy", archive, speech_file, tmp_path_factory.mktemp("profile"))


def test_installed_the_old_way(legacy: dict) -> None:
    assert legacy["enabled"] == ["idiolect"] and legacy["warning"] == ""
    assert legacy["range"][0] == 1 and legacy["range"][1] > 100
    assert any(legacy["values"])
    assert legacy["left behind"] == []


def test_installed_as_an_extension_gives_the_same_keys(
    legacy: dict, archive: Path, speech_file: Path, tmp_path: Path
) -> None:
    found = tell("extension", archive, speech_file, tmp_path)
    assert found["enabled"] == ["bl_ext.user_default.idiolect"] and found["warning"] == ""
    assert found["range"] == legacy["range"] and found["left behind"] == []
    np.testing.assert_allclose(found["values"], legacy["values"], atol=1e-4)


def test_installed_twice_is_said_and_still_works(
    archive: Path, speech_file: Path, tmp_path: Path
) -> None:
    found = tell("both", archive, speech_file, tmp_path)
    assert len(found["enabled"]) == 2
    assert "Installed twice" in found["warning"] and "bl_ext" in found["warning"]
    assert "Installed twice" in found["warning of the other"]
    assert any(found["values"]) and found["left behind"] == []


def test_blenders_own_tool_finds_the_zip_valid(archive: Path) -> None:
    scripts = Path(bpy.utils.resource_path("LOCAL")) / "scripts"
    tool = scripts / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"
    run = subprocess.run(
        [sys.executable, "-I", tool, "validate", archive], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
