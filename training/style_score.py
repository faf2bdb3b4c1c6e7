"""How well a model keeps style and emotion, and keeps them apart.

    python -m training.style_score --corpus MOTION [--checkpoint FILE] [--styles 40] [--json FILE]

Styles are drawn anew, so nobody has trained on them; speech is that of the corpus' validation
voices. References are procedural performances of one sentence; the judge of what the model makes of
another sentence is the procedural animator too, and nothing that was learnt: a motion belongs to
the style (or the emotion) whose own performance of that sentence it is nearest to.

- *codes*: a style code from a neutral reference against a code from another sentence in each
  emotion: how often its own style is the nearest of all.
- *style made*, *emotion made*: motion made in a style and an emotion: how often the judge finds
  that style among all, and that emotion among eight.
- *style made, emotional reference*: the same, the reference's emotion drawn at random.
- *closures*: share of p, b and m on which the lips of the head meet within 60 ms (raw motion).
- *traits*: correlation of each trait of the styles with what a ridge regression reads from codes,
  fitted on other styles.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.animator import BUNDLED_CHECKPOINT
from core.checkpoint import load_checkpoint, load_weights
from core.emotions import EMOTIONS
from core.errors import IdiolectError
from core.face.lips import CLOSED_MM, lip_gap_mm
from core.files import atomic_path
from core.model.backbones import BackboneConfig, build_backbone, track_sizes
from core.model.config import ModelConfig, from_dict
from core.model.model import IdiolectModel
from core.model.speech import prosody
from core.model.speech_encoder import SpeechTracks
from core.motion import ARKIT_CHANNELS
from core.phones import BILABIALS, PHONES, SILENCE, Segment
from training.command import command
from training.corpus import Corpus
from training.phone_scores import correlation
from training.synthesis.animator import animate_phones
from training.synthesis.motion_corpus import segments_of
from training.synthesis.styles import SpeakingStyle, sample_style, style_traits

log = logging.getLogger(__name__)

FPS = 50.0
SENTENCES = 4
REGRESSION_STYLES = 120
"""Styles from which it is learnt how traits stand in codes."""


@dataclass(frozen=True)
class Sentence:
    """Speech of a validation voice.

    Attributes:
        segments: Its phones.
        voice: (N, 4) prosody.
        tracks: What the backbone hears, batch of 1.
        duration_s: Its length.
    """

    segments: list[Segment]
    voice: np.ndarray
    tracks: SpeechTracks
    duration_s: float

    @property
    def frames(self) -> int:
        """Motion frames that its performances have here."""
        return len(self.voice)

    def performed(self, style: SpeakingStyle, emotion: int) -> np.ndarray:
        """The procedural animator's (T, 52)."""
        felt = np.eye(len(EMOTIONS))[emotion]
        clip = animate_phones(
            self.segments, self.voice, style, fps=FPS, duration_s=self.duration_s, emotion=felt
        )
        return clip.weights[: self.frames]


