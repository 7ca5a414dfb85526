"""`readable`: values as texts, messages, fields or rows, for a front end to lay out."""

import pandas as pd
import pytest

from llmflow_nb.notebook.readable import readable
from llmflow_nb.notebook.values import ValueTexts

LONG = "a sentence that is long enough not to fit in a line with others"
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who\nare you?"}]


def read(value, length=2_000):
    return readable(value, ValueTexts(), length)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("two\nlines", {"text": "two\nlines"}),
        ("", {"text": "''"}),
        ("\x1b[1m", {"text": "\\x1b[1m"}),
        (None, {"text": "None"}),
        ([1, 2], {"text": "[1, 2]"}),
        ({"a": 1}, {"text": "{'a': 1}"}),
        (CHAT, {"messages": [["system", "Be brief."], ["user", "Who\nare you?"]]}),
        ({"a": "x\ny", "n": 1}, {"fields": [["a", "x\ny"], ["n", "1"]]}),
        ([LONG, "b"], {"fields": [["0", LONG], ["1", "b"]]}),
        ({"api_key": "sk-1", "a": LONG}, {"fields": [["api_key", "***"], ["a", LONG]]}),
        ([{"a": LONG, "b": 1}, {"a": "y"}], {"heads": ["a", "b"], "rows": [[LONG, "1"], ["y", ""]]}),
        ([{"a": LONG}, 1], {"fields": [["0", f"{{'a': '{LONG}'}}"], ["1", "1"]]}),
        (pd.DataFrame({"t": ["x"]}, index=["T-1"]), {"heads": ["", "t"], "rows": [["T-1", "x"]]}),
    ],
    ids=range(13),
)
def test_values_become_what_a_reader_expects(value, expected):
    """Texts keep their lines, chats are messages, dicts are fields, alike dicts and frames are rows."""
    assert read(value) == expected


def test_long_values_are_cut_and_say_so():
    """No text is longer than asked for, and what is left out is counted."""
    assert read("x" * 100, 10) == {"text": "x" * 9 + "…", "cut": True}
    assert read(list(range(1_000)))["cut"]
    found = read({str(n): LONG for n in range(100)})
    assert (len(found["fields"]), found["more"]) == (30, 70)
    found = read([{"text": LONG * 100}] * 100)
    assert (len(found["rows"]), found["more"], len(found["rows"][0][0])) == (20, 80, 200)
    found = read(pd.DataFrame([range(100)] * 100))
    assert (len(found["rows"]), found["more"], len(found["heads"])) == (20, 80, 9)


def test_a_value_without_a_text_is_still_shown():
    """A repr that raises, and a value that contains itself, are no errors."""

    class Loud:
        def __repr__(self):
            raise ValueError("no")

    loop = [LONG]
    loop.append(loop)
    assert read([Loud(), LONG])["fields"][0] == ["0", "<Loud: its repr raised ValueError>"]
    assert read(loop)["fields"][0] == ["0", LONG]
