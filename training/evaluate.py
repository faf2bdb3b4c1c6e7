"""Measure models on a corpus.

    python -m training.evaluate --checkpoint MODEL --corpus DIR --split test-a [--out FOLDER]
    python -m training.evaluate --compare MODEL MODEL … --corpus DIR --split valid

Every clip of the split is animated from its speech, in the manner of ANOTHER clip of the same
person, and compared with the captured motion: `training.motion_score.MEASURES`, over all, by
identity and by emotion. Splits: train, valid, test, test-a (people known from training), test-b
(others). Prints Markdown; with --out also writes evaluation.md, evaluation.json and figures.

A model that takes emotions is given the clip's own. With --same-emotion the reference shows the
clip's emotion too, as models that read the emotion off the style code need it (PSE). With --by-name
people of the training are called by name, and speak in the ready-made style that the checkpoint has
of them. A model that knows styles by identity alone gets the person's in any case, and for
strangers the mean over its people.

SCS and the synchrony score come from networks that learn from the corpus' training split, once
(`training.judges`); --no-judges leaves them out. What codes hold is measured over the same clips
(`training.code_report`); where everything in a split is said by several people, as in the split
same-speech of `training.synthesis.study_corpus`, also whether content codes of the same speech are
alike (`training.same_speech`).

Raw motion is measured; --finish measures what `core.finishing` makes of it. Motion in the spaces
"flame" and "vertices" needs --lips, since regions of those meshes cannot be shipped.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from core.animator import Animator
from core.audio import SAMPLE_RATE_HZ
from core.conditioning import EmotionTrack, StyleTrack
from core.emotions import EMOTIONS
from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.flame_file import load_flame
from core.files import atomic_path
from core.finishing.finish import FinishSettings
from core.model.style import IdentityStyles
from core.motion import MotionClip
from training.batches import main_emotion
from training.code_report import code_report
from training.command import command
from training.corpus import UNKNOWN_EMOTION, Corpus
from training.evaluation_figures import write_figures
from training.judges import Judges, load_judges
from training.motion_score import MotionScore
from training.ready_styles import MEAN, styled_name
from training.report import markdown
from training.same_speech import content_across_people
from training.surfaces import FLAME_LIP_PAIR, Surface, surface_for

log = logging.getLogger(__name__)

SAMPLES_DRAWN = 4
"""Clips that are kept for figures."""


@dataclass
class Evaluation:
    """What was measured of one model.

    Attributes:
        name: The model's name.
        parameters: Its number of weights.
        everything: Measures over all clips.
        identities: Measures by identity.
        emotions: Measures by emotion, of clips whose emotion is known.
        seconds_per_second: Time taken for a second of speech, on this machine.
        without_reference: Clips whose person has no other clip; the model's default style is used.
        codes: What the model's codes hold (`training.code_report`), each a share of right answers
            with the share that guessing gets.
        samples: The first clips, for figures: name, true and predicted motion.
    """

    name: str
    parameters: int
    everything: dict[str, float]
    identities: dict[str, dict[str, float]] = field(default_factory=dict)
    emotions: dict[str, dict[str, float]] = field(default_factory=dict)
    seconds_per_second: float = math.nan
    without_reference: int = 0
    codes: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: list[tuple[str, np.ndarray, np.ndarray]] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict:
        """For JSON, in which what is not a number is null."""
        told = {key: value for key, value in vars(self).items() if key != "samples"}
        return {key: without_nan(value) for key, value in told.items()}

    @classmethod
    def from_dict(cls, told: dict) -> Evaluation:
        """What `to_dict` told; figures' samples are not among it."""
        return cls(**{key: with_nan(value) for key, value in told.items()})


