"""Motion to F-curves and back: the only place that knows how an Action stores them.

Until Blender 4.3 an Action holds F-curves itself; from 4.4 it holds slots, and one layer with one
strip holds a channelbag of F-curves for each slot (``action.fcurves`` is gone in 5.0): ``actions``.

Everything goes through ``foreach_set`` (``curves``): hundreds of times faster than
``keyframe_insert``. ``writing`` puts motion into Actions of our own, beside keys that stay
(``splicing``); ``nla`` lays those above or below the artist's; ``corrections`` and ``baking`` are
for what he does next; ``reading`` samples any Action.
"""

from __future__ import annotations

from .actions import HAS_SLOTS
from .baking import bake
from .corrections import add as add_corrections
from .corrections import lift as lift_edits
from .corrections import limit as limit_corrections
from .corrections import of as corrections_of
from .curves import Curve, Place, value_path
from .marks import Line, edits_of, lines_of
from .nla import CORRECTIONS, MARK, speech_action
from .reading import (
    animated_elsewhere,
    curve_of,
    places_of,
    sample_action,
    sample_places,
    shape_key_names,
)
from .writing import Keyed, Manner, key_curves

__all__ = [
    "CORRECTIONS",
    "HAS_SLOTS",
    "MARK",
    "Curve",
    "Keyed",
    "Line",
    "Manner",
    "Place",
    "add_corrections",
    "animated_elsewhere",
    "bake",
    "corrections_of",
    "curve_of",
    "edits_of",
    "key_curves",
    "lift_edits",
    "limit_corrections",
    "lines_of",
    "places_of",
    "sample_action",
    "sample_places",
    "shape_key_names",
    "speech_action",
    "value_path",
]