class Subject:
    """The model that is measured, on the CPU."""

    def __init__(self, checkpoint: Path) -> None:
        loaded = load_checkpoint(checkpoint)
        config = from_dict(ModelConfig, loaded.config["model"], source=str(checkpoint))
        backbone = from_dict(BackboneConfig, loaded.config["backbone"], source=str(checkpoint))
        self.backbone = build_backbone(backbone).eval()
        load_weights(self.backbone, loaded.part("backbone"), checkpoint)
        self.model = IdiolectModel(config, track_sizes(self.backbone, config.speech)).eval()
        load_weights(self.model, loaded.part("model"), checkpoint)

    def hear(self, samples: np.ndarray, phones: np.ndarray) -> Sentence:
        """Samples (S,) and their phones (T,) at 50 Hz as a sentence."""
        sound = torch.from_numpy(samples)[None]
        with torch.inference_mode():
            heard, voice = self.backbone(sound), prosody(sound)
            tracks = SpeechTracks(heard.hidden, heard.posteriors, voice)
        duration_s = (voice.shape[1] - 1) / FPS
        segments = segments_of(np.repeat(phones[: voice.shape[1]], 2))
        return Sentence(segments, voice[0].numpy(), tracks, duration_s)

    @torch.inference_mode()
    def code(self, motion: np.ndarray) -> np.ndarray:
        """Style code (d_s,) of motion (T, 52) at 50 Hz."""
        step = round(FPS / self.model.config.style.fps)
        clip = torch.from_numpy(np.ascontiguousarray(motion[::step]))[None]
        return self.model.encode_style(clip, torch.ones(clip.shape[:2], dtype=torch.bool))[
            0
        ].numpy()

    @torch.inference_mode()
    def speak(self, sentence: Sentence, code: np.ndarray, emotion: int) -> np.ndarray:
        """Motion (T, 52) of a sentence in a style and an emotion."""
        felt: Tensor = torch.eye(len(EMOTIONS))[emotion][None, None]
        style = torch.from_numpy(code)[None, None]
        lengths = torch.tensor([sentence.frames])
        made = self.model(sentence.tracks, lengths, sentence.frames, style=style, emotion=felt)
        return made[0].numpy().clip(0.0, 1.0)


def sentences_of(subject: Subject, corpus: Corpus) -> list[Sentence]:
    """The validation clips that hold most speech, of different voices where there are such.

    Raises:
        IdiolectError: There are too few.
    """
    silent = PHONES.index(SILENCE)
    spoken = {
        index: int((corpus.clip_phones(index) != silent).sum())
        for index, clip in enumerate(corpus.clips)
        if clip.split == "valid"
    }
    names, chosen = set(), []
    for index in sorted(spoken, key=lambda i: -spoken[i]):
        source = corpus.clips[index].name.split("@")[0]
        if source not in names:
            names.add(source)
            chosen.append(index)
    if len(chosen) < SENTENCES:
        raise IdiolectError(
            f"{corpus.folder} has {len(chosen)} validation clips, {SENTENCES} are needed",
            hint="Make a larger corpus.",
            code="corpus_too_small",
            setting="--corpus",
        )
    return [subject.hear(corpus.clip_samples(i), corpus.clip_phones(i)) for i in chosen[:SENTENCES]]


def score(subject: Subject, sentences: list[Sentence], count: int, seed: int) -> dict[str, Any]:
    """Every figure of this module's docstring.

    Args:
        subject: The model.
        sentences: Speech to refer to and to animate.
        count: Number of styles.
        seed: Of styles and chance.
    """
    rng = np.random.default_rng(seed)
    styles = [sample_style(rng) for _ in range(count)]
    emotions = range(len(EMOTIONS))
    first, second, third, target = sentences
    neutral = [subject.code(first.performed(style, 0)) for style in styles]
    gallery = np.stack(
        [
            (a + subject.code(second.performed(s, 0))) / 2
            for a, s in zip(neutral, styles, strict=True)
        ]
    )
    true = np.stack([[target.performed(s, e) for e in emotions] for s in styles])
    found: dict[str, Any] = {name: {} for name in ROWS}
    for emotion, label in enumerate(EMOTIONS):
        codes = np.stack([subject.code(third.performed(style, emotion)) for style in styles])
        found["codes"][label] = float(np.mean(_nearest(codes, gallery) == np.arange(count)))
        right: dict[str, list[bool]] = {name: [] for name in ROWS[1:4]}
        closures: list[float] = []
        for index, style in enumerate(styles):
            made = subject.speak(target, neutral[index], emotion)
            right["style made"].append(_judge(made, true[:, emotion]) == index)
            right["emotion made"].append(_judge(made, true[index]) == emotion)
            closures.append(closed_share(made, target.segments))
            moved = first.performed(style, int(rng.integers(len(EMOTIONS))))
            made = subject.speak(target, subject.code(moved), emotion)
            right["style made, emotional reference"].append(_judge(made, true[:, emotion]) == index)
        found |= {name: found[name] | {label: float(np.mean(r))} for name, r in right.items()}
        found["closures"][label] = float(np.mean(closures))
        log.info("%s done", label)
    found["traits"] = trait_correlations(subject, sentences, rng)
    return found


