"""How English words are pronounced: a dictionary where one is installed, letters otherwise.

The dictionary is the CMU Pronouncing Dictionary in the form that pocketsphinx brings along. Words
that it lacks (names, slips of the pen) are taken apart into known words or spelt out by rules of
English spelling; a guess of that kind costs a forced alignment little, since what was heard
decides when each sound was made.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

from core.phones import PHONE_INDEX

_MOST_WAYS = 4

# Weak forms that dictionaries leave out, and that fluent speech is full of.
_WEAK = {
    "and": ("AH N", "N"), "of": ("AH",), "to": ("T IH", "T AH"), "for": ("F ER",),
    "them": ("AH M",),
    "him": ("IH M",), "his": ("IH Z",), "her": ("ER",), "he": ("IY",), "just": ("JH IH S T",),
    "than": ("DH AH N",), "can": ("K AH N",), "from": ("F R AH M",), "at": ("AH T",),
    "have": ("AH V",), "had": ("AH D",), "has": ("AH Z",), "that": ("DH AH T",), "you": ("Y AH",),
    "your": ("Y ER",), "are": ("ER",), "or": ("ER",), "was": ("W AH Z",), "as": ("AH Z",),
}  # fmt: skip


def pronunciations(word: str) -> list[tuple[str, ...]]:
    """Ways to say a word, the commonest first; never none.

    Args:
        word: Lower case letters and apostrophes, see `core.words.spoken_text`.
    """
    known = dictionary_entries().get(word) or _inflected(word) or _compound(word)
    if not known:
        return [spelt_out(word)]
    ways = [*known, *(tuple(way.split()) for way in _WEAK.get(word, ()))]
    return list(dict.fromkeys(ways))[:_MOST_WAYS]


def is_known(word: str) -> bool:
    """Whether a dictionary is at hand that has the word."""
    return word in dictionary_entries()


def dictionary_path() -> Path | None:
    """The dictionary of an installed pocketsphinx, which is not imported for it."""
    found = importlib.util.find_spec("pocketsphinx")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(next(iter(found.submodule_search_locations)))
    path = path / "model" / "en-us" / "cmudict-en-us.dict"
    return path if path.is_file() else None


@cache
def dictionary_entries() -> dict[str, list[tuple[str, ...]]]:
    """Every word of the dictionary with its pronunciations; nothing where there is none."""
    path = dictionary_path()
    entries: dict[str, list[tuple[str, ...]]] = {}
    if path is None:
        return entries
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            name, *phones = line.split()
            if all(phone in PHONE_INDEX for phone in phones):
                name = name.partition("(")[0]
                entries.setdefault(name, []).append(tuple(phones))
    return entries


_ENDINGS = (
    *(("'s", "s"), ("s'", "s"), ("es", "s"), ("s", "s"), ("ed", "d"), ("d", "d")),
    *(("ing", "ing"), ("in'", "in"), ("ly", "ly")),
)


def _inflected(word: str) -> list[tuple[str, ...]]:
    """A known word with an ending."""
    for ending, kind in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 2:
            continue
        ways = dictionary_entries().get(stem) or dictionary_entries().get(stem + "e")
        if ways:
            return [(*way, *_ending(kind, way[-1])) for way in ways]
    return []


def _ending(kind: str, last: str) -> tuple[str, ...]:
    if kind == "s":
        if last in ("S", "Z", "SH", "ZH", "CH", "JH"):
            return ("IH", "Z")
        return ("S",) if last in ("P", "T", "K", "F", "TH") else ("Z",)
    if kind == "d":
        if last in ("T", "D"):
            return ("IH", "D")
        return ("T",) if last in ("P", "K", "F", "TH", "S", "SH", "CH") else ("D",)
    return {"ing": ("IH", "NG"), "in": ("IH", "N"), "ly": ("L", "IY")}[kind]


def _compound(word: str) -> list[tuple[str, ...]]:
    """Two known words written as one: "lipsync"."""
    for cut in range(len(word) - 3, 2, -1):
        first, second = dictionary_entries().get(word[:cut]), dictionary_entries().get(word[cut:])
        if first and second:
            return [(*first[0], *second[0])]
    return []


# Longest first at each place; a rule is (letters, phones). "^" marks the beginning of a word, "$"
# its end.
_RULES = tuple(
    (letters, tuple(phones.split()))
    for letters, phones in (
        ("^kn", "N"), ("^wr", "R"), ("^ps", "S"), ("^wh", "W"), ("^x", "Z"), ("^y", "Y"),
        ("^gn", "N"), ("^mc", "M AH K"),
        ("tion", "SH AH N"), ("sion", "ZH AH N"), ("cious", "SH AH S"), ("tious", "SH AH S"),
        ("ture", "CH ER"), ("ought", "AO T"), ("aught", "AO T"), ("igh", "AY"), ("eigh", "EY"),
        ("ough", "OW"), ("tch", "CH"), ("dge", "JH"), ("sch", "S K"), ("que$", "K"),
        ("oor", "AO R"), ("our", "AO R"), ("ear", "IH R"), ("eer", "IH R"), ("air", "EH R"),
        ("ire", "AY ER"), ("ure", "Y UH R"), ("are$", "EH R"), ("ere$", "IH R"), ("ore", "AO R"),
        ("ing$", "IH NG"), ("ang", "AE NG"), ("ong", "AO NG"), ("ung", "AH NG"),
        ("ink", "IH NG K"), ("ank", "AE NG K"), ("onk", "AO NG K"), ("unk", "AH NG K"),
        ("able$", "AH B AH L"), ("ible$", "AH B AH L"), ("le$", "AH L"), ("mb$", "M"),
        ("ed$", "D"), ("es$", "Z"), ("ous$", "AH S"), ("ey$", "IY"), ("ie$", "IY"), ("y$", "IY"),
        ("ch", "CH"), ("ck", "K"), ("ph", "F"), ("sh", "SH"), ("th", "TH"), ("gh", "G"),
        ("ng", "NG"), ("qu", "K W"), ("wh", "W"), ("sc", "S K"), ("ce", "S EH"), ("ci", "S IH"),
        ("cy", "S IY"), ("ge", "JH EH"), ("gi", "JH IH"), ("gy", "JH IY"),
        ("ai", "EY"), ("ay", "EY"), ("au", "AO"), ("aw", "AO"), ("ea", "IY"), ("ee", "IY"),
        ("ei", "IY"), ("eu", "Y UW"), ("ew", "UW"), ("ie", "IY"), ("oa", "OW"), ("oi", "OY"),
        ("oo", "UW"), ("ou", "AW"), ("ow", "OW"), ("oy", "OY"), ("ue", "UW"), ("ui", "UW"),
        ("ar", "AA R"), ("er", "ER"), ("ir", "ER"), ("or", "AO R"), ("ur", "ER"),
        ("bb", "B"), ("cc", "K"), ("dd", "D"), ("ff", "F"), ("gg", "G"), ("ll", "L"), ("mm", "M"),
        ("nn", "N"), ("pp", "P"), ("rr", "R"), ("ss", "S"), ("tt", "T"), ("zz", "Z"),
        ("a$", "AH"), ("e$", ""), ("i$", "IY"), ("o$", "OW"), ("u$", "UW"),
        ("a", "AE"), ("b", "B"), ("c", "K"), ("d", "D"), ("e", "EH"), ("f", "F"), ("g", "G"),
        ("h", "HH"), ("i", "IH"), ("j", "JH"), ("k", "K"), ("l", "L"), ("m", "M"), ("n", "N"),
        ("o", "AA"), ("p", "P"), ("q", "K"), ("r", "R"), ("s", "S"), ("t", "T"), ("u", "AH"),
        ("v", "V"), ("w", "W"), ("x", "K S"), ("y", "IH"), ("z", "Z"),
    )
)  # fmt: skip
_LONG = {"a": "EY", "e": "IY", "i": "AY", "o": "OW", "u": "UW"}
_SOFT = {"c": "S", "g": "JH", "s": "Z"}
_LETTERS = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY",
    "h": "EY CH", "i": "AY", "j": "JH EY", "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N",
    "o": "OW", "p": "P IY", "q": "K Y UW", "r": "AA R", "s": "EH S", "t": "T IY", "u": "Y UW",
    "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S", "y": "W AY", "z": "Z IY",
}  # fmt: skip


def spelt_out(word: str) -> tuple[str, ...]:
    """Phones by rules of English spelling; words without a vowel letter are said letter by
    letter.
    """
    letters = re.sub(r"[^a-z]", "", word)
    if not re.search(r"[aeiouy]", letters):
        said = [phone for letter in letters for phone in _LETTERS[letter].split()]
        return tuple(said) or ("AH",)
    marked = f"^{letters}$"
    phones: list[str] = []
    place = 1
    while place < len(marked) - 1:
        # A vowel, one consonant and a final e: the vowel is said as its name ("smile").
        if re.match(r"[aeiou][bcdfgklmnpstvz]e\$", marked[place:]):
            consonant = marked[place + 1]
            phones += [_LONG[marked[place]], _SOFT.get(consonant) or consonant.upper()]
            break
        for rule, sounds in _RULES:
            start = place - 1 if rule[0] == "^" else place
            if marked.startswith(rule, start) and (rule[0] != "^" or start == 0):
                phones += sounds
                place = start + len(rule) - rule.endswith("$")
                break
    return tuple(phones) or ("AH",)
