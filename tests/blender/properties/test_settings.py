"""A character's settings live on it, and survive: saving, appending, copying, overriding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import pytest
from scenes import played, speaking_mesh

from blender_addon.environment import models
from blender_addon.jobs import live

pytestmark = pytest.mark.usefixtures("scene")


def stored(group: Any) -> dict[str, Any]:
    """All values of a property group, groups and collections within it included."""
    told: dict[str, Any] = {}
    for prop in group.bl_rna.properties:
        if prop.identifier in ("rna_type", "mark"):
            continue
        value = getattr(group, prop.identifier)
        if prop.type == "COLLECTION":
            told[prop.identifier] = [stored(item) for item in value]
        elif isinstance(value, bpy.types.PropertyGroup):
            told[prop.identifier] = stored(value)
        elif isinstance(value, bpy.types.ID):
            told[prop.identifier] = value.name
        else:
            told[prop.identifier] = value
    return told


def choose(hero: bpy.types.Object) -> dict[str, Any]:
    """Change all kinds of settings. Returns what is stored then."""
    ours = hero.idiolect
    ours.speech, ours.start_frame, ours.transcript = "//speech.flac", 12, "Bob packed my jugs."
    ours.speech_source, ours.strip, ours.accurate = "STRIP", "Line", True
    ours.mix, ours.strength, ours.live, ours.made_of = 0.25, 1.5, False, "a b"
    ours.style_a.style = "broad"
    ours.style_b.kind, ours.style_b.action = "ACTION", bpy.data.actions.new("Reference")
    ours.style_b.use_range, ours.style_b.first, ours.style_b.last = True, 5, 205
    ours.emotion.source, ours.emotion.disgust = "LIST", 0.125
    ours.emotion.text = 'anger 0.5 @ 30 over 6 in, +fear 1 @ "turn" over 12 smooth'
    ours.emotion.other.kind, ours.emotion.other.file = "FILE", "//clip.npz"
    assert ours.style_b.action.name == "Reference" and len(ours.emotion.changes) == 2
    return stored(ours)


def test_saving_and_opening(tmp_path: Path) -> None:
    wanted = choose(speaking_mesh())
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert stored(bpy.data.objects["Hero"].idiolect) == wanted


def test_appending(tmp_path: Path) -> None:
    wanted = choose(speaking_mesh())
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "shot.blend"), link=False) as (_, wish):
        wish.objects = ["Hero"]
    found = stored(wish.objects[0].idiolect)
    found["speech"] = wanted["speech"]  # Blender itself makes appended paths fit the new file
    found["emotion"]["other"]["file"] = wanted["emotion"]["other"]["file"]
    assert found == wanted


def test_a_copy_has_settings_of_its_own() -> None:
    hero = speaking_mesh()
    wanted = choose(hero)
    twin = hero.copy()
    twin.data = hero.data.copy()
    assert stored(twin.idiolect) == wanted
    twin.idiolect.mix, twin.idiolect.emotion.changes[0].intensity = 0.75, 0.9
    twin.idiolect.style_a.style = "smiling"
    twin.idiolect.emotion.changes.remove(1)
    assert stored(hero.idiolect) == wanted


def test_an_override_keeps_what_was_changed_in_it(tmp_path: Path) -> None:
    wanted = choose(speaking_mesh())
    library, shot = str(tmp_path / "character.blend"), str(tmp_path / "shot.blend")
    bpy.ops.wm.save_as_mainfile(filepath=library)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(library, link=True) as (_, wish):
        wish.objects = ["Hero"]
    hero = wish.objects[0].override_create(remap_local_usages=True)
    bpy.context.scene.collection.objects.link(hero)
    assert stored(hero.idiolect)["emotion"]["changes"] == wanted["emotion"]["changes"]
    ours = hero.idiolect
    ours.speech, ours.start_frame, ours.mix, ours.strength = "/other.wav", 99, 0.5, 0.5
    ours.style_a.style, ours.emotion.source, ours.emotion.anger = "smiling", "SLIDERS", 0.75
    changed = stored(ours)
    bpy.ops.wm.save_as_mainfile(filepath=shot)
    bpy.ops.wm.open_mainfile(filepath=shot)
    found = stored(bpy.data.objects["Hero"].idiolect)
    for name in ("speech", "start_frame", "mix", "strength", "style_a"):
        assert found[name] == changed[name], name
    assert found["emotion"]["source"] == "SLIDERS" and found["emotion"]["anger"] == 0.75
    assert found["style_b"] == wanted["style_b"], "what was left alone comes from the library"


def test_presets_bring_back_all_that_is_not_of_one_shot() -> None:
    hero = speaking_mesh()
    choose(hero)
    hero.idiolect.style_b.kind = "STYLE"
    wanted = stored(hero.idiolect)
    assert bpy.ops.idiolect.add_preset(name="Tired Villain") == {"FINISHED"}
    other = speaking_mesh("Other")
    (path,) = (
        Path(folder) / "Tired_Villain.py"
        for folder in bpy.utils.preset_paths("idiolect")
        if (Path(folder) / "Tired_Villain.py").is_file()
    )
    bpy.ops.script.execute_preset(filepath=str(path), menu_idname="IDIOLECT_MT_presets")
    found = stored(other.idiolect)
    for name in ("style_a", "mix", "strength", "accurate"):
        assert found[name] == wanted[name], name
    assert found["emotion"]["changes"] == wanted["emotion"]["changes"]
    assert found["emotion"]["disgust"] == wanted["emotion"]["disgust"]
    assert (found["speech"], found["start_frame"]) == ("", 1)
    bpy.ops.script.execute_preset(filepath=str(path), menu_idname="IDIOLECT_MT_presets")
    assert len(other.idiolect.emotion.changes) == 2, "twice is not twice as many"
    path.unlink()


def test_a_dropped_file_becomes_a_style(tmp_path: Path) -> None:
    hero = speaking_mesh()
    for slot in "AB":
        path = str(tmp_path / f"{slot}.style.npz")
        assert bpy.ops.idiolect.use_style(filepath=path, slot=slot) == {"FINISHED"}
    assert hero.idiolect.style_a.kind == hero.idiolect.style_b.kind == "FILE"
    assert hero.idiolect.style_b.file.endswith("B.style.npz")


def test_every_setting_and_option_is_explained() -> None:
    groups = [bpy.types.Object.bl_rna.properties["idiolect"].fixed_type]
    while groups:
        for prop in groups.pop().properties:
            if prop.identifier in ("rna_type", "name"):
                continue
            if prop.type in ("POINTER", "COLLECTION") and prop.fixed_type.identifier.startswith(
                "Idiolect"
            ):
                groups.append(prop.fixed_type)
            else:
                assert len(prop.description) > 12, prop.identifier
    for name in dir(bpy.ops.idiolect):
        assert getattr(bpy.ops.idiolect, name).get_rna_type().description, name


def test_keyframes_have_readable_names_and_paths() -> None:
    hero = speaking_mesh()
    for path in ("idiolect.mix", "idiolect.strength", "idiolect.emotion.anger"):
        assert hero.keyframe_insert(path, frame=1)
        assert hero.path_resolve(path, False).data is not None
    hero.idiolect.mix, hero.idiolect.emotion.anger = 0.5, 0.5
    ours = hero.idiolect
    assert (ours.bl_rna.properties["mix"].name, ours.name) == ("Mix", "Idiolect")
    assert (ours.emotion.bl_rna.properties["anger"].name, ours.emotion.name) == ("Anger", "Emotion")


@pytest.mark.usefixtures("worker")
def test_two_characters_do_not_touch_each_other(speech_file: Path) -> None:
    one, two = speaking_mesh("One"), speaking_mesh("Two")
    own = models.own_styles()
    for hero, style, start in ((one, own[0], 1), (two, own[-1], 31)):
        hero.idiolect.speech, hero.idiolect.start_frame = str(speech_file), start
        hero.idiolect.style_a.style = style
        bpy.ops.idiolect.animate(character=hero.name)
    frames = list(range(1, 120, 3))
    before = played(one, "jawOpen", frames)
    assert before != played(two, "jawOpen", frames)
    assert one.idiolect.made_of and two.idiolect.made_of, "both are followed live"
    two.idiolect.strength = 0.2
    live.wait()
    assert live.problem is None
    assert played(one, "jawOpen", frames) == before
    bpy.ops.idiolect.animate(character="Two")
    assert played(one, "jawOpen", frames) == before
    if bpy.app.build_options.audaspace:
        editor = bpy.context.scene.sequence_editor
        found = getattr(editor, "strips_all", None) or editor.sequences_all
        assert len(found) == 2
