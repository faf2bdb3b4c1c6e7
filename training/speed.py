"""How fast decoders train: steps a second of each on one and the same batch.

    python -m training.speed [--config training/configs/mimic.toml] [--steps 5] [--set key=value]

Whole training steps of a preset with all its losses are timed, with the parallel decoder, with the
autoregressive one under teacher forcing (as in the middle of a training: part of the past is the
model's own), and rolled out freely, frame by frame, as Mimic trains. The batch is of random
numbers in the preset's sizes, the backbone's work left out: neither changes with the decoder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.device import pick
from core.errors import IdiolectError
from core.learning.batch import Batch
from core.learning.objective import FaceMeasures, sides_for
from core.learning.trainer import Trainer
from core.model.config import load_toml
from core.model.model import IdiolectModel
from core.model.speech_encoder import SpeechTracks
from core.phones import PHONES
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


def steps_per_second(config: TrainConfig, decoder: str, steps: int, device: torch.device) -> float:
    """Training steps a second with one of `DECODERS`."""
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
    trainer.train_step()  # what is done once, is done now
    begun = time.perf_counter()
    for _ in range(steps):
        trainer.train_step()  # ends with numbers on the processor: it has waited for the device
    return steps / (time.perf_counter() - begun)


def measure(config: TrainConfig, steps: int, device: torch.device) -> dict[str, float]:
    """Steps a second of every decoder."""
    return {name: steps_per_second(config, name, steps, device) for name in DECODERS}


def report(found: dict[str, float], config: TrainConfig, device: torch.device) -> list[str]:
    """Lines of a Markdown table."""
    motion, data = config.model.motion, config.data
    slowest = found[next(iter(DECODERS))]
    rows = [[name, f"{rate:.3g}", f"{rate / slowest:.1f}"] for name, rate in found.items()]
    said = (
        f"{config.name}: {data.batch} clips of {data.window_s:g} s at {motion.fps:g} frames a "
        f"second, {motion.channels} channels, {device.type}, {torch.get_num_threads()} threads"
    )
    return [said, "", *table(["decoder", "steps a second", "times free rollout"], rows)]


def main(arguments: Sequence[str] | None = None) -> int:
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
    try:
        config = load_toml(TrainConfig, options.config, options.settings)
        device = pick(config.device)
        found = measure(config, options.steps, device)
    except IdiolectError as error:
        print(f"error: {error.message}\n hint: {error.hint}", file=sys.stderr)
        return 2
    print("\n".join(report(found, config, device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
