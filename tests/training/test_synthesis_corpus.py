"""The corpus of speech: shards, augmentation, crops."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from core.audio import ACTIVE_RMS, load_speech
from core.errors import IdiolectError
from core.phones import PHONE_INDEX, SILENCE

pytest.importorskip("pocketsphinx")

from core.phones import Segment
from training.backbone import CropSource, TrainConfig
from training.synthesis.augment import AugmentConfig, Augmenter, _knocks
from training.synthesis.speech_corpus import Shard, ShardWriter, find_shards, main

SENTENCE = "Bob packed my five dozen liquor jugs. Who saw the beautiful moon?"
QUIET = AugmentConfig(
    level_db=0, mute_chance=0, noise_only_chance=0, noise_chance=0, room_chance=0, equaliser_db=0,
    band_limit_chance=0, high_pass_chance=0, throat=0,
)  # fmt: skip


@pytest.fixture
def recordings(tmp_path: Path, speech_file: Path) -> Path:
    """A folder with one clip for every split and kind."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    samples = load_speech(speech_file)
    rows = []
    for split in ("train", "valid", "test"):
        for corpus, text in (("Books", SENTENCE), ("speechocean762", SENTENCE), ("Radio", "")):
            name = f"{split}_{corpus}.flac"
            soundfile.write(folder / name, samples, 16000)
            rows.append(
                {"file": name, "corpus": corpus, "speaker": split, "transcript": text,
                 "duration_s": "4.4", "split": split}
            )  # fmt: skip
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_command_makes_shards_without_the_test_split(recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "corpus"
    assert main(["--out", str(out), "--real", str(recordings)]) == 0
    assert {path.name for path in out.iterdir()} == {"exact", "prompt", "recognised"}
    for shard in find_shards([out]):
        assert [clip.split for clip in shard.clips] == ["train", "valid"]
        for clip in shard.clips:
            samples, labels = shard.samples(clip), shard.labels(clip)
            assert len(samples) == 160 * len(labels)
            assert 0.6 * ACTIVE_RMS < samples.std() < 1.2 * ACTIVE_RMS
            assert (labels == PHONE_INDEX["UW"]).sum() > 5
    # Asked again, it keeps what is there.
    stamp = (out / "exact" / "samples.npy").stat().st_mtime_ns
    assert main(["--out", str(out), "--real", str(recordings)]) == 0
    assert (out / "exact" / "samples.npy").stat().st_mtime_ns == stamp


def test_command_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--out", str(tmp_path / "corpus"), "--real", str(tmp_path)]) == 2
    assert "index.csv" in capsys.readouterr().err
    (tmp_path / "index.csv").write_text("file,words\na.wav,hello\n")
    assert main(["--out", str(tmp_path / "corpus"), "--real", str(tmp_path)]) == 2
    assert "transcript" in capsys.readouterr().err
    assert not (tmp_path / "corpus").exists()
    with pytest.raises(IdiolectError, match="no speech corpus"):
        find_shards([tmp_path])


def make_shard(folder: Path, name: str = "exact") -> Shard:
    """A shard of one clip: a tone that sounds exactly where it is labelled AA."""
    time = np.arange(16000 * 12) / 16000
    sounding = (time % 1.0) < 0.4
    segments = [Segment("AA", float(second), second + 0.4) for second in range(12)]
    writer = ShardWriter(folder / name)
    writer.add(
        (0.1 * sounding * np.sin(2 * np.pi * 500 * time)).astype(np.float32),
        segments,
        name="tone",
        speaker="nobody",
    )
    writer.close()
    return Shard(folder / name)


def test_shard_gives_back_what_was_put_in(tmp_path: Path) -> None:
    shard = make_shard(tmp_path)
    (clip,) = shard.clips
    assert (clip.frames, clip.first) == (1200, 0)
    assert (shard.labels(clip) == PHONE_INDEX["AA"]).sum() == 12 * 40
    writer = ShardWriter(tmp_path / "nothing")
    writer.add(np.zeros(100, np.float32), [], name="too short", speaker="nobody")
    with pytest.raises(IdiolectError, match="nothing"):
        writer.close()
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("speed", [0.0, 0.2])
def test_crops_keep_sound_and_labels_together(tmp_path: Path, speed: float) -> None:
    config = TrainConfig(batch=16, speed=speed)
    crops = CropSource([make_shard(tmp_path)], config, np.random.default_rng(0))
    samples, labels, _ = crops.batch()
    assert samples.shape == (16, 64000)
    assert labels.shape == (16, 200)
    # Label n belongs to the 20 ms around sample 320 n.
    padded = np.pad(samples, ((0, 0), (160, 160)))[:, : 200 * 320].reshape(16, 200, 320)
    loud = np.abs(padded).max(axis=2) > 0.02
    agree = loud == (labels == PHONE_INDEX["AA"])
    edges = np.diff(labels.astype(int), axis=1, prepend=labels[:, :1]) != 0
    near_edge = edges | np.roll(edges, -1, axis=1) | np.roll(edges, 1, axis=1)
    assert agree[~near_edge].mean() > 0.995
    assert agree.mean() > 0.95


def test_augmenter_does_nothing_when_told_so(tmp_path: Path) -> None:
    crops = CropSource([make_shard(tmp_path)], TrainConfig(batch=4), np.random.default_rng(0))
    samples, labels, _ = crops.batch()
    augment = Augmenter(np.random.default_rng(0), QUIET)
    augment._mask = lambda log_mel: None  # type: ignore[method-assign]
    log_mel, marks = augment(samples.copy(), labels.copy())
    expected = augment._log_mel(torch.from_numpy(samples))
    torch.testing.assert_close(log_mel, expected, atol=1e-4, rtol=1e-4)
    assert (marks.numpy() == labels).all()


def test_augmenter_is_loud_varied_and_repeatable(tmp_path: Path) -> None:
    crops = CropSource([make_shard(tmp_path)], TrainConfig(batch=8), np.random.default_rng(0))
    samples, labels, _ = crops.batch()
    first, marks = Augmenter(np.random.default_rng(1))(samples.copy(), labels.copy())
    again, _ = Augmenter(np.random.default_rng(1))(samples.copy(), labels.copy())
    other, _ = Augmenter(np.random.default_rng(2))(samples.copy(), labels.copy())
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)
    assert first.shape == (8, 400, 80)
    assert marks.shape == (8, 200)
    assert first.isfinite().all()


