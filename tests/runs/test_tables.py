"""The record as tables: which rows, columns, dtypes and labels there are, whatever went in and however it ended."""

import dataclasses
import io
import types
from typing import NamedTuple

import numpy as np
import pandas as pd
import pydantic
import pytest

from llmflow_nb import BatchFlow, Flow, Node
from tests.engine.helpers import MODES, Items, Signal, go, items_node

INTEGERS, NUMBERS, TEXT = pd.Int64Dtype(), pd.Float64Dtype(), pd.StringDtype("python")

STEPS = {
    "step": INTEGERS,
    "path": TEXT,
    "node": TEXT,
    "visit": INTEGERS,
    "action": TEXT,
    "status": TEXT,
    "attempts": INTEGERS,
    "seconds": NUMBERS,
    "prep_s": NUMBERS,
    "exec_s": NUMBERS,
    "post_s": NUMBERS,
    "error_type": TEXT,
    "error": TEXT,
}
ITEMS = {
    "visit": INTEGERS,
    "position": INTEGERS,
    "item": None,  # as its values are
    "result": None,
    "status": TEXT,
    "attempts": INTEGERS,
    "seconds": NUMBERS,
    "error_type": TEXT,
    "error": TEXT,
}
SETS = {
    "visit": INTEGERS,
    "position": INTEGERS,
    "result": None,
    "action": TEXT,
    "status": TEXT,
    "failed_at": TEXT,
    "attempts": INTEGERS,
    "seconds": NUMBERS,
    "error_type": TEXT,
    "error": TEXT,
}


def refuse_bad(item):
    if item == "bad":
        raise LookupError(f"no {item}")
    return item


def mapped(items, work=lambda item: item, **settings):
    """The record of a batch node over these items."""
    node = items_node("inline", lambda node, item: work(item), name="Map", **settings)
    node.run({"items": items})
    return node.last_run.batch(node)


class Sets(BatchFlow):
    """Walks over ``shared["sets"]``."""

    def prep(self, shared):
        return shared["sets"]


class Leaf(Node):
    """Gives back its params; fails where one of them is "bad"."""

    def exec(self, prep_res):
        if "bad" in self.params.values():
            raise LookupError("no bad")
        return dict(self.params)

    def post(self, shared, prep_res, exec_res):
        return "seen"


def walked(sets, start=None, shared=None, **settings):
    """The record of a batch flow over these param sets."""
    flow = Sets(start or Leaf(), name="Sets", **settings)
    flow.run({**(shared or {}), "sets": sets})
    return flow.last_run.batch(flow)


def check_columns(df, columns):
    """The columns are these, in this order, and those whose dtype is promised have it."""
    assert list(df.columns) == list(columns)
    assert {name: df[name].dtype for name in columns if columns[name] is not None} == {
        name: dtype for name, dtype in columns.items() if dtype is not None
    }


# ---- columns and dtypes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("items", [[], ["a"], ["bad", "a"], [None, 1.5, "a"]], ids=["none", "ok", "failed", "mixed"])
def test_columns_of_a_batch_node(items):
    """The table of a batch node has the documented columns and dtypes, whatever is in it."""
    df = mapped(items, refuse_bad, on_error="keep").df
    check_columns(df, ITEMS)
    assert type(df) is pd.DataFrame
    assert len(df) == len(items)


@pytest.mark.parametrize("sets", [[], [{}], [{}, {}]], ids=["none", "one", "two"])
def test_columns_of_a_batch_flow(sets):
    """The table of a batch flow has the documented columns and dtypes, whatever is in it."""
    df = walked(sets).df
    check_columns(df, SETS)
    assert type(df) is pd.DataFrame
    assert len(df) == len(sets)


def test_columns_of_a_batch_flow_whose_sets_failed():
    """Failures and the params change no dtype: the params come first, the documented columns after them."""
    df = walked([{"n": "bad"}, {"n": "good"}], on_error="keep").df
    check_columns(df, {"n": TEXT, **SETS})
    assert df["failed_at"].tolist() == ["Sets/Leaf", pd.NA]
    assert df["action"].tolist() == [pd.NA, "seen"]


def test_columns_of_steps():
    """The table of visits has the documented columns and dtypes, before the first visit has ended and after the run."""

    class Look(Node):
        def exec(self, prep_res):
            tables.append(flow.last_run.steps)

    tables = []
    flow = Flow(Look(), name="Outer")
    flow.run({})
    tables.append(flow.last_run.steps)
    for df, rows in zip(tables, [0, 2], strict=True):
        check_columns(df, STEPS)
        assert type(df) is pd.DataFrame
        assert df.index.equals(pd.RangeIndex(rows))


