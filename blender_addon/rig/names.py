"""What the names of shape keys mean: ARKit's 52 under all the names that characters give them."""

from __future__ import annotations

import re
from dataclasses import dataclass

ARKIT_KEYS = (
    *(
        f"{name}{side}"
        for side in ("Left", "Right")
        for name in (
            *("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint"),
            *("eyeWide", "mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch", "mouthPress"),
            *("mouthLowerDown", "mouthUpperUp", "browDown", "browOuterUp", "cheekSquint"),
            *("noseSneer", "jaw", "mouth"),
        )
    ),
    *("jawForward", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower"),
    *("mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "browInnerUp", "cheekPuff"),
    "tongueOut",
)
"""The 52 names of ARKit. Their order is the worker's affair: motion files carry names."""

SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
# Left and right of these are directions of one thing, not two halves of a face.
_DIRECTIONS = ("jaw", "mouth")
# Names of other houses, where they mean one thing only.
_SYNONYMS = {
    "mouthopen": ("jawOpen",),
    "eyesclosed": ("eyeBlinkLeft", "eyeBlinkRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "blinkleft": ("eyeBlinkLeft",),
    "blinkright": ("eyeBlinkRight",),
    "fcleyeclose": ("eyeBlinkLeft", "eyeBlinkRight"),
    "fcleyecloseleft": ("eyeBlinkLeft",),
    "fcleyecloseright": ("eyeBlinkRight",),
    "まばたき": ("eyeBlinkLeft", "eyeBlinkRight"),
}

_BY_PLAIN_NAME = {name.lower(): name for name in ARKIT_KEYS}
_HALVES = {
    name.removesuffix("Left").lower(): (name, name.removesuffix("Left") + "Right")
    for name in ARKIT_KEYS
    if name.endswith("Left") and name.removesuffix("Left") not in _DIRECTIONS
}
_WHOLE = {
    name.lower(): name
    for name in ARKIT_KEYS
    if not name.endswith(("Left", "Right")) and name != "tongueOut"
}


@dataclass(frozen=True)
class Meaning:
    """What a key's name says.

    Attributes:
        channels: the ARKit channels that it stands for: one, or both sides of one.
        rank: 0 the name itself, 1 another spelling, 2 both sides at once, or another word.
        half: "left" or "right" of a channel that ARKit does not divide.
    """

    channels: tuple[str, ...] = ()
    rank: int = 0
    half: str = ""


def meaning_of(key_name: str) -> Meaning:
    """The ARKit channels that a shape key's name means; none if it is no such name.

    Known are the name itself in any case, ``_L``, ``.L``, ``L``, ``_Left`` or ``L_`` for the side,
    snake_case, and anything in front that a separator ends: ``blendShape1.eye_blink_L`` is
    ``eyeBlinkLeft``. ``mouthSmile`` is both sides at once; ``browInnerUp_L`` half a channel.
    """
    if key_name in ARKIT_KEYS:
        return Meaning((key_name,))
    words = [word.lower() for word in re.split(r"[\W_]+", key_name) if word]
    for start in range(len(words)):
        before = SIDES.get(words[start - 1], "") if start else ""
        *rest, last = words[start:]
        after = SIDES.get(last, "") if rest else ""
        stem = "".join(rest) if after else "".join([*rest, last])
        found = _spelled(stem, after or before)
        if found.channels:
            return found
    return Meaning()


def _spelled(stem: str, side: str) -> Meaning:
    if stem + side in _BY_PLAIN_NAME:
        return Meaning((_BY_PLAIN_NAME[stem + side],), 1)
    if stem + side in _SYNONYMS:
        return Meaning(_SYNONYMS[stem + side], 2)
    if side and stem in _WHOLE:
        return Meaning((_WHOLE[stem],), 1, side)
    if stem[-1:] in ("l", "r") and not side:
        glued = _spelled(stem[:-1], SIDES[stem[-1]]) if stem[:-1] in _HALVES else Meaning()
        if glued.channels:
            return glued
    if not side and stem in _HALVES:
        return Meaning(_HALVES[stem], 2)
    return Meaning()


def arkit_channel(key_name: str) -> str:
    """The one ARKit channel that a shape key's name means, or an empty string."""
    found = meaning_of(key_name)
    return found.channels[0] if len(found.channels) == 1 and not found.half else ""


def keys_by_channel(key_names: list[str]) -> dict[str, tuple[str, ...]]:
    """ARKit channel to the keys that make it: those whose names say so best.

    Several keys only where they are halves of a channel, as ``browInnerUp_L`` and ``_R``.
    """
    best: dict[str, list[tuple[int, str, str]]] = {}
    for name in key_names:
        meaning = meaning_of(name)
        for channel in meaning.channels:
            best.setdefault(channel, []).append((meaning.rank, meaning.half, name))
    chosen = {}
    for channel, found in best.items():
        # A whole before its halves, then the better name, then the earlier key.
        rank, half, name = min(found, key=lambda one: (one[0], bool(one[1])))
        halves = {h: n for r, h, n in reversed(found) if r == rank and h}
        chosen[channel] = tuple(halves.values()) if half else (name,)
    return chosen
