"""Motion into Actions of our own, one for each data-block that it moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import bpy
import numpy as np
import numpy.typing as npt

from . import actions, curves, marks, nla, reduction, splicing
from .curves import MARK, Curve, Keys, Place
from .marks import Line, lines_of

SLIDER_LIMIT = 10.0
"""Blender lets no slider of a shape key go beyond this."""


@dataclass(frozen=True)
class Manner:
    """How motion is keyed.

    Attributes:
        on_layer: on an NLA track, below the artist's active Action, which stays where it is; else
            as the active Action, below which the artist's own moves.
        bound: how far curves may be off, for the sake of fewer keys; 0: a key at each frame.
        closures: (T,) frames at which lips must be exact.
        span: the frames that may change; None: those of the line.
        fade: over how many frames within ``span`` old and new motion are cross-faded.
        holds: whether the curves of a channel are left as they are.
    """

    on_layer: bool = False
    bound: float = 0.0
    closures: npt.NDArray[np.bool_] | None = None
    span: tuple[int, int] | None = None
    fade: int = 0
    holds: Callable[[str], bool] = field(default=lambda _channel: False)


@dataclass(frozen=True)
class Keyed:
    """What ``key_curves`` did.

    Attributes:
        actions: names of the Actions that now hold the motion, one for each data-block.
        kept: names of the artist's Actions that now lie below.
        edited: names of copies of Actions of ours that were edited by hand.
        keys: how many keys the motion has; of a span, the curves that it is a part of.
        dense: how many the motion would have with one at each frame.
        error: how far a curve is off for the sake of fewer keys.
    """

    actions: tuple[str, ...]
    kept: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()
    keys: int = 0
    dense: int = 0
    error: float = 0.0


def key_curves(motion: list[Curve], line: Line, name: str, manner: Manner | None = None) -> Keyed:
    """Put motion on the properties of any data-blocks, in an Action of its own for each block.

    The artist's Actions stay as they are and play on: as the active one, or below ours, by
    ``manner``. An Action that this function made is filled anew, and keeps other lines and locked
    curves; if it was edited since, a copy of it is kept. One that another data-block uses too is
    left to that one.

    Everything that could fail happens before anything is changed.

    Args:
        motion: what to animate, each with one value for each whole frame from ``line.first`` on.
        line: which speech this is, and where.
        name: name for the Actions.
        manner: how; by default densely, as the active Action.
    """
    manner = manner or Manner()
    blocks: dict[bpy.types.ID, list[Curve]] = {}
    for curve in motion:
        blocks.setdefault(curve.datablock, []).append(curve)
    drafts = []
    for block, moved in blocks.items():
        title = name if len(blocks) == 1 else f"{name} – {block.name}"
        drafts.append(_draft(block, moved, line, title, manner))
    fresh: list[bpy.types.Action] = []
    try:
        for draft in drafts:
            if not draft.in_place:
                fresh.append(actions.new(draft.title, draft.block))
                _fill(fresh[-1], None, draft)
    except BaseException:  # Esc too: nothing half-made stays
        for action in fresh:
            bpy.data.actions.remove(action)
        raise
    # From here on nothing can fail.
    waiting = iter(fresh)
    made: list[str] = []
    kept: list[str] = []
    edited: list[str] = []
    for draft in drafts:
        animation = draft.block.animation_data or draft.block.animation_data_create()
        nla.leave_tweak_mode(animation)
        if draft.in_place:
            action, backup = _refill(animation, draft)
        else:
            action, backup = next(waiting), ""
        edited += filter(None, [backup])
        kept += filter(None, [_place(animation, action, manner.on_layer)])
        made.append(action.name)
    _widen_sliders(motion)
    return Keyed(
        tuple(made),
        tuple(kept),
        tuple(edited),
        sum(
            len(keys)
            for draft in drafts
            for keys in (draft.new if manner.span is None else draft.keys).values()
        ),
        sum(draft.dense for draft in drafts),
        max((draft.error for draft in drafts), default=0.0),
    )


@dataclass(frozen=True)
class _Draft:
    """What a data-block's Action shall hold.

    Attributes:
        block: whose.
        title: name for the Action.
        in_place: whether the Action that is there is filled anew.
        lines: the speeches that it will hold.
        new: the keys of this motion.
        keys: the keys of each curve that changes; none: the curve goes.
        dense: how many keys the motion would have with one at each frame.
        error: how far curves are off.
        was_edited: whether any curve was edited by hand.
        still_edited: curves that were edited by hand, and stay so, at least in parts.
    """

    block: bpy.types.ID
    title: str
    in_place: bool
    lines: list[Line]
    new: dict[Place, Keys]
    keys: dict[Place, Keys]
    dense: int
    error: float
    was_edited: bool
    still_edited: frozenset[Place]


def _draft(
    block: bpy.types.ID, moved: list[Curve], line: Line, title: str, manner: Manner
) -> _Draft:
    """Work out the keys; nothing is changed yet."""
    owner = nla.speech_owner(block.animation_data)
    there = {(c.data_path, c.array_index): c for c in actions.active_curves(owner)} if owner else {}
    spared = {place for place, curve in there.items() if curve.lock}
    spared |= {curve.place for curve in moved if manner.holds(curve.channel)}
    moved = [curve for curve in moved if curve.place not in spared]
    lines = lines_of(owner.action) if owner else []
    leaving = [other for other in lines if other.gives_way_to(line)]
    if manner.span is not None:
        leaving, line = [], next((other for other in lines if other.speech == line.speech), line)
    new, dense, error = _keys_of(moved, there, line, manner)
    before = {place: curves.read(curve) for place, curve in there.items()}
    keys = {}
    for place, old in before.items():
        if place in spared:
            continue
        if manner.span is None:
            rest = splicing.without(old, [(o.first, o.last) for o in [*leaving, line]])
            keys[place] = rest.and_also(new[place]) if place in new else rest
        elif place in new:
            keys[place] = splicing.replaced(old, splicing.evaluator(there[place]), new[place])
    in_place = owner is not None and not actions.is_foreign(owner)
    if not in_place:
        # Those that are left alone come along.
        keys = before | keys
    edited = frozenset(marks.edited(owner, before))
    return _Draft(
        block,
        title,
        in_place,
        [*(other for other in lines if other not in [*leaving, line]), line],
        new,
        new | keys,
        dense,
        error,
        bool(edited),
        edited - (frozenset() if manner.span else frozenset(keys)),
    )


def _keys_of(
    moved: list[Curve], there: dict[Place, bpy.types.FCurve], line: Line, manner: Manner
) -> tuple[dict[Place, Keys], int, float]:
    """The keys of new motion alone, how many there would be densely, and how far they are off."""
    first = line.first
    values = {curve.place: np.asarray(curve.values, np.float32) for curve in moved}
    closures = manner.closures
    if manner.span is not None:
        chosen = slice(manner.span[0] - line.first, manner.span[1] - line.first + 1)
        first = manner.span[0]
        frames = np.arange(first, manner.span[1] + 1, dtype=np.float32)
        for place, new in values.items():
            old = splicing.evaluator(there[place])(frames) if place in there else 0 * frames
            values[place] = splicing.cross_fade(old, new[chosen], manner.fade)
        closures = None if closures is None else closures[chosen]
    every = {place: curves.every_frame(one, first) for place, one in values.items()}
    dense = sum(map(len, every.values()))
    if not values or manner.bound <= 0.0:
        return every, dense, 0.0
    rows = np.stack(list(values.values()))
    exact = np.zeros(rows.shape, bool)
    if closures is not None:
        exact[[curve.channel in reduction.CLOSING for curve in moved]] = closures
    reduced = reduction.reduce(rows, manner.bound, exact)
    return curves.from_reduced(every, reduced), dense, reduced.error


def _fill(action: bpy.types.Action, slot: bpy.types.ID | None, draft: _Draft) -> None:
    """Write a draft's curves, and what they are, into an Action of ours."""
    if actions.HAS_SLOTS and slot is None:
        slot = action.slots[0]
    where = actions.bag(action, slot).fcurves
    there = {(curve.data_path, curve.array_index): curve for curve in where}
    for place, keys in draft.keys.items():
        curve = there.get(place)
        if not len(keys):
            if curve is not None:
                where.remove(curve)
            continue
        curves.write(curve or where.new(place[0], index=place[1]), keys)
    marks.note(action, where, draft.lines, draft.title, draft.still_edited)