def test_columns_of_errors():
    """The table of errors has the documented columns and dtypes, with nothing in it and with something."""
    columns = {"path": TEXT, "position": INTEGERS, "error_type": TEXT, "error": TEXT}
    for items in ([], ["a", "bad"]):
        run = mapped(items, refuse_bad, on_error="keep").run
        check_columns(run.errors, columns)
        assert len(run.errors) == items.count("bad")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (["a", None], TEXT),
        ([1, None], INTEGERS),
        ([1.5, None], NUMBERS),
        ([1, 1.5], NUMBERS),
        ([True, None], pd.BooleanDtype()),
        ([np.int64(1), 2], INTEGERS),
        (["a", 1], object),
        ([True, 1], object),
        ([b"a"], object),
        ([1j], object),
        ([2**70, 1], object),
        ([-(2**70), None], object),
        ([None, None], object),
        ([[1], [2]], object),
        ([(1, 2), (3, 4)], object),
        ([{"a": 1}, {"b": 2}], object),
        ([["a"], "a"], object),
    ],
    ids=repr,
)
def test_dtype_of_values(values, dtype):
    """Items and results have a nullable dtype where all are of one kind, else they stay the objects that they are."""
    df = mapped(values).df
    for name in ("item", "result"):
        assert df[name].dtype == dtype
        found = [None if value is pd.NA else value for value in df[name]]
        assert found == values
        if dtype is object:
            assert [type(value) for value in df[name]] == [type(value) for value in values]


@pytest.mark.parametrize(
    "make",
    [
        lambda n: [n, n],
        lambda n: np.array([n, n]),
        lambda n: np.array(n),
        lambda n: pd.DataFrame({"a": [n]}),
        lambda n: pd.Series([n, n]),
        lambda n: {"a": n},
        lambda n: {n},
        lambda n: range(n, n + 2),
        lambda n: ValueError(n),
        lambda n: type("Odd", (), {"__eq__": lambda self, other: 1 / 0, "__hash__": None, "__len__": lambda self: 2})(),
    ],
    ids=["list", "array", "array without axes", "frame", "series", "dict", "set", "range", "exception", "odd"],
)
def test_results_are_the_very_objects(make):
    """Lists, arrays, frames and whatever else ``exec`` returned are in the table whole: the same objects."""
    results = [make(1), make(2)]
    df = mapped([0, 1], lambda place: results[place]).df
    assert df.shape == (2, len(ITEMS))
    assert all(found is made for found, made in zip(df["result"], results, strict=True))


def test_long_results_are_whole():
    """A long text is in the table as it is."""
    text = "A" * 1_000_000
    assert mapped([text]).df["result"][0] is text


def test_nan_is_a_result():
    """A NaN that ``exec`` returned is a result: its row is ok, and the record has it."""
    record = mapped([float("nan"), 1.0])
    assert record.df["status"].tolist() == ["ok", "ok"]
    assert len(record.ok) == 2
    assert record.df["result"].isna().tolist() == [True, False]
    assert record.results[0] != record.results[0]


def test_none_is_a_result():
    """A None that ``exec`` returned is told from a missing result by the status."""
    df = mapped([None, "bad", "a"], refuse_bad, on_error="keep").df
    assert df["result"].isna().tolist() == [True, True, False]
    assert df["status"].tolist() == ["ok", "failed", "ok"]


def test_lone_surrogates():
    """Half a character, as models write it, goes through every table as it is."""
    half = "\ud83d"

    class Fallback(Items):
        def exec(self, item):
            raise LookupError(half)

        def exec_fallback(self, item, exc):
            return half

    flow = Sets(Fallback(name=half), name="Sets")
    flow.run({"sets": [{"param": half}], "items": [half]})
    df = flow.last_run.batch(half).df
    assert [df.loc[0, name] for name in ("param", "item", "result")] == [half] * 3
    assert half in df.loc[0, "error"]
    assert flow.last_run.steps["node"].tolist() == [half, "Sets"]
    assert df.groupby("param").size().to_dict() == {half: 1}


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_rows_of_a_batch_node():
    """A row says what went in, what came out, how often it was tried, and what the last error said and where."""
    tries = []

    def work(node, item):
        tries.append(item)
        if item == "bad" or (item == "shy" and tries.count("shy") == 1):
            raise LookupError(f"no {item}")
        return item.upper()

    node = items_node("inline", work, name="Map", max_retries=2, on_error="keep")
    flow = Flow(node, name="Outer")
    flow.run({"items": ["a", "shy", "bad"]})
    df = flow.last_run.batch(node).df
    assert df["item"].tolist() == ["a", "shy", "bad"]
    assert df["result"].tolist() == ["A", "SHY", pd.NA]
    assert df["status"].tolist() == ["ok", "ok", "failed"]
    assert df["attempts"].tolist() == [1, 2, 2]
    assert df["error_type"].tolist() == [pd.NA, "LookupError", "LookupError"]
    assert df["error"].tolist() == [
        pd.NA,
        "no shy (in Outer/Map, item 2 of 3)",
        "no bad (in Outer/Map, item 3 of 3, attempt 2)",
    ]
    assert (df["seconds"] >= 0).all()


def test_rows_of_a_batch_flow():
    """A row of a batch flow is a param set: its params, the last result and action, and where it failed."""
    before = Node(name="Before")
    before >> Leaf()
    df = walked([{"n": 1}, {"n": "bad"}], before, on_error="keep").df
    assert df["n"].tolist() == [1, "bad"]
    assert df["result"].tolist() == [{"n": 1}, None]
    assert df["action"].tolist() == ["seen", pd.NA]
    assert df["status"].tolist() == ["ok", "failed"]
    assert df["failed_at"].tolist() == [pd.NA, "Sets/Leaf"]
    assert df["attempts"].tolist() == [1, 1]
    assert df["error"].tolist() == [pd.NA, "no bad (in Sets/Leaf, param set 2 of 2)"]


