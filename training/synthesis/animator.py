"""A procedural animator: phones and prosody in, ARKit motion out, in any speaking style.

The articulators follow Cohen and Massaro, "Modeling coarticulation in synthetic visual speech"
(1993): every phone pulls each articulator towards its target with a dominance that fades away from
the phone, and the articulator is where the weighted mean of all pulls is. Closures of the lips are
not left to that tug of war: on p, b and m the lips are brought together, whatever the neighbours or
the style say.

Shapes: T motion frames, P phone segments, A articulators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from core.emotions import EMOTIONS
from core.face.lips import lip_gap_basis_mm
from core.motion import ARKIT_CHANNELS, MotionClip, frame_count
from core.phones import BILABIALS, PHONE_INDEX, PHONES, SILENCE, Segment
from training.synthesis.emotions import EXPRESSIONS, Expression, Feeling
from training.synthesis.styles import SpeakingStyle

SPEECH_RATE_HZ = 50


ARTICULATORS = ("jaw", "part", "round", "spread", "bite", "tongue", "protrude")


@dataclass(frozen=True)
class Constants:
    """What the animator has to know of faces in general, beside each phone's targets.

    The defaults are set by eye; `FITTED` has those of jaw, lips' parting and rounding as captured
    performance shows them.

    Attributes:
        before_s: How far ahead of a phone each articulator moves, seconds; the anticipation of
            rounding is the style's, times `anticipation`.
        after_s: How long it lingers.
        indifferent: How strongly a phone that says nothing about an articulator pulls it to zero.
        contrast: How far the phones' jaw targets lie apart; 0 would open the jaw for all alike.
        loudness: Share by which 20 dB more open the jaw.
        emphasis: The same for what stands out of the second around it.
        usual: Loudness at which the jaw opens as the phone says, in units of 20 dB.
        inertia_s: Loudness is smoothed over this time: the jaw is heavy.
        lip_loudness: Share of the loudness' effect that reaches the lips' parting.
    """

    before_s: tuple[float, ...] = (0.055, 0.05, 0.10, 0.07, 0.04, 0.04, 0.07)
    after_s: tuple[float, ...] = (0.060, 0.05, 0.075, 0.07, 0.035, 0.04, 0.06)
    indifferent: tuple[float, ...] = (0.30, 0.45, 0.22, 0.30, 1.0, 1.0, 0.5)
    contrast: float = 1.0
    loudness: float = 0.55
    emphasis: float = 0.0
    usual: float = 0.15
    inertia_s: float = 0.04
    anticipation: float = 1.0
    lip_loudness: float = 0.4


FITTED = Constants(
    before_s=(0.035, 0.054, 0.10, 0.07, 0.04, 0.04, 0.07),
    after_s=(0.100, 0.100, 0.100, 0.07, 0.035, 0.04, 0.06),
    contrast=0.8,
    loudness=0.378,
    emphasis=0.2,
    inertia_s=0.03,
    anticipation=0.904,
    lip_loudness=0.388,
)
"""What captured performance says: `training.fit_animator` on three takes. On the fourth, jaw .803
became .818 and rounding .509 became .528."""

# Target and dominance of each phone. jaw: 0..1 of what a face opens in lively speech; part: lips
# apart beyond what the jaw does (teeth show); round, spread: lips; bite: lower lip under upper
# teeth; tongue: tip between the teeth; protrude: jaw forward.
_TARGETS: dict[str, dict[str, tuple[float, float]]] = {
    "AA": {"jaw": (0.88, 1.0), "part": (0.30, 0.6)},
    "AE": {"jaw": (0.78, 1.0), "part": (0.45, 0.7), "spread": (0.45, 0.7)},
    "AH": {"jaw": (0.52, 0.7), "part": (0.28, 0.5)},
    "AO": {"jaw": (0.72, 1.0), "part": (0.15, 0.5), "round": (0.50, 0.9)},
    "EH": {"jaw": (0.58, 0.9), "part": (0.40, 0.6), "spread": (0.40, 0.7)},
    "ER": {"jaw": (0.32, 0.8), "part": (0.25, 0.5), "round": (0.42, 0.8)},
    "IH": {"jaw": (0.34, 0.7), "part": (0.38, 0.6), "spread": (0.45, 0.7)},
    "IY": {"jaw": (0.22, 0.9), "part": (0.45, 0.8), "spread": (0.80, 1.0)},
    "UH": {"jaw": (0.30, 0.8), "part": (0.12, 0.5), "round": (0.60, 0.9)},
    "UW": {"jaw": (0.20, 0.9), "part": (0.05, 0.6), "round": (0.95, 1.2)},
    "W": {"jaw": (0.14, 1.0), "part": (0.00, 0.8), "round": (1.00, 1.4)},
    "Y": {"jaw": (0.18, 0.7), "part": (0.35, 0.6), "spread": (0.60, 0.8)},
    "R": {"jaw": (0.24, 0.7), "part": (0.20, 0.5), "round": (0.55, 0.9)},
    "L": {"jaw": (0.34, 0.6), "part": (0.32, 0.5), "tongue": (0.12, 1.0)},
    "P": {"jaw": (0.12, 1.3), "part": (0.00, 1.0)},
    "B": {"jaw": (0.12, 1.3), "part": (0.00, 1.0)},
    "M": {"jaw": (0.12, 1.3), "part": (0.00, 1.0)},
    "F": {"jaw": (0.10, 1.4), "part": (0.10, 0.9), "bite": (1.0, 1.6)},
    "V": {"jaw": (0.12, 1.4), "part": (0.10, 0.9), "bite": (0.9, 1.6)},
    "TH": {"jaw": (0.24, 0.9), "part": (0.30, 0.7), "tongue": (0.9, 1.5)},
    "DH": {"jaw": (0.24, 0.8), "part": (0.30, 0.6), "tongue": (0.7, 1.3)},
    "T": {"jaw": (0.17, 0.8), "part": (0.32, 0.5)},
    "D": {"jaw": (0.18, 0.8), "part": (0.32, 0.5)},
    "N": {"jaw": (0.20, 0.7), "part": (0.30, 0.5)},
    "S": {"jaw": (0.08, 1.2), "part": (0.45, 0.8), "spread": (0.30, 0.5)},
    "Z": {"jaw": (0.09, 1.1), "part": (0.45, 0.8), "spread": (0.30, 0.5)},
    "SH": {"jaw": (0.12, 1.2), "part": (0.40, 0.8), "round": (0.65, 1.1), "protrude": (0.6, 1.0)},
    "ZH": {"jaw": (0.13, 1.1), "part": (0.38, 0.8), "round": (0.60, 1.1), "protrude": (0.6, 1.0)},
    "K": {"jaw": (0.30, 0.4), "part": (0.28, 0.4)},
    "G": {"jaw": (0.30, 0.4), "part": (0.28, 0.4)},
    "NG": {"jaw": (0.28, 0.4), "part": (0.26, 0.4)},
    "HH": {"jaw": (0.36, 0.2), "part": (0.28, 0.2)},
    SILENCE: {"jaw": (0.0, 1.6), "part": (0.0, 1.6)},
}
# Gliding phones are two targets one after the other.
_GLIDES: dict[str, tuple[tuple[str, float], ...]] = {
    "AW": (("AA", 0.55), ("UH", 0.45)),
    "AY": (("AA", 0.6), ("IH", 0.4)),
    "EY": (("EH", 0.55), ("IY", 0.45)),
    "OW": (("AO", 0.5), ("UW", 0.5)),
    "OY": (("AO", 0.55), ("IY", 0.45)),
    "CH": (("T", 0.4), ("SH", 0.6)),
    "JH": (("D", 0.4), ("ZH", 0.6)),
}
# Share of the labelled interval after which the lips let go: a p's label includes its aspiration.
_RELEASE = {"P": 0.65, "B": 0.8, "M": 0.92}
_SHORTEST_HOLD_S = 0.05
_MIDDLE_JAW = 0.3
_RAMP_S = 0.055
# An expression that parts the lips is made up for to this depth of contact, by at most so much of
# mouthClose.
_SEALED_MM = 0.1
_FARTHEST_LIFT = 0.25
# What an emotion's gains act on.
_FELT = {"jaw": ("jaw",), "lips": ("part",), "rounding": ("round",), "spread": ("spread",)}

_COLUMN = {name: i for i, name in enumerate(ARKIT_CHANNELS)}


def _tables(constants: Constants) -> tuple[np.ndarray, np.ndarray]:
    """Targets and dominances (40, A) of all phones."""
    targets = np.zeros((len(PHONES), len(ARTICULATORS)))
    strengths = np.tile(constants.indifferent, (len(PHONES), 1))
    for phone, entries in _TARGETS.items():
        for articulator, (target, strength) in entries.items():
            column = ARTICULATORS.index(articulator)
            targets[PHONE_INDEX[phone], column] = target
            strengths[PHONE_INDEX[phone], column] = strength
    speech = np.arange(len(PHONES)) != PHONE_INDEX[SILENCE]
    jaw = targets[speech, 0]
    targets[speech, 0] = (_MIDDLE_JAW + constants.contrast * (jaw - _MIDDLE_JAW)).clip(0.05, 1.0)
    return targets, strengths


def animate_phones(
    segments: Sequence[tuple[str, float, float]],
    prosody: np.ndarray,
    style: SpeakingStyle,
    *,
    fps: float = 50.0,
    duration_s: float | None = None,
    rng: np.random.Generator | None = None,
    emotion: np.ndarray | None = None,
    expressions: tuple[Expression, ...] = EXPRESSIONS,
    constants: Constants = FITTED,
) -> MotionClip:
    """Animate a line whose phones are known.

    Args:
        segments: Phones with start and end in seconds, in order.
        prosody: (N, 4) from `core.model.speech.prosody`, 50 a second.
        style: The manner.
        fps: Frames per second of the motion.
        duration_s: Length of the motion; the last segment's end by default.
        rng: Draws the blinks; without it there are none.
        emotion: (T, 8) intensities at the motion's frames, or (8,) for all; neutral by default.
        expressions: What each emotion does.
        constants: What is true of all faces.

    Returns:
        A clip in the "arkit" space, frame i at i / fps seconds.
    """
    if duration_s is None:
        duration_s = segments[-1][2] if segments else 0.0
    frames = frame_count(duration_s, fps)
    times = np.arange(frames) / fps
    spoken = [Segment(*segment) for segment in segments]
    pose = articulate(_expand(spoken), times, style, constants)
    closure = lip_closure(spoken, times, style)
    voice = _Voice(prosody, times, constants)
    weights = np.zeros((frames, len(ARKIT_CHANNELS)))
    activity = _activity(spoken, times)
    felt = np.zeros(len(EMOTIONS)) if emotion is None else emotion
    feeling = Feeling(np.broadcast_to(felt, (frames, len(EMOTIONS))), expressions)
    for name, articulators in _FELT.items():
        for articulator in articulators:
            pose[:, ARTICULATORS.index(articulator)] *= feeling.gain(name)
    tension = (style.tightness + feeling.tension).clip(0.1, 1.2)
    _mouth(weights, pose, closure, activity, voice, style, tension)
    _upper_face(weights, activity, voice, style, feeling.gain("accent"))
    feeling.express(weights, 1.0 - np.maximum(closure, 0.7 * (1.0 - activity)))
    _seal(weights, np.maximum(closure, 1.0 - activity))
    if rng is not None:
        _blink(weights, times, style, rng)
    return MotionClip(weights.clip(0.0, 1.0).astype(np.float32), ARKIT_CHANNELS, fps)


def articulate(
    segments: Sequence[Segment],
    times: np.ndarray,
    style: SpeakingStyle,
    constants: Constants = FITTED,
) -> np.ndarray:
    """Where each articulator is at each time: (T, A), by dominance (Cohen and Massaro 1993)."""
    if not segments:
        return np.zeros((len(times), len(ARTICULATORS)))
    index = np.array([PHONE_INDEX[segment.phone] for segment in segments])
    start = np.array([segment.start_s for segment in segments])
    end = np.array([segment.end_s for segment in segments])
    # A phone holds its target in its middle; a pause only away from its edges, where the mouth
    # still closes or already opens.
    silent = index == PHONE_INDEX[SILENCE]
    inset = np.where(silent, np.minimum(0.12, 0.45 * (end - start)), 0.3 * (end - start))
    before = style.smoothness * np.array(constants.before_s)
    anticipation_s = constants.anticipation * style.anticipation_s
    before[ARTICULATORS.index("round")] = anticipation_s * style.smoothness
    after = style.smoothness * np.array(constants.after_s)
    target_table, strength_table = _tables(constants)
    # (T, P): how far the time is before or after the phone's core, in seconds
    early = (start + inset)[None] - times[:, None]
    late = times[:, None] - (end - inset)[None]
    distance = np.maximum(np.maximum(early, late), 0.0)
    is_early = early > 0.0
    values = np.empty((len(times), len(ARTICULATORS)))
    for a in range(len(ARTICULATORS)):
        reach = np.where(is_early, before[a], after[a])
        pull = strength_table[index, a][None] * np.exp(-((distance / reach) ** 1.3))
        values[:, a] = (pull @ target_table[index, a]) / (pull.sum(1) + 1e-3)
    return values


def lip_closure(segments: Sequence[Segment], times: np.ndarray, style: SpeakingStyle) -> np.ndarray:
    """How far the lips are forced together: (T,), 1 = sealed, over every p, b and m."""
    closure = np.zeros(len(times))
    ramp = _RAMP_S * float(np.clip(style.smoothness, 0.75, 1.3))
    for segment in segments:
        if segment.phone not in BILABIALS:
            continue
        length = segment.end_s - segment.start_s
        seal = segment.start_s + min(0.015, 0.15 * length)
        release = max(segment.start_s + _RELEASE[segment.phone] * length, seal + _SHORTEST_HOLD_S)
        first, last = np.searchsorted(times, (seal - ramp, release + ramp))
        near = times[first:last]
        level = np.minimum((near - seal) / ramp, (release - near) / ramp) + 1.0
        level = level.clip(0.0, 1.0)
        level = level * level * (3.0 - 2.0 * level)
        closure[first:last] = np.maximum(closure[first:last], level)
    return closure


class _Voice:
    """Prosody at the motion's times."""

    def __init__(self, prosody: np.ndarray, times: np.ndarray, constants: Constants) -> None:
        loudness, emphasis, voicing, pitch = np.asarray(prosody, np.float64).T
        at = np.arange(len(loudness)) / SPEECH_RATE_HZ
        # The jaw is heavy: it follows the syllable's loudness, not the pitch period's.
        stress = constants.loudness * (loudness.clip(-2.0, 1.0) - constants.usual)
        stress = stress + constants.emphasis * emphasis.clip(-1.0, 1.0)
        stress = gaussian_filter1d(stress, constants.inertia_s * SPEECH_RATE_HZ)
        self.stress = np.interp(times, at, stress)
        self.lip_share = constants.lip_loudness
        voiced = voicing > 0.4
        centre = np.median(pitch[voiced]) if voiced.any() else 0.0
        lift = np.where(voiced, (pitch / voicing.clip(0.4) - centre).clip(-1.0, 1.0), 0.0)
        accent = 1.2 * gaussian_filter1d(lift.clip(0.0), 6.0)
        accent += 0.8 * gaussian_filter1d(emphasis.clip(0.0, 1.5) * (loudness > -0.3), 8.0)
        self.accent = np.interp(times, at, accent.clip(0.0, 1.0))


