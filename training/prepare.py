"""Turn a published corpus into the one form that training reads (`training.corpus`).

    python -m training.prepare READER SOURCE OUT [--fps 25] [--identities A B] [--limit N]

READER is one of vocaset, biwi, beat, beat2, hdtf, flame-tracks, live-link (`training.readers`).
Motion is resampled by time, speech brought to 16 kHz and to one level, phones taken from a
TextGrid, else found by forced alignment of the transcript (pocketsphinx, or a CTC recogniser of
phones by --ctc), else marked as unknown; splits are as
published.

OUT appears whole at the end or not at all. Where sound and motion differ in length by no more than
`--tolerance` both are cut to the shorter; by more, the recording is refused, or with `--trim` cut
and reported. A recording that cannot be used stops the work, or with `--skip-bad` is left out and
reported.
"""

from __future__ import annotations

import argparse
import functools
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from core.emotions import EMOTIONS
from core.errors import IdiolectError, write_failed
from core.motion import ARKIT_CHANNELS
from core.phones import Segment
from training.command import command
from training.corpus import UNKNOWN_EMOTION, UNKNOWN_PHONE, CorpusWriter
from training.readers import READERS
from training.readers.clips import Align, Clip, Options, make_clip
from training.readers.interface import Recording

if TYPE_CHECKING:
    from core.words.sphinx import Aligner

log = logging.getLogger(__name__)


@dataclass
class Summary:
    """What was made, for people."""

    clips: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    identities: dict[str, set[str]] = field(default_factory=dict)
    frames: int = 0
    frames_with_phones: int = 0
    emotions: Counter[str] = field(default_factory=Counter)
    largest_trim_s: float = 0.0
    trimmed: int = 0
    left_out: list[str] = field(default_factory=list)

    def add(self, recording: Recording, clip: Clip, fps: float) -> None:
        """Count a clip."""
        self.clips[recording.split] += 1
        before_s = self.seconds.get(recording.split, 0.0)
        self.seconds[recording.split] = before_s + len(clip.motion) / fps
        self.identities.setdefault(recording.split, set()).add(recording.identity)
        self.frames += len(clip.phones)
        self.frames_with_phones += int((clip.phones != UNKNOWN_PHONE).sum())
        for label in np.unique(clip.emotion[clip.emotion != UNKNOWN_EMOTION]):
            self.emotions[EMOTIONS[int(label)]] += 1
        self.largest_trim_s = max(self.largest_trim_s, clip.trimmed_s)

    def lines(self) -> list[str]:
        """The summary, line by line."""
        lines = []
        for split in sorted(self.clips):
            people = self.identities[split]
            seen = len(people & self.identities.get("train", set()))
            known = "" if split == "train" else f" ({seen} of them in train)"
            lines.append(
                f"{split}: {self.clips[split]} clips, {self.seconds[split] / 60:.1f} min, "
                f"{len(people)} identities{known}"
            )
        lines.append(
            f"phones known in {self.frames_with_phones / max(1, self.frames):.0%} of frames"
        )
        if self.emotions:
            counts = ", ".join(f"{name} {count}" for name, count in self.emotions.most_common())
            lines.append(f"clips with an emotion: {counts}")
        lines.append(f"largest difference of sound and motion: {self.largest_trim_s:.2f} s")
        if self.trimmed:
            lines.append(f"cut beyond the tolerance: {self.trimmed} recordings")
        if self.left_out:
            lines.append(f"left out: {len(self.left_out)} recordings")
        return lines


def prepare(
    reader: str,
    source: Path,
    out: Path,
    options: Options,
    *,
    identities: Collection[str] = (),
    limit: int | None = None,
    align: Align | None = None,
) -> Summary:
    """Read a corpus and write it in the form that training reads.

    Args:
        reader: Name of a reader.
        source: The corpus as published.
        out: Folder to make; must not exist, or be empty.
        options: How.
        identities: Only these people; all where empty.
        limit: At most this many recordings of each person and split.
        align: Finds phones of transcripts; None leaves them unknown.

    Raises:
        IdiolectError: The source is not as published, `out` is taken, or nothing was usable.
    """
    recordings = _chosen(READERS[reader](source), source, identities, limit)
    summary = Summary()
    with _whole_folder(out) as folder, logging_redirect_tqdm():
        writer: CorpusWriter | None = None
        try:
            for recording in tqdm(recordings, desc=reader, unit="clip", mininterval=1.0):
                try:
                    take = recording.load()
                    clip = make_clip(take, options, align)
                except IdiolectError as error:
                    if not options.skip_bad:
                        raise _named(error, recording) from error
                    log.warning("%s left out: %s", recording.name, error.message)
                    summary.left_out.append(recording.name)
                    continue
                space = take.motion.space
                channels = ARKIT_CHANNELS if space == "arkit" else take.motion.channels
                writer = writer or CorpusWriter(folder, channels, options.fps, space)
                if clip.trimmed_s > options.tolerance_s:
                    log.warning("%s: cut by %.2f s to the shorter", recording.name, clip.trimmed_s)
                    summary.trimmed += 1
                _check_alike(writer.channels, channels, recording)
                writer.add(
                    recording.name, recording.identity, recording.split,
                    clip.samples, clip.motion, clip.phones, clip.emotion, take.template,
                )  # fmt: skip
                summary.add(recording, clip, options.fps)
            if writer is None:
                raise IdiolectError(
                    f"{source}: none of {len(recordings)} recordings can be used",
                    hint="The messages above say why.",
                    code="corpus_empty",
                    setting="source",
                )
            writer.close()
        except BaseException:
            if writer:
                writer.discard()
            raise
    return summary


