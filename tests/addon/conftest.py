"""The add-on's parts that need no Blender: its worker and its installer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


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
