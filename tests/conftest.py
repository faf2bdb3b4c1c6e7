"""Markers that depend on the machine, and the folders that tests share."""

import os
from pathlib import Path

import pytest

# Before anything imports torch; see core/__init__.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


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
