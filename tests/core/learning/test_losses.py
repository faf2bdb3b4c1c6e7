"""Losses against plain references, and content codes that padding does not touch."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from core.errors import IdiolectError
from core.learning import losses
from core.learning.adversaries import StyleDiscriminator, SyncDiscriminator, shifted_in_time
from core.learning.model_side import resampled
from core.model.config import ContentConfig
from core.model.content import ContentEncoder
from core.model.motion_encoder import InstanceNorm


def plain_contrastive(a: torch.Tensor, b: torch.Tensor, count: int, temperature: float) -> float:
    """Mimic's equations 4 to 6 for one clip, pair by pair."""
    total = 0.0
    for i in range(count):

        def likeness(x: torch.Tensor, y: torch.Tensor) -> float:
            return math.exp(float(x @ y / (x.norm() * y.norm())) / temperature)

        own = likeness(a[i], b[i])
        forward = -math.log(own / sum(likeness(a[i], b[j]) for j in range(count)))
        backward = -math.log(own / sum(likeness(a[j], b[i]) for j in range(count)))
        total += 0.5 * forward + 0.5 * backward
    return total


def test_contrastive_loss_equals_a_plain_reference() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, 9, 5), torch.randn(2, 9, 5)
    counts = (9, 6)
    mask = torch.arange(9)[None] < torch.tensor(counts)[:, None]
    expected = sum(plain_contrastive(first[b], second[b], counts[b], 0.3) for b in range(2)) / sum(
        counts
    )
    found = losses.contrastive_loss(first, second, mask, torch.tensor(0.3))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    one_way = losses.contrastive_loss(first, second, mask, torch.tensor(0.3), share=1.0)
    other = losses.contrastive_loss(second, first, mask, torch.tensor(0.3), share=0.0)
    torch.testing.assert_close(one_way, other)


def test_contrastive_loss_pulls_together_what_belongs_together() -> None:
    codes = torch.eye(8)[None]
    mask = torch.ones(1, 8, dtype=torch.bool)
    cold = torch.tensor(0.07)
    assert losses.contrastive_loss(codes, codes, mask, cold) < 0.01
    assert losses.contrastive_loss(codes, codes.roll(1, 1), mask, cold) > 10.0


def test_style_cycle_moves_the_found_code_alone() -> None:
    given = torch.randn(3, 4, requires_grad=True)
    found = torch.randn(3, 4, requires_grad=True)
    losses.style_cycle_loss(given, found).backward()
    assert given.grad is None and found.grad is not None
    assert float(losses.style_cycle_loss(given, 3.0 * given).detach()) == pytest.approx(
        0.0, abs=1e-6
    )


def test_squared_error_is_in_units_of_the_variance() -> None:
    true, mask = torch.zeros(1, 4, 3), torch.tensor([[True, True, True, False]])
    predicted = torch.full((1, 4, 3), 2e-3)
    predicted[0, 3] = 9.0
    assert float(losses.squared_loss(predicted, true, mask, 1.0)) == pytest.approx(4e-6)
    assert float(losses.squared_loss(predicted, true, mask, 4e-6)) == pytest.approx(1.0)


def test_durations_and_phones_count_what_is_known() -> None:
    durations = torch.tensor([[3, 1, 0]])
    exact = torch.tensor([[math.log(4.0), math.log(2.0), 9.0]])
    assert float(losses.duration_loss(exact, durations)) == pytest.approx(0.0, abs=1e-9)
    scores = torch.zeros(1, 3, 40)
    scores[0, 0, 5] = 50.0
    phones = torch.tensor([[5, -1, -1]])
    assert float(losses.phone_loss(scores, phones)) == pytest.approx(0.0, abs=1e-6)


