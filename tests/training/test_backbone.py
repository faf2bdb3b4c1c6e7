"""Training of the backbone: it learns, it resumes, it says what is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import IdiolectError
from core.model.backbones import BackboneConfig
from core.model.paired_backbone import PairedBackbone
from core.model.speech import CompactBackbone, CompactBackboneConfig
from core.phones import PHONE_INDEX

pytest.importorskip("pocketsphinx")

from core.phones import Segment
from training import pair_backbones
from training.backbone import (
    BackboneTraining,
    TrainConfig,
    load_backbone,
    main,
    phone_loss,
    save_backbone,
    trusted,
)
from training.synthesis.alignment import IGNORED
from training.synthesis.augment import AugmentConfig
from training.synthesis.speech_corpus import ShardWriter, find_shards

TINY = TrainConfig(
    backbone=BackboneConfig(
        compact=CompactBackboneConfig(mel_bands=40, stem_dim=16, dim=32, dilations=(1, 1))
    ),
    augment=AugmentConfig(noise_only_chance=0, mute_chance=0, room_chance=0, throat=0.05),
    batch=4,
    crop_s=2.0,
    learning_rate=5e-3,
    warmup_steps=5,
    average_decay=0.9,
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Steps this small only wait for each other on several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three tones called AA, IY and S, in random order, in two shards."""
    rng = np.random.default_rng(0)
    pitches = {"AA": 300.0, "IY": 1500.0, "S": 5000.0}
    time = np.arange(3200) / 16000
    for shard in ("exact", "flite"):
        writer = ShardWriter(tmp_path / "corpus" / shard)
        for split in ("train", "train", "train", "valid"):
            phones = list(rng.choice(sorted(pitches), 20))
            samples = [0.1 * np.sin(2 * np.pi * pitches[phone] * time) for phone in phones]
            segments = [Segment(p, 0.2 * i, 0.2 * i + 0.2) for i, p in enumerate(phones)]
            writer.add(
                np.concatenate(samples).astype(np.float32),
                segments,
                name="tones",
                speaker="nobody",
                split=split,
            )
        writer.close()
    return tmp_path / "corpus"


def test_learns_three_tones_and_is_read_back(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "backbone.safetensors"
    # A clock of its own, so that the number of steps does not depend on the machine.
    ticks = itertools.count()
    clock = lambda: 0.1 * next(ticks)  # noqa: E731
    training = BackboneTraining(find_shards([corpus]), TINY, out, clock=clock)
    training.run(minutes=0.3)
    assert 150 < training.step < 200
    backbone = load_backbone(out)
    time = torch.arange(16000) / 16000
    for phone, hertz in (("AA", 300.0), ("IY", 1500.0), ("S", 5000.0)):
        with torch.inference_mode():
            tone = 0.14 * torch.sin(2 * torch.pi * hertz * time)[None]
            heard = backbone(tone).phone_logits[0, 10:40].argmax(dim=-1)
        assert (heard == PHONE_INDEX[phone]).float().mean() > 0.9, phone


def test_goes_on_where_it_was(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "backbone.safetensors"
    first = BackboneTraining(find_shards([corpus]), TINY, out)
    first.run(minutes=0.02)
    second = BackboneTraining(find_shards([corpus]), TINY, out, seed=5)
    second.resume()
    assert second.step == first.step > 0
    assert second.elapsed_s == pytest.approx(first.elapsed_s)
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], value)
    for name, value in first.average.state_dict().items():
        torch.testing.assert_close(second.average.state_dict()[name], value)
    # The next step is the same one, the optimiser's memory included.
    log_mel, labels = torch.randn(2, 200, 40), torch.zeros(2, 100, dtype=torch.long)
    beliefs = torch.zeros(2, 100, 40)
    for training in (first, second):
        training.network.eval()  # without dropout
        training._train_step(log_mel, labels, beliefs, 1e-3, False)
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], value)


def test_stops_when_validation_says_so(corpus: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        **{**TINY.__dict__, "learning_rate": 0.0, "valid_every_s": 0.0, "patience": 2}
    )
    training = BackboneTraining(find_shards([corpus]), config, tmp_path / "b.safetensors")
    training.run(minutes=10)
    assert training.elapsed_s < 60
    assert training.since_best == 2


