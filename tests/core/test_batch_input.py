"""What a BatchNode can run over: anything that can be iterated, once and lazily."""

import array
import asyncio
import collections
import io
import sys
import threading

import numpy as np
import pandas as pd
import pytest

from llmflow_nb import BatchFlow, BatchNode, FlowError, HookReturnError, ItemsNotKeptError, Node


class Batch(BatchNode):
    """Runs ``work`` over ``items``; keeps on itself what ``post`` was given."""

    def __init__(self, items, work=lambda item: item, **settings):
        super().__init__(**settings)
        self.make, self.work = items, work

    def prep(self, shared):
        return self.make() if callable(self.make) else self.make

    def exec(self, item):
        return self.work(item)

    def post(self, shared, prep_res, exec_res):
        self.prep_res, self.exec_res = prep_res, exec_res


def results(items, **settings):
    node = Batch(items, **settings)
    node.run({})
    return node.exec_res


class OldStyle:
    """Iterable by ``__getitem__`` alone."""

    def __getitem__(self, index):
        return [0, 1, 2][index]


# ---- kinds -----------------------------------------------------------------------------------------------------------

KINDS = {
    "list": lambda: [0, 1, 2],
    "tuple": lambda: (0, 1, 2),
    "range": lambda: range(3),
    "set": lambda: {0, 1, 2},
    "frozenset": lambda: frozenset({0, 1, 2}),
    "deque": lambda: collections.deque([0, 1, 2]),
    "keys": lambda: {0: "a", 1: "b", 2: "c"}.keys(),
    "values": lambda: {"a": 0, "b": 1, "c": 2}.values(),
    "generator": lambda: (i for i in range(3)),
    "map": lambda: map(int, "012"),
    "filter": lambda: filter(lambda i: i < 3, range(9)),
    "array": lambda: array.array("i", [0, 1, 2]),
    "numpy": lambda: np.arange(3),
    "series": lambda: pd.Series([0, 1, 2]),
    "index": lambda: pd.Index([0, 1, 2]),
    "old style": OldStyle,
}