def _chosen(
    recordings: Iterable[Recording], source: Path, identities: Collection[str], limit: int | None
) -> list[Recording]:
    """The recordings asked for."""
    recordings = list(recordings)
    people = sorted({recording.identity for recording in recordings})
    if missing := sorted(set(identities) - set(people)):
        raise IdiolectError(
            f"{source} has no recordings of {', '.join(missing)}",
            hint=f"It has {', '.join(people[:40]) or 'none at all'}.",
            code="identity_unknown",
            setting="--identities",
        )
    if not recordings:
        raise IdiolectError(
            f"{source}: expected recordings with their sound, found none",
            hint="Name the corpus' own folder, and the reader that fits it.",
            code="corpus_empty",
            setting="source",
        )
    taken: Counter[tuple[str, str]] = Counter()
    chosen = []
    for recording in recordings:
        if identities and recording.identity not in identities:
            continue
        key = (recording.identity, recording.split)
        taken[key] += 1
        if limit is None or taken[key] <= limit:
            chosen.append(recording)
    return chosen


def _check_alike(expected: tuple[str, ...], found: tuple[str, ...], recording: Recording) -> None:
    if found != expected:
        raise IdiolectError(
            f"{recording.name}: expected the {len(expected)} channels of the recordings before it, "
            f"found {len(found)}, not the same",
            hint="Recordings of one corpus must come from one kind of tracker.",
            code="corpus_mixed",
            setting="source",
        )


def _named(error: IdiolectError, recording: Recording) -> IdiolectError:
    return IdiolectError(
        f"{recording.name}: {error.message}",
        hint=error.hint or "--skip-bad leaves such recordings out.",
        code=error.code,
        setting=error.setting,
    )


@contextmanager
def _whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block succeeds, and else is removed."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise IdiolectError(
            f"{out} is there already",
            hint="Choose another folder, or remove this one yourself.",
            code="output_taken",
            setting="OUT",
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-partial-"))
    except OSError as error:
        raise write_failed(out, error, setting="OUT") from error
    try:
        yield partial
        partial.chmod(0o755)
        if out.exists():
            out.rmdir()  # it is empty
        partial.replace(out)
    except OSError as error:
        raise write_failed(out, error, setting="OUT") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def forced_alignment(ctc: str | None = None) -> Align:
    """Forced alignment by pocketsphinx, which is loaded when the first transcript comes.

    Args:
        ctc: Align by this CTC recogniser of phones instead; it is loaded at once.

    Raises:
        IdiolectError: The recogniser cannot be loaded; by the function returned: pocketsphinx is
            not installed.
    """
    if ctc:
        from training.ctc_alignment import CtcAligner

        return CtcAligner(ctc)

    @functools.cache
    def aligner() -> Aligner:
        try:
            from core.words.sphinx import Aligner
        except ImportError as error:
            raise IdiolectError(
                f"transcripts cannot be aligned: {error}",
                hint="pip install pocketsphinx, or use --no-align to leave phones unknown.",
                code="needs_pocketsphinx",
            ) from error
        return Aligner()

    def align(samples: np.ndarray, text: str) -> list[Segment] | None:
        found = aligner().align(samples, text)
        if found is None:
            log.warning("no alignment for %r: unknown words, or another text was said", text[:60])
            return None
        return [Segment(*segment) for segment in found]

    return align


@command
def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m training.prepare", description=description)
    parser.add_argument("reader", choices=sorted(READERS), help="which corpus it is")
    parser.add_argument("source", type=Path, help="its folder, as published")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--fps", type=float, default=25.0, help="frames per second (25)")
    parser.add_argument("--identities", nargs="+", default=[], help="only these people")
    parser.add_argument("--limit", type=int, help="at most so many of each person and split")
    parser.add_argument(
        "--tolerance", type=float, default=0.5, metavar="S",
        help="seconds by which sound and motion may differ in length (0.5)",
    )  # fmt: skip
    parser.add_argument("--trim", action="store_true", help="cut larger differences, and say so")
    parser.add_argument("--skip-bad", action="store_true", help="leave out what cannot be used")
    parser.add_argument("--ctc", metavar="MODEL", help="align transcripts by this recogniser of "
                        "phones (training.ctc_alignment) instead of by pocketsphinx")  # fmt: skip
    parser.add_argument("--no-align", action="store_true", help="do not align transcripts")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = Options(chosen.fps, chosen.tolerance, chosen.trim, chosen.skip_bad)
    if not (np.isfinite(chosen.fps) and chosen.fps > 0):
        raise IdiolectError(f"expected a frame rate above zero, found {chosen.fps}",
                            setting="--fps", code="bad_range")  # fmt: skip
    align = None if chosen.no_align else forced_alignment(chosen.ctc)
    summary = prepare(
        chosen.reader, chosen.source, chosen.out, options,
        identities=chosen.identities, limit=chosen.limit, align=align,
    )  # fmt: skip
    print("\n".join([f"{chosen.out}:", *(f"  {line}" for line in summary.lines())]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
