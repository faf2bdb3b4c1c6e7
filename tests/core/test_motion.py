import numpy as np
import pytest

from core.errors import IdiolectError
from core.motion import ARKIT_CHANNELS, MotionClip, frame_count, mouth_opening, resample
from core.motion_files import load_motion, save_motion


def random_clip(frames: int = 90, fps: float = 30.0) -> MotionClip:
    weights = np.random.default_rng(0).uniform(0, 1, (frames, 52)).astype(np.float32)
    return MotionClip(weights, ARKIT_CHANNELS, fps)


def jaw_clip(jaw: np.ndarray, fps: float) -> MotionClip:
    return MotionClip(jaw[:, None].astype(np.float32), ("jawOpen",), fps)


def test_there_are_52_different_arkit_channels():
    assert len(set(ARKIT_CHANNELS)) == 52


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".json"])
@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 60.0])
def test_files_round_trip(tmp_path, suffix, fps):
    clip = random_clip(frames=200, fps=fps)
    path = tmp_path / f"clip{suffix}"
    save_motion(clip, path)
    back = load_motion(path)
    assert back.fps == pytest.approx(fps, rel=1e-6)
    assert len(back.weights) == len(clip.weights)
    np.testing.assert_allclose(back.select(ARKIT_CHANNELS), clip.weights, atol=2e-3)
    assert [p.name for p in tmp_path.iterdir()] == [path.name], "a temporary file was left"


def test_live_link_columns_are_the_recorders_own(tmp_path):
    save_motion(random_clip(), tmp_path / "take.csv")
    header = (tmp_path / "take.csv").read_text().splitlines()[0].split(",")
    assert header[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"]
    assert header[header.index("JawForward") + 1] == "JawRight"
    assert header[-9:-6] == ["HeadYaw", "HeadPitch", "HeadRoll"]
    assert len(header) == 63


def test_a_recording_with_dropped_frames_is_put_on_an_even_grid(tmp_path):
    jaw = np.linspace(0, 1, 181)
    save_motion(jaw_clip(jaw, 60.0), tmp_path / "take.csv")
    lines = (tmp_path / "take.csv").read_text().splitlines()
    del lines[50:53], lines[100]
    (tmp_path / "take.csv").write_text("\n".join(lines))
    back = load_motion(tmp_path / "take.csv")
    assert back.fps == pytest.approx(60.0)
    np.testing.assert_allclose(back.select(["jawOpen"])[:, 0], jaw, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.npz", b"not a zip", "a.npz"),
        ("a.csv", b"Timecode,BlendShapeCount\n", "Live Link"),
        ("a.csv", b"", "Live Link"),
        ("a.json", b"{}", "BEAT"),
        ("a.json", b'{"names": ["jawOpen"], "frames": []}', "no frames"),
        ("a.txt", b"", ".npz"),
    ],
)
def test_a_wrong_file_is_a_clear_error(tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(IdiolectError) as caught:
        load_motion(tmp_path / name)
    assert caught.value.code == "bad_motion"
    assert word in str(caught.value)
    assert caught.value.hint


def test_a_pickle_in_an_npz_is_refused(tmp_path):
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "evil.npz", weights=objects, channels=objects, fps=np.array(30.0))
    with pytest.raises(IdiolectError) as caught:
        load_motion(tmp_path / "evil.npz")
    assert caught.value.code == "bad_motion"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(IdiolectError) as caught:
        load_motion(tmp_path / "none.npz")
    assert caught.value.code == "missing_file"
    assert "none.npz" in caught.value.message


@pytest.mark.parametrize(
    ("weights", "channels", "fps", "word"),
    [
        (np.zeros((0, 1)), ("jawOpen",), 30, "shape"),
        (np.zeros((2, 1)), ("jawOpen", "b"), 30, "names"),
        (np.zeros((2, 2)), ("a", "a"), 30, "twice"),
        (np.zeros((2, 1)), ("a",), 0, "rate"),
        (np.array([[0.0], [np.nan]]), ("a",), 30, "frame 1"),
    ],
)
def test_bad_motion_says_what_is_wrong(weights, channels, fps, word):
    with pytest.raises(IdiolectError, match=word):
        MotionClip(weights, channels, fps)


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 50, 60])
def test_resampling_keeps_time(fps):
    times = np.arange(101) / 50
    clip = resample(jaw_clip(times, 50.0), fps)
    assert len(clip.weights) == frame_count(2.0, fps)
    expected = np.minimum(np.arange(len(clip.weights)) / fps, 2.0)
    np.testing.assert_allclose(clip.weights[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30])
def test_resampling_keeps_every_closure(fps):
    jaw = np.full(500, 0.4)
    closures = np.arange(20, 480, 23)
    jaw[closures] = 0.0  # 20 ms closures, shorter than any real one
    clip = resample(jaw_clip(jaw, 50.0), fps)
    closed_at = np.flatnonzero(mouth_opening(clip) < 0.01) / fps
    for closure in closures / 50:
        assert np.abs(closed_at - closure).min() <= 0.5 / fps + 1e-9


def test_resampling_past_the_end_holds_the_last_frame():
    clip = resample(jaw_clip(np.array([0.0, 1.0]), 50.0), 50.0, frames=5)
    np.testing.assert_allclose(clip.weights[:, 0], [0, 1, 1, 1, 1])


def test_absent_channels_are_zero():
    clip = jaw_clip(np.ones(3), 30.0)
    np.testing.assert_array_equal(clip.select(["jawOpen", "tongueOut"]), [[1, 0]] * 3)
