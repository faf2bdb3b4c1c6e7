"""Written English as the words that are spoken: "Dr. Smith's 21 £5 notes" -> doctor smith's
twenty one five pounds notes.

Only what lines of dialogue hold: numbers, years, ordinals, money, percent, common abbreviations,
stage directions in brackets (left out). A word is lower case, letters and apostrophes only.
"""

from __future__ import annotations

import re
import unicodedata

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = (
    *("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty"),
    "ninety",
)
_LARGE = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
_ABBREVIATIONS = {
    "mr": "mister", "mrs": "missus", "ms": "miz", "dr": "doctor", "st": "saint", "jr": "junior",
    "sr": "senior", "prof": "professor", "vs": "versus", "etc": "et cetera", "no": "no",
    "capt": "captain", "lt": "lieutenant", "sgt": "sergeant",
}  # fmt: skip
_SIGNS = {"&": "and", "%": "percent", "+": "plus", "=": "equals", "@": "at", "°": "degrees"}
_MONEY = {"$": "dollar", "£": "pound", "€": "euro"}
_TOKEN = re.compile(
    r"(?P<money>[$£€])?(?P<number>\d+(?:,\d{3})*(?:\.\d+)?)(?P<ending>st|nd|rd|th|s)?(?![a-z])"
    r"|(?P<word>[a-z]+(?:'[a-z]+)*'?)(?P<stop>\.?)"
    r"|(?P<sign>[&%+=@°])"
)
_DIRECTION = re.compile(r"\[[^\]]*\]|<[^>]*>|\*[^*]*\*")


def spoken_words(text: str) -> list[str]:
    """The words of a text, in order; empty where there are none."""
    plain = text.lower().replace("’", "'").replace("‘", "'")
    # Accents go, letters stay: "café" is looked up as "cafe".
    plain = unicodedata.normalize("NFKD", _DIRECTION.sub(" ", plain))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    words: list[str] = []
    for match in _TOKEN.finditer(plain):
        if match["number"]:
            words += _number(match["number"], match["ending"] or "", match["money"] or "")
        elif match["word"]:
            word = match["word"].strip("'")
            if match["stop"] and word in _ABBREVIATIONS and word != "no":
                words += _ABBREVIATIONS[word].split()
            elif word in ("mr", "mrs", "dr"):
                words.append(_ABBREVIATIONS[word])
            elif word:
                words.append(word)
        else:
            words.append(_SIGNS[match["sign"]])
    return words


def number_words(value: int) -> list[str]:
    """The words of a whole number of at most twelve digits."""
    if value < 20:
        return [_ONES[value]]
    if value < 100:
        return [_TENS[value // 10], *(_ONES[value % 10 : value % 10 + 1] if value % 10 else ())]
    for size, name in _LARGE:
        if value >= size:
            rest = number_words(value % size) if value % size else []
            return [*number_words(value // size), name, *rest]
    raise ValueError(f"{value} is no whole number")


def _number(digits: str, ending: str, money: str) -> list[str]:
    whole, _, decimals = digits.replace(",", "").partition(".")
    if len(whole) > 12 or (len(whole) > 1 and whole[0] == "0"):
        return [_ONES[int(digit)] for digit in whole + decimals]  # a telephone number, a code
    value = int(whole)
    if 1100 <= value < 2100 and value % 1000 >= 10 and not (decimals or money or "," in digits):
        words = _year(value)
    else:
        words = number_words(value)
    if ending in ("st", "nd", "rd", "th"):
        words[-1] = _ordinal(words[-1])
    elif ending == "s":
        words[-1] = f"{words[-1][:-1]}ies" if words[-1].endswith("y") else f"{words[-1]}s"
    if money:
        words.append(_MONEY[money] + ("" if value == 1 and not decimals else "s"))
        return [*words, *(number_words(int(decimals[:2])) if decimals else [])]
    if decimals:
        words += ["point", *(_ONES[int(digit)] for digit in decimals)]
    return words


def _year(value: int) -> list[str]:
    century, year = divmod(value, 100)
    if year == 0:
        return [*number_words(century), "hundred"]
    return [*number_words(century), *(["oh"] if year < 10 else []), *number_words(year)]


def _ordinal(word: str) -> str:
    return _ORDINALS.get(word) or (f"{word[:-1]}ieth" if word.endswith("y") else f"{word}th")
