"""Networks that measure models, trained by themselves on captured motion, never a model's parts.

    python -m training.judges --corpus DIR [--steps 500]

`training.scs` tells people apart by their motion, `training.sync` tells whether lips fit the sound.
Both learn from the training split and are kept beside the corpus, in `judges`; `training.evaluate`
trains them where they are missing. How well they do their own work on clips they never saw is told,
since a measure is worth no more than that.

Shapes: B batch, T motion frames, C channels.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from core.checkpoint import load_checkpoint, load_weights, save_checkpoint
from training.command import command
from training.corpus import Corpus

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


class Standardise(nn.Module):
    """Each channel to mean 0 and spread 1 over the training split."""

    mean: Tensor
    spread: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("spread", torch.ones(channels))

    def measure(self, corpus: Corpus, clips: list[int]) -> None:
        """Take mean and spread from clips."""
        sums = np.zeros((2, len(corpus.channels)))
        frames = 0
        for index in clips:
            motion = corpus.clip_motion(index).astype(np.float64)
            sums += motion.sum(0), np.square(motion).sum(0)
            frames += len(motion)
        mean = sums[0] / frames
        spread = np.sqrt(np.maximum(sums[1] / frames - mean**2, 0.0))
        # What hardly ever moves must not be blown up.
        spread = np.maximum(spread, 0.05 * spread.max() + 1e-9)
        self.mean.copy_(torch.from_numpy(mean.astype(np.float32)))
        self.spread.copy_(torch.from_numpy(spread.astype(np.float32)))

    def forward(self, motion: Tensor) -> Tensor:
        """Standardise motion (…, C)."""
        return (motion - self.mean) / self.spread


def learn(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    stage: str,
    progress: Progress | None = None,
    learning_rate: float = 1e-3,
) -> None:
    """Train a judge: AdamW, the rate falling along a cosine.

    Args:
        network: What is trained; left in evaluation mode.
        loss: Gives the loss of a step.
        steps: How many.
        stage: For the progress.
        progress: Called with (stage, done, total).
        learning_rate: The highest.
    """
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    network.train()
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        loss(step).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if progress:
            progress(stage, step + 1, steps)
    network.eval()


@dataclass(frozen=True)
class Judged:
    """What the judges say of one motion.

    Attributes:
        scs: Style cosine similarity with the true motion.
        sync: (2K + 1,) similarity of lips and sound at lags of −K … K, see `training.sync`.
        true_sync: The same of the true motion.
    """

    scs: float
    sync: np.ndarray
    true_sync: np.ndarray


class Judges:
    """Both judges of a corpus."""

    def __init__(self, style: Any, sync: Any) -> None:
        self.style, self.sync = style, sync

    def judge(self, truth: np.ndarray, predicted: np.ndarray, samples: np.ndarray) -> Judged:
        """Judge motion (T, C) against the truth (T, C), given the speech (S,)."""
        return Judged(
            self.style.similarity(truth, predicted),
            self.sync.curve(samples, predicted),
            self.sync.curve(samples, truth),
        )


def load_judges(corpus: Corpus, *, steps: int = 500, progress: Progress | None = None) -> Judges:
    """The judges of a corpus; trained on the first call.

    Raises:
        IdiolectError: The training split has fewer than two people.
    """
    from training.scs import StyleJudge
    from training.sync import SyncJudge

    found = []
    for kind in (StyleJudge, SyncJudge):
        path = corpus.folder / "judges" / f"{kind.FILE}.safetensors"
        mark = {"corpus": _fingerprint(corpus), "steps": steps}
        judge = _kept(kind, path, mark)
        if judge is None:
            judge = kind.train_on(corpus, steps, progress)
            facts = {**mark, "measured": judge.measured}
            save_checkpoint(path, judge.state_dict(), judge.sizes, facts)
            log.info("%s: %s", path, judge.measured)
        found.append(judge)
    return Judges(*found)


def train_clips(corpus: Corpus) -> list[int]:
    """Clips of the training split."""
    return [index for index, clip in enumerate(corpus.clips) if clip.split == "train"]


def crops(
    corpus: Corpus, clips: list[int], batch: int, seconds: float, rng: np.random.Generator
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Random stretches: (clip, first frame, motion (T, C)), all as long as the shortest."""
    chosen = rng.choice(clips, batch)
    frames = min(
        round(seconds * corpus.fps), *(corpus.clips[int(index)].frames for index in chosen)
    )
    for index in chosen.tolist():
        first = int(rng.integers(0, corpus.clips[index].frames - frames + 1))
        yield index, first, corpus.clip_motion(index)[first : first + frames]


def _kept(kind: Any, path: Path, mark: dict[str, Any]) -> Any:
    """The judge in a file, or None where there is none, or one of another corpus."""
    if not path.exists():
        return None
    kept = load_checkpoint(path)
    if {name: kept.metadata.get(name) for name in mark} != mark:
        return None
    judge = kind(**kept.config)
    load_weights(judge, kept.tensors, path)
    judge.measured = kept.metadata["measured"]
    return judge.eval()


def _fingerprint(corpus: Corpus) -> str:
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr(corpus.clips).encode())
    digest.update(np.ascontiguousarray(corpus.motion[::997]).tobytes())
    return digest.hexdigest()


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.judges", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--corpus", type=Path, required=True, help="a corpus (training.prepare)")
    parser.add_argument("--steps", type=int, default=500, help="training steps of each (500)")
    options = parser.parse_args(arguments)
    bar = tqdm(total=2 * options.steps, desc="judges", mininterval=2.0, disable=None)

    def told(*_: object) -> None:
        bar.update()

    try:
        judges = load_judges(Corpus(options.corpus), steps=options.steps, progress=told)
    finally:
        bar.close()
    for judge in (judges.style, judges.sync):
        line = ", ".join(f"{name} {value:.3g}" for name, value in judge.measured.items())
        print(f"{judge.FILE}: {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
