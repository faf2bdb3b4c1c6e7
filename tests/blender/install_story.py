"""Run by test_install.py in a fresh Blender with an empty profile: install, press the button.

    python install_story.py WAY ZIP SPEECH        WAY: legacy | extension | both

Prints one line of JSON with what was found.
"""

from __future__ import annotations

import json
import sys

import bpy  # isort: skip  (first: it brings addon_utils along)
import addon_utils

way, archive, speech = sys.argv[-3:]
LEGACY, EXTENSION = "idiolect", "bl_ext.user_default.idiolect"
found: dict[str, object] = {"version": bpy.app.version_string}

if way in ("legacy", "both"):
    bpy.ops.preferences.addon_install(filepath=archive)
    bpy.ops.preferences.addon_enable(module=LEGACY)
if way in ("extension", "both"):
    bpy.ops.extensions.package_install_files(
        filepath=archive, repo="user_default", enable_on_install=True
    )
package = EXTENSION if way == "extension" else LEGACY
found["enabled"] = sorted(n for n in bpy.context.preferences.addons.keys() if "idiolect" in n)  # noqa: SIM118


def warning(package: str) -> str:
    return sys.modules[f"{package}.ui.installs"].warning()


found["warning"] = warning(package)
found["warning of the other"] = warning(EXTENSION) if way == "both" else ""

bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
bpy.ops.idiolect.add_head()
bpy.ops.idiolect.animate(speech=speech)
head = bpy.context.scene.idiolect.character
action = head.data.shape_keys.animation_data.action
found["range"] = list(action.frame_range)
frame = 40
bpy.context.scene.frame_set(frame)
evaluated = head.evaluated_get(bpy.context.evaluated_depsgraph_get())
found["values"] = [round(block.value, 5) for block in evaluated.data.shape_keys.key_blocks[1:]]

for module in found["enabled"]:
    addon_utils.disable(module, default_set=True)
found["left behind"] = [
    name for name in dir(bpy.types) if "IDIOLECT" in name.upper() and not name.startswith("WM_")
] + [owner.__name__ for owner in (bpy.types.Scene, bpy.types.Object) if hasattr(owner, "idiolect")]
print("FOUND " + json.dumps(found))
