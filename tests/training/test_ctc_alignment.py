"""Alignment by a CTC recogniser: the best path, and phones in time."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import IdiolectError
from core.phones import PHONE_INDEX, PHONES
from training import ctc_alignment
from training.ctc_alignment import BLANK, CtcAligner, best_path, classes_of, phone_segments
from training.prepare import forced_alignment

IPA = ("p", "b", "m", "f", "v", "t", "d", "n", "s", "z", "ʃ", "ʒ", "k", "ɡ", "ŋ", "θ", "ð", "h",
       "l", "ɹ", "w", "j", "ɑː", "æ", "ʌ", "ɔː", "aʊ", "aɪ", "ɛ", "ɚ", "eɪ", "ɪ", "iː", "oʊ", "ɔɪ",
       "ʊ", "uː", "tʃ", "dʒ")  # fmt: skip


def collapsed(labels: tuple[int, ...]) -> list[int]:
    return [label for label, _ in itertools.groupby(labels) if label != BLANK]


@pytest.mark.parametrize("targets", [[3, 5], [3, 3], [4], [2, 6, 2]])
def test_the_best_path_is_the_best_of_all(targets: list[int]) -> None:
    rng = np.random.default_rng(sum(targets))
    scores = np.full((6, BLANK + 1), -1e6, np.float32)
    kinds = sorted({*targets, BLANK})
    scores[:, kinds] = np.log(rng.dirichlet(np.ones(len(kinds)), 6))
    path = best_path(scores, np.array(targets))
    assert path is not None
    labels = tuple(BLANK if place < 0 else targets[place] for place in path)
    assert collapsed(labels) == targets

    def total(way: tuple[int, ...]) -> float:
        return float(sum(scores[n, kind] for n, kind in enumerate(way)))

    ways = [way for way in itertools.product(kinds, repeat=6) if collapsed(way) == targets]
    assert total(labels) == pytest.approx(max(map(total, ways)), abs=1e-4)


def test_too_little_time_is_no_path() -> None:
    scores = np.zeros((2, BLANK + 1), np.float32)
    assert best_path(scores, np.array([1, 1])) is None  # a blank has to fit between them
    assert best_path(scores, np.array([1, 2])) is not None
    assert best_path(scores, np.zeros(0, int)) is None


def test_blanks_go_to_the_phone_before_and_long_ones_are_pauses() -> None:
    path = np.array([-1] * 10 + [0, -1, -1, 1, 1] + [-1] * 20 + [2] + [-1] * 14)
    found = phone_segments(path, ["HH", "AY", "M"], 0.02, 1.0)
    assert [segment.phone for segment in found] == ["SIL", "HH", "AY", "SIL", "M", "SIL"]
    times = [(round(s.start_s, 2), round(s.end_s, 2)) for s in found]
    assert times == [(0.0, 0.2), (0.2, 0.26), (0.26, 0.42), (0.42, 0.7), (0.7, 0.84), (0.84, 1.0)]


def save_recogniser(folder: Path, tokens: tuple[str, ...]) -> Path:
    from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

    torch.manual_seed(2)
    words = ("<pad>", "<s>", "</s>", "<unk>", *tokens)
    config = Wav2Vec2Config(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_dim=(8,) * 7, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    vocabulary = {token: index for index, token in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    return folder


def test_a_recogniser_of_the_published_form_aligns(tmp_path: Path) -> None:
    aligner = forced_alignment(str(save_recogniser(tmp_path / "ctc", IPA)))
    assert isinstance(aligner, CtcAligner)
    samples = np.random.default_rng(1).standard_normal(2 * 16000).astype(np.float32)
    found = aligner(samples, "My big map.")
    assert found is not None
    said = [segment.phone for segment in found if segment.phone != "SIL"]
    assert said == ["M", "AY", "B", "IH", "G", "M", "AE", "P"]
    assert found[0].start_s == 0.0 and found[-1].end_s == pytest.approx(2.0)
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in itertools.pairwise(found))
    assert aligner(samples[:1600], "A very long sentence indeed.") is None
    assert aligner(samples, "...") is None


def test_what_is_no_recogniser_of_phones_is_said(tmp_path: Path) -> None:
    letters = tuple("abcdefghijklmnopqrstuvwxyz")
    with pytest.raises(IdiolectError, match="does not write phones") as caught:
        CtcAligner(str(save_recogniser(tmp_path / "letters", letters[:5])))
    assert caught.value.setting == "--ctc"
    with pytest.raises(IdiolectError, match="cannot be loaded"):
        CtcAligner(str(tmp_path / "nowhere"))
    classes = classes_of({"<pad>": 0, **{token: n for n, token in enumerate(IPA, 1)}}, "x")
    assert classes[0] == BLANK and classes[1] == PHONE_INDEX["P"]
    assert set(classes[1:].tolist()) == set(range(len(PHONES))) - {PHONE_INDEX["SIL"]}


def test_torchaudio_says_the_same_where_it_is() -> None:
    pytest.importorskip("torchaudio", exc_type=ImportError)
    rng = np.random.default_rng(4)
    scores = np.log(rng.dirichlet(np.ones(BLANK + 1), 40)).astype(np.float32)
    targets = rng.integers(1, BLANK, 12)
    assert ctc_alignment._by_torchaudio(scores, targets) is not None
    np.testing.assert_array_equal(
        best_path(scores, targets), ctc_alignment._viterbi(scores, targets)
    )
