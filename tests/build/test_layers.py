"""Arrows go one way: core knows neither Blender nor training, the add-on neither torch nor core.

Within the add-on, a part knows only parts below it.
"""

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
WORKER_SIDE_MAY = {"numpy"}  # worker/ and environment/ are also used where there is no Blender

ADDON = ROOT / "blender_addon"
STOREYS = (
    ("worker", "keying", "batch"),  # batch.py only finds the add-on
    ("environment", "jobs", "sequencer"),
    ("preferences",),
    ("properties",),
    ("rig",),
    ("characters", "animation"),
    ("operators", "batches"),
    ("ui",),
    ("__init__",),
)
"""The parts of the add-on, from below: nothing imports its own storey's other parts, or above."""


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
    if parts[1] in ("worker", "environment"):
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


def own_imports(path: Path) -> set[str]:
    """Modules of the add-on that a file of it imports, as dotted names from the add-on's folder."""
    package = path.relative_to(ADDON).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(package[: len(package) - node.level + 1])
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                inner = ADDON.joinpath(*base, alias.name)
                known = inner.with_suffix(".py").is_file() or (inner / "__init__.py").is_file()
                found.add(".".join([*base, alias.name] if known else base))
    return found


def modules() -> dict[str, Path]:
    """All files of the add-on by dotted names; a package goes by its own."""
    found = {}
    for path in sorted(ADDON.rglob("*.py")):
        parts = path.relative_to(ADDON).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def test_a_part_of_the_add_on_knows_only_parts_below_it():
    storey = {part: level for level, parts in enumerate(STOREYS) for part in parts}
    for name, path in modules().items():
        part = name.split(".")[0]
        others = {other.split(".")[0] for other in own_imports(path)} - {part}
        above = [other for other in others if storey[other] >= storey[part]]
        assert not above, f"{name} imports {above}"


def test_no_module_of_the_add_on_imports_itself_by_a_detour():
    left = {name: own_imports(path) for name, path in modules().items()}
    while free := [name for name, wanted in left.items() if not wanted & left.keys()]:
        for name in free:
            del left[name]
    assert not left


def test_no_package_of_the_add_on_hides_a_module_of_its_own():
    """``from .ui import jobs`` in ``__init__.py`` would stand in for the package ``jobs``."""
    for path in ADDON.rglob("__init__.py"):
        own = {child.stem for child in path.parent.iterdir()}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level and node.module:
                hidden = own & {alias.asname or alias.name for alias in node.names}
                assert not hidden, f"{path} hides {hidden}"


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
