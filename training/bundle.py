"""Make the bundled model from a finished run: half precision, with the ready-made styles inside.

A model like the bundled one is made by these commands (about two hours on two CPU cores; the speech
folder needs an `index.csv`, see `training.synthesis.speech_corpus`):

    python -m training.synthesis.speech_corpus --out SPEECH --real RECORDINGS \
        --espeak-hours 1.2 --flite-hours 1.5 --festival-hours 1.5
    python -m training.backbone --speech-corpus SPEECH --out backbone.safetensors --minutes 60
    python -m training.synthesis.motion_corpus --speech SPEECH --out MOTION
    python -m training.train --config training/configs/idiolect.toml --corpus MOTION --out RUN \
        --set backbone_weights=backbone.safetensors
    python -m training.bundle --run RUN --corpus MOTION

The first bundle was trained in pieces while its speech backbone was still learning: the decoder
on early features, then 4200 steps on the final ones; the style encoder by itself; both together for
1750 steps, with weights joined by hand in between. The commands above are meant to take the same
steps in one run; nobody has run them so yet.

A ready-made style's code is the mean of the codes of that style's clips in the corpus (those of the
identities `ready-NAME`).
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import torch

from core.animator import BUNDLED_CHECKPOINT, Animator
from core.checkpoint import load_checkpoint, save_checkpoint
from core.errors import IdiolectError
from core.motion import MotionClip
from training.corpus import Corpus

log = logging.getLogger(__name__)

READY = "ready-"
LARGEST_BYTES = 30_000_000

SPEECH_CREDITS = (
    "LibriSpeech (Panayotov et al. 2015), CC BY 4.0",
    "speechocean762 (Zhang et al. 2021), free for commercial use",
    "LibriVox, CMU ARCTIC, Common Voice: public domain, BSD-like, CC0",
    "synthetic speech by espeak-ng, flite and festival",
)


def ready_styles(animator: Animator, corpus: Corpus) -> dict[str, torch.Tensor]:
    """Mean style code of each ready-made style's clips.

    Raises:
        IdiolectError: The corpus has no ready-made styles.
    """
    codes: dict[str, list[np.ndarray]] = {}
    for index, clip in enumerate(corpus.clips):
        if clip.identity.startswith(READY):
            motion = MotionClip(corpus.clip_motion(index), corpus.channels, corpus.fps)
            if np.ptp(motion.weights, axis=0).max() < 0.1:
                continue  # a clip of noise without words shows no manner of speaking
            name = clip.identity.removeprefix(READY)
            codes.setdefault(name, []).append(animator.style_from_motion(motion))
    if not codes:
        raise IdiolectError(
            f"{corpus.folder} has no clips of ready-made styles",
            hint="Make it with python -m training.synthesis.motion_corpus.",
            code="corpus_mismatch",
            setting="--corpus",
        )
    return {name: torch.from_numpy(np.mean(found, axis=0)) for name, found in codes.items()}


def make_bundle(model: Path, corpus: Corpus, out: Path) -> None:
    """Write the bundled checkpoint.

    Args:
        model: A run's `model.safetensors`.
        corpus: The corpus it was trained on.
        out: File to write.

    Raises:
        IdiolectError: The model or corpus does not fit, or the result is too large to ship.
    """
    loaded = load_checkpoint(model)
    styles = ready_styles(Animator(model, device="cpu"), corpus)
    tensors = {name: value for name, value in loaded.tensors.items() if "styles." not in name}
    tensors |= {f"styles.{name}": code for name, code in styles.items()}
    size = 2 * sum(value.numel() for value in tensors.values())
    if size > LARGEST_BYTES:
        raise IdiolectError(
            f"the bundle would have {size / 1e6:.0f} MB, more than {LARGEST_BYTES / 1e6:.0f}",
            hint="Make the model smaller.",
            code="bundle_too_large",
        )
    facts = {**loaded.metadata, "speech": list(SPEECH_CREDITS), "motion": "procedural, from phones"}
    save_checkpoint(out, tensors, loaded.config, facts, half=True)
    log.info("%s: %.1f MB, styles: %s", out, out.stat().st_size / 1e6, ", ".join(sorted(styles)))


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--corpus", type=Path, required=True, help="the corpus it learnt from")
    parser.add_argument("--out", type=Path, default=BUNDLED_CHECKPOINT, help="file to write")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        make_bundle(options.run / "model.safetensors", Corpus(options.corpus), options.out)
    except IdiolectError as error:
        print(f"error: {error.message}\n hint: {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
