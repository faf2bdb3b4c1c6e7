"""The measures: right answers for mouths whose score is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.audio import load_speech
from core.model.speech import CompactBackbone
from core.motion import ARKIT_CHANNELS, MotionClip
from core.phones import PHONE_INDEX, PHONES, Segment
from training.backbone import TrainConfig, save_backbone
from training.lip_sync_score import LipSyncScore
from training.phone_scores import IGNORED, ClosureCount, PhoneScore, correlation, runs, widen
from training.score import main
from training.score_elsewhere import stretch
from training.score_report import SpeakerScores, merged, report, table
from training.synthesis.alignment import labels_from
from training.synthesis.animator import animate_phones
from training.synthesis.styles import SpeakingStyle

SPOKEN = [
    Segment("SIL", 0.0, 0.6), Segment("M", 0.6, 0.7), Segment("AA", 0.7, 0.95),
    Segment("P", 0.95, 1.05), Segment("AA", 1.05, 1.3), Segment("S", 1.3, 1.4),
    Segment("UW", 1.4, 1.6), Segment("B", 1.6, 1.68), Segment("IY", 1.68, 1.9),
    Segment("T", 1.9, 2.0), Segment("AA", 2.0, 2.3), Segment("SIL", 2.3, 3.2),
]  # fmt: skip


def flags(*stretches: tuple[int, int], count: int = 100) -> np.ndarray:
    found = np.zeros(count, dtype=bool)
    for first, last in stretches:
        found[first:last] = True
    return found


def count(closed: np.ndarray, wanted: np.ndarray, silent: np.ndarray) -> tuple[int, int, int, int]:
    found = ClosureCount()
    found.add(closed, wanted, silent)
    return found.wanted, found.hit, found.made, found.right


def test_runs_and_widening() -> None:
    mask = flags((0, 2), (5, 6), (98, 100))
    assert runs(mask) == [(0, 2), (5, 6), (98, 100)]
    assert runs(widen(mask, 1)) == [(0, 3), (4, 7), (97, 100)]
    assert not widen(flags(), 3).any()


def test_closures_are_counted_once() -> None:
    wanted, silent = flags((20, 24), (50, 54)), flags((0, 10), (90, 100))
    assert count(wanted, wanted, silent) == (2, 2, 2, 2)
    assert count(flags((22, 26), (47, 52)), wanted, silent) == (2, 2, 2, 2)
    assert count(flags((28, 30), (50, 54)), wanted, silent) == (2, 1, 2, 1)  # 80 ms late
    twice = flags((20, 21), (23, 24), (50, 54))
    assert count(twice, wanted, silent) == (2, 2, 3, 2)
    assert count(flags((20, 24), (70, 72)), wanted, silent) == (2, 1, 2, 1)
    one_for_two = flags((20, 28))
    assert count(one_for_two, flags((20, 22), (25, 27)), silent) == (2, 1, 1, 1)


def test_dead_faces_score_nothing() -> None:
    wanted, silent = flags((20, 24), (50, 54)), flags((0, 10), (90, 100))
    assert count(flags((0, 100)), wanted, silent) == (2, 0, 1, 0)
    assert count(flags(), wanted, silent) == (2, 0, 0, 0)
    # Held over the vowel after it.
    assert count(flags((20, 40), (50, 54)), wanted, silent) == (2, 1, 2, 1)


def test_rest_is_no_closure() -> None:
    wanted, silent = flags((20, 24)), flags((0, 18), (60, 100))
    assert count(flags((0, 16), (20, 24), (58, 100)), wanted, silent) == (1, 1, 1, 1)
    # Closed from the pause into the first p: one right closure.
    assert count(flags((0, 24)), wanted, silent) == (1, 1, 1, 1)


def one_hot(labels: np.ndarray) -> np.ndarray:
    posteriors = np.full((len(labels), len(PHONES)), 1e-4, dtype=np.float32)
    posteriors[np.arange(len(labels)), labels] = 1
    return posteriors / posteriors.sum(axis=1, keepdims=True)


def test_perfect_phones_score_one_and_silence_nothing() -> None:
    labels = labels_from(SPOKEN, 320)[::2]
    score = PhoneScore()
    score.add(labels, one_hot(labels))
    for name, value in score.summary().items():
        if name not in ("seconds", "closures"):
            assert value == pytest.approx(1, abs=1e-3), name
    silent = PhoneScore()
    silent.add(labels, one_hot(np.zeros(len(labels), int)))
    found = silent.summary()
    assert found["closure_recall"] == found["closure_precision"] == found["jaw"] == 0
    assert found["silence_recall"] == 1
    assert found["visemes"] < 0.6


def test_neighbouring_frames_are_near_but_not_exact() -> None:
    labels = labels_from(SPOKEN, 320)[::2]
    late = PhoneScore()
    late.add(labels, one_hot(np.roll(labels, 1)))
    found = late.summary()
    assert found["visemes"] == 1
    assert found["visemes_exact"] < 0.95


def test_what_is_not_known_is_not_counted() -> None:
    labels = labels_from(SPOKEN, 320)[::2].copy()
    heard = labels.copy()
    heard[30:50] = PHONE_INDEX["ZH"]
    labels[30:50] = IGNORED
    score = PhoneScore()
    score.add(labels, one_hot(heard))
    found = score.summary()
    assert found["phones"] == 1
    assert found["seconds"] == pytest.approx((len(labels) - 20) / 50)


def test_a_mouth_at_rest_at_the_edge_of_a_clip_is_no_closure() -> None:
    count = ClosureCount()
    closed, wanted = np.zeros(100, bool), np.zeros(100, bool)
    closed[:6] = closed[95:] = True
    count.add(closed, wanted, np.zeros(100, bool), rate_hz=100)
    assert count.made == 0
    closed[:12] = True  # held over what is said
    count.add(closed, wanted, np.zeros(100, bool), rate_hz=100)
    assert (count.made, count.right) == (1, 0)


def test_correlation_of_what_does_not_move_is_zero() -> None:
    assert correlation(np.ones(9), np.arange(9)) == 0
    assert correlation(np.arange(9), np.arange(9) * 2 + 1) == pytest.approx(1)


@pytest.fixture(scope="module")
def voice() -> np.ndarray:
    loudness = np.where(labels_from(SPOKEN, 320)[::2] > 0, 0.0, -2.5)
    tracks = np.zeros((160, 4), np.float32)
    tracks[:, 0] = loudness
    return tracks


def measured(motion: MotionClip, reference: MotionClip) -> dict[str, float]:
    score = LipSyncScore()
    score.add(motion, SPOKEN, reference)
    return score.summary()


@pytest.mark.parametrize("fps", [24.0, 29.97, 60.0])
def test_procedural_motion_is_its_own_reference(voice: np.ndarray, fps: float) -> None:
    reference = animate_phones(SPOKEN, voice, SpeakingStyle(), fps=fps)
    found = measured(reference, reference)
    assert found["closures"] == 3
    assert found["closure_recall"] == found["closure_precision"] == 1
    assert found["jaw"] == found["jerk"] == pytest.approx(1)
    assert found["lag_ms"] == 0
    assert found["moving_in_silence"] == 0
    assert found["vowel_gap_mm"] > 3


def test_late_still_and_restless_faces_are_told(voice: np.ndarray) -> None:
    reference = animate_phones(SPOKEN, voice, SpeakingStyle(), fps=50)
    late = MotionClip(np.roll(reference.weights, 5, axis=0), ARKIT_CHANNELS, 50)
    found = measured(late, reference)
    assert found["lag_ms"] == pytest.approx(100, abs=11)
    assert found["closure_recall"] < 1
    still = MotionClip(np.zeros_like(reference.weights), ARKIT_CHANNELS, 50)
    found = measured(still, reference)
    assert found["closure_recall"] == found["closure_precision"] == found["jaw"] == 0
    restless = reference.weights.copy()
    restless[:, ARKIT_CHANNELS.index("jawOpen")] += 0.2 * (np.arange(len(restless)) % 2)
    found = measured(MotionClip(restless, ARKIT_CHANNELS, 50), reference)
    assert found["moving_in_silence"] > 0.9
    assert found["jerk"] > 2


def test_report_pools_speakers_and_prints_every_group(voice: np.ndarray) -> None:
    reference = animate_phones(SPOKEN, voice, SpeakingStyle(), fps=30)
    labels = labels_from(SPOKEN, 320)[::2]
    results = {}
    for name, heard in (("anna", labels), ("otto", np.zeros_like(labels))):
        speaker = SpeakerScores(("women",) if name == "anna" else ("men",))
        speaker.phones["fast"] = PhoneScore()
        speaker.phones["fast"].add(labels, one_hot(heard))
        speaker.motion["raw, 30 fps"] = LipSyncScore()
        speaker.motion["raw, 30 fps"].add(reference, SPOKEN, reference)
        results[name] = speaker
    found = report(results, resamples=50)
    assert found["women"]["phones"]["fast"]["closure_recall"] == 1
    assert found["men"]["phones"]["fast"]["closure_recall"] == 0
    assert found["all"]["phones"]["fast"]["closure_recall"] == 0.5
    assert found["intervals"]["phones"]["fast"]["closure_recall"] == [0, 1]
    assert results["anna"].phones["fast"].closures.wanted == 3  # pooling left the parts alone
    assert merged(PhoneScore, [s.phones["fast"] for s in results.values()]).closures.wanted == 6
    text = table(found)
    for word in ("women", "men", "interval", "raw, 30 fps", "closure_recall"):
        assert word in text


def test_command_scores_a_backbone_alone(
    tmp_path: Path, speech_file: Path, capsys: pytest.CaptureFixture
) -> None:
    header = "file,corpus,speaker,gender,transcript,duration_s,split"
    words = "Bob packed my five dozen liquor jugs. Who saw the beautiful moon?"
    row = f"{speech_file},Test,anna,F,{words},4.4,test"
    (tmp_path / "index.csv").write_text(f"{header}\n{row}\n")
    checkpoint = tmp_path / "backbone.safetensors"
    save_backbone(checkpoint, CompactBackbone(), TrainConfig(), {})
    options = ["--speech", str(tmp_path), "--checkpoint", str(checkpoint)]
    assert main([*options, "--json", str(tmp_path / "found.json")]) == 0
    printed = capsys.readouterr().out
    assert "| fast | women | 1 |" in printed
    assert "flattered" not in printed
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["all"]["phones"]["fast"]["closures"] >= 5
    assert found["all"]["phones"]["fast"]["seconds"] > 0.95 * len(load_speech(speech_file)) / 16000
    assert found["all"]["motion"] == {}
    assert main([*options, "--split", "valid"]) == 2
    assert "--prompts" in capsys.readouterr().err


def test_command_scores_modes_rates_and_draws_the_worst(
    tmp_path: Path, speech_file: Path, capsys: pytest.CaptureFixture
) -> None:
    header = "file,corpus,speaker,gender,transcript,duration_s,split"
    words = "Bob packed my five dozen liquor jugs. Who saw the beautiful moon?"
    (tmp_path / "index.csv").write_text(f"{header}\n{speech_file},Test,anna,F,{words},4.4,test\n")
    out = tmp_path / "out"
    modes = ("fast", "transcript", "transcript-own")
    arguments = ["--speech", str(tmp_path), "--modes", *modes, "--finished"]
    arguments += ["--fps", "24", "60", "--out", str(out), "--worst", "1"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "## Worst clips" in printed
    found = json.loads((out / "score.json").read_text())
    motion = found["all"]["motion"]
    assert len(motion) == 2 + 6
    assert "flattered" in printed
    phones = found["all"]["phones"]
    assert phones["transcript"]["visemes_exact"] > phones["transcript-own"]["visemes_exact"] > 0.8
    for rate in (24, 60):
        known = motion[f"transcript, finished, {rate} fps"]
        assert known["closure_recall"] == known["mean_recall"] == 1
        assert known["rounding"] > 0.3
    for name in ("closures.png", "worst_01.png", "score.md"):
        assert (out / name).stat().st_size > 500
    assert main([*arguments[:2], "--worst", "1"]) == 2
    assert "--out" in capsys.readouterr().err


def test_stretching_keeps_the_pitch() -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(8000) / 16000).astype(np.float32)
    longer = stretch(tone, 16000, 3.0)
    assert len(longer) == 24000
    spectrum = np.abs(np.fft.rfft(longer))
    assert np.argmax(spectrum) * 16000 / len(longer) == pytest.approx(200, abs=3)
