"""Transcripts where people put them: on a command line, in a file, beside the speech file."""

from __future__ import annotations

from pathlib import Path

from core.errors import IdiolectError, read_failed

_LARGEST_BYTES = 4_000_000
"""An hour of speech is some 60 kB of text; what is much larger is no transcript."""


def text_given(value: str) -> str:
    """A transcript as an option gives it: the name of a .txt file, or the text itself.

    Raises:
        IdiolectError: It ends in ".txt" and cannot be read.
    """
    if value.strip().lower().endswith(".txt") and "\n" not in value:
        return read_text(Path(value.strip()))
    return value


def text_beside(speech: Path) -> str:
    """What stands in the .txt of the same name beside a speech file; "" where there is none.

    Raises:
        IdiolectError: There is one, and it cannot be read.
    """
    path = speech.with_suffix(".txt")
    return read_text(path) if path != speech and path.is_file() else ""


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 with a byte order mark.

    Raises:
        IdiolectError: It is missing, not text, or far too large.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise _bad(path, "is too large for a transcript")
        content = path.read_bytes()
    except OSError as error:
        raise read_failed(path, error, setting="transcript") from error
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        # Old tools on Windows still write this; every byte is something in it.
        text = content.decode("cp1252", errors="replace")
    if "\0" in text:
        raise _bad(path, "is no text file")
    return text


def _bad(path: Path, problem: str) -> IdiolectError:
    return IdiolectError(
        f"{path} {problem}",
        hint="Give a plain text file with the words that are said.",
        code="bad_transcript",
        setting="transcript",
    )
