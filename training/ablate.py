"""Train and measure what the papers' tables compare, in one command.

    python -m training.ablate presets --corpus DIR --out OUT [--steps 1500] [--seeds 3 mimic=1] \
        [--set key=value]

Studies:

- presets: Mimic, PSE and their union beside the one-hot baseline in FaceFormer's manner, which
  knows each person of the training by a code of their own and strangers by the mean of those codes;
  the baseline also with the emotion told, as the union is told it; what content codes hold of the
  same speech by several people, and what planted errors of durations do to synchrony;
- union: what the union is taught and what else it could be, part by part;
- mimic: Mimic's table 4: without the content encoder, either classifier, the contrastive loss,
  either cycle;
- personalized: PSE's: without style, durations, discriminators, relative positions;
- decoders: the union with the parallel and with the autoregressive decoder, also on emotions that
  change in mid-sentence, where the corpus has such clips;
- backbones: the compact speech backbone beside wav2vec 2.0 (--wav2vec2 NAME_OR_FOLDER);
- exploratory: Mimic's table 1: who moves, and what is said, read from motion alone.

The protocol of all of them: people of the training are called by name. The baseline has a code of
theirs, the other models the mean of the style codes of their clips, as the ready-made styles of the
add-on are made; models whose styles carry the emotion have one for each emotion, and take it frame
by frame. Strangers are known by ONE clip, which shows the emotion of the clip that is wanted. Rows
"by one clip" are the same trainings with everybody known by one clip alone.

Everything is trained with one budget and in reduced sizes, unless --width 0 and --learning-rate 0
leave the presets as they are. Started again with the same OUT, finished trainings are kept.
Prints Markdown; OUT also holds table.md, study.json and each variant's run and figures.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.animator import BUNDLED_CHECKPOINT
from core.errors import IdiolectError
from core.face.flame import FlameModel
from core.face.flame_file import load_flame
from core.files import atomic_path
from training.command import command
from training.corpus import Corpus
from training.judges import Judges, load_judges
from training.motion_phones import motion_phone_error
from training.study import TRANSITIONS, Measuring, run_study
from training.study_record import Budget, Variant
from training.study_report import report
from training.surfaces import FLAME_LIP_PAIR, surface_for
from training.train import Bars

NO_CONTENT = (
    "model.content.code=0", "loss.content_branch=0.0", "loss.content_identity=0.0",
    "loss.contrastive=0.0", "loss.style_cycle=0.0", "loss.content_cycle=0.0",
)  # fmt: skip
LISTENING = (
    "backbone.kind=compact", "backbone.finetune=false", "model.speech.hidden=true",
    "model.speech.posteriors=true", "model.speech.prosody=true", "model.speech.align_wide=false",
    "data.transcript_chance=0.0",
)  # fmt: skip
"""All listen through one backbone, and to all of what it hears."""
ONE_HOT = (
    *NO_CONTENT, "model.style.kind=identity", "loss.identity=0.0", "model.style.null_chance=0.0",
)  # fmt: skip

BASELINE, TOLD = "one-hot baseline", "one-hot baseline, told the emotion"
CONTENT = (
    "model.content.code=128", "model.content.over_time=true", "loss.content_branch=0.5",
    "loss.content_identity=0.2", "loss.contrastive=0.1", "loss.style_cycle=0.1",
    "loss.content_cycle=0.1",
)  # fmt: skip
NO_PHONES = (
    "model.duration.phone_head=false", "model.duration.predictor=false", "loss.phones=0.0",
    "loss.durations=0.0",
)  # fmt: skip

STUDIES: dict[str, tuple[Variant, ...]] = {
    "presets": (
        Variant(BASELINE, "mimic", ONE_HOT, "styles by identity; autoregressive"),
        Variant(
            TOLD, "mimic", (*ONE_HOT, "model.emotion.given=true"),
            "the same, with the union's embedding of the emotion beside the person's code",
        ),
        Variant("mimic", "mimic", (), "reads the emotion off the reference"),
        Variant("personalized", "personalized", (), "reads the emotion off the reference"),
        Variant("idiolect", "idiolect", (), "is told the emotion"),
        *(
            Variant(
                f"{name}, by one clip", name, (),
                f"the trainings of {name}; people of the training, too, are known by one clip",
                trained_as=name, by_name=False,
            )
            for name in ("mimic", "personalized", "idiolect")
        ),
    ),
    "union": (
        Variant("idiolect", "idiolect"),
        Variant("w/o phones and durations", "idiolect", NO_PHONES),
        Variant(
            "with content codes", "idiolect", CONTENT,
            "Mimic's content encoder, its branch, classifier, contrastive loss and both cycles",
        ),
        Variant(
            "with discriminators", "idiolect",
            ("loss.style_adversary=0.1", "loss.sync_adversary=0.1"),
            "PSE's, of style and of synchrony",
        ),
        Variant(
            "emotion left in", "idiolect", ("model.style.hide_emotion=false",),
            "what its style codes tell of the emotion is not taken out",
        ),
        Variant(
            "styles by identity", "idiolect",
            ("model.style.kind=identity", "loss.identity=0.0", "loss.emotion_adversary=0.0",
             "optim.style_first=0", "model.style.hide_emotion=false"),
            "a code for each person instead of a style encoder; strangers by the mean code",
        ),
    ),
    "mimic": (
        Variant("Mimic", "mimic"),
        Variant("w/o E_c", "mimic", NO_CONTENT),
        Variant("w/o C_s", "mimic", ("loss.identity=0.0",)),
        Variant("w/o C_c", "mimic", ("loss.content_identity=0.0",)),
        Variant("w/o L_con", "mimic", ("loss.contrastive=0.0",)),
        Variant("w/o L_cyc^s", "mimic", ("loss.style_cycle=0.0",)),
        Variant("w/o L_cyc^c", "mimic", ("loss.content_cycle=0.0",)),
    ),
    "personalized": (
        Variant("PSE", "personalized"),
        Variant("w/o style", "personalized", ("model.style.null_chance=1.0", "loss.identity=0.0")),
        Variant(
            "w/o durations",
            "personalized",
            (
                "model.duration.phone_head=false", "model.duration.predictor=false",
                "model.duration.expansion=false", "model.duration.positions=false",
                "loss.phones=0.0", "loss.durations=0.0",
            ),
        ),
        Variant(
            "w/o discriminators",
            "personalized",
            ("loss.style_adversary=0.0", "loss.sync_adversary=0.0"),
        ),
        Variant(
            "w/o relative positions",
            "personalized",
            ("model.decoder.relative=false", "model.speech.encoder.relative=false"),
        ),
    ),
    "decoders": (
        Variant("parallel", "idiolect"),
        Variant("autoregressive", "idiolect", ("model.decoder_kind=autoregressive",)),
    ),
    "backbones": (
        Variant("compact", "idiolect"),
        Variant(
            "wav2vec 2.0",
            "idiolect",
            ("backbone_weights=''", "backbone.kind=wav2vec2", "model.speech.posteriors=false"),
        ),
    ),
}  # fmt: skip
EXPLORATORY = "exploratory"
AHEAD = {"presets": (("idiolect", BASELINE), ("idiolect", TOLD))}
"""Of whom it is told where the first is ahead of the second."""
PLANTED = {"presets": ("test-b",)}
"""Splits on which errors of durations are planted."""


def exploratory(corpus: Corpus, judges: Judges, steps: int) -> str:
    """What motion alone tells (Mimic, table 1), as Markdown."""
    style = judges.style.measured
    phones = motion_phone_error(corpus, steps)
    return "\n".join(
        [
            "# exploratory",
            "",
            f"- Who moves: {style.get('accuracy', float('nan')):.1%} of {style['clips']:.0f} clips "
            f"of known people are given to the right one (guessing: {style['chance']:.1%}).",
            f"- What is said: a recogniser of phones on motion gets {phones.error:.1%} of "
            f"{phones.phones} phones wrong; one that hears none would get 100 %.",
            "",
        ]
    )


def chosen_variants(study: str, wav2vec2: str) -> list[Variant]:
    """The variants of a study.

    Raises:
        IdiolectError: wav2vec 2.0 is asked for, and not given.
    """
    variants = list(STUDIES[study])
    if study == "backbones":
        if not wav2vec2:
            raise IdiolectError(
                "the study of backbones needs wav2vec 2.0",
                hint="Give it: --wav2vec2 FOLDER, or a name on the Hugging Face hub.",
                code="backbone_missing",
                setting="--wav2vec2",
            )
        last = variants[-1]
        changes = (*last.changes, f"backbone.source='{wav2vec2}'")
        variants[-1] = replace(last, changes=changes)
    return variants


def seeds_of(told: Sequence[str], variants: Sequence[Variant]) -> dict[str, int]:
    """How many trainings each variant gets, from "N" for all and "VARIANT=N" for some.

    Raises:
        IdiolectError: There is no such variant, or a number is none.
    """
    names = list(dict.fromkeys(variant.training for variant in variants))
    found = dict.fromkeys(names, 1)
    for entry in told:
        name, _, count = entry.rpartition("=")
        if not count.isdecimal() or int(count) < 1 or (name and name not in names):
            raise IdiolectError(
                f"--seeds: expected a number of trainings, or VARIANT=NUMBER, found '{entry}'",
                hint=f"The variants are: {', '.join(names)}.",
                code="config_invalid",
                setting="--seeds",
            )
        found |= dict.fromkeys([name] if name else names, int(count))
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.ablate", description=(__doc__ or "").splitlines()[0]
    )
    budget = Budget()
    parser.add_argument("study", choices=[*STUDIES, EXPLORATORY])
    parser.add_argument("--corpus", type=Path, required=True, help="a corpus (training.prepare)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--variants", nargs="+", help="only these, by name")
    parser.add_argument("--splits", nargs="+", help="default: test-a, test-b and transitions")
    parser.add_argument("--steps", type=int, default=budget.steps, help="of each training")
    parser.add_argument("--seeds", nargs="+", default=["1"], metavar="N|VARIANT=N",
                        help="trainings of each variant, or of some of them")  # fmt: skip
    parser.add_argument("--batch", type=int, default=budget.batch, help="clips in a step")
    parser.add_argument(
        "--width", type=int, default=budget.width, help="of all parts; 0 = presets'"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=budget.learning_rate, help="0 = the presets'"
    )
    parser.add_argument("--threads", type=int, default=budget.threads, help="CPU threads")
    parser.add_argument("--limit", type=int, help="at most so many clips of each split")
    parser.add_argument("--judge-steps", type=int, default=500, help="training of the judges")
    parser.add_argument("--backbone", type=Path, default=BUNDLED_CHECKPOINT,
                        help="compact speech backbone (default: the bundled one)")  # fmt: skip
    parser.add_argument("--wav2vec2", default="", help="for the study of backbones")
    parser.add_argument("--lips", type=Path, help="vertices of the lips, or FLAME_masks.pkl")
    parser.add_argument("--flame", type=Path, help="a FLAME model, for motion in that space")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="settings",
                        help="change a setting of all variants")  # fmt: skip
    return parser


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    corpus = Corpus(options.corpus)
    judges = load_judges(corpus, steps=options.judge_steps)
    if options.study == EXPLORATORY:
        text = exploratory(corpus, judges, options.steps)
    else:
        budget = Budget(
            options.steps, options.batch, width=options.width,
            learning_rate=options.learning_rate, threads=options.threads,
        )  # fmt: skip
        variants = chosen_variants(options.study, options.wav2vec2)
        seeds = seeds_of(options.seeds, variants)
        if options.variants:
            variants = [v for v in variants if v.name in options.variants]
        splits = options.splits or _splits(corpus)
        surface = surface_for(
            corpus.space, corpus.channels, lips=options.lips, lip_pair=FLAME_LIP_PAIR,
            flame=FlameModel(load_flame(options.flame)) if options.flame else None,
        )  # fmt: skip
        measuring = Measuring(
            surface, judges, splits, PLANTED.get(options.study, ()), options.limit
        )
        settings = [*LISTENING, f"backbone_weights='{options.backbone}'", *options.settings]
        outcomes = run_study(
            variants, corpus, options.out, budget, measuring, settings=settings,
            seeds=seeds, progress=Bars(),
        )  # fmt: skip
        ahead = AHEAD.get(options.study, ())
        text = report(options.study, outcomes, splits, budget, ahead)
    with atomic_path(options.out / "table.md") as path:
        path.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0


def _splits(corpus: Corpus) -> list[str]:
    """Those of the usual splits that a corpus has."""
    found = []
    for split in ("test-a", "test-b", TRANSITIONS):
        try:
            corpus.select(split)
        except IdiolectError:
            continue
        found.append(split)
    return found or ["valid"]


if __name__ == "__main__":
    sys.exit(main())
