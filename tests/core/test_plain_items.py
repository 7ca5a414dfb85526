"""Items of pandas and numpy are plain Python values: they compare, format and save as JSON like any other."""

import json

import numpy as np
import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, Node


class Batch(BatchNode):
    """Runs over ``shared`` and gives back each item."""

    def prep(self, shared):
        return shared

    def exec(self, item):
        return item


def items(value):
    node = Batch()
    node.run(value)
    return node.last_run.batch(node).results


def kinds(value):
    return [type(item) for item in items(value)]


NAN, TIME = float("nan"), pd.Timestamp("2020-01-01")


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pd.Series([1, 2], dtype="int64"), [1, 2]),
        (pd.Series([1, None], dtype="Int64"), [1, None]),
        (pd.Series([1.5, None], dtype="Float64"), [1.5, None]),
        (pd.Series([True, None], dtype="boolean"), [True, None]),
        (pd.Series([True, False]), [True, False]),
        (pd.Series(["bee", None], dtype="string"), ["bee", None]),
        (pd.Series(["bee", None]), ["bee", None]),
        (pd.Series(["bee", NAN], dtype=object), ["bee", None]),
        (pd.Series(["bee", None], dtype="category"), ["bee", None]),
        (pd.Series([2, 1], dtype="category"), [2, 1]),
        (pd.Series([1, None], dtype="int64[pyarrow]"), [1, None]),
        (pd.Series([TIME, None]), [TIME, None]),
        (
            pd.Series([np.int64(1), np.bool_(True), np.str_("x"), pd.NA, [NAN]], dtype=object),
            [1, True, "x", None, [NAN]],
        ),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pd.Series) else "",
)
@pytest.mark.parametrize("form", ["Series", "DataFrame", "array"])
def test_plain_values(column, expected, form):
    """Whatever the dtype, an item is a Python value, and a missing one is None."""
    if form == "DataFrame":
        found = [row["c"] for row in items(pd.DataFrame({"c": column, "n": 1}))]
    else:
        found = items(column if form == "Series" else column.array)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_nan_in_a_column_of_floats():
    """NaN in a column of floats may be a number that was computed, so it stays one."""
    (found,) = items(pd.Series([NAN]))
    assert type(found) is float
    assert found != found


def test_row_of_our_own_table():
    """A row of a batch's own table can be written as JSON."""
    table = pd.DataFrame(items(["bee", "ant"]), columns=["word"])
    node = Batch()
    node.run(["bee", "ant"])
    rows = items(node.last_run.batch(node).df[["item", "attempts", "error"]])
    assert table["word"].tolist() == ["bee", "ant"]
    assert json.loads(json.dumps(rows)) == [{"item": word, "attempts": 1, "error": None} for word in ("bee", "ant")]


def test_param_sets_of_a_table():
    """So are the params of a BatchFlow over a table."""

    class See(Node):
        def post(self, shared, prep_res, exec_res):
            seen.append(self.params["n"])

    class Sets(BatchFlow):
        def prep(self, shared):
            return pd.DataFrame({"n": pd.Series([1, None], dtype="Int64")})

    seen = []
    Sets(start=See()).run({})
    assert seen == [1, None]
    assert type(seen[0]) is int


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.arange(2), [0, 1]),
        (np.array([0.5], dtype="float32"), [0.5]),
        (np.array([True]), [True]),
        (np.array(["bee"]), ["bee"]),
        (np.array([np.int64(3), "x"], dtype=object), [3, "x"]),
        (np.array([(1, "bee")], dtype=[("n", "i8"), ("word", "U3")]), [{"n": 1, "word": "bee"}]),
    ],
    ids=["int", "float", "bool", "text", "object", "fields"],
)
def test_arrays(array, expected):
    """The elements of an array of one dimension are Python values; those with fields are dicts."""
    found = items(array)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_dates_of_an_array():
    """Dates of numpy stay as they are: as Python values those of nanoseconds would be bare numbers."""
    assert kinds(np.array(["2020-01-01"], dtype="datetime64[ns]")) == [np.datetime64]


def test_labels_of_several_levels():
    """An index of several levels gives tuples."""
    assert items(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])) == [("a", 1), ("b", 2)]


def test_more_rows_than_are_converted_at_a_time():
    """Rows come in order, also of a frame of many."""
    frame = pd.DataFrame({"n": range(2500), "text": "x"})
    assert [row["n"] for row in items(frame)] == list(range(2500))