def test_muted_and_replaced_sound_is_labelled_as_silence(tmp_path: Path) -> None:
    silence = PHONE_INDEX[SILENCE]
    rng = np.random.default_rng(0)
    speech = rng.normal(0, ACTIVE_RMS, (4, 64000)).astype(np.float32)
    labels = np.full((4, 200), PHONE_INDEX["AA"], np.uint8)
    only_noise = AugmentConfig(noise_only_chance=1.0)
    _, marks = Augmenter(np.random.default_rng(0), only_noise)(speech.copy(), labels.copy())
    assert (marks == silence).all()
    muting = AugmentConfig(**{**QUIET.__dict__, "mute_chance": 1.0})
    changed, marks = speech.copy(), labels.copy()
    Augmenter(np.random.default_rng(0), muting)(changed, marks)
    level = np.abs(changed.reshape(4, 200, 320)).max(axis=2)
    assert ((level < 0.01) == (marks == silence)).all()
    assert 0.02 < (marks == silence).mean() < 0.5


def test_knocks_are_bursts_with_quiet_between() -> None:
    for seed in range(20):
        sound = _knocks(np.random.default_rng(seed), 4)
        assert sound.shape == (4 * 16000,) and np.isfinite(sound).all()
        level = np.sqrt(np.mean(sound.reshape(-1, 160) ** 2, axis=1))  # 10 ms
        assert np.median(level) < 0.5 * level.max()
