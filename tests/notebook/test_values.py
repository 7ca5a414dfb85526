"""`ValueTexts`: any value as one short line of text."""

import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmflow_nb.notebook.values import CELL, ValueTexts
from tests.engine.helpers import PATIENCE


class Plain:
    """A class with a repr of its own."""

    def __init__(self, said="plain"):
        self.said = said

    def __repr__(self):
        return self.said


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("two\nlines", "two lines"),
        ("", "''"),
        (" ", "\ufffd"),
        (None, "None"),
        (True, "True"),
        (-3, "-3"),
        (0.1, "0.1"),
        (float("inf"), "inf"),
        (b"\x00<b>", "b'\\x00<b>'"),
        ([1, "a", None], "[1, 'a', None]"),
        ({"a": [1, (2, 3)]}, "{'a': [1, (2, 3)]}"),
        ({1}, "{1}"),
        (frozenset([1]), "frozenset({1})"),
        ([], "[]"),
        ({}, "{}"),
        (Plain(), "plain"),
        ([Plain(), {"x": Plain()}], "[plain, {'x': plain}]"),
        (range(3), "range(0, 3)"),
    ],
    ids=ascii,
)
def test_values_are_written_as_one_knows_them(value, expected):
    """Texts stand as they are, others as in Python, and inside of containers texts are in quotes."""
    assert ValueTexts().of(value) == expected


def test_a_long_text_is_cut():
    """A text is cut to the length that was asked for, 100 characters by default, and the cut can be seen."""
    assert ValueTexts().of("a" * 1_000) == "a" * (CELL - 1) + "…"
    assert ValueTexts().of("a" * 1_000, 5) == "aaaa…"
    assert ValueTexts().of("a" * 5, 5) == "aaaaa"
    assert len(ValueTexts().of(["a" * 1_000] * 1_000)) == CELL


def test_containers_show_six_elements():
    """Of longer containers the first six elements are shown, and how many there are."""
    assert ValueTexts().of(list(range(7))) == "[0, 1, 2, 3, 4, 5, ... 7 in all]"
    assert ValueTexts().of(list(range(6))) == "[0, 1, 2, 3, 4, 5]"
    assert ValueTexts().of(dict.fromkeys(range(1_000_000), 0)).endswith("5: 0, ... 1000000 in all}")


def test_containers_are_opened_three_levels_deep():
    """What is further in is an ellipsis."""
    assert ValueTexts().of([[[[]]]]) == "[[[...]]]"
    assert ValueTexts().of({"a": {"b": {"c": {"d": 1}}}}) == "{'a': {'b': {'c': ...}}}"


def test_a_container_within_itself_is_an_ellipsis():
    """A container that contains itself is not gone into again; one that is there twice is shown twice."""
    inner = [1]
    inner.append(inner)
    assert ValueTexts().of({"a": inner, "b": inner}) == "{'a': [1, ...], 'b': [1, ...]}"


def test_a_huge_number_is_its_size():
    """A number with more digits than Python would write has no digits here either."""
    assert ValueTexts().of(10**100) == "1" + "0" * 98 + "…"
    assert ValueTexts().of(-(1 << 1_000_000)) == "<int of 1000001 bits>"
    assert ValueTexts().of([1 << 1_000_000]) == "[<int of 1000001 bits>]"


def test_controls_are_made_visible():
    """What a terminal or XML would choke on, and what turns the reading direction, is written as an escape."""
    assert ValueTexts().of("a\x00\x1b[31m\u202eb\ud800") == r"a\x00\x1b[31m\u202eb\ud800"
    assert ValueTexts().of(Plain("a\x00\x1b[31m\u202eb")) == r"a\x00\x1b[31m\u202eb"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit, RecursionError])
def test_a_repr_that_raises_is_named(error):
    """Of a value whose repr raises there is its class, and what was raised."""

    class Odd:
        def __repr__(self):
            raise error("<b>")

    expected = f"<Odd: its repr raised {error.__name__}>"
    assert ValueTexts().of(Odd()) == expected
    assert ValueTexts().of([Odd(), 1]) == f"[{expected}, 1]"
    assert ValueTexts().of({Odd(): Odd()}) == f"{{{expected}: {expected}}}"


