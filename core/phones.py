"""The phones that speech is labelled with, and how they look on the lips.

The phone set is the 39 phones of the CMU Pronouncing Dictionary (ARPAbet without stress) plus
``SIL`` for everything that is not speech: pauses, breaths, noise. A *viseme* is a class of phones
that look alike; the fourteen classes are used to measure agreement, never to drive a face directly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SILENCE = "SIL"

PHONES: tuple[str, ...] = (
    SILENCE,
    *(
        "AA",
        "AE",
        "AH",
        "AO",
        "AW",
        "AY",
        "B",
        "CH",
        "D",
        "DH",
        "EH",
        "ER",
        "EY",
        "F",
        "G",
        "HH",
        "IH",
        "IY",
    ),
    *(
        "JH",
        "K",
        "L",
        "M",
        "N",
        "NG",
        "OW",
        "OY",
        "P",
        "R",
        "S",
        "SH",
        "T",
        "TH",
        "UH",
        "UW",
        "V",
        "W",
        "Y",
    ),
    *("Z", "ZH"),
)
PHONE_INDEX: dict[str, int] = {phone: index for index, phone in enumerate(PHONES)}

# Ordered from the least to the most visible mouth: silence, lips shut, lip on teeth, tongue,
# vowels.
VISEMES: dict[str, tuple[str, ...]] = {
    "silence": (SILENCE,),
    "lips_closed": ("P", "B", "M"),
    "lip_on_teeth": ("F", "V"),
    "tongue_on_teeth": ("TH", "DH"),
    "tongue_behind_teeth": ("T", "D", "N", "S", "Z"),
    "tongue_up": ("L",),
    "tongue_back": ("K", "G", "NG", "HH"),
    "palatal": ("CH", "JH", "SH", "ZH"),
    "rhotic": ("R", "ER"),
    "rounded": ("W", "UW", "UH"),
    "open": ("AA", "AH", "AY", "AW"),
    "mid": ("EH", "AE", "EY"),
    "spread": ("IH", "IY", "Y"),
    "open_rounded": ("AO", "OW", "OY"),
}
VISEME_NAMES: tuple[str, ...] = tuple(VISEMES)
VISEME_INDEX: dict[str, int] = {name: index for index, name in enumerate(VISEME_NAMES)}

BILABIALS: tuple[str, ...] = VISEMES["lips_closed"]
STOPS: tuple[str, ...] = ("P", "B", "T", "D", "K", "G", "CH", "JH")

PHONE_TO_VISEME: np.ndarray = np.array(
    [
        next(VISEME_INDEX[name] for name, members in VISEMES.items() if phone in members)
        for phone in PHONES
    ],
    dtype=np.int64,
)
"""(40,) index into VISEME_NAMES for every phone."""


def viseme_posteriors(phone_posteriors: np.ndarray) -> np.ndarray:
    """Sums the probabilities of phones that look alike.

    Args:
        phone_posteriors: (..., 40) probabilities over PHONES.

    Returns:
        (..., 14) probabilities over VISEME_NAMES.
    """
    membership = np.eye(len(VISEME_NAMES), dtype=phone_posteriors.dtype)[PHONE_TO_VISEME]
    return phone_posteriors @ membership


class Segment(NamedTuple):
    """One phone in time.

    Attributes:
        phone: A member of `PHONES`.
        start_s: Where it begins, seconds.
        end_s: Where it ends, seconds.
    """

    phone: str
    start_s: float
    end_s: float
