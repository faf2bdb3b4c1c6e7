"""Making clean speech sound like any speech: rooms, microphones, noise, other throats, pauses.

Cheap on purpose, since it shares a processor core with the training: noises and rooms are drawn
once, and what can be done to the power spectrum (microphones, band limits, vocal tracts) is done
there.

Shapes: B clips, S samples, N frames at 50 Hz, K bins of the power spectrum, M mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.audio import ACTIVE_RMS, SAMPLE_RATE_HZ
from core.model.speech import LogMel, mel_filterbank
from core.phones import PHONE_INDEX, SILENCE

_SILENCE = PHONE_INDEX[SILENCE]


@dataclass(frozen=True)
class AugmentConfig:
    """How often and how strongly; chances are per clip."""

    level_db: float = 7.0
    """The level varies by as much to both sides, since a file's level is only known roughly."""
    mute_chance: float = 0.25
    """Stretches cut to silence, so that silence closes the mouth even in mid-word."""
    noise_only_chance: float = 0.04
    """Clips replaced by noise, hum, tones or knocks: what is no speech must not talk."""
    noise_chance: float = 0.75
    """Noise, hum, tones or knocks behind the speech."""
    noise_db: tuple[float, float] = (5.0, 45.0)
    """Signal-to-noise ratio."""
    room_chance: float = 0.4
    """Reverberation."""
    equaliser_db: float = 4.5
    """Standard deviation of a smooth random frequency response."""
    band_limit_chance: float = 0.12
    """Telephone, cheap microphones, strong compression: nothing above 3.2 to 7 kHz."""
    high_pass_chance: float = 0.25
    """Nothing below 60 to 250 Hz."""
    throat: float = 0.18
    """Vocal tracts up to this much shorter or longer (scales the frequencies of the mel bands)."""


