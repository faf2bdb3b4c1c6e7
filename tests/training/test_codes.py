"""Probes find what codes hold, and judges judge what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import IdiolectError
from core.motion import ARKIT_CHANNELS
from training.codes import moments, probe, retrieval, rises
from training.corpus import Corpus, CorpusWriter
from training.judges import load_judges
from training.judges import main as judges_main
from training.sync import confidence, offset_ms
from training.tsne import tsne

FPS = 25.0


def clustered(rng: np.random.Generator, apart: float) -> tuple[np.ndarray, list[str]]:
    labels = [f"p{n % 6}" for n in range(60)]
    centres = apart * rng.standard_normal((6, 12))
    return np.array([centres[int(name[1:])] for name in labels]) + rng.standard_normal(
        (60, 12)
    ), labels


def test_probes_find_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    codes, labels = clustered(rng, 3.0)
    found = retrieval(codes, labels)
    assert found.value > 0.95 and found.chance == pytest.approx(9 / 59) and found.count == 60
    assert probe(codes[:36], labels[:36], codes[36:], labels[36:]).value > 0.95
    noise, labels = clustered(rng, 0.0)
    assert retrieval(noise, labels).value < 0.4
    blind = probe(noise[:36], labels[:36], noise[36:], labels[36:])
    assert blind.value < 0.45 and blind.chance == pytest.approx(1 / 6)
    # Whoever has one clip cannot be found again, and whom the probe never met it cannot name.
    assert retrieval(codes[:6], labels[:6]).count == 0
    assert probe(codes[:6], labels[:6], codes[6:12], ["q"] * 6).count == 0


def test_moments_tell_apart_what_means_and_spreads_do_not() -> None:
    rng = np.random.default_rng(2)
    clips, labels = [], []
    for number in range(60):
        turn = np.linalg.qr(np.random.default_rng(number % 6).standard_normal((4, 4)))[0]
        frames = rng.standard_normal((80, 4)) * (3.0, 1.0, 0.5, 0.2) @ turn
        clips.append((frames - frames.mean(0)) / frames.std(0))
        labels.append(f"p{number % 6}")
    codes = np.stack([moments(clip) for clip in clips])
    assert codes.shape == (60, 4 + 4 + 6)
    np.testing.assert_allclose(codes[0, 8], np.corrcoef(clips[0].T)[0, 1])
    np.testing.assert_allclose(moments(np.ones((1, 2))), [1, 1, 0, 0, 0])
    means = codes[:, :8]
    assert probe(codes[:36], labels[:36], codes[36:], labels[36:]).value > 0.9
    assert probe(means[:36], labels[:36], means[36:], labels[36:]).value < 0.45


def test_rising() -> None:
    assert rises([1.0, 1.5, 2.0, 2.0, 3.0]) and rises([3.0, 2.0, 1.9, 1.0, 0.5])
    assert rises([1.0, 2.0, 1.99, 3.0, 4.0])  # a hair's breadth
    assert not rises([1.0, 2.0, 1.0, 3.0, 4.0])


def test_tsne_keeps_neighbours_together() -> None:
    codes, labels = clustered(np.random.default_rng(1), 6.0)
    assert retrieval(tsne(codes, steps=250), labels).value > 0.9


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two people who differ in how far they open; their jaw follows the loudness of a buzz."""
    folder = tmp_path_factory.mktemp("judges") / "corpus"
    rng = np.random.default_rng(4)
    with CorpusWriter(folder, ARKIT_CHANNELS, FPS, "arkit") as writer:
        for number in range(20):
            person, split = ("ada", "bo")[number % 2], "train" if number < 14 else "test"
            loud = np.repeat(rng.random(20), 8)  # a new level each 160 ms, at 50 Hz
            buzz = np.sign(np.sin(np.arange(len(loud) * 320) * 0.05))
            samples = 0.2 * np.repeat(loud, 320) * buzz
            motion = np.zeros((80, 52))
            jaw = np.interp(np.arange(80) / FPS, np.arange(len(loud)) / 50, loud)
            motion[:, ARKIT_CHANNELS.index("jawOpen")] = jaw * (0.2 if person == "ada" else 0.7)
            writer.add(f"{number}", person, split, samples, motion, np.zeros(80))
    return Corpus(folder)


def test_judges_tell_people_apart_and_hear_lateness(corpus: Corpus) -> None:
    torch.set_num_threads(1)
    judges = load_judges(corpus, steps=100)
    assert judges.style.measured["accuracy"] == 1.0
    ada, bo, ada2 = (corpus.clip_motion(index) for index in (14, 15, 16))
    assert judges.style.similarity(ada, ada) == pytest.approx(1.0)
    assert judges.style.similarity(ada, ada2) > judges.style.similarity(ada, bo) + 0.3
    late = np.roll(corpus.clip_motion(14), 3, axis=0)  # 120 ms
    found = judges.judge(corpus.clip_motion(14), late, corpus.clip_samples(14))
    assert offset_ms(found.sync) - offset_ms(found.true_sync) == pytest.approx(120, abs=30)
    still = judges.judge(ada, np.zeros_like(ada), corpus.clip_samples(14))
    assert confidence(still.sync) < 0.1 < confidence(still.true_sync)
    # Kept beside the corpus: the second time they are read, and judge the same.
    again = load_judges(corpus, steps=100)
    assert again.style.measured == judges.style.measured
    np.testing.assert_array_equal(again.style.embedding(ada), judges.style.embedding(ada))


def test_judges_say_what_they_lack(
    tmp_path: Path, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    with CorpusWriter(tmp_path / "c", ARKIT_CHANNELS, FPS, "arkit") as writer:
        writer.add("a", "ada", "train", np.zeros(16000), np.zeros((25, 52)), np.zeros(25))
    with pytest.raises(IdiolectError, match="has 1 people, two are needed"):
        load_judges(Corpus(tmp_path / "c"), steps=2)
    assert judges_main(["--corpus", str(tmp_path / "c"), "--steps", "2"]) == 2
    assert "--no-judges" in capsys.readouterr().err
    assert judges_main(["--corpus", str(corpus.folder), "--steps", "100"]) == 0
    assert "scs: accuracy 1" in capsys.readouterr().out
