"""The trainer by itself: several sides, several batches a step, several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.checkpoint import load_checkpoint
from core.errors import IdiolectError
from core.learning.batch import Batch
from core.learning.optim import OptimConfig, risen_and_falling
from core.learning.sides import Side, Term
from core.learning.trainer import Trainer
from core.model.config import load_toml
from tests.training.small_corpus import make_small_corpus, save_small_backbone
from training.corpus import Corpus
from training.train import TrainConfig, load_backbone, make_trainer

ROOT = Path(__file__).parents[2]
TINY = ROOT / "training" / "configs" / "tiny.toml"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_backbone(tmp_path_factory.mktemp("backbone") / "backbone.safetensors")


def tiny_trainer(corpus: Path, backbone: Path, *overrides: str) -> Trainer:
    torch.set_num_threads(1)
    given = [f"backbone_weights='{backbone}'", "device=cpu", *overrides]
    config = load_toml(TrainConfig, TINY, given)
    network, _ = load_backbone(config)
    return make_trainer(config, Corpus(corpus), network)


class Critic(Side):
    """Learns to tell true motion from the model's, by one number a frame."""

    def __init__(self, optim: OptimConfig, first_step: int) -> None:
        self.network = nn.Linear(52, 1)
        super().__init__("critic", {"critic": self.network}, optim, first_step)
        self.learning_rate = 1e-2

    def rate(self, step: int) -> float:
        return self.learning_rate

    def terms(self, batch: Batch, step: int, shared: dict[str, Any]) -> dict[str, Term]:
        assert not shared["predicted"].requires_grad
        true, made = self.network(batch.motion), self.network(shared["predicted"])
        return {"critic": Term((true - 1).square().mean() + made.square().mean(), 1.0)}


class Contested(Side):
    """The model's own side, which also wants to please the critic."""

    def __init__(self, own: Side, critic: Critic) -> None:
        super().__init__("model", own.modules, own.optim)
        self.own, self.critic = own, critic

    def rate(self, step: int) -> float:
        return self.own.rate(step)

    def terms(self, batch: Batch, step: int, shared: dict[str, Any]) -> dict[str, Term]:
        terms = self.own.terms(batch, step, shared)
        model = self.own.modules["model"]
        frames = batch.motion.shape[1]
        made = model(batch.tracks, batch.speech_lengths, frames)
        shared["predicted"] = made.detach()
        pleased = (self.critic.network(made) - 1).square().mean()
        return {**terms, "adversarial": Term(pleased, 0.5)}


def contested(corpus: Path, backbone: Path, first_step: int = 0) -> Trainer:
    plain = tiny_trainer(corpus, backbone, "optim.style_first=0")
    torch.manual_seed(3)
    critic = Critic(plain.optim, first_step)
    sides = [Contested(plain.sides[0], critic), critic]
    return Trainer(plain.model, sides, plain.source, plain.optim, seed=1)