def test_fallback_rows():
    """A row that the fallback answered has a result, the status "fallback", and the error that led to it."""

    class Fallback(Items):
        def exec(self, item):
            return refuse_bad(item)

        def exec_fallback(self, item, exc):
            return "made up"

    node = Fallback()
    node.run({"items": ["a", "bad"]})
    df = node.last_run.batch(node).df
    assert df["result"].tolist() == ["a", "made up"]
    assert df["status"].tolist() == ["ok", "fallback"]
    assert df["error_type"].tolist() == [pd.NA, "LookupError"]


@pytest.mark.parametrize("as_list", [True, False], ids=["list", "range"])
@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
@pytest.mark.parametrize("mode", MODES)
def test_every_item_has_a_row(mode, error, as_list):
    """After a failure or an interrupt there are as many rows as items, in order; those not reached are pending."""

    def work(node, item):
        if item == 1:
            raise error
        return item

    node = items_node(mode, work, max_concurrency=1)
    with pytest.raises(error):
        go(mode, node, {"items": [0, 1, 2, 3] if as_list else range(4)})
    df = node.last_run.batch(node).df
    assert df["position"].tolist() == [0, 1, 2, 3]
    assert df["status"].tolist() == ["ok", "failed" if error is LookupError else "cancelled", "pending", "pending"]
    assert df["result"].tolist() == [0, pd.NA, pd.NA, pd.NA]
    assert df["attempts"].tolist() == [1, 1, 0, 0]
    assert df["seconds"].tolist()[2:] == [0, 0]
    if as_list:
        assert df["item"].tolist() == [0, 1, 2, 3]


def test_every_item_has_a_row_after_a_stop():
    """After a stop there are as many rows as items: what was under way is cancelled, the rest pending."""
    begun, release = Signal(), Signal()

    def work(node, item):
        if item == 1:
            begun.set()
            release.wait()
        return item

    node = items_node("inline", work)
    handle = node.submit({"items": [0, 1, 2]})
    try:
        begun.wait()
        assert handle.stop()
    finally:
        release.set()
    df = handle.run.batch(node).df
    assert df["status"].tolist() == ["ok", "cancelled", "pending"]
    assert df["result"].tolist() == [0, pd.NA, pd.NA]


@pytest.mark.parametrize("on_error", ["raise", "keep"])
def test_every_param_set_has_a_row(on_error):
    """After a failure there are as many rows as param sets; the params of those not reached are there too."""
    sets = [{"n": "a"}, {"n": "bad"}, {"n": "b"}]
    flow = Sets(Leaf(), on_error=on_error)
    if on_error == "keep":
        flow.run({"sets": sets})
    else:
        with pytest.raises(LookupError, match="no bad"):
            flow.run({"sets": sets})
    df = flow.last_run.batch(flow).df
    assert df["n"].tolist() == ["a", "bad", "b"]
    assert df["status"].tolist() == ["ok", "failed", "ok" if on_error == "keep" else "pending"]
    assert df["attempts"].tolist() == [1, 1, int(on_error == "keep")]


def test_a_generator_has_the_rows_that_were_read():
    """Of a generator that ends early there are rows for what it gave; nobody knows how many were to come."""

    def items():
        yield "a"
        yield "b"
        raise OSError("disk gone")

    node = Items()
    with pytest.raises(OSError, match="disk gone"):
        node.run({"items": items()})
    assert node.last_run.batch(node).df["item"].tolist() == ["a", "b"]


def test_items_that_were_not_kept():
    """With ``keep_items=False`` the items of rows without a result are there, and the others are missing."""
    items = iter(["a", "bad", "b"])
    df = mapped(items, refuse_bad, keep_items=False, on_error="keep").df
    assert df["item"].tolist() == [pd.NA, "bad", pd.NA]
    assert df["result"].tolist() == ["a", pd.NA, "b"]


def test_exceptions_without_a_text():
    """An exception that cannot say what it is has a row like any other, which says so."""

    class Mute(LookupError):
        def __str__(self):
            raise ValueError("mute")

    def work(item):
        if item:
            raise Mute
        return item

    record = mapped([0, 1], work, on_error="keep")
    assert record.df["error_type"].tolist() == [pd.NA, "Mute"]
    assert record.df["error"][1] == "<Mute without a text: ValueError> (in Map, item 2 of 2)"
    assert record.run.errors["error"].tolist() == ["<Mute without a text: ValueError>"]
    assert isinstance(record.exceptions[1], Mute)


# ---- visits ----------------------------------------------------------------------------------------------------------


class Again(Items):
    """A batch node that is visited three times; the items of each visit are in ``shared["visits"]``."""

    def prep(self, shared):
        return shared["visits"][shared["n"]]

    def exec(self, item):
        return item

    def post(self, shared, prep_res, exec_res):
        shared["n"] += 1
        return "again" if shared["n"] < len(shared["visits"]) else "done"


def looped(visits):
    """The record of a batch node that has these inputs, one after the other."""
    node = Again(name="Map")
    node - "again" >> node
    node - "done" >> Node(name="End")
    flow = Flow(node, name="Loop")
    flow.run({"visits": visits, "n": 0})
    return flow.last_run.batch(node)


