"""Speech files in: what is read, what is refused, and that streams have no seams."""

from __future__ import annotations

import shutil
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from core.audio import ACTIVE_RMS, LevelMeter, load_speech, speech_gain, stream_speech
from core.errors import IdiolectError


def tone(rate_hz: int = 16000, duration_s: float = 1.0, amplitude: float = 0.3) -> np.ndarray:
    time = np.arange(round(rate_hz * duration_s)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * 300 * time)).astype(np.float32)


def refused(path: Path, **options: float) -> IdiolectError:
    with pytest.raises(IdiolectError) as caught:
        load_speech(path, **options)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("wav", {"subtype": "PCM_24"}),
        ("wav", {"subtype": "FLOAT"}),
        ("flac", {}),
        ("ogg", {"subtype": "VORBIS"}),
        ("opus", {"format": "OGG", "subtype": "OPUS"}),
        ("mp3", {}),
        ("aiff", {}),
        ("caf", {}),
    ],
)
def test_formats_sound_the_same(tmp_path: Path, suffix: str, options: dict) -> None:
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, tone(48000), 48000, **options)
    samples = load_speech(path)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - 16000) < 1600  # mp3 pads
    middle = samples[4000:12000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * 16000 / len(middle) - 300) < 4
    assert np.sqrt(2 * np.square(middle).mean()) == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("block_s", [0.05, 0.37])
def test_stream_has_no_seams(tmp_path: Path, rate_hz: int, block_s: float) -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, rate_hz * 2 + 17).astype(np.float32)
    path = tmp_path / "noise.wav"
    soundfile.write(path, sound, rate_hz, subtype="FLOAT")
    divisor = np.gcd(rate_hz, 16000)
    whole = resample_poly(sound, 16000 // divisor, rate_hz // divisor)
    streamed = np.concatenate(list(stream_speech(path, block_s)))
    np.testing.assert_array_equal(streamed, whole.astype(np.float32))


def test_channels_are_averaged_and_parts_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    left, right = tone(amplitude=0.4), tone(amplitude=0.2)
    soundfile.write(path, np.stack((left, right), axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(load_speech(path), (left + right) / 2, atol=1e-6)
    part = load_speech(path, start_s=0.25, duration_s=0.5)
    np.testing.assert_allclose(part, ((left + right) / 2)[4000:12000], atol=1e-6)


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 44100, 2) as file:
        minute = np.stack((tone(44100, 60),) * 2, axis=1)
        for _ in range(10):
            file.write(minute)
    tracemalloc.start()
    total = sum(len(block) for block in stream_speech(path, 5.0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 600 * 16000
    assert peak < 16e6  # the file holds 38 MB of mono samples at 16 kHz alone


def test_missing_empty_and_silent(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.wav").code == "missing_file"
    assert refused(tmp_path).code == "unreadable_file"
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert refused(empty).code == "empty_speech"
    soundfile.write(empty, np.zeros(0), 16000)
    assert refused(empty).code == "empty_speech"
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(32000), 16000)
    assert refused(silent).code == "silent_speech"
    soundfile.write(silent, np.full(32000, 0.3), 16000)  # an offset is no sound either
    assert refused(silent).code == "silent_speech"


def test_part_without_sound_and_bad_ranges(tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(), 16000)
    assert refused(path, start_s=1.5).code == "bad_range"
    assert refused(path, start_s=-1).code == "bad_range"
    assert refused(path, duration_s=0).code == "bad_range"


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    sound = tone()
    sound[100] = np.nan
    path = tmp_path / "nan.wav"
    soundfile.write(path, sound, 16000, subtype="FLOAT")
    assert refused(path).code == "bad_samples"


@pytest.mark.parametrize("name", ["notes.wav", "notes.mp3", "notes.m4a", "notes.raw"])
def test_text_is_no_sound(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("Dear diary, today I renamed a text file. Größe: 5.\n" * 200, encoding="utf-8")
    error = refused(path)
    assert error.code == "not_audio"
    assert "text file" in error.message


def test_other_bytes_are_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    path.write_bytes(np.random.default_rng(1).bytes(9000))
    assert refused(path).code == "not_audio"


@pytest.mark.parametrize("suffix", ["wav", "aiff", "flac", "ogg"])
@pytest.mark.parametrize("kept", [0.3, 0.8])
def test_files_cut_off_are_told(tmp_path: Path, suffix: str, kept: float) -> None:
    rng = np.random.default_rng(2)
    path = tmp_path / f"whole.{suffix}"
    soundfile.write(path, rng.normal(0, 0.1, 48000), 16000)
    assert len(load_speech(path)) == 48000
    data = path.read_bytes()
    path.write_bytes(data[: round(kept * len(data))])
    assert refused(path).code == "truncated_speech"


def test_wav_of_unknown_length_is_read(tmp_path: Path) -> None:
    """Programs that write to a pipe cannot go back and fill in the sizes."""
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(), 16000)
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack("<I", 0xFFFFFFFF)
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(data)
    assert len(load_speech(path)) >= 16000 - 1


def test_film_needs_ffmpeg_or_is_read(tmp_path: Path) -> None:
    path = tmp_path / "phone.m4a"
    path.write_bytes(b"\x00\x00\x00\x20ftypM4A " + bytes(5000))
    error = refused(path)
    try:
        import av  # noqa: F401

        there = True
    except ImportError:
        there = shutil.which("ffmpeg") is not None
    assert error.code == ("not_audio" if there else "needs_ffmpeg")


def test_gain_brings_speech_to_its_level_whatever_the_pauses() -> None:
    rng = np.random.default_rng(3)
    loud = rng.normal(0, 0.02, 16000).astype(np.float32)
    pause = rng.normal(0, 1e-5, 64000).astype(np.float32)
    assert speech_gain(loud) * 0.02 == pytest.approx(ACTIVE_RMS, rel=0.05)
    with_pauses = np.concatenate((pause, loud, pause))
    assert speech_gain(with_pauses) == pytest.approx(speech_gain(loud), rel=0.06)
    assert speech_gain(with_pauses * 0.1) == pytest.approx(10 * speech_gain(with_pauses), rel=0.07)
    assert speech_gain(np.zeros(16000)) == 1.0


def test_level_is_the_same_in_blocks() -> None:
    rng = np.random.default_rng(4)
    sound = rng.normal(0, 0.05, 50000).astype(np.float32)
    meter = LevelMeter()
    for first in range(0, len(sound), 777):
        meter.add(sound[first : first + 777])
    assert meter.gain == speech_gain(sound)
