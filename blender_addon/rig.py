"""A character's rig: what there is to key so that its face follows motion, and how to read it back.

Motion has channels (ARKit's 52, and the head's rotation). A rig has controls: numbers that follow
channels linearly (shape keys of several meshes, properties that drive them), and bones that turn.
Characters with visemes, or with FLAME's expressions, have channels of their own in between.

Everything here reads; nothing in the scene changes. Shapes: T motion frames.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from . import keying, properties, rig_bones, rig_flame, visemes
from .key_names import ARKIT_KEYS, keys_by_channel
from .rig_bones import HEAD_TURNS, JAW_TURNS, Turn, eye_turns
from .rig_drivers import NotSimpleError, Property, keyed_property
from .rig_properties import gain_of
from .worker.motion_file import Motion
from .worker.protocol import WorkerError

Array = npt.NDArray[Any]
Weights = dict[str, Array]
"""Values (T,) by channel."""

# A mouth of fewer ARKit keys than this is better shown by visemes, where there are any.
_ENOUGH_MOUTH_KEYS = 5
# Visemes and FLAME's coefficients are channels too, once the motion is told in their terms.
VISEME = "viseme "
# Either of these does for the other, with so much of its weight.
_ROUNDED = (("mouthFunnel", "mouthPucker", 0.6), ("mouthPucker", "mouthFunnel", 0.5))
# The way back only needs to decide between weights that do the same.
_RIDGE = 1e-4


@dataclass(frozen=True)
class Control:
    """A number to key: ``constant + Σ slope · channel``.

    Attributes:
        at: the property.
        slopes: how it follows each channel.
        constant: where it stands when all channels are zero.
        label: its name, for people.
    """

    at: Property
    slopes: dict[str, float]
    constant: float
    label: str

    def values(self, weights: Weights, frames: int) -> Array:
        """What to key (T,)."""
        total = np.full(frames, self.constant)
        for channel, slope in self.slopes.items():
            if channel in weights:
                total += slope * weights[channel]
        return total


@dataclass(frozen=True)
class Rig:
    """What can be keyed of a character.

    Attributes:
        target: the character's object.
        meshes: it and the meshes that share its keys.
        controls: numbers to key.
        turns: bones to turn.
        missing: ARKit channels that nothing follows.
        notes: what the artist should know.
        mouth: what moves the mouth: "KEYS", "VISEMES", "EXPRESSIONS", or "" for nothing.
        reason: why it cannot speak; empty if it can.
        translate: motion in the terms of visemes or expressions, added to its channels.
        gain_of: how much stronger a channel comes out.
    """

    target: bpy.types.Object
    meshes: tuple[bpy.types.Object, ...]
    controls: tuple[Control, ...] = ()
    turns: tuple[Turn, ...] = ()
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    mouth: str = ""
    reason: str = ""
    translate: Callable[[Weights], Weights] = field(default=dict)
    gain_of: Callable[[str], float] = field(default=lambda _channel: 1.0)

    @property
    def can_speak(self) -> bool:
        """Whether a mouth would move at all."""
        return not self.reason

    @property
    def channels(self) -> tuple[str, ...]:
        """Channels that something follows."""
        followed = {c for control in self.controls for c in control.slopes}
        return tuple(dict.fromkeys([*followed, *(c for turn in self.turns for c in turn.axes)]))

    def curves(self, motion: Motion) -> list[keying.Curve]:
        """What to key for this motion.

        Raises:
            WorkerError: if the character cannot speak.
        """
        if self.reason:
            raise WorkerError(f"{self.reason}.", code="bad_character", setting="character")
        frames = len(motion.weights)
        weights = {
            channel: self.gain_of(channel) * motion.weights[:, column].astype(np.float64)
            for column, channel in enumerate(motion.channels)
        }
        weights = self.translate(weights | stand_ins(weights, self.missing, frames))
        found = [
            keying.Curve(
                control.at.owner,
                control.at.path,
                control.at.index,
                control.values(weights, frames).astype(np.float32),
                control.label,
                next(iter(control.slopes)),
            )
            for control in self.controls
            if not weights.keys().isdisjoint(control.slopes)
        ]
        for turn in self.turns:
            if weights.keys().isdisjoint(turn.axes):
                continue
            for index, values in enumerate(turn.values(weights).T.astype(np.float32)):
                channel = next(iter(turn.axes))
                found.append(
                    keying.Curve(turn.armature, turn.path, index, values, turn.bone, channel)
                )
        return found

    def weights_of(self, read: Callable[[bpy.types.ID, str, int], Array | None]) -> Weights:
        """The weights that this rig's controls show: the way back, for references.

        Args:
            read: values (T,) of a property; None where nothing animates it.
        """
        seen, values = [], []
        for control in self.controls:
            value = read(control.at.owner, control.at.path, control.at.index)
            if value is not None:
                seen.append(control)
                values.append(np.asarray(value, np.float64) - control.constant)
        channels = list(dict.fromkeys(c for control in seen for c in control.slopes))
        found: Weights = {}
        if channels:
            slopes = np.array([[one.slopes.get(c, 0.0) for c in channels] for one in seen])
            gram = slopes.T @ slopes
            gram += _RIDGE * np.diag(np.diag(gram))
            targets = np.stack(values, axis=1) @ slopes
            flame = [channel.startswith(rig_flame.PREFIX) for channel in channels]
            solved = visemes.solve_within(gram, targets)
            # Coefficients lie on both sides of zero, and each has a control of its own.
            solved[:, flame] = (targets / np.diag(gram))[:, flame]
            found = {channel: solved[:, i] for i, channel in enumerate(channels)}
        for turn in self.turns:
            parts = [read(turn.armature, turn.path, index) for index in range(4)]
            rotation = [part for part in parts if part is not None]
            if len(rotation) >= 3:
                shown = turn.read(np.stack(rotation, axis=1))
                for channel, axis in turn.axes.items():
                    value = shown @ axis / (axis @ axis)
                    signed = channel in HEAD_TURNS or channel.startswith(rig_flame.PREFIX)
                    found[channel] = value if signed else np.clip(value, 0.0, 1.0)
        fitted = rig_flame.fitted(self.target) if self.mouth == "EXPRESSIONS" else None
        if fitted is not None and found:
            frames = len(next(iter(found.values())))
            prefix = rig_flame.PREFIX
            own = {n.removeprefix(prefix): v for n, v in found.items() if n.startswith(prefix)}
            rest = {name: v for name, v in found.items() if not name.startswith(prefix)}
            found = rest | fitted.to_arkit(own, frames)
        return _without_visemes(found)


def why_not(target: bpy.types.Object | None) -> str:
    """Why this object cannot speak; empty if it can."""
    if target is None:
        return "Choose a character: a mesh with ARKit shape keys, or press Add Head"
    if target.type != "MESH":
        return f"“{target.name}” is not a mesh"
    if target.mode == "EDIT":
        return f"“{target.name}” is in Edit Mode: leave it first"
    return rig_of(target).reason


def characters_in(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """The meshes of a scene that can speak, one for each rig: the one with the most keys."""
    able = [one for one in scene.objects if one.type == "MESH" and not why_not(one)]
    able.sort(key=lambda one: -len(_key_names(one)))
    found: list[bpy.types.Object] = []
    led: set[bpy.types.Object] = set()
    for one in able:
        if one not in led:
            found.append(one)
            led.update(rig_of(one).meshes)
    return sorted(found, key=lambda one: one.name)


def rig_of(target: bpy.types.Object) -> Rig:
    """What can be keyed of a character, as it stands now."""
    settings = properties.of(target).rig
    meshes = _meshes_of(target, others=settings.other_meshes)
    builder = Builder()
    for mesh in meshes:
        builder.add_keys(mesh, keys_by_channel(_key_names(mesh)))
    shown = visemes.visemes_of(_key_names(target))
    mouth = _mouth(settings.mouth, builder.channels, shown, target)
    fitted = rig_flame.fitted(target) if mouth == "EXPRESSIONS" else None
    made: set[str] = set()  # ARKit channels that are shown by something else than their own keys
    translate: Callable[[Weights], Weights] = dict
    if mouth == "VISEMES":
        builder.leave_out(_is_mouth)
        for mesh in meshes:
            found = visemes.visemes_of(_key_names(mesh))
            builder.add_keys(mesh, {VISEME + name: (key,) for name, key in found.items()})
        made = {channel for channel in ARKIT_KEYS if _is_mouth(channel)}
        names = [name.removeprefix(VISEME) for name in builder.channels if name.startswith(VISEME)]
        translate = functools.partial(_with_visemes, names=names)
    elif fitted is not None:
        builder = Builder()
        for mesh in meshes[1:]:
            builder.add_keys(mesh, keys_by_channel(_key_names(mesh)))
        builder.add_keys(target, rig_flame.keys_of(target, fitted))
        made = set(fitted.channels)
        translate = functools.partial(_with_expressions, fitted=fitted)
    turns = _turns(target, meshes, settings, builder, mouth)
    followed = made | builder.channels | {channel for turn in turns for channel in turn.axes}
    missing = tuple(channel for channel in ARKIT_KEYS if channel not in followed)
    speaks = any(_is_mouth(channel) for channel in followed)
    speaks = speaks and (mouth != "EXPRESSIONS" or fitted is not None)
    rig = Rig(
        target=target,
        meshes=meshes,
        controls=builder.controls(),
        turns=turns,
        missing=missing,
        notes=(*builder.notes(), *(stand_in_notes(missing) if speaks else ())),
        mouth=mouth if speaks else "",
        translate=translate,
        gain_of=functools.partial(gain_of, settings),
    )
    return _with_reason(rig, builder)


def stand_ins(weights: Weights, missing: Iterable[str], frames: int) -> Weights:
    """Channels that take over from missing ones, where that is better than nothing."""
    missing, none = set(missing), np.zeros(frames)
    changed: Weights = {}
    if "mouthClose" in missing:
        jaw, close = weights.get("jawOpen", none), weights.get("mouthClose", none)
        changed["jawOpen"] = np.maximum(jaw - close, 0.0)
    if "jawOpen" in missing and "mouthClose" not in missing:
        changed["mouthClose"] = none
    for name, other, share in _ROUNDED:
        if name in missing and other not in missing:
            changed[other] = weights.get(other, none) + share * weights.get(name, none)
    return changed


def stand_in_notes(missing: tuple[str, ...]) -> list[str]:
    """What `stand_ins` does, for people."""
    told = []
    if "mouthClose" in missing:
        told.append("No mouthClose: lips meet by a jaw that opens less")
    if "jawOpen" in missing and "mouthClose" not in missing:
        told.append("No jawOpen: mouthClose stays at zero")
    if ("mouthFunnel" in missing) != ("mouthPucker" in missing):
        there, gone = sorted(("mouthFunnel", "mouthPucker"), key=lambda name: name in missing)
        told.append(f"No {gone}: {there} does its work")
    return told


class Builder:
    """Gathers, for each property to key, what should follow it."""

    def __init__(self) -> None:
        self._parts: dict[tuple[bpy.types.ID, str, int], list[tuple[Property, dict, str]]] = {}
        self._not_keyed: dict[str, list[str]] = {}

    def add_keys(self, mesh: bpy.types.Object, keys: dict[str, tuple[str, ...]]) -> None:
        """Let shape keys of a mesh, by channel, follow."""
        by_key: dict[str, list[str]] = {}
        for channel, names in keys.items():
            for name in names:
                by_key.setdefault(name, []).append(channel)
        shape_keys = mesh.data.shape_keys
        for name, channels in by_key.items():
            try:
                at = keyed_property(shape_keys, keying.value_path(name))
            except NotSimpleError as error:
                self._refuse(f"Driven, and not keyed because {error}", name)
                continue
            if at.owner.library is not None:
                self._refuse("Linked, and not keyed without a library override", name)
                continue
            share = {channel: 1.0 / len(channels) for channel in channels}
            self._parts.setdefault((at.owner, at.path, at.index), []).append((at, share, name))

    def leave_out(self, unwanted: Callable[[str], bool]) -> None:
        """Let nothing follow channels of this kind."""
        for place, parts in list(self._parts.items()):
            kept = [part for part in parts if not any(unwanted(channel) for channel in part[1])]
            self._parts[place] = kept
            if not kept:
                del self._parts[place]

    @property
    def channels(self) -> set[str]:
        """Channels that something follows."""
        return {c for parts in self._parts.values() for part in parts for c in part[1]}

    def controls(self) -> tuple[Control, ...]:
        """One control for each property."""
        return tuple(_control(parts) for parts in self._parts.values())

    def notes(self) -> list[str]:
        """What is not keyed, and why."""
        return [f"{why}: {', '.join(names)}" for why, names in self._not_keyed.items()]

    def _refuse(self, why: str, name: str) -> None:
        names = self._not_keyed.setdefault(why, [])
        if name not in names:
            names.append(name)


def _control(parts: list[tuple[Property, dict[str, float], str]]) -> Control:
    """The property that several keys follow, as it must move for all of them.

    Keys that follow it in the same direction (head and teeth) each ask for a value: their mean.
    Keys of opposite directions (jaw left, jaw right) share it, each its own side of zero.
    """
    slopes: dict[str, float] = {}
    constants = []
    for sign in (1.0, -1.0):
        same = [part for part in parts if part[0].gain * sign > 0]
        for at, share, _ in same:
            for channel, part in share.items():
                slopes[channel] = slopes.get(channel, 0.0) + part / at.gain / len(same)
        if same:
            constants.append(np.mean([-at.offset / at.gain for at, _, _ in same]))
    at, _, label = parts[0]
    return Control(at, slopes, float(np.mean(constants)), label)


def _is_mouth(channel: str) -> bool:
    return channel.startswith(("jaw", "mouth", "tongue"))


def _mouth(wanted: str, channels: set[str], shown: dict[str, str], target: bpy.types.Object) -> str:
    if wanted != "AUTO":
        return wanted
    keys = sum(_is_mouth(channel) for channel in channels)
    if keys < _ENOUGH_MOUTH_KEYS and rig_flame.has_expressions(target):
        return "EXPRESSIONS"
    return "VISEMES" if shown and keys < _ENOUGH_MOUTH_KEYS else "KEYS"


def _turns(
    target: bpy.types.Object,
    meshes: tuple[bpy.types.Object, ...],
    settings: Any,
    builder: Builder,
    mouth: str,
) -> tuple[Turn, ...]:
    """Bones that turn; keys that would do the same are left out."""
    armature = armature_of(target) or next(filter(None, map(armature_of, meshes)), None)
    if armature is None or armature.library is not None:
        return ()
    picked = {what: getattr(settings, what) for what in ("head", "eye_left", "eye_right")}
    bones = rig_bones.find_bones(armature, {**picked, "jaw": settings.jaw_bone})
    axes = rig_bones.face_axes(armature, (bones["eye_left"], bones["eye_right"]))
    turns = []
    has_jaw_key = "jawOpen" in builder.channels
    by_bone = settings.jaw == "BONE" or (settings.jaw == "AUTO" and not has_jaw_key)
    if bones["jaw"] and by_bone and mouth == "KEYS":
        builder.leave_out(lambda channel: channel in JAW_TURNS)
        turns.append(rig_bones.turn_of(armature, bones["jaw"], JAW_TURNS, axes))
    fitted = rig_flame.fitted(target) if mouth == "EXPRESSIONS" else None
    if fitted is not None and bones["jaw"] and "jaw_x" in fitted.coefficients:
        turns.append(rig_flame.jaw_turn(target, armature, bones["jaw"], fitted.axes))
    looks = any(channel.startswith("eyeLook") for channel in builder.channels)
    gaze = settings.gaze if settings.gaze != "AUTO" else "KEYS" if looks else "BONES"
    if gaze != "KEYS" and bones["eye_left"] and bones["eye_right"]:
        if gaze == "BONES":
            builder.leave_out(lambda channel: channel.startswith("eyeLook"))
        for side in ("Left", "Right"):
            bone = bones[f"eye_{side.lower()}"]
            turns.append(rig_bones.turn_of(armature, bone, eye_turns(side), axes))
    if settings.head_motion and bones["head"]:
        turn = rig_bones.turn_of(armature, bones["head"], HEAD_TURNS, axes)
        if settings.head or not keying.animated_elsewhere(armature, turn.path):
            turns.append(turn)
    return tuple(turns)


def override_meshes(target: bpy.types.Object) -> int:
    """Override the linked mesh data of an overridden character, so that its keys can be keyed.

    Blender's own override of a character leaves mesh data linked.

    Returns:
        How many meshes were overridden.
    """
    others = properties.of(target).rig.other_meshes
    linked = [
        mesh
        for mesh in _meshes_of(target, others=others)
        if mesh.library is None and mesh.data.library is not None
    ]
    for mesh in linked:
        mesh.data.override_create(remap_local_usages=True)
    return len(linked)


def armature_of(mesh: bpy.types.Object) -> bpy.types.Object | None:
    """The armature that a mesh hangs on."""
    modifier: Any
    for modifier in mesh.modifiers:
        if modifier.type == "ARMATURE" and modifier.object is not None:
            return modifier.object
    above = mesh.parent
    while above is not None and above.type != "ARMATURE":
        above = above.parent
    return above


def _meshes_of(target: bpy.types.Object, *, others: bool) -> tuple[bpy.types.Object, ...]:
    """The character's mesh, and those of the same rig that are nobody else's."""
    armature = armature_of(target)
    family: Iterable[bpy.types.Object] = ()
    if others and armature is not None:
        scene = target.users_scene[0] if target.users_scene else bpy.context.scene
        meshes = [one for one in scene.objects if one.type == "MESH"]
        family = [one for one in meshes if armature_of(one) == armature]
    elif others:
        family = [*target.children_recursive, *(target.parent.children if target.parent else ())]
    found: dict[bpy.types.ID, bpy.types.Object] = {}
    for one in (target, *family):
        # A mesh that has a speech of its own is another character.
        ours = one == target or not (one.type == "MESH" and properties.of(one).speech)
        if ours and one.type == "MESH" and one.data.shape_keys is not None:
            found.setdefault(one.data.shape_keys, one)
    return tuple(found.values())


def _key_names(mesh: bpy.types.Object) -> list[str]:
    keys = mesh.data.shape_keys if mesh.type == "MESH" else None
    return [block.name for block in list(keys.key_blocks)[1:]] if keys else []


def _with_visemes(weights: Weights, names: list[str]) -> Weights:
    values = visemes.to_visemes(weights, names)
    return weights | {VISEME + name: values[:, i] for i, name in enumerate(names)}


def _with_expressions(weights: Weights, fitted: rig_flame.Fitted) -> Weights:
    frames = len(next(iter(weights.values())))
    found = fitted.to_flame(weights, frames)
    return weights | {rig_flame.PREFIX + name: values for name, values in found.items()}


def _without_visemes(weights: Weights) -> Weights:
    names = [name for name in weights if name.startswith(VISEME)]
    if not names:
        return weights
    values = np.stack([weights[name] for name in names], axis=1)
    back = visemes.from_visemes(values, [name.removeprefix(VISEME) for name in names])
    return {name: w for name, w in weights.items() if name not in names} | back


def _with_reason(rig: Rig, builder: Builder) -> Rig:
    """The rig, with the reason why it cannot speak, if there is one."""
    name, reason = rig.target.name, ""
    if not rig.mouth and rig.target.library is not None:
        reason = f"“{name}” is linked: make a library override of it first"
    elif not rig.mouth and rig.target.data.library is not None:
        reason = f"The mesh of “{name}” is linked: press Override Mesh Data in Rig"
    elif not rig.mouth and rig_flame.has_expressions(rig.target):
        reason = f"“{name}” is a FLAME rig: press Add Speech Keys, or Fit Expressions in Rig"
    elif not rig.mouth and builder.notes():
        reason = f"“{name}” has no shape keys for a mouth that can be keyed. {builder.notes()[0]}"
    elif not rig.mouth:
        reason = f"“{name}” has no ARKit shape keys for a mouth (jawOpen, mouthClose, …)"
    return replace(rig, reason=reason)
