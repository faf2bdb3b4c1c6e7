"""Mimic's decoder: causal, aligned, and the same with keys and values kept as without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from core.errors import IdiolectError
from core.model.autoregressive import AutoregressiveDecoder
from core.model.config import AutoregressiveConfig, ModelConfig, MotionConfig, SpeechConfig
from core.model.decoder import Past
from core.model.layers import StyleAdaptiveNorm
from core.model.model import IdiolectModel
from core.model.speech_encoder import SpeechTracks
from tests.core.model.test_model import BLOCK, SIZES, tracks

SIZES_OF = {"channels": 5, "speech_width": 16, "condition": 4}


def small_decoder(**settings: object) -> tuple[AutoregressiveDecoder, nn.Linear]:
    """A decoder that hears its style, and how its features are read out."""
    torch.manual_seed(0)
    config = AutoregressiveConfig(width=16, hidden=24, period=7, dropout=0.0, **settings)
    decoder = AutoregressiveDecoder(config, **SIZES_OF).eval()
    for module in decoder.modules():
        if isinstance(module, StyleAdaptiveNorm):
            nn.init.normal_(module.affine.weight, 0.0, 0.3)
    return decoder, nn.Linear(16, 5)


def given(frames: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Speech, condition, start."""
    torch.manual_seed(1)
    return torch.randn(batch, frames, 16), torch.randn(batch, 1, 4), torch.randn(batch, 5)


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
def test_rolling_out_with_kept_keys_equals_decoding_all_again_for_each_frame(layers: int) -> None:
    decoder, head = small_decoder(layers=layers)
    speech, condition, start = given(20)
    rolled = decoder.roll_out(speech, condition, start, head)
    frames: list[Tensor] = []
    for i in range(20):  # nothing kept: the whole past again
        inputs = torch.stack([start, *frames], dim=1)
        frames.append(decoder.teach(inputs, speech[:, : i + 1], condition, head)[:, -1])
    torch.testing.assert_close(rolled, torch.stack(frames, dim=1), atol=1e-5, rtol=1e-4)
    # And teaching with what was rolled out gives it back, all at once.
    mask = torch.ones(2, 20, dtype=torch.bool)
    taught = decoder(speech, condition, mask, head, Past(start, rolled))
    torch.testing.assert_close(taught, rolled, atol=1e-5, rtol=1e-4)


def test_a_frame_hears_its_own_speech_and_the_past_alone() -> None:
    decoder, head = small_decoder()
    speech, condition, start = given(12, batch=1)
    true = torch.randn(1, 12, 5, requires_grad=True)
    speech.requires_grad_()
    mask = torch.ones(1, 12, dtype=torch.bool)
    decoded = decoder(speech, condition, mask, head, Past(start, true))
    (decoded[0, 6] @ torch.randn(5)).backward()
    assert true.grad is not None and speech.grad is not None
    assert true.grad[0].abs().sum(-1).nonzero().flatten().tolist() == list(range(6))
    # With one layer the past is motion alone: of speech, only this frame's is heard.
    assert speech.grad[0].abs().sum(-1).nonzero().flatten().tolist() == [6]


@torch.no_grad()
def test_aligned_cross_attention_is_attention_with_a_diagonal_mask() -> None:
    decoder, _ = small_decoder()
    hear = decoder.layers[0].get_submodule("hear")
    whole = nn.MultiheadAttention(16, 4, batch_first=True)
    whole.in_proj_weight[32:] = hear[0].weight
    whole.in_proj_bias[32:] = hear[0].bias
    whole.out_proj.weight.copy_(hear[1].weight)
    whole.out_proj.bias.copy_(hear[1].bias)
    speech = torch.randn(2, 9, 16)
    apart = ~torch.eye(9, dtype=torch.bool)
    attended, _ = whole(torch.randn(2, 9, 16), speech, speech, attn_mask=apart)
    torch.testing.assert_close(hear(speech), attended, atol=1e-5, rtol=1e-4)


def test_attention_bias_steps_down_each_period_and_never_looks_ahead() -> None:
    decoder, _ = small_decoder()
    bias = decoder._bias(0, 16, torch.device("cpu"))
    for head in range(4):
        for i in range(16):
            for j in range(16):
                expected = -(2.0 ** (-2 * (head + 1))) * ((i - j) // 7) if j <= i else -torch.inf
                assert bias[head, i, j] == pytest.approx(expected)


def test_own_past_takes_the_place_of_the_true_one() -> None:
    decoder, head = small_decoder()
    speech, condition, start = given(15)
    mask = torch.ones(2, 15, dtype=torch.bool)
    true = torch.randn(2, 15, 5)
    with torch.no_grad():
        taught, own = (
            decoder(speech, condition, mask, head, Past(start, true, share)) for share in (0.0, 1.0)
        )
    torch.testing.assert_close(own[:, 0], taught[:, 0])  # before the first nothing is the model's
    assert (own - taught).abs().max() > 1e-3
    freely, _ = small_decoder(teacher_forcing=False)
    with torch.no_grad():
        rolled = freely(speech, condition, mask, head, Past(start, true))
        torch.testing.assert_close(rolled, freely.roll_out(speech, condition, start, head))
    with pytest.raises(IdiolectError, match="frame before"):
        decoder(speech, condition, mask, head)


def whole_model(**motion: object) -> IdiolectModel:
    torch.manual_seed(3)
    config = ModelConfig(
        motion=MotionConfig(fps=25.0, **motion),
        speech=SpeechConfig(encoder=BLOCK, align_wide=True),
        decoder_kind="autoregressive",
        autoregressive=AutoregressiveConfig(width=16, hidden=24),
    )
    return IdiolectModel(config, SIZES).eval()


def test_an_untrained_model_shows_one_face_and_units_are_the_motions_own() -> None:
    model = whole_model(normalise=True)
    model.set_motion_statistics(torch.full((52,), 0.25), torch.full((52,), 2.0))
    with torch.no_grad():
        motion = model(tracks(1, 30), torch.tensor([30]), 15)
    torch.testing.assert_close(motion, torch.full((1, 15, 52), 0.25))
    torch.testing.assert_close(model.normalised(motion), torch.zeros(1, 15, 52))


def test_padded_batch_equals_one_by_one() -> None:
    model = whole_model()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.normal_(0.0, 0.3)
        heard = tracks(2, 60)
        speech, motion = torch.tensor([60, 34]), torch.tensor([30, 17])
        style = torch.randn(2, 1, 128)
        batch = model(heard, speech, 30, style=style, motion_lengths=motion)
        short = SpeechTracks(*(track[1:, :34] for track in heard))
        alone = model(short, speech[1:], 17, style=style[1:])
    torch.testing.assert_close(batch[1:, :17], alone, atol=1e-5, rtol=1e-4)


def test_a_span_is_decoded_with_all_speech_as_context() -> None:
    model = whole_model()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.normal_(0.0, 0.3)
        heard, length = tracks(1, 80), torch.tensor([80])
        whole = model(heard, length, 40)
        start = whole[:, 9]
        part = model(heard, length, 40, past=Past(start), span=slice(10, 40))
        assert part.shape == (1, 30, 52)
        # The first frame only differs in what of the past it is told: all, or the last frame.
        rolled = model(heard, length, 40, past=Past(torch.zeros(1, 52)), span=slice(0, 10))
    torch.testing.assert_close(rolled, whole[:, :10], atol=1e-5, rtol=1e-4)
