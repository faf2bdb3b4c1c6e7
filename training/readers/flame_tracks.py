"""FLAME tracks of videos: DECA, EMOCA or SPECTRE coefficients, as in Mimic's 3D-HDTF.

For each clip NAME an .npz with `exp` (T, 50), `pose` (T, 6) axis-angle of head and jaw, usually
`shape` (100,) or (T, 100), at 25 fps (or `fps` in the file), anywhere under the folder; its sound
beside it, or in `audio_16000Hz_from_video/`; phones (NAME.TextGrid) or text (NAME.txt) beside it
where there are any. The head's own rotation is not kept: speech does not tell it.

Identities and splits are those of Mimic's list (`training.readers.hdtf`) where it is there. Without
it an identity is the name without its last number, as in HDTF, and every tenth clip of a person is
held out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from core.audio import load_speech
from core.motion import MotionClip, flame_channels
from training.readers.hdtf import LIST, SOUND_FOLDER, mimics_split
from training.readers.interface import (
    TRAIN,
    Recording,
    Take,
    check_folder,
    check_shape,
    read_npz,
    sound_beside,
    with_held_out,
    words_beside,
)

FPS = 25.0
POSE_VALUES = 6


def recordings(source: Path) -> list[Recording]:
    """The recordings of a folder of tracks.

    Raises:
        IdiolectError: "bad_source".
    """
    check_folder(source)
    listed = mimics_split(source) if (source / LIST).exists() else None
    found = []
    for path in sorted(source.rglob("*.npz")):
        sound = sound_beside(path) or sound_beside(source / SOUND_FOLDER / path.name)
        if sound is None or (listed is not None and path.stem not in listed):
            continue
        stem, _, number = path.stem.rpartition("_")
        identity, split = stem if number.isdigit() and stem else path.stem, TRAIN
        if listed is not None:
            identity, split = listed[path.stem]
        found.append(Recording(path.stem, identity, split, partial(_load, path, sound)))
    return with_held_out(found) if listed is None else found


def _load(path: Path, sound: Path) -> Take:
    arrays = read_npz(path, ("exp", "pose"), ("fps",))
    check_shape(path, "exp", arrays["exp"], (None, None))
    frames, expressions = arrays["exp"].shape
    check_shape(path, "pose", arrays["pose"], (frames, POSE_VALUES))
    weights = np.hstack([arrays["exp"], arrays["pose"][:, 3:]])
    phones, transcript = words_beside(path)
    return Take(
        samples=load_speech(sound),
        motion=MotionClip(
            weights, flame_channels(expressions), float(arrays.get("fps", FPS)), "flame"
        ),
        phones=phones,
        transcript=transcript,
    )