@pytest.mark.parametrize("items", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_kinds_of_iterables(items, max_concurrency):
    """Every kind of iterable works, one after the other and side by side."""
    out = results(items, max_concurrency=max_concurrency)
    assert type(out) is list
    assert out == [0, 1, 2]


EMPTY = [None, [], (), {}.keys(), iter(()), np.array([]), pd.DataFrame(), range(0)]


@pytest.mark.parametrize("items", EMPTY, ids=lambda items: type(items).__name__)
def test_empty(items):
    """None and everything empty make an empty batch: no call, and an empty list for ``post``."""
    calls = []
    assert results(items, work=calls.append) == []
    assert calls == []


def test_file():
    """An open file gives its lines."""
    assert results(io.StringIO("one\ntwo\n")) == ["one\n", "two\n"]


def test_pairs_of_a_dict():
    """``mapping.items()`` gives pairs, and each is one argument."""
    assert results({"a": 1, "b": 2}.items()) == [("a", 1), ("b", 2)]


def test_numpy_rows():
    """A matrix gives its rows."""
    assert [row.tolist() for row in results(np.array([[1, 2], [3, 4]]))] == [[1, 2], [3, 4]]


def test_data_frame():
    """A DataFrame gives its rows as dicts, and its index labels the results."""
    frame = pd.DataFrame({"text": ["a", "b"], "n": [1, 2]}, index=["first", "second"])
    node = Batch(frame)
    node.run({})
    assert node.exec_res == [{"text": "a", "n": 1}, {"text": "b", "n": 2}]
    assert [item.label for item in node.last_run.batch(node)] == ["first", "second"]
    assert node.prep_res is frame


def test_data_frame_with_odd_columns():
    """Column names need not be identifiers, nor strings; types of the columns are kept in the dicts."""
    frame = pd.DataFrame({"my text": ["a"], 0: [1.5], "class": [True]})
    assert results(frame) == [{"my text": "a", 0: 1.5, "class": True}]


def test_data_frame_with_two_columns_of_one_name():
    """A DataFrame of which one column would hide another in the dicts is refused, and the column is named."""
    frame = pd.DataFrame([[1, 2, 3]], columns=["n", "text", "n"])
    with pytest.raises(
        HookReturnError, match=r"^Batch\.prep .* returned a DataFrame with two columns named 'n'; rename one of them\."
    ):
        results(frame)


def test_wide_data_frame():
    """A frame of more columns than a named tuple may have is no different."""
    frame = pd.DataFrame([range(300)], columns=[f"c{i}" for i in range(300)])
    assert results(frame) == [{f"c{i}": i for i in range(300)}]


def test_series_index():
    """A Series gives its values, and its index labels the results."""
    node = Batch(pd.Series(["x", "y"], index=[10, 20]))
    node.run({})
    assert node.exec_res == ["x", "y"]
    assert [item.label for item in node.last_run.batch(node)] == [10, 20]


def test_reader_of_data_frames():
    """A reader of chunks gives DataFrames as items."""
    reader = pd.read_csv(io.StringIO("n\n1\n2\n3\n"), chunksize=2)
    assert results(reader, work=len) == [2, 1]


@pytest.mark.parametrize("max_concurrency", [1, 2, None])
@pytest.mark.parametrize("way", ["run", "run_async"])
def test_async_generator(max_concurrency, way):
    """An async generator works, with a plain ``exec`` too, in ``run`` and in ``run_async``; ``post`` gets its items."""

    async def numbers():
        for n in range(4):
            await asyncio.sleep(0)
            yield n

    node = Batch(numbers, max_concurrency=max_concurrency)
    node.run({}) if way == "run" else asyncio.run(node.run_async({}))
    assert node.exec_res == [0, 1, 2, 3]
    assert node.prep_res == [0, 1, 2, 3]


def test_async_generator_as_prep():
    """``prep`` itself may be an async generator."""

    class Stream(BatchNode):
        async def prep(self, shared):
            for n in shared:
                yield n

        async def exec(self, n):
            return n * 2

        def post(self, shared, prep_res, exec_res):
            shared.append(exec_res)

    shared = [1, 2]
    Stream().run(shared)
    assert shared == [1, 2, [2, 4]]


def test_param_sets_of_every_kind():
    """The param sets of a BatchFlow may come from a generator, an async generator or a DataFrame."""

    class See(Node):
        def post(self, shared, prep_res, exec_res):
            shared.append(dict(self.params))

    async def sets():
        yield {"n": 1}
        yield {"n": 2}

    for make in [lambda: ({"n": n} for n in (1, 2)), sets, lambda: pd.DataFrame({"n": [1, 2]})]:
        flow = type("Sets", (BatchFlow,), {"prep": lambda self, shared, make=make: make()})(start=See())
        shared = []
        flow.run(shared)
        assert shared == [{"n": 1}, {"n": 2}]


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", r"returned a str\. For one item return \[text\], for its parts list\(text\)\."),
        ("", r"returned a str\."),
        (b"bytes", r"returned a bytes\. For one item return \[text\]"),
        (bytearray(b"x"), r"returned a bytearray\. For one item return \[text\]"),
        (
            {"a": 1},
            r"returned a dict\. For one item return \[mapping\], for its keys list\(mapping\), for pairs "
            r"list\(mapping\.items\(\)\)\.",
        ),
        ({}, r"returned a dict\."),
        (collections.Counter("aab"), r"returned a Counter\. For one item return \[mapping\]"),
        (3, r"returned an int, which cannot be iterated\. For one item return \[value\]\."),
        (True, r"returned a bool, which cannot be iterated"),
        (object(), r"returned an object, which cannot be iterated"),
        (list, r"returned a type, which cannot be iterated"),
        (len, r"returned a builtin_function_or_method, which cannot be iterated"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) or len(value) < 6 else "",
)
def test_not_a_batch(value, text):
    """A string, bytes, a mapping or what cannot be iterated is an error that says what to write instead."""
    calls = []
    node = Batch(lambda: value, work=calls.append)
    with pytest.raises(HookReturnError, match=rf"^Batch\.prep \(a BatchNode\) {text}") as caught:
        node.run({})
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, FlowError)
    assert calls == []


