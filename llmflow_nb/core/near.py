"""Which of the known words was meant by one that is not known: near in its letters, and not the opposite of it."""

import re
from collections.abc import Iterable

from .text import text_of

__all__ = ["closest", "is_an_ending", "is_one_slip"]

_NEGATING = ("dis", "un", "non", "not", "in", "im", "ir", "il", "no", "mis", "de", "anti", "without")
_OPPOSITES = (
    ("in", "ex"),
    ("in", "out"),
    ("in", "de"),
    ("im", "ex"),
    ("en", "dis"),
    ("posi", "nega"),
    ("inter", "exter"),
)
_ENDINGS = frozenset(
    (
        *("abort", "accept", "approve", "break", "bye", "cancel", "close", "complete", "continue", "default", "deny"),
        *(
            "done",
            "empty",
            "end",
            "error",
            "exceed",
            "exhaust",
            "exit",
            "fail",
            "false",
            "finish",
            "found",
            "give",
            "goodbye",
        ),
        *(
            "halt",
            "ignore",
            "invalid",
            "limit",
            "many",
            "max",
            "miss",
            "never",
            "next",
            "no",
            "none",
            "not",
            "ok",
            "okay",
            "over",
        ),
        *(
            "pass",
            "pause",
            "quit",
            "ready",
            "reject",
            "return",
            "safe",
            "skip",
            "stop",
            "success",
            "suspend",
            "terminate",
            "timeout",
        ),
        *("too", "true", "unsafe", "up", "valid", "wait", "yes"),
    )
)
"""Words that say how a step came out or that it is over, and name no next step."""


def closest(word: object, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant; None where none is close, or only an opposite is."""
    import difflib  # 2 ms, which only a wrong word costs

    text = text_of(word)[:100]
    close = difflib.get_close_matches(text, [text_of(k)[:100] for k in known], n=3)
    return next((found for found in close if not _are_two_words(text, found)), None)


def is_one_slip(word: str, known: str) -> bool:
    """Whether one letter is missing, doubled or in the wrong place, so that hardly both are words of their own."""
    short, long = sorted((word, known), key=len)
    if len(short) < 4 or long.startswith(short) or _are_two_words(word, known):
        return False
    if len(long) == len(short) + 1:
        return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))
    swapped = (long[:i] + long[i + 1] + long[i] + long[i + 2 :] for i in range(len(long) - 1))
    return len(long) == len(short) and short in swapped


def is_an_ending(action: str) -> bool:
    """Whether an action says how a step came out, or that it is over: "end", "no_results", "approved"."""
    words = re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", action).lower())
    return any(form in _ENDINGS for word in words for form in _forms(word))


def _forms(word: str) -> Iterable[str]:
    yield word
    for suffix in ("ed", "d", "s", "ing", "ped", "led", "ure", "ful"):
        if word.endswith(suffix):
            yield word.removesuffix(suffix)
            yield word.removesuffix(suffix) + "e"
    if word.endswith("ied"):
        yield word[:-3] + "y"


def _are_two_words(one: str, other: str) -> bool:
    """Whether two words that are close in their letters are opposites, or numbered: each is meant as it is."""
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
        for prefix in _NEGATING:
            rest = word.removeprefix(prefix)
            if rest != word and not base.startswith(prefix) and len(rest) > 1 and _is_form_of(rest, base):
                return True
        for left, right in _OPPOSITES:
            if word.startswith(left) and base.startswith(right) and _is_form_of(word[len(left) :], base[len(right) :]):
                return True
    return False


def _is_form_of(word: str, base: str) -> bool:
    """Whether two words have the same stem, also with a letter wrong: "approved" and "aprove"."""
    if word.startswith(base) or base.startswith(word):
        return bool(word and base)
    import difflib

    return difflib.SequenceMatcher(None, word, base).ratio() >= 0.8
