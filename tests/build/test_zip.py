import importlib.util
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("idiolect_build", ROOT / "build.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(build, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "DIST", tmp_path / "dist")
    monkeypatch.setattr(build, "ROOT", ROOT)
    monkeypatch.setattr(build, "say", lambda text: None)
    return build.command_zip


def test_the_same_tree_gives_the_same_bytes(archive):
    path = archive()
    first = path.read_bytes()
    path.unlink()
    assert archive().read_bytes() == first


def test_the_zip_is_one_folder_with_all_that_is_needed(archive):
    with zipfile.ZipFile(archive()) as z:
        names = set(z.namelist())
        assert z.testzip() is None
    assert all(name.startswith("idiolect/") for name in names)
    for needed in (
        "__init__.py",
        "blender_manifest.toml",
        "batch.py",
        "worker/__main__.py",
        "core/animator.py",
        "core/checkpoints/idiolect.safetensors",
        "requirements.txt",
        "LICENSE",
    ):
        assert f"idiolect/{needed}" in names
    assert not [
        n
        for n in names
        if "__pycache__" in n or n.startswith(("idiolect/tests", "idiolect/training"))
    ]


def test_the_version_stands_in_one_place(build):
    assert build.version()
    for path in (
        "README.md",
        "build.py",
        "pyproject.toml",
        "core/__init__.py",
        "blender_addon/__init__.py",
    ):
        text = (ROOT / path).read_text(encoding="utf-8")
        assert f'"{build.version()}"' not in text, path


def test_only_interpreters_that_answer_are_taken(build, tmp_path, monkeypatch):
    stand_in = tmp_path / "python3.19"
    stand_in.write_text("#!/bin/sh\nexit 127\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert build.find_python((3, 19)) is None
    assert build.find_python(sys.version_info[:2]) == Path(sys.executable)
