"""Emotion as a condition, and its reading from motion."""

from __future__ import annotations

import torch

from core.learning.losses import emotion_loss, mean_emotion
from core.model.config import EmotionConfig
from core.model.emotion import EmotionEncoder, complete_intensities, emotion_known

NAN = float("nan")


def test_neutral_is_what_the_others_leave() -> None:
    happy = torch.zeros(8)
    happy[1] = 0.25
    rows = complete_intensities(torch.stack([torch.zeros(8), happy, torch.full((8,), NAN)]))
    assert rows[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0]
    assert rows[1].tolist() == [0.75, 0.25, 0, 0, 0, 0, 0, 0]
    assert rows[2].abs().sum() == 0  # not known is not neutral
    one_hot = torch.eye(8)
    torch.testing.assert_close(complete_intensities(one_hot), one_hot)


def test_encoder_ignores_padding_and_sees_a_second_around() -> None:
    torch.manual_seed(0)
    encoder = EmotionEncoder(EmotionConfig(encoder=16), 5)
    motion = torch.randn(1, 80, 5)
    padded = torch.cat([motion, torch.full((1, 9, 5), 7.0)], 1)
    mask = torch.arange(89)[None] < 80
    alone = encoder(motion, mask[:, :80])
    torch.testing.assert_close(encoder(padded, mask)[:, :80], alone, atol=1e-5, rtol=1e-4)
    motion.requires_grad_()
    encoder(motion, mask[:, :80])[0, 40].square().sum().backward()
    assert motion.grad is not None
    touched = motion.grad[0].abs().sum(-1).nonzero().flatten()
    assert touched.min() == 10 and touched.max() == 70  # 30 frames at 25 fps


def test_unknown_emotions_do_not_count() -> None:
    scores = torch.randn(2, 3, 8)
    emotion = torch.eye(8)[torch.tensor([[1, 2, 0], [4, 4, 4]])]
    emotion[1] = NAN
    emotion[0, 2] = NAN
    expected = -(scores[0, 0].log_softmax(-1)[1] + scores[0, 1].log_softmax(-1)[2]) / 2
    torch.testing.assert_close(emotion_loss(scores, emotion), expected)
    mean = mean_emotion(emotion)
    assert mean[0, 1] == 0.5 and not emotion_known(mean)[1]
    assert emotion_loss(scores[:, 0], torch.full((2, 8), NAN)) == 0.0
