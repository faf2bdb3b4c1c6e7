"""Configurations: frozen nested dataclasses, to and from plain dictionaries and TOML.

A checkpoint carries its configuration as JSON, a training run reads it from TOML, and both go
through `from_dict`, which refuses unknown keys, so that a misspelt option can never be ignored in
silence.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from core.errors import IdiolectError

Config = TypeVar("Config")


@dataclass(frozen=True)
class MotionConfig:
    """What the model puts out."""

    space: str = "arkit"
    """Motion space: "arkit" (52 weights, 0..1), "flame" or "vertices"."""
    channels: int = 52
    """Numbers in a frame."""
    fps: float = 50.0
    """Frame rate the decoder works at. 50 keeps a 60 ms lip closure three frames long."""
    normalise: bool = False
    """Work on motion brought to mean 0 and spread 1, channel by channel, by statistics of the
    training corpus that the checkpoint keeps: for metres and for FLAME's coefficients."""


@dataclass(frozen=True)
class BlockConfig:
    """One stack of style-adaptive feed-forward-transformer blocks."""

    blocks: int = 3
    """Number of blocks; 0 leaves the features as they are."""
    width: int = 128
    """Feature size."""
    heads: int = 2
    """Attention heads."""
    hidden: int = 256
    """Width of the convolution between the two halves of the feed-forward part."""
    kernel: int = 5
    """Kernel of the first convolution, in frames (odd)."""
    reach: int = 25
    """Attention sees this many frames to each side; 0 = all of them."""
    max_relative: int = 50
    """Learned relative positions are clipped here, in frames (Shaw et al. 2018, eq. 4)."""
    relative: bool = True
    """Learned relative positions; False is PSE's ablation of them."""
    dropout: float = 0.1
    """Dropout in training."""


@dataclass(frozen=True)
class AutoregressiveConfig:
    """Mimic's motion decoder: each frame from those before it."""

    layers: int = 1
    """Transformer layers."""
    width: int = 128
    """Feature size."""
    heads: int = 4
    """Attention heads."""
    hidden: int = 256
    """Feed-forward width."""
    period: int = 30
    """Frames after which positions repeat and the attention to the past drops by a step."""
    dropout: float = 0.1
    """Dropout in training."""
    window: int = 150
    """Frames that are decoded in one go; longer speech is cut into such windows."""
    overlap: int = 10
    """Frames that neighbouring windows share and are cross-faded over."""
    teacher_forcing: bool = True
    """Learn from the true past, all frames at once; False rolls out freely, frame by frame, as
    Mimic trains (some twenty times slower)."""
    rollout: float = 0.8
    """With teacher forcing: the share of past frames that are the model's own in the end."""
    rollout_until: float = 0.5
    """That share rises linearly up to this part of the training."""


@dataclass(frozen=True)
class SpeechConfig:
    """Which of the backbone's outputs the speech encoder reads."""

    hidden: bool = True
    """Read the backbone's last hidden layer."""
    posteriors: bool = True
    """Read the phone posteriors."""
    prosody: bool = True
    """Read loudness and pitch: they shape the jaw."""
    align_wide: bool = False
    """Align before narrowing to the encoder's width, as Mimic does on wav2vec's 768 features."""
    feature_dropout: float = 0.1
    """Chance, in training, that a clip is given without the hidden layer."""
    encoder: BlockConfig = field(default_factory=lambda: BlockConfig(blocks=2))
    """The style-adaptive speech encoder."""


@dataclass(frozen=True)
class StyleConfig:
    """The style encoder (Mimic, section 3.2)."""

    kind: str = "encoder"
    """"encoder" reads the style from a reference clip; "identity" looks it up for each person of
    the training split: the one-hot baseline, in FaceFormer's manner."""
    identities: int = 0
    """For "identity": people to look up; set by the training from its corpus."""
    code: int = 128
    """Size of the style code, d_s."""
    fps: float = 25.0
    """Frame rate the reference motion is brought to before encoding."""
    width: int = 128
    """Feature size."""
    convolutions: int = 5
    """Layers of the temporal convolution network."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Attention heads."""
    hidden: int = 256
    """Feed-forward width."""
    norm_first: bool = True
    """Norms before each transformer layer's halves; False after them, as in Mimic, which wants a
    learning rate of 1e-4."""
    hide_emotion: bool = False
    """Take out of the code what a linear reading of the reference's emotion goes by; fitted to the
    training corpus whenever the model is written (`training.hidden_emotion`)."""
    statistics: bool = False
    """Add each channel's mean and spread over the clip to what the transformer found."""
    dropout: float = 0.1
    """Dropout in training."""
    null_chance: float = 0.1
    """Chance, in training, that a clip's style code is replaced by the learned null token; 1 is the
    ablation of styles, in inference too."""


