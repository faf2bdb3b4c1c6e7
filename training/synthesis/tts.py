"""Speech from text with the time of every phone: espeak-ng, Flite and Festival.

None of them sounds like a person, but their labels are exact, they cost nothing, and they cover
what few hours of recordings cannot. espeak-ng is called as a library, since only its events carry
phone times.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from core.audio import load_speech
from core.errors import IdiolectError
from core.phones import SILENCE, STOPS, Segment
from training.synthesis.phone_sets import phone_of_festival, phones_of_ipa


class Utterance(NamedTuple):
    """A spoken text.

    Attributes:
        samples: (S,) float32 at `rate_hz`.
        rate_hz: sample rate.
        segments: phones in time.
        voice: who spoke, as `engine:voice`.
    """

    samples: np.ndarray
    rate_hz: int
    segments: list[Segment]
    voice: str


# -------------------------------------------------------------------------------------------
# espeak-ng

_SYNCHRONOUS = 2
_PHONEME_EVENTS_AS_IPA = 1 | 2
_EVENT_END, _EVENT_PHONEME = 0, 7
_PARAMETER_RATE, _PARAMETER_PITCH, _PARAMETER_RANGE = 1, 3, 4
_CHARACTERS_UTF8 = 1


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    """espeak_EVENT of espeak-ng's speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


# Variants that make a robot, a whisper or a monster of the voice are left out.
_VARIANTS = """
    m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 klatt5 klatt6 Alex Alicia
    Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike adam
    anika announcer antonio aunty belinda benjamin boris caleb david ed edward grandma grandpa
    gustave iven iven2 john linda marcelo max michel miguel norbert pablo paul pedro quincy rob
    robert sandro shelby steph steph2 travis victor zac
"""


