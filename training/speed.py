"""How fast decoders train: steps a second of each on one and the same batch.

    python -m training.speed [--config training/configs/mimic.toml] [--steps 5] [--set key=value]

Whole training steps of a preset with all its losses are timed, with the parallel decoder, with the
autoregressive one under teacher forcing (as in the middle of a training: part of the past is the
model's own), and rolled out freely, frame by frame, as Mimic trains; and forward and backward
passes of the decoder alone. The batch is of random
numbers in the preset's sizes, the backbone's work left out: neither changes with the decoder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.device import pick
from core.learning.batch import Batch
from core.learning.face import FaceMeasures
from core.learning.objective import sides_for
from core.learning.trainer import Trainer
from core.model.config import load_toml
from core.model.decoder import Past
from core.model.model import IdiolectModel
from core.model.speech_encoder import SpeechTracks
from core.phones import PHONES
from training.command import command
from training.report import table
from training.train import TrainConfig

DECODERS: dict[str, dict[str, Any]] = {
    "free rollout (Mimic)": {"decoder_kind": "autoregressive", "teacher_forcing": False},
    "teacher-forced": {"decoder_kind": "autoregressive", "teacher_forcing": True},
    "parallel": {"decoder_kind": "parallel"},
}
_SPEECH_SIZES = {"hidden": 768, "posteriors": len(PHONES), "prosody": 4}
_PEOPLE = 10


class OneBatch:
    """The same batch of random numbers in every step."""

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        self.identities, self.traits = _PEOPLE, 0
        random = torch.Generator().manual_seed(1)
        motion, data, style = config.model.motion, config.data, config.model.style
        frames = round(data.window_s * motion.fps)
        heard = round(data.window_s * 50)
        seen = round(data.reference_s * style.fps)

        def noise(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=random).to(device)

        size = data.batch
        phones = torch.arange(frames, device=device) // 3 % len(PHONES)
        self._batch = Batch(
            tracks=SpeechTracks(*(noise(size, heard, n) for n in _SPEECH_SIZES.values())),
            speech_lengths=torch.full((size,), heard, device=device),
            motion=noise(size, frames, motion.channels),
            motion_lengths=torch.full((size,), frames, device=device),
            silent=torch.zeros(size, frames, dtype=torch.bool, device=device),
            reference=noise(size, seen, motion.channels),
            reference_lengths=torch.full((size,), seen, device=device),
            identities=torch.arange(size, device=device) % _PEOPLE,
            emotion=None,
            phones=phones.expand(size, -1),
            before=noise(size, motion.channels),
        )

    def batch(self, step: int, part: int = 0) -> Batch:
        """See `core.learning.batch.BatchSource`."""
        return self._batch

    def validation(self) -> Iterator[Batch]:
        """See `core.learning.batch.BatchSource`."""
        return iter(())


class Speed(NamedTuple):
    """How fast a decoder trains, the best of several tries: other work on a machine slows it.

    Attributes:
        steps: Whole training steps a second.
        decodings: Forward and backward passes of the decoder alone, a second.
    """

    steps: float
    decodings: float


def speed_of(config: TrainConfig, decoder: str, tries: int, device: torch.device) -> Speed:
    """Measure one of `DECODERS`."""
    changes = dict(DECODERS[decoder])
    kind = str(changes.pop("decoder_kind"))
    looking_back = replace(config.model.autoregressive, **changes)
    model_config = replace(config.model, decoder_kind=kind, autoregressive=looking_back)
    torch.manual_seed(1)
    source = OneBatch(config, device)
    model = IdiolectModel(model_config, _SPEECH_SIZES)
    channels = model_config.motion.channels
    face = FaceMeasures(
        torch.ones(channels), torch.ones(channels, dtype=torch.bool),
        torch.zeros(1, channels), torch.ones(1),
    ).to(device)  # fmt: skip
    sides = sides_for(
        model, identities=_PEOPLE, traits=0, face=face, optim=config.optim, weights=config.loss
    )
    trainer = Trainer(model, sides, source, config.optim, 1, device=device)
    trainer.step = config.optim.steps // 2
    batch = source.batch(0)
    width = model_config.speech.encoder.width
    features = torch.rand(*batch.motion.shape[:2], width, device=device, requires_grad=True)
    mask = torch.ones(batch.motion.shape[:2], dtype=torch.bool, device=device)
    condition = torch.rand(len(features), 1, model.condition(1, None, None).shape[-1]).to(device)
    past = Past(batch.motion[:, 0], batch.motion, config.model.autoregressive.rollout)

    def decode() -> None:
        model.decode(features, condition, mask, past).square().mean().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()

    def step() -> None:
        trainer.train_step()  # ends with numbers on the processor

    return Speed(1.0 / _shortest(step, tries), 1.0 / _shortest(decode, tries))


def _shortest(work: Callable[[], None], tries: int) -> float:
    """Seconds that work takes at best; the first time, which makes ready, does not count."""
    work()
    taken = []
    for _ in range(tries):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)


def report(found: dict[str, Speed], config: TrainConfig, device: torch.device) -> list[str]:
    """Lines of a Markdown table."""
    motion, data = config.model.motion, config.data
    first = found[next(iter(DECODERS))]
    rows = [
        [
            name,
            f"{speed.steps:.3g}", f"{speed.steps / first.steps:.1f}",
            f"{speed.decodings:.3g}", f"{speed.decodings / first.decodings:.1f}",
        ]
        for name, speed in found.items()
    ]  # fmt: skip
    said = (
        f"{config.name}: {data.batch} clips of {data.window_s:g} s at {motion.fps:g} frames a "
        f"second, {motion.channels} channels, {device.type}, {torch.get_num_threads()} threads"
    )
    header = ["decoder", "training steps a second", "times rollout", "decodings a second",
              "times rollout"]  # fmt: skip
    return [said, "", *table(header, rows)]


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m training.speed", description=(__doc__ or "").splitlines()[0]
    )
    presets = Path(__file__).parent / "configs"
    parser.add_argument("--config", type=Path, default=presets / "mimic.toml")
    parser.add_argument("--steps", type=int, default=5, help="steps timed of each (5)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    config = load_toml(TrainConfig, options.config, options.settings)
    device = pick(config.device)
    found = {name: speed_of(config, name, options.steps, device) for name in DECODERS}
    print("\n".join(report(found, config, device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
