"""The networks against slow and plain references."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from core.errors import IdiolectError
from core.model.backbones import BackboneConfig, build_backbone, track_sizes
from core.model.config import BlockConfig, ModelConfig, MotionConfig, SpeechConfig, StyleConfig
from core.model.layers import (
    AdaptiveStack,
    Alignment,
    RelativeAttention,
    StyleAdaptiveNorm,
    length_mask,
    sinusoidal_positions,
)
from core.model.model import IdiolectModel
from core.model.speech_encoder import SpeechTracks

BLOCK = BlockConfig(blocks=2, width=16, hidden=24, reach=6, dropout=0.0)
SIZES = {"hidden": 12, "posteriors": 40, "prosody": 4}


def small_model(fps: float = 50.0, block: BlockConfig = BLOCK) -> IdiolectModel:
    torch.manual_seed(3)
    config = ModelConfig(
        motion=MotionConfig(fps=fps),
        speech=SpeechConfig(encoder=block),
        style=StyleConfig(code=8, width=16, convolutions=2, layers=1, hidden=16, statistics=True),
        decoder=block,
    )
    model = IdiolectModel(config, SIZES).eval()
    with torch.no_grad():  # adaptive norms begin deaf to the style: give them something to hear
        for name, parameter in model.named_parameters():
            if "affine.weight" in name or name.startswith("null"):
                parameter.normal_(0.0, 0.3)
    return model


def tracks(batch: int, frames: int, seed: int = 0) -> SpeechTracks:
    chance = torch.Generator().manual_seed(seed)
    hidden, phones, voice = (
        torch.randn(batch, frames, SIZES[name], generator=chance) for name in SpeechTracks._fields
    )
    return SpeechTracks(hidden, phones.softmax(-1), voice)


def cut(whole: SpeechTracks, rows: slice, frames: slice) -> SpeechTracks:
    return SpeechTracks(*(track[rows, frames] for track in whole))


def test_adaptive_norm_starts_as_layer_norm() -> None:
    norm = StyleAdaptiveNorm(16, 8)
    x, condition = torch.randn(2, 5, 16), torch.randn(2, 1, 8)
    torch.testing.assert_close(norm(x, condition), F.layer_norm(x, (16,)))


def test_adaptive_norm_applies_gain_and_bias_of_each_frame() -> None:
    norm = StyleAdaptiveNorm(4, 3)
    torch.nn.init.normal_(norm.affine.weight)
    x, condition = torch.randn(1, 2, 4), torch.randn(1, 2, 3)
    for frame in range(2):
        gain, bias = (norm.affine.weight @ condition[0, frame] / 3**0.5 + norm.affine.bias).chunk(2)
        plain = (x[0, frame] - x[0, frame].mean()) / (x[0, frame].var(correction=0) + 1e-5).sqrt()
        torch.testing.assert_close(norm(x, condition)[0, frame], gain * plain + bias)


def naive_attention(layer: RelativeAttention, x: Tensor, mask: Tensor) -> Tensor:
    """Shaw et al. (2018), equations 3 to 5, one pair of frames at a time."""
    frames, width = x.shape
    size = width // layer.heads
    query, key, value = layer.project(x).chunk(3, dim=-1)
    out = torch.zeros(frames, width)
    for head in range(layer.heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(frames):
            scores, values = [], []
            for j in range(frames):
                if not mask[j] or (layer.reach and abs(j - i) > layer.reach):
                    continue
                row = max(-layer.clip, min(layer.clip, j - i)) + layer.clip
                scores.append(query[i, part] @ (key[j, part] + layer.relative_keys[row]))
                values.append(value[j, part] + layer.relative_values[row])
            weights = (torch.stack(scores) / math.sqrt(size)).softmax(0)
            out[i, part] = weights @ torch.stack(values)
    return layer.out(out)


@pytest.mark.parametrize("frames", [3, 16, 29])
@pytest.mark.parametrize("reach", [0, 4])
def test_relative_attention_equals_a_naive_loop(reach: int, frames: int) -> None:
    torch.manual_seed(0)
    layer = RelativeAttention(8, 2, reach=reach, max_relative=3)
    x = torch.randn(1, frames, 8)
    mask = torch.arange(frames)[None] < frames - 2
    expected = naive_attention(layer, x[0], mask[0])
    torch.testing.assert_close(layer(x, mask)[0, : frames - 2], expected[: frames - 2])


def test_attention_reaches_no_further_than_told() -> None:
    stack = AdaptiveStack(BLOCK, 4)
    x = torch.randn(1, 60, 16, requires_grad=True)
    mask = torch.ones(1, 60, dtype=torch.bool)
    # Not the plain sum: a normalised frame's sum is constant.
    (stack(x, torch.randn(1, 1, 4), mask)[0, 30] @ torch.randn(16)).backward()
    assert x.grad is not None and stack.reach is not None
    touched = x.grad[0].abs().sum(-1).nonzero().flatten()
    assert touched.min() >= 30 - stack.reach and touched.max() <= 30 + stack.reach
    assert touched.max() > 30 + BLOCK.reach  # and blocks do add up


@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0, 50.0, 60.0])
def test_alignment_gives_the_wanted_frames_and_keeps_time(fps: float) -> None:
    align = Alignment(1, fps)
    torch.nn.init.zeros_(align.convolution.weight)
    torch.nn.init.zeros_(align.convolution.bias)
    with torch.no_grad():
        align.convolution.weight[0, 0, align.padding] = 1.0  # only the centre is heard
    ramp = torch.arange(200, dtype=torch.float32)[None, :, None]  # feature n says n
    out = align(ramp, round(3 * fps) + 1)[0, :, 0]
    assert len(out) == round(3 * fps) + 1
    expected = torch.arange(len(out)) * 50.0 / fps
    assert (out - expected).abs().max() < 1.0  # repeated features are at most one step old


def test_alignment_refuses_a_rate_it_cannot_keep() -> None:
    with pytest.raises(IdiolectError, match=r"29\.97"):
        Alignment(4, 29.97)


def test_positions_follow_time_not_the_batch() -> None:
    table = sinusoidal_positions(20, 6, torch.zeros(1))
    assert table.shape == (20, 6)
    assert not torch.allclose(table[0], table[7])
    torch.testing.assert_close(table[3, 0], torch.tensor(math.sin(3.0)))


def test_style_code_ignores_padding_and_hears_order() -> None:
    model = small_model()
    motion = torch.rand(1, 30, 52)
    padded = torch.cat([motion, torch.full((1, 12, 52), 9.0)], dim=1)
    alone = model.encode_style(motion, torch.ones(1, 30, dtype=torch.bool))
    mask = length_mask(torch.tensor([30]), 42)
    torch.testing.assert_close(model.encode_style(padded, mask), alone, atol=1e-5, rtol=1e-4)
    turned = model.encode_style(motion.flip(1), torch.ones(1, 30, dtype=torch.bool))
    assert (turned - alone).abs().max() > 1e-4


def test_style_of_a_face_at_rest_has_gradients() -> None:
    model = small_model()
    still = torch.zeros(1, 20, 52, requires_grad=True)
    model.encode_style(still, torch.ones(1, 20, dtype=torch.bool)).square().sum().backward()
    assert still.grad is not None and still.grad.isfinite().all()


@pytest.mark.parametrize("fps", [25.0, 30.0, 50.0])
def test_padded_batch_equals_one_by_one(fps: float) -> None:
    model = small_model(fps)
    heard = tracks(3, 60)
    speech = torch.tensor([60, 41, 25])
    motion = (speech / 50 * fps).round().long() + 1
    style = torch.randn(3, 1, 8)
    with torch.no_grad():
        batch = model(heard, speech, int(motion.max()), style=style, motion_lengths=motion)
        for i in range(3):
            single = cut(heard, slice(i, i + 1), slice(0, int(speech[i])))
            frames = int(motion[i])
            alone = model(single, speech[i : i + 1], frames, style=style[i : i + 1])
            torch.testing.assert_close(batch[i, :frames], alone[0], atol=1e-5, rtol=1e-4)


def test_window_with_margin_equals_the_whole() -> None:
    model = small_model()
    heard = tracks(1, 300)
    assert model.reach is not None
    with torch.no_grad():
        whole = model(heard, torch.tensor([300]), 300)
        first, last = 120, 180
        start, end = first - model.reach, last + model.reach
        window = cut(heard, slice(0, 1), slice(start, end + model.speech_encoder.align.reach))
        count = torch.tensor([window.prosody.shape[1]])
        part = model(window, count, end - start)
    wanted, got = whole[0, first:last], part[0, model.reach : model.reach + last - first]
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


def test_frame_conditions_act_where_they_are_given() -> None:
    model = small_model()
    heard = tracks(1, 200)
    calm, lively = torch.randn(8), torch.randn(8)
    style = torch.cat([calm.expand(1, 100, 8), lively.expand(1, 100, 8)], dim=1)
    with torch.no_grad():
        mixed = model(heard, torch.tensor([200]), 200, style=style)
        first = model(heard, torch.tensor([200]), 200, style=calm.expand(1, 1, 8))
        second = model(heard, torch.tensor([200]), 200, style=lively.expand(1, 1, 8))
    torch.testing.assert_close(mixed[0, :40], first[0, :40], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mixed[0, -40:], second[0, -40:], atol=1e-5, rtol=1e-4)
    assert (first - second).abs().max() > 1e-2


def test_emotion_is_heard_and_its_null_is_not_neutral() -> None:
    model = small_model()
    heard, length = tracks(1, 40), torch.tensor([40])
    angry = torch.zeros(1, 40, 8)
    angry[..., 2] = 1.0
    with torch.no_grad():
        neutral = model(heard, length, 40, emotion=torch.zeros(1, 1, 8))
        assert (model(heard, length, 40, emotion=angry) - neutral).abs().max() > 1e-3
        assert (model(heard, length, 40) - neutral).abs().max() > 1e-3


def test_null_tokens_stand_in_during_training() -> None:
    model = small_model()
    model.train()
    style = torch.randn(4000, 1, 8)
    given = model.condition(4000, style, None)[..., :8]
    dropped = (given == model.null_style).all(-1).float().mean().item()
    assert abs(dropped - model.config.style.null_chance) < 0.02


def test_a_condition_that_was_never_learnt_is_never_given() -> None:
    model = small_model()
    model.config = replace(model.config, style=replace(model.config.style, null_chance=1.0))
    given = model.condition(3, torch.randn(3, 1, 8), None, drop=False)[..., :8]
    torch.testing.assert_close(given, model.null_style.expand(3, 1, 8))


def test_a_backbone_without_phones_must_be_configured() -> None:
    backbone = build_backbone(BackboneConfig())
    backbone.phone_logits_available = False
    with pytest.raises(IdiolectError, match="no phones"):
        track_sizes(backbone, SpeechConfig())
    assert track_sizes(backbone, SpeechConfig(posteriors=False))["hidden"] == 288


def test_bundled_sizes_stay_within_budget() -> None:
    backbone = build_backbone(BackboneConfig())
    model = IdiolectModel(ModelConfig(), track_sizes(backbone, SpeechConfig()))
    total = sum(p.numel() for part in (model, backbone) for p in part.parameters())
    assert total <= 12_000_000
