"""FLAME tracks of videos: DECA, EMOCA or SPECTRE coefficients, as in Mimic's 3D-HDTF.

For each clip NAME an .npz with `exp` (T, 50), `pose` (T, 6) axis-angle of head and jaw, usually
`shape` (100,) or (T, 100), at 25 fps (or `fps` in the file), anywhere under the folder; its sound
beside it, or in `audio_16000Hz_from_video/`; phones (NAME.TextGrid) or text (NAME.txt) beside it
where there are any. The head's own rotation is not kept: speech does not tell it.

Identities and splits are those of Mimic's list `video_list_id_framenum-train_test.txt` (a line a
video: name, number of the person, frames, "test" or not) where it is there: people 1-150 train, and
their test videos make up Test-A; the others are Test-B. Videos in `video_list_id_framenum-val.txt`
are for validation. Without the list an identity is the name without its last number, as in HDTF,
and every tenth clip of a person is held out.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from core.audio import load_speech
from core.motion import MotionClip
from training.readers.interface import (
    TEST,
    TRAIN,
    VALID,
    Recording,
    Take,
    bad_source,
    check_folder,
    check_shape,
    flame_channels,
    read_lines,
    read_npz,
    sound_beside,
    with_held_out,
    words_beside,
)

FPS = 25.0
POSE_VALUES = 6
TRAIN_PEOPLE = 150
LIST, VALID_LIST = "video_list_id_framenum-train_test.txt", "video_list_id_framenum-val.txt"
SOUND_FOLDER = "audio_16000Hz_from_video"


def recordings(source: Path) -> list[Recording]:
    """The recordings of a folder of tracks.

    Raises:
        IdiolectError: "bad_source".
    """
    check_folder(source)
    found = []
    for path in sorted(source.rglob("*.npz")):
        sound = sound_beside(path) or sound_beside(source / SOUND_FOLDER / path.name)
        if sound:
            stem, _, number = path.stem.rpartition("_")
            identity = stem if number.isdigit() and stem else path.stem
            found.append(Recording(path.stem, identity, TRAIN, partial(_load, path, sound)))
    if not (source / LIST).exists():
        return with_held_out(found)
    people, tested = _read_list(source / LIST)
    valid = source / VALID_LIST
    validated = {line.split()[0] for line in read_lines(valid)} if valid.exists() else set()
    result = []
    for recording in found:
        if (person := people.get(recording.name)) is None:
            continue
        split = TEST if recording.name in tested or person > TRAIN_PEOPLE else TRAIN
        split = VALID if recording.name in validated else split
        result.append(replace(recording, identity=f"{person:03d}", split=split))
    return result


def _read_list(path: Path) -> tuple[dict[str, int], set[str]]:
    """Person of each video, and the videos for the test."""
    people, tested = {}, set()
    for line in read_lines(path):
        words = line.split()
        if len(words) < 2 or not words[1].isdigit():
            raise bad_source(path, f"expected a name and a person's number, found {line!r}")
        people[words[0]] = int(words[1])
        if words[-1] == "test":
            tested.add(words[0])
    return people, tested


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
