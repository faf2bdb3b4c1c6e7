"""Takes of the Live Link Face app: a .csv of ARKit weights with its sound or video beside it.

NAME.csv lies anywhere under the folder, NAME.wav (or .m4a, .mov, …) beside it, NAME.TextGrid or
NAME.txt too where there are any. The identity is the name of the folder that holds the take. There
is no published split: every tenth take of a person is held out for validation.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from core.audio import load_speech
from core.motion_files import load_motion
from training.readers.interface import (
    TRAIN,
    Recording,
    Take,
    check_folder,
    sound_beside,
    with_held_out,
    words_beside,
)

_VARIANTS = ("_raw", "_cal", "_neutral")
"""The app writes the take before and after calibration, and the calibration, beside the take."""


def recordings(source: Path) -> list[Recording]:
    """The recordings of a folder of takes.

    Raises:
        IdiolectError: "bad_source".
    """
    check_folder(source)
    found = []
    for path in sorted(source.rglob("*.csv")):
        sound = sound_beside(path)
        if sound and not path.stem.endswith(_VARIANTS):
            name = path.relative_to(source).with_suffix("").as_posix()
            load = partial(_load, path, sound)
            found.append(Recording(name, path.parent.name or source.name, TRAIN, load))
    return with_held_out(found)


def _load(path: Path, sound: Path) -> Take:
    phones, transcript = words_beside(path)
    return Take(load_speech(sound), load_motion(path), phones, transcript)
