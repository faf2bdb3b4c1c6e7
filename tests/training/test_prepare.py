"""From published corpora to the form that training reads, by the command people type."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from published import (
    write_beat2,
    write_beat_recording,
    write_biwi,
    write_hdtf,
    write_live_link,
    write_sound,
    write_track,
    write_vocaset,
)

from core.audio import ACTIVE_RMS, speech_gain
from core.emotions import EMOTION_INDEX
from core.errors import IdiolectError
from core.model.config import ModelConfig, MotionConfig
from core.motion import ARKIT_CHANNELS, MotionClip
from core.phones import PHONE_INDEX, PHONES, Segment
from training.batches import CorpusBatches, DataConfig
from training.corpus import Corpus, CorpusWriter, FeatureStore
from training.growing_array import GrowingArray
from training.prepare import main
from training.readers.clips import Options, make_clip, phones_at
from training.readers.interface import Take

COMMANDS = {
    "vocaset": write_vocaset,
    "biwi": lambda folder: write_biwi(folder, height=0.25),
    "beat": lambda folder: write_beat_recording(folder, "1_wayne_0_9_9"),
    "beat2": lambda folder: write_beat2(folder, {"2_scott_0_9_9": "train"}),
    "hdtf": write_hdtf,
    "flame-tracks": lambda folder: write_track(folder / "a_000.npz", folder / "a_000.wav"),
    "live-link": lambda folder: write_live_link(folder / "Ada" / "take.csv"),
}


@pytest.mark.parametrize("reader", COMMANDS)
def test_every_reader_ends_in_a_corpus(
    reader: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    COMMANDS[reader](tmp_path / "source")
    assert main([reader, str(tmp_path / "source"), str(tmp_path / "out"), "--fps", "25"]) == 0
    corpus = Corpus(tmp_path / "out")
    assert corpus.fps == 25 and len(corpus.clips) > 0
    printed = capsys.readouterr().out
    assert f"train: {len(corpus.select('train'))} clips" in printed
    for index, clip in enumerate(corpus.clips):
        samples = corpus.clip_samples(index)
        assert speech_gain(samples) == pytest.approx(1.0, abs=0.06), "the level is normal"
        assert clip.samples == pytest.approx(clip.frames / 25 * 16000, abs=16000 / 25)
        assert np.isfinite(corpus.clip_motion(index)).all()
        assert corpus.clip_phones(index).shape == corpus.clip_emotion(index).shape == (clip.frames,)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_vocaset_in_the_corpus(tmp_path: Path) -> None:
    templates = write_vocaset(tmp_path / "voca")
    out = tmp_path / "out"
    assert main(["vocaset", str(tmp_path / "voca"), str(out), "--fps", "30", "--no-align"]) == 0
    corpus = Corpus(out)
    assert (corpus.space, corpus.channels[2], len(corpus.channels)) == ("vertices", "z0", 15069)
    index = next(i for i, clip in enumerate(corpus.clips) if clip.frames == 24)
    # 60 fps halved: every second frame, exactly but for half precision.
    expected = np.linspace(0, 0.01, 48)[::2]
    np.testing.assert_allclose(corpus.clip_motion(index)[:, 7], expected, atol=5e-6)
    person = corpus.clips[index].identity
    np.testing.assert_allclose(corpus.template(person), templates[person], atol=1e-7)
    assert corpus.template("nobody") is None
    assert [len(corpus.select(split)) for split in ("train", "valid", "test", "test-b")] == [
        2,
        1,
        1,
        1,
    ]
    with pytest.raises(
        IdiolectError, match="no clips in the split test-a; it has test, train, valid"
    ):
        corpus.select("test-a")
    with pytest.raises(IdiolectError, match="no clips in the split train-a"):
        corpus.select("train-a")
    assert (corpus.clip_phones(index) == 255).all() and (corpus.clip_emotion(index) == 255).all()


def test_biwi_has_test_a_and_test_b(tmp_path: Path) -> None:
    write_biwi(tmp_path / "biwi", height=0.25)
    assert main(["biwi", str(tmp_path / "biwi"), str(tmp_path / "out")]) == 0
    corpus = Corpus(tmp_path / "out")
    names = {s: [corpus.clips[i].name for i in corpus.select(s)] for s in ("test-a", "test-b")}
    assert names == {"test-a": ["F2_e37"], "test-b": ["F1_e40"]}


def test_beat_phones_and_emotions(tmp_path: Path) -> None:
    write_beat_recording(tmp_path / "beat", "1_wayne_0_74_74")
    assert main(["beat", str(tmp_path / "beat"), str(tmp_path / "out"), "--fps", "50"]) == 0
    corpus = Corpus(tmp_path / "out")
    assert corpus.channels == ARKIT_CHANNELS
    named = ["?" if p == 255 else PHONES[p] for p in corpus.clip_phones(0)]
    # 0.5, 0.6 and 0.9 s are frames 25, 30 and 45; "spn" from there on is unknown.
    assert named == ["SIL"] * 25 + ["B"] * 5 + ["IY"] * 15 + ["?"] * (len(named) - 45)
    assert set(corpus.clip_emotion(0)) == {EMOTION_INDEX["anger"]}
    motion = corpus.clip_motion(0)
    np.testing.assert_allclose(motion[:, 17], np.arange(50) * 1.2 * 0.5 / 59, atol=5e-4)
    assert (motion[:, ARKIT_CHANNELS.index("tongueOut")] == 0).all()


def test_transcripts_are_aligned(tmp_path: Path, speech_file: Path) -> None:
    path = tmp_path / "source" / "Ada" / "take.csv"
    write_live_link(path, seconds=4.4)
    path.with_suffix(".wav").unlink()
    samples, rate_hz = soundfile.read(speech_file)
    soundfile.write(path.with_suffix(".flac"), samples, rate_hz)
    path.with_suffix(".txt").write_text(
        "Bob packed my five dozen liquor jugs. Who saw the beautiful moon?"
    )
    assert main(["live-link", str(path.parents[1]), str(tmp_path / "out"), "--fps", "50"]) == 0
    phones = Corpus(tmp_path / "out").clip_phones(0)
    assert (phones != 255).all()
    runs = [PHONES[p] for p in phones[np.flatnonzero(np.diff(phones, prepend=255))] if p]
    assert runs[:9] == ["B", "AA", "B", "P", "AE", "K", "T", "M", "AY"]
    assert runs[-3:] == ["M", "UW", "N"]
    assert main(["live-link", str(path.parents[1]), str(tmp_path / "raw"), "--no-align"]) == 0
    assert (Corpus(tmp_path / "raw").clip_phones(0) == 255).all()


# --------------------------------------------------------------------------------- refusals


def _error(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_lengths_that_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    path = source / "a_000.npz"
    write_track(path, path.with_suffix(".wav"), frames=50)
    write_sound(path.with_suffix(".wav"), 3.0)
    message = _error(capsys, "flame-tracks", source, out)
    assert "a_000: expected sound and motion of one length, found 3.00 s and 2.00 s" in message
    assert "--trim" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source"], "nothing is left behind"
    assert main(["flame-tracks", str(source), str(out), "--trim"]) == 0
    assert "cut by 1.00 s to the shorter" in caplog.text
    assert "cut beyond the tolerance: 1 recordings" in capsys.readouterr().out
    assert (Corpus(out).clips[0].frames, Corpus(out).clips[0].samples) == (50, 32000)
    assert main(["flame-tracks", str(source), str(tmp_path / "2"), "--tolerance", "1.1"]) == 0


def test_what_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for number in range(3):
        path = source / f"a_{number:03d}.npz"
        write_track(path, path.with_suffix(".wav"))
    np.savez(source / "a_001.npz", exp=np.zeros((5, 50)))
    message = _error(capsys, "flame-tracks", source, out)
    assert "a_001.npz: expected arrays pose; found exp" in message and not out.exists()
    assert main(["flame-tracks", str(source), str(out), "--skip-bad"]) == 0
    assert "left out: 1 recordings" in capsys.readouterr().out
    assert [clip.name for clip in Corpus(out).clips] == ["a_000", "a_002"]
    np.savez(source / "a_001.npz", exp=np.zeros((30, 51)), pose=np.zeros((30, 6)))
    message = _error(capsys, "flame-tracks", source, tmp_path / "mixed")
    assert "a_001: expected the 53 channels of the recordings before it, found 54" in message
    for number in range(3):
        np.savez(source / f"a_{number:03d}.npz", exp=np.zeros((30, 50)))
    message = _error(capsys, "flame-tracks", source, tmp_path / "none", "--skip-bad")
    assert "none of 3 recordings can be used" in message
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source"]


def test_people_and_limits(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = tmp_path / "source"
    for name in ("1_wayne_0_9_9", "1_wayne_0_10_10", "1_wayne_0_57_57", "2_scott_0_9_9"):
        write_beat_recording(source, name, grid=False)
    message = _error(capsys, "beat", source, tmp_path / "out", "--identities", "3_solomon")
    assert "no recordings of 3_solomon" in message and "It has 1_wayne, 2_scott." in message
    arguments = ["--identities", "1_wayne", "--limit", "1"]
    assert main(["beat", str(source), str(tmp_path / "out"), *arguments]) == 0
    names = [clip.name for clip in Corpus(tmp_path / "out").clips]
    assert names == ["1_wayne_0_10_10", "1_wayne_0_57_57"]


def test_nothing_there_and_output_taken(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "empty").mkdir()
    message = _error(capsys, "beat", tmp_path / "empty", tmp_path / "out")
    assert "expected recordings with their sound, found none" in message
    write_beat_recording(tmp_path / "beat", "1_wayne_0_9_9")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "diary.txt").write_text("mine")
    message = _error(capsys, "beat", tmp_path / "beat", tmp_path / "out")
    assert "is there already" in message
    assert (tmp_path / "out" / "diary.txt").read_text() == "mine"
    assert "above zero" in _error(capsys, "beat", tmp_path / "beat", tmp_path / "o", "--fps", "0")


# ------------------------------------------------------------------------------------- clips


def _take(seconds: float = 2.0, fps: float = 60.0) -> Take:
    frames = round(seconds * fps)
    weights = np.zeros((frames, 1), np.float32)
    noise = np.random.default_rng(0).normal(0, 0.01, round(seconds * 16000))
    return Take(noise.astype(np.float32), MotionClip(weights, ("jawOpen",), fps))


def test_closures_outlive_resampling() -> None:
    take = _take()
    weights = np.full((120, 1), 0.4, np.float32)
    weights[61] = 0.0  # a "b" between two frames of 25 fps
    take = replace(take, motion=replace(take.motion, weights=weights))
    clip = make_clip(take, Options(fps=25))
    assert clip.motion[:, ARKIT_CHANNELS.index("jawOpen")].min() == 0
    assert len(clip.motion) == 50 and len(clip.samples) == 32000
    rms = np.sqrt((clip.samples**2).mean())
    assert rms == pytest.approx(ACTIVE_RMS, rel=0.05)


def test_emotions_follow_the_motion() -> None:
    labels = np.repeat([0, 5], 60).astype(np.uint8)
    clip = make_clip(replace(_take(), emotion=labels), Options(fps=25))
    assert (clip.emotion[:25] == 0).all() and (clip.emotion[26:] == 5).all()


def test_too_short() -> None:
    with pytest.raises(IdiolectError, match=r"expected at least 0.5 s, found 0.1"):
        make_clip(_take(0.15), Options())


def test_channels_of_another_rig_are_not_dropped_in_silence() -> None:
    take = replace(_take(), motion=MotionClip(np.zeros((120, 1)), ("mouth_stretch_c",), 60.0))
    with pytest.raises(IdiolectError, match="expected ARKit channels, found mouth_stretch_c"):
        make_clip(take, Options())


def test_phones_at_frames() -> None:
    times = np.arange(5) / 10
    segments = [Segment("B", 0.1, 0.2), Segment("IY", 0.2, 0.35)]
    b, iy = PHONE_INDEX["B"], PHONE_INDEX["IY"]
    assert phones_at(times, segments).tolist() == [255, b, iy, iy, 255]
    assert phones_at(times, segments, otherwise=0).tolist() == [0, b, iy, iy, 0]


# ------------------------------------------------------------------------------- the form on disk


def test_growing_array_equals_saving_at_once(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float16)
    array = GrowingArray(tmp_path / "rows.npy", "<f2", (3,))
    for part in np.split(rows, [0, 1, 400]):
        array.append(part)
    assert not (tmp_path / "rows.npy").exists()
    with pytest.raises(ValueError, match="rows of shape"):
        array.append(np.zeros((2, 4)))
    array.close()
    np.save(tmp_path / "at_once.npy", rows)
    assert (tmp_path / "rows.npy").read_bytes() == (tmp_path / "at_once.npy").read_bytes()
    other = GrowingArray(tmp_path / "other.npy", "u1")
    other.append(np.zeros(10))
    other.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["at_once.npy", "rows.npy"]


def _corpus(folder: Path, splits: list[str]) -> Corpus:
    with CorpusWriter(folder, ARKIT_CHANNELS, 25.0, "arkit") as writer:
        for place, split in enumerate(splits):
            motion = np.full((100, 52), place / 64)
            phones = np.zeros(100)
            writer.add(f"clip{place}", "ada", split, np.zeros(64000), motion, phones)
    return Corpus(folder)


def test_test_clips_are_never_learnt_from(tmp_path: Path) -> None:
    splits = ["train", "train", "valid", "valid", "test", "test"]
    corpus = _corpus(tmp_path, splits)
    tracks = [np.zeros((1200, width), np.float16) for width in (2, 40, 4)]
    features = FeatureStore(np.arange(7) * 200, *tracks)
    model = ModelConfig(motion=MotionConfig(fps=25.0))
    batches = CorpusBatches(corpus, features, model, DataConfig(batch=8), seed=1)
    learnt = np.concatenate([batches.batch(step).motion.numpy() for step in range(10)])
    assert set((learnt[:, 0, 0] * 64).round()) == {0, 1}
    measured = np.concatenate([batch.motion.numpy() for batch in batches.validation()])
    assert set((measured[:, 0, 0] * 64).round()) == {2, 3}


def test_corpora_without_emotions_still_load(tmp_path: Path) -> None:
    _corpus(tmp_path, ["train", "train"])
    (tmp_path / "emotion.npy").unlink()
    assert (Corpus(tmp_path).clip_emotion(1) == 255).all()


def test_a_failed_corpus_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="rows of shape"),
        CorpusWriter(tmp_path, ("a", "b"), 25.0, "flame") as writer,
    ):
        writer.add("x", "ada", "train", np.zeros(640), np.zeros((1, 2)), np.zeros(1))
        writer.add("y", "ada", "train", np.zeros(640), np.zeros((1, 3)), np.zeros(1))
    assert list(tmp_path.iterdir()) == []
