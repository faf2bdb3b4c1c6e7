"""Speech backbones: 16 kHz samples in, features at 50 Hz out.

Shapes: B batch, S samples, N feature frames (``S // 320``), M mel bands, D features.

Convention: feature frame n is CENTRED on sample ``320 n``, that is on time ``n / 50`` s, for every
backbone.

Level: nothing here looks at a whole clip to normalise it, so a window of a file gives the same
numbers as the file. The caller scales the samples ONCE per file by `core.audio.speech_gain` (or by
a streaming `core.audio.LevelMeter`), which brings active speech to an RMS of 0.1; mel statistics
are fixed constants. A window that reaches `context_frames` beyond the frames it is wanted for
gives them exactly.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import IdiolectError
from core.phones import PHONES

SAMPLE_RATE_HZ = 16000
FEATURE_RATE_HZ = 50
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FEATURE_RATE_HZ

PROSODY_CHANNELS: tuple[str, ...] = ("loudness", "emphasis", "voicing", "pitch")
PROSODY_CONTEXT_FRAMES = 26


class SpeechFeatures(NamedTuple):
    """What a backbone hears.

    Attributes:
        hidden: (B, N, D) features.
        phone_logits: (B, N, 40) unnormalised scores over `core.phones.PHONES`, or None where the
            backbone has no phone head.
    """

    hidden: Tensor
    phone_logits: Tensor | None

    @property
    def posteriors(self) -> Tensor:
        """(B, N, 40) probabilities of the phones; (B, N, 0) where no phones are known."""
        if self.phone_logits is None:
            return self.hidden.new_zeros(*self.hidden.shape[:2], 0)
        return self.phone_logits.float().softmax(-1)


class SpeechBackbone(nn.Module, ABC):
    """Audio to features at 50 Hz.

    Attributes:
        feature_dim: D, the width of `SpeechFeatures.hidden`.
        phone_logits_available: whether `SpeechFeatures.phone_logits` is given.
        context_frames: how many frames on each side of a frame its features depend on, or None
            where that is not bounded (self-attention): then a window never equals the whole file
            exactly.
    """

    feature_dim: int
    phone_logits_available: bool
    context_frames: int | None
    hears_batches: bool = False
    """Whether clips of different lengths can be heard together without changing each other."""

    @abstractmethod
    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> SpeechFeatures:
        """Level-normalised samples (B, S) float32 at 16 kHz to S // 320 frames of features.

        Args:
            samples: Clips, padded with zeros at the end.
            lengths: (B,) frames of each clip, where `hears_batches`; None when all fill S.
        """


def mel_filterbank(
    bands: int = 80,
    n_fft: int = 512,
    low_hz: float = 40.0,
    high_hz: float = 7800.0,
    warp: float = 1.0,
) -> Tensor:
    """Triangular filters, equally spaced on the mel scale 2595 log10(1 + f / 700).

    Args:
        bands: M, the number of filters.
        n_fft: length of the Fourier transform, in samples.
        low_hz: where the first triangle begins.
        high_hz: where the last triangle ends.
        warp: factor on all frequencies; other than 1 it imitates a longer or shorter vocal tract.

    Returns:
        (n_fft // 2 + 1, M) weights in 0..1.
    """
    low_mel, high_mel = (2595 * math.log10(1 + hz / 700) for hz in (low_hz, high_hz))
    corners = 700 * (10 ** (torch.linspace(low_mel, high_mel, bands + 2) / 2595) - 1) * warp
    frequencies = torch.linspace(0, SAMPLE_RATE_HZ / 2, n_fft // 2 + 1)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising = (frequencies - left) / (centre - left)
    falling = (right - frequencies) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0)


class LogMel(nn.Module):
    """Log-mel energies at 100 Hz, scaled by fixed constants.

    Frame m is centred on sample 160 m and sees 25 ms. The floor lies about 60 dB below active
    speech, so that what differs between a good and a very good microphone is not seen.
    """

    HOP = 160
    WINDOW = 400
    N_FFT = 512
    FLOOR = 1e-5
    # Mean and spread of log(energy + FLOOR) over speech of RMS 0.1; fixed, so that windows agree
    # with files.
    MEAN = -4.0
    SPREAD = 4.0

    filterbank: Tensor
    window: Tensor

    def __init__(self, bands: int = 80) -> None:
        super().__init__()
        self.register_buffer("filterbank", mel_filterbank(bands, self.N_FFT), persistent=False)
        self.register_buffer("window", torch.hann_window(self.WINDOW), persistent=False)

    def power(self, samples: Tensor) -> Tensor:
        """Power spectrum (B, 2 N, 257) of samples (B, S); silence is assumed beyond both ends."""
        frames = 2 * (samples.shape[-1] // SAMPLES_PER_FRAME)
        if frames == 0:
            return samples.new_zeros(samples.shape[0], 0, self.N_FFT // 2 + 1)
        spectrum = torch.stft(
            samples,
            self.N_FFT,
            self.HOP,
            self.WINDOW,
            self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        return spectrum[..., :frames].abs().square().transpose(1, 2)

    def scale(self, energies: Tensor) -> Tensor:
        """Log of mel energies, with the fixed constants."""
        return (torch.log(energies + self.FLOOR) - self.MEAN) / self.SPREAD

    def forward(self, samples: Tensor) -> Tensor:
        """Samples (B, S) to scaled log-mel (B, 2 N, M)."""
        return self.scale(self.power(samples) @ self.filterbank)


@dataclass(frozen=True)
class CompactBackboneConfig:
    """Sizes of the bundled backbone."""

    mel_bands: int = 80
    """M, bands of the log-mel input."""
    stem_dim: int = 128
    """Channels at 100 Hz, before the stride."""
    dim: int = 288
    """D, channels at 50 Hz."""
    kernel: int = 9
    """Taps of each block's depthwise convolution; odd."""
    dilations: tuple[int, ...] = (1, 1, 2, 1, 1, 2, 1, 1, 4, 1)
    """One block for each; the sum sets how far the network hears."""
    expansion: int = 2
    """Width of a block's inner layer, as a multiple of D."""
    dropout: float = 0.1
    """On each block's output, in training."""


class ConvBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer network per frame, residual (after
    ConvNeXt).

    Liu et al., "A ConvNet for the 2020s", CVPR 2022, figure 4, in one dimension.
    """

    def __init__(
        self, dim: int, kernel: int, dilation: int, expansion: int, dropout: float
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.mix_time = nn.Conv1d(dim, dim, kernel, padding=padding, dilation=dilation, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.widen = nn.Linear(dim, expansion * dim)
        self.narrow = nn.Linear(expansion * dim, dim)
        self.residual_scale = nn.Parameter(torch.full((dim,), 0.3))
        # Whole channels of a clip at once: as good a regulariser here, and far cheaper to draw.
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (B, N, D) to (B, N, D)."""
        mixed = self.mix_time(frames.transpose(1, 2)).transpose(1, 2)
        update = self.narrow(functional.gelu(self.widen(self.norm(mixed))))
        return frames + self.residual_scale * self.dropout(update.mT).mT


class CompactBackbone(SpeechBackbone):
    """The bundled backbone: a small convolutional phone recogniser.

    Log-mel at 100 Hz, two convolutions (the second halves the rate), then `ConvBlock`s at 50 Hz.
    `hidden` is the normalised last layer, from which one linear layer gives the phones.
    Convolutions only: what it hears is bounded, so overlapping windows agree exactly.
    """

    phone_logits_available = True
    hears_batches = True

    def __init__(self, config: CompactBackboneConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or CompactBackboneConfig()
        if config.kernel % 2 == 0:
            raise IdiolectError(
                f"The backbone's kernel must be odd, not {config.kernel}.",
                hint="Choose an odd number of taps, so that a frame stays centred on its time.",
                code="bad_config",
                setting="kernel",
            )
        self.feature_dim = config.dim
        self.log_mel = LogMel(config.mel_bands)
        self.stem = nn.Conv1d(config.mel_bands, config.stem_dim, 5, padding=2)
        self.halve_rate = nn.Conv1d(config.stem_dim, config.dim, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(
            ConvBlock(config.dim, config.kernel, dilation, config.expansion, config.dropout)
            for dilation in config.dilations
        )
        self.norm = nn.LayerNorm(config.dim)
        self.phone_head = nn.Linear(config.dim, len(PHONES))
        blocks_reach = (config.kernel // 2) * sum(config.dilations)
        # The two stem convolutions reach 4 frames at 100 Hz, the transform a further half window
        # of 256 samples.
        self.context_frames: int | None = blocks_reach + math.ceil(
            (4 * LogMel.HOP + LogMel.N_FFT // 2) / 320
        )

    def hidden_of(self, log_mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scaled log-mel (B, 2 N, M) to (B, N, D); apart so that training can alter the input.

        What lies beyond a clip's `lengths` (B,) is zeroed before each convolution: so a padded
        clip is heard as it is alone, when the convolutions pad it.
        """
        twice = None if lengths is None else 2 * lengths
        frames = functional.gelu(self.stem(_ended(log_mel, twice).transpose(1, 2)))
        frames = _ended(frames.transpose(1, 2), twice).transpose(1, 2)
        frames = functional.gelu(self.halve_rate(frames)).transpose(1, 2)  # (B, N, D)
        for block in self.blocks:
            frames = block(_ended(frames, lengths))
        return self.norm(frames)

    def features_of(self, log_mel: Tensor, lengths: Tensor | None = None) -> SpeechFeatures:
        """As `hidden_of`, with the phones."""
        hidden = self.hidden_of(log_mel, lengths)
        return SpeechFeatures(hidden, self.phone_head(hidden))

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> SpeechFeatures:
        """Level-normalised samples (B, S) at 16 kHz to S // 320 frames of features and phones."""
        if samples.shape[-1] < SAMPLES_PER_FRAME:
            hidden = samples.new_zeros(samples.shape[0], 0, self.feature_dim)
            return SpeechFeatures(hidden, self.phone_head(hidden))
        return self.features_of(self.log_mel(samples), lengths)


def _ended(frames: Tensor, lengths: Tensor | None) -> Tensor:
    """Frames (B, N, D) with zeros from each clip's length (B,) on."""
    if lengths is None:
        return frames
    return frames.masked_fill(_beyond(frames, lengths)[..., None], 0.0)


def _beyond(frames: Tensor, lengths: Tensor) -> Tensor:
    """Mask (B, N) of the frames (B, N, …) from each clip's length (B,) on."""
    return torch.arange(frames.shape[1], device=frames.device)[None] >= lengths[:, None]


class Wav2Vec2Backbone(SpeechBackbone):
    """wav2vec 2.0 (Baevski et al., 2020), HuBERT-like weights in the Hugging Face format.

    The waveform encoder stays frozen, as in Mimic; the transformer may be fine-tuned. It attends
    to all it is given, so `context_frames` is None and windows need generous overlap.

    Args:
        source: a folder written by `save_pretrained`, or a name on the Hugging Face hub.
        architecture: JSON of a configuration; then it is built without weights, and `source` is not
            asked for.
    """

    phone_logits_available = False
    context_frames = None

    # wav2vec's frame n sees samples 320 n .. 320 n + 399; shifting by half of that centres it on
    # sample 320 n.
    FRAME_SAMPLES = 400

    def __init__(self, source: str | Path, architecture: str = "") -> None:
        super().__init__()
        self.network = _build_wav2vec2(architecture) if architecture else _load_wav2vec2(source)
        # Masking features and skipping layers at random are for learning from sound alone.
        self.network.config.apply_spec_augment = False
        self.network.config.layerdrop = 0.0
        self.feature_dim = int(self.network.config.hidden_size)
        for parameter in self.network.feature_extractor.parameters():
            parameter.requires_grad_(False)

    def forward(self, samples: Tensor, lengths: Tensor | None = None) -> SpeechFeatures:
        """Level-normalised samples (B, S) at 16 kHz to S // 320 frames of features."""
        del lengths  # it hears clips of one length only
        frames = samples.shape[-1] // SAMPLES_PER_FRAME
        if frames == 0:
            return SpeechFeatures(samples.new_zeros(samples.shape[0], 0, self.feature_dim), None)
        half = self.FRAME_SAMPLES // 2
        needed = (frames - 1) * SAMPLES_PER_FRAME + self.FRAME_SAMPLES
        padded = functional.pad(samples, (half, max(0, needed - half - samples.shape[-1])))[
            ..., :needed
        ]
        # The published weights were trained on clips of unit variance; active speech here has an
        # RMS of 0.1.
        hidden = self.network(10.0 * padded).last_hidden_state
        return SpeechFeatures(hidden, None)

    @property
    def architecture(self) -> str:
        """JSON from which a network of the same shape can be built."""
        return json.dumps(self.network.config.to_dict(), sort_keys=True)

    def train(self, mode: bool = True) -> Wav2Vec2Backbone:
        """Switch dropout on or off; the frozen convolutions stay as in inference."""
        super().train(mode)
        self.network.feature_extractor.eval()
        return self


def _transformers() -> Any:
    try:
        import transformers
    except (ImportError, OSError, RuntimeError) as error:
        raise IdiolectError(
            f"wav2vec 2.0 needs the transformers package, which does not import: {error}",
            hint="Repair the environment; on Linux without CUDA torchaudio must not be installed.",
            code="missing_package",
            setting="backbone",
        ) from error
    return transformers


def _build_wav2vec2(architecture: str) -> Any:
    transformers = _transformers()
    try:
        config = transformers.Wav2Vec2Config.from_dict(json.loads(architecture))
    except (ValueError, TypeError) as error:
        raise IdiolectError(
            f"the checkpoint's wav2vec 2.0 cannot be built: {error}",
            hint="Train the model again, or choose another.",
            code="bad_backbone",
            setting="checkpoint",
        ) from error
    return transformers.Wav2Vec2Model(config)


def _load_wav2vec2(source: str | Path) -> Any:
    transformers = _transformers()
    try:
        # Weights in safetensors only: a pickle from a user's folder is never executed.
        return transformers.Wav2Vec2Model.from_pretrained(str(source), use_safetensors=True)
    except (OSError, ValueError) as error:
        raise IdiolectError(
            f"Cannot load wav2vec 2.0 weights from '{source}': {error}",
            hint="Give a folder that holds config.json and model.safetensors, or the name of a "
            "model on the Hugging Face hub that publishes safetensors weights.",
            code="bad_backbone",
            setting="backbone",
        ) from error


def prosody(samples: Tensor, lengths: Tensor | None = None) -> Tensor:
    """How loud, how stressed, how voiced and how high the voice is: what phones leave out.

    - loudness: 10 log10 of the mean power over 40 ms, in units of 20 dB: 0 is the level of active
      speech,
      clipped to -3..1;
    - emphasis: loudness minus its mean over the second around it;
    - voicing: highest normalised autocorrelation for pitches of 70..400 Hz, 0..1, 0 where it is
      quiet;
    - pitch: octaves from 160 Hz, times voicing.

    Args:
        samples: (B, S) level-normalised, 16 kHz.
        lengths: (B,) frames of each clip, where they are padded; None when all fill S.

    Returns:
        (B, S // 320, 4), channels as in PROSODY_CHANNELS. Frame n depends on at most
        PROSODY_CONTEXT_FRAMES frames on each side.
    """
    batch, total = samples.shape
    frames = total // SAMPLES_PER_FRAME
    if frames == 0:
        return samples.new_zeros(batch, 0, len(PROSODY_CHANNELS))
    width = 640
    needed = (frames - 1) * SAMPLES_PER_FRAME + width
    padded = functional.pad(samples, (width // 2, max(0, needed - width // 2 - total)))[
        ..., :needed
    ]
    windows = padded.unfold(-1, width, SAMPLES_PER_FRAME)  # (B, N, 640), centred on 320 n

    power = windows.square().mean(-1)
    loudness = (torch.log10(power / 0.1**2 + 1e-6) / 2).clamp(-3, 1)
    # Beyond the ends there is silence, as everywhere else in this module.
    if lengths is not None:
        loudness = loudness.masked_fill(_beyond(loudness, lengths), -3.0)
    around = functional.pad(loudness, (25, 25), value=-3.0).unfold(-1, 51, 1).mean(-1)

    taper = torch.hann_window(width, periodic=False, dtype=samples.dtype, device=samples.device)
    correlation = _autocorrelation(windows * taper)
    taper_correlation = _autocorrelation(taper)
    # Dividing by the window's own autocorrelation removes its taper: Boersma 1993, equation 9.
    shortest, longest = SAMPLE_RATE_HZ // 400, SAMPLE_RATE_HZ // 70
    lags = torch.arange(shortest, longest, device=samples.device)
    correction = taper_correlation[lags] / taper_correlation[0]
    normalised = correlation[..., lags] / (correlation[..., :1] + 1e-9) / correction
    # A small bonus for short lags keeps a period from being mistaken for two.
    best, index = (normalised - 0.02 * torch.log2(lags / shortest)).max(-1)
    audible = torch.sigmoid(4 * (loudness + 2))
    voicing = best.clamp(0, 1) * audible
    pitch = torch.log2(SAMPLE_RATE_HZ / lags[index] / 160) * voicing
    return torch.stack((loudness, loudness - around, voicing, pitch), dim=-1)


def _autocorrelation(windows: Tensor) -> Tensor:
    """Autocorrelation (..., 2 W) of windows (..., W) at lags 0, 1, 2, ..."""
    return torch.fft.irfft(torch.fft.rfft(windows, 2 * windows.shape[-1]).abs().square())
