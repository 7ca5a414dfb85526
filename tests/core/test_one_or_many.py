"""A value that is a single object, and not many items, is refused before anything is called."""

import asyncio
import collections
import dataclasses
import os
import sqlite3
import sys
import types
import xml.etree.ElementTree as ElementTree
from email.message import Message
from typing import NamedTuple

import pandas as pd
import pyarrow
import pydantic
import pytest

from llmflow_nb import BatchFlow, BatchNode, HookReturnError, NestedLoopError, Node


def results(value):
    """Run a batch over a value; return its results, or raise its error. Nothing may be called for a refused value."""
    calls = []

    class Batch(BatchNode):
        def prep(self, shared):
            return value

        def exec(self, item):
            calls.append(item)
            return item

    node = Batch()
    try:
        node.run({})
    except HookReturnError:
        assert calls == []
        raise
    return calls


class Invoice(pydantic.BaseModel):
    number: int = 7
    total: float = 1.5


class Invoices(pydantic.RootModel[list[int]]):
    def __iter__(self):
        return iter(self.root)

    def __len__(self):
        return len(self.root)


@dataclasses.dataclass
class Point:
    x: int = 1
    y: int = 2

    def __iter__(self):
        return iter((self.x, self.y))


@dataclasses.dataclass
class Corpus:
    texts: list

    def __iter__(self):
        return iter(self.texts)

    def __len__(self):
        return len(self.texts)


class Attributed:
    """As ``attrs`` makes it."""

    __attrs_attrs__ = ()

    def __iter__(self):
        return iter((1, 2))


class Pair(NamedTuple):
    left: str
    right: str


class Columns:
    """A table of another library: iterated by column."""

    columns = property(lambda self: ["a", "b"])

    def __iter__(self):
        return iter(self.columns)


class Exchanged:
    """A table that has the dataframe interchange protocol."""

    def __dataframe__(self):
        raise AssertionError

    def __getitem__(self, index):
        raise AssertionError


def sqlite_row():
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    row = connection.execute("select 1 as a, 2 as b").fetchone()
    connection.close()
    return row


def mail():
    message = Message()
    message["Subject"] = "bees"
    return message


RECORD = r", a single object\. For one item return \[value\], for its parts list\(value\)\."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Invoice, "an Invoice" + RECORD),
        (Point, "a Point" + RECORD),
        (Attributed, "an Attributed" + RECORD),
        (lambda: Pair("a", "b"), "a Pair" + RECORD),
        (lambda: os.stat("."), "a stat_result" + RECORD),
        (sqlite_row, "a Row" + RECORD),
        (mail, "a Message" + RECORD),
        (lambda: collections.UserString("text"), r"an UserString\. For one item return \[text\], for its parts"),
        (lambda: memoryview(b"text"), r"a memoryview\. For one item return \[text\], for its parts"),
        (lambda: types.MappingProxyType({"a": 1}), r"a mappingproxy\. For one item return \[mapping\]"),
        (Columns, r"a Columns, a table that is not iterated by rows\. Return a list of its rows as dicts, or a pandas"),
        (Exchanged, "an Exchanged, a table that is not iterated by rows"),
    ],
    ids=lambda value: "" if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_one_value_is_refused(value, text):
    """A record, a text or a table that is iterated by column is refused, with what to write instead."""
    with pytest.raises(HookReturnError, match=rf"^Batch\.prep \(a BatchNode\) returned {text}"):
        results(value())


def test_future_of_another_loop():
    """Every awaitable that a hook returns is awaited; of a future that another loop completes the error says so."""
    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(NestedLoopError, match="the hook returned a future that belongs to another event loop"):
            results([loop.create_future()][0])
    finally:
        loop.close()


def test_coroutines_that_are_to_be_retried():
    """A coroutine can be awaited once: as an item it is refused where a second attempt would have to await it again."""

    class Ask(BatchNode):
        def prep(self, shared):
            return [asyncio.sleep(0, n) for n in range(2)]

        async def exec(self, item):
            return await item

    node = Ask()
    node.run({})
    assert node.last_run.batch(node).results == [0, 1]
    with pytest.raises(
        HookReturnError, match=r"awaited only once, so max_retries=2 has no effect\. Return the arguments"
    ):
        Ask(max_retries=2).run({})


def test_one_param_set_is_refused():
    """A BatchFlow refuses a single object too, and so does an exec of a BatchFlow that returns one."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return Invoice()

    with pytest.raises(HookReturnError, match=r"^Sets\.prep \(a BatchFlow\) returned an Invoice, a single object\."):
        Sets(start=Node()).run({})

    class Expands(BatchFlow):
        def prep(self, shared):
            return [{"n": 1}]

        def exec(self, element):
            return Invoice()

    with pytest.raises(HookReturnError, match=r"^Expands\.exec returned an Invoice, a single object\."):
        Expands(start=Node()).run({})


@pytest.mark.parametrize(
    ("value", "items"),
    [
        (lambda: Corpus(["bee", "ant"]), ["bee", "ant"]),
        (lambda: Invoices([1, 2]), [1, 2]),
        (lambda: [Invoice(), Point()], [Invoice(), Point()]),
        (lambda: collections.UserList([1, 2]), [1, 2]),
        (lambda: ElementTree.fromstring("<a><b/><c/></a>"), None),
    ],
    ids=["dataclass with a length", "root model with a length", "list of records", "UserList", "XML"],
)
def test_containers_are_many_items(value, items):
    """An object that says how it is iterated and how long it is, is a container, however it was declared."""
    many = value()
    assert results(many) == (list(many) if items is None else items)


def test_named_tuples_of_a_table_are_items():
    """``itertuples`` gives many records, and each is an item."""
    frame = pd.DataFrame({"n": [1, 2]})
    assert [row.n for row in results(frame.itertuples())] == [1, 2]


# ---- tables of other libraries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [lambda table: table, lambda table: table.to_batches()[0]], ids=["Table", "RecordBatch"]
)
def test_pyarrow_tables_give_rows(make):
    """A table of pyarrow gives its rows as dicts of plain values."""
    table = pyarrow.table({"n": [1, None], "text": ["bee", "ant"]})
    assert results(make(table)) == [{"n": 1, "text": "bee"}, {"n": None, "text": "ant"}]


def test_pyarrow_arrays_give_plain_values():
    """An array of pyarrow gives Python values, and more of them than are converted at a time."""
    items = results(pyarrow.chunked_array([list(range(1500)), [None]]))
    assert items == [*range(1500), None]
    assert type(items[0]) is int


def test_polars_frames_give_rows(monkeypatch):
    """A DataFrame of polars gives its rows as dicts. (Its own iterator would give columns.)"""

    class DataFrame:
        def __iter__(self):
            raise AssertionError("by column")

        def __len__(self):
            return 2

        def iter_rows(self, *, named):
            assert named
            return iter([{"n": 1}, {"n": 2}])

    monkeypatch.setitem(sys.modules, "polars", types.SimpleNamespace(DataFrame=DataFrame, LazyFrame=type(None)))
    assert results(DataFrame()) == [{"n": 1}, {"n": 2}]
