"""Studies by the command people type: tiny trainings, real tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.animator import Animator
from core.checkpoint import load_checkpoint
from core.model.config import load_toml
from core.phones import PHONE_INDEX
from tests.training.small_corpus import save_small_backbone
from training import ablate, speed
from training.corpus import Corpus
from training.motion_phones import distance, motion_phone_error
from training.study import CONFIGS, Budget, config_of
from training.synthesis.speech_corpus import Shard, ShardWriter
from training.synthesis.study_corpus import StudyPlan, make_study
from training.train import TrainConfig


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
    for index in corpus.select("transitions"):
        assert len(set(corpus.clip_emotion(index).tolist())) == 2
    train = {corpus.clips[i].name.split("@")[0] for i in corpus.select("train")}
    assert not train & {corpus.clips[i].name.split("@")[0] for i in corpus.select("test")}


def test_presets_are_trained_and_measured_by_one_command(
    corpus: Corpus, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["presets", "--corpus", str(corpus.folder), "--out", str(tmp_path / "out")]
    command += ["--steps", "2", "--batch", "2", "--width", "16", "--limit", "4"]
    command += ["--judge-steps", "2", "--backbone", str(backbone), "--splits", "test-a", "test-b"]
    command += ["--set", "device=cpu"]
    assert ablate.main(command) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "out" / "table.md").read_text(encoding="utf-8") == printed
    assert "2 steps of 2 clips of 2.4 s for each, all parts 16 wide" in printed
    data = json.loads((tmp_path / "out" / "study.json").read_text(encoding="utf-8"))
    names = [variant.name for variant in ablate.STUDIES["presets"]]
    assert names[:4] == ["one-hot baseline", "mimic", "personalized", "idiolect"]
    assert list(data["variants"]) == names
    for name in names:
        assert printed.count(f"| {name} |") >= 2
        found = data["variants"][name]["splits"]["test-b"]["everything"]
        assert all(np.isfinite(found[key]) for key in ("lve_mm", "ldtw_m", "fdd_m2", "scs"))
    # The baseline knows its people by name, and has no codes to ask.
    baseline = tmp_path / "out" / "one-hot-baseline" / "model.safetensors"
    assert sorted(Animator(baseline, "cpu").styles) == ["mean", "p-000", "p-001", "p-002"]
    assert data["variants"]["one-hot baseline"]["splits"]["test-a"]["codes"] == {}
    told = data["variants"]["mimic"]["splits"]["test-a"]["codes"]
    assert "emotion read from style codes" in told
    union = load_checkpoint(tmp_path / "out" / "idiolect" / "model.safetensors")
    assert union.tensors["model.style_encoder.taken_away"].abs().max() > 0  # the emotion
    assert not (tmp_path / "out" / "idiolect--known-people-by-name" / "model.safetensors").exists()
    by_one, by_name = (
        data["variants"][name]["splits"] for name in ("idiolect", "idiolect, known people by name")
    )
    known, strangers = (
        [one[split]["everything"]["lve_mm"] for one in (by_one, by_name)]
        for split in ("test-a", "test-b")
    )
    assert known[0] != known[1] and strangers[0] == strangers[1]
    # What is done is kept: the files are those of the first time.
    before = baseline.stat().st_mtime_ns
    assert ablate.main([*command, "--variants", "one-hot baseline"]) == 0
    assert baseline.stat().st_mtime_ns == before
    assert "w/o" not in printed and load_checkpoint(baseline).metadata["steps"] == 2


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
