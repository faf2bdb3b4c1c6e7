"""TextGrids in both of Praat's forms and encodings, and the ways in which they can be wrong."""

from pathlib import Path

import pytest

from core.errors import IdiolectError
from core.words.textgrid import phone_of_label, read_phones, read_textgrid

LONG = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.25
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.25
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]:
            xmin = 0.5
            xmax = 1.25
            text = "bee ""b"""
    item [2]:
        class = "TextTier"
        name = "marks"
        xmin = 0
        xmax = 1.25
        points: size = 1
        points [1]:
            number = 0.3
            mark = "click 7"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.25
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "sil"
        intervals [2]:
            xmin = 0.5
            xmax = 0.6
            text = "B"
        intervals [3]:
            xmin = 0.6
            xmax = 0.95
            text = "IY1"
        intervals [4]:
            xmin = 0.95
            xmax = 1.25
            text = "spn"
'''

SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
1.25
<exists>
3
"IntervalTier"
"words"
0
1.25
2
0
0.5
""
0.5
1.25
"bee ""b"""
"TextTier"
"marks"
0
1.25
1
0.3
"click 7"
"IntervalTier"
"phones"
0
1.25
4
0
0.5
"sil"
0.5
0.6
"B"
0.6
0.95
"IY1"
0.95
1.25
"spn"
'''


def _write(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "clip.TextGrid"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_both_forms_in_every_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    path = _write(tmp_path, text, encoding)
    tiers = read_textgrid(path)
    assert list(tiers) == ["words", "phones"]
    assert tiers["words"] == [(0, 0.5, ""), (0.5, 1.25, 'bee "b"')]
    # "spn" is a word the aligner did not know: neither a phone nor silence.
    assert read_phones(path) == [("SIL", 0, 0.5), ("B", 0.5, 0.6), ("IY", 0.6, 0.95)]


def test_windows_line_ends_and_comments(tmp_path: Path) -> None:
    text = SHORT.replace("\n", "\r\n").replace('"marks"', '"marks" ! 5 "not a token" <absent>')
    assert len(read_phones(_write(tmp_path, text))) == 3


def test_speaker_in_the_tier_name(tmp_path: Path) -> None:
    path = _write(tmp_path, SHORT.replace('"phones"', '"wayne - phones"'))
    assert read_phones(path)[1] == ("B", 0.5, 0.6)


@pytest.mark.parametrize(
    ("label", "phone"),
    [("AH0", "AH"), ("ER2", "ER"), ("b", "B"), ("", "SIL"), ("sp", "SIL"), ("spn", ""),
     ("AH3", None), ("ɑː", None), ("0", None)],
)  # fmt: skip
def test_labels(label: str, phone: str | None) -> None:
    assert phone_of_label(label) == phone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SHORT.replace("IY1", "iː"), "expected ARPAbet phones, found 'iː' at 0.6 s"),
        (SHORT.replace('"phones"', '"segments"'), "found the tiers 'words', 'segments'"),
        (SHORT.replace('"words"', '"phones"'), "two tiers are called 'phones'"),
        (SHORT.replace("0.6\n0.95", "0.7\n0.95"), "expected an interval from 0.6 s on"),
        (SHORT.replace("0.95\n1.25", "0.95\n0.9"), "the interval at 0.95 s ends at 0.9 s"),
        (SHORT[: SHORT.index('"spn"')], "it breaks off"),
        (SHORT + '0.1\n"more"\n', "expected the end of the file"),
        (SHORT.replace('"TextGrid"', '"Sound"'), "expected an ooTextFile of class TextGrid"),
        (SHORT.replace("0.5\n", '"half"\n', 1), "expected a number, found 'half'"),
        ("", "it breaks off"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(IdiolectError) as caught:
        read_phones(path)
    assert message in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.code == "bad_textgrid"


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(IdiolectError, match="There is no file"):
        read_textgrid(tmp_path / "none.TextGrid")
    path = tmp_path / "binary.TextGrid"
    path.write_bytes(b"\x80\x81\xff")
    with pytest.raises(IdiolectError) as caught:
        read_textgrid(path)
    assert caught.value.code == "bad_textgrid"
