"""TextGrid files of Praat and the Montreal Forced Aligner: when each phone was said.

Both of Praat's text forms, long and short, are one language: a sequence of numbers, "texts" and
<flags> that stand free, in a fixed order; everything else (names, brackets, equals signs, what
follows an exclamation mark) is decoration. So one reader reads both. It is strict: what does not
fit the form is an error that names the file, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from core.errors import IdiolectError, read_failed
from core.phones import PHONE_INDEX, SILENCE, Segment

_Token = TypeVar("_Token", str, float, bool)
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|!.*|<(\w+)>|([^\s"]+)')
_SILENT = frozenset({"", "sil", "sp", "silence", "<eps>", "<sil>", "#"})
_UNKNOWN = frozenset({"spn", "unk", "<unk>", "noise", "nsn"})
"""What the aligner writes over a word that it has no pronunciation for."""
_TOUCHING_S = 1e-4
"""Neighbouring intervals share a time up to the rounding of files written with few digits."""


class Interval(NamedTuple):
    """A labelled stretch of time.

    Attributes:
        start_s: Where it begins, seconds.
        end_s: Where it ends, seconds.
        text: Its label.
    """

    start_s: float
    end_s: float
    text: str


def read_textgrid(path: str | Path) -> dict[str, list[Interval]]:
    """Every interval tier of a TextGrid file by its name (point tiers are checked and left out).

    Args:
        path: A file in UTF-8, or in UTF-16 with a byte order mark, as Praat writes it.

    Returns:
        Name -> intervals in order, each beginning where the one before it ends.

    Raises:
        IdiolectError: "missing_file", "unreadable_file"; "bad_textgrid", naming the file, what was
            expected and what was found.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise read_failed(path, error, setting="source") from error
    utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    try:
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
        return _Tokens(text).tiers()
    except ValueError as problem:  # UnicodeDecodeError is one
        raise _bad(path, str(problem)) from problem


def read_phones(path: str | Path) -> list[Segment]:
    """The phones in a TextGrid of the Montreal Forced Aligner (English, ARPAbet).

    Args:
        path: A file with one tier called "phones" (or "SPEAKER - phones").

    Returns:
        Segments in order. Stretches over which the aligner knew no pronunciation ("spn") are left
        out: nothing is known about them.

    Raises:
        IdiolectError: As `read_textgrid`; also where there is not exactly one such tier, or a label
            is no ARPAbet phone.
    """
    path = Path(path)
    tiers = read_textgrid(path)
    names = [name for name in tiers if re.fullmatch(r"(.* - )?phones?", name.strip(), re.I)]
    if len(names) != 1:
        found = ", ".join(repr(name) for name in tiers) or "none"
        raise _bad(path, f"expected one interval tier called phones, found the tiers {found}")
    segments = []
    for start_s, end_s, label in tiers[names[0]]:
        phone = phone_of_label(label)
        if phone is None:
            raise _bad(path, f"expected ARPAbet phones, found {label!r} at {start_s:g} s")
        if phone:
            segments.append(Segment(phone, start_s, end_s))
    return segments


def phone_of_label(label: str) -> str | None:
    """The phone of a label: "AH0" -> "AH", "sil" -> "SIL", "spn" -> ""; None if it is none."""
    name = label.strip()
    if name.lower() in _SILENT:
        return SILENCE
    if name.lower() in _UNKNOWN:
        return ""
    name = re.sub(r"[0-2]$", "", name.upper())
    return name if name in PHONE_INDEX else None


class _Tokens:
    """The free-standing numbers, texts and flags of a TextGrid, taken one by one."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)

    def tiers(self) -> dict[str, list[Interval]]:
        """Everything in the file.

        Raises:
            ValueError: With what was expected and what was found.
        """
        if (kind := (self._take(str), self._take(str))) != ("ooTextFile", "TextGrid"):
            raise ValueError(f"expected an ooTextFile of class TextGrid, found {kind}")
        self._take(float), self._take(float)
        tiers: dict[str, list[Interval]] = {}
        if self._take(bool):
            for _ in range(self._count()):
                self._tier(tiers)
        rest = next(self._tokens, None)
        if rest is not None:
            raise ValueError(f"expected the end of the file, found {rest!r}")
        return tiers

    def _tier(self, tiers: dict[str, list[Interval]]) -> None:
        kind, name = self._take(str), self._take(str)
        self._take(float), self._take(float)
        count = self._count()
        if kind == "TextTier":
            for _ in range(count):
                self._take(float), self._take(str)
            return
        if kind != "IntervalTier":
            raise ValueError(f"expected an IntervalTier or a TextTier, found {kind!r}")
        if name in tiers:
            raise ValueError(f"two tiers are called {name!r}")
        tiers[name] = []
        for _ in range(count):
            interval = Interval(self._take(float), self._take(float), self._take(str))
            _check(interval, tiers[name])
            tiers[name].append(interval)

    def _count(self) -> int:
        number = self._take(float)
        if number < 0 or number != int(number):
            raise ValueError(f"expected a number of items, found {number:g}")
        return int(number)

    def _take(self, kind: type[_Token]) -> _Token:
        token = next(self._tokens, None)
        if token is None:
            raise ValueError("it breaks off")
        if not isinstance(token, kind):
            names = {str: "a text", float: "a number", bool: "<exists> or <absent>"}
            raise ValueError(f"expected {names[kind]}, found {token!r}")
        return token


def _tokens(text: str) -> Iterator[str | float | bool]:
    for match in _TOKEN.finditer(text):
        quoted, flag, bare = match.groups()
        if quoted is not None:
            yield quoted.replace('""', '"')
        elif flag is not None:
            yield flag == "exists"
        elif bare is not None and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", bare):
            yield float(bare)


def _check(interval: Interval, before: list[Interval]) -> None:
    """An interval must have a length, and begin where the one before it ends."""
    if not interval.end_s > interval.start_s:
        raise ValueError(f"the interval at {interval.start_s:g} s ends at {interval.end_s:g} s")
    if before and abs(interval.start_s - before[-1].end_s) > _TOUCHING_S:
        raise ValueError(
            f"expected an interval from {before[-1].end_s:g} s on, found one from "
            f"{interval.start_s:g} s on"
        )


def _bad(path: Path, problem: str) -> IdiolectError:
    return IdiolectError(
        f"{path}: {problem}",
        hint="Expected a TextGrid as the Montreal Forced Aligner writes it (English, ARPAbet).",
        code="bad_textgrid",
        setting="source",
    )