def _expand(segments: Sequence[Segment]) -> list[Segment]:
    """Replace gliding phones by their two targets."""
    expanded: list[Segment] = []
    for phone, start, end in segments:
        begin = start
        for part, share in _GLIDES.get(phone, ((phone, 1.0),)):
            expanded.append(Segment(part, begin, begin + share * (end - start)))
            begin += share * (end - start)
    return expanded


def _activity(segments: Sequence[Segment], times: np.ndarray) -> np.ndarray:
    """1 while someone speaks, 0 in pauses, with soft edges of 60 ms."""
    speaking = np.zeros(len(times))
    for phone, start, end in segments:
        if phone != SILENCE:
            level = np.minimum(times - start, end - times) / 0.06 + 1.0
            speaking = np.maximum(speaking, level.clip(0.0, 1.0))
    return speaking


def _mouth(
    weights: np.ndarray,
    pose: np.ndarray,
    closure: np.ndarray,
    activity: np.ndarray,
    voice: _Voice,
    style: SpeakingStyle,
    tension: np.ndarray,
) -> None:
    jaw, part, rounding, spread, bite, tongue, protrude = pose.T
    free = 1.0 - closure
    open_lips = free * (1.0 - 0.85 * bite)
    loud = (1.0 + style.loudness * voice.stress).clip(0.25, 1.6)
    # A phone's dominance never quite leaves a pause's middle; a calm mouth has no such trace.
    awake = activity * activity * (3.0 - 2.0 * activity)

    opening = 0.62 * style.jaw * jaw * loud * (1.0 - 0.4 * closure) * (1.0 - 0.3 * bite) * awake
    opening = 0.85 * np.tanh(opening / 0.85)  # a jaw has an end
    _set(weights, "jawOpen", opening)
    cover = style.lip_cover * (1.0 - part.clip(0.0, 1.0))
    # On f and v the lower lip comes up to the upper teeth, and stays to be seen.
    raised = 0.06 * bite * free * awake
    together = opening * (closure + free * np.maximum(cover, 0.25 * bite))
    round_lips = (style.rounding * rounding * awake).clip(0.0, 1.15)
    funnel = 0.72 * style.funnel_share * round_lips * open_lips
    # Rounded lips are drawn together: the funnel alone would leave "who" as wide open as "ah".
    _set(weights, "mouthClose", together + raised + 0.25 * funnel)

    on_lips = 1.0 + voice.lip_share * (loud - 1.0)
    parted = style.lips * part * on_lips * open_lips * awake
    _pair(weights, "mouthUpperUp", 0.75 * style.upper_share * parted + 0.27 * bite * free, style)
    _pair(weights, "mouthLowerDown", 0.75 * (1.0 - style.upper_share) * parted, style)

    _set(weights, "mouthFunnel", funnel)
    pursed = style.purse + 1.15 * (1.0 - style.funnel_share) * round_lips
    _set(weights, "mouthPucker", pursed * (1.0 - 0.6 * closure))

    stretched = style.spread * spread * (1.0 - 0.7 * rounding.clip(0.0, 1.0)) * awake
    _pair(weights, "mouthStretch", 0.40 * stretched * (1.0 - 0.5 * closure), style)
    _pair(weights, "mouthSmile", style.smile * (1.0 - 0.35 * round_lips) + 0.22 * stretched, style)
    _pair(weights, "mouthDimple", 0.3 * style.smile * style.smile + 0.10 * stretched, style)
    _pair(weights, "mouthFrown", np.full_like(jaw, style.frown), style)

    press = tension * closure
    _pair(weights, "mouthPress", 0.40 * press, style)
    _set(weights, "mouthRollUpper", 0.12 * press)
    _set(weights, "mouthRollLower", 0.16 * press + 0.40 * bite * free * awake)
    _set(weights, "mouthShrugLower", 0.15 * press + 0.12 * bite * free * awake)
    _set(weights, "tongueOut", 0.30 * tongue * free * awake)
    _set(
        weights, "jawForward", (style.jaw_forward * awake + 0.25 * protrude) * (1.0 - 0.7 * closure)
    )
    shift = style.mouth_shift * (0.4 + 0.6 * awake)
    _set(weights, "mouthLeft", np.maximum(shift, 0.0))
    _set(weights, "mouthRight", np.maximum(-shift, 0.0))
    # A raised nose wing lifts the upper lip: it eases off in pauses and lets go for a closure.
    _pair(weights, "noseSneer", style.sneer * (0.3 + 0.7 * awake) * (1.0 - 0.85 * closure), style)
    _pair(weights, "cheekSquint", 0.7 * style.smile + 0.10 * stretched, style)