def test_a_next_round_begins_with_trained_weights(corpus: Path, tmp_path: Path) -> None:
    first = BackboneTraining(find_shards([corpus]), TINY, tmp_path / "first.safetensors")
    first.run(minutes=0.02)
    second = BackboneTraining(find_shards([corpus]), TINY, tmp_path / "second.safetensors")
    second.start_from(tmp_path / "first.safetensors")
    assert second.best == pytest.approx(first.best)
    trained = load_backbone(tmp_path / "first.safetensors").state_dict()
    for name, value in second.network.state_dict().items():
        torch.testing.assert_close(value, trained[name])


def test_weights_of_other_sizes_are_no_beginning(corpus: Path, tmp_path: Path) -> None:
    other = replace(TINY, backbone=BackboneConfig(compact=replace(TINY.backbone.compact, dim=24)))
    save_backbone(
        tmp_path / "other.safetensors", CompactBackbone(other.backbone.compact), other, {}
    )
    training = BackboneTraining(find_shards([corpus]), TINY, tmp_path / "b.safetensors")
    with pytest.raises(IdiolectError, match=r"other\.safetensors"):
        training.start_from(tmp_path / "other.safetensors")


def test_two_files_become_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    wide = replace(TINY, backbone=BackboneConfig(compact=replace(TINY.backbone.compact, dim=24)))
    files = [tmp_path / f"{name}.safetensors" for name in ("one", "two", "pair")]
    networks = []
    for seed, (path, config) in enumerate(zip(files[:2], (TINY, wide), strict=True)):
        torch.manual_seed(seed)
        networks.append(CompactBackbone(config.backbone.compact).eval())
        save_backbone(path, networks[-1], config, {"step": seed})
    assert pair_backbones.main([*map(str, files[:2]), "--out", str(files[2])]) == 0
    pair = load_backbone(files[2])
    assert isinstance(pair, PairedBackbone)
    samples = 0.1 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        heard, one, two = (network(samples) for network in (pair, *networks))
    assert torch.equal(heard.hidden, one.hidden)
    mean = (one.phone_logits.softmax(-1) + two.phone_logits.softmax(-1)) / 2
    torch.testing.assert_close(heard.phone_logits.softmax(-1), mean)
    # A pair is no single one.
    assert pair_backbones.main([str(files[2]), str(files[0]), "--out", str(files[2])]) == 2
    assert "pair of backbones already" in capsys.readouterr().err


def test_beliefs_speak_where_labels_are_silent() -> None:
    config = TrainConfig(belief=0.5, closure_weight=1.0, label_smoothing=0.0)
    first, second = PHONE_INDEX["AA"], PHONE_INDEX["IY"]
    logits = torch.zeros(1, 3, 40)
    beliefs = torch.zeros(1, 3, 40)
    beliefs[0, :2, second] = 1
    labels = torch.tensor([[first, IGNORED, IGNORED]])
    logits.requires_grad_(True)
    phone_loss(logits, labels, beliefs, config).backward()
    pull = -logits.grad[0] * 2  # two frames count
    assert pull[0, first] == pytest.approx(pull[0, second]) == pytest.approx(0.5 - 1 / 40)
    assert pull[1, second] == pytest.approx(1 - 1 / 40)
    assert (pull[2] == 0).all()


def test_labels_that_beliefs_contradict_are_not_learnt() -> None:
    labels = np.full(40, PHONE_INDEX["AA"], dtype=np.uint8)
    beliefs = np.zeros((40, 40), dtype=np.float32)
    beliefs[:20, PHONE_INDEX["AA"]] = 1
    beliefs[20:, PHONE_INDEX["IY"]] = 1
    kept = trusted(labels, beliefs) != IGNORED
    assert kept[:22].all()  # two frames beyond, since alignments are not exact
    assert not kept[22:].any()
    assert (trusted(labels, np.zeros_like(beliefs)) != IGNORED).all()


def test_command_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--speech-corpus", str(tmp_path), "--out", str(tmp_path / "b.safetensors")]
    assert main(arguments) == 2
    assert "speech_corpus" in capsys.readouterr().err
    with pytest.raises(IdiolectError):
        load_backbone(tmp_path / "b.safetensors")
