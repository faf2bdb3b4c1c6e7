"""Make the bundled model, from recordings to the file that ships, by one command.

    python -m training.bundle --recordings DIR --work DIR [--quick] [--out FILE]

`--recordings` needs an `index.csv` (see `training.synthesis.speech_corpus`). The steps are commands
of their own, shown before they run (`recipe` lists them): speech with phones, from recordings and
synthesisers; the speech backbone, in two rounds, the second learning from what the first believes
as well; another, wider one beside it, whose errors are its own; motion for that speech, in hundreds
of styles and eight emotions; the decoder, trained on what the two backbones hear; the bundle in
half precision, with ready-made styles inside. What is finished in `--work` is not made again, so an
interrupted run goes on where it was. It takes about six hours on two CPU cores. `--quick` walks the
same road with minutes of speech and a few steps: it proves the road, not the model. Only the last
step, for a finished run:

    python -m training.bundle --run RUN --corpus MOTION [--backbone PAIR] [--out FILE]

where PAIR, of `training.pair_backbones`, gives a second opinion on phones to a decoder that has
learnt from the first backbone alone.

A ready-made style's code is the mean of the codes of that style's neutral clips in the corpus
(those of the identities `ready-NAME`).
"""

from __future__ import annotations

import argparse
import csv
import logging
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from core.animator import BUNDLED_CHECKPOINT, Animator
from core.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from core.emotions import EMOTION_INDEX, EMOTIONS
from core.errors import IdiolectError
from core.files import atomic_path
from core.motion import MotionClip
from training.command import command
from training.corpus import Corpus
from training.synthesis.speech_corpus import kind_of, real_clips

log = logging.getLogger(__name__)

READY = "ready-"
LARGEST_BYTES = 30_000_000

SPEECH_CREDITS = (
    "LibriSpeech (Panayotov et al. 2015), CC BY 4.0",
    "speechocean762 (Zhang et al. 2021), free for commercial use",
    "LibriVox, CMU ARCTIC, Common Voice: public domain, BSD-like, CC0",
    "synthetic speech by espeak-ng, flite and festival",
)


ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "training" / "configs" / "idiolect.toml"
SECOND_BACKBONE = (
    "backbone.compact.dim=336",
    "backbone.compact.stem_dim=160",
    "backbone.compact.dropout=0.12",
)
"""What differs in the second backbone: wider, as far as the weights of the bundle allow."""
SECOND_SHARE = "0.75"
"""It hears closures better, chosen on the validation recordings."""
QUICK_CLIPS = 8
"""Recordings of each kind and split that a quick run hears."""


class Step(NamedTuple):
    """One command of the recipe.

    Attributes:
        name: What it makes.
        module: Of the command.
        arguments: Of the command.
        done: The file that is there once the step is finished.
    """

    name: str
    module: str
    arguments: list[str]
    done: Path