ROWS = ("codes", "style made", "emotion made", "style made, emotional reference", "closures")


def trait_correlations(
    subject: Subject, sentences: list[Sentence], rng: np.random.Generator
) -> dict[str, float]:
    """How well each trait can be read from codes of emotional references, on styles held out."""
    styles = [sample_style(rng) for _ in range(REGRESSION_STYLES + REGRESSION_STYLES // 3)]
    drawn = [
        (sentences[int(rng.integers(len(sentences)))], int(rng.integers(len(EMOTIONS))))
        for _ in styles
    ]
    codes = np.stack(
        [subject.code(s.performed(style, e)) for style, (s, e) in zip(styles, drawn, strict=True)]
    )
    traits = np.stack([style_traits(style) for style in styles]).astype(np.float64)
    fitted, held = slice(0, REGRESSION_STYLES), slice(REGRESSION_STYLES, None)
    x = np.c_[codes, np.ones(len(codes))].astype(np.float64)
    y = (traits - traits[fitted].mean(0)) / (traits[fitted].std(0) + 1e-9)
    weights = np.linalg.solve(
        x[fitted].T @ x[fitted] + 10.0 * np.eye(x.shape[1]), x[fitted].T @ y[fitted]
    )
    read = x[held] @ weights
    names = [field.name for field in fields(SpeakingStyle)]
    return {n: float(correlation(read[:, i], y[held][:, i])) for i, n in enumerate(names)}


def closed_share(motion: np.ndarray, segments: list[Segment]) -> float:
    """Share of p, b, m on which the lips meet within 60 ms of the interval."""
    gap = lip_gap_mm(motion).max(1)
    hit = []
    for phone, start_s, end_s in segments:
        if phone in BILABIALS:
            near = slice(max(0, round((start_s - 0.06) * FPS)), round((end_s + 0.06) * FPS) + 1)
            hit.append(gap[near].min(initial=np.inf) <= CLOSED_MM)
    return float(np.mean(hit)) if hit else float("nan")


def _nearest(codes: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Index of the nearest of the gallery (G, D) to each code (Q, D), by cosine."""
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (codes, gallery)]
    return (unit[0] @ unit[1].T).argmax(1)


# Blinks say nothing of manner; what moves little by nature counts as much as what moves far.
_JUDGED = np.array([not name.startswith("eyeBlink") for name in ARKIT_CHANNELS])


def _judge(made: np.ndarray, performances: np.ndarray) -> int:
    """Which of performances (K, T, 52) the motion (T, 52) is nearest to."""
    true = performances[:, :, _JUDGED]
    spread = true.std(axis=(0, 1)) + 0.01
    return int((np.abs(true - made[None][:, :, _JUDGED]) / spread).mean(axis=(1, 2)).argmin())


def table(found: dict[str, Any]) -> str:
    """As Markdown."""
    lines = [
        "| share right | " + " | ".join(EMOTIONS) + " | mean |",
        "|" + "---|" * (len(EMOTIONS) + 2),
    ]
    for row in ROWS:
        shares = [found[row][label] for label in EMOTIONS]
        cells = [f"{share:.2f}" for share in (*shares, float(np.mean(shares)))]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    traits = ", ".join(f"{name} {value:.2f}" for name, value in found["traits"].items())
    return "\n".join([*lines, "", f"Traits: {traits}."])


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="a synthetic motion corpus")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--styles", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    subject = Subject(options.checkpoint)
    sentences = sentences_of(subject, Corpus(options.corpus))
    found = score(subject, sentences, options.styles, options.seed)
    print(table(found))
    if options.json:
        with atomic_path(options.json) as path:
            path.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