def _upper_face(
    weights: np.ndarray,
    activity: np.ndarray,
    voice: _Voice,
    style: SpeakingStyle,
    lift: np.ndarray,
) -> None:
    accent = lift * style.brow_accent * voice.accent * gaussian_filter1d(activity, 5.0)
    _set(weights, "browInnerUp", style.brow_raise + 0.55 * accent)
    _pair(weights, "browOuterUp", 0.8 * style.brow_raise + 0.40 * accent, style)
    _pair(weights, "browDown", style.brow_lower * (1.0 - 0.7 * accent.clip(0.0, 1.0)), style)
    _pair(weights, "eyeWide", 0.25 * accent, style)
    _pair(weights, "eyeSquint", (style.squint + 0.35 * style.smile) * np.ones_like(accent), style)


def _seal(weights: np.ndarray, shut: np.ndarray) -> None:
    """Bring lips that a held expression parts together where they have to be shut (T,), in place.

    The lower lip comes up to a raised upper lip, as it does in a face that talks with disgust.
    """
    basis = lip_gap_basis_mm()
    lifting = -basis[1 + _COLUMN["mouthClose"]]
    reached = lifting > 0.3 * lifting.max()  # the mouth's corners hardly follow that channel
    gap = weights @ basis[1:, reached] + basis[0, reached]
    need = ((gap + _SEALED_MM) / lifting[reached]).max(1).clip(0.0)
    weights[:, _COLUMN["mouthClose"]] += shut * np.minimum(need, _FARTHEST_LIFT)


