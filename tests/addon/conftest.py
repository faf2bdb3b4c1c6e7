"""The add-on's parts that need no Blender, under a package name of their own.

Importing the add-on itself would import bpy; its worker and its installer do not need it.
"""

import os
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
    return Path(os.environ.get("IDIOLECT_PYTHON", sys.executable))
