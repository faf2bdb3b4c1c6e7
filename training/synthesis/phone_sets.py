"""Other names for phones: espeak's IPA and the Festival and Flite voices', as ARPAbet."""

from __future__ import annotations

from core.phones import PHONE_INDEX, SILENCE

# One IPA symbol, or a pair that is one phone, to the English phone nearest to it.
_IPA = {
    "ð": "DH", "θ": "TH", "k": "K", "c": "K", "q": "K", "x": "K", "ɡ": "G", "g": "G", "ɣ": "G",
    "p": "P", "b": "B", "m": "M", "f": "F", "v": "V", "ʋ": "V", "β": "B", "t": "T", "d": "D",
    "ɾ": "D", "n": "N", "ɲ": "N", "ŋ": "NG", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "tʃ": "CH",
    "dʒ": "JH", "h": "HH", "ɦ": "HH", "ç": "HH", "l": "L", "ɫ": "L", "ɬ": "L", "ɹ": "R", "r": "R",
    "ʁ": "R", "j": "Y", "w": "W", "ʍ": "W", "ə": "AH", "ɐ": "AH", "ʌ": "AH", "ɚ": "ER", "ɜ": "ER",
    "ɝ": "ER", "ø": "ER", "œ": "ER", "ɪ": "IH", "ᵻ": "IH", "ɨ": "IH", "i": "IY", "e": "EH",
    "ɛ": "EH", "æ": "AE", "a": "AA", "ɑ": "AA", "ɒ": "AA", "ɔ": "AO", "o": "OW", "ʊ": "UH",
    "ɵ": "UH", "u": "UW", "ʉ": "UW", "y": "UW", "aɪ": "AY", "ai": "AY", "aʊ": "AW", "eɪ": "EY",
    "oʊ": "OW", "əʊ": "OW", "ɔɪ": "OY",
}  # fmt: skip

# Vowels that glide into a second one; espeak gives them as one event.
_IPA_GLIDES = {
    "aɪɚ": ("AY", "ER"), "aɪə": ("AY", "AH"), "aʊɚ": ("AW", "ER"), "aʊə": ("AW", "AH"),
    "iə": ("IY", "AH"), "ɪə": ("IH", "AH"), "eə": ("EH", "AH"), "ʊə": ("UH", "AH"),
}  # fmt: skip
_IPA_MODIFIERS = str.maketrans("", "", "ːˈˌˑ̩̯̪̃ʲʰʳ͡")

_FESTIVAL = {
    "pau": SILENCE, "h#": SILENCE, "brth": SILENCE, "ssil": SILENCE, "sil": SILENCE, "#": SILENCE,
    "ax": "AH", "axr": "ER", "dx": "D", "el": "L", "em": "M", "en": "N", "hv": "HH", "nx": "N",
    "ix": "IH",
}  # fmt: skip


def phones_of_ipa(symbols: str) -> list[str]:
    """Phones of one of espeak's phoneme events.

    Args:
        symbols: IPA of the event, e.g. "ɔːɹ" (which becomes AO, R).

    Returns:
        The phones that share the event's time. Empty for a glottal stop or an unknown sound, which
        looks like its surroundings; ["SIL"] for a pause, which espeak writes as no symbol at all.
    """
    if not symbols:
        return [SILENCE]
    symbols = symbols.translate(_IPA_MODIFIERS)
    if symbols in _IPA_GLIDES:
        return list(_IPA_GLIDES[symbols])
    phones = []
    while symbols:
        length = 2 if symbols[:2] in _IPA else 1
        if symbols[:length] in _IPA:
            phones.append(_IPA[symbols[:length]])
        symbols = symbols[length:]
    return phones


def phone_of_festival(name: str) -> str | None:
    """The phone that a Festival or Flite voice calls `name`, or None where it is not known."""
    phone = _FESTIVAL.get(name, name.upper())
    return phone if phone in PHONE_INDEX else None
