"""Corpora of exactly the published form (names, shapes, types, rates, pickles), small in number."""

import json
import pickle
from pathlib import Path

import numpy as np
import soundfile

from core.motion import ARKIT_CHANNELS

RATE_HZ = 16000


def sound(seconds: float, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """Something with the loudness of speech and pauses in it, int16."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    syllables = np.clip(np.sin(2 * np.pi * 3 * time), 0, None)
    return (3000 * syllables * rng.standard_normal(len(time))).clip(-32768, 32767).astype(np.int16)


def write_sound(path: Path, seconds: float, rate_hz: int = RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound(seconds, rate_hz), rate_hz, subtype="PCM_16")


def textgrid(phones: list[tuple[float, float, str]]) -> str:
    """A TextGrid as the Montreal Forced Aligner writes it: words and phones."""
    end = phones[-1][1]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0",
             f"xmax = {end}", "tiers? <exists>", "size = 2", "item []:"]  # fmt: skip
    tiers = {"words": [(0.0, end, "word")], "phones": phones}
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        lines += [f"    item [{number}]:", '        class = "IntervalTier"',
                  f'        name = "{name}"', "        xmin = 0", f"        xmax = {end}",
                  f"        intervals: size = {len(intervals)}"]  # fmt: skip
        for index, (start_s, end_s, text) in enumerate(intervals, 1):
            lines += [f"        intervals [{index}]:", f"            xmin = {start_s}",
                      f"            xmax = {end_s}", f'            text = "{text}"']  # fmt: skip
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------- VOCASET

VOCASET_CLIPS = (
    ("FaceTalk_170728_03272_TA", 1, 48),
    ("FaceTalk_170728_03272_TA", 40, 42),
    ("FaceTalk_170811_03275_TA", 20, 40),
    ("FaceTalk_170811_03275_TA", 21, 40),
    ("FaceTalk_170809_00138_TA", 33, 40),
)
"""Subject, sentence, frames at 60 fps: two for training, one unused, validation, test."""


def write_vocaset(folder: Path) -> dict[str, np.ndarray]:
    """VOCASET; returns the templates."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    subjects = sorted({subject for subject, _, _ in VOCASET_CLIPS})
    templates = {s: rng.normal(0, 0.06, (5023, 3)).astype(np.float64) for s in subjects}
    audio: dict = {}
    index: dict = {}
    rows = []
    # The rows of sequences are not in the order of anything else.
    for subject, sentence, frames in VOCASET_CLIPS[::-1]:
        name = f"sentence{sentence:02d}"
        first = sum(map(len, rows))
        ramp = np.linspace(0, 0.01, frames)[:, None, None]
        rows.append((templates[subject] + ramp).astype(np.float32))
        index.setdefault(subject, {})[name] = {i: first + i for i in range(frames)}
        heard = {"audio": sound(frames / 60 + 0.02, 22000), "sample_rate": 22000}
        audio.setdefault(subject, {})[name] = heard
    # A sentence whose sound is missing, as in the original.
    index[subjects[0]]["sentence39"] = {0: 0, 1: 1}
    np.save(folder / "data_verts.npy", np.concatenate(rows))
    for name, content in (
        ("templates.pkl", templates),
        ("raw_audio_fixed.pkl", audio),
        ("subj_seq_to_idx.pkl", index),
    ):
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "sentencestext").mkdir()
    text = "".join(f"She said line {n}.\n" for n in range(1, 41))
    (folder / "sentencestext" / f"{VOCASET_CLIPS[0][0]}.txt").write_text(text)
    return templates


# ---------------------------------------------------------------------------------------- BIWI

BIWI_CLIPS = (("F2", 1), ("F2", 33), ("F2", 37), ("F1", 40), ("F1", 1))
"""Subject, sentence: training, validation, Test-A, Test-B, unused."""


def write_biwi(folder: Path, *, frames: int = 20, height: float = 1.0) -> None:
    """BIWI as CodeTalker unpacks it; heads `height` units tall."""
    rng = np.random.default_rng(2)
    (folder / "vertices_npy").mkdir(parents=True)
    templates = {}
    for subject in ("F1", "F2"):
        template = rng.uniform(0, 1, (23370, 3)) * (0.7 * height, height, 0.6 * height)
        template[:2, 1] = 0, height
        templates[subject] = template
    (folder / "templates.pkl").write_bytes(pickle.dumps(templates))
    for subject, sentence in BIWI_CLIPS:
        ramp = np.linspace(0, 0.04 * height, frames)[:, None]
        moving = templates[subject].reshape(1, -1) + ramp  # float64, as loadmat gives it
        name = f"{subject}_e{sentence:02d}"
        np.save(folder / "vertices_npy" / f"{name}.npy", moving)
        write_sound(folder / "wav" / f"{name}.wav", frames / 25, 44100)


# ---------------------------------------------------------------------------------- BEAT, BEAT2

BEAT_CHANNELS = tuple(name for name in ARKIT_CHANNELS if name != "tongueOut")
BEAT_PHONES = [(0.0, 0.5, ""), (0.5, 0.6, "B"), (0.6, 0.9, "IY1"), (0.9, 1.0, "spn")]


