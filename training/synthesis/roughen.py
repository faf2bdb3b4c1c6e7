"""What rooms, microphones and lines do to clean speech, on one clip at a time (numpy)."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from core.audio import SAMPLE_RATE_HZ, speech_gain


def roughen(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a room, a frequency response and noise, each by chance, and bring the level back.

    Args:
        samples: (S,) float32, level-normalised (active speech at an RMS of 0.1).
        rng: Chance.

    Returns:
        (S,) float32, level-normalised again. Nothing is shifted in time.
    """
    out = samples
    if rng.random() < 0.4:
        out = fftconvolve(out, _room(rng))[: len(samples)]
    if rng.random() < 0.7:
        out = _colour(out, rng)
    out = out * speech_gain(out.astype(np.float32))
    level_db = rng.uniform(8.0, 45.0)
    out = out + _noise(len(out), rng) * 0.1 * 10.0 ** (-level_db / 20.0)
    # A file of noise alone is brought to the level of speech as well, as it will be in use.
    return (out * speech_gain(out.astype(np.float32))).astype(np.float32)


def _room(rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a small room: the direct sound, then a decaying tail."""
    seconds = rng.uniform(0.05, 0.4)
    length = int(seconds * SAMPLE_RATE_HZ)
    time = np.arange(length) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(length) * np.exp(-time * 6.9 / seconds)  # -60 dB at the end
    tail[: int(0.002 * SAMPLE_RATE_HZ)] = 0.0
    tail *= rng.uniform(0.1, 0.6) / (np.linalg.norm(tail) + 1e-9)
    tail[0] = 1.0
    return tail


def _colour(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random frequency response of a few decibels; sometimes a band limit."""
    spectrum = np.fft.rfft(samples)
    at = np.linspace(0.0, 1.0, len(spectrum))
    gain_db = np.interp(at, np.linspace(0.0, 1.0, 9), rng.normal(0.0, 4.0, 9))
    if rng.random() < 0.15:  # telephone, low bit rates
        gain_db -= 60.0 * (at > rng.uniform(0.4, 0.9))
    if rng.random() < 0.3:
        gain_db -= 30.0 * (at < rng.uniform(0.008, 0.03))
    return np.fft.irfft(spectrum * 10.0 ** (gain_db / 20.0), n=len(samples))


def _noise(length: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit power with a slope between white and brown."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.arange(1, len(spectrum) + 1)
    noise = np.fft.irfft(spectrum * frequency ** -rng.uniform(0.0, 1.0), n=length)
    return noise / (noise.std() + 1e-9)
