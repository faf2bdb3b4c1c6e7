"""Fitting the animator's constants: a known performance is found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.motion import ARKIT_CHANNELS
from core.phones import PHONE_INDEX, Segment
from training.fit_animator import TRAITS, Take, agreement, fit, heard_segments
from training.synthesis.animator import FITTED, Constants, animate_phones
from training.synthesis.styles import SpeakingStyle


def performed(constants: Constants) -> Take:
    """A take by the animator itself, under the names of a captured one."""
    rng = np.random.default_rng(2)
    phones = rng.choice(["AA", "M", "UW", "S", "IY", "L", "W", "AE", "T", "SIL"], 60)
    segments = [Segment(p, 0.12 * i, 0.12 * (i + 1)) for i, p in enumerate(phones)]
    loudness = np.repeat(rng.uniform(-0.8, 0.5, 60), 6)
    voice = np.stack([loudness, 0.3 * loudness, 0.8 + 0 * loudness, 0 * loudness], 1)
    made = animate_phones(segments, voice, SpeakingStyle(), fps=30.0, constants=constants).weights
    columns = {}
    for captured, ours, _ in TRAITS.values():
        for name in captured:
            columns[name] = sum(made[:, ARKIT_CHANNELS.index(o)] for o in ours)
    return Take("made", segments, voice, np.stack(list(columns.values()), 1), tuple(columns), 30.0)


def test_constants_that_made_a_take_are_neared() -> None:
    truth = replace(Constants(), loudness=1.0, contrast=0.8)
    take = performed(truth)
    found = fit([take], Constants(), rounds=2)
    assert abs(found.loudness - 1.0) < abs(Constants().loudness - 1.0)
    before, after = (agreement(take, constants)["jaw"] for constants in (Constants(), found))
    assert before < after <= 1.0 + 1e-9


def test_fitted_constants_keep_to_what_is_plausible() -> None:
    assert len(FITTED.before_s) == len(FITTED.after_s) == len(FITTED.indifferent) == 7
    assert min(*FITTED.before_s, *FITTED.after_s) >= 0.03 and FITTED.loudness > 0.2


def test_phones_are_heard_without_flicker() -> None:
    logits = np.full((30, 40), -8.0)
    logits[:15, PHONE_INDEX["AA"]] = -0.01
    logits[15:, PHONE_INDEX["M"]] = -0.01
    logits[7, PHONE_INDEX["AA"]], logits[7, PHONE_INDEX["T"]] = -1.0, -0.5  # one doubtful frame
    assert heard_segments(logits) == [Segment("AA", 0.0, 0.3), Segment("M", 0.3, 0.6)]
