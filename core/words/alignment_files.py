"""Alignments as files that people edit: TextGrid for Praat, CSV for a spreadsheet.

A TextGrid has the tiers "words" and "phones", as the Montreal Forced Aligner writes them. A CSV has
the columns start_s, end_s, phone, word, one row a phone. Phones are ARPAbet without stress; "sil"
is silence, and "spn" (in a CSV an empty phone) is a sound that the text does not hold: there the
model goes by what it hears.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import IdiolectError, read_failed
from core.files import atomic_path
from core.phones import SILENCE, Segment
from core.words.textgrid import Interval, phone_of_label, read_phones, read_textgrid

COLUMNS = ("start_s", "end_s", "phone", "word")
SUFFIXES = (".textgrid", ".csv")
_UNKNOWN = "spn"


@dataclass(frozen=True)
class Alignment:
    """What was said when.

    Attributes:
        phones: In order; what lies between them is not known.
        words: In order, without pauses.
        duration_s: Length of the speech.
    """

    phones: tuple[Segment, ...]
    words: tuple[Interval, ...]
    duration_s: float


def check_alignment_path(path: Path, setting: str = "alignment") -> None:
    """Refuses what is no alignment by its name.

    Raises:
        IdiolectError: "bad_suffix".
    """
    if path.suffix.lower() not in SUFFIXES:
        raise IdiolectError(
            f"{path} is no alignment: its name ends in '{path.suffix}'",
            hint="Use a .TextGrid (Praat, Montreal Forced Aligner) or a .csv.",
            code="bad_suffix",
            setting=setting,
        )


def read_alignment(path: Path) -> Alignment:
    """Reads a .TextGrid or a .csv.

    Raises:
        IdiolectError: The file is missing or damaged, or phones are unknown or overlap.
    """
    check_alignment_path(path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    phones = read_phones(path)
    tiers = read_textgrid(path)
    names = [name for name in tiers if re.fullmatch(r"(.* - )?words?", name.strip(), re.I)]
    words = [item for item in tiers[names[0]] if item.text.strip()] if names else []
    duration_s = max((items[-1].end_s for items in tiers.values() if items), default=0.0)
    return Alignment(tuple(phones), tuple(words), duration_s)


def save_alignment(alignment: Alignment, path: Path) -> None:
    """Writes a .TextGrid or a .csv.

    Raises:
        IdiolectError: The name ends in something else.
        OSError: The file cannot be written.
    """
    check_alignment_path(path, "save_alignment")
    write = _csv_text if path.suffix.lower() == ".csv" else _textgrid_text
    with atomic_path(path) as beside:
        beside.write_text(write(alignment), encoding="utf-8", newline="\n")


def _filled(items: list[Interval], duration_s: float, gap: str) -> list[Interval]:
    """Intervals from 0 to the end without gaps, as Praat wants them."""
    filled: list[Interval] = []
    now = 0.0
    for start_s, end_s, text in items:
        if start_s > now + 1e-4:
            filled.append(Interval(now, start_s, gap))
        filled.append(Interval(max(now, min(start_s, end_s)), end_s, text))
        now = end_s
    if duration_s > now + 1e-4:
        filled.append(Interval(now, duration_s, gap))
    return [item for item in filled if item.end_s > item.start_s]


def _textgrid_text(alignment: Alignment) -> str:
    duration_s = max(alignment.duration_s, *(p.end_s for p in alignment.phones), 0.0)
    phones = [
        Interval(start_s, end_s, "sil" if phone == SILENCE else phone)
        for phone, start_s, end_s in alignment.phones
    ]
    tiers = {
        "words": _filled(list(alignment.words), duration_s, ""),
        "phones": _filled(phones, duration_s, _UNKNOWN),
    }
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0"]
    lines += [f"xmax = {duration_s:.4f}", "tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, items) in enumerate(tiers.items(), 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"']
        lines += [
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {duration_s:.4f}",
        ]
        lines.append(f"        intervals: size = {len(items)}")
        for index, (start_s, end_s, text) in enumerate(items, 1):
            quoted = text.replace('"', '""')
            lines += [f"        intervals [{index}]:", f"            xmin = {start_s:.4f}"]
            lines += [f"            xmax = {end_s:.4f}", f'            text = "{quoted}"']
    return "\n".join(lines) + "\n"


def _csv_text(alignment: Alignment) -> str:
    words = list(alignment.words)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    items = [Interval(start_s, end_s, phone) for phone, start_s, end_s in alignment.phones]
    for start_s, end_s, phone in _filled(items, alignment.duration_s, ""):
        middle_s = (start_s + end_s) / 2
        word = next((w.text for w in words if w.start_s <= middle_s < w.end_s), "")
        label = "sil" if phone == SILENCE else phone
        writer.writerow([f"{start_s:.3f}", f"{end_s:.3f}", label, word])
    return text.getvalue()


def _read_csv(path: Path) -> Alignment:
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except OSError as error:
        raise read_failed(path, error, setting="alignment") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _bad(path, str(error)) from error
    if not rows or [name.strip() for name in rows[0][:3]] != list(COLUMNS[:3]):
        raise _bad(path, f"expected the columns {', '.join(COLUMNS)}")
    phones: list[Segment] = []
    words: list[Interval] = []
    now = 0.0
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        start_s, end_s, phone, word = _row(path, number, row)
        if start_s < now - 1e-3:
            raise _bad(path, f"line {number} begins at {start_s:g} s, before {now:g} s")
        now = end_s
        if phone:
            phones.append(Segment(phone, start_s, end_s))
        if word and words and words[-1].text == word and words[-1].end_s >= start_s - 1e-3:
            words[-1] = words[-1]._replace(end_s=end_s)
        elif word:
            words.append(Interval(start_s, end_s, word))
    if not phones:
        raise _bad(path, "it holds no phones")
    return Alignment(tuple(phones), tuple(words), now)


def _row(path: Path, number: int, row: list[str]) -> tuple[float, float, str, str]:
    cells = [cell.strip() for cell in row] + [""] * len(COLUMNS)
    try:
        start_s, end_s = float(cells[0]), float(cells[1])
    except ValueError:
        raise _bad(path, f"line {number} does not begin with two times") from None
    if not (math.isfinite(end_s) and 0 <= start_s < end_s):
        raise _bad(path, f"line {number} goes from {cells[0]} s to {cells[1]} s")
    phone = phone_of_label(cells[2]) if cells[2] else ""
    if phone is None:
        raise _bad(path, f"line {number}: '{cells[2]}' is no ARPAbet phone")
    return start_s, end_s, phone, cells[3]


def _bad(path: Path, problem: str) -> IdiolectError:
    return IdiolectError(
        f"{path}: {problem}",
        hint="Save an alignment first and edit that: its form is kept.",
        code="bad_alignment",
        setting="alignment",
    )
