"""Requests as JSON gives them: styles in every form, raw motion finished later, style files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.animator import Animator, never, nobody
from core.errors import IdiolectError
from core.finishing.raw_motion import load_raw
from core.motion import ARKIT_CHANNELS, MotionClip
from core.motion_files import load_motion, save_motion
from core.requests import Speaker, finish
from tests.small_model import save_small_model


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Speaker:
    path = save_small_model(tmp_path_factory.mktemp("model") / "small.safetensors")
    return Speaker(Animator(path, "cpu"))


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    weights = np.concatenate(
        [rng.uniform(0.0, 0.2, (150, 52)), rng.uniform(0.4, 1.0, (150, 52))]
    ).astype(np.float32)
    save_motion(MotionClip(weights, ARKIT_CHANNELS, 30.0), tmp_path / "reference.npz")
    return tmp_path / "reference.npz"


def ask(speaker: Speaker, speech: Path, output: Path, **values: Any) -> dict[str, Any]:
    asked = {"speech": str(speech), "output": str(output), "fps": 30, **values}
    return speaker.animate(asked, nobody, never)


def test_finishing_raw_motion_later_gives_what_it_gives_at_once(
    speaker: Speaker, speech_file: Path, tmp_path: Path
) -> None:
    settings = {"gain_jaw": 1.3, "head_strength": 0.5, "seed": 3, "offset_s": 0.04}
    raw, one, two = (tmp_path / f"{name}.npz" for name in ("raw", "one", "two"))
    answer = ask(speaker, speech_file, one, raw=str(raw), finishing=settings, fps=24)
    assert answer["raw"] == str(raw) and answer["warnings"] == []
    asked = {"raw": str(raw), "output": str(two), "fps": 24, "finishing": settings}
    again = finish(asked)
    assert (again["frames"], again["fps"]) == (answer["frames"], 24.0)
    first, second = load_motion(one), load_motion(two)
    np.testing.assert_array_equal(first.weights, second.weights)
    assert first.channels[-3:] == ("headPitch", "headYaw", "headRoll")
    plain = finish({**asked, "finishing": None})
    assert plain["frames"] == again["frames"]
    assert load_motion(two).channels == ARKIT_CHANNELS
    kept = load_raw(raw)
    assert len(kept.heard.loudness) == len(kept.heard.silence) == int(kept.duration_s * 50)
    assert raw.stat().st_size < 5500 * kept.duration_s + 9000, "it is stored in the .blend"
    with pytest.raises(IdiolectError, match="gain_jav"):
        finish({**asked, "finishing": {"gain_jav": 1.0}})
    raw.write_bytes(b"PK junk")
    with pytest.raises(IdiolectError) as caught:
        finish(asked)
    assert caught.value.code == "bad_raw"


def test_a_part_of_a_reference_is_its_own_style(speaker: Speaker, reference: Path) -> None:
    told: list[str] = []

    def code(**part: float) -> np.ndarray:
        style = speaker.style({"reference": str(reference), **part}, told.append)
        assert isinstance(style, np.ndarray)
        return style

    calm, wild = code(start_s=0.0, end_s=4.9), code(start_s=5.0)
    assert not told and np.abs(calm - wild).max() > 0.1
    np.testing.assert_array_equal(code(start_s=5.0), wild)
    code(start_s=6.0, end_s=8.0)
    assert len(told) == 1 and "2.0 s" in told[0]
    with pytest.raises(IdiolectError, match="too short"):
        code(start_s=6.0, end_s=6.2)
    with pytest.raises(IdiolectError, match="no frames"):
        code(start_s=60.0)


def test_a_saved_style_speaks_as_it_did_and_only_with_its_model(
    speaker: Speaker, reference: Path, speech_file: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.style.npz"
    mixed = {"a": {"reference": str(reference)}, "b": {"name": "lively"}, "mix": 0.25,
             "strength": 1.5}  # fmt: skip
    speaker.save_style({"style": mixed, "name": "Mine", "output": str(file)})
    ask(speaker, speech_file, tmp_path / "a.npz", style=mixed)
    ask(speaker, speech_file, tmp_path / "b.npz", style={"file": str(file)})
    np.testing.assert_allclose(
        load_motion(tmp_path / "a.npz").weights, load_motion(tmp_path / "b.npz").weights, atol=1e-5
    )
    with np.load(file, allow_pickle=False) as stored:
        assert str(stored["name"]) == "Mine" and str(stored["model"]) == "small 0"
    other = save_small_model(tmp_path / "other.safetensors", seed=1)
    with pytest.raises(IdiolectError, match="another model, 'small 0'"):
        Speaker(Animator(other, "cpu")).style({"file": str(file)})
    file.write_bytes(b"junk")
    with pytest.raises(IdiolectError) as caught:
        speaker.style({"file": str(file)})
    assert (caught.value.code, caught.value.setting) == ("bad_style", "style")
    with pytest.raises(IdiolectError, match=r"\.style\.npz"):
        speaker.save_style({"style": None, "name": "x", "output": str(tmp_path / "x.npz")})


def test_tracks_of_mix_strength_and_emotion(
    speaker: Speaker, speech_file: Path, tmp_path: Path
) -> None:
    style = {
        "a": {"name": "neutral"},
        "b": {"name": "lively"},
        "mix": {"times_s": [1.0, 2.0], "values": [0.0, 1.0]},
        "strength": 1.0,
    }
    emotion = {"times_s": [0.0], "intensities": [[0, 1, 0, 0, 0, 0, 0, 0]]}
    answer = ask(speaker, speech_file, tmp_path / "o.npz", style=style, emotion=emotion)
    assert any("not learnt emotions" in warning for warning in answer["warnings"])


@pytest.mark.parametrize(
    "values",
    [
        {"style": {"a": None, "b": None, "mux": 0.5}},
        {"style": {"a": None, "b": None, "mix": {"times_s": [0.0]}}},
        {"style": {"a": None, "mix": {"times_s": [0.0], "values": ["x"]}}},
        {"emotion": "happy"},
        {"emotion": {"times_s": [0, 1], "intensities": [[0] * 8, [0]]}},
        {"finishing": 5},
        {"raw": "relative.npz"},
    ],
)
def test_what_makes_no_sense_is_refused(
    speaker: Speaker, speech_file: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    with pytest.raises(IdiolectError) as caught:
        ask(speaker, speech_file, tmp_path / "o.npz", **values)
    assert caught.value.code == "bad_request"


def test_a_motionless_reference_is_refused(speaker: Speaker, tmp_path: Path) -> None:
    still = MotionClip(np.full((200, 52), 0.2, np.float32), ARKIT_CHANNELS, 30.0)
    save_motion(still, tmp_path / "still.npz")
    with pytest.raises(IdiolectError, match="does not move"):
        speaker.style({"reference": str(tmp_path / "still.npz")})


def test_one_line_that_fails_leaves_the_others(
    speaker: Speaker, speech_file: Path, tmp_path: Path
) -> None:
    def line(name: str, speech: Path = speech_file, **values: Any) -> dict[str, Any]:
        return {"speech": str(speech), "output": str(tmp_path / name), "fps": 30, **values}

    lines = [
        line("a.npz"),
        line("b.npz", tmp_path / "none.wav"),
        line("c.npz", style={"name": "no such"}),
        line("d.npz", style={"name": "lively"}, start_s=1.0, duration_s=2.0),
    ]
    told: list[tuple[str, int, int]] = []
    good, missing, unknown, part = speaker.animate_many(lines, lambda *s: told.append(s), never)
    assert isinstance(good, dict) and isinstance(part, dict)
    assert isinstance(missing, IdiolectError) and missing.code == "missing_file"
    assert isinstance(unknown, IdiolectError) and unknown.code == "unknown_style"
    assert part["frames"] == 61 and told[-1][1:] == (4, 4)
    alone = ask(speaker, speech_file, tmp_path / "alone.npz")
    assert alone["frames"] == good["frames"]
    np.testing.assert_allclose(
        load_motion(tmp_path / "a.npz").weights, load_motion(tmp_path / "alone.npz").weights,
        atol=1e-3,
    )  # fmt: skip


def test_words_are_found_once_while_a_slider_moves(
    speaker: Speaker, speech_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    find_words = Animator.find_words

    def counted(self: Animator, *arguments: Any, **named: Any) -> Any:
        found.append(arguments)
        return find_words(self, *arguments, **named)

    monkeypatch.setattr(Animator, "find_words", counted)
    answers = [
        ask(speaker, speech_file, tmp_path / "o.npz", transcript=text, style={"name": name})
        for text, name in (("one", "lively"), ("one", "neutral"), ("two", "neutral"))
    ]
    assert len(found) == 2
    assert answers[0]["warnings"] == answers[1]["warnings"], "told each time"
