"""Programs beside the tests: batch.py in another Blender, and commands of the PyTorch side."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BATCH = ROOT / "blender_addon" / "batch.py"


def batch(*words: object, file: Path | None = None, **environment: str):
    """Run it in this Blender's Python, which stands for ``blender -b [FILE] -P batch.py``."""
    program = "import bpy, runpy, sys\n"
    if file:
        program += f"bpy.ops.wm.open_mainfile(filepath={str(file)!r})\n"
    program += f"sys.argv = ['blender', '--', *{[str(w) for w in words]!r}]\n"
    program += f"runpy.run_path({str(BATCH)!r}, run_name='__main__')\n"
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def errors_of(run) -> list[str]:
    """What is on stderr beside Blender's own chatter."""
    assert "Traceback" not in run.stderr + run.stdout, run.stderr
    return [line for line in run.stderr.splitlines() if "error:" in line or "failed" in line]


def run(*command: object) -> str:
    """A command in the Python that has PyTorch, in a checkout."""
    words = [os.environ["IDIOLECT_PYTHON"], *map(str, command)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
