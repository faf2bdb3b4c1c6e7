"""A CUDA device moves faces as the processor does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.animator import Animator
from core.audio import load_speech
from core.batching import Line, perform_many
from core.finishing.raw_motion import RawMotion
from core.listening import SpeechSource

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


@pytest.mark.parametrize(("device", "bound"), [("cuda", 1e-3), ("cuda+half", 3e-2)])
def test_motion_is_the_processor_s(speech_file: Path, device: str, bound: float) -> None:
    samples = np.tile(load_speech(speech_file), 4)
    expected = Animator(device="cpu").animate(samples, fps=50.0, finishing=None).weights
    animator = Animator(device=device)
    given = animator.animate(samples, fps=50.0, finishing=None).weights
    assert animator.device.type == "cuda", "it has not fallen back"
    np.testing.assert_allclose(given, expected, atol=bound)


def test_lines_together_are_the_processor_s(speech_file: Path) -> None:
    samples = load_speech(speech_file)
    lines = [Line(SpeechSource(samples[i * 1000 :]), style="stern") for i in range(12)]
    ours = dict(perform_many(Animator(device="cpu"), lines))
    theirs = dict(perform_many(Animator(device="cuda"), lines))
    for i in range(len(lines)):
        one, other = ours[i], theirs[i]
        assert isinstance(one, RawMotion) and isinstance(other, RawMotion)
        np.testing.assert_allclose(one.clip.weights, other.clip.weights, atol=1e-3)
