"""What there is to key of a character: names, several meshes, drivers, bones, visemes, gains."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from mathutils import Vector
from scenes import FACE_BONES, armature, motion, posed, speaking_mesh

from blender_addon import keying, rig
from blender_addon.rig import visemes
from blender_addon.rig.names import ARKIT_KEYS, arkit_channel, keys_by_channel
from blender_addon.worker.motion_file import Motion

pytestmark = pytest.mark.usefixtures("scene")

OCULUS = ["sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U"]


def keyed(target: bpy.types.Object, **channels: list[float]) -> dict[str, list[float]]:
    """Label to values of what would be keyed."""
    found = rig.rig_of(target).curves(motion(**channels))
    return {curve.label: [round(float(v), 4) for v in curve.values] for curve in found}


def drive(target: bpy.types.Object, key: str, owner: bpy.types.ID, path: str, how: str) -> None:
    curve = target.data.shape_keys.key_blocks[key].driver_add("value")
    driver = curve.driver
    variable = driver.variables.new()
    variable.name = "var"
    variable.targets[0].id_type = "KEY" if isinstance(owner, bpy.types.Key) else "OBJECT"
    variable.targets[0].id, variable.targets[0].data_path = owner, path
    driver.type = "AVERAGE" if not how else "SCRIPTED"
    if how:
        driver.expression = how


# ------------------------------------------------------------------------------------- names


def test_every_name_means_itself_in_every_spelling() -> None:
    for name in ARKIT_KEYS:
        base, side = name, ""
        for end in ("Left", "Right"):
            if name.endswith(end):
                base, side = name.removesuffix(end), end
        snake = "".join("_" + c.lower() if c.isupper() else c for c in name)
        spellings = [name, name.lower(), snake, f"blendShape1.{name}", f"Face:{snake}"]
        if side:
            spellings += [f"{base}_{side[0]}", f"{base}.{side[0]}", f"{base}_{side}"]
            spellings += [f"{side[0]}_{base}", f"head.{base}_{side[0].lower()}"]
        for spelling in spellings:
            assert arkit_channel(spelling) == name, spelling


def test_the_best_name_wins_and_halves_stay_together() -> None:
    names = ["old.jawOpen", "jawOpen", "mouthSmile_L", "Wrinkle", "browInnerUp_L", "browInnerUp_R"]
    assert keys_by_channel(names) == {
        "jawOpen": ("jawOpen",),
        "mouthSmileLeft": ("mouthSmile_L",),
        "browInnerUp": ("browInnerUp_R", "browInnerUp_L"),
    } or keys_by_channel(names)["browInnerUp"] == ("browInnerUp_L", "browInnerUp_R")


def test_a_key_of_both_sides_takes_their_mean() -> None:
    hero = speaking_mesh(keys=("jawOpen", "mouthClose", "mouthSmile", "eyeBlinkLeft", "eyesClosed"))
    values = keyed(
        hero, mouthSmileLeft=[0.2, 0.4], mouthSmileRight=[0.4, 0.4], eyeBlinkRight=[1, 0.5]
    )
    assert values["mouthSmile"] == [0.3, 0.4]
    assert "mouthSmileLeft" not in rig.rig_of(hero).missing


# ------------------------------------------------------------------------------ partial sets


def test_without_mouth_close_the_jaw_stays_up_where_lips_meet() -> None:
    hero = speaking_mesh(keys=("jawOpen", "mouthPucker"))
    actor = rig.rig_of(hero)
    assert "mouthClose" in actor.missing and len(actor.missing) == 50
    assert any("mouthClose" in note for note in actor.notes)
    values = keyed(hero, jawOpen=[0.3, 0.5], mouthClose=[0.3, 0.1], mouthFunnel=[0, 1])
    assert values["jawOpen"] == [0, 0.4]
    assert values["mouthPucker"] == [0, 0.6]


def test_without_jaw_open_lips_are_not_pressed_through_each_other() -> None:
    hero = speaking_mesh(keys=("mouthClose", "mouthPucker"))
    assert keyed(hero, jawOpen=[0.3], mouthClose=[0.3], mouthPucker=[0.5])["mouthClose"] == [0]


# ----------------------------------------------------------------------------- several meshes


def test_teeth_and_tongue_of_the_rig_move_too_and_another_character_does_not() -> None:
    bones = armature(FACE_BONES)
    hero, teeth = speaking_mesh("Hero"), speaking_mesh("Teeth", keys=("jawOpen",))
    lashes = speaking_mesh("Lashes", keys=("eyeBlink_L", "eyeBlink_R"))
    hero.parent = teeth.parent = bones
    lashes.modifiers.new("Armature", "ARMATURE").object = bones
    other = speaking_mesh("Other")
    other.parent = bones
    other.idiolect.speech = "//other.wav"
    stranger = speaking_mesh("Stranger")
    actor = rig.rig_of(hero)
    assert {mesh.name for mesh in actor.meshes} == {"Hero", "Teeth", "Lashes"}
    blocks = {curve.datablock for curve in actor.curves(motion(jawOpen=[1.0]))}
    assert blocks == {hero.data.shape_keys, teeth.data.shape_keys}
    assert [one.name for one in rig.characters_in(bpy.context.scene)] == [
        "Hero", "Other", "Stranger",
    ]  # fmt: skip
    hero.idiolect.rig.other_meshes = False
    assert rig.rig_of(hero).meshes == (hero,)
    assert stranger not in actor.meshes


def test_siblings_under_an_empty_share_the_keys() -> None:
    top = bpy.data.objects.new("Character", None)
    bpy.context.scene.collection.objects.link(top)
    hero, teeth = speaking_mesh("Hero"), speaking_mesh("Teeth", keys=("jawOpen",))
    hero.parent = teeth.parent = top
    assert rig.rig_of(hero).meshes == (hero, teeth)


# ------------------------------------------------------------------------------------ drivers


@pytest.mark.parametrize(
    ("expression", "wanted"),
    [("", 0.6), ("var", 0.6), ("var * 2", 0.3), ("(1 - var)", 0.4), ("-var/2 + .1", -1.0),
     ("max(0, var)", 0.6), ("min(max(var * 3, 0), 1)", 0.2), ("clamp(var - .2)", 0.8)],
)  # fmt: skip
def test_the_driving_property_is_keyed(expression: str, wanted: float) -> None:
    hero = speaking_mesh()
    hero["jaw"] = 0.0
    drive(hero, "jawOpen", hero, '["jaw"]', expression)
    curves = rig.rig_of(hero).curves(motion(jawOpen=[0.6]))
    (jaw,) = [curve for curve in curves if curve.channel == "jawOpen"]
    assert (jaw.datablock, jaw.data_path) == (hero, '["jaw"]')
    assert jaw.values[0] == pytest.approx(wanted)
    line = keying.Line("x.wav", 1, 1)
    keying.key_curves([jaw], line, "x")
    bpy.context.scene.frame_set(1)
    shown = hero.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.shape_keys
    assert shown.key_blocks["jawOpen"].value == pytest.approx(0.6, abs=1e-5)


def test_teeth_that_follow_the_head_are_not_keyed_twice() -> None:
    hero, teeth = speaking_mesh("Hero"), speaking_mesh("Teeth", keys=("jawOpen",))
    teeth.parent = hero
    drive(teeth, "jawOpen", hero.data.shape_keys, 'key_blocks["jawOpen"].value', "")
    curves = rig.rig_of(hero).curves(motion(jawOpen=[0.6]))
    assert [(c.datablock, float(c.values[0])) for c in curves] == [
        (hero.data.shape_keys, pytest.approx(0.6))
    ]


def test_a_control_moves_both_ways() -> None:
    hero, board = speaking_mesh(), armature({"ctrl": ((0, 0, 0), (0, 0, 1))})
    path = 'pose.bones["ctrl"].location[0]'
    drive(hero, "jawLeft", board, path, "max(0, var * 10)")
    drive(hero, "jawRight", board, path, "max(0, -var * 10)")
    (curve,) = rig.rig_of(hero).curves(motion(jawLeft=[0.5, 0], jawRight=[0, 1.0]))
    assert (curve.data_path, curve.index) == ('pose.bones["ctrl"].location', 0)
    assert curve.values == pytest.approx([0.05, -0.1])


def test_a_location_read_as_a_transform_is_keyed() -> None:
    hero, board = speaking_mesh(), armature({"ctrl": ((0, 0, 0), (0, 0, 1))})
    driver = hero.data.shape_keys.key_blocks["jawOpen"].driver_add("value").driver
    variable = driver.variables.new()
    variable.type, driver.type = "TRANSFORMS", "SUM"
    target = variable.targets[0]
    target.id, target.bone_target = board, "ctrl"
    target.transform_type, target.transform_space = "LOC_Y", "LOCAL_SPACE"
    (curve,) = rig.rig_of(hero).curves(motion(jawOpen=[0.5]))
    assert (curve.datablock, curve.data_path, curve.index) == (
        board, 'pose.bones["ctrl"].location', 1,
    )  # fmt: skip


@pytest.mark.parametrize("expression", ["var ** 2", "sin(var)", "var * var", "frame", "1", "("])
def test_what_cannot_be_turned_round_is_told_and_left_alone(expression: str) -> None:
    hero = speaking_mesh(keys=("jawOpen", "mouthClose"))
    hero["jaw"] = 0.0
    drive(hero, "jawOpen", hero, '["jaw"]', expression)
    actor = rig.rig_of(hero)
    assert "jawOpen" in actor.missing and "Driven" in actor.notes[0]
    assert all(curve.channel != "jawOpen" for curve in actor.curves(motion(jawOpen=[0.6])))


# -------------------------------------------------------------------------------------- bones


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["Head", "Jaw", "LeftEye", "RightEye"], ["Head", "Jaw", "LeftEye", "RightEye"]),
        (["mixamorig:Head", "mixamorig:LeftEye"], ["mixamorig:Head", "", "mixamorig:LeftEye", ""]),
        (["DEF-spine.006", "head", "jaw_master", "eye.L", "master_eye.L", "ORG-eye.R"],
         ["head", "jaw_master", "master_eye.L", ""]),
        (["J_Bip_C_Head", "J_Adj_L_FaceEye"], ["J_Bip_C_Head", "", "J_Adj_L_FaceEye", ""]),
        (["CC_Base_Head", "CC_Base_L_Eye"], ["CC_Base_Head", "", "CC_Base_L_Eye", ""]),
        (["left_eye", "right_eye", "HeadTop_End", "forehead"], ["", "", "left_eye", "right_eye"]),
    ],
)  # fmt: skip
def test_bones_are_found_by_name(names: list[str], found: list[str]) -> None:
    from blender_addon.rig.bones import find_bones

    bones = armature(dict.fromkeys(names, ((0, 0, 0), (0, 0, 1))))
    result = find_bones(bones, {})
    assert [result[what] for what in ("head", "jaw", "eye_left", "eye_right")] == found


@pytest.mark.parametrize("mode", ["QUATERNION", "XYZ", "ZYX", "AXIS_ANGLE"])
@pytest.mark.parametrize("turned", [False, True])
def test_head_and_eyes_turn_about_the_faces_own_axes(mode: str, turned: bool) -> None:
    bones = armature(FACE_BONES)
    if turned:  # as an FBX from elsewhere: the armature lies, and its bones with it
        bones.rotation_euler = (0, 0, np.pi / 2)
        bpy.context.view_layer.update()
    hero = speaking_mesh(keys=("jawOpen", "mouthClose"))
    hero.parent = bones
    for pose in bones.pose.bones:
        pose.rotation_mode = mode
    asked = motion(
        headPitch=[0.2], headYaw=[0.0], eyeLookOutLeft=[1.0], eyeLookUpRight=[1.0], jawOpen=[0.5]
    )
    curves = rig.rig_of(hero).curves(asked)
    for curve in curves:
        if curve.datablock == bones:
            bones.path_resolve(curve.data_path)[curve.index] = curve.values[0]
    front = Vector((0, -1, 0))
    assert (posed(bones, "head") @ front).z == pytest.approx(-np.sin(0.2), abs=1e-5), "down"
    assert (posed(bones, "eye.L") @ front).x == pytest.approx(np.sin(np.radians(30)), abs=1e-5)
    assert (posed(bones, "eye.R") @ front).z == pytest.approx(np.sin(np.radians(25)), abs=1e-5)
    # The jaw has a key: the bone stays.
    assert not any("jaw" in c.data_path for c in curves if c.datablock == bones)


def test_a_jaw_is_a_key_or_a_bone_and_never_both() -> None:
    bones = armature(FACE_BONES)
    hero = speaking_mesh(keys=("jawOpen", "mouthClose"))
    hero.parent = bones
    hero.idiolect.rig.jaw = "BONE"
    curves = rig.rig_of(hero).curves(motion(jawOpen=[1.0]))
    assert {curve.label for curve in curves} == {"jaw"}
    hero.idiolect.rig.jaw = "KEY"
    assert {c.label for c in rig.rig_of(hero).curves(motion(jawOpen=[1.0]))} == {"jawOpen"}
    boned = speaking_mesh("Boned", keys=("mouthClose", "mouthSmileLeft"))
    boned.parent = bones
    boned.idiolect.rig.other_meshes = False
    actor = rig.rig_of(boned)
    assert {curve.label for curve in actor.curves(motion(jawOpen=[1.0]))} == {"jaw"}
    assert "jawOpen" not in actor.missing


def test_a_head_that_something_else_animates_is_left_to_it() -> None:
    bones = armature(FACE_BONES)
    hero = speaking_mesh()
    hero.parent = bones
    turned = motion(headYaw=[0.1], jawOpen=[0.1])
    assert "head" in {curve.label for curve in rig.rig_of(hero).curves(turned)}
    bones.pose.bones["head"].keyframe_insert("rotation_quaternion", frame=1)
    assert "head" not in {curve.label for curve in rig.rig_of(hero).curves(turned)}
    hero.idiolect.rig.head = "head"
    assert "head" in {curve.label for curve in rig.rig_of(hero).curves(turned)}


def test_gaze_by_keys_bones_or_both() -> None:
    bones = armature(FACE_BONES)
    hero = speaking_mesh()
    hero.parent = bones
    look = motion(eyeLookUpLeft=[1.0])
    for gaze, labels in (
        ("AUTO", {"eyeLookUpLeft"}),
        ("BONES", {"eye.L"}),
        ("BOTH", {"eyeLookUpLeft", "eye.L"}),
    ):
        hero.idiolect.rig.gaze = gaze
        assert {c.label for c in rig.rig_of(hero).curves(look)} == labels


# -------------------------------------------------------------------------------------- gains


def test_gains_scale_a_channel_and_the_seal_follows_the_jaw() -> None:
    hero = speaking_mesh()
    gain = hero.idiolect.rig.gains.add()
    gain.name, gain.value = "jawOpen", 1.5
    values = keyed(hero, jawOpen=[0.4], mouthClose=[0.4], mouthPucker=[0.4])
    assert values["jawOpen"] == values["mouthClose"] == [0.6]
    assert values["mouthPucker"] == [0.4]


# ------------------------------------------------------------------------------------ visemes


def viseme_character(kind: str) -> bpy.types.Object:
    keys = {
        "oculus": [f"viseme_{name}" for name in OCULUS] + ["eyeBlinkLeft", "eyeBlinkRight"],
        "vrm0": ["A", "I", "U", "E", "O", "Blink_L", "Blink_R", "Joy"],
        "vrm1": ["aa", "ih", "ou", "ee", "oh", "blink", "happy"],
        "vroid": [f"Face.M_F00_000_00_Fcl_MTH_{v}" for v in "AIUEO"] + ["Fcl_EYE_Close_L"],
    }[kind]
    return speaking_mesh(keys=tuple(keys))


@pytest.mark.parametrize("kind", ["oculus", "vrm0", "vrm1", "vroid"])
def test_visemes_speak_and_close_on_p(kind: str) -> None:
    hero = viseme_character(kind)
    actor = rig.rig_of(hero)
    assert actor.can_speak and actor.mouth == "VISEMES"
    assert "eyeBlinkLeft" not in actor.missing and "jawOpen" not in actor.missing
    values = keyed(
        hero,
        jawOpen=[0.5, 0.12, 0.3, 0.0],
        mouthClose=[0, 0, 0.3, 0],
        mouthPucker=[0, 0.6, 0, 0],
        mouthFunnel=[0, 0.3, 0, 0],
        mouthLowerDownLeft=[0.3, 0, 0, 0],
        mouthLowerDownRight=[0.3, 0, 0, 0],
        eyeBlinkLeft=[1, 0, 0, 0],
    )
    shown = visemes.visemes_of(list(hero.data.shape_keys.key_blocks.keys()))
    table = {viseme: values[key] for viseme, key in shown.items()}
    assert table["aa"][0] > 0.6 and table["ou"][1] > 0.6, table
    for viseme, row in table.items():
        assert row[2] == (1.0 if viseme == "PP" else 0.0), "lips that touch are closed exactly"
        assert row[3] == 0.0, "a mouth at rest is no p"


def test_visemes_are_read_back_as_arkit_weights() -> None:
    hero = viseme_character("oculus")
    blocks = {"viseme_aa": [0.0, 1.0], "viseme_PP": [1.0, 0.0]}

    def read(_owner: bpy.types.ID, path: str, _index: int) -> np.ndarray | None:
        return next((np.array(v) for k, v in blocks.items() if keying.value_path(k) == path), None)

    weights = rig.rig_of(hero).weights_of(read)
    assert weights["jawOpen"] == pytest.approx([0.1, 0.55], abs=0.01)
    assert weights["mouthClose"][0] == pytest.approx(weights["jawOpen"][0])


# --------------------------------------------------------------------- linked and overridden


def test_a_linked_character_needs_an_override_and_an_overridden_one_speaks(tmp_path) -> None:
    speaking_mesh("Hero")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, into):
        into.objects = ["Hero"]
    hero = into.objects[0]
    bpy.context.scene.collection.objects.link(hero)
    assert "library override" in rig.why_not(hero)
    hero.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer)
    ours = next(o for o in bpy.context.scene.objects if o.override_library)
    assert "Override Mesh Data" in rig.why_not(ours)
    bpy.context.scene.idiolect.character = ours
    assert bpy.ops.idiolect.override_meshes() == {"FINISHED"}
    assert rig.why_not(ours) == ""
    curves = rig.rig_of(ours).curves(motion(jawOpen=[0.0, 0.7], mouthClose=[0.0, 0.0]))
    keying.key_curves(curves, keying.Line("x.wav", 1, 2), "x")
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    ours = next(o for o in bpy.context.scene.objects if o.override_library)
    bpy.context.scene.frame_set(2)
    shown = ours.evaluated_get(bpy.context.evaluated_depsgraph_get()).data.shape_keys
    assert shown.key_blocks["jawOpen"].value == pytest.approx(0.7)


# ------------------------------------------------------------------------------- the way back


def test_what_is_keyed_is_read_back() -> None:
    bones = armature(FACE_BONES)
    hero = speaking_mesh()
    hero.parent = bones
    hero["jaw"] = 0.0
    drive(hero, "jawOpen", hero, '["jaw"]', "var * 2 + .1")
    hero.idiolect.rig.gaze = "BONES"
    rng = np.random.default_rng(0)
    names = ("jawOpen", "mouthClose", "mouthSmileLeft", "eyeLookUpLeft", "headYaw")
    asked = Motion(rng.uniform(0, 0.9, (20, 5)).astype(np.float32), names, 30.0)
    actor = rig.rig_of(hero)
    values = {(c.datablock, c.data_path, c.index): c.values for c in actor.curves(asked)}
    found = actor.weights_of(lambda *place: values.get(place))
    for column, name in enumerate(names):
        assert found[name] == pytest.approx(asked.weights[:, column], abs=2e-3), name
