"""What the result of a call depends on: the same in every process, and another one for another value."""

import functools
import os
import subprocess
import sys
import textwrap
import threading

import pytest

from llmflow_nb import Node
from llmflow_nb.core.encoding import NoKeyError
from llmflow_nb.core.fingerprint import Fingerprints, fingerprint
from llmflow_nb.journal.keys import CallKeys
from llmflow_nb.llm import call_llm

VALUES = """
import array, collections, dataclasses, datetime, decimal, enum, fractions, pathlib, re, threading, types
import uuid, zoneinfo
from typing import NamedTuple
import attrs, numpy, pandas, pydantic
from llmflow_nb.core.fingerprint import Fingerprints
from llmflow_nb.journal.keys import CallKeys

class Colour(enum.Enum):
    RED = {"a", "b", "c"}
    __hash__ = enum.Enum.__hash__
class Point(NamedTuple):
    x: int
    y: int
@dataclasses.dataclass
class Plain:
    words: set
@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    words: frozenset
@attrs.define
class Attrs:
    words: set
class Answer(pydantic.BaseModel):
    text: str
    words: set[str] = set()
    more: int = 0
class Helper:
    def ask(self, x): return x in {"a", "b", "c", "d"}
class Client:
    def __init__(self):
        self.lock, self.model, self.words = threading.Lock(), "small", {"a", "b", "c"}
    def ask(self, x): return x in {"a", "b", "c", "d"}
class MyDict(dict): pass

words = {"spam", "eggs", "ham", "bacon"}
values = [
    None, True, 1, 2**70, -1.5, float("nan"), -0.0, 1j, "text", "\\ud800", "\\0", b"bytes", range(3), slice(1, 2), ...,
    words, frozenset(words), {(1, "a"), (2, "b")}, {"a": words, 1: (2, [3])}, collections.defaultdict(list, a=[1]),
    collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1], 3), bytearray(b"x"),
    array.array("d", [1.0]), decimal.Decimal("1.10"), fractions.Fraction(1, 3), uuid.UUID(int=1), re.compile("a", re.I),
    pathlib.PurePosixPath("a/b"), datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Vienna")),
    datetime.date(2026, 1, 1), datetime.time(1, 2), datetime.timedelta(1), Colour.RED, Point(1, 2), Plain(words),
    Slots(frozenset(words)), Attrs(words), Answer(text="a", words=words), Helper(), types.SimpleNamespace(a=words),
    numpy.arange(6).reshape(2, 3), numpy.float32(1), numpy.array([[1], "a", None], dtype=object),
    pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), pandas.DataFrame({"a": [[1], [2]]}), pandas.Series([1, 2]),
    MyDict(a=1), len, Helper, Helper.ask, json if (json := __import__("json")) else None,
]
keys = CallKeys(Fingerprints())
for value in values:
    print(type(value).__name__, keys.of_input(value).hex())
for value in [Client(), [Client()], threading.Lock()]:
    print(type(value).__name__, keys.of_value(value).hex())
"""


@functools.cache
def run(seed, text=VALUES):
    """Run code in another process, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def keys():
    return CallKeys(Fingerprints())


def test_keys_are_the_same_in_every_process():
    """Under every hash seed, for every kind of value."""
    first, *others = [run(seed) for seed in ("0", "1", "random")]
    for other in others:
        assert other == first


def test_every_value_has_its_own_key():
    """No two of these values, and no two of these kinds, have one key."""
    found = [line.split()[1] for line in run("0")]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("first", "second"),
    [(1, True), (1, 1.0), ([1], (1,)), ("1", 1), (0.0, -0.0), ({1: 2}, {2: 1}), ("a", b"a"), ([], None), ({}, set())],
)
def test_equal_values_of_other_types_have_other_keys(keys, first, second):
    """A model may be asked another thing, though Python calls them equal."""
    assert keys.of_input(first) != keys.of_input(second)


def test_an_object_without_content_has_no_key_as_an_input(keys):
    """A lock cannot be compared. On a node it counts by its class."""
    with pytest.raises(NoKeyError, match="lock"):
        keys.of_input(threading.Lock())
    assert keys.of_value(threading.Lock()) == keys.of_value(threading.Lock())


def test_a_counter_in_a_client_changes_no_key(keys):
    """An object that is not data counts as it was when it was first seen."""

    class Client:
        def __init__(self, model):
            self.lock, self.model, self.calls = threading.Lock(), model, 0

    client = Client("small")
    before = keys.of_value(client)
    client.calls += 1
    assert keys.of_value(client) == before
    assert CallKeys(Fingerprints()).of_value(Client("small")) == before
    assert CallKeys(Fingerprints()).of_value(Client("large")) != before


def test_the_code_of_a_helper_on_a_node_counts(keys):
    """An object that a node holds answers by the methods of its class."""

    def make(number):
        class Helper:
            def ask(self, x):
                return number

        return Helper()

    assert keys.of_value(make(1)) != keys.of_value(make(2))
    assert keys.of_value(make(1)) == CallKeys(Fingerprints()).of_value(make(1))


def test_the_model_that_call_llm_asks_counts(monkeypatch):
    """Its name and its address, but neither the key nor the login in the address."""

    class Ask(Node):
        def exec(self, prompt):
            return call_llm(prompt)

    def with_(**variables):
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "LLMFLOW_NB_MODEL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return fingerprint(Ask)

    key = {"OPENAI_API_KEY": "a key"}
    here = {**key, "OPENAI_BASE_URL": "http://here/v1"}
    found = [with_(), with_(**key), with_(**key, OPENAI_MODEL="large"), with_(**here)]
    assert len(set(found)) == 4
    assert with_(OPENAI_API_KEY="another") == with_(**key) == with_(**key, OPENAI_MODEL="gpt-4o-mini")
    assert with_(**{**here, "OPENAI_BASE_URL": "http://me:secret@here/v1"}) == with_(**here)
    assert with_(**{**here, "OPENAI_BASE_URL": "not an address"})
