"""Trains the compact speech backbone to hear phones.

    python -m training.backbone --speech-corpus DIR [DIR...] [--real FOLDER] --out FILE --minutes 60

The corpus comes from `python -m training.synthesis.speech_corpus`; `--real` makes the shards of a
folder of recordings first, into the first corpus folder, if they are not there. The learning rate
falls along a cosine over the training TIME given, so that the run ends when it should on any
machine. A state to resume from is written beside FILE every two minutes, and the same command
continues from it; FILE itself is always the averaged weights that were best on the validation
clips.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.checkpoint import load_checkpoint, load_weights, save_checkpoint
from core.errors import IdiolectError
from core.model.backbones import BackboneConfig, build_backbone
from core.model.config import from_dict, from_settings, to_dict
from core.model.paired_backbone import PairedBackbone
from core.model.speech import SAMPLES_PER_FRAME, CompactBackbone, SpeechBackbone
from core.phones import BILABIALS, PHONE_INDEX, PHONES, SILENCE
from training.command import command
from training.phone_scores import PhoneScore
from training.synthesis.alignment import IGNORED
from training.synthesis.augment import AugmentConfig, Augmenter, change_speed
from training.synthesis.speech_corpus import SAMPLES_PER_LABEL, Clip, Shard, find_shards
from training.synthesis.speech_corpus import main as make_corpus

log = logging.getLogger(__name__)

LEAST_BELIEF = 0.02
"""Labels held to be less probable than this are not learnt from."""


@dataclass(frozen=True)
class TrainConfig:
    """How the backbone is trained."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    """Its sizes."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """What is done to the speech."""
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "exact": 0.24,
            "recognised": 0.36,
            "prompt": 0.20,
            "festival": 0.08,
            "flite": 0.07,
            "espeak": 0.05,
        }
    )
    """Part of the training clips taken from each shard: real voices count, espeak is for
    coverage."""
    batch: int = 12
    """Clips in a step."""
    crop_s: float = 4.0
    """Length of a clip."""
    speed: float = 0.14
    """Clips are played up to this much faster or slower."""
    learning_rate: float = 2e-3
    """Of AdamW, at its highest."""
    warmup_steps: int = 200
    """Steps until it is reached."""
    weight_decay: float = 0.05
    """Of AdamW."""
    label_smoothing: float = 0.05
    """Part of the probability spread over all phones; alignments are not exact."""
    belief: float = 0.4
    """Weight of a shard's beliefs against its labels, where it has any (`training.relabel`)."""
    closure_weight: float = 2.0
    """What a frame of p, b or m counts, said or wrongly heard, as a multiple of any other."""
    average_decay: float = 0.998
    """Of the running average of the weights that is kept in the end."""
    valid_every_s: float = 240.0
    """Time between validations."""
    patience: int = 8
    """Validations without improvement after which training stops."""


