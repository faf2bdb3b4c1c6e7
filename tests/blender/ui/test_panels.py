"""The panels and preferences draw in every state, and say why what cannot be pressed cannot.

There is no window here: a layout that only takes notes stands in for Blender's. How it looks is
seen
in tests/gui.
"""

from __future__ import annotations

import types
from pathlib import Path

import bpy
import pytest
from scenes import handmade_action, speaking_mesh

from blender_addon import ui
from blender_addon.environment import models
from blender_addon.jobs import job
from blender_addon.operators.characters import IDIOLECT_OT_add_head
from blender_addon.ui import installs
from blender_addon.ui.preferences_page import IdiolectPreferences
from blender_addon.ui.tab import Tab
from blender_addon.worker.protocol import Progress

pytestmark = pytest.mark.usefixtures("scene")


class Notes:
    """A layout that writes down what is drawn."""

    def __init__(self, words: list[str]) -> None:
        object.__setattr__(self, "words", words)
        object.__setattr__(self, "enabled", True)

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name == "enabled" and not value:
            self.words.append("(disabled)")

    def label(self, text: str = "", icon: str = "NONE") -> None:
        assert icon in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
        self.words.append(text)

    def operator(self, name: str, text: str = "", icon: str = "NONE") -> types.SimpleNamespace:
        module, op = name.split(".")
        assert hasattr(getattr(bpy.ops, module), op)
        self.words.append(f"[{text or name}]")
        return types.SimpleNamespace()

    def prop(self, owner: object, name: str, **_: object) -> None:
        assert name in owner.bl_rna.properties
        self.words.append(f"<{name}>")

    def prop_search(self, owner: object, name: str, where: object, items: str) -> None:
        assert name in owner.bl_rna.properties and items in where.bl_rna.properties
        self.words.append(f"<{name}>")

    def template_list(self, kind: str, _id: str, owner: object, items: str, *rest, **_) -> None:
        assert items in owner.bl_rna.properties and rest[1] in rest[0].bl_rna.properties
        self.words.append(f"<{items}>")

    def progress(self, factor: float = 0.0, text: str = "", type: str = "BAR") -> None:
        assert 0 <= factor <= 1
        self.words.append(f"{text} |{factor:.2f}|")

    def column(self, **_: object) -> Notes:
        return Notes(self.words)

    row = box = split = column

    def separator(self, **_: object) -> None:
        pass


def drawn() -> str:
    """All panels, one after another."""
    words: list[str] = []
    context = types.SimpleNamespace(
        scene=bpy.context.scene,
        active_object=bpy.context.active_object,
        mode="OBJECT",
        preferences=bpy.context.preferences,
        region=types.SimpleNamespace(width=260),
    )
    for cls in ui.CLASSES:
        if not issubclass(cls, Tab):
            continue
        if not hasattr(cls, "poll") or cls.poll(context):
            panel_of = types.SimpleNamespace(layout=Notes(words))
            for name, value in vars(cls).items():
                if name.startswith("_") and callable(value):
                    setattr(panel_of, name, types.MethodType(value, panel_of))
            cls.draw(panel_of, context)
    return " ".join(words)


@pytest.fixture
def ready(monkeypatch, tmp_path) -> None:
    """Some Python is set, as far as files tell."""
    python = tmp_path / "python"
    python.touch()
    monkeypatch.setenv("IDIOLECT_PYTHON", str(python))
    monkeypatch.setattr(job, "last_outcome", None)


def test_without_an_environment_the_set_up_button_is_right_there(monkeypatch) -> None:
    monkeypatch.setenv("IDIOLECT_PYTHON", "")
    text = drawn()
    assert "not set up" in text and "[idiolect.setup_environment]" in text
    assert "(disabled)" in text


def test_an_empty_scene_says_what_to_do(ready) -> None:
    text = drawn()
    assert "Pick a mesh" in text and "(disabled)" in text
    assert "[Add Head]" in text and "[Import FLAME…]" in text
    assert "<speech>" not in text


def test_a_mesh_that_cannot_speak_says_why(ready) -> None:
    speaking_mesh(keys=("eyeBlinkLeft",))
    text = drawn()
    assert "1 of 52" in text and "no ARKit shape keys" in text and "(disabled)" in text


