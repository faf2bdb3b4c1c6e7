"""What is taken out of style codes is the emotion, and as little else as can be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.animator import Animator
from core.checkpoint import load_checkpoint
from core.emotions import EMOTIONS
from core.motion import ARKIT_CHANNELS
from tests.small_model import save_small_model
from training.code_report import style_code
from training.codes import probe, retrieval
from training.corpus import Corpus, CorpusWriter
from training.hidden_emotion import erasure, main


def codes(rng: np.random.Generator, clips: int) -> tuple[np.ndarray, list[str], list[str]]:
    people = [f"p{n % 8}" for n in range(clips)]
    shown = [EMOTIONS[n // 8 % len(EMOTIONS)] for n in range(clips)]
    fixed = np.random.default_rng(1)
    of_person = dict(zip(sorted(set(people)), 2 * fixed.standard_normal((8, 24)), strict=True))
    of_emotion = dict(zip(EMOTIONS, fixed.standard_normal((8, 24)), strict=True))
    mixed = [of_person[p] + of_emotion[e] for p, e in zip(people, shown, strict=True)]
    return np.array(mixed) + 0.5 * rng.standard_normal((clips, 24)), people, shown


def one_hot(shown: list[str]) -> np.ndarray:
    return np.array([[name == emotion for emotion in EMOTIONS] for name in shown], float)


def test_a_probe_finds_nothing_and_people_stay_themselves() -> None:
    rng = np.random.default_rng(0)
    learnt, _, shown = codes(rng, 256)
    asked, people, asked_shown = codes(rng, 128)
    matrix, centre = erasure(learnt, one_hot(shown))
    kept, kept_asked = (x - (x - centre) @ matrix for x in (learnt, asked))
    assert probe(learnt, shown, asked, asked_shown).value > 0.9
    assert probe(kept, shown, kept_asked, asked_shown).value < 0.25
    assert retrieval(kept_asked, people).value > 0.95
    # No covariance is left, and doing it twice changes nothing more.
    left = (kept - kept.mean(0)).T @ (one_hot(shown) - one_hot(shown).mean(0)) / len(kept)
    assert np.abs(left).max() < 1e-9
    np.testing.assert_allclose(kept - (kept - centre) @ matrix, kept, atol=1e-9)
    # As little else as can be: seven directions, one for each emotion but the last.
    assert np.linalg.matrix_rank(matrix, tol=1e-6) == len(EMOTIONS) - 1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("hidden") / "corpus"
    rng = np.random.default_rng(3)
    with CorpusWriter(folder, ARKIT_CHANNELS, 25.0, "arkit") as writer:
        for number in range(64):
            motion = np.zeros((30, 52))
            motion[:, number % 8] = 0.5 + 0.2 * rng.random(30)  # the person
            motion[:, 20 + number // 8] += 0.4 + 0.2 * rng.random(30)  # the emotion
            samples = 0.1 * rng.standard_normal(19200)
            emotion = np.full(30, number // 8)
            writer.add(
                f"{number}", f"p{number % 8}", "train", samples, motion, np.zeros(30), emotion
            )
    return Corpus(folder)


def test_a_finished_model_is_given_it(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    model, out = save_small_model(tmp_path / "model.safetensors"), tmp_path / "new.safetensors"
    assert main(["--model", str(model), "--corpus", str(corpus.folder), "--out", str(out)]) == 0
    before, after = Animator(model, "cpu"), Animator(out, "cpu")
    assert after.config.style.hide_emotion and not before.config.style.hide_emotion
    clips = range(len(corpus.clips))
    shown = [EMOTIONS[n // 8] for n in clips]
    old, new = (np.stack([style_code(a, corpus, n) for n in clips]) for a in (before, after))
    assert probe(old, shown, old, shown).value > 0.6
    assert probe(new, shown, new, shown).value < 0.4  # no covariance: what is left is chance
    left = (new - new.mean(0)).T @ (one_hot(shown) - 1 / 8) / len(new)
    assert np.abs(left).max() < 1e-4
    # Ready-made styles are treated alike, and all else stays.
    encoder = after.engine.model.style_encoder
    style = torch.from_numpy(before.styles["lively"])
    wanted = style - (style - encoder.centre) @ encoder.taken_away
    np.testing.assert_allclose(after.styles["lively"], wanted, atol=1e-5)
    kept, made = load_checkpoint(model), load_checkpoint(out)
    for name, value in kept.part("model").items():
        assert torch.equal(value, made.tensors[f"model.{name}"]), name
    assert (
        main(["--model", str(tmp_path / "no"), "--corpus", str(corpus.folder), "--out", "x"]) == 2
    )
    assert "there is no checkpoint" in capsys.readouterr().err