def test_several_visits():
    """The items of several visits are one table, the earliest first; each has its visit and its place there."""
    df = looped([["a", "b"], [], ["c"]]).df
    assert df.index.equals(pd.RangeIndex(3))
    assert df["visit"].tolist() == [1, 1, 3]
    assert df["position"].tolist() == [0, 1, 0]
    assert df["item"].tolist() == ["a", "b", "c"]


def test_steps_of_a_loop():
    """There is a row for every visit, in the order in which they ended, with its number on the walk and its action."""
    df = looped([["a"], ["b"], ["c"]]).run.steps
    assert df["step"].tolist() == [0, 1, 2, 3, 4]
    assert df["path"].tolist() == ["Loop/Map"] * 3 + ["Loop/End", "Loop"]
    assert df["node"].tolist() == ["Map"] * 3 + ["End", "Loop"]
    assert df["visit"].tolist() == [1, 2, 3, 1, 1]
    assert df["action"].tolist() == ["again", "again", "done", pd.NA, pd.NA]
    assert df["attempts"].tolist() == [1, 1, 1, 1, 0]
    assert df["status"].tolist() == ["ok"] * 5


def test_visits_count_for_each_walk():
    """Visits are counted on their own walk: in another param set they begin with 1 again."""

    class Twice(Node):
        def post(self, shared, prep_res, exec_res):
            shared["n"] += 1
            return "again" if shared["n"] % 2 else "done"

    node = Twice()
    node - "again" >> node
    node - "done" >> Node(name="End")
    steps = walked([{"a": 1}, {"a": 2}], node, {"n": 0}).run.steps
    found = steps[steps["node"] == "Twice"]
    assert found["visit"].tolist() == [1, 2, 1, 2]
    assert found["a"].tolist() == [1, 1, 2, 2]


def test_steps_of_a_failure():
    """A visit that failed and the flows around it have rows that say why and where; they have no action."""
    flow = Flow(Flow(Leaf(), name="Inner"), name="Outer")
    flow.set_params({"n": "bad"})
    with pytest.raises(LookupError, match="no bad"):
        flow.run({})
    df = flow.last_run.steps
    assert df["path"].tolist() == ["Outer/Inner/Leaf", "Outer/Inner", "Outer"]
    assert df["status"].tolist() == ["failed"] * 3
    assert df["error_type"].tolist() == ["LookupError"] * 3
    assert df["error"].tolist() == [f"no bad (in {path})" for path in df["path"]]
    assert df["action"].isna().all()


def test_seconds_of_steps():
    """The seconds of the hooks add up to those of the visit, and none is negative."""
    df = looped([["a"], ["b"]]).run.steps
    assert df["seconds"].tolist() == pytest.approx((df["prep_s"] + df["exec_s"] + df["post_s"]).tolist())
    assert (df[["prep_s", "exec_s", "post_s"]] >= 0).all(axis=None)


# ---- labels ----------------------------------------------------------------------------------------------------------

LABELS = [
    pd.Index(["x", "y"]),
    pd.Index(["x", "y"], name="id"),
    pd.Index([7, 3]),
    pd.Index(["x", "x"]),
    pd.Index([None, 1.5], dtype=object),
    pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["letter", "number"]),
    pd.to_datetime(["2024-01-01", "2025-01-01"]),
    pd.CategoricalIndex(["x", "y"]),
    pd.RangeIndex(10, 30, 10),
]


@pytest.mark.parametrize("make", [pd.Series, lambda values, index: pd.DataFrame({"a": values}, index=index)])
@pytest.mark.parametrize("index", LABELS, ids=lambda index: type(index).__name__)
def test_labels_of_pandas_inputs(index, make):
    """The table has the labels of the DataFrame or Series that ``prep`` returned, with their names and dtype."""
    df = mapped(make([10, 20], index=index)).df
    pd.testing.assert_index_equal(df.index, index)
    assert df["position"].tolist() == [0, 1]


@pytest.mark.parametrize("index", LABELS, ids=lambda index: type(index).__name__)
def test_labels_after_a_failure(index):
    """The labels are whole after a failure too, and lead from the table of results back to the input."""
    texts = pd.DataFrame({"text": ["bad", "a"]}, index=index)
    node = items_node("inline", lambda node, item: refuse_bad(item["text"]))
    with pytest.raises(LookupError, match="no bad"):
        node.run({"items": texts})
    df = node.last_run.batch(node).df
    pd.testing.assert_index_equal(df.index, index)
    assert df["status"].tolist() == ["failed", "pending"]
    assert list(node.last_run.batch(node).exceptions.index) == list(index[:1])


def test_labels_of_param_sets():
    """A batch flow over a DataFrame has its columns as params, and its labels."""
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=pd.Index(["p", "q"], name="id"))
    df = walked(frame).df
    pd.testing.assert_index_equal(df.index, frame.index)
    assert df[["a", "b"]].values.tolist() == frame.values.tolist()


@pytest.mark.parametrize("other", [[1], pd.Series([1, 2], index=["x", "y"]).array, range(2)])
def test_labels_of_other_inputs(other):
    """What has no labels has its rows counted from 0."""
    assert mapped(other).df.index.equals(pd.RangeIndex(len(other)))