def evaluate(
    animator: Animator,
    corpus: Corpus,
    clips: Sequence[int],
    surface: Surface,
    finishing: FinishSettings | None = None,
    *,
    judges: Judges | None = None,
    same_emotion: bool = False,
    by_name: bool = False,
) -> Evaluation:
    """Animate clips and measure them.

    Args:
        animator: The model.
        corpus: The corpus.
        clips: Indices of the clips.
        surface: The face to measure on.
        finishing: What is done to the motion before it is measured; None measures it raw.
        judges: For SCS and synchrony; None leaves them out.
        same_emotion: References show the clip's emotion where there is such a clip.
        by_name: People whom the model has a ready-made style of speak in that, others as their
            reference does.

    Raises:
        IdiolectError: The model's motion is not the corpus'.
    """
    _check_fits(animator, corpus)
    total = MotionScore(surface, corpus.fps)
    identities: dict[str, MotionScore] = {}
    emotions: dict[str, MotionScore] = {}
    references = references_of(corpus, clips, same_emotion=same_emotion)
    samples_drawn: list[tuple[str, np.ndarray, np.ndarray]] = []
    taken_s = 0.0
    for index in tqdm(clips, desc=animator.name, unit="clip", mininterval=1.0):
        clip, reference = corpus.clips[index], references[index]
        style = style_for(animator, corpus, index, reference, by_name=by_name)
        samples, truth = corpus.clip_samples(index), corpus.clip_motion(index)
        begun = time.perf_counter()
        motion = animator.animate(
            samples,
            style=style,
            emotion=emotion_for(animator, corpus, index),
            fps=corpus.fps,
            finishing=finishing,
        )
        taken_s += time.perf_counter() - begun
        predicted = motion.select(corpus.channels) if corpus.space == "arkit" else motion.weights
        # The last frame may lie beyond the last sample: the face then rests as it was.
        short = max(0, len(truth) - len(predicted))
        predicted = np.pad(predicted, ((0, short), (0, 0)), mode="edge")
        score = MotionScore(surface, corpus.fps)
        score.add(truth, predicted, corpus.clip_phones(index), samples)
        predicted = predicted[: len(truth)]
        if judges is not None:
            score.add_judged(judges.judge(truth, predicted, samples), len(truth))
        if len(samples_drawn) < SAMPLES_DRAWN:
            samples_drawn.append((clip.name, truth, predicted))
        labels = corpus.clip_emotion(index)
        known = labels[labels != UNKNOWN_EMOTION]
        groups = [total, identities.setdefault(clip.identity, MotionScore(surface, corpus.fps))]
        if len(known):
            emotion = EMOTIONS[int(np.bincount(known).argmax())]
            groups.append(emotions.setdefault(emotion, MotionScore(surface, corpus.fps)))
        for group in groups:
            group.merge(score)
    heard_s = sum(corpus.clips[index].samples for index in clips) / SAMPLE_RATE_HZ
    return Evaluation(
        name=animator.name,
        parameters=animator.parameters,
        everything=total.summary(),
        identities={name: score.summary() for name, score in sorted(identities.items())},
        emotions={name: score.summary() for name, score in sorted(emotions.items())},
        seconds_per_second=taken_s / heard_s,
        without_reference=sum(reference is None for reference in references.values()),
        samples=samples_drawn,
    )


def style_for(
    animator: Animator,
    corpus: Corpus,
    clip: int,
    reference: int | None,
    *,
    by_name: bool = False,
) -> np.ndarray | str | StyleTrack | None:
    """The manner in which a model imitates who performs a clip, given another clip of theirs.

    With `by_name` it is the ready-made style of that person, where there is one; of a model whose
    styles carry the emotion, that of the person in the clip's emotions, frame by frame.
    """
    person = corpus.clips[clip].identity
    if isinstance(animator.engine.model.style_encoder, IdentityStyles):
        return person if person in animator.styles else MEAN
    if by_name:
        if person in animator.styles:
            return person
        if (track := _style_in_emotions(animator, corpus, clip)) is not None:
            return track
    if reference is None:
        return None
    return animator.style_from_motion(
        MotionClip(corpus.clip_motion(reference), corpus.channels, corpus.fps, corpus.space)
    )


def _style_in_emotions(animator: Animator, corpus: Corpus, clip: int) -> StyleTrack | None:
    """A person's ready-made styles in every emotion, mixed by a clip's intensities."""
    person = corpus.clips[clip].identity
    codes = {
        place: animator.styles[name]
        for place, emotion in enumerate(EMOTIONS)
        if (name := styled_name(person, emotion)) in animator.styles
    }
    intensities = corpus.clip_intensities(clip)[:, list(codes)]
    total = intensities.sum(axis=1, keepdims=True)
    if not codes or not (total > 0.0).all():  # not a number, where the emotion is not known
        return None
    return StyleTrack.of_frames(intensities / total @ np.stack(list(codes.values())), corpus.fps)


def emotion_for(animator: Animator, corpus: Corpus, clip: int) -> EmotionTrack | None:
    """A clip's emotions over time, for a model that takes them; None where they are not known."""
    if not animator.config.emotion.given:
        return None
    intensities = corpus.clip_intensities(clip)
    if np.isnan(intensities).any():
        return None
    return EmotionTrack.of_frames(intensities, corpus.fps)