def _refill(animation: bpy.types.AnimData, draft: _Draft) -> tuple[bpy.types.Action, str]:
    """Fill our Action anew. Returns it, and the name of the copy that is kept if it was edited."""
    owner = nla.speech_owner(animation)
    action, backup = owner.action, ""
    if draft.was_edited:
        copy = action.copy()
        del copy[MARK]  # the artist's now
        copy.name, copy.use_fake_user = f"{action.name} (edited)", True
        backup = copy.name
    _fill(action, actions.slot_of(owner), draft)
    if owner != animation:
        nla.fit(owner)
    return action, backup


def _place(animation: bpy.types.AnimData, action: bpy.types.Action, on_layer: bool) -> str:
    """Put our Action where it is wanted. Returns the name of the artist's, if that moved down."""
    owner = nla.speech_owner(animation)
    active = animation.action
    if on_layer or nla.is_corrected(animation):
        if owner is None or owner == animation:
            if owner is not None:
                animation.action = None
            nla.lay(animation, action)
        elif owner.action != action:
            actions.assign(owner, action)
            nla.fit(owner)
        return ""
    kept = ""
    if owner is not None and owner != animation:
        nla.take_out(animation, owner)
    if active is not None and MARK not in active:
        kept = active.name
        nla.push_down(animation)
    if animation.action != action:
        actions.assign(animation, action)
    return kept


def _widen_sliders(motion: list[Curve]) -> None:
    """Make room for the motion: Blender clamps a shape key's value to its slider's range."""
    for curve in motion:
        if not isinstance(curve.datablock, bpy.types.Key):
            continue
        block = curve.datablock.path_resolve(curve.data_path.removesuffix(".value"))
        lowest, highest = float(curve.values.min()), float(curve.values.max())
        block.slider_max = min(SLIDER_LIMIT, max(block.slider_max, highest))
        block.slider_min = max(-SLIDER_LIMIT, min(block.slider_min, lowest))