def recipe(recordings: Path, work: Path, *, quick: bool = False) -> list[Step]:
    """Every step up to the trained model, in order.

    Args:
        recordings: Folder with index.csv.
        work: Where everything is made.
        quick: The shortest way through.
    """
    speech, motion, run = work / "speech", work / "motion", work / "run"
    first, second, other, backbone = (
        work / f"{name}.safetensors" for name in ("round-1", "round-2", "other", "backbone")
    )
    hours = ("0.01", "0.01", "0.01") if quick else ("1.2", "1.5", "1.5")
    if quick:
        takes = ["espeak=1", "exact=1", "prompt=1", "recognised=1", "flite=1", "festival=1"]
        training = ["optim.steps=20", "optim.style_first=5", "optim.warmup=5", "data.batch=4",
                    "data.validation_batches=1"]  # fmt: skip
    else:
        takes = ["espeak=0", "exact=2", "prompt=1", "recognised=2", "flite=0", "festival=1"]
        training = []
    settings = [f"backbone_weights={backbone}", *training]
    return [
        Step(
            "speech with phones",
            "training.synthesis.speech_corpus",
            [
                *("--out", str(speech), "--real", str(recordings)),
                *("--espeak-hours", hours[0], "--flite-hours", hours[1]),
                *("--festival-hours", hours[2]),
            ],
            speech / "recognised" / "clips.json",
        ),
        Step(
            "speech backbone, first round",
            "training.backbone",
            [
                *("--speech-corpus", str(speech), "--out", str(first)),
                *("--minutes", "0.2" if quick else "75"),
            ],
            work / "round-1.done",
        ),
        Step(
            "what it believes of the recordings",
            "training.relabel",
            ["--speech-corpus", str(speech), "--backbone", str(first)],
            work / "beliefs.done",
        ),
        Step(
            "speech backbone, second round",
            "training.backbone",
            [
                *("--speech-corpus", str(speech), "--out", str(second), "--init", str(first)),
                *("--set", "learning_rate=8e-4", "--minutes", "0.2" if quick else "45"),
            ],
            work / "round-2.done",
        ),
        Step(
            "second speech backbone",
            "training.backbone",
            [
                *("--speech-corpus", str(speech), "--out", str(other), "--seed", "11"),
                *(part for setting in SECOND_BACKBONE for part in ("--set", setting)),
                *("--minutes", "0.2" if quick else "85"),
            ],
            work / "other.done",
        ),
        Step(
            "pair of backbones",
            "training.pair_backbones",
            [str(second), str(other), "--share", SECOND_SHARE, "--out", str(backbone)],
            work / "backbone.done",
        ),
        Step(
            "motion",
            "training.synthesis.motion_corpus",
            [
                *("--speech", str(speech), "--out", str(motion), "--takes", *takes),
                *("--identities", "4" if quick else "500"),
            ],
            motion / "styles.json",
        ),
        Step(
            "model",
            "training.train",
            [
                *("--config", str(CONFIG), "--corpus", str(motion), "--out", str(run)),
                *(part for setting in settings for part in ("--set", setting)),
            ],
            work / "run.done",
        ),
    ]


def make_all(recordings: Path, work: Path, out: Path, *, quick: bool = False) -> None:
    """From recordings to the bundle.

    Raises:
        IdiolectError: A step failed; what it said stands before.
    """
    if quick:
        recordings = few_recordings(recordings, work / "recordings")
    for step in recipe(recordings, work, quick=quick):
        if step.done.exists():
            log.info("%s: there already", step.name)
            continue
        command = [sys.executable, "-m", step.module, *step.arguments]
        log.info("%s: %s", step.name, shlex.join(command))
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            raise IdiolectError(
                f"making the {step.name} failed",
                hint="What it said stands above. Start again: what is finished is kept.",
                code="bundle_step_failed",
            )
        step.done.touch()
    make_bundle(work / "run" / "model.safetensors", Corpus(work / "motion"), out)


def few_recordings(recordings: Path, folder: Path) -> Path:
    """Write an index of `QUICK_CLIPS` recordings of each kind and split; returns its folder."""
    chosen: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in real_clips(recordings, ("train", "valid")):
        group = chosen.setdefault((kind_of(row), row["split"]), [])
        if len(group) < QUICK_CLIPS:
            group.append({**row, "file": str((recordings / row["file"]).resolve())})
    rows = [row for group in chosen.values() for row in group]
    with atomic_path(folder / "index.csv") as path, path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def ready_styles(animator: Animator, corpus: Corpus) -> dict[str, torch.Tensor]:
    """Mean style code of each ready-made style's neutral clips.

    Raises:
        IdiolectError: The corpus has no ready-made styles.
    """
    codes: dict[str, list[np.ndarray]] = {}
    for index, clip in enumerate(corpus.clips):
        if clip.identity.startswith(READY):
            motion = MotionClip(corpus.clip_motion(index), corpus.channels, corpus.fps)
            felt = np.nan_to_num(corpus.clip_intensities(index))[:, 1:].max(initial=0.0) > 0.05
            if felt or np.ptp(motion.weights, axis=0).max() < 0.1:
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


