"""Train the model on a corpus.

    python -m training.train --config training/configs/idiolect.toml --corpus DIR --out RUN \
        [--set optim.steps=4000] [--set backbone_weights=PATH]

A run is a folder: `config.toml` (resolved), `state.safetensors` (everything resuming needs),
`model.safetensors` (the averaged weights with the backbone, ready for `core.animate --checkpoint`)
and `tensorboard` (curves). Files are replaced as wholes, so a run never leaves one that cannot be
loaded. Started again with the same folder, the run goes on where it was, as if it had never
stopped.

On several GPUs or machines, each process learns from its own batches of every step:

    torchrun --nproc-per-node 4 -m training.train --config … --corpus … --out …
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from core.checkpoint import Checkpoint, load_checkpoint, load_weights, save_checkpoint
from core.device import pick
from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.flame_file import load_flame
from core.files import atomic_path
from core.learning.losses import LossWeights
from core.learning.objective import sides_for
from core.learning.optim import OptimConfig
from core.learning.trainer import Trainer
from core.learning.workers import Workers, leave
from core.model.backbones import BackboneConfig, build_backbone, track_sizes
from core.model.config import ModelConfig, dump_toml, from_dict, load_toml, to_dict
from core.model.model import IdiolectModel
from core.model.speech import SpeechBackbone, Wav2Vec2Backbone
from training.backbone import load_backbone as read_backbone
from training.batches import CorpusBatches, DataConfig, shown_emotions, training_people
from training.command import command
from training.corpus import Corpus
from training.face_measures import face_measures
from training.features import corpus_features
from training.hidden_emotion import HIDING, hide_emotion
from training.judges import Standardise, train_clips
from training.monitor import Monitor, ValidationMeasures
from training.ready_styles import ready_styles
from training.surfaces import surface_for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run."""

    name: str = "idiolect"
    """Name of the model, as users see it."""
    seed: int = 1
    """Everything random follows from it."""
    threads: int = 2
    """CPU threads."""
    device: str = "auto"
    """Where it is computed: auto (the fastest there is), cpu, cuda or mps."""
    backbone_weights: str = ""
    """Checkpoint of the compact backbone (`training.backbone`); its sizes are taken from it."""
    initial_weights: str = ""
    """A finished model of the same sizes to begin from; its backbone may differ. Empty = chance."""
    flame: str = ""
    """A FLAME model file, for motion in the space "flame": losses compare its vertices. Empty
    compares coefficients."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """The speech backbone, frozen while the decoder learns unless it is to be fine-tuned."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Sizes of the model."""
    data: DataConfig = field(default_factory=DataConfig)
    """How batches are drawn."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """How the weights move."""
    loss: LossWeights = field(default_factory=LossWeights)
    """Weight of each loss term; 0 is its ablation."""


def train(
    config: TrainConfig,
    corpus_folder: Path,
    out: Path,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Train, or go on training.

    Args:
        config: The run.
        corpus_folder: A corpus (`training.corpus`).
        out: Folder of the run.
        progress: Called with (stage, done, total).

    Returns:
        Path of the finished `model.safetensors`.

    Raises:
        IdiolectError: Corpus, configuration or an earlier run in `out` do not fit.
    """
    torch.set_num_threads(config.threads)
    workers = Workers()
    try:
        return _train(config, corpus_folder, out, workers, progress if workers.first else None)
    finally:
        workers.close()