def test_strangers_have_no_identity_to_read() -> None:
    scores = torch.tensor([[9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    sure = losses.identity_loss(scores, torch.tensor([0, 1, -1]))
    assert float(sure) < 1e-3


def test_schedules_of_hidden_identities() -> None:
    assert losses.inverse_identity_weight("mimic", 0.0) == (1.0, 1.0)
    assert losses.inverse_identity_weight("mimic", 0.2) == (1.0, 0.1)
    assert losses.inverse_identity_weight("mimic", 0.5) == (1.0, 0.5)
    scale, factor = losses.inverse_identity_weight("ramp", 1.0)
    assert scale == pytest.approx(1.0, abs=1e-3) and factor == 1.0
    with pytest.raises(IdiolectError, match="unknown schedule"):
        losses.inverse_identity_weight("rmap", 0.0)


def test_least_squares_game() -> None:
    real, fake = torch.full((4,), 1.0), torch.zeros(4)
    assert losses.critic_loss(real, [fake, fake]) == 0.0
    assert losses.adversarial_loss(fake) == 1.0 and losses.adversarial_loss(real) == 0.0
    assert losses.critic_loss(real, [real, fake]) == 0.5


def test_discriminators_ignore_padding() -> None:
    torch.manual_seed(0)
    motion, speech = torch.randn(1, 12, 5), torch.randn(1, 12, 6)
    padded, padded_speech = (
        torch.cat([x, torch.full((1, 5, x.shape[-1]), 9.0)], 1) for x in (motion, speech)
    )
    mask = torch.arange(17)[None] < 12
    style = StyleDiscriminator(5, 3, width=16).eval()
    sync = SyncDiscriminator(5, 6, width=16).eval()
    who = torch.tensor([2])
    with torch.no_grad():
        torch.testing.assert_close(
            style(padded, mask, who), style(motion, mask[:, :12], who), atol=1e-5, rtol=1e-4
        )
        torch.testing.assert_close(
            sync(padded, padded_speech, mask), sync(motion, speech, mask[:, :12]),
            atol=1e-5, rtol=1e-4,
        )  # fmt: skip
        assert (
            style(motion, mask[:, :12], who) - style(motion, mask[:, :12], who - 1)
        ).abs() > 1e-6


def test_motion_out_of_time_is_the_same_motion_later() -> None:
    torch.manual_seed(0)
    lengths = torch.tensor([40, 12])
    motion = torch.arange(40.0)[None, :, None].expand(2, 40, 1)
    turned = shifted_in_time(motion, lengths, 10)
    assert sorted(turned[0, :, 0].tolist()) == list(range(40))
    shift = int(turned[0, 0, 0])
    assert 10 <= shift <= 30
    assert turned[1, :12, 0].tolist() == [*range(6, 12), *range(6)]
    assert turned[1, 12:, 0].tolist() == list(range(12, 40))


def test_motion_at_another_rate_keeps_its_times() -> None:
    times = torch.arange(51)[None, :, None] / 50.0
    slow, lengths = resampled(times, torch.tensor([51]), 50.0, 30.0)
    torch.testing.assert_close(slow[0, :, 0], torch.arange(31) / 30.0)
    assert lengths.tolist() == [31]
    same, _ = resampled(times, torch.tensor([51]), 25.0, 25.0)
    assert same is times


def test_instance_norm_takes_away_level_and_size() -> None:
    x = torch.randn(2, 30, 4)
    mask = torch.arange(30)[None] < torch.tensor([[30], [18]])
    norm = InstanceNorm()
    plain = torch.nn.functional.instance_norm(x[1:, :18].mT).mT
    torch.testing.assert_close(norm(x, mask)[1:, :18], plain, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm(3.0 * x + 5.0, mask), norm(x, mask), atol=1e-4, rtol=1e-3)


def test_content_codes_ignore_padding_and_have_one_size() -> None:
    torch.manual_seed(0)
    encoder = ContentEncoder(ContentConfig(code=8, width=16, layers=1, hidden=16), 5).eval()
    motion = torch.randn(1, 20, 5)
    padded = torch.cat([motion, torch.full((1, 7, 5), 4.0)], 1)
    mask = torch.arange(27)[None] < 20
    with torch.no_grad():
        alone = encoder(motion, mask[:, :20])
        torch.testing.assert_close(encoder(padded, mask)[:, :20], alone, atol=1e-5, rtol=1e-4)
    assert alone.shape == (1, 20, 8)
    torch.testing.assert_close(alone.square().mean(-1), torch.ones(1, 20), atol=1e-3, rtol=1e-3)


def test_content_codes_over_time_have_neither_level_nor_size() -> None:
    torch.manual_seed(0)
    config = ContentConfig(code=8, width=16, layers=1, hidden=16, over_time=True)
    encoder = ContentEncoder(config, 5).eval()
    plain = ContentEncoder(replace(config, over_time=False), 5).eval()
    plain.load_state_dict(encoder.state_dict())  # there is nothing to learn in it
    motion = 2.0 + 3.0 * torch.randn(2, 40, 5).cumsum(1)
    lengths = torch.tensor([40, 23])
    mask = torch.arange(40)[None] < lengths[:, None]
    with torch.no_grad():
        codes, before = encoder(motion, mask), plain(motion, mask)
        spoilt = encoder(motion.masked_fill(~mask[..., None], 1e3), mask)
        alone = encoder(motion[1:, :23], mask[1:, :23])
    torch.testing.assert_close(codes[1:, :23], alone, atol=1e-4, rtol=1e-4)
    for clip, length in enumerate(lengths):
        real = codes[clip, :length]
        torch.testing.assert_close(spoilt[clip, :length], real, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(real.mean(0), torch.zeros(8), atol=1e-5, rtol=0)
        torch.testing.assert_close(real.std(0, correction=0), torch.ones(8), atol=1e-4, rtol=0)
        earlier = before[clip, :length]
        assert earlier.mean(0).abs().max() > 0.05  # the convolutions' norms let levels come back
        levelled = (earlier - earlier.mean(0)) / earlier.std(0, correction=0)
        torch.testing.assert_close(real, levelled, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_content_codes_of_short_and_still_clips_are_finite(frames: int) -> None:
    config = ContentConfig(code=8, width=16, layers=1, hidden=16, over_time=True)
    encoder = ContentEncoder(config, 5)
    mask = torch.tensor([[True] * frames, [True] + [False] * (frames - 1)])
    motion = torch.randn(2, frames, 5, requires_grad=True)
    codes = encoder(motion, mask)
    codes.square().sum().backward()
    assert codes[mask].isfinite().all() and codes[1, 0].abs().max() < 1e-3
    assert motion.grad is not None and motion.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    still = ContentEncoder(config, 5).eval()(torch.full((1, 50, 5), 0.3), torch.ones(1, 50) > 0)
    assert still.isfinite().all() and still.abs().max() <= 10.0
