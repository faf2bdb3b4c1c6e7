"""How a model does where it was not made for: captured performance, TTS, other languages, singing.

Synthetic speech has exact phone times (espeak-ng, Flite). Languages are spoken by espeak-ng, whose
sounds are mapped to the nearest English phones. No recording of singing with phone times is at
hand: "sung-like" speech is made from espeak-ng's monotone, every word on a note of a scale, its
vowels drawn out to three times their length by overlapping pieces (WSOLA, Verhelst and Roelands,
ICASSP 1993).
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import resample_poly

from core.audio import SAMPLE_RATE_HZ
from core.finishing.finish import FinishSettings, finish_raw
from core.listening import SpeechSource
from core.motion import ARKIT_CHANNELS, MotionClip
from core.phones import PHONE_INDEX as INDEX
from core.phones import PHONE_TO_VISEME, VISEME_INDEX, Segment
from training.backbone import load_backbone
from training.fit_animator import TRAITS, Take, load_take
from training.phone_scores import correlation
from training.score_report import report, table
from training.synthesis.alignment import dictionary_words
from training.synthesis.animator import animate_phones
from training.synthesis.speech_corpus import speak_one_by_one
from training.synthesis.styles import SpeakingStyle
from training.synthesis.text import sentences
from training.synthesis.tts import Espeak, Flite, Utterance

if TYPE_CHECKING:
    from training.score import Scorer, Spoken

SEED = 990_000
"""Far from those that corpora are made with."""

LANGUAGES = {
    "de": "Meine Mama backt am Montag wunderbaren Apfelkuchen. Bitte bring uns Brot und Pflaumen.",
    "fr": "Ma maman prépare un bon repas. Le petit bateau part pour un port paisible.",
    "es": "Mi madre compra un poco de pan blanco. El hombre abre la puerta del viejo palacio.",
    "it": "La mamma prepara una buona zuppa. Il bambino porta un piccolo ombrello bianco.",
    "pt": "Minha mãe comprou um bolo pequeno. O pobre homem bebe uma sopa de abóbora.",
    "pl": "Moja mama piecze dobry placek. Mały pies biega po podwórku babci.",
    "ru": "Моя мама варит суп. Большой пароход плывёт по морю к бабушке.",
    "hi": "मेरी माँ बाज़ार से फल और पानी लाती है। बच्चा पेड़ के पास बैठा है।",
    "cmn": "我妈妈买了苹果和面包。八百标兵奔北坡。",
}
_SCALE = (0, 2, 4, 5, 7, 5, 4, 2)
_DRAWN_OUT = 3.0
_VOWELS = frozenset(
    ("open", "mid", "spread", "open_rounded", "rounded")
)  # fmt: skip


def elsewhere(scorer: Scorer, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """What --tts, --motion and --languages ask for: Markdown and figures."""
    parts: list[str] = []
    figures: dict[str, Any] = {}
    sets: dict[str, Callable[[], Iterator[Spoken]]] = {}
    if options.tts:
        sets["TTS, English (known voices)"] = lambda: _tts(options.tts)
    if options.languages:
        sets["Other languages (espeak-ng)"] = _languages
        sets["Sung-like speech (drawn out, on notes)"] = _sung
    for name, clips in sets.items():
        # Transcripts and recognisers are English; the voices of the synthesisers speak it too.
        modes = options.modes if name.startswith("TTS") else options.modes[:1]
        narrow = scorer.narrowed(modes)
        for clip in clips():
            narrow.add(clip)
        figures[name] = report(narrow.results, resamples=100)
        parts.append(f"\n# {name}\n\n{table(figures[name])}")
    if options.motion and scorer.animator is not None:
        take = load_take(options.motion, options.take, load_backbone(options.checkpoint))
        figures["captured"] = _captured(scorer, take, options)
        parts.append(_captured_table(options.take, figures["captured"]))
    return "\n".join(parts), figures


def _spoken(said: Utterance, speaker: str, text: str, group: str) -> Spoken:
    from training.score import Spoken

    divisor = math.gcd(said.rate_hz, SAMPLE_RATE_HZ)
    samples = resample_poly(said.samples, SAMPLE_RATE_HZ // divisor, said.rate_hz // divisor)
    row = {"file": said.voice, "speaker": speaker, "transcript": text, "gender": "",
           "corpus": group}  # fmt: skip
    pad = round(0.2 * SAMPLE_RATE_HZ)
    segments = [Segment(p, start + 0.2, end + 0.2) for p, start, end in said.segments]
    segments = [Segment("SIL", 0.0, 0.2), *segments]
    end_s = segments[-1].end_s
    segments.append(Segment("SIL", end_s, end_s + 0.2))
    return Spoken(row, np.pad(samples, pad).astype(np.float32), segments)


def _tts(count: int) -> Iterator[Spoken]:
    for engine in (Flite(), Espeak()):
        for text, said in islice(speak_one_by_one(engine, SEED), count // 2):
            yield _spoken(said, said.voice, text, "TTS")


def _languages() -> Iterator[Spoken]:
    engine = Espeak()
    for language, text in LANGUAGES.items():
        yield _spoken(engine.speak(text, language, rate=150), language, text, language)


def _sung() -> Iterator[Spoken]:
    engine, chance = Espeak(), random.Random(SEED)
    for text in islice(sentences(SEED, sorted(dictionary_words())), 12):
        pieces: list[np.ndarray] = []
        segments: list[Segment] = []
        now = 0.0
        voice = f"en-us+{chance.choice(('m3', 'f2', 'f4', 'm1'))}"
        rate_hz = SAMPLE_RATE_HZ
        for number, word in enumerate(text.split()):
            pitch = 35 + 4 * _SCALE[number % len(_SCALE)]
            said = engine.speak(word, voice, rate=150, pitch=pitch, pitch_range=0)
            rate_hz = said.rate_hz
            for phone, start_s, end_s in said.segments:
                part = said.samples[round(start_s * rate_hz) : round(end_s * rate_hz)]
                if not len(part):
                    continue
                vowel = PHONE_TO_VISEME[INDEX[phone]] in {VISEME_INDEX[v] for v in _VOWELS}
                part = stretch(part, rate_hz, _DRAWN_OUT) if vowel else part
                pieces.append(part)
                segments.append(Segment(phone, now, now + len(part) / rate_hz))
                now += len(part) / rate_hz
        whole = Utterance(np.concatenate(pieces), rate_hz, segments, f"sung:{voice}")
        yield _spoken(whole, voice, text, "sung-like")


def stretch(samples: np.ndarray, rate_hz: int, factor: float) -> np.ndarray:
    """Samples (S,) drawn out to `factor` times their length at the same pitch (WSOLA)."""
    grain, reach = round(0.03 * rate_hz), round(0.008 * rate_hz)
    hop = grain // 2
    if len(samples) < 2 * grain:
        return samples
    count = int(len(samples) * factor)
    out = np.zeros(count + grain, dtype=np.float32)
    window = np.hanning(2 * hop + 1)[: 2 * hop].astype(np.float32)
    source = np.pad(samples, (reach, grain + reach)).astype(np.float32)
    place = reach
    for start in range(0, count, hop):
        piece = source[place : place + 2 * hop]
        out[start : start + len(piece)] += piece * window[: len(piece)]
        # What would follow by itself is looked for where the stretched time wants to be.
        follows = source[place + hop : place + 3 * hop]
        wanted = reach + min(int((start + hop) / factor), len(samples) - 1)
        starts = range(max(0, wanted - reach), min(wanted + reach, len(source) - len(follows)))
        if len(follows) < 2 * hop or not starts:
            break
        fits = [float(follows @ source[at : at + len(follows)]) for at in starts]
        place = starts[int(np.argmax(fits))]
    return out[:count]


def _captured(
    scorer: Scorer, take: Take, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """Correlations with a captured take, without and with finishing; the animator's beside it."""
    assert scorer.animator is not None  # asked before
    path = options.motion / f"facegood_{take.name}.flac"
    raw = scorer.animator.perform(SpeechSource(path), style=options.style)
    procedural = animate_phones(
        take.segments, take.voice, SpeakingStyle(), fps=take.fps,
        duration_s=len(take.weights) / take.fps,
    )  # fmt: skip
    return {
        "model, raw": _fits(finish_raw(raw, None, take.fps), take),
        "model, finished": _fits(finish_raw(raw, FinishSettings(), take.fps), take),
        "procedural, heard phones": _fits(procedural, take),
    }


def _fits(motion: MotionClip, take: Take) -> dict[str, float]:
    found = {}
    columns = {name: index for index, name in enumerate(take.channels)}
    for name, (captured, ours, _) in TRAITS.items():
        if not set(captured) <= columns.keys():
            continue
        truth = take.weights[:, [columns[channel] for channel in captured]].sum(axis=1)
        weights = motion.select(ARKIT_CHANNELS)
        own = weights[:, [ARKIT_CHANNELS.index(channel) for channel in ours]].sum(axis=1)
        count = min(len(truth), len(own))
        found[name] = correlation(own[:count], truth[:count])
    return found


def _captured_table(take: str, figures: dict[str, dict[str, float]]) -> str:
    names = list(next(iter(figures.values())))
    lines = ["", f"# Captured take {take} (one Mandarin speaker): correlation", ""]
    lines += [f"| | {' | '.join(names)} |", f"|{' --- |' * (len(names) + 1)}"]
    for row, values in figures.items():
        lines.append(f"| {row} | {' | '.join(f'{values[name]:.3f}' for name in names)} |")
    return "\n".join(lines)
