"""Raw motion in the .blend: what the model gave, to be finished again without the model.

It lives on the Action that plays it, as text, about 0.3 MB a minute. So it is saved, appended,
copied and undone with the keys that were made from it, and never belongs to others; on a linked
character with a library override the Action is local, and so is this. The settings by which it is
finished live on the character.

Shapes: T raw frames, C channels.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import bpy
import numpy as np
from bpy.props import CollectionProperty, FloatProperty, IntProperty, StringProperty

from .. import keying
from ..worker.protocol import WorkerError

HIDDEN = {"HIDDEN"}


class IdiolectMotion(bpy.types.PropertyGroup):
    """The raw motion of one speech. Lives on the Action that shows it."""

    speech: StringProperty(options=HIDDEN)
    first: IntProperty(options=HIDDEN)
    speed: FloatProperty(default=1.0, options=HIDDEN)
    raw: StringProperty(options=HIDDEN)
    finished: StringProperty(options=HIDDEN)
    keys: IntProperty(options=HIDDEN)
    dense: IntProperty(options=HIDDEN)
    error: FloatProperty(options=HIDDEN)


@dataclass(frozen=True)
class Stored:
    """The raw motion of one speech.

    Attributes:
        speech: the file, absolute.
        first: frame at which it starts.
        speed: seconds of it that go by in one second of the scene.
        raw: the worker's ``.npz`` file.
        finished: by what settings the keys were made from it, in one word.
        keys: how many keys it has.
        dense: how many it would have with one at each frame.
        error: how far a curve is off for the sake of fewer.
    """

    speech: str
    first: int
    speed: float
    raw: bytes
    finished: str = ""
    keys: int = 0
    dense: int = 0
    error: float = 0.0


def motions_of(action: bpy.types.Action | None) -> list[Stored]:
    """All that is stored with an Action.

    Raises:
        WorkerError: if it is damaged.
    """
    if action is None:
        return []
    return [
        Stored(
            one.speech,
            one.first,
            one.speed,
            _unpacked(one.raw),
            one.finished,
            one.keys,
            one.dense,
            one.error,
        )
        for one in _entries(action)
    ]


def keep(action: bpy.types.Action, motion: Stored) -> None:
    """Store a motion in place of an earlier one of the same speech; what lost its keys goes."""
    entries = _entries(action)
    known = {line.speech for line in keying.lines_of(action)}
    for at in reversed(range(len(entries))):
        if entries[at].speech == motion.speech or entries[at].speech not in known:
            entries.remove(at)
    entry = entries.add()
    entry.speech, entry.first, entry.speed = motion.speech, motion.first, motion.speed
    entry.raw = base64.b64encode(zlib.compress(motion.raw, 6)).decode("ascii")
    entry.finished = motion.finished
    entry.keys, entry.dense, entry.error = motion.keys, motion.dense, motion.error


def has_any(action: bpy.types.Action) -> bool:
    """Whether raw motion is stored with an Action."""
    return len(_entries(action)) > 0


def summary(action: bpy.types.Action | None) -> tuple[int, int, float]:
    """Keys, keys that there would be with one at each frame, and the greatest error."""
    entries = [] if action is None else list(_entries(action))
    error = max((one.error for one in entries), default=0.0)
    return sum(one.keys for one in entries), sum(one.dense for one in entries), error


def merged(
    old: bytes,
    new: bytes,
    held: Callable[[str], bool],
    span_s: tuple[float, float] | None = None,
    fade_s: float = 0.0,
) -> bytes:
    """New raw motion, with the old where it shall stay.

    Args:
        old: the worker's file of the earlier motion of the same speech.
        new: that of the new one.
        held: whether a channel stays as it was.
        span_s: from when to when the new one counts; None: throughout.
        fade_s: how long the cross-fade at both ends takes, within the span.
    """
    before, after = _arrays(old), _arrays(new)
    weights = np.array(after["weights"])
    names = [str(name) for name in before["channels"]]
    earlier = np.zeros_like(weights)
    count = min(len(weights), len(before["weights"]))
    for column, name in enumerate(after["channels"].tolist()):
        if name in names:
            earlier[:count, column] = before["weights"][:count, names.index(name)]
            earlier[count:, column] = earlier[count - 1, column]
    share = np.ones(len(weights), np.float32)
    if span_s is not None:
        times = np.arange(len(weights)) / float(after["fps"])
        inwards = np.minimum(times - span_s[0], span_s[1] - times) / max(fade_s, 1e-6)
        share = inwards.clip(0.0, 1.0)
        share = share * share * (3.0 - 2.0 * share)
    shares = np.tile(share[:, None], (1, weights.shape[1]))
    shares[:, [held(str(name)) for name in after["channels"]]] = 0.0
    mixed = earlier.astype(np.float32) * (1 - shares) + weights.astype(np.float32) * shares
    file = io.BytesIO()
    np.savez(file, **{**after, "weights": mixed.astype(weights.dtype)})
    return file.getvalue()


def alike(one: bytes, other: bytes) -> bool:
    """Whether two of the worker's files hold motion of the same space."""
    return str(_arrays(one)["space"]) == str(_arrays(other)["space"])


def loudness_of(action: bpy.types.Action) -> list[tuple[int, float, Any]]:
    """First frame, speed, and loudness 0..1 at 50 Hz of each speech: cheap enough for drawing.

    Raises:
        WorkerError: if it is damaged.
    """
    return [(one.first, one.speed, _loudness_in(one.raw)) for one in _entries(action)]


@lru_cache(maxsize=8)
def _loudness_in(text: str) -> Any:
    """Relative to the loudest moment. Stored are units of 20 dB; drawn as they are, silence would
    look loud, and as amplitudes, speech would look silent: this lies between.
    """
    heard = np.asarray(_arrays(_unpacked(text))["loudness"], np.float32)
    return 10.0 ** (0.7 * (heard - heard.max()))


def _entries(action: bpy.types.Action) -> Any:
    return action.idiolect_motions  # type: ignore[attr-defined]


def _unpacked(text: str) -> bytes:
    try:
        return zlib.decompress(base64.b64decode(text, validate=True))
    except (ValueError, zlib.error) as error:
        raise WorkerError(
            "The motion that is stored with this character is damaged.",
            hint="Press Animate from Speech again.",
            code="bad_raw",
        ) from error


def _arrays(raw: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def register() -> None:
    """Let Actions hold raw motion."""
    bpy.utils.register_class(IdiolectMotion)
    bpy.types.Action.idiolect_motions = CollectionProperty(  # type: ignore[attr-defined]
        type=IdiolectMotion, options=HIDDEN
    )


def unregister() -> None:
    """What a .blend holds of it stays in it."""
    del bpy.types.Action.idiolect_motions  # type: ignore[attr-defined]
    bpy.utils.unregister_class(IdiolectMotion)
