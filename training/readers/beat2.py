"""BEAT2 (EMAGE, Liu et al., CVPR 2024): BEAT's performances as SMPL-X bodies with FLAME faces.

As published (`beat_english_v2.0.0` and its sisters): `train_test_split.csv` (id, type), and for
each recording NAME `smplxflame_30/NAME.npz` (`expressions` (T, 100), `poses` (T, 165) axis-angle of
55 joints of which 22 is the jaw, `mocap_frame_rate` 30), `wave16k/NAME.wav`,
`textgrid/NAME.TextGrid`.
Recordings of the type "additional" are left out, as by EMAGE unless it is told otherwise.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np

from core.audio import load_speech
from core.emotions import EMOTION_INDEX
from core.motion import MotionClip, flame_channels
from core.words.textgrid import read_phones
from training.readers.beat import Name, emotion_of, parse_name
from training.readers.interface import (
    TEST,
    TRAIN,
    VALID,
    Recording,
    Take,
    bad_source,
    check_folder,
    check_shape,
    read_lines,
    read_npz,
)

FPS = 30.0
EXPRESSIONS = 100
POSE_VALUES = 165
JAW = 22
_SPLITS = {"train": TRAIN, "val": VALID, "test": TEST, "additional": ""}


def recordings(source: Path) -> list[Recording]:
    """The recordings of one language of BEAT2.

    Raises:
        IdiolectError: "bad_source".
    """
    check_folder(source)
    index = source / "train_test_split.csv"
    header, *rows = list(csv.reader(read_lines(index))) or [[]]
    if not {"id", "type"} <= set(header):
        raise bad_source(
            index, f"expected columns id and type, found {', '.join(header) or 'none'}"
        )
    result = []
    for row in rows:
        entry = dict(zip(header, row, strict=False))
        if (kind := entry.get("type")) not in _SPLITS:
            raise bad_source(index, f"expected a type of {', '.join(_SPLITS)}; found {kind!r}")
        path = source / "smplxflame_30" / f"{entry['id']}.npz"
        sound = source / "wave16k" / f"{entry['id']}.wav"
        if _SPLITS[kind] and path.exists() and sound.exists():
            name = parse_name(path)
            load = partial(_load, path, sound, name)
            result.append(Recording(path.stem, name.identity, _SPLITS[kind], load))
    return result


def _load(path: Path, sound: Path, name: Name) -> Take:
    arrays = read_npz(path, ("expressions", "poses"), ("mocap_frame_rate",))
    frames = len(np.atleast_1d(arrays["poses"]))
    check_shape(path, "expressions", arrays["expressions"], (frames, EXPRESSIONS))
    check_shape(path, "poses", arrays["poses"], (frames, POSE_VALUES))
    fps = float(arrays.get("mocap_frame_rate", FPS))
    weights = np.hstack([arrays["expressions"], arrays["poses"][:, 3 * JAW : 3 * JAW + 3]])
    grid = path.parents[1] / "textgrid" / f"{path.stem}.TextGrid"
    return Take(
        samples=load_speech(sound),
        motion=MotionClip(weights, flame_channels(EXPRESSIONS), fps, "flame"),
        phones=read_phones(grid) if name.english and grid.is_file() else None,
        emotion=np.full(frames, EMOTION_INDEX[emotion_of(name)], np.uint8),
    )