def test_scalar_array():
    """An array without a dimension cannot be iterated; the error says so."""
    with pytest.raises(
        HookReturnError, match=r"^Batch\.prep \(a BatchNode\) must return an iterable, but ndarray is not iterable"
    ):
        results(np.array(3))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", r"Sets\.prep \(a BatchFlow\) returned a str"),
        ({"n": 1}, r"Sets\.prep \(a BatchFlow\) returned a dict\. For one item return \[mapping\]"),
        ([1], r"Sets\.prep returned a param set that is an int; a BatchFlow needs dicts"),
        (
            ["a.txt"],
            r"Sets\.prep returned a param set that is a str; .*\[\{\"filename\": value\}, \.\.\.\], or set item_key=",
        ),
        ([None], r"Sets\.prep returned a param set that is a NoneType"),
    ],
)
def test_not_param_sets(value, text):
    """So is what cannot be param sets."""
    flow = type("Sets", (BatchFlow,), {"prep": lambda self, shared: value})(start=Node())
    with pytest.raises(HookReturnError, match=f"^{text}"):
        flow.run({})


# ---- laziness --------------------------------------------------------------------------------------------------------


def test_one_item_at_a_time():
    """One after the other: item k is executed before item k + 1 is pulled."""
    order = []

    def numbers():
        for n in range(3):
            order.append(("pulled", n))
            yield n
        order.append("end")

    results(numbers, work=lambda n: order.append(("executed", n)))
    assert order == [(what, n) for n in range(3) for what in ("pulled", "executed")] + ["end"]


def test_one_item_at_a_time_with_retries():
    """Nor does a failing item, or an async one, make the next one be pulled early."""
    order = []

    def numbers():
        for n in range(3):
            order.append(f"pulled {n}")
            yield n

    class Tries(BatchNode):
        def prep(self, shared):
            return numbers()

        async def exec(self, n):
            order.append(f"tried {n}")
            await asyncio.sleep(0)
            if self.cur_retry == 0:
                raise ValueError
            return n

    Tries(max_retries=2).run({})
    assert order == [f"{what} {n}" for n in range(3) for what in ("pulled", "tried", "tried")]


def test_one_param_set_at_a_time():
    """A param set is walked before the next one is pulled."""
    order = []

    class Sets(BatchFlow):
        def prep(self, shared):
            for n in range(3):
                order.append(f"pulled {n}")
                yield {"n": n}

    class Leaf(Node):
        def post(self, shared, prep_res, exec_res):
            order.append(f"walked {self.params['n']}")

    Sets(start=Leaf()).run({})
    assert order == [f"{what} {n}" for n in range(3) for what in ("pulled", "walked")]


@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "tasks"])
@pytest.mark.parametrize("bound", [2, 3])
def test_no_more_than_the_bound_ahead(is_async, bound):
    """Side by side: at most ``max_concurrency`` items are pulled and not yet done."""
    lock, done, ahead = threading.Lock(), [], []

    def numbers():
        for n in range(20):
            with lock:
                ahead.append(n + 1 - len(done))
            yield n

    class Side(BatchNode):
        def prep(self, shared):
            return numbers()

        if is_async:

            async def exec(self, n):
                await asyncio.sleep(0)
                done.append(n)
        else:

            def exec(self, n):
                with lock:
                    done.append(n)

    Side(max_concurrency=bound).run({})
    assert sorted(done) == list(range(20))
    assert max(ahead) <= bound


def test_one_pass():
    """The iterable is asked for an iterator once, and never for its length or truth."""

    class Once:
        asked = 0

        def __iter__(self):
            self.asked += 1
            return iter([1, 2])

        def __bool__(self):
            raise AssertionError("asked for its truth")

    once = Once()
    assert results([1]) == [1]
    node = Batch(lambda: once)
    node.run({})
    assert node.exec_res == [1, 2]
    assert once.asked == 1
    assert node.prep_res is once


