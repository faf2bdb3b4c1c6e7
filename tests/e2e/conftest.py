"""The add-on's parts that need no Blender, under a package name of their own (see tests/addon)."""

import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_shell = types.ModuleType("idiolect_addon")
_shell.__path__ = [str(ROOT / "blender_addon")]
sys.modules.setdefault("idiolect_addon", _shell)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory) -> Path:
    """A model that loads in no time (see tests/small_model.py)."""
    pytest.importorskip("torch", reason="the worker's packages are not in this Python")
    from tests.small_model import save_small_model

    return save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors")
