"""Speech backbones: frames where they belong, windows that agree with files; prosody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from core.errors import IdiolectError
from core.model.paired_backbone import PairedBackbone
from core.model.speech import (
    PROSODY_CHANNELS,
    PROSODY_CONTEXT_FRAMES,
    CompactBackbone,
    CompactBackboneConfig,
    LogMel,
    Wav2Vec2Backbone,
    mel_filterbank,
    prosody,
)
from core.phones import (
    BILABIALS,
    PHONE_TO_VISEME,
    PHONES,
    VISEME_INDEX,
    VISEME_NAMES,
    viseme_posteriors,
)

SMALL = CompactBackboneConfig(stem_dim=16, dim=24, kernel=5, dilations=(1, 2))


def noise(seconds: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, round(16000 * seconds), generator=generator)


def backbone(config: CompactBackboneConfig = SMALL) -> CompactBackbone:
    torch.manual_seed(0)
    return CompactBackbone(config).eval()


@torch.inference_mode()
@pytest.mark.parametrize("samples", [0, 1, 319, 320, 639, 641, 16000, 16321])
def test_as_many_frames_as_there_are_320_samples(samples: int) -> None:
    found = backbone()(torch.zeros(2, samples))
    assert found.hidden.shape == (2, samples // 320, 24)
    assert found.phone_logits.shape == (2, samples // 320, len(PHONES))
    assert prosody(torch.zeros(2, samples)).shape == (2, samples // 320, len(PROSODY_CHANNELS))


@torch.inference_mode()
@pytest.mark.parametrize("config", [SMALL, CompactBackboneConfig()])
def test_window_with_context_equals_the_file(config: CompactBackboneConfig) -> None:
    network = backbone(config)
    samples = noise(8)
    whole, voice = network(samples), prosody(samples)
    first, last = 150, 320
    context = network.context_frames
    assert context is not None
    window = samples[:, (first - context) * 320 : (last + context) * 320]
    inside = slice(context, context + last - first)
    found = network(window)
    for name in ("hidden", "phone_logits"):
        difference = (getattr(found, name)[:, inside] - getattr(whole, name)[:, first:last]).abs()
        assert difference.max() < 1e-5, name
    context = PROSODY_CONTEXT_FRAMES
    window = samples[:, (first - context) * 320 : (last + context) * 320]
    found_voice = prosody(window)[:, context : context + last - first]
    torch.testing.assert_close(found_voice, voice[:, first:last], atol=1e-5, rtol=0)


def test_context_is_as_far_as_gradients_reach() -> None:
    network = backbone()
    samples = noise(3).requires_grad_()
    middle = 75
    network(samples).hidden[0, middle].square().sum().backward()
    reached = samples.grad[0].abs().nonzero().flatten()
    context = network.context_frames
    assert reached[0] >= (middle - context) * 320
    assert reached[-1] < (middle + context + 1) * 320
    # And the bound is not a loose one.
    assert reached[0] < (middle - context + 1) * 320
    assert reached[-1] >= (middle + context - 1) * 320


@torch.inference_mode()
def test_frames_are_centred_on_their_time() -> None:
    """A short sound must be seen equally well from both sides of its frame."""
    samples = torch.zeros(1, 16000)
    samples[0, 25 * 320] = 1.0
    energy = LogMel()(samples)[0].sum(dim=1)  # 100 Hz
    assert energy.argmax() == 50
    torch.testing.assert_close(energy[49], energy[51], atol=1e-2, rtol=0)
    # A window of even length has no middle sample: here the sound must not be a single one.
    samples[0, 25 * 320 - 150 : 25 * 320 + 151] = torch.hann_window(301, periodic=False)
    loudness = prosody(samples)[0, :, 0]
    torch.testing.assert_close(loudness[24], loudness[26], atol=1e-2, rtol=0)


@torch.inference_mode()
def test_log_mel_of_a_tone_is_highest_in_its_band() -> None:
    time = torch.arange(16000) / 16000
    bank = mel_filterbank()
    for hertz in (200.0, 1000.0, 3000.0):
        mel = LogMel()(0.1 * torch.sin(2 * torch.pi * hertz * time)[None])[0, 50]
        expected = bank[round(hertz / 8000 * 256)].argmax()
        assert abs(int(mel.argmax()) - int(expected)) <= 1
    silence = LogMel()(torch.zeros(1, 3200))
    assert silence.isfinite().all()
    assert silence.max() == silence.min()


@torch.inference_mode()
def test_prosody_hears_loudness_voice_and_pitch() -> None:
    time = torch.arange(32000) / 16000
    channel = {name: index for index, name in enumerate(PROSODY_CHANNELS)}
    for pitch_hz in (90.0, 160.0, 320.0):
        partials = sum(torch.sin(2 * torch.pi * pitch_hz * k * time) / k for k in range(1, 12))
        voice = 0.1 * partials / partials.std()
        found = prosody(voice[None])[0, 30:70]
        assert found[:, channel["loudness"]].mean() == pytest.approx(0.0, abs=0.03)
        assert found[:, channel["voicing"]].mean() > 0.9
        octaves = np.log2(pitch_hz / 160)
        assert found[:, channel["pitch"]].mean() == pytest.approx(octaves, abs=0.12)
    hiss = prosody(noise(2))[0, 30:70]
    assert hiss[:, channel["voicing"]].mean() < 0.6
    assert prosody(torch.zeros(1, 32000))[0, :, channel["voicing"]].abs().max() < 1e-3
    softer = prosody(0.1 * noise(2))[0, 30:70, 0] - hiss[:, 0]
    torch.testing.assert_close(softer, torch.full_like(softer, -1.0), atol=1e-3, rtol=0)


@torch.inference_mode()
def test_emphasis_is_relative_to_the_second_around() -> None:
    samples = noise(4)
    samples[0, 24000:32000] *= 4
    emphasis = prosody(samples)[0, :, PROSODY_CHANNELS.index("emphasis")]
    assert emphasis[85:90].mean() > 0.15
    assert emphasis[105:112].mean() < -0.05


def test_even_kernel_is_refused() -> None:
    with pytest.raises(IdiolectError, match="odd") as caught:
        CompactBackbone(CompactBackboneConfig(kernel=4))
    assert caught.value.setting == "kernel"


def test_bundled_size() -> None:
    count = sum(value.numel() for value in CompactBackbone().parameters())
    assert 2e6 < count < 5e6


@pytest.fixture(scope="module")
def wav2vec2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model, small, saved as the published ones are."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        vocab_size=32,
    )
    folder = tmp_path_factory.mktemp("wav2vec2")
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    return folder


@torch.inference_mode()
def test_wav2vec2_from_a_folder(wav2vec2_folder: Path) -> None:
    network = Wav2Vec2Backbone(wav2vec2_folder).eval()
    assert network.feature_dim == 32
    assert network.context_frames is None
    for samples in (0, 320, 16000, 16321):
        found = network(torch.zeros(2, samples))
        assert found.hidden.shape == (2, samples // 320, 32)
        assert found.phone_logits is None
    assert not any(p.requires_grad for p in network.network.feature_extractor.parameters())
    again = Wav2Vec2Backbone(str(wav2vec2_folder)).eval()
    samples = noise(1)
    torch.testing.assert_close(network(samples).hidden, again(samples).hidden)
    assert not torch.allclose(network(samples).hidden, network(noise(1, seed=1)).hidden)


def test_wav2vec2_that_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(IdiolectError) as caught:
        Wav2Vec2Backbone(tmp_path)
    assert caught.value.code == "bad_backbone"
    assert str(tmp_path) in caught.value.message


def test_wav2vec2_pickles_are_not_opened(wav2vec2_folder: Path, tmp_path: Path) -> None:
    """A folder whose weights are a pickle is refused, not executed."""
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_bytes((wav2vec2_folder / "config.json").read_bytes())
    marker = tmp_path / "executed"
    torch.save({"weights": _Trap(str(marker))}, tmp_path / "pytorch_model.bin")
    with pytest.raises(IdiolectError):
        Wav2Vec2Backbone(tmp_path)
    assert not marker.exists()


class _Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path(self.path),))


def test_every_phone_has_one_viseme() -> None:
    assert len(PHONES) == len(set(PHONES)) == len(PHONE_TO_VISEME) == 40
    assert set(PHONE_TO_VISEME) == set(range(len(VISEME_NAMES)))
    closed = {phone for phone, viseme in zip(PHONES, PHONE_TO_VISEME, strict=True)
              if viseme == VISEME_INDEX["lips_closed"]}  # fmt: skip
    assert closed == set(BILABIALS) == {"P", "B", "M"}
    posteriors = np.random.default_rng(0).dirichlet(np.ones(40), 7).astype(np.float32)
    merged = viseme_posteriors(posteriors)
    np.testing.assert_allclose(merged.sum(axis=1), 1, atol=1e-5)
    expected = sum(posteriors[:, PHONES.index(phone)] for phone in "PBM")
    np.testing.assert_allclose(merged[:, VISEME_INDEX["lips_closed"]], expected, atol=1e-6)


@torch.inference_mode()
def test_a_pair_keeps_the_features_of_the_first_and_averages_what_both_believe() -> None:
    other = CompactBackboneConfig(stem_dim=8, dim=12, kernel=7, dilations=(1, 4))
    torch.manual_seed(3)
    pair = PairedBackbone(SMALL, other, share=0.75).eval()
    samples = noise(3)
    both, one, two = pair(samples), pair.first(samples), pair.second(samples)
    assert torch.equal(both.hidden, one.hidden)
    torch.testing.assert_close(both.posteriors, 0.25 * one.posteriors + 0.75 * two.posteriors)
    assert (one.phone_logits - two.phone_logits).abs().max() > 0.1  # they do differ
    assert pair.context_frames == max(pair.first.context_frames, pair.second.context_frames)
    assert pair(torch.zeros(1, 100)).phone_logits.shape == (1, 0, len(PHONES))


@torch.inference_mode()
def test_a_pair_hears_a_padded_clip_as_it_is_alone() -> None:
    torch.manual_seed(4)
    pair = PairedBackbone(SMALL, CompactBackboneConfig(stem_dim=8, dim=12, kernel=7)).eval()
    samples = noise(2)
    padded = torch.cat((samples, torch.zeros(1, 16000)), dim=1)
    alone, together = pair(samples), pair(padded, torch.tensor([100]))
    torch.testing.assert_close(together.phone_logits[:, :100], alone.phone_logits)


def test_a_pair_must_hear_the_same_bands() -> None:
    with pytest.raises(IdiolectError, match="80 and 40 bands"):
        PairedBackbone(CompactBackboneConfig(), CompactBackboneConfig(mel_bands=40))
    with pytest.raises(IdiolectError, match="between 0 and 1"):
        PairedBackbone(SMALL, SMALL, share=1.0)