def test_labels_of_an_empty_input():
    """An empty DataFrame keeps its labels' name."""
    empty = pd.DataFrame({"a": []}, index=pd.Index([], name="id", dtype=object))
    df = mapped(empty).df
    assert df.index.name == "id"
    check_columns(df, ITEMS)


def test_labels_of_several_visits():
    """The labels of several visits stand one after the other, under the name that they share."""
    visits = [pd.Series([n, n], index=pd.Index([f"a{n}", f"b{n}"], name="id")) for n in range(2)]
    df = looped(visits).df
    pd.testing.assert_index_equal(df.index, pd.Index(["a0", "b0", "a1", "b1"], name="id"))


def test_multi_level_labels_of_several_visits():
    """So do labels of several levels."""
    visits = [pd.Series([n], index=pd.MultiIndex.from_tuples([("a", n)], names=["x", "y"])) for n in range(2)]
    df = looped(visits).df
    pd.testing.assert_index_equal(df.index, pd.MultiIndex.from_tuples([("a", 0), ("a", 1)], names=["x", "y"]))


def test_labels_of_visits_of_which_one_has_none():
    """Where one visit has no labels, all rows are counted."""
    df = looped([pd.Series([1], index=["x"]), [2]]).df
    assert df.index.equals(pd.RangeIndex(2))


def test_labels_of_items():
    """A single item knows its label too: that of the input, else its place."""
    assert [item.label for item in mapped(pd.Series([1, 2], index=["x", "y"]))] == ["x", "y"]
    assert [item.label for item in mapped([1, 2])] == [0, 1]


# ---- params ----------------------------------------------------------------------------------------------------------


def nested(sets, items=("a", "b"), work=lambda node, item: item, **settings):
    """The record of a batch node inside a batch flow over these param sets."""
    node = items_node("inline", work, name="Map", **settings)
    return walked(sets, node, {"items": list(items)}).run.batch(node)


def test_params_are_columns():
    """The params of the flows around a batch node are columns before all others, in the order in which they come."""
    df = nested([{"model": "s", "temperature": 0.5}, {"temperature": 1.0, "seed": 7}]).df
    check_columns(df, {"model": TEXT, "temperature": NUMBERS, "seed": INTEGERS, **ITEMS})
    assert df["model"].tolist() == ["s", "s", pd.NA, pd.NA]
    assert df["temperature"].tolist() == [0.5, 0.5, 1, 1]
    assert df["seed"].tolist() == [pd.NA, pd.NA, 7, 7]
    assert df["visit"].tolist() == [1] * 4


def test_params_of_steps_are_columns():
    """In the table of visits the params stand behind the node and its visit."""
    df = walked([{"model": "s"}, {"model": "l"}]).run.steps
    assert list(df.columns) == [*list(STEPS)[:4], "model", *list(STEPS)[4:]]
    assert df["model"].tolist() == ["s", "l", pd.NA]


def test_two_levels_of_params():
    """The table of an inner batch flow has the outer params and its own, the outer first."""

    class Inner(BatchFlow):
        def prep(self, shared):
            return [{"file": f"{self.params['folder']}{n}"} for n in (1, 2)]

    inner = Inner(Leaf(), name="Inner")
    run = walked([{"folder": "x"}, {"folder": "y"}], inner).run
    df = run.batch(inner).df
    check_columns(df, {"folder": TEXT, "file": TEXT, **SETS})
    assert df["folder"].tolist() == ["x", "x", "y", "y"]
    assert df["file"].tolist() == ["x1", "x2", "y1", "y2"]
    assert list(run.batch("Sets").df.columns) == ["folder", *SETS]


def test_plain_param_sets_are_columns():
    """An element that is no dict is found under ``item_key``, as in ``params``."""
    df = walked(["x", "y"], item_key="letter").df
    assert df["letter"].tolist() == ["x", "y"]


@pytest.mark.parametrize("name", ITEMS)
def test_param_with_the_name_of_a_column_of_items(name):
    """A param that is named like a column of the table is ``params.<name>``, and the column stays what it is."""
    df = nested([{name: "mine"}]).df
    check_columns(df, {f"params.{name}": TEXT, **ITEMS})
    assert df[f"params.{name}"].tolist() == ["mine", "mine"]
    assert df["item"].tolist() == ["a", "b"]
    assert df["visit"].tolist() == [1, 1]


@pytest.mark.parametrize("name", SETS)
def test_param_with_the_name_of_a_column_of_sets(name):
    """So it is in the table of a batch flow."""
    df = walked([{name: "mine"}]).df
    check_columns(df, {f"params.{name}": TEXT, **SETS})
    assert df[f"params.{name}"].tolist() == ["mine"]
    assert df["status"].tolist() == ["ok"]


@pytest.mark.parametrize("name", STEPS)
def test_param_with_the_name_of_a_column_of_steps(name):
    """So it is in the table of visits."""
    df = walked([{name: "mine"}]).run.steps
    assert df[f"params.{name}"].tolist() == ["mine", pd.NA]
    assert df["path"].tolist() == ["Sets/Leaf", "Sets"]
    assert len(df.columns) == len(STEPS) + 1


def test_params_that_clash_twice():
    """A name that is taken once more is moved once more; no param is lost."""
    df = walked([{"params.status": 1, "status": 2}]).df
    assert df[["params.status", "params.params.status"]].values.tolist() == [[1, 2]]
    assert df["status"].tolist() == ["ok"]


