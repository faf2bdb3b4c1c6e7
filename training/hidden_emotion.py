"""Emotion taken out of style codes, so that no linear reading of a code finds it.

    python -m training.hidden_emotion --model MODEL --corpus DIR --out NEW

Training does this by itself where `model.style.hide_emotion` says so; the command does it to a
finished model, and to its ready-made styles.

A gradient reversal teaches codes to hide emotion from the classifier that plays against them; a
classifier that is trained afterwards, at leisure, still finds most of it. What is left is taken
away in closed form (LEACE: Belrose et al., "Perfect linear concept erasure", 2023): the smallest
change of the codes, by least squares, after which they no longer covary with the emotion. A linear
classifier then does no better than one that is not shown the code.

Shapes: N clips, D numbers of a code, E emotions.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.animator import Animator
from core.checkpoint import load_checkpoint, save_checkpoint
from core.errors import IdiolectError
from core.model.model import IdiolectModel
from core.model.style import StyleEncoder
from core.motion import MotionClip, resample
from training.command import command
from training.corpus import Corpus

HIDING = ("style_encoder.taken_away", "style_encoder.centre")
"""Names of a model's weights that are fitted here."""
MOST_CLIPS = 2000
_NOTHING = 1e-4
"""Directions with less than this share of the largest variance hold rounding errors."""


@torch.no_grad()
def hide_emotion(model: IdiolectModel, corpus: Corpus) -> None:
    """Fit what a model's style encoder takes away, to the clips of the training split, in place.

    Nothing happens where the configuration does not ask for it, and nothing is taken away where the
    corpus knows fewer than two emotions.

    Args:
        model: In evaluation mode.
        corpus: What it learnt from.
    """
    encoder = model.style_encoder
    if not isinstance(encoder, StyleEncoder) or not encoder.hides_emotion:
        return
    encoder.taken_away.zero_()
    encoder.centre.zero_()
    clips = [index for index, clip in enumerate(corpus.clips) if clip.split == "train"]
    codes, emotions = [], []
    for index in clips[:: max(1, -(-len(clips) // MOST_CLIPS))]:
        intensities = corpus.clip_intensities(index).mean(axis=0)
        if np.isnan(intensities).any():
            continue
        codes.append(_style_code(model, corpus, index))
        emotions.append(intensities)
    if len(codes) < 2 or np.ptp(emotions, axis=0).max() < 1e-6:
        return
    taken_away, centre = erasure(np.stack(codes), np.stack(emotions))
    encoder.taken_away.copy_(torch.from_numpy(taken_away.astype(np.float32)))
    encoder.centre.copy_(torch.from_numpy(centre.astype(np.float32)))


def erasure(codes: np.ndarray, concept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What to take away of codes so that they do not covary with a concept.

    Args:
        codes: (N, D).
        concept: (N, E).

    Returns:
        Matrix (D, D) and centre (D,): x − (x − centre) @ matrix is the code to keep.
    """
    codes = np.asarray(codes, np.float64)
    centre = codes.mean(axis=0)
    apart = codes - centre
    together = apart.T @ (concept - np.mean(concept, axis=0)) / len(codes)
    variances, axes = np.linalg.eigh(apart.T @ apart / len(codes))
    kept = variances > _NOTHING * variances.max()
    axes, spread = axes[:, kept], np.sqrt(variances[kept])
    # In axes of spread 1 the smallest change is an orthogonal projection.
    directions, strength, _ = np.linalg.svd((axes / spread).T @ together, full_matrices=False)
    found = directions[:, strength > 1e-6 * max(1.0, float(strength.max()))]
    matrix = (axes * spread) @ found @ found.T @ (axes / spread).T
    return matrix.T, centre


def _style_code(model: IdiolectModel, corpus: Corpus, clip: int) -> np.ndarray:
    motion = MotionClip(corpus.clip_motion(clip), corpus.channels, corpus.fps, corpus.space)
    example = resample(motion, model.config.style.fps).weights
    given: Tensor = torch.from_numpy(example)[None].to(model.null_style.device)
    mask = torch.ones(given.shape[:2], dtype=torch.bool, device=given.device)
    return model.encode_style(given, mask)[0].float().cpu().numpy()


def hidden_in(path: Path, corpus: Corpus, out: Path, *, half: bool = False) -> None:
    """Write a finished model again, with the emotion taken out of its style codes.

    Args:
        path: The model.
        corpus: What it learnt from.
        out: File to write.
        half: Store as float16, like the bundled model.

    Raises:
        IdiolectError: The model cannot be read, or has no style encoder.
    """
    kept = load_checkpoint(path)
    model = Animator(path, "cpu").engine.model
    encoder = model.style_encoder
    if not isinstance(encoder, StyleEncoder):
        raise IdiolectError(
            f"{path} knows styles by identity: there is nothing in them to hide",
            hint="Choose a model with a style encoder.",
            code="no_style_encoder",
            setting="--model",
        )
    encoder.begin_hiding()
    hide_emotion(model, corpus)
    tensors = {**kept.tensors, **{f"model.{name}": model.state_dict()[name] for name in HIDING}}
    for name, code in kept.part("styles").items():
        tensors[f"styles.{name}"] = code - (code - encoder.centre) @ encoder.taken_away
    told = {**kept.config["model"], "style": {**kept.config["model"]["style"],
                                              "hide_emotion": True}}  # fmt: skip
    save_checkpoint(out, tensors, {**kept.config, "model": told}, kept.metadata, half=half)


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.hidden_emotion", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--model", type=Path, required=True, help="a finished model")
    parser.add_argument("--corpus", type=Path, required=True, help="what it learnt from")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--half", action="store_true", help="store as float16")
    options = parser.parse_args(arguments)
    hidden_in(options.model, Corpus(options.corpus), options.out, half=options.half)
    print(options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