@dataclass(frozen=True)
class ContentConfig:
    """The content encoder (Mimic, section 3.2): what is said, without who says it.

    Only training needs it, and measuring what its codes hold.
    """

    code: int = 0
    """Size of a frame's content code, d_c: the speech encoder's width; 0 = no content encoder."""
    width: int = 128
    """Feature size."""
    convolutions: int = 5
    """Layers of the temporal convolution network."""
    layers: int = 4
    """Transformer layers."""
    heads: int = 4
    """Attention heads."""
    hidden: int = 256
    """Feed-forward width."""
    norm_first: bool = True
    """As in the style encoder."""
    dropout: float = 0.1
    """Dropout in training."""
    over_time: bool = False
    """Bring the codes themselves to mean 0 and spread 1 over the clip (AdaIN-VC's instance norm, at
    the encoder's end): the mean and the spread over a clip are where its manner is read from."""


@dataclass(frozen=True)
class EmotionConfig:
    """The per-frame emotion condition."""

    given: bool = True
    """Whether emotion is a condition of its own; False leaves it to the style code, as in PSE."""
    emotions: int = 8
    """Intensities in a frame."""
    width: int = 16
    """Size of their embedding."""
    null_chance: float = 0.1
    """Chance, in training, that the emotion is replaced by the learned null token."""
    encoder: int = 0
    """Width of the encoder that reads emotion from motion; 0 = there is none."""


@dataclass(frozen=True)
class DurationConfig:
    """Phones in time (PSE)."""

    phone_head: bool = False
    """Read phones from the speech features: an auxiliary loss, and where phones come from when
    the backbone knows none."""
    predictor: bool = False
    """Predict each phone's duration: an auxiliary loss, since durations are measured on the
    speech that is given."""
    expansion: bool = False
    """Pool the speech features to phones and expand them again before decoding."""
    positions: bool = False
    """Tell the decoder where in its phone each frame is."""
    style_free: bool = True
    """Phone head and predictor read features that know no style, so that a style never moves a
    phone; False lets them read the style-adaptive ones, as PSE."""
    width: int = 256
    """Feature size of the predictor."""
    dropout: float = 0.5
    """The predictor's dropout in training."""


DECODERS = ("parallel", "autoregressive")