def test_a_character_lacks_only_a_speech(ready) -> None:
    hero = speaking_mesh()
    text = drawn()
    assert "52 of 52" in text and "Choose a speech file" in text and "(disabled)" in text
    hero.idiolect.speech = "/speech.wav"
    text = drawn()
    assert "(disabled)" not in text and "[idiolect.animate]" in text and "Ready" in text


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("STYLE", "style"),
        ("ACTION", "action"),
        ("MESH", "mesh"),
        ("FILE", "file"),
    ],
)
def test_each_kind_of_reference_has_its_field(ready, kind: str, field: str) -> None:
    hero = speaking_mesh()
    hero.idiolect.style_a.kind = kind
    assert f"<kind> <{field}>" in drawn()
    hero.idiolect.style_b.kind = kind
    assert drawn().count(f"<kind> <{field}>") == 2


@pytest.mark.parametrize(
    ("source", "fields"),
    [
        ("NONE", ""),
        ("LIST", "<changes>"),
        ("SLIDERS", "<neutral> <happiness> <anger> <sadness>"),
        ("REFERENCE", "<reference> <kind> <style>"),
    ],
)
def test_each_source_of_emotion_has_its_fields(ready, source: str, fields: str) -> None:
    emotion = speaking_mesh().idiolect.emotion
    bpy.ops.idiolect.add_emotion(emotion="anger", frame=12)
    assert (emotion.source, emotion.changes[0].frame) == ("LIST", 12)
    emotion.source, emotion.reference = source, "OTHER"
    assert f"<source> {fields}".strip() in drawn()


def test_a_short_reference_is_warned_of(ready) -> None:
    hero = speaking_mesh()
    action = handmade_action(hero, {"jawOpen": [(1, 0.0), (49, 1.0)]})
    style = hero.idiolect.style_a
    style.kind = "ACTION"
    assert "4 to 10 seconds of speech are enough" in drawn()
    style.action = action
    assert "is 2.0 s of reference" in drawn()
    style.use_range, style.first, style.last = True, 1, 121
    assert "s of reference" not in drawn()


def test_missing_and_driven_keys_are_named(ready) -> None:
    from blender_addon.rig.names import ARKIT_KEYS

    hero = speaking_mesh(keys=tuple(k for k in ARKIT_KEYS if k not in ("mouthClose", "tongueOut")))
    hero.data.shape_keys.key_blocks["cheekPuff"].driver_add("value")
    text = drawn()
    assert "49 of 52" in text and "Missing: mouthClose, cheekPuff, tongueOut" in text
    assert "Driven, and not keyed" in text and "a jaw that opens less" in text


def test_progress_and_outcome(ready, monkeypatch) -> None:
    speaking_mesh()

    class Waiting:
        progress = Progress(1, "Listening", 3, 4)

        def poll(self) -> None:
            return None

        def cancel(self) -> None:
            pass

    def steps() -> job.Steps:
        yield Waiting()
        return job.Outcome("")

    running = job.Job("Animating", steps())
    running.advance()
    monkeypatch.setattr(job, "current", running)
    text = drawn()
    assert "Animating: Listening 75% |0.75|" in text and "[idiolect.animate]" not in text
    assert "still going on" in IDIOLECT_OT_add_head.disabled_reason(bpy.context)
    monkeypatch.setattr(job, "current", None)
    failed = job.Outcome("It broke.", ("Mend it.",), failed=True, log_path="/log")
    monkeypatch.setattr(job, "last_outcome", failed)
    text = drawn()
    assert "It broke." in text and "Mend it." in text and "[Open Log]" in text


def test_two_installs_are_said(ready, monkeypatch) -> None:
    monkeypatch.setattr(installs, "others", lambda: ["bl_ext.user_default.idiolect"])
    assert "Installed twice" in drawn()


def test_the_preferences_draw(ready) -> None:
    words: list[str] = []
    fields = IdiolectPreferences.__annotations__
    owner = types.SimpleNamespace(
        layout=Notes(words), bl_rna=types.SimpleNamespace(properties=fields)
    )
    context = types.SimpleNamespace(
        region=types.SimpleNamespace(width=600), preferences=bpy.context.preferences
    )
    IdiolectPreferences.draw(owner, context)
    text = " ".join(words)
    for field in fields:
        assert f"<{field}>" in text
    for button in ("setup_environment", "check_environment", "copy_download_commands"):
        assert f"[idiolect.{button}]" in text
    assert ("allow Online Access" in text) == (not bpy.app.online_access)


def test_ready_made_styles_are_known_without_a_worker(tmp_path: Path, monkeypatch) -> None:
    import json
    import struct

    header = json.dumps({"styles.calm": {}, "styles.broad": {}, "model.x": {}, "__metadata__": {}})
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    monkeypatch.setattr(models, "bundled_checkpoint", lambda: file)
    assert models.style_names() == ["broad", "calm"]
    file.write_text("junk")
    assert models.style_names() == []
    file.unlink()
    assert models.style_names() == []
