"""Tests inside a real Blender: run by pytest in a Python that has the ``bpy`` wheel.

The add-on under test is this checkout's, imported as the package ``blender_addon``. Tests that
need the worker use the real one: IDIOLECT_PYTHON names a Python with PyTorch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

if find_spec("bpy") is None:
    collect_ignore_glob = ["test_*.py", "*/test_*.py"]
else:
    # Before the first import of bpy: nobody's preferences, nobody's add-ons.
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="idiolect-test-profile-")
    sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
    # The worker's own environment, if this machine has one, is not what is tested here.
    os.environ["IDIOLECT_DATA"] = tempfile.mkdtemp(prefix="idiolect-test-data-")


@pytest.fixture(scope="session")
def addon() -> Iterator[object]:
    """The checkout's add-on, registered."""
    import bpy  # noqa: F401  (first: some wheels need it before anything else)

    import blender_addon

    blender_addon.register()
    yield blender_addon
    # A class that is still registered at exit makes some Blenders hang and others crash.
    blender_addon.unregister()


@pytest.fixture
def scene(addon: object) -> object:
    """An empty file."""
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    return bpy.context.scene


@pytest.fixture
def worker() -> None:
    """Tests that ask for it talk to the real worker."""
    if not os.environ.get("IDIOLECT_PYTHON"):
        pytest.skip("IDIOLECT_PYTHON names no Python with PyTorch")


def _flame_file(folder: Path, *mesh: object) -> Path:
    """A folder with model.pkl, and what the core makes of it."""
    if not os.environ.get("IDIOLECT_PYTHON"):
        pytest.skip("IDIOLECT_PYTHON names no Python with PyTorch")
    script = Path(__file__).with_name("flame_reference.py")
    command = [os.environ["IDIOLECT_PYTHON"], str(script), str(folder)]
    subprocess.run([*command, *map(str, mesh)], check=True, timeout=300)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLAME file of the published form on a mesh that is not FLAME's."""
    return _flame_file(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """The same on a face of FLAME's own topology."""
    mesh = shared / "faces" / "flame_topology.npz"
    return _flame_file(tmp_path_factory.mktemp("full"), mesh, "M003")
