"""The add-on's parts that need no Blender, under a package name of their own.

Importing the add-on itself would import bpy; its worker and its installer do not need it.
"""

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_shell = types.ModuleType("idiolect_addon")
_shell.__path__ = [str(ROOT / "blender_addon")]
sys.modules.setdefault("idiolect_addon", _shell)


@pytest.fixture(scope="session")
def worker_python() -> Path:
    """An interpreter that has the worker's packages."""
    python = Path(os.environ.get("IDIOLECT_PYTHON", sys.executable))
    asked = [
        python,
        "-c",
        "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)",
    ]
    if subprocess.run(asked, check=False).returncode:
        pytest.skip("this Python has no PyTorch, and IDIOLECT_PYTHON names no other")
    return python


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """A model that loads in no time (see tests/small_model.py)."""
    torch = pytest.importorskip("torch", reason="the worker's packages are not in this Python")
    assert torch.__version__
    from tests.small_model import save_small_model

    return save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors")
