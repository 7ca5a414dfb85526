"""A value that is written and read is equal and of the same type, or it is refused; a text runs no code."""

import array
import base64
import datetime as dt
import enum
import io
import json
import os
import pathlib
import pickle
import re
import threading
import types
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import attrs
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmflow_nb import Node
from llmflow_nb.core.fingerprint import Fingerprints
from llmflow_nb.journal.classes import Classes
from llmflow_nb.journal.errors import RefusedError, UnreadableError
from llmflow_nb.journal.keys import CallKeys
from llmflow_nb.journal.values import from_text, to_text


class Colour(enum.Enum):
    RED = 1
    GREEN = "green"


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 1


class Point(NamedTuple):
    x: int
    y: object


@dataclass
class Plain:
    words: set
    made: int = field(default=0, init=False)


@dataclass(frozen=True, slots=True)
class Frozen:
    text: str


@attrs.define
class Slotted:
    text: str
    others: list = attrs.field(factory=list)


class Answer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    text: str
    colour: Colour = Colour.RED
    inner: "Answer | None" = None


class Bag:
    def __init__(self, content):
        self.content = content


class Ask(Node):
    def exec(self, x):
        return x


HERE = Classes(node=Ask)
VIENNA = zoneinfo.ZoneInfo("Europe/Vienna")
VALUES = [
    None, True, 0, -1, 2**70, -(2**70), 10**5000, 1.5, -0.0, float("nan"), float("inf"), 5e-324, 1j, complex("nan-0j"),
    "", "text", "ü😀", "\0", "\ud800", "\ud83d\ude00", "a\ud800b", b"", b"\0\xff", bytearray(b"x"), ..., range(0, 9, 2),
    slice(1, None), [], [1, [2, []]], (), (1, (2,)), set(), {(1, "a"), (2, "b")}, frozenset({frozenset()}), {},
    {"a": 1}, {"$": "tuple", "v": [1]}, {1: 2, (1, "a"): None, "1": 3, None: 4}, {"\ud800": 1},
    OrderedDict(b=1, a=2), Counter("aab"), defaultdict(list, a=[1]), defaultdict(None, {1: 2}),
    deque([1, 2], 3), deque(),
    Decimal("1.10"), Decimal("NaN"), Decimal("-0"), Fraction(1, 3), uuid.UUID(int=7),
    re.compile("a.b", re.IGNORECASE | re.MULTILINE), re.compile(b"a"),
    dt.datetime(2026, 10, 25, 2, 30, tzinfo=VIENNA, fold=1), dt.datetime(1, 1, 1), dt.datetime.max,
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3))),
    dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "CET")), dt.date(2026, 1, 1), dt.time(1, 2, 3, 4),
    dt.time(1, tzinfo=VIENNA, fold=1), dt.timedelta(days=-1, microseconds=1), dt.UTC, VIENNA,
    pathlib.Path("a/b"), pathlib.PurePosixPath("/"), pathlib.PureWindowsPath("c:/x"),
    Colour.RED, Colour.GREEN, Mode.READ | Mode.WRITE, Mode(0), Level.LOW, Point(1, (2,)), Plain({1}), Frozen("a"),
    Slotted("a", [Slotted("b")]), Answer(text="a", inner=Answer(text="b", colour="green", more={1})), Bag(Bag(None)),
    types.SimpleNamespace(a=1, b=(2,)), [Point(1, {"a": Frozen("b")})] * 2,
    np.arange(6, dtype="<i2").reshape(2, 3), np.asfortranarray(np.ones((2, 3))), np.zeros((0, 4)), np.array(5),
    np.array(["a", "bc"]), np.array([("a", 1)], dtype=[("x", "U3"), ("y", "f4")]), np.array(["2026-01-01"], "M8[D]"),
    np.float32(1.1), np.float64("nan"), np.int8(-1), np.bool_(True), np.str_("a"), np.bytes_(b"a"),
    np.datetime64("NaT"),
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}), pd.DataFrame({"a": pd.array([1, None], "Int64")}, index=["x", "y"]),
    pd.Series([1.5, 2], name="a"), pd.Series(["a"]),
    pd.DataFrame({"t": pd.to_datetime(["2026-01-01"])}),
]  # fmt: skip


def content(value):
    """Return a key that shows the type and content of a value and of all its parts."""
    return CallKeys(Fingerprints()).of_input(value)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}")
def test_a_value_comes_back(value):
    """Equal, of the same type, at the top and inside of other values."""
    found = from_text(to_text(value), HERE)
    assert type(found) is type(value)
    assert content(found) == content(value)
    assert content(from_text(to_text([{"a": (value,)}]), HERE)) == content([{"a": (value,)}])


def test_equal_values_have_equal_texts():
    """Whatever the order of a set is."""
    assert to_text({"a", "b", (1, 2)}) == to_text({(1, 2), "b", "a"})


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters()), st.binary(), st.complex_numbers(),
    st.decimals(allow_nan=False), st.fractions(), st.datetimes(timezones=st.none() | st.timezones()), st.dates(),
    st.timedeltas(), st.uuids(), st.sampled_from(Colour),
)  # fmt: skip
hashable = st.recursive(leaves, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(st.characters(), max_size=3), inner, max_size=3),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Slotted, inner),
        st.builds(Bag, inner),
        st.builds(Answer, text=st.just("a"), more=inner),
    ),
    max_leaves=8,
)