def references_of(
    corpus: Corpus, clips: Sequence[int], *, same_emotion: bool = False
) -> dict[int, int | None]:
    """The clip whose manner each clip is spoken in: the next one of the same person.

    Of the same split where there is one, else any other clip of theirs; None where there is none.
    With `same_emotion` one that shows the same emotion, from anywhere, comes before all others.
    """
    shown = [main_emotion(corpus, index) for index in range(len(corpus.clips))]
    chosen: dict[int, int | None] = {}
    for index in clips:
        person = corpus.clips[index].identity
        pools: list[Sequence[int]] = [clips, range(len(corpus.clips))]
        if same_emotion:
            alike = [[i for i in pool if shown[i] == shown[index]] for pool in pools]
            pools = [*alike, *pools]
        for pool in pools:
            others = [i for i in pool if corpus.clips[i].identity == person and i != index]
            if others:
                chosen[index] = next((i for i in others if i > index), others[0])
                break
        else:
            chosen[index] = None
    return chosen


def _check_fits(animator: Animator, corpus: Corpus) -> None:
    found = (animator.space, animator.config.motion.channels)
    expected = (corpus.space, len(corpus.channels))
    if found != expected:
        raise IdiolectError(
            f"{corpus.folder}: expected motion as the model '{animator.name}' makes it "
            f"({found[0]}, {found[1]} channels), found {expected[0]}, {expected[1]} channels",
            hint="Measure a model on the kind of corpus that it learnt from.",
            code="corpus_mismatch",
            setting="--corpus",
        )


def without_nan(value: Any) -> Any:
    """For JSON: what is not a number is null, within dictionaries and lists too."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_nan(value: Any) -> Any:
    """What `without_nan` told, as it was."""
    if isinstance(value, dict):
        return {key: with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_nan(item) for item in value]
    return math.nan if value is None else value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=(__doc__ or "").splitlines()[0]
    )
    models = parser.add_mutually_exclusive_group(required=True)
    models.add_argument("--checkpoint", type=Path, help="a finished model")
    models.add_argument("--compare", type=Path, nargs="+", help="several, side by side")
    parser.add_argument("--corpus", type=Path, required=True, help="a corpus (training.prepare)")
    parser.add_argument("--split", default="test", help="train, valid, test, test-a or test-b")
    parser.add_argument("--limit", type=int, help="only the first so many clips")
    parser.add_argument("--out", type=Path, help="folder for evaluation.md and evaluation.json")
    parser.add_argument("--same-emotion", action="store_true",
                        help="references show the clip's own emotion")  # fmt: skip
    parser.add_argument("--by-name", action="store_true",
                        help="people of the training speak in their ready-made style")  # fmt: skip
    parser.add_argument("--no-judges", action="store_true", help="leave out SCS and synchrony")
    parser.add_argument("--no-codes", action="store_true", help="do not ask what codes hold")
    parser.add_argument("--finish", action="store_true", help="measure finished motion, not raw")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--lips", type=Path, help="vertices of the lips, or FLAME_masks.pkl")
    parser.add_argument("--upper-face", type=Path, help="vertices of the upper face")
    parser.add_argument(
        "--lip-pair", type=int, nargs=2, default=FLAME_LIP_PAIR, metavar=("UPPER", "LOWER"),
        help="vertices at the middle of the lips (default: FLAME's)",
    )  # fmt: skip
    parser.add_argument("--flame", type=Path, help="a FLAME model, for motion in that space")
    return parser


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    corpus = Corpus(options.corpus)
    clips = corpus.select(options.split)[: options.limit]
    surface = surface_for(
        corpus.space,
        corpus.channels,
        lips=options.lips,
        upper_face=options.upper_face,
        lip_pair=(options.lip_pair[0], options.lip_pair[1]),
        flame=FlameModel(load_flame(options.flame)) if options.flame else None,
    )
    finishing = FinishSettings() if options.finish else None
    paths = options.compare or [options.checkpoint]
    animators = [Animator(path, options.device) for path in paths]
    for animator in animators:
        _check_fits(animator, corpus)
    judges = None if options.no_judges else load_judges(corpus)
    evaluations = {}
    for path, animator in zip(paths, animators, strict=True):
        found = evaluate(
            animator, corpus, clips, surface, finishing,
            judges=judges, same_emotion=options.same_emotion,
            by_name=options.by_name,
        )  # fmt: skip
        report = None
        if not options.no_codes:
            report = code_report(animator, corpus, clips, surface)
            across = content_across_people(animator, corpus, clips)
            found.codes = report.findings | across
        if options.out:
            folder = options.out / "figures" / Path(path).stem
            write_figures(folder, animator, corpus, found, surface, report)
        evaluations[str(path)] = found
    text = markdown(list(evaluations.values()), str(options.corpus), options.split)
    if options.out:
        data = {"corpus": str(options.corpus), "split": options.split}
        models = {path: found.to_dict() for path, found in evaluations.items()}
        with atomic_path(options.out / "evaluation.json") as path:
            path.write_text(json.dumps({**data, "models": models}, indent=1), encoding="utf-8")
        with atomic_path(options.out / "evaluation.md") as path:
            path.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
