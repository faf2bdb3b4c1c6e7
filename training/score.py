"""Scores a model on real speech whose words are known: the release gate.

    python -m training.score --speech DIR [--split test] [--checkpoint C] [--fps 24 30 …]
        [--modes fast accurate transcript transcript-own] [--raw] [--finished] [--tts 24]
        [--motion TAKES] [--languages] [--out FOLDER] [--worst 10]

DIR holds index.csv and recordings. Forced alignment of the exact transcripts (pocketsphinx) is the
reference. A table in Markdown goes to standard output, and with --out also into FOLDER, with the
figures as JSON and as pictures: the phones that are heard (`training.phone_scores`), and, where the
checkpoint is a whole model, the motion of the built-in head (`training.lip_sync_score`), beside
that of the procedural animator on the aligned phones, which is what could be reached. Modes: "fast"
goes by the backbone alone, "accurate" lets a recogniser find the words first, "transcript" is given
them. The last is flattered where pocketsphinx has a say in the alignment, as it made the reference:
"transcript-own" goes without it. Intervals are the 2.5th and 97.5th percentile over resampled
speakers. --tts adds clips of synthesisers (voices that the backbone knows), --motion correlations
with a captured take, --languages other languages and drawn-out, sung-like speech
(`training.score_elsewhere`); --worst draws the clips with most mistakes (`training.score_worst`).
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from core.animator import BUNDLED_CHECKPOINT, Animator
from core.audio import load_speech, speech_gain
from core.checkpoint import load_checkpoint
from core.errors import IdiolectError
from core.finishing.finish import FinishSettings, finish_raw
from core.listening import SpeechSource
from core.model.speech import prosody
from core.motion import MotionClip
from core.phones import Segment
from core.words.sphinx import Aligner
from core.words.transcript import KnownWords, Said, find_words
from training.backbone import load_backbone
from training.command import command
from training.lip_sync_score import LipSyncScore
from training.phone_scores import PhoneScore
from training.score_report import SpeakerScores, merged, report, save_bars, table
from training.synthesis.alignment import labels_from
from training.synthesis.animator import animate_phones
from training.synthesis.speech_corpus import kind_of, pronouncer, real_clips
from training.synthesis.styles import SpeakingStyle

log = logging.getLogger(__name__)

MODES = ("fast", "accurate", "transcript", "transcript-own")
CEILING = "procedural, aligned phones"


@dataclass
class Spoken:
    """A clip to be scored.

    Attributes:
        row: its line of index.csv.
        samples: (S,) float32 at 16 kHz.
        segments: the phones that were said.
    """

    row: dict[str, str]
    samples: np.ndarray
    segments: list[Segment]


@dataclass
class ClipScore:
    """How one clip went, for finding the worst."""

    clip: Spoken
    score: LipSyncScore
    motion: MotionClip
    reference: MotionClip
    posteriors: np.ndarray

    @property
    def mistakes(self) -> int:
        """Closures missed and closures made wrongly."""
        closures = self.score.closures
        return closures.wanted - closures.hit + closures.made - closures.right


def reference_clips(folder: Path, split: str, prompts: bool, limit: int | None) -> list[Spoken]:
    """Loads and aligns the clips of a split whose words are known.

    Args:
        folder: holds index.csv.
        split: "train", "valid" or "test".
        prompts: take clips along whose text may not be exactly what was said.
        limit: at most as many clips.

    Raises:
        IdiolectError: there are none.
    """
    kinds = ("exact", "prompt") if prompts else ("exact",)
    rows = [row for row in real_clips(folder, (split,)) if kind_of(row) in kinds][:limit]
    aligner = Aligner(pronouncer())
    clips = []
    for row in rows:
        samples = load_speech(folder / row["file"])
        segments = aligner.align(samples, row["transcript"])
        if segments:
            clips.append(Spoken(row, samples, segments))
        else:
            log.warning("%s does not fit its transcript and is left out", row["file"])
    if not clips:
        raise IdiolectError(
            f"No clip of the split '{split}' in {folder} has an exact transcript.",
            hint="Choose another split, or take read prompts too with --prompts.",
            code="empty_corpus",
            setting="--split",
        )
    return clips


class Scorer:
    """Scores clips with one checkpoint.

    Args:
        checkpoint: a whole model, or a backbone alone.
        fps: frame rates to animate at.
        modes: of MODES.
        finishing: any of "raw" and "finished".
        style: name of a style; the model's default by default.
    """

    def __init__(
        self,
        checkpoint: Path,
        fps: Sequence[float] = (30.0,),
        modes: Sequence[str] = ("fast",),
        finishing: Sequence[str] = ("finished",),
        style: str | None = None,
    ) -> None:
        self._backbone = load_backbone(checkpoint)
        whole = "model" in load_checkpoint(checkpoint).config
        self.animator = Animator(checkpoint) if whole else None
        self._fps, self._modes, self._finishing, self._style = fps, modes, finishing, style
        self.results: dict[str, SpeakerScores] = {}
        self.clips: list[ClipScore] = []
        """Each clip as it went in the first mode, finished, at the first frame rate."""

    def add(self, clip: Spoken) -> None:
        """Scores a clip."""
        level = torch.from_numpy(clip.samples * np.float32(speech_gain(clip.samples)))[None]
        with torch.inference_mode():
            heard = self._backbone(level).phone_logits
            voice = prosody(level)[0].numpy()
        assert heard is not None  # a compact backbone always gives them
        posteriors = heard[0].softmax(-1).numpy()
        labels = labels_from(clip.segments, len(clip.samples) // 160)[::2]
        speaker = self.results.setdefault(clip.row["speaker"], SpeakerScores(_groups(clip.row)))
        references = {
            rate: animate_phones(clip.segments, voice, SpeakingStyle(), fps=rate)
            for rate in (self._fps if self.animator else ())
        }
        for rate, reference in references.items():
            ceiling = speaker.motion.setdefault(f"{CEILING}, {rate:g} fps", LipSyncScore())
            ceiling.add(reference, clip.segments, reference)
        for mode in self._modes:
            said = self._words(mode, clip, posteriors)
            known = posteriors if said is None else said.posteriors(posteriors)
            speaker.phones.setdefault(mode, PhoneScore()).add(labels, known)
            if self.animator is None:
                continue
            source = SpeechSource(clip.samples)
            raw = self.animator.perform(source, style=self._style, words=said)
            for name in self._finishing:
                settings = FinishSettings() if name == "finished" else None
                for rate, reference in references.items():
                    motion = finish_raw(raw, settings, rate)
                    one = LipSyncScore()
                    one.add(motion, clip.segments, reference)
                    column = f"{mode}, {name}, {rate:g} fps"
                    total = speaker.motion.get(column, LipSyncScore())
                    speaker.motion[column] = merged(LipSyncScore, (total, one))
                    if (mode, name, rate) == (self._modes[0], self._finishing[-1], self._fps[0]):
                        self.clips.append(ClipScore(clip, one, motion, reference, known))

    def narrowed(self, modes: Sequence[str]) -> Scorer:
        """The same model with nothing scored yet, at the first frame rate, in these modes."""
        narrow = copy(self)
        narrow._fps, narrow._modes, narrow.results, narrow.clips = self._fps[:1], modes, {}, []
        return narrow

    def _words(self, mode: str, clip: Spoken, posteriors: np.ndarray) -> Said | None:
        known = {
            "fast": KnownWords(),
            "accurate": KnownWords(accurate=True),
            "transcript": KnownWords(clip.row["transcript"]),
            "transcript-own": KnownWords(clip.row["transcript"]),
        }[mode]
        told: list[str] = []
        seconds = len(clip.samples) / 16000
        # Without samples there is no second opinion on the alignment.
        sound = () if mode == "transcript-own" else (clip.samples,)
        said = find_words(known, posteriors, seconds, lambda: iter(sound), warn=told.append)
        for warning in told:
            log.info("%s: %s", clip.row["file"], warning)
        return said


def _groups(row: dict[str, str]) -> tuple[str, ...]:
    gender = {"F": ("women",), "M": ("men",)}.get(row.get("gender", "").upper()[:1], ())
    return (*gender, row["corpus"])


def _score_all(scorer: Scorer, clips: Sequence[Spoken], say: Callable[[str], None]) -> None:
    for done, clip in enumerate(clips):
        if done % 10 == 0:
            say(f"Scoring: {done} of {len(clips)}")
        scorer.add(clip)


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", type=Path, required=True, help="folder with index.csv")
    parser.add_argument("--split", default="test", choices=("train", "valid", "test"))
    parser.add_argument("--prompts", action="store_true", help="take clips with read prompts too")
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED_CHECKPOINT)
    parser.add_argument("--style", help="name of a ready-made style")
    parser.add_argument("--fps", type=float, nargs="+", default=[30.0])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=["fast"])
    parser.add_argument("--finished", action="store_true", help="only the finished motion")
    parser.add_argument("--raw", action="store_true", help="only the motion before finishing")
    parser.add_argument("--tts", type=int, default=0, metavar="N", help="add N synthetic clips")
    parser.add_argument("--motion", type=Path, help="folder of captured takes")
    parser.add_argument("--take", default="1114_2_03", help="the take to compare with")
    parser.add_argument("--languages", action="store_true", help="other languages, and sung-like")
    parser.add_argument("--limit", type=int, help="at most as many clips")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--out", type=Path, help="folder for table, figures and pictures")
    parser.add_argument("--worst", type=int, default=0, metavar="N", help="draw the N worst clips")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    wanted = [name for name in ("raw", "finished") if getattr(options, name)]
    if options.worst and not options.out:
        raise IdiolectError(
            "--worst draws pictures and needs a folder for them.",
            hint="Add --out FOLDER.",
            code="usage",
            setting="--out",
        )
    scorer = Scorer(
        options.checkpoint,
        options.fps,
        options.modes,
        wanted or ["raw", "finished"],
        options.style,
    )
    clips = reference_clips(options.speech, options.split, options.prompts, options.limit)
    _score_all(scorer, clips, log.info)
    real = report(scorer.results)
    text, found = table(real), real
    if options.tts or options.motion or options.languages:
        from training.score_elsewhere import elsewhere

        more, figures = elsewhere(scorer, options)
        text, found = f"{text}\n{more}", {**real, "elsewhere": figures}
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=1))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "score.json").write_text(json.dumps(found, indent=1))
        (options.out / "score.md").write_text(text + "\n")
        if scorer.animator is not None:
            save_bars(real, options.out / "closures.png")
    if options.worst:
        from training.score_worst import draw_worst

        print(draw_worst(scorer.clips, options.worst, options.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