def _train(
    config: TrainConfig,
    corpus_folder: Path,
    out: Path,
    workers: Workers,
    progress: Callable[[str, int, int], None] | None,
) -> Path:
    corpus = Corpus(corpus_folder)
    config = fitted(config, corpus)
    backbone, backbone_config = load_backbone(config)
    trainer = make_trainer(config, corpus, backbone, workers, progress)
    resolved = to_dict(config)
    state_path, model_path = out / "state.safetensors", out / "model.safetensors"
    if state_path.exists():
        state = load_checkpoint(state_path)
        _check_same_run(state, config)
        trainer.load_state(state)
        log.info("going on at step %d", trainer.step)

    if not workers.first:
        trainer.run(lambda _: workers.wait())
        return model_path
    with atomic_path(out / "config.toml") as path:
        path.write_text(dump_toml(config), encoding="utf-8")
    monitor = Monitor(out / "tensorboard", trainer.step)
    surface = surface_for(corpus.space, corpus.channels) if corpus.space == "arkit" else None

    def save(trainer: Trainer) -> None:
        trainer.save_state(state_path, resolved)
        measures = ValidationMeasures(surface, corpus.fps)
        measured = trainer.validate(measures)
        monitor.scalars("validation", trainer.step, measured | measures.summary())
        monitor.validation(trainer.step, measures)
        measured |= measures.summary()
        facts = {
            "name": config.name, "steps": trainer.step, "validation": measured,
            "emotions": shown_emotions(corpus) if config.model.emotion.given else [],
        }  # fmt: skip
        with trainer.averaged():
            hide_emotion(trainer.model, corpus)
            weights = {name: v.clone() for name, v in trainer.model.state_dict().items()}
            styles = ready_styles(trainer.model, corpus, training_people(corpus))
        save_model(
            model_path, weights, config.model, backbone, backbone_config, facts,
            styles=styles,
        )  # fmt: skip
        line = "  ".join(f"{name} {value:.4g}" for name, value in measured.items())
        log.info("saved at step %d; validation: %s", trainer.step, line)
        workers.wait()

    def observe(step: int, terms: dict[str, float]) -> None:
        rate = {"learning_rate": trainer.sides[0].rate(step)}
        monitor.scalars("training", step, terms | rate)

    try:
        if trainer.step >= config.optim.steps and not model_path.exists():
            save(trainer)  # stopped between its last step and its last file
        trainer.run(save, progress, observe)
    finally:
        monitor.close()
    return model_path


def fitted(config: TrainConfig, corpus: Corpus) -> TrainConfig:
    """The configuration with what only the corpus knows: whom fixed styles are for."""
    if config.model.style.kind != "identity":
        return config
    style = replace(config.model.style, identities=len(training_people(corpus)))
    return replace(config, model=replace(config.model, style=style))