def test_list_that_grows():
    """What a hook appends to the very list that ``prep`` returned is an item too, as in a for loop."""
    pages = [1]

    def work(page):
        if page < 3:
            pages.append(page + 1)
        return page * 10

    node = Batch(pages, work)
    node.run({})
    assert node.exec_res == [10, 20, 30]
    assert node.prep_res is pages
    assert [item.item for item in node.last_run.batch(node)] == [1, 2, 3]


def test_without_pandas(monkeypatch):
    """A batch runs where nobody has imported pandas, and does not import it."""
    monkeypatch.delitem(sys.modules, "pandas")
    assert results([1, 2]) == [1, 2]
    assert "pandas" not in sys.modules


# ---- errors of the iterable ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_concurrency", [1, 2])
@pytest.mark.parametrize("on_error", ["raise", "keep"])
def test_generator_that_fails(max_concurrency, on_error):
    """An error in the generator ends the batch with that error; what was done is kept, and no row is made up."""
    failing = threading.Event()

    def numbers():
        yield 1
        yield 2
        failing.set()
        raise OSError("line lost")

    def work(item):
        if item == 2 and max_concurrency == 2:  # then this call is in flight when the generator fails
            failing.wait(timeout=10)
        return item

    node = Batch(numbers, work, max_concurrency=max_concurrency, on_error=on_error)
    with pytest.raises(OSError, match="line lost"):
        node.run({})
    record = node.last_run.batch(node)
    assert [(item.item, item.result, item.status) for item in record] == [(1, 1, "ok"), (2, 2, "ok")]


def test_async_generator_that_fails():
    """So does an error in an async generator."""

    async def numbers():
        yield 1
        raise OSError("line lost")

    node = Batch(numbers)
    with pytest.raises(OSError, match="line lost"):
        node.run({})
    assert node.last_run.batch(node).results == [1]


def test_stop_iteration_in_exec_is_an_error():
    """``StopIteration`` raised in ``exec`` is an error like any other, and does not end the batch silently."""

    def work(item):
        return next(iter(()))

    with pytest.raises(StopIteration):
        results([1, 2], work=work)


# ---- items that are not kept -----------------------------------------------------------------------------------------


def test_post_gets_the_list_of_a_generator():
    """``post`` gets the list of the items of a generator, and the very object that ``prep`` returned else."""
    node = Batch(lambda: (n for n in range(3)))
    node.run({})
    assert node.prep_res == [0, 1, 2]
    given = (0, 1)
    node = Batch(given)
    node.run({})
    assert node.prep_res is given


@pytest.mark.parametrize(
    "read",
    [list, len, bool, lambda items: items[0], lambda items: 1 in items, lambda items: list(reversed(items))],
    ids=["iter", "len", "bool", "index", "in", "reversed"],
)
def test_items_not_kept(read):
    """``keep_items=False`` drops the items of a generator: reading them in ``post`` is an error that says why."""

    class Reads(Batch):
        def post(self, shared, prep_res, exec_res):
            shared.extend(exec_res)
            read(prep_res)

    shared = []
    with pytest.raises(
        ItemsNotKeptError,
        match=r"^Reads: the items were not kept, so post cannot read them as prep_res. .*keep_items=True",
    ) as caught:
        Reads(lambda: (n for n in range(3)), keep_items=False).run(shared)
    assert isinstance(caught.value, RuntimeError)
    assert shared == [0, 1, 2]


def test_items_not_kept_but_results_are():
    """The results, and the number of rows, are those of all items."""
    node = Batch(lambda: (n for n in range(3)), keep_items=False)
    node.run({})
    assert node.exec_res == [0, 1, 2]
    record = node.last_run.batch(node)
    assert [(item.item, item.result) for item in record] == [(None, 0), (None, 1), (None, 2)]


def test_items_not_kept_say_so():
    """What stands in for the items in ``post`` says what it is when it is printed."""
    node = Batch(lambda: (n for n in range(3)), keep_items=False)
    node.run({})
    assert repr(node.prep_res) == "<items not kept>"
