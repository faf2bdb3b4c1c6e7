"""Training: it learns, it goes on as if never stopped, and it says early what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.animator import Animator
from core.checkpoint import load_checkpoint
from core.errors import IdiolectError
from core.learning import losses
from core.learning.batch import Batch
from core.learning.trainer import Trainer
from core.model.config import load_toml
from tests.training.small_corpus import make_small_corpus, save_small_backbone
from training.batches import CorpusBatches
from training.bundle import main as bundle_main
from training.bundle import make_bundle
from training.corpus import Corpus
from training.train import TrainConfig, load_backbone, main, make_trainer, train

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_corpus(tmp_path_factory.mktemp("corpus") / "small")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_backbone(tmp_path_factory.mktemp("backbone") / "backbone.safetensors")


def tiny(backbone: Path, *overrides: str) -> TrainConfig:
    return load_toml(
        TrainConfig,
        CONFIGS / "tiny.toml",
        [f"backbone_weights='{backbone}'", "device=cpu", *overrides],
    )


def trainer_of(config: TrainConfig, corpus_folder: Path) -> Trainer:
    torch.set_num_threads(1)  # more wait for each other on a busy machine
    backbone, _ = load_backbone(config)
    return make_trainer(config, Corpus(corpus_folder), backbone)


@pytest.mark.parametrize("name", ["idiolect", "tiny"])
def test_presets_load(name: str) -> None:
    assert load_toml(TrainConfig, CONFIGS / f"{name}.toml").name == name


def test_tiny_model_overfits_one_clip(corpus: Path, backbone: Path) -> None:
    config = tiny(backbone, "optim.steps=150", "optim.style_first=0", "optim.learning_rate=1e-2")
    trainer = trainer_of(config, corpus)
    one = trainer.source.batch(0)

    class Same:
        identities = trainer.source.identities

        def batch(self, step: int, part: int = 0) -> Batch:
            return one

    trainer.source = Same()  # type: ignore[assignment]
    first = trainer.train_step()
    for _ in range(149):
        last = trainer.train_step()
    assert last["reconstruction"] < 0.15 * first["reconstruction"]
    assert last["lips"] < 0.6 * first["lips"]


def test_resumed_run_equals_an_uninterrupted_one(
    corpus: Path, backbone: Path, tmp_path: Path
) -> None:
    config = tiny(backbone, "model.style.hide_emotion=true")
    train(config, corpus, tmp_path / "whole")
    # Stopped in the middle by a progress callback, as Ctrl-C would.
    state = tmp_path / "parts" / "state.safetensors"

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "training" and done == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, corpus, tmp_path / "parts", stop)
    assert load_checkpoint(state).metadata["step"] == 10
    train(config, corpus, tmp_path / "parts")
    whole, parts = (load_checkpoint(tmp_path / d / "state.safetensors") for d in ("whole", "parts"))
    assert whole.metadata["step"] == parts.metadata["step"] == 20
    assert whole.tensors.keys() == parts.tensors.keys()
    for name, value in whole.tensors.items():
        assert torch.equal(parts.tensors[name], value), name


def test_curves_and_the_last_file(corpus: Path, backbone: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = tiny(backbone, "optim.log_every=5", "model.style.hide_emotion=true")
    model = train(config, corpus, tmp_path)
    told = events.EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0})
    told.Reload()
    scalars = set(told.Tags()["scalars"])
    assert {"training/total", "training/gradient", "training/learning_rate"} <= scalars
    assert {"validation/reconstruction", "validation/lve_mm", "validation/ldtw_m"} <= scalars
    assert [point.step for point in told.Scalars("training/total")] == [5, 10, 15, 20]
    assert [image.step for image in told.Images("validation/lips")] == [10, 20]
    facts = load_checkpoint(model).metadata
    assert facts["validation"]["lve_mm"] == pytest.approx(
        told.Scalars("validation/lve_mm")[-1].value, rel=1e-5
    )
    # Stopped between the last step and the last file: the file is made up for.
    first = load_checkpoint(model).tensors
    model.unlink()
    assert train(config, corpus, tmp_path) == model
    for name, value in load_checkpoint(model).tensors.items():
        assert torch.equal(value, first[name]), name


def test_trained_model_animates_and_bundles(
    corpus: Path, backbone: Path, tmp_path: Path, speech_file: Path
) -> None:
    out = tmp_path / "run"
    overrides = ["--set", f"backbone_weights='{backbone}'", "--set", "optim.steps=2"]
    arguments = ["--config", str(CONFIGS / "tiny.toml"), "--corpus", str(corpus)]
    assert main([*arguments, "--out", str(out), *overrides]) == 0
    clip = Animator(out / "model.safetensors", "cpu").animate(speech_file, fps=30.0)
    assert clip.weights.shape[1] == 52
    resolved = load_toml(TrainConfig, out / "config.toml")
    assert resolved.optim.steps == 2 and resolved.name == "tiny"
    bundle = tmp_path / "bundle.safetensors"
    make_bundle(out / "model.safetensors", Corpus(corpus), bundle)
    bundled = Animator(bundle, "cpu")
    assert sorted(bundled.styles) == ["broad", "neutral"]
    assert bundle.stat().st_size < 0.7 * (out / "model.safetensors").stat().st_size
    np.testing.assert_allclose(
        bundled.animate(speech_file, fps=30.0, style=np.zeros(16, np.float32)).weights,
        Animator(out / "model.safetensors", "cpu")
        .animate(speech_file, fps=30.0, style=np.zeros(16, np.float32))
        .weights,
        atol=2e-2,
    )
    assert bundle_main(["--run", str(tmp_path), "--corpus", str(corpus)]) == 2


def test_loss_that_is_not_finite_is_left_out_and_then_reported(
    corpus: Path, backbone: Path
) -> None:
    trainer = trainer_of(tiny(backbone, "optim.style_first=0"), corpus)
    trainer.train_step()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    good = trainer.source.batch(0)

    class Poisoned:
        identities = trainer.source.identities

        def batch(self, step: int, part: int = 0) -> Batch:
            return good._replace(motion=torch.full_like(good.motion, float("nan")))

    trainer.source = Poisoned()  # type: ignore[assignment]
    trainer.train_step()
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, before[name])
    with pytest.raises(IdiolectError, match="not finite") as caught:
        for _ in range(100):
            trainer.train_step()
    assert caught.value.setting == "optim.learning_rate"


def test_batches_are_repeatable_and_pair_different_clips(corpus: Path, backbone: Path) -> None:
    trainer = trainer_of(tiny(backbone), corpus)
    source = trainer.source
    assert isinstance(source, CorpusBatches)
    for a, b in zip(source.batch(3)[1:8], source.batch(3)[1:8], strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.equal(source.batch(3).motion, source.batch(4).motion)
    drawn: list[tuple[int, int]] = []
    item = source._item
    source._item = lambda who, a, b, rng: drawn.append((a, b)) or item(who, a, b, rng)  # type: ignore
    for step in range(20):
        source.batch(step)
    clips = source.corpus.clips
    assert all(a != b and clips[a].identity == clips[b].identity for a, b in drawn)
    assert all(clips[a].split == "train" for a, _ in drawn)
    strangers = next(iter(source.validation()))
    assert strangers.motion.shape[-1] == 52


def test_emotions_of_the_corpus_reach_the_batch(corpus: Path, backbone: Path) -> None:
    source = trainer_of(tiny(backbone), corpus).source
    found = [source.batch(step).emotion for step in range(8)]
    assert all(emotion is not None and not emotion.isnan().all() for emotion in found)
    shown = torch.cat(
        [torch.nan_to_num(emotion).amax((0, 1)) for emotion in found if emotion is not None]
    )
    assert shown.max() > 0.2 and shown.max() <= 1.0


def test_a_clip_is_heard_as_with_a_transcript_now_and_then(corpus: Path, backbone: Path) -> None:
    def sure(chance: float) -> float:
        settings = tiny(backbone, f"data.transcript_chance={chance}")
        batch = trainer_of(settings, corpus).source.batch(0)
        assert batch.phones is not None
        count = min(batch.phones.shape[1], batch.tracks.posteriors.shape[1])
        heard = batch.tracks.posteriors[:, :count].argmax(-1)
        known = batch.phones[:, :count] >= 0
        return float((heard == batch.phones[:, :count])[known].float().mean())

    assert sure(1.0) > 0.95 > 0.5 > sure(0.0)
    with pytest.raises(IdiolectError, match="transcript_chance"):
        sure(1.5)


def test_weight_zero_takes_a_term_away(corpus: Path, backbone: Path) -> None:
    config = tiny(backbone, "loss.lips=0.0", "loss.identity=0.0")
    terms = trainer_of(config, corpus).train_step()
    assert "lips" not in terms and "identity" not in terms and "velocity" in terms


def test_known_traits_are_asked_of_the_style_code(backbone: Path, tmp_path: Path) -> None:
    folder = make_small_corpus(tmp_path / "c")
    traits = {"ready-neutral": {"jaw": 1.0}, "ready-broad": {"jaw": 3.0}, "stranger": {"jaw": 2.0}}
    (folder / "styles.json").write_text(json.dumps(traits))
    trainer = trainer_of(tiny(backbone, "optim.style_first=5"), folder)
    batch = trainer.source.batch(0)
    assert batch.traits is not None
    for trait, identity in zip(batch.traits[:, 0].tolist(), batch.identities.tolist(), strict=True):
        assert trait == pytest.approx(1.0 if identity == 0 else -1.0, abs=1e-4)  # broad comes first
    assert set(trainer.train_step()) == {"total", "gradient", "identity", "traits"}
    ablated = trainer_of(tiny(backbone, "loss.traits=0.0"), folder)
    assert "traits" not in ablated.train_step()
    (folder / "styles.json").write_text("{")
    with pytest.raises(IdiolectError, match=r"styles\.json"):
        trainer_of(tiny(backbone), folder)


def test_closures_weigh_most_in_the_lip_loss() -> None:
    matrix, rest = torch.tensor([[10.0]]), torch.zeros(1)
    mask = torch.ones(1, 1, dtype=torch.bool)
    errors = [
        losses.lip_loss(
            torch.tensor([[[true + 0.1]]]), torch.tensor([[[true]]]), mask, matrix, rest, 1.0
        )
        for true in (0.0, 0.1, 1.0)
    ]
    assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0


def test_lips_that_move_too_little_are_asked_to_move_more() -> None:
    true = torch.sin(torch.arange(40.0))[None, :, None]
    matrix, mask = torch.tensor([[10.0]]), torch.ones(1, 40, dtype=torch.bool)
    deviation = 10 * true.std(correction=0)
    found = losses.lip_range_loss(0.5 * true, true, mask, matrix)
    torch.testing.assert_close(found, 0.5 * deviation, rtol=1e-3, atol=1e-3)
    assert losses.lip_range_loss(true + 3.0, true, mask, matrix) < 1e-4  # how far, not where
    small = (0.5 * true).requires_grad_()
    losses.lip_range_loss(small, true, mask, matrix).backward()
    assert small.grad is not None and (small.grad * true).sum() < 0  # downhill is wider
    padded = torch.cat([0.5 * true, torch.full((1, 9, 1), 99.0)], dim=1)
    longer = torch.cat([true, torch.zeros(1, 9, 1)], dim=1)
    half = torch.arange(49)[None] < 40
    torch.testing.assert_close(losses.lip_range_loss(padded, longer, half, matrix), found)


def test_losses_ignore_padding() -> None:
    true, predicted = torch.rand(1, 6, 3), torch.rand(1, 6, 3)
    predicted[0, 4:] = 99.0
    mask = torch.arange(6)[None] < 4
    weights = torch.ones(3)
    short = torch.ones(1, 4, dtype=torch.bool)
    for loss in (losses.reconstruction_loss, losses.velocity_loss):
        torch.testing.assert_close(
            loss(predicted, true, mask, weights),
            loss(predicted[:, :4], true[:, :4], short, weights),
        )


def test_what_does_not_fit_is_said_before_training(
    corpus: Path, backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(IdiolectError, match=r"expected the frame rate 25\.0, found 50\.0"):
        train(tiny(backbone, "model.motion.fps=25.0"), corpus, tmp_path)
    with pytest.raises(IdiolectError, match="is no corpus"):
        train(tiny(backbone), tmp_path / "nowhere", tmp_path)
    with pytest.raises(IdiolectError, match="no weights yet"):
        train(load_toml(TrainConfig, CONFIGS / "tiny.toml"), corpus, tmp_path)
    code = main(
        ["--config", str(CONFIGS / "tiny.toml"), "--corpus", str(corpus), "--set", "optim.lr=1"]
    )
    assert code == 2 and "unknown setting 'optim.lr'" in capsys.readouterr().err
    train(tiny(backbone, "optim.steps=1"), corpus, tmp_path)
    with pytest.raises(IdiolectError, match="another 'model' configuration"):
        train(tiny(backbone, "model.decoder.blocks=2"), corpus, tmp_path)


def test_damaged_corpus_is_named(tmp_path: Path) -> None:
    folder = make_small_corpus(tmp_path / "c")
    np.save(folder / "motion.npy", np.zeros((5, 52), np.float16))
    with pytest.raises(IdiolectError, match=r"motion\.npy: expected an array of shape"):
        Corpus(folder)
    header = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**header, "format": "other"}))
    with pytest.raises(IdiolectError, match="expected the form idiolect-corpus-1, found other"):
        Corpus(folder)


def test_one_clip_a_person_is_too_few(backbone: Path, tmp_path: Path) -> None:
    folder = make_small_corpus(tmp_path / "c", clips=1)
    with pytest.raises(IdiolectError, match=r"nobody .* has two clips"):
        train(tiny(backbone), folder, tmp_path / "run")