@given(values)
def test_any_value_comes_back(value):
    """The laws above, for values that nobody has thought of."""
    text = to_text(value)
    json.loads(text)  # any reader of JSON can read it
    text.encode()
    assert content(from_text(text, HERE)) == content(value)


class Local:
    __slots__ = ("x",)


def cyclic():
    value = []
    value.append(value)
    return value


def deep():
    value = []
    for _ in range(10_000):
        value = [value]
    return value


def shared():
    value = ["a" * 1000]
    for _ in range(60):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (threading.Lock(), "class _thread.lock cannot be written; return its data"),
        ((n for n in ()), r"class generator cannot be written; return list\(...\)"),
        (ValueError("x"), "class ValueError cannot be written; return its text"),
        (lambda: 1, "class function"),
        (Local(), "class .*Local"),
        (defaultdict(lambda: 1), "a function of yours"),
        (array.array("d"), "class array.array"),
        (np.array([[1], None], dtype=object), "class numpy.ndarray"),
        (pd.DataFrame({"a": [object()]}), "class pandas.*DataFrame"),
        (pd.DataFrame({"a": [(1, 2)]}), r"parquet would change it; return df.to_dict\(\"records\"\)"),
        (pd.DataFrame(), "parquet would change it"),
        (pd.Index([1]), "class pandas.*Index"),
        (dt.datetime(2026, 1, 1, tzinfo=type("Zone", (dt.tzinfo,), {})()), "use zoneinfo.ZoneInfo"),
        (cyclic(), "contains itself"),
        (deep(), "nested too deeply"),
        (shared(), "larger than 64 MB"),
        (b"x" * 65_000_000, "larger than 64 MB"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_what_is_refused(value, what):
    """With a text that says what it is, and what to do."""
    with pytest.raises(RefusedError, match=what):
        to_text({"a": value})


def test_where_classes_are_found():
    """In ``types``, in what ``exec`` is said to return, in its module; nowhere else."""

    class Mine(NamedTuple):
        x: int

    class Asks(Node):
        def exec(self, x) -> "list[Mine] | None":
            return None

    Asks.exec.__annotations__["return"] = list[Mine] | None
    text = to_text([Mine(1)])
    assert from_text(text, Classes([Mine])) == from_text(text, Classes(node=Asks)) == [Mine(1)]
    with pytest.raises(UnreadableError, match=r"class .*Mine is missing; run the cell that defines .*Mine first"):
        from_text(text, HERE)


def test_a_class_with_other_fields():
    """An object of a class that has changed since is not made."""
    text = to_text(Frozen("a")).replace('["text"]', '["words"]')
    with pytest.raises(UnreadableError, match="Frozen had other fields when"):
        from_text(text, HERE)


class Evil:
    def __reduce__(self):
        return os.system, ("echo called",)


def npy(dtype="<f8", shape=(10**12,), body=b""):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return base64.b64encode(file.getvalue() + body).decode()


def tagged(tag, found, **more):
    return json.dumps({"$": tag, "v": found, **more})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000 + "]" * 10_000,
        '{"$":"tuple","v":' * 10_000 + "[]" + "}" * 10_000,
        "",
        "{",
        "NaN and more",
        '{"$":"os.system","v":"echo called"}',
        '{"$":["tuple"],"v":[]}',
        '{"$":"tuple"}',
        '{"$":"tuple","v":"abc"}',
        '{"$":"tuple","v":5}',
        '{"$":"set","v":[[]]}',
        '{"$":"dict","v":[1]}',
        '{"$":"int","v":"x"}',
        '{"$":"fraction","v":"1/0"}',
        '{"$":"decimal","v":"x"}',
        '{"$":"range","v":[1,2,0]}',
        '{"$":"pattern","v":["(",0]}',
        '{"$":"zone","v":"../../etc/passwd"}',
        '{"$":"deque","v":[],"max":"x"}',
        '{"$":"defaultdict","v":[],"of":"exec"}',
        '{"$":"enum","v":"RED","of":"os:system","named":true}',
        '{"$":"enum","v":"x","of":"tests.journal.test_values:Colour","named":true}',
        '{"$":"object","v":{},"of":"os:system"}',
        '{"$":"object","v":{},"of":"subprocess:Popen"}',
        '{"$":"object","v":{},"of":["a"]}',
        '{"$":"object","v":{"x":1},"of":"pathlib:Path"}',
        tagged("namedtuple", [1, 2, 3], of=f"{__name__}:Point"),
        tagged("object", {"x": 1}, of=f"{__name__}:Ask"),
        tagged("object", {}, of=f"{__name__}:Answer"),
        tagged("numpy", npy()),
        tagged("numpy", npy("|O", (1,), pickle.dumps([Evil()]))),
        tagged("numpy", base64.b64encode(pickle.dumps(Evil())).decode()),
        tagged("frame", base64.b64encode(pickle.dumps(Evil())).decode()),
    ],
)
def test_a_hostile_text_is_an_error(text, capfd):
    """It runs nothing, allocates nothing large, and says what is wrong."""
    with pytest.raises(UnreadableError):
        from_text(text, HERE)
    assert "called" not in capfd.readouterr().out
