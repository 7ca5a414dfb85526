"""The words that are marked as different, and the work that it takes to find them."""

import difflib
import random
import sys

import pytest

from llmflow_nb import BatchNode, Flow
from llmflow_nb.notebook.marked import differing, excerpts


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


@pytest.mark.parametrize("length", [56, 2_000])
def test_excerpts_begin_near_the_first_difference(length):
    """So that a late difference is seen; also if both texts end in the same words."""
    start, end = "same words " * 400, " and so on" * 400
    before, after = excerpts(f"{start}old{end}", f"{start}new one{end}", length)
    assert "words old and" in before
    assert "words new one and" in after
    assert before.startswith("… ")
    assert before.endswith("…")
    assert max(len(before), len(after)) < length + 10
    assert before.index("old") < length * 0.6


def test_excerpts_of_short_texts():
    """They are complete."""
    assert excerpts("one two", "one three", 9) == ("one two", "one three")


class Long(BatchNode):
    """Returns a long text that ends in a word."""

    word = "old"

    def prep(self, shared):
        return [1, 2]

    def exec(self, number):
        return "one two " * 2_000 + self.word


def test_a_late_difference_is_shown():
    """In both forms, and for each of many variants."""
    for variants in ({"b": "new"}, {"b": "new", "c": "other"}):
        changes = {name: {"Long.word": word} for name, word in variants.items()}
        bundle = Flow(Long()).compare({}, a={}, **changes)._repr_mimebundle_()
        html, text = bundle["text/html"], bundle["text/plain"]
        assert "one two {+new+}" in text
        assert html.count("new</ins>") == 2
        assert html.count("… one two") >= 2
        assert ("[-old-]" if len(variants) == 1 else "two old") in text


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("0.9", "0.95", "0.95"),
        ("{'score': -0.9, 'n': 1}", "{'score': -0.8, 'n': 1}", "-0.8"),
        ("costs 1,204.50 now", "costs 1,304.50 now", "1,304.50"),
        ("1e-05", "1e-06", "1e-06"),
        ("a b", "a \\ud800 b", "\\ud800 "),
        ("\\ud800", "\\ud801", "\\ud801"),
        ("1,2,3", "1,4,3", "4"),
    ],
)
def test_numbers_and_escapes_are_marked_whole(before, after, marked):
    """A part of a number says nothing, and a part of an escape is no character."""
    assert "".join(part.text for part in differing(before, after)[1] if part.is_marked) == marked


def test_large_scores():
    """They have all digits before the point, so that two that differ look different."""
    scores = {"old": 30_000, "new": 30_003.4}
    variants = {name: {"Long.word": name} for name in scores}
    found = Flow(Long()).compare({}, **variants, score=lambda item, result: scores[result[-3:]])
    html, text = (found._repr_mimebundle_()[form] for form in ("text/html", "text/plain"))
    for form in (html, text):
        assert "30,000" in form
        assert "30,003" in form
        assert "e+04" not in form
    assert "+3.4 on average" in found.verdict[0]