def test_a_repr_is_not_called_in_the_thread_of_the_display():
    """The user's code runs in a daemon thread, which neither an error nor a hang can take along."""
    threads = []

    class Curious:
        def __repr__(self):
            threads.append(threading.current_thread())
            return "curious"

    assert ValueTexts().of(Curious()) == "curious"
    assert threads[0] is not threading.current_thread()
    assert threads[0].daemon


def test_a_class_whose_repr_hangs_is_asked_once():
    """After a repr that did not return, values of that class, and of any other once time is up, are class names."""
    release, called = threading.Event(), []

    class Slow:
        def __repr__(self):
            called.append(self)
            release.wait(PATIENCE)
            return "late"

    texts = ValueTexts()
    try:
        assert texts.of(Slow()) == "<Slow: its repr takes too long>"
        assert texts.of([Slow(), Plain(), "text", 1]) == "[<Slow>, <Plain>, 'text', 1]"
    finally:
        release.set()
    assert len(called) == 1
    assert ValueTexts().of(Plain()) == "plain"


def test_a_text_class_is_shown_by_its_characters():
    """A text of a class of its own is the text that it holds, whatever its methods would make of it."""

    class Shouting(str):
        def __str__(self):
            return "LOUD"

        __len__ = __getitem__ = __bool__ = __iter__ = __str__

    assert ValueTexts().of(Shouting("quiet")) == "quiet"


class Lying(type):
    """A class that cannot be hashed, named, or compared."""

    __hash__ = None
    __name__ = property(lambda cls: 1 / 0)

    def __eq__(cls, other):
        raise ValueError


ODD = {
    "class": lambda: type("Odd", (), {"__class__": property(lambda self: 1 / 0)})(),
    "module": lambda: type("Odd", (), {"__module__": None})(),
    "metaclass": lambda: Lying("Odd", (), {})(),
    "key": lambda: {Lying("Odd", (), {})(): 1},
    "repr": lambda: type("Odd", (), {"__repr__": lambda self: type("Text", (str,), {"__getitem__": None})("x")})(),
}


@pytest.mark.parametrize("name", ODD)
def test_a_class_that_lies_about_itself_is_shown(name):
    """There is a text for every value, of one line, whatever its class claims to be."""
    assert ValueTexts().of(ODD[name]())


@pytest.mark.parametrize("value", [deque(range(10**6)), bytearray(10**7), type("Mine", (list,), {})(range(2000))])
def test_a_large_container_is_not_written_out(value):
    """The repr of a large container would hold up every thread of Python, so its size stands for it."""
    assert ValueTexts().of(value) == f"<{type(value).__name__} of {len(value):,}>"


def test_small_containers_are_written_as_python_does():
    """A tuple of one has its comma, and an empty set is no dict."""
    values = ((1,), (1, 2), set(), {}, {1})
    assert [ValueTexts().of(value) for value in values] == list(map(repr, values))


def test_a_subclass_of_a_container_is_asked_for_its_repr():
    """Only the very types list, dict and so on are opened: others may iterate as they like."""

    class Odd(list):
        def __iter__(self):
            raise ValueError

        def __repr__(self):
            return "odd"

    assert ValueTexts().of(Odd([1])) == "odd"


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters()),
        st.binary(),
        st.builds(Plain, st.text(st.characters())),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.characters()), inner), st.tuples(inner, inner)),
    max_leaves=20,
)


@given(value=VALUES, length=st.integers(1, 200))
def test_there_is_always_one_line_that_fits(value, length):
    """Whatever the value, its text is one line of at least one character and at most the length asked for."""
    text = ValueTexts().of(value, length)
    assert 1 <= len(text) <= max(length, 2 if value == "" else 1)
    assert len(text.splitlines()) == 1
    text.encode()  # no lone surrogates
