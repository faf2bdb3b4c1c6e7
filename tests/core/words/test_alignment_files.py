"""Alignments written, edited and read back."""

import pytest

from core.errors import IdiolectError
from core.phones import Segment
from core.words.alignment_files import Alignment, read_alignment, save_alignment
from core.words.textgrid import Interval

SAID = Alignment(
    phones=(
        Segment("SIL", 0.0, 0.2),
        Segment("B", 0.2, 0.28),
        Segment("AA", 0.28, 0.4),
        Segment("B", 0.4, 0.46),
        # From here to 0.7 s somebody laughs.
        Segment("SIL", 0.7, 1.0),
    ),
    words=(Interval(0.2, 0.46, 'b"ob'),),
    duration_s=1.0,
)


@pytest.mark.parametrize("name", ["line.TextGrid", "line.csv"])
def test_what_is_saved_is_read_back(tmp_path, name):
    save_alignment(SAID, tmp_path / name)
    found = read_alignment(tmp_path / name)
    assert [phone.phone for phone in found.phones] == [phone.phone for phone in SAID.phones]
    for phone, saved in zip(found.phones, SAID.phones, strict=True):
        assert phone[1:] == pytest.approx(saved[1:], abs=1e-3)
    assert [word.text for word in found.words] == ['b"ob']
    assert found.words[0][:2] == pytest.approx((0.2, 0.46))
    assert found.duration_s == pytest.approx(1.0)


def test_a_csv_may_be_edited_in_a_spreadsheet(tmp_path):
    path = tmp_path / "line.csv"
    path.write_text("\ufeffstart_s,end_s,phone,word\n0,0.5,sil,\n0.50,0.6,b0,bob\n\n0.6,1,,\n")
    with pytest.raises(IdiolectError, match="line 3: 'b0x' is no ARPAbet phone"):
        path.with_name("bad.csv").write_text(path.read_text().replace("b0", "b0x"))
        read_alignment(path.with_name("bad.csv"))
    path.write_text(path.read_text().replace("b0", "AH0"))
    found = read_alignment(path)
    assert found.phones == (Segment("SIL", 0.0, 0.5), Segment("AH", 0.5, 0.6))
    assert found.duration_s == 1.0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "expected the columns"),
        ("start_s,end_s,phone\n", "no phones"),
        ("start_s,end_s,phone\n0,1,AA\n0.5,2,B\n", "line 3 begins at 0.5 s, before 1 s"),
        ("start_s,end_s,phone\n1,0.5,AA\n", "line 2 goes from 1 s to 0.5 s"),
        ("start_s,end_s,phone\nx,0.5,AA\n", "line 2 does not begin with two times"),
        ("start_s,end_s,phone\n0,nan,AA\n", "line 2 goes from 0 s to nan s"),
    ],
)
def test_a_damaged_csv_is_told_apart(tmp_path, content, problem):
    path = tmp_path / "line.csv"
    path.write_text(content)
    with pytest.raises(IdiolectError, match=problem) as raised:
        read_alignment(path)
    assert raised.value.code == "bad_alignment"


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(IdiolectError, match="is no alignment"):
        save_alignment(SAID, tmp_path / "line.txt")
    with pytest.raises(IdiolectError) as raised:
        read_alignment(tmp_path / "missing.csv")
    assert raised.value.code == "missing_file"