def weights_of(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_two_sides_move_their_own_weights_alone(corpus: Path, backbone: Path) -> None:
    trainer = contested(corpus, backbone, first_step=2)
    critic = trainer.modules["critic"]
    before = weights_of(critic)
    told = [trainer.train_step() for _ in range(2)]
    # The model's side uses the critic, and leaves it as it is.
    assert all("adversarial" in terms and "critic" not in terms for terms in told)
    assert all(torch.equal(a, b) for a, b in zip(before, weights_of(critic), strict=True))
    told = [trainer.train_step() for _ in range(20)]
    assert {"critic", "critic total", "critic gradient"} <= told[-1].keys()
    assert told[-1]["critic"] < told[0]["critic"]
    assert all(parameter.requires_grad for parameter in critic.parameters())


def test_two_sides_resume_as_if_never_stopped(corpus: Path, backbone: Path, tmp_path: Path) -> None:
    whole, first, second = (contested(corpus, backbone) for _ in range(3))
    for _ in range(6):
        whole.train_step()
    for _ in range(3):
        first.train_step()
    first.save_state(tmp_path / "state.safetensors", {})
    second.load_state(load_checkpoint(tmp_path / "state.safetensors"))
    for _ in range(3):
        second.train_step()
    for name, module in whole.modules.items():
        for a, b in zip(weights_of(module), weights_of(second.modules[name]), strict=True):
            assert torch.equal(a, b), name
    for name, value in whole.average.items():
        assert torch.equal(value, second.average[name]), name


def test_accumulated_gradient_is_the_mean_over_batches(corpus: Path, backbone: Path) -> None:
    trainer = tiny_trainer(corpus, backbone, "optim.accumulate=3", "optim.style_first=0")
    side = trainer.sides[0]
    batches = [trainer.source.batch(0, part) for part in range(3)]
    assert not torch.equal(batches[0].motion, batches[1].motion)
    trainer._gradients(side, 0, batches, [{}, {}, {}])
    found = [p.grad.clone() for p in side.parameters() if p.grad is not None]
    wanted = [torch.zeros_like(gradient) for gradient in found]
    for part, batch in enumerate(batches):
        trainer.optimizers["model"].zero_grad()
        torch.manual_seed(((1 * 1_000_003) * 1009 + part) * 7)
        terms = side.terms(batch, 0, {})
        torch.stack([term.weight * term.value for term in terms.values()]).sum().backward()
        for total, parameter in zip(
            wanted, (p for p in side.parameters() if p.grad is not None), strict=True
        ):
            total += parameter.grad / 3
    norm = torch.stack([gradient.norm() for gradient in wanted]).norm()
    factor = min(1.0, trainer.optim.clip / float(norm))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, factor * b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_learns_in_full_precision_weights(
    corpus: Path, backbone: Path, precision: str
) -> None:
    trainer = tiny_trainer(corpus, backbone, f"optim.precision={precision}", "optim.style_first=0")
    told = [trainer.train_step() for _ in range(12)]
    assert told[-1]["reconstruction"] < told[0]["reconstruction"]
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("optim.precision=float8", "expected float32, bfloat16, float16, found float8"),
        ("optim.accumulate=0", "expected at least 1, found 0"),
        ("optim.learning_rate=0.0", "expected above 0, found 0.0"),
        ("data.reference_emotion=other", "expected any or same, found other"),
        ("data.batch=0", "expected at least 1, found 0"),
    ],
)
def test_settings_that_cannot_be_meant(
    corpus: Path, backbone: Path, setting: str, expected: str
) -> None:
    with pytest.raises(IdiolectError, match=expected) as caught:
        tiny_trainer(corpus, backbone, setting)
    assert caught.value.setting == setting.partition("=")[0]


def test_learning_rate_rises_and_falls() -> None:
    optim = OptimConfig(steps=100, warmup=10, learning_rate=1.0, final_share=0.1)
    rates = [risen_and_falling(step, optim) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == pytest.approx(1.0)
    assert rates[99] == pytest.approx(0.1, abs=0.01)
    constant = OptimConfig(steps=100, warmup=0, learning_rate=1e-4, final_share=1.0)
    assert {risen_and_falling(step, constant) for step in range(100)} == {1e-4}


def test_two_processes_learn_what_one_does(corpus: Path, backbone: Path, tmp_path: Path) -> None:
    """`torchrun` on the processor, against one process with the same batches of a step."""
    common = ["--config", TINY, "--corpus", corpus, "--set", f"backbone_weights='{backbone}'"]
    common += ["--set", "optim.steps=6", "--set", "device=cpu", "--set", "model.style.dropout=0.1"]
    single = [sys.executable, "-m", "training.train", *common, "--set", "optim.accumulate=2"]
    double = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    double += ["--nproc-per-node", "2", "-m", "training.train", *common]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = []
    for name, command in (("one", single), ("two", double)):
        arguments = [str(part) for part in (*command, "--out", tmp_path / name)]
        done = subprocess.run(
            arguments, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        found.append(load_checkpoint(tmp_path / name / "state.safetensors"))
    one, two = found
    assert one.metadata["step"] == two.metadata["step"] == 6
    for name, value in one.part("model").items():
        torch.testing.assert_close(two.part("model")[name], value, atol=2e-5, rtol=1e-3, msg=name)
    before = tiny_trainer(corpus, backbone).model.state_dict()
    assert any(not torch.equal(before[name], value) for name, value in one.part("model").items())
