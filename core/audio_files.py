"""Opening sound files of any kind: soundfile first, then PyAV or an ffmpeg program where one is
there.

A decoder yields blocks (frames, channels) of float32 at the file's own rate and never holds more
than one.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from core.errors import IdiolectError, read_failed

# What libsndfile does not read, and people have anyway: phone recordings, video, old Windows files.
NEEDS_FFMPEG = frozenset(
    {
        ".m4a",
        ".m4b",
        ".mp4",
        ".mov",
        ".aac",
        ".webm",
        ".mkv",
        ".mka",
        ".wma",
        ".avi",
        ".3gp",
        ".amr",
    }
)
FFMPEG_RATE_HZ = 16000


@dataclass
class SoundStream:
    """An open sound file.

    Attributes:
        rate_hz: sample rate of the blocks.
        blocks: yields (frames, channels) float32.
    """

    rate_hz: int
    blocks: Iterator[np.ndarray]


@contextmanager
def open_sound(path: Path, start_s: float, block_s: float) -> Iterator[SoundStream]:
    """Opens a sound file and skips to `start_s`.

    Raises:
        IdiolectError: codes "missing_file", "unreadable_file", "empty_speech", "not_audio",
            "needs_ffmpeg", and, while the blocks are read, "truncated_speech".
    """
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise read_failed(path, error, setting="speech") from error
    if not head:
        raise IdiolectError(
            f"{path} is empty: it has no bytes.",
            hint="Export the speech again.",
            code="empty_speech",
            setting="speech",
        )
    try:
        file = soundfile.SoundFile(str(path))
    # soundfile asks for a sample rate by TypeError when a name ends in .raw.
    except (soundfile.SoundFileError, TypeError) as error:
        with _open_with_ffmpeg(path, head, start_s, block_s, str(error)) as stream:
            yield stream
        return
    with file:
        if _is_cut_off(path, head):
            raise truncated(path)
        if file.frames == 0:
            raise IdiolectError(
                f"{path} is a sound file without any sound in it.",
                hint="Export the speech again.",
                code="empty_speech",
                setting="speech",
            )
        yield SoundStream(file.samplerate, _read_soundfile(file, path, start_s, block_s))


def truncated(path: Path) -> IdiolectError:
    """The error for a file that ends before it should."""
    return IdiolectError(
        f"{path} breaks off: it ends before all of its sound was read.",
        hint="Copy or export the file again; it was probably cut off while being written.",
        code="truncated_speech",
        setting="speech",
    )


def _read_soundfile(
    file: soundfile.SoundFile, path: Path, start_s: float, block_s: float
) -> Iterator[np.ndarray]:
    start = min(round(start_s * file.samplerate), file.frames)
    remaining = file.frames - start
    size = max(1, round(block_s * file.samplerate))
    try:
        if start:
            file.seek(start)
        while remaining > 0:
            block = file.read(min(size, remaining), dtype="float32", always_2d=True)
            if len(block) == 0:
                # Formats that guess their length (mp3 without a header) may be short by a few
                # frames.
                if remaining > 0.1 * file.samplerate:
                    raise truncated(path)
                return
            remaining -= len(block)
            yield block
    except soundfile.SoundFileError as error:
        raise truncated(path) from error


def _is_cut_off(path: Path, head: bytes) -> bool:
    """Whether a container's own sizes say that bytes are missing at its end.

    libsndfile quietly shortens such files, so it has to be looked up here. A size of all ones, or
    of nothing, is what programs write that stream and cannot know the length.
    """
    size = path.stat().st_size
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        position = 12
        while position + 8 <= len(head):
            name, length = struct.unpack_from("<4sI", head, position)
            if name == b"data":
                return length < 0x7FFFFFFF and position + 8 + length > size
            position += 8 + length + length % 2
        return False
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        length = struct.unpack_from(">I", head, 4)[0]
        return length < 0x7FFFFFFF and length + 8 > size
    if head[:4] == b"OggS":
        return _last_ogg_page_is_cut(path, size)
    return False


def _last_ogg_page_is_cut(path: Path, size: int) -> bool:
    """Whether the last page of an Ogg file announces more bytes than follow it (RFC 3533, section
    6).
    """
    longest_page = 27 + 255 + 255 * 255
    with path.open("rb") as file:
        offset = max(0, size - longest_page - 4)
        file.seek(offset)
        tail = file.read()
    begin = tail.rfind(b"OggS")
    if begin < 0:
        return True
    page = tail[begin:]
    if len(page) < 27:
        return True
    segments = page[26]
    return len(page) < 27 + segments or len(page) < 27 + segments + sum(page[27 : 27 + segments])


@contextmanager
def _open_with_ffmpeg(
    path: Path, head: bytes, start_s: float, block_s: float, reason: str
) -> Iterator[SoundStream]:
    """Tries PyAV, then an ffmpeg program; both resample and mix down themselves."""
    try:
        import av
    except ImportError:
        av = None
    if av is not None:
        try:
            container = av.open(str(path))
        except (av.FFmpegError, OSError) as error:
            raise _not_audio(path, head, str(error)) from error
        with container:
            if not container.streams.audio:
                raise _not_audio(path, head, "it has no sound track")
            yield SoundStream(FFMPEG_RATE_HZ, _read_av(container, av, path, start_s))
        return
    program = shutil.which("ffmpeg")
    if program is None:
        if path.suffix.lower() in NEEDS_FFMPEG and not _looks_like_text(head):
            raise IdiolectError(
                f"{path} needs PyAV or ffmpeg to be read, and neither is installed.",
                hint="Convert the speech to WAV, FLAC, MP3 or OGG, or install ffmpeg.",
                code="needs_ffmpeg",
                setting="speech",
            )
        raise _not_audio(path, head, reason)
    # An absolute path cannot be taken for an option or a network address.
    source = f"file:{path.resolve()}"
    command = [program, "-v", "error", "-nostdin", "-ss", str(start_s), "-i", source]
    command += ["-vn", "-f", "f32le", "-ac", "1", "-ar", str(FFMPEG_RATE_HZ), "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield SoundStream(FFMPEG_RATE_HZ, _read_pipe(process, path, head, block_s))
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _read_av(container: Any, av: Any, path: Path, start_s: float) -> Iterator[np.ndarray]:
    resampler = av.AudioResampler(format="flt", layout="mono", rate=FFMPEG_RATE_HZ)
    skip = round(start_s * FFMPEG_RATE_HZ)
    decoded = 0
    try:
        for frame in _and_flush(container.decode(audio=0)):
            for piece in resampler.resample(frame):
                samples = piece.to_ndarray().reshape(-1, 1)
                decoded += len(samples)
                dropped = min(skip, len(samples))
                skip -= dropped
                if dropped < len(samples):
                    yield samples[dropped:].astype(np.float32, copy=False)
    except av.FFmpegError as error:
        raise truncated(path) from error
    # A film may go on after its sound; a file of sound alone is as long as it says, or cut off.
    if container.duration and not container.streams.video:
        announced = container.duration / av.time_base * FFMPEG_RATE_HZ
        if decoded < announced - 0.5 * FFMPEG_RATE_HZ:
            raise truncated(path)


def _and_flush(frames: Iterator) -> Iterator:
    """The frames, then None, which makes a resampler give what it still holds."""
    yield from frames
    yield None


def _read_pipe(
    process: subprocess.Popen, path: Path, head: bytes, block_s: float
) -> Iterator[np.ndarray]:
    size = 4 * max(1, round(block_s * FFMPEG_RATE_HZ))
    delivered = False
    while data := process.stdout.read(size):  # type: ignore[union-attr]
        whole = len(data) // 4 * 4
        if whole:
            delivered = True
            yield np.frombuffer(data[:whole], dtype="<f4").astype(np.float32)[:, None]
    # ffmpeg writes a line or two on errors, so its pipe cannot have filled meanwhile.
    complaint = process.stderr.read().decode("utf-8", "replace").strip()  # type: ignore[union-attr]
    if process.wait() != 0 or not delivered:
        last_line = complaint.splitlines()[-1] if complaint else "it has no sound track"
        raise truncated(path) if delivered else _not_audio(path, head, last_line)


def _not_audio(path: Path, head: bytes, reason: str) -> IdiolectError:
    what = "is a text file, not a sound file" if _looks_like_text(head) else "is no sound file"
    return IdiolectError(
        f"{path} {what} that can be read ({reason.strip().rstrip('.')})."
        if not _looks_like_text(head)
        else f"{path} {what}.",
        hint="Choose a WAV, FLAC, MP3, OGG, OPUS or AIFF file of speech.",
        code="not_audio",
        setting="speech",
    )


def _looks_like_text(head: bytes) -> bool:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character may be cut in two by the end of what was read.
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode("utf-8")
    return all(character.isprintable() or character in "\r\n\t\f\ufeff" for character in text)
