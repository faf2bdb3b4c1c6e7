"""The presets and motion spaces: trained for a few steps, each animates speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.animator import Animator
from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.flame_file import load_flame
from core.learning import losses
from core.learning.trainer import Trainer
from core.model.backbones import BackboneConfig, build_backbone, track_sizes
from core.model.config import load_toml
from core.model.model import IdiolectModel
from core.motion import MotionClip, channel_names
from tests.core.face.flame_files import random_flame, small_mesh, write_flame
from tests.training.small_corpus import (
    make_small_corpus,
    save_small_backbone,
)
from training.corpus import Corpus, CorpusWriter
from training.face_measures import FlameVertices, face_measures
from training.train import TrainConfig, load_backbone, make_trainer, train

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
SMALL = (
    "model.style.width=16", "model.style.layers=1", "model.style.hidden=16",
    "model.style.convolutions=1", "model.style.code=16", "model.content.width=16",
    "model.content.layers=1", "model.content.hidden=16", "model.content.convolutions=1",
    "model.speech.encoder.width=32", "model.speech.encoder.hidden=16",
    "model.decoder.width=16", "model.decoder.hidden=16", "model.autoregressive.width=16",
    "model.autoregressive.hidden=16", "model.duration.width=16",
    "data.batch=3", "data.window_s=0.6", "data.reference_s=0.6", "data.validation_batches=1",
    "optim.steps=4", "optim.save_every=4", "optim.style_first=0", "threads=1",
)  # fmt: skip
HEARD_BY_OURS = ("backbone.kind=compact", "backbone.finetune=false")


def preset(name: str, *overrides: str) -> TrainConfig:
    return load_toml(TrainConfig, CONFIGS / f"{name}.toml", [*SMALL, *overrides])


def on_arkit(name: str, backbone: Path, *overrides: str) -> TrainConfig:
    config = load_toml(TrainConfig, CONFIGS / f"{name}.toml")
    content = "model.content.code=32" if config.model.content.code else "model.content.code=0"
    space = ("model.motion.space=arkit", "model.motion.channels=52", "model.motion.fps=50")
    ours = (*HEARD_BY_OURS, f"backbone_weights='{backbone}'", content)
    return preset(name, *ours, *space, *overrides)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_corpus(tmp_path_factory.mktemp("corpus") / "small", clips=3)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_backbone(tmp_path_factory.mktemp("backbone") / "backbone.safetensors")


@pytest.mark.parametrize("name", ["mimic", "personalized", "idiolect"])
def test_each_preset_learns_and_animates(
    name: str, corpus: Path, backbone: Path, tmp_path: Path, speech_file: Path
) -> None:
    told: dict[str, float] = {}
    step = Trainer.train_step

    def noting(trainer: Trainer) -> dict[str, float]:
        told.update(step(trainer))
        return told

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train_step", noting)
        model = train(on_arkit(name, backbone), corpus, tmp_path)
    config = load_toml(TrainConfig, CONFIGS / f"{name}.toml").loss
    weighed = {
        field for field in vars(config) if field in told or getattr(config, field) in (0.0, "ramp")
    }
    silent = {"closure_sharpness", "identity_schedule", "content_branch", "variance", "traits",
              "adversaries_from", "adversary_rate",
              "emotion_adversary", "emotion_reading"}  # fmt: skip
    assert set(vars(config)) - weighed <= silent  # every term with a weight was computed
    for field, weight in vars(config).items():
        if weight == 0.0:
            assert field not in told  # and none without
    assert all(np.isfinite(value) for value in told.values())
    clip = Animator(model, "cpu").animate(speech_file, fps=30.0)
    assert clip.weights.shape[1] == 52 and np.isfinite(clip.weights).all()


EVERYTHING = (
    "model.content.code=32", "model.duration.phone_head=true", "model.duration.predictor=true",
    "model.duration.positions=true", "loss.squared_error=0.1", "loss.content_branch=0.5",
    "loss.content_identity=0.1", "loss.contrastive=0.1", "loss.style_cycle=0.1",
    "loss.content_cycle=0.1", "loss.phones=0.1", "loss.durations=0.1",
    "loss.style_adversary=0.1", "loss.sync_adversary=0.1", "loss.adversaries_from=0.0",
)  # fmt: skip


@pytest.mark.parametrize("kind", ["parallel", "autoregressive"])
def test_the_union_takes_every_part_at_once_with_either_decoder(
    kind: str, corpus: Path, backbone: Path
) -> None:
    config = on_arkit("idiolect", backbone, *EVERYTHING, f"model.decoder_kind={kind}")
    network, _ = load_backbone(config)
    trainer = make_trainer(config, Corpus(corpus), network)
    told = trainer.train_step()
    assert {"content_velocity", "durations", "phones", "style_cycle", "sync_critic"} <= set(told)
    assert all(np.isfinite(value) for value in told.values())
    # A style never moves a phone: heads and positions go by features that know none.
    batch = trainer.source.batch(0)
    model = trainer.model.eval()
    mask = torch.ones(batch.motion.shape[:2], dtype=torch.bool)
    with torch.no_grad():
        one, other = (
            model.hear(
                batch.tracks, batch.speech_lengths, model.condition(len(mask), style, None), mask
            ).phones
            for style in torch.randn(2, len(mask), 1, 16)
        )
    assert one is not None and other is not None
    torch.testing.assert_close(one.scores, other.scores)
    torch.testing.assert_close(one.log_durations, other.log_durations)


@pytest.mark.parametrize("name", ["mimic", "personalized"])
def test_each_preset_learns_in_half_precision(name: str, corpus: Path, backbone: Path) -> None:
    config = on_arkit(name, backbone, "optim.precision=bfloat16", "loss.adversaries_from=0.0")
    network, _ = load_backbone(config)
    told = make_trainer(config, Corpus(corpus), network).train_step()
    assert all(np.isfinite(value) for value in told.values())


def test_paper_sizes() -> None:
    """Mimic's parts as in its code; PSE's about 24 million parameters; ours within its budget."""
    sizes = {"hidden": 768, "posteriors": 40, "prosody": 4}

    def count(name: str, sizes: dict[str, int]) -> float:
        with torch.device("meta"):
            model = IdiolectModel(load_toml(TrainConfig, CONFIGS / f"{name}.toml").model, sizes)
        return sum(p.numel() for p in model.parameters()) / 1e6

    assert 15 < count("personalized", sizes) < 30
    ours = load_toml(TrainConfig, CONFIGS / "idiolect.toml")
    heard = build_backbone(BackboneConfig())
    own = sum(p.numel() for p in heard.parameters()) / 1e6
    assert count("idiolect", track_sizes(heard, ours.model.speech)) + own <= 12
    mimic = load_toml(TrainConfig, CONFIGS / "mimic.toml")
    assert mimic.model.motion.channels == 5023 * 3
    published = {"identity": 2.5e-7, "content_identity": 5e-7, "contrastive": 5e-7,
                 "content_cycle": 5e-6}  # fmt: skip
    for term, weight in published.items():
        rescaled = weight / losses.PUBLISHED_VARIANCE
        assert getattr(mimic.loss, term) == pytest.approx(rescaled, rel=0.02)


def test_styles_by_identity_know_the_people_of_training_only(
    corpus: Path, backbone: Path, tmp_path: Path, speech_file: Path
) -> None:
    config = on_arkit(
        "mimic", backbone, "model.style.kind=identity", "loss.style_cycle=0.0", "loss.identity=0.0"
    )
    animator = Animator(train(config, corpus, tmp_path), "cpu")
    assert {"ready-broad", "ready-neutral", "mean"} <= set(animator.styles)
    pair = animator.styles["ready-broad"] + animator.styles["ready-neutral"]
    np.testing.assert_allclose(animator.styles["mean"], pair / 2, atol=1e-6)
    assert len(animator.animate(speech_file, fps=30.0, style="mean").weights) == 133
    moving = np.random.default_rng(0).random((60, 52), np.float32)
    with pytest.raises(IdiolectError, match="cannot read a style"):
        animator.style_from_motion(MotionClip(moving, channel_names("arkit", 52), 30.0))


def test_windows_of_the_autoregressive_decoder_go_on_where_the_last_ended(
    corpus: Path, backbone: Path, tmp_path: Path, speech_file: Path
) -> None:
    short = ("model.autoregressive.window=40", "model.autoregressive.overlap=6")
    made = train(on_arkit("mimic", backbone, *short, "optim.steps=12"), corpus, tmp_path)
    animator = Animator(made, "cpu")
    motion = animator.animate(speech_file, fps=50.0, finishing=None).weights
    assert len(motion) == 221
    steps = np.abs(np.diff(motion, axis=0)).max(axis=1)
    seams = steps[np.arange(34, 220, 34) - 1]
    assert seams.max() <= 3 * np.quantile(steps, 0.95) + 1e-4


def write_corpus(folder: Path, space: str, channels: int, scale: float) -> Path:
    """Two people whose motion follows the loudness of noise; 25 frames a second."""
    rng = np.random.default_rng(0)
    with CorpusWriter(folder, channel_names(space, channels), 25.0, space) as writer:
        directions = rng.standard_normal((2, channels))
        for clip in range(6):
            level = np.abs(np.sin(np.arange(50) * (0.2 + 0.05 * clip)))
            samples = np.repeat(level, 640) * rng.standard_normal(32000) * 0.1
            motion = scale * level[:, None] * directions[clip % 2]
            phones = np.where(level > 0.5, 1, 0)
            writer.add(
                f"clip{clip}", f"person{clip % 2}", "train", samples.astype(np.float32),
                motion.astype(np.float32), phones,
            )  # fmt: skip
    return folder


def test_wav2vec_learns_with_the_model_and_needs_no_folder_afterwards(
    tmp_path: Path, speech_file: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    source = tmp_path / "wav2vec2"
    transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            conv_dim=(8,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
        )
    ).save_pretrained(source)
    folder = write_corpus(tmp_path / "corpus", "vertices", 12, 2e-3)
    config = preset(
        "mimic", "model.motion.channels=12", f"backbone.source={source}", "model.content.code=32"
    )
    before, _ = load_backbone(config)
    made = train(config, folder, tmp_path / "run")
    (source / "model.safetensors").unlink()
    animator = Animator(made, "cpu")
    after = animator.engine.backbone.state_dict()
    moved = {
        name
        for name, value in before.state_dict().items()
        if not torch.equal(value, after[name].float())
    }
    assert any("encoder.layers" in name for name in moved)
    assert not any("feature_extractor" in name for name in moved)
    clip = animator.animate(speech_file, fps=25.0)
    assert clip.space == "vertices" and clip.channels[:4] == ("x0", "y0", "z0", "x1")
    assert np.abs(clip.weights).max() < 0.1  # metres
    wrong = MotionClip(np.random.rand(60, 9), channel_names("vertices", 9), 25.0, "vertices")
    with pytest.raises(IdiolectError, match="3 vertices, but the model wants 4"):
        animator.style_from_motion(wrong)
    with pytest.raises(IdiolectError, match="cannot learn with the model"):
        load_backbone(preset("mimic", "backbone.kind=compact"))


def test_flame_motion_is_compared_by_vertices(
    tmp_path: Path, backbone: Path, speech_file: Path
) -> None:
    flame = write_flame(
        tmp_path / "flame.npz", random_flame(*small_mesh(4, 5), shape=300, expression=100), "npz"
    )
    folder = write_corpus(tmp_path / "corpus", "flame", 8, 0.2)
    config = preset(
        "mimic", *HEARD_BY_OURS, f"backbone_weights='{backbone}'", "model.motion.space=flame",
        "model.motion.channels=8", "model.content.code=32", f"flame='{flame}'",
    )  # fmt: skip
    animator = Animator(train(config, folder, tmp_path / "run"), "cpu")
    clip = animator.animate(speech_file, fps=25.0)
    assert clip.channels == ("Exp001", "Exp002", "Exp003", "Exp004", "Exp005",
                             "jaw_x", "jaw_y", "jaw_z")  # fmt: skip
    corpus = Corpus(folder)
    model = FlameModel(load_flame(flame))
    surface = FlameVertices(model, corpus.channels)
    motion = torch.from_numpy(corpus.clip_motion(0)[:3])[None]
    expected = model(expression=motion[0, :, :5], jaw_pose=motion[0, :, 5:]).vertices
    rest = model(expression=torch.zeros(1, 5)).vertices
    torch.testing.assert_close(surface(motion)[0], (expected - rest).flatten(1))
    measures = face_measures(corpus, range(6), model)
    assert measures.surface is not None
    assert 1e-8 < measures.variance < 1e-2  # m²