class Augmenter:
    """Changes batches of speech and their labels.

    Args:
        rng: source of all chance.
        config: how often and how strongly.
        mel_bands: M.
    """

    NOISE_S = 120
    ROOMS = 48

    def __init__(
        self, rng: np.random.Generator, config: AugmentConfig | None = None, mel_bands: int = 80
    ) -> None:
        self.config = config or AugmentConfig()
        self._rng = rng
        self._noise = np.concatenate([_coloured_noise(rng, 10) for _ in range(self.NOISE_S // 10)])
        self._tones = np.concatenate([_tones(rng, 10) for _ in range(self.NOISE_S // 20)])
        self._knocks = np.concatenate([_knocks(rng, 10) for _ in range(self.NOISE_S // 20)])
        self._rooms = [_room(rng) for _ in range(self.ROOMS)]
        low, high = 1 - self.config.throat, 1 + self.config.throat
        warps = np.linspace(low, high, 25)
        self._filterbanks = torch.stack([mel_filterbank(mel_bands, warp=float(w)) for w in warps])
        self._log_mel = LogMel(mel_bands)

    def __call__(self, samples: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        """Augments a batch.

        Args:
            samples: (B, S) float32, active speech at an RMS of 0.1; changed in place.
            labels: (B, N) phone indices at 50 Hz; changed in place.

        Returns:
            Scaled log-mel (B, 2 N, M) as `LogMel` gives it, and labels (B, N) int64.
        """
        for clip, marks in zip(samples, labels, strict=True):
            self._alter_sound(clip, marks)
        power = self._log_mel.power(torch.from_numpy(samples))  # (B, 2 N, K)
        power *= self._responses(len(samples), power.shape[-1])[:, None]
        choice = self._rng.integers(len(self._filterbanks), size=len(samples))
        log_mel = self._log_mel.scale(torch.bmm(power, self._filterbanks[choice]))
        self._mask(log_mel)
        return log_mel, torch.from_numpy(labels.astype(np.int64))

    def _alter_sound(self, clip: np.ndarray, marks: np.ndarray) -> None:
        config, rng = self.config, self._rng
        if rng.random() < config.noise_only_chance:
            clip[:] = self._background(len(clip)) * ACTIVE_RMS * 10 ** (rng.uniform(-40, 3) / 20)
            marks[:] = _SILENCE
            return
        if rng.random() < config.room_chance:
            clip[:] = _convolve(clip, self._rooms[rng.integers(len(self._rooms))])
        if rng.random() < config.mute_chance:
            self._mute(clip, marks)
        if rng.random() < config.noise_chance:
            ratio_db = rng.uniform(*config.noise_db)
            clip += self._background(len(clip)) * ACTIVE_RMS * 10 ** (-ratio_db / 20)
        clip *= 10 ** (rng.uniform(-config.level_db, config.level_db) / 20)

    def _mute(self, clip: np.ndarray, marks: np.ndarray) -> None:
        """Silences a stretch, and the mouth with it; recordings are cut that way all the time."""
        frames = len(marks)
        length = int(self._rng.integers(8, 60))
        first = int(self._rng.integers(0, max(1, frames - length)))
        last = min(frames, first + length)
        hop = SAMPLE_RATE_HZ // 50
        clip[first * hop : last * hop] *= 10 ** (self._rng.uniform(-80, -50) / 20)
        marks[first:last] = _SILENCE

    def _background(self, count: int) -> np.ndarray:
        kind = self._rng.random()
        bank = self._tones if kind < 0.2 else self._knocks if kind < 0.35 else self._noise
        first = int(self._rng.integers(0, len(bank) - count))
        return bank[first : first + count]

    def _responses(self, count: int, bins: int) -> Tensor:
        """(B, K) factors on the power spectrum: microphones and band limits."""
        config, rng = self.config, self._rng
        knots = rng.normal(0, config.equaliser_db, (count, 9))
        places = np.linspace(0, 8, bins)
        left = np.minimum(places.astype(int), 7)
        gain_db = knots[:, left] * (left + 1 - places) + knots[:, left + 1] * (places - left)
        hertz = np.linspace(0, SAMPLE_RATE_HZ / 2, bins)
        for row in gain_db:
            if rng.random() < config.band_limit_chance:
                row[hertz > rng.uniform(3200, 7000)] -= 60
            if rng.random() < config.high_pass_chance:
                row[hertz < rng.uniform(60, 250)] -= 30
        return torch.from_numpy((10 ** (gain_db / 10)).astype(np.float32))

    def _mask(self, log_mel: Tensor) -> None:
        """Hides bands and moments (SpecAugment, Park et al. 2019), here with the fixed mean."""
        frames, bands = log_mel.shape[1:]
        for clip in log_mel:
            if self._rng.random() < 0.5:
                width = int(self._rng.integers(3, 14))
                first = int(self._rng.integers(0, bands - width))
                clip[:, first : first + width] = 0
            for _ in range(int(self._rng.integers(0, 3))):
                width = int(self._rng.integers(3, 14))
                first = int(self._rng.integers(0, max(1, frames - width)))
                clip[first : first + width] = 0


def change_speed(samples: np.ndarray, count: int) -> np.ndarray:
    """Plays samples (S,) faster or slower so that `count` samples come out; moves the pitch too."""
    places = np.linspace(0, len(samples) - 1, count, dtype=np.float64)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


def _coloured_noise(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    """Noise whose power falls by a random slope with frequency, in slow gusts; RMS 1."""
    count = round(duration_s * SAMPLE_RATE_HZ)
    spectrum = rng.normal(size=count // 2 + 1) + 1j * rng.normal(size=count // 2 + 1)
    spectrum *= np.arange(1, count // 2 + 2) ** -rng.uniform(0, 1.1)
    noise = np.fft.irfft(spectrum, count)
    points = np.interp(np.arange(count), np.linspace(0, count, 40), rng.uniform(0.3, 1.2, 40))
    noise *= points
    return (noise / noise.std()).astype(np.float32)


def _tones(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    """Chords of harmonic notes that begin and fade, with mains hum: music-like; RMS 1."""
    count = round(duration_s * SAMPLE_RATE_HZ)
    time = np.arange(count) / SAMPLE_RATE_HZ
    sound = rng.uniform(0.02, 0.3) * np.sin(2 * np.pi * rng.choice((50.0, 60.0)) * time)
    for _ in range(20):
        pitch_hz = 55 * 2 ** (rng.integers(0, 48) / 12)
        fade_s = rng.uniform(0.1, 0.7)
        first = int(rng.integers(0, count))
        since = time[: min(count - first, round(3 * fade_s * SAMPLE_RATE_HZ))]
        envelope = np.exp(-since / fade_s) * np.minimum(since / 0.02, 1)
        for partial in range(1, 1 + int(min(6, 7000 // pitch_hz))):
            loudness = rng.uniform(0.2, 1) / partial
            note = np.sin(2 * np.pi * pitch_hz * partial * since)
            sound[first : first + len(since)] += loudness * envelope * note
    return (sound / sound.std()).astype(np.float32)


def _knocks(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    """Drums, steps, doors, keyboards: bursts of noise and thumps that die away; RMS 1.

    A burst sounds much like a "t", but nobody says one.
    """
    count = round(duration_s * SAMPLE_RATE_HZ)
    sound = 1e-3 * rng.normal(size=count)
    beat_s = rng.uniform(0.12, 0.6)
    places = np.arange(0.0, duration_s - 0.05, beat_s)
    if rng.random() < 0.5:  # no rhythm
        places = rng.uniform(0, duration_s - 0.05, len(places))
    for place in places[rng.random(len(places)) < 0.7]:
        first, fade_s = int(place * SAMPLE_RATE_HZ), rng.uniform(0.005, 0.12)
        since = np.arange(min(count - first, round(6 * fade_s * SAMPLE_RATE_HZ))) / SAMPLE_RATE_HZ
        burst = np.convolve(rng.normal(size=len(since)), np.ones(rng.integers(1, 12)), "same")
        thump = np.sin(2 * np.pi * rng.uniform(50, 400) * since * np.exp(-2 * since))
        burst = rng.uniform(0, 1) * burst / (burst.std() + 1e-9) + rng.uniform(0, 2) * thump
        sound[first : first + len(since)] += rng.uniform(0.2, 1) * burst * np.exp(-since / fade_s)
    return (sound / sound.std()).astype(np.float32)


def _room(rng: np.random.Generator) -> np.ndarray:
    """Impulse response of a room: the direct sound, then noise that dies away."""
    decay_s = rng.uniform(0.08, 0.5)
    count = round(min(0.4, decay_s) * SAMPLE_RATE_HZ)
    response = rng.normal(size=count) * np.exp(-6.9 * np.arange(count) / SAMPLE_RATE_HZ / decay_s)
    response[: round(0.002 * SAMPLE_RATE_HZ)] = 0
    response *= rng.uniform(0.1, 0.8) / np.linalg.norm(response)
    response[0] = 1
    return response.astype(np.float32)


def _convolve(clip: np.ndarray, response: np.ndarray) -> np.ndarray:
    size = 1 << (len(clip) + len(response) - 1).bit_length()
    spectrum = torch.fft.rfft(torch.from_numpy(clip), size)
    spectrum *= torch.fft.rfft(torch.from_numpy(response), size)
    return torch.fft.irfft(spectrum, size)[: len(clip)].numpy()
