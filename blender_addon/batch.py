"""Speech files to animated scenes, without a window.

    blender -b [FILE] -P blender_addon/batch.py -- SPEECH… --out DIR [options]
    python blender_addon/batch.py SPEECH… --out DIR [options]      (a Python that has bpy)

``--help`` lists the options. Exit code: 0 only if all is well; 2 bad input, 3 the worker is not set
up or does not start, 4 some speech files failed. (Blender itself exits with 0 if it cannot find
this script: give it ``--python-exit-code 1`` before ``-P``.)

This file only finds the add-on: a script that Blender runs with ``-P`` belongs to no package. An
installed and enabled Idiolect is used if there is one; else the folder in which this file lies is
loaded under a private name; never both, since both would register the same classes.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import bpy

_PRIVATE_NAME = "idiolect_checkout"


def main(argv: list[str]) -> int:
    """Do what the command line says. Returns the exit code."""
    package = __package__ or _installed() or _load_privately()
    addon = importlib.import_module(package)
    mine = not hasattr(bpy.types.Scene, "idiolect")
    if mine:
        addon.register()
    try:
        return importlib.import_module(f"{package}.batches.running").main(argv)
    finally:
        # Also so that Blender can end: it hangs on classes that a script left registered.
        if mine:
            addon.unregister()


def _installed() -> str:
    """Module name of an Idiolect that is installed and enabled; empty if there is none."""
    for name in bpy.context.preferences.addons.keys():  # noqa: SIM118 (iterating gives the values)
        if name.rpartition(".")[2] == "idiolect" and name in sys.modules:
            return name
    return ""


def _load_privately() -> str:
    folder = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        _PRIVATE_NAME, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} holds no add-on")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_PRIVATE_NAME] = module
    spec.loader.exec_module(module)
    return _PRIVATE_NAME


def _end(code: int) -> None:
    """End this process. As a Python module (no binary), Blender 4.2 crashes on the way out once its
    own glTF exporter has run: then it is not let go that way.
    """
    if bpy.app.binary_path:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    shutil.rmtree(bpy.app.tempdir, ignore_errors=True)
    os._exit(code)


if __name__ == "__main__":
    # Blender's own words come before "--"; without Blender around there need be none.
    words = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]
    _end(main(words))
