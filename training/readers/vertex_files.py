"""Moving meshes as FaceFormer and CodeTalker unpack VOCASET and BIWI.

`vertices_npy/SUBJECT_SENTENCE.npy` (frames, 3V) positions, `wav/SUBJECT_SENTENCE.wav`,
`templates.pkl` {subject: (V, 3)}; the sentence's number is the last two digits of the name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from core.audio import load_speech
from core.restricted_pickle import load_restricted
from training.readers.interface import (
    Recording,
    Take,
    bad_source,
    check_shape,
    nested,
    offsets_clip,
    read_npy,
    words_beside,
)


def vertex_recordings(
    source: Path,
    vertices: int,
    fps: float,
    split_of: Callable[[str, int], str],
    metres_per_unit: float = 1.0,
) -> list[Recording]:
    """The recordings in such a folder.

    Args:
        source: The folder.
        vertices: Number of vertices V.
        fps: Frames per second of the files.
        split_of: Split of (subject, sentence), "" where the published splits leave it out.
        metres_per_unit: Metres in the files' unit of length.
    """
    path = source / "templates.pkl"
    templates = nested(path, load_restricted(path))
    result = []
    for motion_path in sorted((source / "vertices_npy").glob("*.npy")):
        subject, _, sentence = motion_path.stem.rpartition("_")
        if not subject or not sentence[-2:].isdigit():
            raise bad_source(motion_path, "expected a name such as SUBJECT_e01.npy")
        split = split_of(subject, int(sentence[-2:]))
        sound_path = source / "wav" / f"{motion_path.stem}.wav"
        if not split or not sound_path.exists():
            continue
        template = np.asarray(templates.get(subject))
        check_shape(path, f"the template of {subject}", template.reshape(-1, 3), (vertices, 3))
        template = (template.reshape(-1, 3) * metres_per_unit).astype(np.float32)
        load = partial(_load, motion_path, sound_path, template, fps, metres_per_unit)
        result.append(Recording(motion_path.stem, subject, split, load))
    return result


def _load(
    motion_path: Path, sound_path: Path, template: np.ndarray, fps: float, metres_per_unit: float
) -> Take:
    moving = read_npy(motion_path)
    check_shape(motion_path, "positions", moving, (None, template.size))
    moving = (moving * metres_per_unit).astype(np.float32).reshape(-1, *template.shape)
    phones, transcript = words_beside(sound_path)
    return Take(
        samples=load_speech(sound_path),
        motion=offsets_clip(moving, template, fps),
        phones=phones,
        transcript=transcript,
        template=template,
    )
