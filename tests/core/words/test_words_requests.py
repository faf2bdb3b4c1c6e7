"""Words in requests and on the command line, through the bundled model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.animate import main
from core.animator import Animator, never, nobody
from core.errors import IdiolectError
from core.motion_files import load_motion
from core.requests import Speaker

TEXT = "Bob packed my five dozen liquor jugs. Who saw the beautiful moon?"


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    return Speaker(Animator(device="cpu"))


@pytest.fixture
def line(speech_file: Path, tmp_path: Path) -> Path:
    """A speech file in a folder of its own."""
    return Path(shutil.copy(speech_file, tmp_path / "line.flac"))


def ask(speaker: Speaker, line: Path, **values: Any) -> tuple[dict[str, Any], np.ndarray]:
    output = line.with_name("motion.npz")
    asked = {"speech": str(line), "output": str(output), "fps": 30, **values}
    answer = speaker.animate(asked, nobody, never)
    return answer, load_motion(output).weights


def test_a_transcript_is_used_and_its_alignment_given_back(speaker: Speaker, line: Path) -> None:
    plain, without = ask(speaker, line)
    assert "heard" not in plain
    grid = line.with_name("line.TextGrid")
    answer, with_words = ask(speaker, line, transcript=TEXT, save_alignment=str(grid))
    assert answer["warnings"] == []
    assert answer["heard"].startswith("bob packed my five dozen")
    assert not np.array_equal(without, with_words)
    again, from_file = ask(speaker, line, alignment=str(grid))
    np.testing.assert_allclose(from_file, with_words, atol=2e-3)
    assert again["warnings"] == []


def test_the_text_beside_the_file_is_read_and_an_empty_one_says_no(
    speaker: Speaker, line: Path
) -> None:
    _, without = ask(speaker, line)
    line.with_suffix(".txt").write_text(TEXT)
    answer, beside = ask(speaker, line)
    assert "moon" in answer["heard"]
    _, given = ask(speaker, line, transcript=TEXT)
    np.testing.assert_array_equal(beside, given)
    _, refused = ask(speaker, line, transcript="")
    np.testing.assert_array_equal(refused, without)


def test_a_wrong_transcript_is_told_and_changes_nothing(speaker: Speaker, line: Path) -> None:
    _, without = ask(speaker, line)
    answer, with_wrong = ask(speaker, line, transcript="It never rains in the desert at night.")
    assert len(answer["warnings"]) == 1
    assert "does not fit the speech" in answer["warnings"][0]
    np.testing.assert_array_equal(without, with_wrong)


def test_accurate_mode_hears_words(speaker: Speaker, line: Path) -> None:
    pytest.importorskip("pocketsphinx")
    stages = []
    output = line.with_name("motion.npz")
    asked = {"speech": str(line), "output": str(output), "fps": 30, "accurate": True}
    answer = speaker.animate(asked, lambda stage, done, total: stages.append(stage), never)
    assert {"packed", "five", "beautiful", "moon"} <= set(answer["heard"].split())
    assert "Recognising" in stages


@pytest.mark.parametrize(
    "values",
    [{"transcript": 3}, {"accurate": "yes"}, {"alignment": "here.csv"}, {"save_alignment": "x"}],
)
def test_senseless_values_are_refused(speaker: Speaker, line: Path, values: dict) -> None:
    with pytest.raises(IdiolectError) as raised:
        ask(speaker, line, **values)
    assert raised.value.code == "bad_request"


def test_the_command_line_knows_words_too(
    line: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, saved = tmp_path / "line.npz", tmp_path / "line.csv"
    arguments = [str(line), "-o", str(out), "--quiet"]
    assert main([*arguments, "--transcript", TEXT, "--save-alignment", str(saved)]) == 0
    assert capsys.readouterr().err == ""
    first = load_motion(out).weights
    assert saved.read_text().startswith("start_s,end_s,phone,word\n")
    assert main([*arguments, "--alignment", str(saved)]) == 0
    np.testing.assert_allclose(load_motion(out).weights, first, atol=2e-3)
    assert main([*arguments, "--transcript", "It never rains in the desert at night."]) == 0
    assert capsys.readouterr().err.startswith("warning: The transcript (")
    for wrong in (["--alignment", "x.txt"], ["--transcript", "missing.txt"]):
        assert main([*arguments, *wrong]) == 2
        assert "error: " in capsys.readouterr().err