class Espeak:
    """espeak-ng: formant synthesis, seven English accents, dozens of voice variants."""

    ACCENTS = (
        *("en-us",) * 6,  # the accent that phones and dictionary are made for
        *("en-us-nyc", "en", "en-gb-scotland"),
        *("en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"),
    )
    VARIANTS = tuple(_VARIANTS.split())

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        try:
            self._library = ctypes.CDLL(name)
        except OSError as error:
            raise _missing("espeak-ng", error) from error
        self._rate_hz = self._library.espeak_Initialize(
            _SYNCHRONOUS, 0, None, _PHONEME_EVENTS_AS_IPA
        )
        self._blocks: list[np.ndarray] = []
        self._events: list[tuple[int, str]] = []
        self._callback = _Callback(self._receive)  # kept: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(
        self,
        text: str,
        voice: str = "en-us",
        rate: int = 160,
        pitch: int = 50,
        pitch_range: int = 50,
    ) -> Utterance:
        """Speaks `text`; rate in words a minute (80..450), pitch and its range 0..100.

        Raises:
            IdiolectError: code "unknown_voice".
        """
        self._blocks.clear()
        self._events.clear()
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise IdiolectError(
                f"espeak-ng has no voice {voice}.",
                hint="List them with `espeak-ng --voices=en`.",
                code="unknown_voice",
            )
        for parameter, value in (
            (_PARAMETER_RATE, rate),
            (_PARAMETER_PITCH, pitch),
            (_PARAMETER_RANGE, pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        data = text.encode() + b"\0"
        self._library.espeak_Synth(data, len(data), 0, 1, 0, _CHARACTERS_UTF8, None, None)
        self._library.espeak_Synchronize()
        blocks = self._blocks or [np.zeros(0, np.int16)]
        samples = np.concatenate(blocks).astype(np.float32) / 32768
        segments = self._segments(len(samples))
        segments = move_closures(samples, self._rate_hz, segments)
        return Utterance(samples, self._rate_hz, segments, f"espeak:{voice}")

    def speak_randomly(self, text: str, chance: random.Random) -> Utterance:
        """Speaks `text` in an accent, a voice, a tempo and a pitch drawn by `chance`."""
        return self.speak(
            text,
            f"{chance.choice(self.ACCENTS)}+{chance.choice(self.VARIANTS)}",
            rate=chance.randint(120, 240),
            pitch=chance.randint(15, 85),
            pitch_range=chance.randint(20, 90),
        )

    def pronounce(self, word: str) -> list[str]:
        """Phones of a single word in American English."""
        return [part.phone for part in self.speak(word).segments if part.phone != SILENCE]

    def _receive(self, samples, count: int, events) -> int:  # type: ignore[no-untyped-def]
        if count > 0 and samples:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            if events[index].type == _EVENT_PHONEME:
                symbols = bytes(events[index].id.string).split(b"\0")[0].decode("utf-8", "ignore")
                self._events.append((events[index].sample, symbols))
            index += 1
        return 0

    def _segments(self, total: int) -> list[Segment]:
        segments: list[Segment] = []
        ends = [sample for sample, _ in self._events[1:]] + [total]
        for (start, symbols), end in zip(self._events, ends, strict=True):
            if end <= start:
                continue
            before = segments[-1].phone if segments else SILENCE
            phones = phones_of_ipa(symbols) or [before]
            edges = np.linspace(start, end, len(phones) + 1) / self._rate_hz
            segments += [
                Segment(phone, float(left), float(right))
                for phone, left, right in zip(phones, edges[:-1], edges[1:], strict=True)
            ]
        return segments


def move_closures(
    samples: np.ndarray, rate_hz: int, segments: Sequence[Segment], quiet_db: float = -38.0
) -> list[Segment]:
    """Moves the start of each stop back to where its silence begins.

    espeak-ng reports a stop at its burst and counts the closure before it to the phone before. Left
    so, every p, b, m would be learnt too late.

    Args:
        samples: (S,) float32.
        rate_hz: sample rate.
        segments: phones in time.
        quiet_db: 5 ms frames below this, relative to the peak, count as closed.
    """
    hop = rate_hz // 200
    count = len(samples) // hop
    level = np.sqrt(np.square(samples[: count * hop].reshape(count, hop)).mean(axis=1))
    quiet = level < 10 ** (quiet_db / 20) * (np.abs(samples).max(initial=0) + 1e-9)
    moved = list(segments)
    for index in range(1, len(moved)):
        before, stop = moved[index - 1], moved[index]
        if stop.phone not in STOPS or before.phone == SILENCE:
            continue
        earliest = max(int(200 * (before.start_s + 0.01)) + 1, int(200 * stop.start_s) - 24)
        frame = min(int(200 * stop.start_s), count)
        # The frame that holds the burst's beginning may itself be loud already.
        if frame > earliest and not quiet[frame - 1]:
            frame -= 1
        while frame > earliest and quiet[frame - 1]:
            frame -= 1
        start_s = frame / 200
        if before.start_s < start_s < stop.start_s - 0.006:
            moved[index - 1] = before._replace(end_s=start_s)
            moved[index] = stop._replace(start_s=start_s)
    return moved


# ----------------------------------------------------------------------------------- Flite and
# Festival


class Flite:
    """Flite: small unit-selection and diphone voices."""

    PITCH_HZ: ClassVar = {"slt": 170, "awb": 130, "rms": 100, "kal16": 100}

    def __init__(self) -> None:
        self._program = shutil.which("flite")
        if self._program is None:
            raise _missing("flite")

    def speak_randomly(self, text: str, chance: random.Random) -> Utterance:
        """Speaks `text` in a voice, a tempo and a pitch drawn by `chance`."""
        voice = chance.choice(sorted(self.PITCH_HZ))
        settings = {
            "duration_stretch": chance.uniform(0.75, 1.3),
            "int_f0_target_mean": self.PITCH_HZ[voice] * chance.uniform(0.75, 1.45),
            "int_f0_target_stddev": chance.uniform(8, 30),
        }
        with tempfile.TemporaryDirectory() as folder:
            sound = Path(folder) / "speech.wav"
            command = [str(self._program), "-voice", voice, "-psdur", "-t", text, "-o", str(sound)]
            for name, value in settings.items():
                command += ["--setf", f"{name}={value:.3f}"]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            samples = load_speech(sound)
        # One "phone:end" for each phone, in seconds.
        tokens = (token.rsplit(":", 1) for token in done.stdout.split())
        segments = _segments_from_ends((name, float(end)) for name, end in tokens)
        return Utterance(samples, 16000, segments, f"flite:{voice}")


class Festival:
    """Festival: diphone voices and one statistical voice (HTS). Speaks many texts in one run."""

    VOICES = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")

    def __init__(self) -> None:
        self._program = shutil.which("festival")
        if self._program is None:
            raise _missing("festival")

    def speak_all(self, texts: Sequence[str], chance: random.Random) -> list[Utterance]:
        """Speaks each text in a voice, a tempo and a pitch drawn by `chance`.

        Texts that a voice cannot say are left out.
        """
        voices = [chance.choice(self.VOICES) for _ in texts]
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            script = folder / "speak.scm"
            script.write_text(
                "\n".join(
                    self._commands(text, voice, folder / str(index), chance)
                    for index, (text, voice) in enumerate(zip(texts, voices, strict=True))
                )
            )
            # An error in one text ends the run; what was spoken before it is kept.
            subprocess.run(
                [str(self._program), "-b", str(script)], capture_output=True, check=False
            )
            spoken = []
            for index, voice in enumerate(voices):
                sound, times = folder / f"{index}.wav", folder / f"{index}.lab"
                if sound.is_file() and times.is_file():
                    lines = [line.split() for line in times.read_text().splitlines()[1:]]
                    segments = _segments_from_ends(
                        (line[2], float(line[0])) for line in lines if len(line) >= 3
                    )
                    spoken.append(
                        Utterance(load_speech(sound), 16000, segments, f"festival:{voice}")
                    )
        return spoken

    @staticmethod
    def _commands(text: str, voice: str, stem: Path, chance: random.Random) -> str:
        lines = [
            f"(voice_{voice})",
            f"(Parameter.set 'Duration_Stretch {chance.uniform(0.8, 1.3):.2f})",
        ]
        if voice.endswith("diphone"):
            pitch_hz, spread_hz = 110 * chance.uniform(0.8, 1.5), chance.uniform(8, 25)
            lines.append(
                f"(set! int_lr_params '((target_f0_mean {pitch_hz:.0f})"
                f" (target_f0_std {spread_hz:.0f}) (model_f0_mean 170) (model_f0_std 34)))"
            )
        quoted = text.replace("\\", " ").replace('"', " ")
        lines += [
            f'(set! said (Utterance Text "{quoted}"))',
            "(utt.synth said)",
            f'(utt.save.wave said "{stem}.wav" \'riff)',
            f'(utt.save.segs said "{stem}.lab")',
        ]
        return "\n".join(lines)


def _segments_from_ends(timed: Iterable[tuple[str, float]]) -> list[Segment]:
    segments: list[Segment] = []
    start_s = 0.0
    for name, end_s in timed:
        before = segments[-1].phone if segments else SILENCE
        segments.append(Segment(phone_of_festival(name) or before, start_s, end_s))
        start_s = end_s
    return segments


def _missing(program: str, error: Exception | None = None) -> IdiolectError:
    reason = f" ({error})" if error else ""
    return IdiolectError(
        f"{program} is not installed{reason}.",
        hint=f"Install it (Debian, Ubuntu: apt-get install {program}), or do without this engine.",
        code="missing_program",
    )
