"""Models measured by the command people type, on a corpus small enough."""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_model import save_small_model

from core.animator import Animator
from core.emotions import EMOTION_INDEX
from core.motion import ARKIT_CHANNELS
from training.code_report import code_report, style_code
from training.corpus import Corpus, CorpusWriter
from training.evaluate import emotion_for, evaluate, main, references_of, style_for
from training.evaluation_figures import write_figures
from training.judges import load_judges
from training.motion_score import MEASURES, MotionScore
from training.report import markdown
from training.surfaces import ArkitSurface

FPS = 25.0


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small lose more by threads that wait for one another than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Two people in training, one of them and another in the test; a second of babble each."""
    folder = tmp_path_factory.mktemp("evaluate") / "corpus"
    rng = np.random.default_rng(3)
    people = ("ada", "ada", "bo", "bo", "ada", "ada", "cy", "cy", "di")
    takes = [(person, "train" if n < 4 else "test") for n, person in enumerate(people)]
    with CorpusWriter(folder, ARKIT_CHANNELS, FPS, "arkit") as writer:
        for number, (person, split) in enumerate(takes):
            frames = 26 + number
            jaw = 0.3 + 0.3 * np.sin(np.arange(frames) + number)
            motion = np.zeros((frames, 52))
            motion[:, ARKIT_CHANNELS.index("jawOpen")] = jaw
            samples = 0.1 * rng.standard_normal(round(frames / FPS * 16000))
            phones = rng.choice([0, 1, 7, 21], frames)
            emotion = np.full(frames, EMOTION_INDEX["anger" if number % 2 else "fear"])
            writer.add(f"{person}{number}", person, split, samples, motion, phones, emotion)
    return Corpus(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [save_small_model(folder / f"small{seed}.safetensors", seed=seed) for seed in (0, 1)]


def test_references_are_other_clips_of_the_same_person(corpus: Corpus) -> None:
    found = references_of(corpus, corpus.select("test"))
    names = {
        corpus.clips[a].name: corpus.clips[b].name if b is not None else None
        for a, b in found.items()
    }
    assert names == {"ada4": "ada5", "ada5": "ada4", "cy6": "cy7", "cy7": "cy6", "di8": None}
    # Alone in its part of the split, a clip takes its person's from elsewhere.
    assert references_of(corpus, [4]) == {4: 5}
    # ada0 and ada4 are afraid, ada1 and ada5 angry; of cy and di no other clip feels the same.
    found = references_of(corpus, corpus.select("test"), same_emotion=True)
    assert found == {4: 0, 5: 1, 6: 7, 7: 6, 8: None}


def test_groups_add_up(corpus: Corpus, models: list[Path]) -> None:
    clips = corpus.select("test")
    found = evaluate(Animator(models[0]), corpus, clips, ArkitSurface(corpus.channels))
    assert found.without_reference == 1 and found.seconds_per_second > 0
    assert list(found.identities) == ["ada", "cy", "di"]
    assert list(found.emotions) == ["anger", "fear"]
    assert found.everything["clips"] == 5
    weights = np.array([found.identities[name]["seconds"] for name in found.identities])
    for key in ("lve_m2", "fve_m2", "ldtw_m"):
        parts = np.array([found.identities[name][key] for name in found.identities])
        assert found.everything[key] == pytest.approx((weights @ parts) / weights.sum()), key


def test_merging_is_adding(corpus: Corpus) -> None:
    surface = ArkitSurface(corpus.channels)
    together, merged = MotionScore(surface, FPS), MotionScore(surface, FPS)
    for index in corpus.select("test"):
        truth = corpus.clip_motion(index)
        arguments = (truth, 0.8 * np.roll(truth, 1, axis=0), corpus.clip_phones(index),
                     corpus.clip_samples(index))  # fmt: skip
        single = MotionScore(surface, FPS)
        together.add(*arguments)
        single.add(*arguments)
        merged.merge(single)
    assert merged.summary() == pytest.approx(together.summary(), nan_ok=True)


def test_side_by_side_on_the_command_line(
    corpus: Corpus, models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = [
        "--corpus",
        str(corpus.folder),
        "--split",
        "test-a",
        "--no-judges",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(["--compare", *map(str, models), *arguments]) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "evaluation.md").read_text(encoding="utf-8") == printed
    assert "|  | small 0 | small 1 | truth |" in printed
    assert "2 clips" in printed and "1 identities" in printed
    for measure in MEASURES.values():
        assert f"| {measure.label}" in printed
    data = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert list(data["models"]) == [str(path) for path in models]
    first, second = (data["models"][str(path)]["everything"] for path in models)
    assert first["lve_mm"] == pytest.approx(1000 * math.sqrt(first["lve_m2"]))
    assert first["lve_mm"] != second["lve_mm"]
    drawn = sorted(path.name for path in (tmp_path / "out" / "figures" / "small0").iterdir())
    assert drawn == ["lips.png", "transition.png"]  # of one person's two clips there is no map
    row = next(line for line in printed.splitlines() if line.startswith("| √LVE (mm)"))
    assert f"{first['lve_mm']:.3g}" in row and f"{second['lve_mm']:.3g}" in row


def test_judges_and_codes_are_told(corpus: Corpus, models: list[Path], tmp_path: Path) -> None:
    judges = load_judges(corpus, steps=3)
    animator, surface = Animator(models[0]), ArkitSurface(corpus.channels)
    clips = corpus.select("test")
    found = evaluate(animator, corpus, clips, surface, judges=judges, same_emotion=True)
    assert -1 <= found.everything["scs"] <= 1 and math.isfinite(found.everything["sync_confidence"])
    true = found.everything["true_sync_confidence"]
    assert math.isfinite(true) and true != found.everything["sync_confidence"]
    # Groups are merged from the same clips.
    weights = np.array([group["seconds"] for group in found.identities.values()])
    scores = np.array([group["scs"] for group in found.identities.values()])
    assert found.everything["scs"] == pytest.approx(weights @ scores / weights.sum())
    report = code_report(animator, corpus, clips, surface)
    assert report.style is not None and report.style.shape == (5, 16)
    asked = report.findings["person retrieved from style codes"]
    assert asked["count"] == 4 and 0 < asked["chance"] < 1  # di has one clip
    assert "emotion read from style codes" in report.findings
    assert len(report.mixed) == 5
    found.codes = report.findings
    text = markdown([found], "corpus", "test")
    assert "## What codes hold" in text and "| SCS ↑ |" in text
    written = write_figures(tmp_path, animator, corpus, found, surface, report)
    names = ["lips.png", "mixes.png", "codes.png", "transition.png"]
    assert [path.name for path in written] == names
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written)


def test_models_are_told_what_they_take(corpus: Corpus, models: list[Path]) -> None:
    animator = Animator(models[0])
    track = emotion_for(animator, corpus, 4)
    assert track is not None and track.values.argmax(1).tolist() == [EMOTION_INDEX["fear"]] * 30
    assert style_for(animator, corpus, 8, None) is None
    other = style_for(animator, corpus, 4, 5)
    np.testing.assert_array_equal(other, style_code(animator, corpus, 5))


def test_errors(
    corpus: Corpus, models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    def error(*arguments: object) -> str:
        assert main([str(argument) for argument in arguments]) == 2
        return capsys.readouterr().err

    base = ("--checkpoint", models[0], "--corpus")
    assert "is no corpus" in error(*base, tmp_path)
    assert "no clips in the split valid" in error(*base, corpus.folder, "--split", "valid")
    with CorpusWriter(tmp_path / "v", ("x0", "y0", "z0"), FPS, "vertices") as writer:
        writer.add("a", "ada", "test", np.zeros(640), np.zeros((1, 3)), np.zeros(1))
    assert "cannot be measured without --lips" in error(*base, tmp_path / "v")
    (tmp_path / "lips.txt").write_text("0")
    message = error(*base, tmp_path / "v", "--lips", tmp_path / "lips.txt", "--lip-pair", 0, 0)
    assert "(arkit, 52 channels), found vertices, 3 channels" in message
    assert error("--checkpoint", tmp_path / "none.safetensors", "--corpus", corpus.folder)
