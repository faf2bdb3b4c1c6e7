"""Arrows go one way: core knows neither Blender nor training, the add-on neither torch nor core."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "blender_addon" / "worker" / "__main__.py"

CORE_MAY = {"core", "numpy", "scipy", "torch", "torchaudio", "transformers", "safetensors",
            "soundfile", "tqdm", "av", "pocketsphinx"}  # fmt: skip
TRAINING_MAY = CORE_MAY | {"training", "matplotlib", "tensorboard"}
BLENDER_MAY = {"bpy", "bpy_extras", "mathutils", "numpy", "addon_utils"}
BLENDER_MAY |= {"gpu", "blf", "bl_operators", "bl_ui"}
WORKER_SIDE_MAY = {"numpy"}  # worker/ and environment.py are also used where there is no Blender


def imports(path: Path) -> set[str]:
    """Top-level names of the absolute imports of a file, wherever in it they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names


def allowed(path: Path) -> set[str]:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "core":
        return CORE_MAY
    if parts[0] == "training":
        return TRAINING_MAY
    if path == SERVER:
        return WORKER_SIDE_MAY | CORE_MAY
    if parts[1] == "worker" or parts[1] == "environment.py":
        return WORKER_SIDE_MAY
    return BLENDER_MAY


SOURCES = [
    p for f in ("core", "training", "blender_addon") for p in sorted((ROOT / f).rglob("*.py"))
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_imports_only_what_its_layer_may(path):
    assert imports(path) <= allowed(path)


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if "blender_addon" in p.parts],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_the_add_on_names_itself_only_relatively(path):
    """An installed extension's package is called bl_ext.user_default.idiolect, or otherwise."""
    assert not imports(path) & {"blender_addon", "idiolect"}


def test_no_file_unpickles():
    banned = {"pickle", "dill", "joblib", "shelve"}
    offenders = [p for p in SOURCES if imports_any(p) & banned and p.name != "restricted_pickle.py"]
    assert not offenders


def imports_any(path: Path) -> set[str]:
    """As `imports`, with the standard library's names too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = [n for n in ast.walk(tree) if isinstance(n, ast.Import)]
    froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    names = {alias.name.split(".")[0] for node in plain for alias in node.names}
    return names | {node.module.split(".")[0] for node in froms if node.module}