def with_pair(model: Checkpoint, pair: Path) -> Checkpoint:
    """A model that hears through a pair of backbones, the first of which is its own.

    Raises:
        IdiolectError: It is not, or `pair` is no pair.
    """
    loaded = load_checkpoint(pair)
    own, first = model.part("backbone"), loaded.part("backbone.first")
    if own.keys() != first.keys() or not all(
        torch.allclose(own[name], first[name], atol=1e-3) for name in own
    ):
        raise IdiolectError(
            f"the first backbone of {pair} is not the one that {model.path} has learnt from",
            hint="Pair that one (training.pair_backbones takes the model's file as well).",
            code="backbone_mismatch",
            setting="--backbone",
        )
    others = {k: v for k, v in model.tensors.items() if not k.startswith("backbone.")}
    return replace(
        model,
        tensors={**others, **loaded.tensors},
        config={**model.config, "backbone": loaded.config["backbone"]},
    )


def make_bundle(model: Path, corpus: Corpus, out: Path, backbone: Path | None = None) -> None:
    """Write the bundled checkpoint.

    Args:
        model: A run's `model.safetensors`.
        corpus: The corpus it was trained on.
        out: File to write.
        backbone: A pair of backbones to hear through, see `with_pair`.

    Raises:
        IdiolectError: The model, corpus or backbone does not fit, or the result is too large to
            ship.
    """
    loaded = load_checkpoint(model)
    if backbone:
        loaded = with_pair(loaded, backbone)
    styles = ready_styles(Animator(model, device="cpu"), corpus)
    tensors = {name: value for name, value in loaded.tensors.items() if "styles." not in name}
    tensors |= {f"styles.{name}": code for name, code in styles.items()}
    if "model.null_emotion" in tensors:  # nobody who asks for no emotion wants the average of all
        neutral = tensors["model.emotion_embedding.weight"][:, EMOTION_INDEX["neutral"]]
        tensors["model.null_emotion"] = neutral.clone()
    size = 2 * sum(value.numel() for value in tensors.values())
    if size > LARGEST_BYTES:
        raise IdiolectError(
            f"the bundle would have {size / 1e6:.0f} MB, more than {LARGEST_BYTES / 1e6:.0f}",
            hint="Make the model smaller.",
            code="bundle_too_large",
        )
    facts = {
        **loaded.metadata,
        "speech": list(SPEECH_CREDITS),
        "motion": "procedural, from phones",
        "emotions": list(EMOTIONS) if corpus.intensities is not None else [],
    }
    save_checkpoint(out, tensors, loaded.config, facts, half=True)
    log.info("%s: %.1f MB, styles: %s", out, out.stat().st_size / 1e6, ", ".join(sorted(styles)))


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, help="folder with index.csv and recordings")
    parser.add_argument("--work", type=Path, help="folder for all that is made on the way")
    parser.add_argument("--quick", action="store_true", help="minutes of speech and a few steps")
    parser.add_argument("--run", type=Path, help="folder of a finished run")
    parser.add_argument("--corpus", type=Path, help="the corpus it learnt from")
    parser.add_argument("--backbone", type=Path, help="pair of backbones for a finished run")
    parser.add_argument("--out", type=Path, help="file to write (default: the bundled model)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if bool(options.recordings) != bool(options.work) or bool(options.run) != bool(options.corpus):
        parser.error("--recordings goes with --work, and --run with --corpus")
    if bool(options.recordings) == bool(options.run):
        parser.error("give either --recordings and --work, or --run and --corpus")
    if options.backbone and not options.run:
        parser.error("--backbone goes with --run")
    if options.quick and not options.out:
        parser.error("a quick run must not replace the bundled model: give --out")
    out = options.out or BUNDLED_CHECKPOINT
    if options.run:
        model = options.run / "model.safetensors"
        make_bundle(model, Corpus(options.corpus), out, options.backbone)
    else:
        make_all(options.recordings, options.work, out, quick=options.quick)
    return 0


if __name__ == "__main__":
    sys.exit(main())
