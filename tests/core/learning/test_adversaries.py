"""Those who play against the model."""

from __future__ import annotations

import pytest
import torch

from core.learning.adversaries import (
    InverseClassifier,
    InverseClipClassifier,
    reversal_ramp,
    reverse_gradient,
)


def test_reversal_is_the_identity_whose_gradient_is_turned_and_scaled() -> None:
    x = torch.randn(4, 3, requires_grad=True)
    out = reverse_gradient(x, 0.25)
    torch.testing.assert_close(out, x)
    weight = torch.randn(4, 3)
    (out * weight).sum().backward()
    torch.testing.assert_close(x.grad, -0.25 * weight)


def test_reversal_grows_from_a_tenth_to_one() -> None:
    ramp = [reversal_ramp(done / 10) for done in range(11)]
    assert ramp == sorted(ramp)
    assert ramp[0] == pytest.approx(0.1) and ramp[-1] == pytest.approx(1.0, abs=1e-3)


def test_inverse_classifier_learns_what_codes_unlearn() -> None:
    torch.manual_seed(0)
    reader = InverseClassifier(6, 3)
    codes = torch.randn(8, 6, requires_grad=True)
    wanted = torch.randint(0, 3, (8,))
    loss = torch.nn.functional.cross_entropy(reader(codes), wanted)
    loss.backward()
    with torch.no_grad():
        assert codes.grad is not None and reader.read.weight.grad is not None
        better_read = reader.read.weight - 0.1 * reader.read.weight.grad
        scores = codes @ better_read.T + reader.read.bias
        assert torch.nn.functional.cross_entropy(scores, wanted) < loss
        hidden = reader(codes - 0.1 * codes.grad)
        assert torch.nn.functional.cross_entropy(hidden, wanted) > loss


def test_clip_classifier_reads_what_goes_together_where_means_are_0() -> None:
    torch.manual_seed(0)
    clips = torch.randn(32, 40, 1)
    turn = 1.0 - 2.0 * (torch.arange(32) % 2)  # two numbers that go together, or against each other
    codes = torch.cat([clips, clips * turn[:, None, None]], -1)
    codes = codes - codes.mean(1, keepdim=True)
    mask, wanted = torch.ones(32, 40, dtype=torch.bool), (turn < 0).long()
    losses = []
    for hidden in (0, 8):
        reader = InverseClipClassifier(2, 2, hidden)
        optimizer = torch.optim.Adam(reader.parameters(), 0.05)
        for _ in range(80):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(reader(codes, mask), wanted)
            loss.backward()
            optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.68 and losses[1] < 0.2  # guessing: ln 2
    given = codes.clone().requires_grad_()
    torch.nn.functional.cross_entropy(reader(given, mask, 0.5), wanted).backward()
    assert given.grad is not None
    with torch.no_grad():
        moved = codes - 0.3 * given.grad / given.grad.abs().max()
        now, then = (
            torch.nn.functional.cross_entropy(reader(x, mask), wanted) for x in (codes, moved)
        )
        assert then > 1.05 * now
        padded, ends = torch.cat([codes, codes + 9.0], 1), torch.cat([mask, ~mask], 1)
        torch.testing.assert_close(reader(padded, ends), reader(codes, mask))
