"""VOCASET (Cudeiro et al., CVPR 2019): scans of 12 people, 40 sentences each, FLAME topology.

As published: `data_verts.npy` (frames, 5023, 3) float32 metres at 60 fps, heads unposed; pickles
`templates.pkl` {subject: (5023, 3)}, `raw_audio_fixed.pkl` {subject: {sentence: {audio,
sample_rate}}} and `subj_seq_to_idx.pkl` {subject: {sentence: {frame: row of data_verts}}}; where it
was unpacked too, `sentencestext/SUBJECT.txt` with a sentence a line.

Also as FaceFormer and CodeTalker unpack it: see `training.readers.vertex_files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from core.restricted_pickle import INDEX_FILE, load_restricted
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
    read_npy,
    to_speech,
)
from training.readers.vertex_files import vertex_recordings

FPS = 60.0
VERTICES = 5023
TRAIN_SUBJECTS = (
    "FaceTalk_170728_03272_TA", "FaceTalk_170904_00128_TA", "FaceTalk_170725_00137_TA",
    "FaceTalk_170915_00223_TA", "FaceTalk_170811_03274_TA", "FaceTalk_170913_03279_TA",
    "FaceTalk_170904_03276_TA", "FaceTalk_170912_03278_TA",
)  # fmt: skip
"""In the order of VOCA's one-hot code."""
VALID_SUBJECTS = ("FaceTalk_170811_03275_TA", "FaceTalk_170908_03277_TA")
TEST_SUBJECTS = ("FaceTalk_170809_00138_TA", "FaceTalk_170731_00024_TA")


def split_of(subject: str, sentence: int) -> str:
    """The published split; "" for sentences 1-20 of the people held out, which nobody uses."""
    if subject in TRAIN_SUBJECTS and 1 <= sentence <= 40:
        return TRAIN
    if 21 <= sentence <= 40:
        return VALID if subject in VALID_SUBJECTS else TEST if subject in TEST_SUBJECTS else ""
    return ""


def recordings(source: Path) -> list[Recording]:
    """The recordings of VOCASET.

    Raises:
        IdiolectError: "bad_source" and what `core.restricted_pickle` raises.
    """
    check_folder(source)
    if not (source / "data_verts.npy").exists() and (source / "vertices_npy").is_dir():
        return vertex_recordings(source, VERTICES, FPS, split_of)
    vertices = read_npy(source / "data_verts.npy")
    if vertices.shape[1:] != (VERTICES, 3):
        raise bad_source(
            source / "data_verts.npy",
            f"expected frames × {VERTICES} × 3 numbers, found an array of {vertices.shape}",
        )
    templates = nested(source / "templates.pkl", load_restricted(source / "templates.pkl"))
    sound_path, index_path = source / "raw_audio_fixed.pkl", source / "subj_seq_to_idx.pkl"
    sounds, index = load_restricted(sound_path), load_restricted(index_path, limits=INDEX_FILE)
    result = []
    for subject in sorted(nested(index_path, index)):
        for sentence, rows in sorted(nested(index_path, index, subject).items()):
            number = int(sentence[-2:]) if sentence[-2:].isdigit() else 0
            # A few sentences of the scans have no sound; VOCA leaves them out as well.
            heard = sentence in nested(sound_path, sounds).get(subject, {})
            if not (split := split_of(subject, number)) or not heard:
                continue
            sound = nested(sound_path, sounds, subject, sentence)
            load = partial(_load, source, subject, number, rows, vertices, templates, sound)
            result.append(Recording(f"{subject}_{sentence}", subject, split, load))
    return result


def _load(
    source: Path,
    subject: str,
    sentence: int,
    rows: Mapping[int, int],
    vertices: np.ndarray,
    templates: Mapping[str, np.ndarray],
    sound: Mapping,
) -> Take:
    template_path, sound_path = source / "templates.pkl", source / "raw_audio_fixed.pkl"
    template = np.asarray(templates.get(subject))
    check_shape(template_path, f"the template of {subject}", template, (VERTICES, 3))
    where = np.array([rows.get(frame, -1) for frame in range(len(rows))], np.int64)
    if len(where) == 0 or where.min() < 0 or where.max() >= len(vertices):
        raise bad_source(
            source / "subj_seq_to_idx.pkl",
            f"expected frames 0 to {len(rows) - 1} of {subject}, sentence {sentence}, each with a "
            f"row below {len(vertices)}; found others",
        )
    moving = np.asarray(vertices[where], np.float32)
    check_shape(source / "data_verts.npy", "vertices", moving, (None, VERTICES, 3))
    audio = np.asarray(sound.get("audio"))
    check_shape(sound_path, f"the sound of {subject}, sentence {sentence},", audio, (None,))
    rate_hz = int(sound.get("sample_rate", 0))
    if rate_hz < 8000:
        raise bad_source(sound_path, f"expected a sample rate, found {rate_hz}")
    text_path = source / "sentencestext" / f"{subject}.txt"
    lines = read_lines(text_path) if text_path.is_file() else []
    return Take(
        samples=to_speech(audio, rate_hz),
        motion=offsets_clip(moving, template.astype(np.float32), FPS),
        transcript=lines[sentence - 1] if sentence <= len(lines) else "",
        template=template.astype(np.float32),
    )