def test_params_with_keys_that_are_no_strings():
    """Keys that are no strings are named as they are written; two that are written alike both have a column."""
    df = walked([{1: "i", "1": "s", None: "n", ("a", 2): "t"}]).df
    assert list(df.columns)[:4] == ["1", "params.1", "None", "('a', 2)"]
    assert df.iloc[0, :4].tolist() == ["i", "s", "n", "t"]


def test_params_of_any_kind():
    """Params that are no plain values are in the table as they are."""
    values = [["a"], {"b": 1}, np.array([1, 2]), 2**70, None]
    sets = [{"any": value} for value in values]
    df = walked(sets, Node()).df
    assert all(found is value for found, value in zip(df["any"], values, strict=True))


# ---- together with pandas --------------------------------------------------------------------------------------------


def test_grouped_by_params():
    """``groupby`` and ``pivot_table`` work on the params of the flows around, as on any column."""
    df = nested([{"model": "s"}, {"model": "l"}], [1, 2], lambda node, item: item * len(node.params["model"])).df
    assert df.groupby("model")["result"].sum().to_dict() == {"l": 3, "s": 3}
    assert df.groupby(["model", "status"]).size().to_dict() == {("l", "ok"): 2, ("s", "ok"): 2}
    wide = df.pivot_table(index="item", columns="model", values="result")
    assert wide.to_dict() == {"l": {1: 1.0, 2: 2.0}, "s": {1: 1.0, 2: 2.0}}


def test_merged_with_the_input():
    """The labels lead back to the input: join and merge put the two side by side, row for row."""
    texts = pd.DataFrame({"text": ["a", "bad", "b"], "kind": [1, 2, 3]}, index=pd.Index(["x", "y", "z"], name="id"))
    df = mapped(texts, lambda row: refuse_bad(row["text"]).upper(), on_error="keep").df
    joined = texts.join(df[["result", "status"]])
    assert joined["result"].tolist() == ["A", pd.NA, "B"]
    assert joined["kind"].tolist() == [1, 2, 3]
    merged = texts.merge(df, left_index=True, right_index=True, validate="one_to_one")
    assert merged["status"].tolist() == ["ok", "failed", "ok"]
    assigned = texts.assign(result=df["result"])
    assert assigned["result"].tolist() == ["A", pd.NA, "B"]


def test_tables_are_the_readers_own():
    """What is done to a table is not done to the record."""
    record = mapped(["a", "b"])
    df = record.df
    df.loc[0, "result"] = "changed"
    del df["status"]
    assert record.df["result"].tolist() == ["a", "b"]
    assert record.df["status"].tolist() == ["ok", "ok"]
    assert record.results == ["a", "b"]


# ---- parts of a table ------------------------------------------------------------------------------------------------


def test_parts_of_a_table():
    """``ok`` has the rows with a result and ``errors`` those that failed, under the labels of ``df``."""

    class Some(Items):
        def exec(self, item):
            return refuse_bad(item["text"])

        def exec_fallback(self, item, exc):
            if item["again"]:
                return "made up"
            raise exc

    texts = pd.DataFrame({"text": ["a", "bad", "bad"], "again": [0, 1, 0]}, index=["x", "y", "z"])
    node = Some(on_error="keep")
    node.run({"items": texts})
    record = node.last_run.batch(node)
    assert list(record.ok.index) == ["x", "y"]
    assert record.ok["result"].tolist() == ["a", "made up"]
    assert list(record.errors.index) == ["z"]
    assert list(record.exceptions.index) == ["y", "z"]
    assert record.exceptions.name == "exception"
    assert isinstance(record.exceptions["z"], LookupError)
    assert record.exceptions["z"].__traceback__ is not None
    assert record.exceptions["z"] is record[2].error


def test_parts_of_a_table_without_failures():
    """Where nothing failed, the parts are empty, with the columns of the whole."""
    record = mapped(["a"])
    check_columns(record.errors, ITEMS)
    assert len(record.errors) == len(record.exceptions) == 0
    assert record.exceptions.dtype == object
    assert len(record.ok) == 1


def test_pending_and_cancelled_rows_are_in_no_part():
    """Rows that were not reached, or were cancelled, are neither ok nor failed."""

    def work(item):
        if item == 1:
            raise KeyboardInterrupt
        return item

    node = items_node("inline", lambda node, item: work(item))
    with pytest.raises(KeyboardInterrupt):
        node.run({"items": [0, 1, 2]})
    record = node.last_run.batch(node)
    assert list(record.ok.index) == [0]
    assert len(record.errors) == 0


def test_exception_of_a_row_that_came_through():
    """A row that came through at its second attempt keeps the exception of the first."""

    class Shy(Items):
        def exec(self, item):
            if self.cur_retry == 0:
                raise LookupError("too shy")
            return item

    node = Shy(max_retries=2)
    node.run({"items": [1]})
    record = node.last_run.batch(node)
    assert record.df["status"].tolist() == ["ok"]
    assert str(record.exceptions[0]) == "too shy"


