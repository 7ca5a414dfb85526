"""Find the known word that a misspelt word probably means: similar in its letters, and not its opposite."""

import re
from collections.abc import Iterable

from .text import text_of

_NEGATING = ("dis", "un", "non", "not", "in", "im", "ir", "il", "no", "mis", "de", "anti", "without")
_CONTRARY = (
    ("in", "ex"),
    ("in", "out"),
    ("in", "de"),
    ("im", "ex"),
    ("en", "dis"),
    ("posi", "nega"),
    ("inter", "exter"),
)
_PREFIXES = (*((prefix, "") for prefix in _NEGATING), *_CONTRARY)
"""Pairs of prefixes that make opposites of words with the same stem."""


def closest(word: object, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant; None if none is similar, or only an opposite."""
    import difflib  # 2 ms, which only a wrong word costs

    text = text_of(word)[:100]
    close = difflib.get_close_matches(text, [text_of(k)[:100] for k in known], n=3)
    return next((found for found in close if not _are_two_words(text, found)), None)


def is_one_slip(word: str, known: str) -> bool:
    """Return whether two words differ by one letter that is missing, doubled or swapped, so that one is misspelt."""
    short, long = sorted((word, known), key=len)
    if len(short) < 4 or long.startswith(short) or _are_two_words(word, known):
        return False
    if len(long) == len(short) + 1:
        return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))
    swapped = (long[:i] + long[i + 1] + long[i] + long[i + 2 :] for i in range(len(long) - 1))
    return len(long) == len(short) and short in swapped


def _are_two_words(one: str, other: str) -> bool:
    """Return whether two similar words are opposites, or differ by a number, so that neither is misspelt."""
    one, other = one.lower(), other.lower()
    if one == other:
        return False
    if re.sub(r"\d+", "", one) == re.sub(r"\d+", "", other) and re.search(r"\d", one + other):
        return True
    parts, others = (re.split(r"[\W_]+", word) for word in (one, other))
    if len(parts) == len(others) > 1:
        pairs = [(a, b) for a, b in zip(parts, others, strict=True) if a != b]
        if len(pairs) == 1:
            return _are_opposites(*pairs[0])
    return _are_opposites(re.sub(r"[\W_]+", "", one), re.sub(r"[\W_]+", "", other))


def _are_opposites(one: str, other: str) -> bool:
    for word, base in ((one, other), (other, one)):
        for left, right in _PREFIXES:
            if word.startswith(left) and base.startswith(right) and not base.startswith(left):
                rest = word[len(left) :]
                if len(rest) > 1 and _is_form_of(rest, base[len(right) :]):
                    return True
    return False


def _is_form_of(word: str, base: str) -> bool:
    """Return whether two words have the same stem, even with a wrong letter: "approved" and "aprove"."""
    if word.startswith(base) or base.startswith(word):
        return bool(word and base)
    import difflib

    return difflib.SequenceMatcher(None, word, base).ratio() >= 0.8
