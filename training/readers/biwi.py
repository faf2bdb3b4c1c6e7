"""BIWI 3D Audiovisual Corpus of Affective Communication, as FaceFormer and CodeTalker unpack it.

14 people, 23370 vertices, 25 fps: see `training.readers.vertex_files` for the folder; names are
such as F2_e01. Subjects and sentences are split as by CodeTalker: sentences 1-32 / 33-36 / 37-40 of
six people for training, validation and Test-A, sentences 37-40 of the eight others for Test-B.

The unit of length after that preprocessing is not published, and heads come out about as tall as
one unit. Where the median template is not as tall as a face, all are scaled so that it is, and the
factor is logged: figures in mm then mean something; published figures are in the unscaled unit.
"""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from core.restricted_pickle import load_restricted
from training.readers.interface import (
    TEST,
    TRAIN,
    VALID,
    Recording,
    bad_source,
    check_folder,
    nested,
)
from training.readers.vertex_files import vertex_recordings

log = logging.getLogger(__name__)

FPS = 25.0
VERTICES = 23370
TRAIN_SUBJECTS = ("F2", "F3", "F4", "M3", "M4", "M5")
TEST_SUBJECTS = ("F1", "F5", "F6", "F7", "F8", "M1", "M2", "M6")
FACE_HEIGHT_M = 0.25
PLAUSIBLE_HEIGHT_M = (0.15, 0.40)


def split_of(subject: str, sentence: int) -> str:
    """The published split; "" for what it leaves out."""
    if subject in TRAIN_SUBJECTS and 1 <= sentence <= 40:
        return TRAIN if sentence <= 32 else VALID if sentence <= 36 else TEST
    return TEST if subject in TEST_SUBJECTS and 37 <= sentence <= 40 else ""


def recordings(source: Path) -> list[Recording]:
    """The recordings of BIWI.

    Raises:
        IdiolectError: "bad_source" and what `core.restricted_pickle` raises.
    """
    check_folder(source)
    return vertex_recordings(source, VERTICES, FPS, split_of, _metres_per_unit(source))


def _metres_per_unit(source: Path) -> float:
    path = source / "templates.pkl"
    templates = [np.asarray(t) for t in nested(path, load_restricted(path)).values()]
    if not templates or any(t.size != 3 * VERTICES or t.dtype.kind != "f" for t in templates):
        shapes = ", ".join(sorted({str(t.shape) for t in templates})) or "none"
        raise bad_source(path, f"expected templates of {VERTICES} × 3 numbers, found {shapes}")
    height = float(np.median([np.ptp(t.reshape(-1, 3), axis=0).max() for t in templates]))
    if PLAUSIBLE_HEIGHT_M[0] <= height <= PLAUSIBLE_HEIGHT_M[1]:
        return 1.0
    factor = FACE_HEIGHT_M / height
    log.warning("%s: heads are %.3g units tall; scaled by %.4g to metres", path, height, factor)
    return factor
