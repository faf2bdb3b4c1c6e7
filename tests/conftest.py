"""Markers that depend on the machine, and the folders that tests share."""

import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Before anything imports torch; see core/__init__.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"

# The add-on's parts that need no Blender go by a package name of their own: importing the add-on
# itself would import bpy.
_shell = types.ModuleType("idiolect_addon")
_shell.__path__ = [str(ROOT / "blender_addon")]
sys.modules.setdefault("idiolect_addon", _shell)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    skips = {}
    if not (SHARED / "data").is_dir():
        skips["shared"] = f"there is no {SHARED.name}/data beside the checkout"
    if not _has_cuda():
        skips["gpu"] = "there is no CUDA device"
    for item in items:
        for marker, reason in skips.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:  # inside Blender
        return False
    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The recordings and meshes beside a developer's checkout."""
    return SHARED / "data"


@pytest.fixture(scope="session")
def speech_file() -> Path:
    """4.4 s of speech that ships with the repository."""
    return ROOT / "tests" / "data" / "speech.flac"


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that loads in no time (see tests/small_model.py)."""
    pytest.importorskip("torch", reason="the worker's packages are not in this Python")
    from tests.small_model import save_small_model

    return save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors")


@pytest.fixture
def mount() -> Iterator[Callable[[Path, str], Path]]:
    """Mounts a file system of its own on a folder, small or read-only; needs the rights of root."""
    mounted = []

    def make(folder: Path, options: str) -> Path:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            pytest.skip(f"mount: {error}")
        if done.returncode:
            pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)
