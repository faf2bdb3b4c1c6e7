"""Whisper by folder: a small random model, saved and loaded; what it says is noise."""

import json

import numpy as np
import pytest

from core.errors import Cancelled, IdiolectError
from core.words.whisper import transcribe, windows

transformers = pytest.importorskip("transformers")

RATE = 16000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A Whisper of a few thousand weights, with a tokenizer of letters."""
    path = tmp_path_factory.mktemp("whisper")
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>"]
    special += ["<|notimestamps|>"]
    vocabulary = {chr(97 + i): i for i in range(26)} | {"Ġ": 26}
    vocabulary |= {name: 27 + i for i, name in enumerate(special)}
    (path / "vocab.json").write_text(json.dumps(vocabulary))
    (path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.WhisperTokenizer(
        str(path / "vocab.json"), str(path / "merges.txt"), unk_token=special[0]
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    config = transformers.WhisperConfig(
        vocab_size=64, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_target_positions=16,
        pad_token_id=27, bos_token_id=27, eos_token_id=27, decoder_start_token_id=28,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    model.generation_config.max_length = 12
    model.save_pretrained(path)
    transformers.WhisperProcessor(extractor, tokenizer).save_pretrained(path)
    return path


def test_a_model_in_a_folder_is_loaded_and_asked(folder):
    told = []
    sound = np.random.default_rng(0).normal(0, 0.1, 2 * RATE).astype(np.float32)
    text = transcribe(str(folder), [sound], report=lambda *a: told.append(a))
    assert isinstance(text, str)
    assert ("Recognising", 0, 1) in told


def test_it_can_be_cancelled(folder):
    with pytest.raises(Cancelled):
        transcribe(str(folder), [np.zeros(RATE, np.float32)], stop=lambda: True)


def test_a_folder_without_a_model_is_an_error_that_helps(tmp_path):
    with pytest.raises(IdiolectError, match="Cannot load Whisper") as raised:
        transcribe(str(tmp_path), [])
    assert raised.value.setting == "recogniser"


def test_long_speech_is_cut_where_it_is_quiet():
    sound = np.ones(50 * RATE, np.float32)
    sound[27 * RATE : 27 * RATE + 4000] = 0
    parts = list(windows(np.array_split(sound, 7)))
    np.testing.assert_array_equal(np.concatenate(parts), sound)
    assert max(len(part) for part in parts) <= 30 * RATE
    assert 27 * RATE <= len(parts[0]) <= 27 * RATE + 4000
