"""The words that are marked as different, and the work that it takes to find them."""

import difflib
import random
import sys

import pytest

from llmflow_nb.notebook.marked import differing


def lines_run(before, after):
    """Return how many lines of difflib are run to compare two texts; at most a million."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        if frame.f_code.co_filename != difflib.__file__:
            return None
        count += event == "line"
        if count > 1_000_000:
            raise RecursionError("too many lines")
        return trace

    tracer = sys.gettrace()
    sys.settrace(trace)
    try:
        differing(before, after)
    except RecursionError:
        pass
    finally:
        sys.settrace(tracer)
    return count


def digits(seed):
    """Return digits with commas."""
    return ",".join(random.Random(seed).choices("0123456789", k=1_000))


def few_words(seed, number):
    """Return a text of some words, each of them often."""
    return " ".join(random.Random(seed).choices([f"w{n}" for n in range(number)], k=400))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("yes " * 200, "no " * 200),
        (digits(1), digits(2)),
        ("a b " * 200, "b a c " * 150),
        *((few_words(1, number), few_words(2, number)) for number in (25, 50, 100, 200)),
        (" ".join(f"w{n}" for n in range(400)), " ".join(f"w{n}" for n in range(400)[::-1])),
        (" ".join(f"w{n} x" for n in range(400)), " ".join(f"w{n} y" for n in range(400))),
    ],
)
def test_the_work_is_limited(before, after):
    """It is for texts of any words, since a display must not keep the kernel busy."""
    assert lines_run(before, after) < 300_000


@pytest.mark.parametrize(("before", "after"), [("yes " * 200, "no " * 200), ("a b " * 500, "b a c " * 400)])
def test_no_words_are_lost(before, after):
    """Words that are not compared are marked."""
    old, new = differing(before, after)
    assert "".join(part.text for part in old) == before
    assert "".join(part.text for part in new) == after


def test_words_of_prose():
    """Texts whose frequent words agree are compared word by word."""
    same = "the cat and the dog and the bird saw the man on the hill with the big red hat"
    _, after = differing(f"One day {same} in May.", f"A year {same} in June.")
    assert [part.text for part in after if part.is_marked] == ["A year", "June"]