@dataclass(frozen=True)
class ModelConfig:
    """The whole model but its speech backbone, which has a configuration of its own."""

    motion: MotionConfig = field(default_factory=MotionConfig)
    """What comes out."""
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    """What the speech encoder reads, and its size."""
    style: StyleConfig = field(default_factory=StyleConfig)
    """The style encoder."""
    content: ContentConfig = field(default_factory=ContentConfig)
    """The content encoder."""
    emotion: EmotionConfig = field(default_factory=EmotionConfig)
    """The emotion condition."""
    duration: DurationConfig = field(default_factory=DurationConfig)
    """Phones and their durations."""
    decoder_kind: str = "parallel"
    """Which motion decoder: "parallel" (PSE) or "autoregressive" (Mimic)."""
    decoder: BlockConfig = field(default_factory=BlockConfig)
    """The parallel motion decoder."""
    autoregressive: AutoregressiveConfig = field(default_factory=AutoregressiveConfig)
    """The autoregressive motion decoder."""


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a configuration dataclass into nested plain dictionaries (for JSON and TOML)."""
    return dataclasses.asdict(config)


def from_dict(
    kind: type[Config], values: Mapping[str, Any], *, source: str = "", prefix: str = ""
) -> Config:
    """Build a configuration dataclass from nested dictionaries, strictly.

    Args:
        kind: The dataclass to build. Fields that `values` leaves out keep their defaults.
        values: Nested plain values.
        source: File name for error messages.
        prefix: Dotted path of `values` inside the whole configuration, for error messages.

    Returns:
        The configuration.

    Raises:
        IdiolectError: A key is unknown (the closest known one is named) or a value has a wrong
            type.
    """
    hints = typing.get_type_hints(kind)
    where = f" in {source}" if source else ""
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key not in hints:
            raise IdiolectError(
                f"unknown setting '{name}'{where}",
                hint=_closest(key, list(hints), prefix),
                code="config_unknown_key",
                setting=name,
            )
        arguments[key] = _convert(hints[key], value, name, source)
    return kind(**arguments)


def load_toml(kind: type[Config], path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply `key=value` overrides.

    Args:
        kind: The dataclass to build.
        path: TOML file.
        overrides: Strings such as `"optim.learning_rate=1e-4"`; values are TOML.

    Raises:
        IdiolectError: The file is missing or no TOML, or a key or value is wrong.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise IdiolectError(
            f"cannot read the configuration {path}: {error.strerror}",
            hint="The ready-made ones lie in training/configs.",
            code="config_unreadable",
            setting="--config",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise IdiolectError(
            f"{path} is not valid TOML: {error}", code="config_invalid", setting="--config"
        ) from error
    for override in overrides:
        _apply_override(values, override)
    return from_dict(kind, values, source=str(path))


def from_settings(kind: type[Config], settings: Sequence[str]) -> Config:
    """The defaults of a configuration, but for `key=value` settings as `load_toml` takes them.

    Raises:
        IdiolectError: A key or value is wrong.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        _apply_override(values, setting)
    return from_dict(kind, values, source="--set")


def dump_toml(config: Any) -> str:
    """Write a configuration as TOML text that `load_toml` reads back to an equal one."""
    lines: list[str] = []
    _dump_table(to_dict(config), "", lines)
    return "\n".join(lines).strip() + "\n"


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise IdiolectError(
            f"cannot read the setting '{override}'",
            hint="Write it as key=value, for example --set optim.learning_rate=1e-4",
            code="config_invalid",
            setting="--set",
        )
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is a string: the shell has eaten its quotes
    *path, last = key.strip().split(".")
    table = values
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise IdiolectError(
                f"'{part}' in '{key}' is a value, not a group of settings",
                code="config_invalid",
                setting=key,
            )
    table[last] = value


def _convert(hint: Any, value: Any, name: str, source: str) -> Any:
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return from_dict(hint, value, source=source, prefix=f"{name}.")
    elif origin is tuple and isinstance(value, list | tuple):
        item = typing.get_args(hint)[0]
        return tuple(_convert(item, entry, name, source) for entry in value)
    elif origin is dict and isinstance(value, Mapping):
        item = typing.get_args(hint)[1]
        return {key: _convert(item, entry, f"{name}.{key}", source) for key, entry in value.items()}
    elif origin in (typing.Union, types.UnionType):
        kinds = typing.get_args(hint)
        if value is None and type(None) in kinds:
            return None
        return _convert(next(k for k in kinds if k is not type(None)), value, name, source)
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif hint is Any or (isinstance(hint, type) and type(value) is hint):
        return value
    wanted = getattr(hint, "__name__", str(hint))
    where = f" in {source}" if source else ""
    raise IdiolectError(
        f"setting '{name}'{where} must be {wanted}, not {value!r}",
        code="config_wrong_type",
        setting=name,
    )


def _closest(key: str, known: list[str], prefix: str) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    if close:
        return f"Did you mean '{prefix}{close[0]}'?"
    return f"Known here: {', '.join(sorted(known))}."


def _dump_table(table: Mapping[str, Any], prefix: str, lines: list[str]) -> None:
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in table.items() if key not in nested and value is not None}
    if prefix and (plain or not nested):
        lines += ["", f"[{prefix.rstrip('.')}]"]
    lines += [f"{key} = {_dump_value(value)}" for key, value in plain.items()]
    for key, value in nested.items():
        _dump_table(value, f"{prefix}{key}.", lines)


def _dump_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_dump_value(entry) for entry in value) + "]"
    return repr(value)
