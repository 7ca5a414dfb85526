"""Mark the words in which two texts differ."""

import re
from collections import Counter
from difflib import SequenceMatcher
from typing import NamedTuple

__all__ = ["Part", "differing", "excerpts", "same_start"]

MOST = 400
"""The number of words that are compared, from the first difference. Those after them, up to the last one, differ."""
FREQUENT = 4
"""A word that is in a text more often shows nothing about which parts belong together. Only its neighbours do."""
WORK = 200_000
"""The number of steps that a comparison of two texts may take. Texts that need more differ as a whole."""
AROUND = 8
"""The number of words before and after a difference that are shown."""

_WORD = re.compile(
    r"""
    \\u[0-9a-f]{4} | \\x[0-9a-f]{2} | \\U[0-9a-f]{8}                         # an escape of `shown`
    | (?:(?<!\w)[-+])? (?:\d{1,3}(?:,\d{3}){1,4}(?![\d,]) | \d+) (?:\.\d+)* (?:e[-+]?\d+)? \w*  # a number, 1,204.5e-7
    | \w+ | \s+ | [^\w\s]
    """,
    re.VERBOSE,
)


class Part(NamedTuple):
    """A part of a text.

    Attributes:
        text: The part.
        is_marked: Whether the other text does not have it.
    """

    text: str
    is_marked: bool


def differing(before: str, after: str) -> tuple[list[Part], list[Part]]:
    """Return two texts in parts, those marked that the other one does not have. Far from a difference, words are cut.

    >>> [part.text for part in differing("a cat sat", "a dog sat")[1]]
    ['a ', 'dog', ' sat']
    """
    old, new = _words(before), _words(after)
    first = _same_length(old, new)
    last = _same_length(old[first:][::-1], new[first:][::-1])
    rest = slice(first, -last or None)
    runs = [
        (False, old[:first], old[:first]),
        *_runs(old[rest], new[rest]),
        (False, old[len(old) - last :], old[len(old) - last :]),
    ]
    runs = [run for run in runs if run[1] or run[2]]
    found: tuple[list[Part], list[Part]] = ([], [])
    for n, (is_marked, *both) in enumerate(runs):
        for parts, words in zip(found, both, strict=True):
            text = "".join(words) if is_marked else _cut(words, is_first=n == 0, is_last=n == len(runs) - 1)
            parts += [Part(text, is_marked)] * bool(text)
    return found


def excerpts(before: str, after: str, length: int) -> tuple[str, str]:
    """Return at most about ``length`` characters of two texts, from shortly before their first difference.

    >>> excerpts("one two three four", "one two three five", 12)
    ('… three four', '… three five')
    """
    longest = max(len(before), len(after))
    if longest <= length:
        return before, after
    around = length // 2
    first = same_start(before, after)
    start = max(0, min(first - around, longest - length))
    if start:
        start = 1 + before.find(" ", start, first) or start
    last = same_start(before[first:][::-1], after[first:][::-1])
    end = max(0, last - around) if longest - start > length else 0
    return _excerpt(before, start, end, length), _excerpt(after, start, end, length)


def _excerpt(text: str, start: int, end: int, length: int) -> str:
    """Return a text without characters at both ends, at most ``length`` of them."""
    found = text[start : len(text) - end]
    is_cut = end or len(found) > length
    return f"{'… ' * bool(start)}{found[:length]}{'…' * bool(is_cut)}"


def same_start(before: str, after: str) -> int:
    """Return how many characters at the start are the same."""
    low, high = 0, min(len(before), len(after))
    while low < high:
        middle = (low + high + 1) // 2
        if before[low:middle] == after[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _same_length(old: list[str], new: list[str]) -> int:
    """Return how many words at the start are the same."""
    return next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))


def _runs(old: list[str], new: list[str]) -> list[tuple[bool, list[str], list[str]]]:
    """Return runs of words, and whether they differ. A space between two words that differ belongs to them."""
    runs: list[tuple[bool, list[str], list[str]]] = []
    for differs, i, j, k, m in [*_compared(old[:MOST], new[:MOST]), (True, MOST, len(old), MOST, len(new))]:
        is_space = i > 0 and j < len(old) and "".join(old[i:j]).isspace()
        if runs and runs[-1][0] == (differs or is_space):
            runs[-1][1].extend(old[i:j])
            runs[-1][2].extend(new[k:m])
        else:
            runs.append((differs or is_space, old[i:j], new[k:m]))
    return runs


def _compared(old: list[str], new: list[str]) -> list[tuple[bool, int, int, int, int]]:
    """Return which slices of the words differ, and which are equal. The work is limited for any words."""
    before, after = Counter(old), Counter(new)
    frequent = {word for word, count in after.items() if count > FREQUENT or word.isspace()}
    pairs = sum(before[word] * count for word, count in after.items() if word not in frequent)
    if pairs * min(len(old), len(new)) > WORK:
        return [(True, 0, len(old), 0, len(new))]
    matcher = SequenceMatcher(frequent.__contains__, old, new, autojunk=False)
    return [(kind != "equal", i, j, k, m) for kind, i, j, k, m in matcher.get_opcodes()]


def _words(text: str) -> list[str]:
    """Return the words, the numbers, the spaces and the other characters of a text. An escape is one character."""
    return _WORD.findall(text)


def _cut(words: list[str], *, is_first: bool, is_last: bool) -> str:
    """Return equal words, without those that are far from a difference."""
    most = 2 * AROUND  # words and the spaces between them
    if is_first and is_last:
        return "".join(words)
    if is_first:
        return "".join(words) if len(words) <= 2 * most else f"… {''.join(words[-most:]).lstrip()}"
    if is_last:
        return "".join(words) if len(words) <= 2 * most else f"{''.join(words[:most]).rstrip()} …"
    if len(words) <= 3 * most:
        return "".join(words)
    return f"{''.join(words[:most]).rstrip()} … {''.join(words[-most:]).lstrip()}"
