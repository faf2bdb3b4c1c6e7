"""Beliefs of a trained backbone about recordings, for its next round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pocketsphinx")

from core.animator import BUNDLED_CHECKPOINT
from core.audio import load_speech
from core.phones import PHONE_INDEX, Segment
from training.relabel import lean_towards_words, main
from training.synthesis.speech_corpus import ShardWriter, find_shards

TEXT = "BOB PACKED MY FIVE DOZEN LIQUOR JUGS WHO SAW THE BEAUTIFUL MOON"
SHUT = [PHONE_INDEX[phone] for phone in "PBM"]


def test_beliefs_are_written_beside_the_labels_of_real_speech(
    tmp_path: Path, speech_file: Path
) -> None:
    samples = load_speech(speech_file)
    for name in ("exact", "flite"):
        writer = ShardWriter(tmp_path / name)
        writer.add(samples, [Segment("SIL", 0.0, 4.0)], name="bob", speaker="bob", text=TEXT)
        writer.close()
    arguments = ["--speech-corpus", str(tmp_path), "--backbone", str(BUNDLED_CHECKPOINT)]
    assert main(arguments) == 0
    assert not (tmp_path / "flite" / "beliefs.npy").exists()
    shard = next(s for s in find_shards([tmp_path]) if s.folder.name == "exact")
    (clip,) = shard.clips
    beliefs = shard.beliefs(clip)
    assert beliefs.shape == (clip.frames, 40)
    np.testing.assert_allclose(beliefs.sum(axis=1), 1, atol=0.05)
    closed = beliefs[:, SHUT].sum(axis=1) > 0.6
    runs = np.flatnonzero(np.diff(closed.astype(int), prepend=0) == 1)
    assert len(runs) == 5  # B-o-b p-acked m-y … b-eautiful m-oon; b and p touch


def test_words_that_do_not_fit_change_nothing_much() -> None:
    heard = np.zeros((120, 40), np.float32)
    heard[:, PHONE_INDEX["AA"]] = 1
    leaning = lean_towards_words(heard, "BUMPER SHIP")
    assert (leaning[:, SHUT].sum(axis=1) < 0.05).all()
    assert (leaning[:, PHONE_INDEX["AA"]] > 0.95).all()