def make_trainer(
    config: TrainConfig,
    corpus: Corpus,
    backbone: SpeechBackbone,
    workers: Workers | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Trainer:
    """Everything that learns, before its first step.

    Args:
        config: The run.
        corpus: What it learns from.
        backbone: The frozen speech backbone, with its weights.
        workers: The processes of the run.
        progress: Called with (stage, done, total) while speech features are computed.

    Raises:
        IdiolectError: Corpus and configuration do not fit.
    """
    workers = workers or Workers()
    device = pick(config.device)
    if workers.count > 1 and device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if workers.first:  # it computes them, the others read them
        features = corpus_features(corpus, backbone, progress)
    workers.wait()
    if not workers.first:
        features = corpus_features(corpus, backbone)
    torch.manual_seed(config.seed)
    model = IdiolectModel(config.model, track_sizes(backbone, config.model.speech))
    if config.model.motion.normalise:
        measured = Standardise(len(corpus.channels))
        measured.measure(corpus, train_clips(corpus))
        model.set_motion_statistics(measured.mean, measured.spread)
    if config.initial_weights:
        start = load_checkpoint(Path(config.initial_weights))
        # What hides the emotion is fitted anew.
        fresh = {k: v for k, v in model.state_dict().items() if k in HIDING}
        load_weights(model, start.part("model") | fresh, start.path)
    learning = backbone if config.backbone.finetune else None
    batches = CorpusBatches(
        corpus,
        features,
        config.model,
        config.data,
        config.seed,
        with_samples=learning is not None,
    )
    flame = FlameModel(load_flame(config.flame)) if config.flame else None
    sides = sides_for(
        model,
        identities=batches.identities,
        traits=batches.traits,
        face=face_measures(corpus, train_clips(corpus), flame).to(device),
        optim=config.optim,
        weights=config.loss,
        backbone=learning,
    )
    return Trainer(model, sides, batches, config.optim, config.seed, device=device, workers=workers)


def load_backbone(config: TrainConfig) -> tuple[SpeechBackbone, BackboneConfig]:
    """The frozen backbone with its weights, and its configuration."""
    settings = config.backbone
    if settings.finetune and settings.kind != "wav2vec2":
        raise IdiolectError(
            f"the speech backbone '{settings.kind}' cannot learn with the model",
            hint="Set backbone.finetune = false; training.backbone trains the compact one.",
            code="config_invalid",
            setting="backbone.finetune",
        )
    if not config.backbone_weights:
        if settings.kind == "compact":
            raise IdiolectError(
                "the compact speech backbone has no weights yet",
                hint="Train one with training.backbone and give it: --set backbone_weights=FILE",
                code="backbone_missing",
                setting="backbone_weights",
            )
        network = build_backbone(settings).eval()
        if settings.finetune and isinstance(network, Wav2Vec2Backbone):
            settings = replace(settings, architecture=network.architecture)
        return network, settings
    path = Path(config.backbone_weights)
    sizes = load_checkpoint(path).config.get("backbone", {})
    return read_backbone(path), from_dict(BackboneConfig, sizes, source=str(path))


def save_model(
    path: Path,
    weights: dict[str, torch.Tensor],
    model: ModelConfig,
    backbone: SpeechBackbone,
    backbone_config: BackboneConfig,
    facts: dict[str, Any],
    *,
    styles: dict[str, torch.Tensor] | None = None,
    half: bool = False,
) -> None:
    """Write a checkpoint that `core.animator.Animator` opens.

    Args:
        path: File to write.
        weights: The model's state.
        model: Its configuration.
        backbone: The backbone; the weights of a compact or fine-tuned one go into the file.
        backbone_config: Its configuration.
        facts: Metadata.
        styles: Ready-made style codes by name.
        half: Store as float16.
    """
    tensors = {f"model.{name}": value for name, value in weights.items()}
    if backbone_config.in_checkpoint:
        tensors |= {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    tensors |= {f"styles.{name}": value for name, value in (styles or {}).items()}
    config = {"model": to_dict(model), "backbone": to_dict(backbone_config)}
    save_checkpoint(path, tensors, config, facts, half=half)


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="training/configs/*.toml")
    parser.add_argument("--corpus", type=Path, required=True, help="corpus folder")
    parser.add_argument("--out", type=Path, help="folder of the run (default: out/runs/NAME)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a setting, for example --set optim.learning_rate=1e-4",
    )
    options = parser.parse_args(arguments)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun started
    level = logging.INFO if first else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s")
    try:
        config = load_toml(TrainConfig, options.config, options.overrides)
        out = options.out or Path("out/runs") / config.name
        path = train(config, options.corpus, out, Bars())
    except KeyboardInterrupt:
        print("stopped; start again with the same --out to go on", file=sys.stderr)
        return 130
    if first:
        print(path)
    return 0


class Bars:
    """A progress bar for each stage."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        if self._bar is None or self._bar.desc != stage:
            self._bar = tqdm(total=total, desc=stage, mininterval=5.0)
            self._bar.desc = stage
        self._bar.update(done - self._bar.n)


def _check_same_run(state: Checkpoint, config: TrainConfig) -> None:
    """A setting that did not exist yet when the run began counts as its default."""
    began = from_dict(TrainConfig, state.config, source=str(state.path))
    for part in ("model", "data", "seed"):
        if getattr(began, part) != getattr(config, part):
            raise IdiolectError(
                f"{state.path} belongs to a run with another '{part}' configuration",
                hint="Give another --out, or the configuration that the run was started with.",
                code="run_mismatch",
                setting="--out",
            )


if __name__ == "__main__":
    leave(main())