def _blink(
    weights: np.ndarray, times: np.ndarray, style: SpeakingStyle, rng: np.random.Generator
) -> None:
    """Blinks at random times, at least .8 s apart: down in 80 ms, up in 160 ms."""
    when = rng.exponential(60.0 / style.blinks_per_minute)
    while len(times) and when < times[-1]:
        level = np.minimum((times - when + 0.08) / 0.08, (when + 0.18 - times) / 0.16)
        level = level.clip(0.0, 1.0)
        level = level * level * (3.0 - 2.0 * level)
        for name in ("eyeBlinkLeft", "eyeBlinkRight"):
            column = _COLUMN[name]
            weights[:, column] = np.maximum(weights[:, column], level)
        when += 0.8 + rng.exponential(60.0 / style.blinks_per_minute)


def _set(weights: np.ndarray, name: str, value: np.ndarray | float) -> None:
    weights[:, _COLUMN[name]] = value


def _pair(weights: np.ndarray, name: str, value: np.ndarray, style: SpeakingStyle) -> None:
    """Set a left and a right channel, one stronger than the other by the style's asymmetry."""
    weights[:, _COLUMN[f"{name}Left"]] = value * (1.0 + style.asymmetry)
    weights[:, _COLUMN[f"{name}Right"]] = value * (1.0 - style.asymmetry)