def test_exceptions_of_several_visits():
    """The rows of exceptions are counted over all visits, as those of the table."""

    class Loop(Again):
        def exec(self, item):
            return refuse_bad(item)

    node = Loop(on_error="keep")
    node - "again" >> node
    node - "done" >> Node()
    flow = Flow(node)
    flow.run({"visits": [["a", "bad"], ["b", "a", "bad"]], "n": 0})
    record = flow.last_run.batch(node)
    assert list(record.exceptions.index) == list(record.errors.index) == [1, 4]


# ---- expand ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Data:
    label: str
    score: float


class Named(NamedTuple):
    label: str
    score: float


class Model(pydantic.BaseModel):
    label: str
    score: float


class Attributed:
    """As ``attrs`` makes it."""

    __attrs_attrs__ = (types.SimpleNamespace(name="label"), types.SimpleNamespace(name="score"))

    def __init__(self, label, score):
        self.label, self.score = label, score


class Struct(Attributed):
    """As ``msgspec`` makes it."""

    __attrs_attrs__ = None
    __struct_fields__ = ("label", "score")


@pytest.mark.parametrize("kind", [dict, Data, Named, Model, Attributed, Struct])
def test_expand(kind):
    """The fields of dicts, dataclasses, NamedTuples, pydantic models and kin become columns with their own dtypes."""
    df = mapped(["a", "b"], lambda item: kind(label=item, score=0.5)).expand()
    first, last = list(ITEMS.items())[:2], list(ITEMS.items())[4:]
    check_columns(df, {**dict(first), "item": TEXT, "result.label": TEXT, "result.score": NUMBERS, **dict(last)})
    assert df["result.label"].tolist() == ["a", "b"]
    assert df["result.score"].tolist() == [0.5, 0.5]


def test_expand_computed_and_extra_fields():
    """A pydantic model has a column for all that ``model_dump`` lists, extra and computed fields too."""

    class Answer(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="allow")
        label: str
        prompt: str = pydantic.Field("long", exclude=True)

        @pydantic.computed_field
        @property
        def size(self) -> int:
            return len(self.label)

    answers = [Answer(label="bee", reason="it buzzes"), Answer(label="ant", source="a book")]
    df = mapped([0, 1], lambda n: answers[n]).expand()
    names = [name for name in df.columns if name.startswith("result.")]
    assert names == ["result.label", "result.reason", "result.size", "result.source"]
    assert set(answers[0].model_dump()) == {"label", "reason", "size"}
    assert df["result.reason"].tolist() == ["it buzzes", pd.NA]
    assert df["result.size"].tolist() == [3, 3]


def test_expand_a_computed_field_that_fails():
    """A computed field that raises is missing, and hides nothing else."""

    class Answer(pydantic.BaseModel):
        label: str

        @pydantic.computed_field
        @property
        def size(self) -> int:
            raise LookupError

    df = mapped([0], lambda n: Answer(label="bee")).expand()
    assert df[["result.label", "result.size"]].values.tolist() == [["bee", None]]


def test_expand_items():
    """The rows of a DataFrame, which are dicts, give way to its columns; labels and the other columns stay."""
    texts = pd.DataFrame({"text": ["a", "b"], "n": [1, 2]}, index=["x", "y"])
    record = mapped(texts, lambda row: row["text"] * row["n"])
    df = record.expand()
    assert list(df.index) == ["x", "y"]
    assert list(df.columns) == ["visit", "position", "item.text", "item.n", *list(ITEMS)[3:]]
    assert df["item.n"].tolist() == [1, 2]
    assert df["result"].tolist() == ["a", "bb"]
    pd.testing.assert_series_equal(df["seconds"], record.df["seconds"])


def test_expand_ragged_dicts():
    """Every key of any dict has a column, in the order in which they first come; what a dict lacks is missing."""
    results = [{"a": 1}, {"b": "x", "a": 2}, {}, {"c": [3]}]
    df = mapped(range(4), lambda n: results[n]).expand()
    assert list(df.columns)[3:6] == ["result.a", "result.b", "result.c"]
    assert df["result.a"].tolist() == [1, 2, pd.NA, pd.NA]
    assert df["result.b"].tolist() == [pd.NA, "x", pd.NA, pd.NA]
    assert df["result.c"].tolist() == [None, None, None, [3]]


def test_expand_failed_rows():
    """Rows without a result have nothing in the columns of its fields; they are not lost."""
    df = mapped(["a", "bad", "b"], lambda item: {"label": refuse_bad(item)}, on_error="keep").expand()
    assert df["result.label"].tolist() == ["a", pd.NA, "b"]
    assert df["status"].tolist() == ["ok", "failed", "ok"]


def test_expand_nones():
    """A None among dicts, which is a real result, is a row without fields."""
    df = mapped([0, 1], lambda n: {"n": n} if n else None).expand()
    assert df["result.n"].tolist() == [pd.NA, 1]


@pytest.mark.parametrize("odd", ["text", 1, ["a"], ("a", 1), {1}, Data], ids=repr)
def test_expand_leaves_others(odd):
    """A column in which anything else stands too stays as it is."""
    results = [{"a": 1}, odd]
    df = mapped([0, 1], lambda n: results[n]).expand()
    assert list(df.columns) == list(ITEMS)
    assert df["result"].tolist() == results


def test_expand_goes_one_level_deep():
    """What is inside of a field stays there."""
    df = mapped([1], lambda n: {"outer": {"inner": n}, "model": Data("a", 1)}).expand()
    assert df["result.outer"].tolist() == [{"inner": 1}]
    assert df["result.model"].tolist() == [Data("a", 1)]


