"""Studies by the command people type: tiny trainings, real tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.animator import Animator
from core.checkpoint import load_checkpoint
from core.conditioning import StyleTrack
from core.emotions import EMOTIONS
from core.model.config import load_toml
from core.phones import PHONE_INDEX
from tests.training.small_corpus import save_small_backbone
from training import ablate, evaluate, speed
from training.corpus import Corpus
from training.evaluate import Evaluation, style_for
from training.motion_phones import distance, motion_phone_error
from training.motion_score import MEASURES
from training.same_speech import spoken_alike
from training.study import CONFIGS, config_of
from training.study_record import Budget, Outcome, Record, Run, Variant
from training.study_report import compared, study_table
from training.synthesis.speech_corpus import Shard, ShardWriter
from training.synthesis.study_corpus import StudyPlan, make_study
from training.train import TrainConfig, train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three people and a stranger in every emotion, saying buzzes."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("study")
    writer = ShardWriter(folder / "speech" / "buzz")
    rng = np.random.default_rng(2)
    names = list(PHONE_INDEX)
    for number in range(12):
        phones = rng.choice(names[1:], 22)
        segments = [(str(phone), n / 10, (n + 1) / 10) for n, phone in enumerate(phones)]
        pitch = np.repeat([100.0 + 9.0 * PHONE_INDEX[phone] for phone in phones], 1600)
        samples = 0.1 * np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / 16000)).astype(np.float32)
        split = "train" if number < 8 else "valid"
        writer.add(samples, segments, name=f"b{number}", speaker="buzz", split=split)
    writer.close()
    plan = StudyPlan(people=3, tested=2, strangers=2, takes=1, transitions=2)
    make_study([Shard(folder / "speech" / "buzz")], folder / "corpus", plan)
    return Corpus(folder / "corpus")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_backbone(tmp_path_factory.mktemp("backbone") / "backbone.safetensors")


def test_study_corpus_is_as_planned(corpus: Corpus) -> None:
    counts = {split: len(corpus.select(split)) for split in ("train", "valid", "test-a", "test-b")}
    assert counts == {"train": 24, "valid": 32, "test-a": 16, "test-b": 16}
    for index in corpus.select("train"):
        labels = corpus.clip_emotion(index)
        assert (labels == labels[0]).all() and corpus.clip_intensities(index).max() >= 0.6
    shared = corpus.select("same-speech")
    assert len(shared) == 4 * len(set(spoken_alike(corpus, shared))) > 8
    people = [corpus.clips[index].identity for index in shared]
    assert sorted(set(people)) == ["p-000", "p-001", "q-000", "q-001"]
    for index in corpus.select("transitions"):
        assert len(set(corpus.clip_emotion(index).tolist())) == 2
    train = {corpus.clips[i].name.split("@")[0] for i in corpus.select("train")}
    assert not train & {corpus.clips[i].name.split("@")[0] for i in corpus.select("test")}


def test_presets_are_trained_and_measured_by_one_command(
    corpus: Corpus, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["presets", "--corpus", str(corpus.folder), "--out", str(tmp_path / "out")]
    command += ["--steps", "2", "--batch", "2", "--width", "16", "--limit", "4"]
    command += ["--judge-steps", "2", "--backbone", str(backbone)]
    command += ["--set", "device=cpu", "--seeds", "1", "idiolect=2"]
    assert ablate.main(command) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").read_text(encoding="utf-8") == printed
    assert "2 steps of 2 clips of 2.4 s for each, all parts 16 wide" in printed
    for title in ("test-a (people of the training", "test-b (unseen people)", "transitions ("):
        assert f"## {title}" in printed
    data = json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    names = [variant.name for variant in ablate.STUDIES["presets"]]
    assert names[:5] == [ablate.BASELINE, ablate.TOLD, "mimic", "personalized", "idiolect"]
    assert list(data["variants"]) == names

    def measured(name: str, split: str, key: str) -> list[float]:
        runs = data["variants"][name]["runs"]
        return [run["splits"][split]["everything"][key] for run in runs]

    for name in names:
        assert printed.count(f"| {name} |") >= 2
        for key in ("lve_mm", "ldtw_m", "fdd_m2", "scs"):
            assert np.isfinite(measured(name, "test-b", key)).all()
    # Two seeds of the union are two trainings.
    assert (tmp_path / "out" / "idiolect--seed-2" / "model.safetensors").exists()
    first, second = measured("idiolect", "test-a", "lve_mm")
    assert first != second
    # The baselines know their people by name, and have no codes to ask.
    baseline = tmp_path / "out" / "one-hot-baseline" / "model.safetensors"
    told = Animator(tmp_path / "out" / "one-hot-baseline--told-the-emotion" / "model.safetensors")
    assert sorted(Animator(baseline, "cpu").styles) == ["mean", "p-000", "p-001", "p-002"]
    assert told.config.emotion.given and not Animator(baseline, "cpu").config.emotion.given
    assert data["variants"][ablate.BASELINE]["runs"][0]["splits"]["test-a"]["codes"] == {}
    asked = data["variants"]["mimic"]["runs"][0]
    assert "emotion read from style codes" in asked["splits"]["test-a"]["codes"]
    # PSE's next checks: the same speech by several people, and errors of durations.
    assert set(asked["across"]) == {
        f"{what}: {how}"
        for what in ("content codes", "motion itself")
        for how in ("found", "nearer", "distance")
    }
    assert (
        "| content codes: found |" in printed
        and data["variants"]["idiolect"]["runs"][0]["across"] == {}
    )
    planted = data["variants"]["personalized"]["runs"][0]["planted"]["test-b"]
    assert len(planted) == 14 and planted[4]["truth"]["lve_mm"] == 0.0
    assert "## Planted errors of durations: personalized, test-b" in printed
    union = load_checkpoint(tmp_path / "out" / "idiolect" / "model.safetensors")
    assert union.tensors["model.style_encoder.taken_away"].abs().max() > 0  # the emotion
    # The second rows are the same trainings: other for people of the training, alike for strangers.
    for name in ("mimic", "personalized", "idiolect"):
        by_clip = f"{name}, by one clip"
        assert measured(name, "test-a", "lve_mm") != measured(by_clip, "test-a", "lve_mm")
        assert measured(name, "test-b", "lve_mm") == measured(by_clip, "test-b", "lve_mm")
    # The other command asks the same, where all is said by several people.
    mimic = str(tmp_path / "out" / "mimic" / "model.safetensors")
    arguments = ["--checkpoint", mimic, "--corpus", str(corpus.folder), "--no-judges"]
    assert evaluate.main([*arguments, "--split", "same-speech"]) == 0
    assert "| content codes: found |" in capsys.readouterr().out
    # What is done is kept: the files are those of the first time.
    before = baseline.stat().st_mtime_ns
    assert ablate.main([*command, "--variants", ablate.BASELINE]) == 0
    assert baseline.stat().st_mtime_ns == before
    assert "w/o" not in printed and load_checkpoint(baseline).metadata["steps"] == 2
    after = json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    assert after == data  # one variant looked at alone takes nothing from the others


def test_styles_that_carry_emotions_follow_them(
    corpus: Corpus, backbone: Path, tmp_path: Path
) -> None:
    settings = [*ablate.LISTENING, f"backbone_weights='{backbone}'"]
    config = config_of(Variant("mimic", "mimic"), corpus, Budget(2, 2, width=16), settings)
    animator = Animator(train(config, corpus.folder, tmp_path), "cpu")
    clip = corpus.select("transitions")[0]
    shown = corpus.clip_intensities(clip)
    first, last = (f"p-000 {EMOTIONS[frame.argmax()]}" for frame in (shown[0], shown[-1]))
    assert first != last and corpus.clips[clip].identity == "p-000"
    track = style_for(animator, corpus, clip, None, by_name=True)
    assert isinstance(track, StyleTrack)
    np.testing.assert_allclose(track.values[0], animator.styles[first], atol=1e-6)
    np.testing.assert_allclose(track.values[-1], animator.styles[last], atol=1e-6)
    stranger = corpus.select("test-b")[0]
    assert style_for(animator, corpus, stranger, None, by_name=True) is None


def outcome(name: str, *measured: float) -> Outcome:
    runs = []
    for seed, value in enumerate(measured, 1):
        everything = dict.fromkeys(MEASURES, value) | {"scs": 1 - value, "clips": 1.0}
        runs.append(Run(seed, f"m{seed}", 60.0, {"test-a": Evaluation(name, 1, everything)}))
    return Outcome(Variant(name, "tiny"), 1000, runs)


def test_being_ahead_is_said_only_of_what_is() -> None:
    low, high, wide = outcome("low", 0.1, 0.2), outcome("high", 0.5, 0.6), outcome("wide", 0.1, 0.9)
    five = "LVE, FVE, LDTW, LDD, SCS"
    said = compared(low, high, "test-a")
    assert said == f"low against high: ahead in {five}, its worst seed before the other's best."
    assert compared(high, low, "test-a") == f"high against low: NOT ahead in {five}."
    assert "by the mean, not with every seed" in compared(low, wide, "test-a")
    rows = study_table([low, high], "test-a")
    assert "| low | 2 | **0.15** ± 0.071 |" in rows[2] and "**" not in rows[3]


def test_a_record_keeps_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    found = outcome("a", 0.1, 0.2)
    found.runs[0].across = {"x": {"value": 1.0, "chance": float("nan"), "count": 3}}
    Record(path, Budget(), None).note(found)
    again = Record(path, Budget(), None).run("a", 1, "m1")
    assert again.evaluations["test-a"].everything["scs"] == 0.9
    assert np.isnan(again.across["x"]["chance"])
    assert not Record(path, Budget(steps=7), None).run("a", 1, "m1").evaluations
    assert not Record(path, Budget(), None).run("a", 1, "trained anew").evaluations
    assert Record(path, Budget(), None).run("a", 2, "m2").evaluations


def test_every_variant_of_every_study_is_a_valid_training(corpus: Corpus, backbone: Path) -> None:
    settings = [*ablate.LISTENING, f"backbone_weights='{backbone}'"]
    seen = {}
    for study in ablate.STUDIES:
        for variant in ablate.chosen_variants(study, "somewhere"):
            config = config_of(variant, corpus, Budget(width=16), settings)
            assert config.optim.steps == Budget().steps and config.model.motion.fps == corpus.fps
            seen[f"{study} {variant.name}"] = config
    whole = seen["mimic Mimic"]
    assert whole.loss.contrastive > 0 and seen["mimic w/o L_con"].loss.contrastive == 0
    assert seen["mimic w/o E_c"].model.content.code == 0 < whole.model.content.code
    assert not seen["personalized w/o relative positions"].model.decoder.relative
    assert seen["backbones wav2vec 2.0"].backbone.source == "somewhere"
    own = config_of(ablate.STUDIES["mimic"][0], corpus, Budget(width=0, learning_rate=0), settings)
    assert own.model.autoregressive.width == 128 and own.optim.learning_rate == 1e-4


def test_commands_say_what_is_missing(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--corpus", str(corpus.folder), "--out", str(tmp_path), "--judge-steps", "2"]
    assert ablate.main(["backbones", *common]) == 2
    assert "--wav2vec2" in capsys.readouterr().err
    assert ablate.main(["presets", *common, "--seeds", "two"]) == 2
    assert "expected a number of trainings" in capsys.readouterr().err
    assert ablate.main(["presets", *common, "--set", "optim.lr=1", "--variants", "mimic"]) == 2
    assert "unknown setting 'optim.lr'" in capsys.readouterr().err


def test_phones_are_read_from_motion(corpus: Corpus) -> None:
    assert distance(np.array([1, 2, 3]), np.array([1, 3])) == 1
    assert distance(np.array([1, 2]), np.array([3, 1, 2, 4])) == 2
    assert distance(np.zeros(0, int), np.array([1, 2])) == 2
    found = motion_phone_error(corpus, 60)
    assert found.phones > 500 and found.error < 1.2
    judged = ablate.exploratory(corpus, ablate.load_judges(corpus, steps=2), 2)
    assert "Who moves:" in judged and "What is said:" in judged


def test_decoders_are_timed_on_one_batch(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--config", str(CONFIGS / "mimic.toml"), "--steps", "1", "--threads", "1"]
    sizes = ("model.motion.channels=6", "data.batch=2", "data.window_s=1.2", "data.reference_s=1.0")
    for setting in (*sizes, "device=cpu", "model.motion.normalise=false"):
        command += ["--set", setting]
    assert speed.main(command) == 0
    printed = capsys.readouterr().out
    assert "2 clips of 1.2 s at 25 frames" in printed
    rates = {
        line.split("|")[1].strip(): float(line.split("|")[4])
        for line in printed.splitlines()
        if line.startswith("| ") and "decoder" not in line and "---" not in line
    }
    assert list(rates) == list(speed.DECODERS)
    assert rates["parallel"] > rates["free rollout (Mimic)"]
    assert load_toml(TrainConfig, CONFIGS / "mimic.toml").data.batch == 6
