"""Phones in time: nothing is lost between frames and phones."""

from __future__ import annotations

import pytest
import torch

from core.model.config import DurationConfig, ModelConfig, SpeechConfig
from core.model.duration import (
    PLACE_REACH,
    PhoneModel,
    expand,
    heard_phones,
    phone_runs,
    place_in_phone,
    pool,
    round_durations,
)
from core.model.model import IdiolectModel
from core.phones import PHONES
from tests.core.model.test_model import BLOCK, SIZES, cut, tracks

LABELS = torch.tensor([[3, 3, 3, 7, 7, 3, 0, 0, 0, 0], [5, 5, 9, 9, 9, 1, 1, 0, 0, 0]])
MASK = torch.arange(10)[None] < torch.tensor([[10], [7]])


def test_runs_hold_every_frame_once() -> None:
    runs = phone_runs(LABELS, MASK)
    assert runs.phones.tolist() == [[3, 7, 3, 0], [5, 9, 1, 0]]
    assert runs.durations.tolist() == [[3, 2, 1, 4], [2, 3, 2, 0]]
    assert runs.phone_of_frame[0].tolist() == [0, 0, 0, 1, 1, 2, 3, 3, 3, 3]


def test_pooling_is_the_mean_of_each_phone() -> None:
    runs = phone_runs(LABELS, MASK)
    features = torch.randn(2, 10, 4)
    pooled = pool(features, runs, MASK)
    torch.testing.assert_close(pooled[0, 1], features[0, 3:5].mean(0))
    torch.testing.assert_close(pooled[1, 2], features[1, 5:7].mean(0))  # padding does not count


def test_expansion_is_the_way_back() -> None:
    runs = phone_runs(LABELS, MASK)
    phones = torch.randn(2, 4, 3)
    frames = expand(phones, runs.durations, 10)
    torch.testing.assert_close(frames[0], phones[0, torch.tensor([0, 0, 0, 1, 1, 2, 3, 3, 3, 3])])
    torch.testing.assert_close(frames[1, :7], phones[1, torch.tensor([0, 0, 1, 1, 1, 2, 2])])
    torch.testing.assert_close(frames[1, 7:], phones[1, 2].expand(3, 3))


@pytest.mark.parametrize("seed", range(5))
def test_the_length_regulator_conserves_frames(seed: int) -> None:
    chance = torch.Generator().manual_seed(seed)
    durations = 6.0 * torch.rand(4, 40, generator=chance)
    durations[1, 25:] = 0.0
    durations[3] = 0.0
    totals = torch.tensor([100, 61, 7, 12])
    whole = round_durations(durations, totals)
    assert whole.sum(1).tolist() == totals.tolist() and whole.min() >= 0
    assert whole[1, 25:].sum() == 0
    # Ends are rounded, not lengths: no end is further off than half a frame.
    ends = durations[0].double().cumsum(0) * (100 / durations[0].double().sum())
    assert (whole[0].cumsum(0) - ends).abs().max() <= 0.5
    assert expand(torch.randn(4, 40, 2), whole, 100).shape == (4, 100, 2)


def test_places_tell_how_far_beginning_and_end_are() -> None:
    runs = phone_runs(LABELS[:1], MASK[:1])
    after, before = place_in_phone(runs)
    assert after[0].tolist() == [0, 1, 2, 0, 1, 0, 0, 1, 2, 3]
    assert before[0].tolist() == [2, 1, 0, 1, 0, 0, 3, 2, 1, 0]
    long = phone_runs(torch.zeros(1, 200, dtype=torch.long), torch.ones(1, 200, dtype=torch.bool))
    assert max(int(place.max()) for place in place_in_phone(long)) == PLACE_REACH


def test_what_the_backbone_hears_is_taken_by_time() -> None:
    posteriors = torch.zeros(1, 100, 40)
    posteriors[0, :50, 4] = posteriors[0, 50:, 8] = 1.0
    posteriors[0, 20] = torch.eye(40)[9]  # a slip of 20 ms
    at_25 = heard_phones(posteriors, torch.tensor([100]), 50, 25.0)
    assert at_25[0].tolist() == [4] * 25 + [8] * 25


def test_the_head_fills_in_what_is_not_known() -> None:
    config = DurationConfig(phone_head=True, predictor=True, expansion=True, width=8, dropout=0.0)
    model = PhoneModel(config, 6, 50.0)
    features = torch.randn(1, 10, 6)
    known = torch.where(torch.arange(10) < 4, 7, -1)[None]
    out, reading = model(features, features, known, None, MASK[:1])
    assert reading.scores is not None and reading.log_durations is not None
    read = reading.scores.argmax(-1)[0, 4:].tolist()
    expected = [7] * 4 + read
    of_frames = reading.runs.phones[0][reading.runs.phone_of_frame[0]].tolist()
    assert of_frames == expected and reading.scores.shape[-1] == len(PHONES)
    # All frames of a phone are given the same after expansion.
    torch.testing.assert_close(out[0, 0], out[0, 3])


def test_places_begin_unheard_and_a_window_tells_what_the_whole_would() -> None:
    torch.manual_seed(0)
    plain = ModelConfig(speech=SpeechConfig(encoder=BLOCK), decoder=BLOCK)
    config = ModelConfig(
        speech=plain.speech, decoder=BLOCK, duration=DurationConfig(positions=True)
    )
    model = IdiolectModel(config, SIZES).eval()
    without = IdiolectModel(plain, SIZES).eval()
    without.load_state_dict(
        {name: v for name, v in model.state_dict().items() if "phone_model" not in name}
    )
    heard = tracks(1, 400)
    with torch.no_grad():
        torch.testing.assert_close(
            model(heard, torch.tensor([400]), 400), without(heard, torch.tensor([400]), 400)
        )
        assert model.phone_model is not None and model.phone_model.places is not None
        model.phone_model.places.weight.normal_(0.0, 0.2)
        whole = model(heard, torch.tensor([400]), 400)
        assert model.reach is not None
        first, last = 180, 220
        start, end = first - model.reach, last + model.reach
        window = cut(heard, slice(0, 1), slice(start, end + model.speech_encoder.align.reach))
        part = model(window, torch.tensor([window.prosody.shape[1]]), end - start)
    got = part[0, model.reach : model.reach + last - first]
    torch.testing.assert_close(got, whole[0, first:last], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("expansion", [False, True])
def test_padded_batch_equals_one_by_one(expansion: bool) -> None:
    torch.manual_seed(1)
    parts = DurationConfig(positions=True, expansion=expansion, phone_head=True, predictor=True)
    config = ModelConfig(speech=SpeechConfig(encoder=BLOCK), decoder=BLOCK, duration=parts)
    model = IdiolectModel(config, SIZES).eval()
    assert model.phone_model is not None and model.phone_model.places is not None
    torch.nn.init.normal_(model.phone_model.places.weight, 0.0, 0.2)
    heard = tracks(3, 60)
    speech, motion = torch.tensor([60, 41, 25]), torch.tensor([61, 42, 26])
    with torch.no_grad():
        batch = model(heard, speech, 61, motion_lengths=motion)
        for i in range(3):
            single = cut(heard, slice(i, i + 1), slice(0, int(speech[i])))
            alone = model(single, speech[i : i + 1], int(motion[i]))
            torch.testing.assert_close(batch[i, : motion[i]], alone[0], atol=1e-5, rtol=1e-4)