def test_expand_with_nothing_to_expand():
    """Without rows, or with none that has fields, the table is that of ``df``."""
    check_columns(mapped([]).expand(), ITEMS)
    record = mapped(["a"])
    pd.testing.assert_frame_equal(record.expand(), record.df)


def test_expand_param_sets():
    """Of a batch flow the results are expanded."""
    df = walked([{"n": 1}, {"n": "bad"}], on_error="keep").expand()
    assert list(df.columns) == ["n", "visit", "position", "result.n", *list(SETS)[3:]]
    assert df["result.n"].tolist() == [1, pd.NA]


# ---- errors ----------------------------------------------------------------------------------------------------------


def test_errors_of_a_run():
    """Items that failed come first, with their place, then the visits that failed; ``failures`` has the exceptions."""
    good = items_node("inline", lambda node, item: refuse_bad(item), name="Good", on_error="keep")
    bad = items_node("inline", lambda node, item: refuse_bad(item), name="Bad")
    good >> bad
    flow = Flow(good, name="Outer")
    with pytest.raises(LookupError, match="no bad") as caught:
        flow.run({"items": ["a", "bad", "b"]})
    run = flow.last_run
    assert run.errors["path"].tolist() == ["Outer/Good", "Outer/Bad", "Outer/Bad", "Outer"]
    assert run.errors["position"].tolist() == [1, 1, pd.NA, pd.NA]
    assert run.errors["error_type"].tolist() == ["LookupError"] * 4
    assert run.errors["error"].tolist() == ["no bad"] * 4
    assert [(path, position) for path, position, _ in run.failures] == [
        ("Outer/Good", 1),
        ("Outer/Bad", 1),
        ("Outer/Bad", None),
        ("Outer", None),
    ]
    assert caught.value.args == run.error.args
    assert [error is run.error for _, _, error in run.failures] == [False, True, True, True]


def test_failures_of_param_sets_are_those_of_their_nodes():
    """What failed inside of a param set is told once, at the node where it failed."""
    flow = Sets(Leaf(), name="Sets", on_error="keep")
    flow.run({"sets": [{"n": "a"}, {"n": "bad"}]})
    assert [(path, position, str(error)) for path, position, error in flow.last_run.failures] == [
        ("Sets/Leaf", None, "no bad")
    ]


def test_errors_are_failures_alone():
    """Rows that came through after all, by another attempt or a fallback, are no errors of the run."""

    class Shy(Items):
        def exec(self, item):
            if item == "bad" or self.cur_retry == 0:
                raise LookupError(item)
            return item

        def exec_fallback(self, item, exc):
            return "made up"

    node = Shy(max_retries=2)
    node.run({"items": ["a", "bad"]})
    assert node.last_run.failures == []
    assert len(node.last_run.errors) == 0


# ---- saved -----------------------------------------------------------------------------------------------------------


def test_parquet():
    """A table with failed rows, params, labels and lists comes back from a parquet file as it was."""
    texts = pd.DataFrame({"text": ["a", "bad", "b"]}, index=pd.Index(["x", "y", "z"], name="id"))
    node = items_node(
        "inline", lambda node, row: {"text": refuse_bad(row["text"]), "n": 1}, name="Map", on_error="keep"
    )
    flow = Sets(node)
    flow.run({"sets": [{"model": "s"}], "items": texts})
    for df in (flow.last_run.batch(node).expand(), flow.last_run.batch(flow).df, flow.last_run.steps):
        file = io.BytesIO()
        df.to_parquet(file)
        back = pd.read_parquet(file)
        pd.testing.assert_index_equal(back.index, df.index, exact=False)
        assert list(back.columns) == list(df.columns)
        for name in df.columns:
            assert pd.api.types.is_string_dtype(back[name].dtype) == pd.api.types.is_string_dtype(df[name].dtype)
            if name != "result":  # dicts, whose keys parquet holds as columns
                assert back[name].isna().tolist() == df[name].isna().tolist()
                assert back[name].dropna().tolist() == df[name].dropna().tolist()


def test_parquet_of_an_empty_table():
    """So does a table without rows."""
    file = io.BytesIO()
    mapped([]).df.to_parquet(file)
    back = pd.read_parquet(file)
    assert list(back.columns) == list(ITEMS)
    assert back["visit"].dtype == INTEGERS
    assert len(back) == 0


def test_csv():
    """Texts, numbers and missing values come back from a CSV file as they were."""
    texts = pd.Series(['a, "quoted"\nin two lines', "bad", "ünï"], index=pd.Index(["x", "y", "z"], name="id"))
    df = mapped(texts, refuse_bad, on_error="keep").df
    back = pd.read_csv(io.StringIO(df.to_csv()), index_col="id", dtype_backend="numpy_nullable")
    assert list(back.columns) == list(df.columns)
    for name in df.columns:
        assert back[name].isna().tolist() == df[name].isna().tolist()
        assert back[name].dropna().tolist() == df[name].dropna().tolist()


def test_a_hundred_thousand_rows():
    """A table of a hundred thousand rows can be made."""
    df = mapped(range(100_000)).df
    assert df.shape == (100_000, len(ITEMS))
    assert df["result"].iat[-1] == 99_999
