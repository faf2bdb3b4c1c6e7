"""Those who play against the model."""

from __future__ import annotations

import pytest
import torch

from core.learning.adversaries import InverseClassifier, reversal_ramp, reverse_gradient


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