def write_beat_recording(
    folder: Path, name: str, *, seconds: float = 1.0, grid: bool = True
) -> None:
    """A recording of BEAT v0.2.1: json, wav, TextGrid in a folder by speaker."""
    folder = folder / name.split("_")[0]
    folder.mkdir(parents=True, exist_ok=True)
    frames = round(seconds * 60)
    weights = np.tile(np.linspace(0, 0.5, frames)[:, None], (1, len(BEAT_CHANNELS)))
    data = {
        "names": BEAT_CHANNELS,
        "frames": [
            {"weights": row.round(6).tolist(), "time": round(i / 60, 6), "rotation": []}
            for i, row in enumerate(weights)
        ],
    }
    (folder / f"{name}.json").write_text(json.dumps(data))
    write_sound(folder / f"{name}.wav", seconds)
    if grid:
        (folder / f"{name}.TextGrid").write_text(textgrid(BEAT_PHONES))


def write_beat2(folder: Path, names: dict[str, str], *, frames: int = 36) -> None:
    """BEAT2, one language: name -> type in the split list."""
    rng = np.random.default_rng(3)
    (folder / "smplxflame_30").mkdir(parents=True)
    (folder / "textgrid").mkdir()
    rows = "".join(f"{name},{kind}\n" for name, kind in names.items())
    (folder / "train_test_split.csv").write_text(f"id,type\n{rows}")
    for name in names:
        np.savez(
            folder / "smplxflame_30" / f"{name}.npz",
            betas=np.zeros(300, np.float32),
            poses=np.tile(np.arange(165, dtype=np.float32) / 1000, (frames, 1)),
            expressions=rng.normal(size=(frames, 100)).astype(np.float32),
            trans=np.zeros((frames, 3), np.float32),
            model=np.array("smplx2020"),
            gender=np.array({"an": "object, which must not be unpickled"}, dtype=object),
            mocap_frame_rate=np.array(30),
        )
        write_sound(folder / "wave16k" / f"{name}.wav", frames / 30)
        (folder / "textgrid" / f"{name}.TextGrid").write_text(textgrid(BEAT_PHONES))


# --------------------------------------------------------------------------------- FLAME tracks


def write_track(path: Path, sound_path: Path, *, frames: int = 30, seed: int = 4) -> None:
    """Coefficients of one video as SPECTRE and DECA give them, with its sound."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        exp=rng.normal(size=(frames, 50)).astype(np.float32),
        pose=np.tile(np.arange(6, dtype=np.float32) / 10, (frames, 1)),
        shape=rng.normal(size=(frames, 100)).astype(np.float32),
        cam=np.zeros((frames, 3), np.float32),
    )
    write_sound(sound_path, frames / 25)


# ------------------------------------------------------------------------------------- 3D-HDTF


def write_hdtf(folder: Path, *, frames: int = 20) -> dict[int, np.ndarray]:
    """Four videos in Mimic's form, one of them as offsets; returns the templates."""
    rng = np.random.default_rng(5)
    folder.mkdir(parents=True, exist_ok=True)
    templates = {person: rng.normal(0, 0.06, (5023, 3)) for person in (1, 151)}
    (folder / "templates.pkl").write_bytes(pickle.dumps(templates))
    videos = {"RD_Radio1_000": (1, "train"), "RD_Radio1_001": (1, "train"),
              "RD_Radio1_002": (1, "test"), "WRA_Person_000": (151, "train")}  # fmt: skip
    ramp = np.linspace(0, 0.01, frames)[:, None, None]
    for name, (person, _) in videos.items():
        place = folder / "spectre_processed_25fps_16kHz" / name
        place.mkdir(parents=True)
        rest = 0 if name == "RD_Radio1_001" else templates[person]
        verts = (rest + ramp + np.zeros((5023, 3))).astype(np.float32)
        np.save(place / "verts_new_shape1.npy", {"verts": verts})
        if name == "RD_Radio1_000":
            heard = sound(frames / 25) / np.float32(32768)
            entry = {"speech_array": heard.astype(np.float32), "sampling_rate": RATE_HZ}
            np.save(place / "audio_librosa.npy", entry)
        else:
            write_sound(folder / "audio_16000Hz_from_video" / f"{name}.wav", frames / 25)
    lines = [f"{name} {person} {frames} {split}" for name, (person, split) in videos.items()]
    (folder / "video_list_id_framenum-train_test.txt").write_text("\n".join(lines) + "\n")
    return templates


# ------------------------------------------------------------------------------------ Live Link


def write_live_link(path: Path, *, seconds: float = 1.0, fps: int = 60) -> None:
    """A take of the Live Link Face app, with its columns and timecodes, and its sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [name[0].upper() + name[1:] for name in ARKIT_CHANNELS]
    turns = [f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye")
             for axis in ("Yaw", "Pitch", "Roll")]  # fmt: skip
    lines = [",".join(["Timecode", "BlendShapeCount", *names, *turns])]
    for i in range(round(seconds * fps)):
        values = [f"{0.25 if name == 'JawOpen' else 0.0}" for name in names] + ["0.1"] * len(turns)
        code = f"10:20:{30 + i // fps:02d}:{i % fps:02d}.000"
        lines.append(",".join([code, "61", *values]))
    path.write_text("\n".join(lines) + "\n")
    write_sound(path.with_suffix(".wav"), seconds, 48000)
