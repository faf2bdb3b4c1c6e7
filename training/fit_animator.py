"""Fit the procedural animator's constants to captured performance.

    python -m training.fit_animator --motion DIR [--backbone CHECKPOINT] \
        [--fit 1114_2_01 1114_2_02 1114_3_15] [--show 1114_2_03]

reads takes captured with their speech (`facegood_NAME.npz` and `.flac`, as FACEGOOD-Audio2Face has
them), hears their phones with the speech backbone (the takes have no transcripts), and moves the
constants of `training.synthesis.animator` until jaw, rounding, parting of the lips and lower lip go
up and down with the captured ones. It prints the constants to be written into `Constants` and what
they do on takes that were not fitted. Correlations: one performer's amplitudes are a style.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.animator import BUNDLED_CHECKPOINT
from core.audio import load_speech, speech_gain
from core.errors import IdiolectError
from core.model.speech import prosody
from core.motion import ARKIT_CHANNELS
from core.phones import PHONES, Segment
from training.backbone import load_backbone
from training.command import command
from training.phone_scores import correlation
from training.synthesis.animator import ARTICULATORS, Constants, animate_phones
from training.synthesis.styles import SpeakingStyle

log = logging.getLogger(__name__)

PHONE_RATE_HZ = 50
SWITCH_COST = 3.0
"""What a change of phone costs in nats: keeps single odd frames from becoming phones."""

# What the captured channels measure, and what of ours should go with it.
TRAITS: dict[str, tuple[tuple[str, ...], tuple[str, ...], float]] = {
    "jaw": (("mouth_stretch_c",), ("jawOpen",), 1.0),
    "rounding": (
        ("mouth_oh_c", "mouth_oo_c", "mouth_pucker_l", "mouth_funnel_dl"),
        ("mouthPucker", "mouthFunnel"),
        0.5,
    ),
    "lower lip": (("mouth_lowerLipDepress_l",), ("mouthLowerDownLeft",), 0.15),
    "upper lip": (("mouth_upperLipRaise_l",), ("mouthUpperUpLeft",), 0.15),
    "press": (("mouth_press_l", "mouth_press_r"), ("mouthPressLeft",), 0.1),
}


@dataclass(frozen=True)
class Take:
    """A captured take, heard.

    Attributes:
        name: For tables.
        segments: Phones that the backbone hears.
        voice: (N, 4) prosody.
        weights: (T, channels) captured.
        channels: Their names.
        fps: Frames per second.
    """

    name: str
    segments: list[Segment]
    voice: np.ndarray
    weights: np.ndarray
    channels: tuple[str, ...]
    fps: float


def load_take(folder: Path, name: str, backbone: torch.nn.Module) -> Take:
    """Read a take and hear its phones.

    Raises:
        IdiolectError: A file is missing or damaged.
    """
    path = folder / f"facegood_{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            weights, channels = file["weights"], tuple(str(c) for c in file["channels"])
            fps = float(file["fps"]) if "fps" in file.files else 30.0
    except (OSError, ValueError, KeyError) as error:
        raise IdiolectError(
            f"cannot read {path}: {error}",
            hint="Give the folder of captured takes.",
            code="take_missing",
            setting="--motion",
        ) from error
    samples = load_speech(path.with_suffix(".flac"))
    heard_samples = torch.from_numpy(samples * np.float32(speech_gain(samples)))[None]
    with torch.inference_mode():
        heard = backbone(heard_samples)
        voice = prosody(heard_samples)[0].numpy()
    logits = heard.phone_logits[0].log_softmax(-1).numpy()
    return Take(name, heard_segments(logits), voice, weights, channels, fps)


def heard_segments(log_posteriors: np.ndarray) -> list[Segment]:
    """The likeliest phones (N, 40) as segments, by Viterbi with a cost for every change."""
    count, phones = log_posteriors.shape
    best = log_posteriors[0].copy()
    origin = np.empty((count, phones), np.int64)
    for n in range(1, count):
        jump = int(best.argmax())
        stay = best >= best[jump] - SWITCH_COST
        origin[n] = np.where(stay, np.arange(phones), jump)
        best = np.where(stay, best, best[jump] - SWITCH_COST) + log_posteriors[n]
    path = [int(best.argmax())]
    for n in range(count - 1, 0, -1):
        path.append(int(origin[n, path[-1]]))
    labels = np.array(path[::-1])
    bounds = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), count]
    return [
        Segment(PHONES[labels[a]], a / PHONE_RATE_HZ, b / PHONE_RATE_HZ)
        for a, b in itertools.pairwise(bounds)
    ]


def agreement(take: Take, constants: Constants) -> dict[str, float]:
    """Correlation of each of `TRAITS` with the captured take; NaN where nothing moves in it."""
    clip = animate_phones(
        take.segments, take.voice, SpeakingStyle(), fps=take.fps, constants=constants
    )
    count = min(len(clip.weights), len(take.weights))
    found = {}
    for name, (captured, ours, _) in TRAITS.items():
        true = _sum(take.weights[:count], take.channels, captured)
        made = _sum(clip.weights[:count], ARKIT_CHANNELS, ours)
        moves = true.std() > 0.01 and made.std() > 1e-4
        found[name] = correlation(made, true) if moves else float("nan")
    return found


def fit(takes: Sequence[Take], constants: Constants, rounds: int) -> Constants:
    """Change one constant at a time, by steps that shrink, as long as takes agree better.

    Args:
        takes: What to fit.
        constants: Where to begin.
        rounds: Passes over all constants.
    """
    best = _value(takes, constants)
    log.info("before: %.4f", best)
    for round_ in range(rounds):
        step = 0.5 ** (0.5 * round_)
        for name, place in _FREE:
            for sign in (1.0, -1.0):
                changed = _moved(constants, name, place, sign * step)
                value = _value(takes, changed)
                if value > best + 1e-5:
                    constants, best = changed, value
                    break
        log.info("round %d: %.4f", round_ + 1, best)
    return constants


# Which constants are free (and which of an articulator's), and by how much the first step moves
# them: times by a factor, so that they stay positive. Their limits keep a fit to one speaker from
# leaving what is plausible of others, and to phones heard with errors (which look like slow lips
# and like a jaw that minds no vowel) from leaving what is seen where phones are known.
_PARTS = {part: ARTICULATORS.index(part) for part in ("jaw", "part", "round")}
_FREE: tuple[tuple[str, int | None], ...] = (
    *((name, place) for name in ("before_s", "after_s", "indifferent") for place in _PARTS.values()
      if (name, place) != ("before_s", _PARTS["round"])),
    *((name, None) for name in ("contrast", "loudness", "emphasis", "inertia_s",
                                "anticipation", "lip_loudness")),
)  # fmt: skip
_ADDED = {"emphasis": 0.2, "contrast": 0.2, "loudness": 0.25, "lip_loudness": 0.2}
_LIMITS = {
    "before_s": (0.035, 0.08),
    "after_s": (0.035, 0.10),
    "indifferent": (0.2, 0.6),
    "contrast": (0.8, 1.2),
    "loudness": (0.3, 1.3),
    "emphasis": (0.0, 0.8),
    "inertia_s": (0.03, 0.1),
    "anticipation": (0.5, 2.0),
    "lip_loudness": (0.0, 1.0),
}


def _moved(constants: Constants, name: str, place: int | None, step: float) -> Constants:
    lowest, highest = _LIMITS[name]
    old = getattr(constants, name)
    value = old if place is None else old[place]
    value = value + _ADDED[name] * step if name in _ADDED else value * 1.5**step
    value = float(np.clip(value, lowest, highest))
    changed: Any = value if place is None else (*old[:place], value, *old[place + 1 :])
    return replace(constants, **{name: changed})


def _value(takes: Sequence[Take], constants: Constants) -> float:
    total = 0.0
    for take in takes:
        found = agreement(take, constants)
        total += sum(w * found[n] for n, (_, _, w) in TRAITS.items() if np.isfinite(found[n]))
    return total / len(takes)


def _sum(weights: np.ndarray, channels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    return sum((weights[:, list(channels).index(name)] for name in names), np.zeros(len(weights)))


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--motion", type=Path, required=True, help="folder of captured takes")
    parser.add_argument("--backbone", type=Path, help="checkpoint (default: the bundled model)")
    parser.add_argument("--fit", nargs="+", default=["1114_2_01", "1114_2_02", "1114_3_15"])
    parser.add_argument("--show", nargs="+", default=["1114_2_03"], help="takes not fitted")
    parser.add_argument("--rounds", type=int, default=6)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    backbone = load_backbone(options.backbone or BUNDLED_CHECKPOINT).eval()
    takes = {name: load_take(options.motion, name, backbone) for name in options.fit + options.show}
    fitted = fit([takes[name] for name in options.fit], Constants(), options.rounds)
    for name, take in takes.items():
        role = "fitted" if name in options.fit else "shown"
        for when, constants in (("by eye", Constants()), ("fitted", fitted)):
            line = "  ".join(f"{k} {v:.3f}" for k, v in agreement(take, constants).items())
            print(f"{name} ({role}) {when:6}: {line}")
    for field in fields(Constants):
        value = getattr(fitted, field.name)
        if isinstance(value, tuple):
            print(f"{field.name} = ({', '.join(f'{v:.3f}' for v in value)})")
        else:
            print(f"{field.name} = {value:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
