"""What ships, on a sentence that ships: lips that close, a mouth that opens, styles that differ."""

from pathlib import Path

import numpy as np
import pytest

from core.animator import Animator
from core.audio import load_speech, speech_gain
from core.face.lips import CLOSED_MM, lip_gap_mm
from core.motion import ARKIT_CHANNELS, MotionClip
from core.phones import BILABIALS, Segment
from training.synthesis.alignment import Aligner

TEXT = "Bob packed my five dozen liquor jugs. Who saw the beautiful moon?"
TOLERANCE_S = 0.06


@pytest.fixture(scope="module")
def animator() -> Animator:
    return Animator(device="cpu")


@pytest.fixture(scope="module")
def segments(speech_file: Path) -> list[Segment]:
    samples = load_speech(speech_file)
    found = Aligner().align(samples * speech_gain(samples), TEXT)
    assert found, "the transcript does not fit the clip"
    return found


def widest_gap_mm(clip: MotionClip) -> np.ndarray:
    return lip_gap_mm(clip.select(ARKIT_CHANNELS)).max(axis=1)


@pytest.mark.parametrize("fps", [24.0, 29.97, 60.0])
def test_lips_close_on_every_p_b_m_and_open_in_between(animator, segments, speech_file, fps):
    gap = widest_gap_mm(animator.animate(speech_file, fps=fps))
    times = np.arange(len(gap)) / fps
    missed = []
    for phone, start_s, end_s in segments:
        if phone in BILABIALS:
            near = (times >= start_s - TOLERANCE_S) & (times <= end_s + TOLERANCE_S)
            if gap[near].min() > CLOSED_MM:
                missed.append((phone, round(start_s, 2)))
    assert not missed
    vowels = [gap[(times >= s.start_s) & (times <= s.end_s)].max() for s in segments
              if s.phone in ("AA", "AY", "AE") and s.end_s - s.start_s > 0.08]  # fmt: skip
    assert vowels and min(vowels) > 4.0, "millimetres"


def test_a_quiet_file_end_is_a_closed_calm_mouth(animator, speech_file):
    silence = np.zeros(16000, np.float32)
    gap = widest_gap_mm(
        animator.animate(np.concatenate([load_speech(speech_file), silence]), fps=50)
    )
    assert gap[-30:].max() <= CLOSED_MM
    assert np.ptp(gap[-30:]) < 0.1


def test_styles_differ_as_their_names_say(animator, speech_file):
    def motion(style: str) -> MotionClip:
        return animator.animate(speech_file, style=style, fps=50)

    opening = {s: widest_gap_mm(motion(s)).mean() for s in ("restrained", "neutral", "broad")}
    assert opening["restrained"] < opening["neutral"] < opening["broad"]
    smile = {s: motion(s).select(["mouthSmileLeft"]).mean() for s in ("neutral", "smiling")}
    assert smile["smiling"] > smile["neutral"] + 0.15
