"""Each reader against files of the published form, and against files that are not."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from published import (
    BEAT_CHANNELS,
    RATE_HZ,
    textgrid,
    write_beat2,
    write_beat_recording,
    write_biwi,
    write_hdtf,
    write_live_link,
    write_sound,
    write_track,
    write_vocaset,
)

from core.emotions import EMOTION_INDEX, EMOTIONS
from core.errors import IdiolectError
from training.readers import READERS
from training.readers.beat import emotion_of, parse_name, splits_of
from training.readers.interface import Recording, Take, to_speech, with_held_out


def read(reader: str, source: Path) -> dict[str, Recording]:
    return {recording.name: recording for recording in READERS[reader](source)}


def error_of(reader: str, source: Path) -> IdiolectError:
    """The error met on listing or loading."""
    with pytest.raises(IdiolectError) as caught:
        for recording in READERS[reader](source):
            recording.load()
    return caught.value


# ------------------------------------------------------------------------------------- VOCASET


def test_vocaset(tmp_path: Path) -> None:
    templates = write_vocaset(tmp_path / "voca")
    found = read("vocaset", tmp_path / "voca")
    assert {name[-26:]: r.split for name, r in found.items()} == {
        "170728_03272_TA_sentence01": "train",
        "170728_03272_TA_sentence40": "train",
        "170811_03275_TA_sentence21": "valid",
        "170809_00138_TA_sentence33": "test",
    }
    recording = found["FaceTalk_170728_03272_TA_sentence40"]
    take = recording.load()
    assert recording.identity == "FaceTalk_170728_03272_TA"
    assert (take.motion.space, take.motion.fps) == ("vertices", 60.0)
    assert take.motion.weights.shape == (42, 15069)
    # Offsets from the person's own template, metres: what the ramp added, at the right rows.
    expected = np.repeat(np.linspace(0, 0.01, 42)[:, None], 15069, axis=1)
    np.testing.assert_allclose(take.motion.weights, expected, atol=1e-7)
    assert take.motion.channels[:4] == ("x0", "y0", "z0", "x1")
    np.testing.assert_allclose(take.template, templates[recording.identity], atol=1e-7)
    assert len(take.samples) == pytest.approx((42 / 60 + 0.02) * RATE_HZ, abs=2)
    assert take.transcript == "She said line 40."
    assert found["FaceTalk_170809_00138_TA_sentence33"].load().transcript == ""


def test_vocaset_unpacked_by_faceformer(tmp_path: Path) -> None:
    original = tmp_path / "voca"
    templates = write_vocaset(original)
    source, name = tmp_path / "unpacked", "FaceTalk_170728_03272_TA_sentence01"
    (source / "vertices_npy").mkdir(parents=True)
    moving = (templates[name[:24]].reshape(1, -1) + np.zeros((30, 1))).astype(np.float32)
    np.save(source / "vertices_npy" / f"{name}.npy", moving)
    (source / "templates.pkl").write_bytes((original / "templates.pkl").read_bytes())
    write_sound(source / "wav" / f"{name}.wav", 0.5, 22000)
    found = read("vocaset", source)
    assert (found[name].split, found[name].load().motion.weights.shape) == ("train", (30, 15069))


def test_vocaset_errors(tmp_path: Path) -> None:
    assert "there is no such folder" in error_of("vocaset", tmp_path / "none").message
    write_vocaset(source := tmp_path / "voca")

    class Attack:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "touched",)

    whole = (source / "templates.pkl").read_bytes()
    (source / "templates.pkl").write_bytes(pickle.dumps({"x": Attack()}))
    assert error_of("vocaset", source).code == "unsafe_file"
    assert not (tmp_path / "touched").exists()
    (source / "templates.pkl").write_bytes(pickle.dumps({}))
    assert "5023 × 3 numbers, found none" in error_of("vocaset", source).message
    (source / "templates.pkl").write_bytes(whole)
    index = pickle.loads((source / "subj_seq_to_idx.pkl").read_bytes())
    index["FaceTalk_170728_03272_TA"]["sentence01"][7] = 10**6
    (source / "subj_seq_to_idx.pkl").write_bytes(pickle.dumps(index))
    assert "expected frames 0 to 47" in error_of("vocaset", source).message
    np.save(source / "data_verts.npy", np.zeros((3, 5024, 3), np.float32))
    message = error_of("vocaset", source).message
    assert "data_verts.npy" in message and "5023" in message and "(3, 5024, 3)" in message


# ---------------------------------------------------------------------------------------- BIWI


def test_biwi(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_biwi(tmp_path)
    found = read("biwi", tmp_path)
    assert {name: (r.identity, r.split) for name, r in found.items()} == {
        "F2_e01": ("F2", "train"),
        "F2_e33": ("F2", "valid"),
        "F2_e37": ("F2", "test"),
        "F1_e40": ("F1", "test"),
    }
    assert "0.25" in caplog.text, "the scaling is told"
    take = found["F2_e37"].load()
    assert take.motion.weights.shape == (20, 70110) and take.motion.fps == 25
    assert take.template is not None
    assert np.ptp(take.template, axis=0).max() == pytest.approx(0.25, rel=1e-3)
    assert take.motion.weights[-1] == pytest.approx(0.04 * 0.25, rel=1e-3)
    assert len(take.samples) == pytest.approx(20 / 25 * RATE_HZ, abs=2)


def test_biwi_in_metres_stays(tmp_path: Path) -> None:
    write_biwi(tmp_path, frames=2, height=0.3)
    take = read("biwi", tmp_path)["F2_e01"].load()
    assert take.motion.weights[-1] == pytest.approx(0.04 * 0.3, rel=1e-3)


def test_biwi_errors(tmp_path: Path) -> None:
    write_biwi(tmp_path, frames=2)
    np.save(tmp_path / "vertices_npy" / "F2_e01.npy", np.zeros((2, 15069)))
    message = error_of("biwi", tmp_path).message
    assert "F2_e01.npy" in message and "any × 70110" in message and "2 × 15069" in message
    np.save(tmp_path / "vertices_npy" / "F2_e01.npy", np.array([{}], dtype=object))
    assert "plain numbers" in error_of("biwi", tmp_path).message
    (tmp_path / "templates.pkl").write_bytes(pickle.dumps({"F2": np.zeros((5023, 3))}))
    assert "expected templates of 23370 × 3" in error_of("biwi", tmp_path).message


# ---------------------------------------------------------------------------------------- BEAT


def test_beat(tmp_path: Path) -> None:
    for name in ("1_wayne_0_9_9", "1_wayne_0_118_118", "5_stewart_0_66_66", "12_zhao_2_9_9"):
        write_beat_recording(tmp_path, name)
    found = read("beat", tmp_path)
    recording = found["1_wayne_0_118_118"]
    take = recording.load()
    assert (recording.identity, recording.split) == ("1_wayne", "valid")
    assert (take.motion.space, take.motion.fps) == ("arkit", 60.0)
    assert take.motion.weights.shape == (60, 51) and take.motion.channels == BEAT_CHANNELS
    assert take.motion.select(("tongueOut",)).max() == 0
    assert take.phones == [("SIL", 0, 0.5), ("B", 0.5, 0.6), ("IY", 0.6, 0.9)]
    assert take.emotion is not None and set(take.emotion) == {EMOTION_INDEX["disgust"]}
    assert found["5_stewart_0_66_66"].split == "train"
    # Mandarin: its TextGrid is not ARPAbet and is not read.
    assert found["12_zhao_2_9_9"].load().phones is None


def test_beat_halves(tmp_path: Path) -> None:
    """Of people with one hour, the first half of a take is for the test, the second to validate."""
    write_beat_recording(tmp_path, "5_stewart_0_65_65", seconds=2.0)
    found = read("beat", tmp_path)
    assert {name: r.split for name, r in found.items()} == {
        "5_stewart_0_65_65_a": "test",
        "5_stewart_0_65_65_b": "valid",
    }
    first, second = (found[f"5_stewart_0_65_65_{half}"].load() for half in "ab")
    assert len(first.motion.weights) == len(second.motion.weights) == 60
    assert len(first.samples) == len(second.samples) == RATE_HZ
    assert second.motion.weights[0, 0] > first.motion.weights[-1, 0]
    assert first.phones == [("SIL", 0, 0.5), ("B", 0.5, 0.6), ("IY", 0.6, 0.9)]
    assert second.phones == []


def test_beat_emotions_in_time(tmp_path: Path) -> None:
    write_beat_recording(tmp_path, name := "1_wayne_1_2_2")
    (tmp_path / "1" / f"{name}.csv").write_text("emo,0,0.5,0.5,0\nemo,0.5,0.75,0.25,6\n")
    labels = read("beat", tmp_path)[name].load().emotion
    assert labels is not None
    assert [int(labels[i]) for i in (0, 29, 30, 44, 45)] == [0, 0, 6, 6, 255]
    (tmp_path / "1" / f"{name}.csv").write_text("emo,0,0.5,0.5,9\n")
    message = error_of("beat", tmp_path).message
    assert f"{name}.csv" in message and "emo,0,0.5,0.5,9" in message


@pytest.mark.parametrize(
    ("name", "splits", "emotion"),
    [
        ("1_wayne_0_1_1", ["test"], "neutral"),
        ("1_wayne_0_56_56", ["train"], "neutral"),
        ("1_wayne_0_64_64", ["valid"], "neutral"),
        ("1_wayne_0_65_65", ["test"], "happiness"),
        ("1_wayne_0_72_72", ["valid"], "happiness"),
        ("1_wayne_0_81_81", ["test"], "sadness"),
        ("1_wayne_0_86_86", ["valid"], "sadness"),
        ("1_wayne_0_95_95", ["test"], "surprise"),
        ("1_wayne_0_112_112", ["train"], "disgust"),
        ("1_wayne_0_1_8", ["test"], "neutral"),
        ("1_wayne_0_8_9", ["test"], "neutral"),
        ("1_wayne_1_1_1", ["test"], "neutral"),
        ("1_wayne_1_12_12", ["valid"], "neutral"),
        ("5_stewart_0_5_8", ["valid"], "neutral"),
        ("5_stewart_0_16_16", ["train"], "neutral"),
        ("5_stewart_0_17_17", [], "neutral"),
        ("5_stewart_0_67_67", [], "happiness"),
        ("5_stewart_0_118_118", ["train"], "disgust"),
        ("5_stewart_0_73_73", ["test", "valid"], "anger"),
        ("5_stewart_1_1_1", ["test", "valid"], "neutral"),
        ("5_stewart_1_3_3", ["train"], "neutral"),
    ],
)
def test_beat_names(name: str, splits: list[str], emotion: str) -> None:
    parsed = parse_name(Path(f"{name}.json"))
    assert [split for split, _, _ in splits_of(parsed)] == splits
    assert emotion_of(parsed) == emotion


def test_beat_published_sizes() -> None:
    """The published rule: 8+7+1 recordings each for validation and test of four-hour people."""
    names = [f"2_scott_0_{n}_{n}" for n in range(1, 119)]
    names += [f"2_scott_1_{n}_{n}" for n in range(1, 13)]
    splits = [splits_of(parse_name(Path(name)))[0][0] for name in names]
    assert [splits.count(split) for split in ("train", "valid", "test")] == [98, 16, 16]
    spoken = [emotion_of(parse_name(Path(name))) for name in names[:118]]
    assert [spoken.count(e) for e in EMOTIONS] == [64, 8, 8, 6, 8, 8, 8, 8]


def test_beat_errors(tmp_path: Path) -> None:
    write_beat_recording(tmp_path, name := "1_wayne_0_9_9")
    grid = tmp_path / "1" / f"{name}.TextGrid"
    grid.write_text(textgrid([(0.0, 1.0, "tɕʰ")]))
    message = error_of("beat", tmp_path).message
    assert str(grid) in message and "expected ARPAbet phones, found 'tɕʰ'" in message
    grid.unlink()
    path = tmp_path / "1" / f"{name}.json"
    path.write_text(path.read_text().replace("jawOpen", "mouthAgape"))
    assert "mouthAgape" in error_of("beat", tmp_path).message
    path.write_text(path.read_text()[:1000])
    assert name in error_of("beat", tmp_path).message
    path.rename(tmp_path / "1" / "wayne.json")
    assert "expected a name such as 1_wayne_0_65_65" in error_of("beat", tmp_path).message


# --------------------------------------------------------------------------------------- BEAT2


def test_beat2(tmp_path: Path) -> None:
    kinds = {"2_scott_0_1_1": "test", "2_scott_0_73_73": "train", "2_scott_1_1_1": "additional",
             "4_lawrence_0_9_9": "val"}  # fmt: skip
    write_beat2(tmp_path, kinds)
    found = read("beat2", tmp_path)
    assert {name: r.split for name, r in found.items()} == {
        "2_scott_0_1_1": "test",
        "2_scott_0_73_73": "train",
        "4_lawrence_0_9_9": "valid",
    }
    take = found["2_scott_0_73_73"].load()
    assert (take.motion.space, take.motion.fps) == ("flame", 30)
    assert take.motion.weights.shape == (36, 103)
    assert take.motion.channels[0] == "Exp001" and take.motion.channels[-3] == "jaw_x"
    np.testing.assert_allclose(take.motion.weights[5, -3:], (0.066, 0.067, 0.068), rtol=1e-6)
    assert take.phones is not None and take.phones[1] == ("B", 0.5, 0.6)
    assert take.emotion is not None and set(take.emotion) == {EMOTION_INDEX["anger"]}


def test_beat2_errors(tmp_path: Path) -> None:
    write_beat2(tmp_path, {"2_scott_0_1_1": "train"})
    path = tmp_path / "smplxflame_30" / "2_scott_0_1_1.npz"
    np.savez(path, expressions=np.zeros((9, 100)), poses=np.zeros((8, 165)))
    message = error_of("beat2", tmp_path).message
    assert str(path) in message and "expected expressions of 8 × 100" in message
    np.savez(path, expression=np.zeros((9, 100)), poses=np.zeros((9, 165)))
    assert (
        "expected arrays expressions; found expression, poses"
        in error_of("beat2", tmp_path).message
    )
    path.write_bytes(path.read_bytes()[:200])
    assert str(path) in error_of("beat2", tmp_path).message
    (tmp_path / "train_test_split.csv").write_text("id,type\n2_scott_0_1_1,dev\n")
    assert "found 'dev'" in error_of("beat2", tmp_path).message
    (tmp_path / "train_test_split.csv").write_text("name,split\n")
    assert "expected columns id and type, found name, split" in error_of("beat2", tmp_path).message


# --------------------------------------------------------------------------------- FLAME tracks


def test_flame_tracks_with_mimics_list(tmp_path: Path) -> None:
    sounds = tmp_path / "audio_16000Hz_from_video"
    names = ("RD_Radio1_000", "RD_Radio1_001", "RD_Radio1_002", "WRA_Person_000", "WDA_Other_000")
    for seed, name in enumerate(names):
        write_track(tmp_path / "tracks" / f"{name}.npz", sounds / f"{name}.wav", seed=seed)
    (tmp_path / "video_list_id_framenum-train_test.txt").write_text(
        "RD_Radio1_000 1 30 train\nRD_Radio1_001 1 30 test\nRD_Radio1_002 1 30\n"
        "WRA_Person_000 151 30 train\n"
    )
    (tmp_path / "video_list_id_framenum-val.txt").write_text("RD_Radio1_002 1 30\n")
    found = read("flame-tracks", tmp_path)
    assert {name: (r.identity, r.split) for name, r in found.items()} == {
        "RD_Radio1_000": ("001", "train"),
        "RD_Radio1_001": ("001", "test"),  # Test-A
        "RD_Radio1_002": ("001", "valid"),
        "WRA_Person_000": ("151", "test"),  # Test-B
    }
    take = found["RD_Radio1_000"].load()
    assert (take.motion.space, take.motion.fps) == ("flame", 25)
    assert take.motion.weights.shape == (30, 53)
    np.testing.assert_allclose(take.motion.weights[3, -3:], (0.3, 0.4, 0.5), rtol=1e-6)


def test_flame_tracks_without_a_list(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / f"RD_Radio1_{number:03d}.npz"
        write_track(path, path.with_suffix(".wav"), frames=5)
    write_track(tmp_path / "alone.npz", tmp_path / "alone.wav", frames=5)
    write_track(tmp_path / "mute_000.npz", tmp_path / "elsewhere.wav", frames=5)
    found = read("flame-tracks", tmp_path)
    assert "mute_000" not in found, "without sound it teaches nothing"
    assert {r.identity for r in found.values()} == {"RD_Radio1", "alone"}
    assert [name for name, r in found.items() if r.split == "valid"] == ["RD_Radio1_009"]


def test_flame_tracks_errors(tmp_path: Path) -> None:
    path = tmp_path / "a_000.npz"
    write_track(path, path.with_suffix(".wav"))
    np.savez(path, exp=np.zeros((5, 50)), pose=np.zeros((5, 3)))
    assert (
        "expected pose of 5 × 6 numbers, found 5 × 3" in error_of("flame-tracks", tmp_path).message
    )
    np.savez(path, exp=np.full((5, 50), np.nan), pose=np.zeros((5, 6)))
    assert "not finite" in error_of("flame-tracks", tmp_path).message
    (tmp_path / "video_list_id_framenum-train_test.txt").write_text("a_000 someone\n")
    assert "expected a name and a person's number" in error_of("flame-tracks", tmp_path).message


# ------------------------------------------------------------------------------------- 3D-HDTF


def test_hdtf(tmp_path: Path) -> None:
    templates = write_hdtf(tmp_path)
    found = read("hdtf", tmp_path)
    assert {name: (r.identity, r.split) for name, r in found.items()} == {
        "RD_Radio1_000": ("001", "train"),
        "RD_Radio1_001": ("001", "train"),
        "RD_Radio1_002": ("001", "test"),  # Test-A
        "WRA_Person_000": ("151", "test"),  # Test-B
    }
    expected = np.repeat(np.linspace(0, 0.01, 20)[:, None], 15069, axis=1)
    for name in ("RD_Radio1_000", "RD_Radio1_001", "WRA_Person_000"):
        take = found[name].load()
        assert (take.motion.space, take.motion.fps) == ("vertices", 25)
        np.testing.assert_allclose(take.motion.weights, expected, atol=1e-7)
        assert len(take.samples) == pytest.approx(20 / 25 * RATE_HZ, abs=2)
        np.testing.assert_allclose(take.template, templates[int(found[name].identity)], atol=1e-7)


def test_hdtf_errors(tmp_path: Path) -> None:
    write_hdtf(tmp_path)
    path = tmp_path / "spectre_processed_25fps_16kHz" / "RD_Radio1_000" / "verts_new_shape1.npy"
    np.save(path, {"vertices": np.zeros((2, 5023, 3))})
    message = error_of("hdtf", tmp_path).message
    assert str(path) in message and "expected verts, found vertices" in message
    np.save(path, {"verts": np.zeros((2, 5024, 3))})
    assert "expected verts of any × 5023 × 3 numbers" in error_of("hdtf", tmp_path).message

    class Attack:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "touched",)

    np.save(path, {"verts": Attack()})
    assert error_of("hdtf", tmp_path).code == "unsafe_file"
    assert not (tmp_path / "touched").exists()
    np.save(path, np.zeros((2, 15069)))
    assert "expected one pickled object, found (2, 15069)" in error_of("hdtf", tmp_path).message
    (tmp_path / "templates.pkl").write_bytes(pickle.dumps({1: np.zeros((5023, 3))}))
    assert "the template of 151" in error_of("hdtf", tmp_path).message


# ------------------------------------------------------------------------------------ Live Link


def test_live_link(tmp_path: Path) -> None:
    for number in range(3):
        write_live_link(tmp_path / "Ada" / f"Take_{number}_iPhone.csv")
    write_live_link(tmp_path / "Ada" / "Take_0_iPhone_raw.csv")
    (tmp_path / "Ada" / "Take_1_iPhone.txt").write_text("Hello\nthere.\n")
    found = read("live-link", tmp_path)
    assert {name: (r.identity, r.split) for name, r in found.items()} == {
        "Ada/Take_0_iPhone": ("Ada", "train"),
        "Ada/Take_1_iPhone": ("Ada", "train"),
        "Ada/Take_2_iPhone": ("Ada", "valid"),
    }
    take = found["Ada/Take_1_iPhone"].load()
    assert (take.motion.space, take.motion.fps) == ("arkit", 60)
    assert take.motion.weights.shape == (60, 52)
    assert take.motion.select(("jawOpen",)) == pytest.approx(0.25)
    assert take.transcript == "Hello there."
    assert len(take.samples) == pytest.approx(RATE_HZ, abs=2)


def test_live_link_errors(tmp_path: Path) -> None:
    write_live_link(path := tmp_path / "Ada" / "Take.csv")
    path.write_text("Frame,Value\n1,2\n")
    assert "Take.csv" in error_of("live-link", tmp_path).message


# ----------------------------------------------------------------------------- what all share


def test_sound_of_any_kind_becomes_speech() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(22000) / 22000)
    whole = to_speech((tone * 32767).astype(np.int16), 22000)
    stereo = to_speech(np.stack([tone, tone], axis=1), 22000)
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    for speech in (whole, stereo):
        assert (speech.dtype, len(speech)) == (np.float32, 16000)
        np.testing.assert_allclose(speech[500:-500], expected[500:-500], atol=0.01)


def test_held_out_keeps_pairs_for_style() -> None:
    def load() -> Take:
        raise AssertionError

    counts = {"two": 2, "three": 3, "nine": 9, "ten": 10, "thirty": 30}
    recordings = [
        Recording(f"{who}{n}", who, "", load) for who, count in counts.items() for n in range(count)
    ]
    split = with_held_out(recordings)
    held = {who: sum(r.split == "valid" for r in split if r.identity == who) for who in counts}
    assert held == {"two": 0, "three": 1, "nine": 1, "ten": 1, "thirty": 3}
    assert len(split) == len(recordings)