class CropSource:
    """Draws training clips of equal length from shards.

    Args:
        shards: the corpus.
        shares: part of the clips taken from the shard of each name.
        config: lengths and speeds.
        rng: source of all chance.
    """

    def __init__(self, shards: list[Shard], config: TrainConfig, rng: np.random.Generator) -> None:
        self._rng = rng
        self._config = config
        self._frames = round(config.crop_s * 50)
        self._clips: list[tuple[Shard, Clip]] = []
        weights: list[np.ndarray] = []
        for name in sorted({shard.folder.name for shard in shards}):
            members = [
                (shard, clip)
                for shard in shards
                if shard.folder.name == name
                for clip in shard.clips
                if clip.split == "train"
            ]
            # A clip is drawn as often as its length deserves.
            lengths = np.array([clip.frames for _, clip in members], dtype=np.float64)
            self._clips += members
            weights.append(config.shares.get(name, 0.05) * lengths / lengths.sum())
        self._heap = np.cumsum(np.concatenate(weights))
        self._heap /= self._heap[-1]

    def batch(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(B, S) float32 samples, (B, N) uint8 labels and (B, N, 40) beliefs at 50 Hz."""
        samples, labels, beliefs = zip(
            *(self._crop() for _ in range(self._config.batch)), strict=True
        )
        return np.stack(samples), np.stack(labels), np.stack(beliefs)

    def _draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        shard, clip = self._clips[int(np.searchsorted(self._heap, self._rng.random()))]
        labels, beliefs = shard.labels(clip), shard.beliefs(clip)
        return shard.samples(clip), trusted(labels, beliefs), beliefs

    def _crop(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One crop: a piece of a long clip, or short clips with pauses between them."""
        rng = self._rng
        speed = rng.uniform(1 - self._config.speed, 1 + self._config.speed)
        needed = math.ceil(2 * self._frames * speed)  # labels at 100 Hz
        samples = np.zeros(needed * SAMPLES_PER_LABEL, dtype=np.float32)
        labels = np.full(needed, PHONE_INDEX[SILENCE], dtype=np.uint8)
        beliefs = np.zeros((needed, len(PHONES)), dtype=np.float32)
        beliefs[:, PHONE_INDEX[SILENCE]] = 1
        sound, marks, belief = self._draw()
        first = int(rng.integers(0, len(marks) - needed)) if len(marks) > needed else 0
        place = int(rng.integers(0, max(1, needed - len(marks))))
        while place < needed:
            count = min(needed - place, len(marks) - first)
            labels[place : place + count] = marks[first : first + count]
            beliefs[place : place + count] = belief[first : first + count]
            samples[place * SAMPLES_PER_LABEL : (place + count) * SAMPLES_PER_LABEL] = sound[
                first * SAMPLES_PER_LABEL : (first + count) * SAMPLES_PER_LABEL
            ]
            place += count + int(rng.integers(5, 40))
            (sound, marks, belief), first = self._draw(), 0
        at = np.minimum(np.round(np.arange(self._frames) * 2 * speed).astype(int), needed - 1)
        return change_speed(samples, self._frames * SAMPLES_PER_FRAME), labels[at], beliefs[at]


def trusted(labels: np.ndarray, beliefs: np.ndarray) -> np.ndarray:
    """Labels without those that beliefs contradict: what stands in a prompt is not always said.

    Args:
        labels: (N,) uint8 at 100 Hz.
        beliefs: (N, 40) probabilities; all 0 where there are none.

    Returns:
        (N,) uint8, IGNORED where the label is all but impossible, 20 ms to both sides too.
    """
    known = labels != IGNORED
    belief = beliefs[np.arange(len(labels)), np.where(known, labels, 0)]
    padded = np.pad(belief, 2, mode="edge")
    nearby = np.max([padded[shift : shift + len(belief)] for shift in range(5)], axis=0)
    contradicted = known & (nearby < LEAST_BELIEF) & (beliefs.sum(axis=1) > 0.5)
    return np.where(contradicted, IGNORED, labels).astype(np.uint8)


class BackboneTraining:
    """The state of a training run, and its loop.

    Args:
        shards: the corpus.
        config: how to train.
        out: file for the best weights; the state to resume from goes beside it.
        seed: of all chance.
        clock: gives the time in seconds.
    """

    def __init__(
        self,
        shards: list[Shard],
        config: TrainConfig,
        out: Path,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        torch.manual_seed(seed)
        self.config = config
        self.out = out
        self.resume_path = out.with_name(f"{out.stem}.resume{out.suffix}")
        self.network = CompactBackbone(config.backbone.compact)
        self.average = CompactBackbone(config.backbone.compact).eval()
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.network, config.weight_decay),
            lr=config.learning_rate,
            betas=(0.9, 0.98),
        )
        self.shards = shards
        self.step = 0
        self.elapsed_s = 0.0
        self.best = -math.inf
        self.best_elapsed_s = 0.0
        self.since_best = 0
        self._seed = seed
        self._clock = clock

    def run(self, minutes: float) -> None:
        """Trains until `minutes` of training time have passed in all, or validation says stop."""
        config = self.config
        # Seeded by the step too, so that a resumed run does not see the same clips again.
        rng = np.random.default_rng((self._seed, self.step))
        crops = CropSource(self.shards, config, rng)
        augment = Augmenter(rng, config.augment, config.backbone.compact.mel_bands)
        bf16 = _bf16_is_fast()
        size = sum(parameter.numel() for parameter in self.network.parameters())
        log.info(
            "%.2f M parameters, bf16 %s, %.1f minutes done", size / 1e6, bf16, self.elapsed_s / 60
        )
        saved = validated = last = self._clock()
        loss_mean, accuracy_mean, begun = 0.0, 0.0, self.step
        self.network.train()
        while self.elapsed_s < minutes * 60 and self.since_best < config.patience:
            fraction = self.elapsed_s / (minutes * 60)
            rate = config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fraction)))
            rate *= min(1.0, (self.step + 1) / config.warmup_steps)
            samples, labels, beliefs = crops.batch()
            said = labels.copy()
            log_mel, changed = augment(samples, labels)
            # What was muted or drowned in noise is silence, whatever was believed before.
            beliefs[said != changed.numpy()] = np.eye(len(PHONES))[PHONE_INDEX[SILENCE]]
            loss, accuracy = self._train_step(
                log_mel, changed, torch.from_numpy(beliefs), rate, bf16
            )
            share = max(0.02, 1 / (self.step - begun + 1))
            loss_mean += share * (loss - loss_mean)
            accuracy_mean += share * (accuracy - accuracy_mean)
            self.step += 1
            now = self._clock()
            self.elapsed_s += now - last
            last = now
            if self.step % 100 == 0:
                log.info(
                    "step %d, %.1f min, rate %.1e, loss %.3f, phones %.3f",
                    self.step, self.elapsed_s / 60, rate, loss_mean, accuracy_mean,
                )  # fmt: skip
            if now - validated > config.valid_every_s:
                self._validate()
                validated = self._clock()
            if now - saved > 120:
                self.save()
                saved = self._clock()
        if self.since_best < config.patience:
            self._validate()
        self.save()

    def _train_step(
        self, log_mel: Tensor, labels: Tensor, beliefs: Tensor, rate: float, bf16: bool
    ) -> tuple[float, float]:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = self.network.phone_head(self.network.hidden_of(log_mel))
        logits = logits.float()
        loss = phone_loss(logits, labels, beliefs, self.config)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        # In the beginning the average follows quickly, else it would remember the random start.
        decay = min(self.config.average_decay, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, value in zip(
                self.average.parameters(), self.network.parameters(), strict=True
            ):
                mean.lerp_(value, 1 - decay)
        known = labels != IGNORED
        right = (logits.detach().argmax(-1) == labels) & known
        return loss.item(), (right.sum() / known.sum().clamp(min=1)).item()

    def _validate(self) -> None:
        """Scores the averaged weights on real validation clips; keeps them if they are the best."""
        figures = score_shards(self.average, self.shards, "valid")
        total = 0.0
        for name, score in sorted(figures.items()):
            found = score.summary()
            log.info(
                "valid %s: %s",
                name,
                ", ".join(f"{key} {value:.3f}" for key, value in found.items()),
            )
            if name == "real":
                precision, recall = found["closure_precision"], found["closure_recall"]
                total = found["visemes"] + 2 * precision * recall / max(1e-6, precision + recall)
        if total > self.best:
            self.best, self.since_best, self.best_elapsed_s = total, 0, self.elapsed_s
            save_backbone(
                self.out,
                self.average,
                self.config,
                {"step": self.step, "minutes": self.elapsed_s / 60, "valid": total},
            )
        else:
            self.since_best += 1
        log.info("valid total %.4f, best %.4f", total, self.best)

    def start_from(self, path: Path) -> None:
        """Begins with the weights of a trained backbone; what they score is what is to be beaten.

        Raises:
            IdiolectError: the file is missing, damaged, or of other sizes.
        """
        weights = load_checkpoint(path).part("backbone")
        load_weights(self.network, weights, path)
        load_weights(self.average, weights, path)
        self._validate()

    def save(self) -> None:
        """Writes all that is needed to go on."""
        tensors = {f"backbone.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        progress = {
            name: getattr(self, name)
            for name in ("step", "elapsed_s", "best", "best_elapsed_s", "since_best")
        }
        if not math.isfinite(self.best):
            del progress["best"]
        save_checkpoint(self.resume_path, tensors, to_dict(self.config), {"progress": progress})

    def resume(self) -> None:
        """Goes on from the state that `save` wrote, if there is one."""
        if not self.resume_path.exists():
            return
        checkpoint = load_checkpoint(self.resume_path)
        load_weights(self.network, checkpoint.part("backbone"), self.resume_path)
        load_weights(self.average, checkpoint.part("average"), self.resume_path)
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in checkpoint.part("optimizer").items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        for name, value in checkpoint.metadata["progress"].items():
            setattr(self, name, value)
        log.info("going on from %s, step %d", self.resume_path, self.step)


def phone_loss(logits: Tensor, labels: Tensor, beliefs: Tensor, config: TrainConfig) -> Tensor:
    """Cross-entropy against labels mixed with beliefs; beliefs alone where labels are IGNORED.

    Args:
        logits: (B, N, 40).
        labels: (B, N) phones, or IGNORED.
        beliefs: (B, N, 40) probabilities; all 0 where there are none.
        config: weights of the parts.
    """
    known = (labels != IGNORED).unsqueeze(-1)
    believed = beliefs.sum(-1, keepdim=True) > 0.5
    target = functional.one_hot(labels.masked_fill(labels == IGNORED, 0), len(PHONES)).float()
    share = torch.where(known, torch.where(believed, config.belief, 0.0), 1.0)
    target = target.lerp(beliefs, share)
    target = target.lerp(torch.full_like(target, 1 / len(PHONES)), config.label_smoothing)
    shut = [PHONE_INDEX[phone] for phone in BILABIALS]
    wanted = target[..., shut].sum(-1)
    heard = logits.detach().softmax(-1)[..., shut].sum(-1)
    weight = 1 + (config.closure_weight - 1) * torch.maximum(wanted, heard)
    weight = weight * (known | believed).squeeze(-1)
    losses = -(target * logits.log_softmax(-1)).sum(-1)
    return (losses * weight).sum() / weight.sum().clamp(min=1)


def score_shards(
    backbone: SpeechBackbone, shards: list[Shard], split: str, limit_s: float = 900.0
) -> dict[str, PhoneScore]:
    """Scores a backbone on the clips of a split, for real and synthetic speech apart.

    Args:
        backbone: in evaluation mode.
        shards: the corpus.
        split: "train" or "valid".
        limit_s: seconds of speech taken from each shard.
    """
    scores: dict[str, PhoneScore] = {}
    for shard in shards:
        real = shard.folder.name in ("exact", "prompt", "recognised")
        score = scores.setdefault("real" if real else "synthetic", PhoneScore())
        seconds = 0.0
        for clip in shard.clips:
            if clip.split != split or seconds > (limit_s if real else limit_s / 10):
                continue
            seconds += clip.frames / 100
            with torch.inference_mode():
                logits = backbone(torch.from_numpy(shard.samples(clip))[None]).phone_logits
            assert logits is not None  # only backbones that know phones are scored
            score.add(shard.labels(clip)[::2], logits[0].softmax(-1).numpy())
    return scores


def save_backbone(
    path: Path, backbone: CompactBackbone, config: TrainConfig, facts: dict[str, float]
) -> None:
    """Writes a backbone as `load_backbone` reads it."""
    tensors = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    save_checkpoint(path, tensors, {"backbone": to_dict(config.backbone)}, {"training": facts})


def load_backbone(path: Path) -> CompactBackbone | PairedBackbone:
    """Reads a trained compact backbone, or a pair of them, from its own file or from a model's.

    Raises:
        IdiolectError: the file is missing, damaged, does not fit, or holds another kind.
    """
    checkpoint = load_checkpoint(path)
    config = from_dict(BackboneConfig, checkpoint.config["backbone"], source=str(path))
    backbone = build_backbone(config)
    if not isinstance(backbone, CompactBackbone | PairedBackbone):
        raise IdiolectError(
            f"{path} hears through {config.kind}, which knows no phones",
            hint="Give a file of training.backbone, or a model with such a backbone.",
            code="backbone_kind",
        )
    load_weights(backbone, checkpoint.part("backbone"), path)
    return backbone.eval()


def _parameter_groups(network: nn.Module, weight_decay: float) -> list[dict]:
    """Weight matrices decay; gains, biases and residual scales do not."""
    matrices = [value for value in network.parameters() if value.dim() > 1]
    vectors = [value for value in network.parameters() if value.dim() <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]


def _bf16_is_fast() -> bool:
    """Whether this processor multiplies in bfloat16 by itself; elsewhere it would be slower."""
    probe = torch.randn(512, 512)
    times = []
    for kind in (torch.float32, torch.bfloat16):
        matrix = probe.to(kind)
        matrix @ matrix
        begin = time.perf_counter()
        for _ in range(20):
            matrix @ matrix
        times.append(time.perf_counter() - begin)
    return times[1] < 0.7 * times[0]


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech-corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--real", type=Path, help="folder with index.csv, aligned first if need be")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", type=Path, metavar="FILE", help="begin with these weights")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
                        help="a setting of TrainConfig, as backbone.compact.dim=336")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(options.threads)
    if options.real:
        corpus = ["--out", str(options.speech_corpus[0]), "--real", str(options.real)]
        if code := make_corpus(corpus):
            return code
    config = from_settings(TrainConfig, options.settings)
    training = BackboneTraining(
        find_shards(options.speech_corpus), config, options.out, options.seed
    )
    if options.init and not training.resume_path.exists():
        training.start_from(options.init)
    training.resume()
    training.run(options.minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
