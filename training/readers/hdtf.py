"""3D-HDTF (Mimic, AAAI 2024): FLAME meshes of people in videos, 25 fps, in Mimic's own form.

`templates.pkl` {number of the person: (5023, 3) metres};
`spectre_processed_25fps_16kHz/VIDEO/verts_new_shape1.npy`, a pickled {verts: (T, 5023, 3)}, and
beside it `audio_librosa.npy`, a pickled {speech_array, sampling_rate}, or else
`audio_16000Hz_from_video/VIDEO.wav`. For the coefficients of the same videos see
`training.readers.flame_tracks`.

Identities and splits are those of `video_list_id_framenum-train_test.txt` (a line a video: name,
number of the person, frames, "test" or not): people 1-150 train, and their test videos make up
Test-A; the others are Test-B. Videos in `video_list_id_framenum-val.txt` are for validation.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.audio import load_speech
from core.errors import read_failed
from core.restricted_pickle import INDEX_FILE, load_restricted, loads_restricted
from training.readers.interface import (
    TEST,
    TRAIN,
    VALID,
    Recording,
    Take,
    bad_source,
    check_folder,
    check_shape,
    nested,
    offsets_clip,
    read_lines,
    to_speech,
    words_beside,
)

FPS = 25.0
VERTICES = 5023
TRAIN_PEOPLE = 150
LIST, VALID_LIST = "video_list_id_framenum-train_test.txt", "video_list_id_framenum-val.txt"
MESH_FOLDER, SOUND_FOLDER = "spectre_processed_25fps_16kHz", "audio_16000Hz_from_video"
MESHES, SOUND = "verts_new_shape1.npy", "audio_librosa.npy"


def recordings(source: Path) -> list[Recording]:
    """The recordings of 3D-HDTF.

    Raises:
        IdiolectError: "bad_source" and what `core.restricted_pickle` raises.
    """
    check_folder(source)
    path = source / "templates.pkl"
    templates = nested(path, load_restricted(path, limits=INDEX_FILE))
    split_of = mimics_split(source)
    result = []
    for meshes in sorted((source / MESH_FOLDER).glob(f"*/{MESHES}")):
        video = meshes.parent.name
        sound = meshes.with_name(SOUND)
        sound = sound if sound.exists() else source / SOUND_FOLDER / f"{video}.wav"
        if video not in split_of or not sound.exists():
            continue
        person, split = split_of[video]
        template = np.asarray(templates.get(int(person)))
        check_shape(path, f"the template of {person}", template, (VERTICES, 3))
        load = partial(_load, meshes, sound, source, template.astype(np.float32))
        result.append(Recording(video, person, split, load))
    return result


def mimics_split(source: Path) -> dict[str, tuple[str, str]]:
    """Video -> (person, split) by Mimic's lists."""
    valid = source / VALID_LIST
    validated = {line.split()[0] for line in read_lines(valid)} if valid.exists() else set()
    result = {}
    for line in read_lines(source / LIST):
        video, *words = line.split()
        if not words or not words[0].isdigit():
            raise bad_source(
                source / LIST, f"expected a name and a person's number, found {line!r}"
            )
        tested = words[-1] == "test" or int(words[0]) > TRAIN_PEOPLE
        split = VALID if video in validated else TEST if tested else TRAIN
        result[video] = (f"{int(words[0]):03d}", split)
    return result


def _load(meshes: Path, sound: Path, source: Path, template: np.ndarray) -> Take:
    moving = np.asarray(_pickled(meshes, "verts"))
    check_shape(meshes, "verts", moving, (None, VERTICES, 3))
    if sound.suffix == ".npy":
        heard = np.asarray(_pickled(sound, "speech_array"))
        check_shape(sound, "speech_array", heard, (None,))
        samples = to_speech(heard, int(_pickled(sound, "sampling_rate")))
    else:
        samples = load_speech(sound)
    # Files hold positions, or offsets from the template already: a face that stands around the
    # origin with the template's own size, or one that is as flat as its motion is small.
    still = np.abs(moving[0]).mean() < 0.5 * np.abs(template).mean()
    offsets_from = np.zeros_like(template) if still else template
    phones, transcript = words_beside(source / SOUND_FOLDER / f"{meshes.parent.name}.wav")
    return Take(
        samples=samples,
        motion=offsets_clip(moving, offsets_from, FPS),
        phones=phones,
        transcript=transcript,
        template=template,
    )


def _pickled(path: Path, name: str) -> Any:
    """An entry of the dictionary in an .npy that holds one pickled object."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"version {version} of the npy format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            content = file.read()
    except OSError as error:
        raise read_failed(path, error, setting="source") from error
    except ValueError as error:
        raise bad_source(path, f"expected an .npy, found none ({error})") from error
    if shape != () or not dtype.hasobject:
        raise bad_source(path, f"expected one pickled object, found {shape} of {dtype}")
    data = loads_restricted(content, str(path), setting="source")
    if not isinstance(data, dict) or name not in data:
        found = ", ".join(map(str, data)) if isinstance(data, dict) else type(data).__name__
        raise bad_source(path, f"expected {name}, found {found}")
    return data[name]
