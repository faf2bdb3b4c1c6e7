"""The sheet of styles and emotions: the right moments in order (rendering is looked at)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.animator import Animator
from core.errors import IdiolectError
from core.motion import ARKIT_CHANNELS
from training.style_sheet import poses, sheet

SPEECH = Path(__file__).parents[1] / "data" / "speech.flac"


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator(device="cpu")


def test_pictures_come_by_style_emotion_and_moment(animator: Animator) -> None:
    moments = {"[b]": 0.20, "[ai]": 1.18}
    found = poses(animator, SPEECH, ["restrained", "broad"], ["neutral", "sadness"], moments)
    assert [name for name, _ in found[:4]] == [
        "restrained neutral [b]", "restrained neutral [ai]",
        "restrained sadness [b]", "restrained sadness [ai]",
    ]  # fmt: skip
    shown = {name: dict(zip(ARKIT_CHANNELS, pose, strict=True)) for name, pose in found}
    opening = {name: pose["jawOpen"] - pose["mouthClose"] for name, pose in shown.items()}
    assert opening["broad neutral [b]"] < 0.03 < opening["restrained neutral [ai]"]
    assert opening["broad neutral [ai]"] > opening["restrained neutral [ai]"]
    frown = {name: pose["mouthFrownLeft"] for name, pose in shown.items()}
    assert frown["broad sadness [ai]"] > frown["broad neutral [ai]"]


def test_moments_beyond_the_speech_are_refused(animator: Animator) -> None:
    with pytest.raises(IdiolectError, match=r"ends at 4\.4"):
        poses(animator, SPEECH, ["neutral"], ["neutral"], {"late": 9.0})


def test_rows_and_columns_are_named(tmp_path: Path) -> None:
    figure = sheet(np.zeros((40, 60, 3)), ["one", "two"], ["a", "b", "c"])
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["one", "two"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["a", "b", "c"]
