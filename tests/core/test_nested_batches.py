"""A BatchFlow in a BatchFlow, both ways: by the inner one's ``prep``, and by what the outer one's ``exec`` returns."""

import asyncio

import pytest

from llmflow_nb import AllFailedError, BatchFlow, BatchNode, Flow, HookReturnError, Node
from llmflow_nb import pocketflow as names

FILES = {"d1": ["a", "b"], "d2": ["c"]}
LEAVES = [("d1", "a"), ("d1", "b"), ("d2", "c")]


class Leaf(Node):
    """Notes the directory and the file that it sees."""

    def exec(self, prep_res):
        return self.params.get("directory"), self.params.get("file")

    def post(self, shared, prep_res, exec_res):
        shared["leaves"].append(exec_res)


class Inner(BatchFlow):
    """Takes its elements from the outer flow; counts how often its ``post`` runs."""

    item_key = "file"

    def post(self, shared, prep_res, exec_res):
        shared["inner"].append(exec_res)


class Outer(BatchFlow):
    item_key = "directory"

    def prep(self, shared):
        return list(FILES)

    def post(self, shared, prep_res, exec_res):
        shared["outer"].append(exec_res)


def run(flow, *, is_async=False):
    shared = {"leaves": [], "inner": [], "outer": []}
    if is_async:
        asyncio.run(flow.run_async(shared))
    else:
        flow.run(shared)
    return shared


def check(shared):
    """Every leaf was seen once, in order, with both params; inner post ran for each directory, outer post once."""
    assert shared["leaves"] == LEAVES
    assert shared["inner"] == [[("d1", "a"), ("d1", "b")], [("d2", "c")]]
    assert shared["outer"] == [[[("d1", "a"), ("d1", "b")], [("d2", "c")]]]


# ---- the ways to write exec ------------------------------------------------------------------------------------------


def listed(self, directory):
    return FILES[directory]


def with_shared(self, shared, directory):
    assert isinstance(shared, dict)
    return FILES[directory]


def generator(self, directory):
    yield from FILES[directory]


def tupled(self, directory):
    return tuple(FILES[directory])


def mapped(self, directory):
    return map(str, FILES[directory])


def dicts(self, directory):
    return [{"file": file} for file in FILES[directory]]


def returned_un_awaited(self, directory):
    return awaited(self, directory)


async def awaited(self, directory):
    await asyncio.sleep(0)
    return FILES[directory]


async def awaited_with_shared(self, shared, directory):
    assert isinstance(shared, dict)
    await asyncio.sleep(0)
    return FILES[directory]


WAYS = [listed, with_shared, generator, tupled, mapped, dicts, returned_un_awaited, awaited, awaited_with_shared]


@pytest.mark.parametrize("way", ["run", "run_async"])
@pytest.mark.parametrize("exec_", WAYS, ids=lambda exec_: exec_.__name__)
def test_outer_exec_triggers_the_inner_flow(exec_, way):
    """The outer ``exec`` gives the files of a directory, and the inner flow runs over them once for each directory."""
    outer = type("Directories", (Outer,), {"exec": exec_})
    check(run(outer(start=Inner(start=Leaf())), is_async=way == "run_async"))


@pytest.mark.parametrize("max_concurrency", [2, None])
@pytest.mark.parametrize("exec_", WAYS, ids=lambda exec_: exec_.__name__)
def test_outer_exec_with_concurrency(exec_, max_concurrency):
    """Side by side each directory still has its own list: nothing is handed over by changing a shared flow."""
    outer = type("Directories", (Outer,), {"exec": exec_})
    inner = Inner(start=Leaf())
    shared = run(outer(start=inner, max_concurrency=max_concurrency))
    assert sorted(shared["leaves"]) == LEAVES
    assert sorted(shared["inner"]) == [[("d1", "a"), ("d1", "b")], [("d2", "c")]]
    assert shared["outer"] == [[[("d1", "a"), ("d1", "b")], [("d2", "c")]]]
    assert inner.items is None


@pytest.mark.parametrize("outer_bound", [1, None])
@pytest.mark.parametrize("inner_bound", [1, None])
def test_concurrency_at_both_levels(outer_bound, inner_bound):
    """Both levels may run side by side; results keep the order of the input."""

    class AsyncLeaf(Leaf):
        async def exec(self, prep_res):
            await asyncio.sleep(0)
            return self.params["directory"], self.params["file"]

    outer = type("Directories", (Outer,), {"exec": awaited})
    shared = run(outer(start=Inner(start=AsyncLeaf(), max_concurrency=inner_bound), max_concurrency=outer_bound))
    assert sorted(shared["leaves"]) == LEAVES
    assert shared["outer"] == [[[("d1", "a"), ("d1", "b")], [("d2", "c")]]]


@pytest.mark.parametrize("outer", [names.BatchFlow, names.AsyncBatchFlow, names.AsyncParallelBatchFlow])
@pytest.mark.parametrize("inner", [names.BatchFlow, names.AsyncBatchFlow, names.AsyncParallelBatchFlow])
def test_pocketflow_classes(outer, inner):
    """The same with PocketFlow's classes, plain, async and parallel."""
    is_async = "Async" in outer.__name__

    async def prep_async(self, shared):
        return list(FILES)

    async def exec_async(self, directory):
        return FILES[directory]

    hooks = {"prep_async": prep_async, "exec_async": exec_async} if is_async else {"prep": Outer.prep, "exec": listed}
    flow = type("Outer", (outer,), {"item_key": "directory", **hooks})
    seen = run(flow(start=type("Inner", (inner,), {"item_key": "file"})(start=Leaf())))["leaves"]
    assert sorted(seen) == LEAVES
    if "Parallel" not in outer.__name__ + inner.__name__:
        assert seen == LEAVES


def test_inner_prep():
    """The other way: the inner flow has a ``prep`` of its own, which reads the outer params."""

    class Directories(BatchFlow):
        def prep(self, shared):
            return [{"directory": directory} for directory in FILES]

        post = Outer.post

    class Files(Inner):
        def prep(self, shared):
            return [{"file": file} for file in FILES[self.params["directory"]]]

    check(run(Directories(start=Files(start=Leaf()))))


def test_inner_prep_reads_items():
    """An inner flow with a ``prep`` of its own finds the outer list in ``self.items``."""

    class Files(Inner):
        def prep(self, shared):
            return [{"file": file} for file in reversed(self.items)]

    outer = type("Directories", (Outer,), {"exec": generator})
    assert run(outer(start=Files(start=Leaf())))["leaves"] == [("d1", "b"), ("d1", "a"), ("d2", "c")]


def test_inner_flow_behind_the_start():
    """The list is handed to the start node alone; an inner flow further on goes by its own ``prep``."""

    class Later(BatchFlow):
        def prep(self, shared):
            assert self.items is None
            return [{"file": "later"}]

    inner = Inner(start=Leaf())
    inner >> Later(start=Leaf())
    outer = type("Directories", (Outer,), {"exec": listed})
    assert run(outer(start=inner))["leaves"] == [
        ("d1", "a"), ("d1", "b"), ("d1", "later"), ("d2", "c"), ("d2", "later"),
    ]  # fmt: skip


def test_inner_flow_in_a_loop():
    """When the walk comes back to the start node, it has the list again."""

    class Twice(Node):
        def post(self, shared, prep_res, exec_res):
            return "again" if len(shared["inner"]) % 2 else None

    inner, twice = Inner(start=Leaf()), Twice()
    inner >> twice
    twice - "again" >> inner
    twice >> Node()
    outer = type("Directories", (Outer,), {"exec": listed})
    assert run(outer(start=inner))["leaves"] == LEAVES[:2] * 2 + LEAVES[2:] * 2


def test_three_levels():
    """The inner flow's own ``exec`` may give the list for the next level."""

    class Middle(Inner):
        def exec(self, file):
            return [f"{file}1", f"{file}2"]

    class Lines(BatchFlow):
        item_key = "line"

    class See(Node):
        def post(self, shared, prep_res, exec_res):
            shared["leaves"].append(tuple(self.params.values()))

    outer = type("Directories", (Outer,), {"exec": listed})
    assert run(outer(start=Middle(start=Lines(start=See()))))["leaves"] == [
        (d, f, f"{f}{i}") for d, f in LEAVES for i in (1, 2)
    ]


def test_the_record_has_both_levels():
    """The record has a row for each directory and a row for each file, with the directory in its params."""
    inner = Inner(start=Leaf())
    outer = type("Directories", (Outer,), {"exec": listed})(start=inner)
    run(outer)
    assert [item.item for item in outer.last_run.batch(outer)] == ["d1", "d2"]
    assert [(dict(item.params), item.item) for item in outer.last_run.batch(inner)] == [
        ({"directory": "d1"}, "a"),
        ({"directory": "d1"}, "b"),
        ({"directory": "d2"}, "c"),
    ]


# ---- what exec may return --------------------------------------------------------------------------------------------


class See(Node):
    """Notes its params."""

    def exec(self, prep_res):
        return dict(self.params)

    def post(self, shared, prep_res, exec_res):
        shared["leaves"].append(exec_res)


def walked(prep, exec_, start=None, **attributes):
    """What the leaves see under one batch flow with this ``prep`` and ``exec``."""
    hooks = {"prep": lambda self, shared: prep, "exec": lambda self, element: exec_(element), "post": Outer.post}
    return run(type("Sets", (BatchFlow,), {**hooks, **attributes})(start=start or See()))


def test_exec_returns_none():
    """None: one walk with the params of the element."""
    assert walked([{"n": 1}, {"n": 2}], lambda element: None)["leaves"] == [{"n": 1}, {"n": 2}]


def test_exec_returns_a_mapping():
    """A mapping is merged into the params: one walk."""
    shared = walked([{"n": 1}, {"n": 2}], lambda element: {"square": element["n"] ** 2})
    assert shared["leaves"] == [{"n": 1, "square": 1}, {"n": 2, "square": 4}]


def test_exec_returns_an_iterable_and_start_is_no_batch_flow():
    """An iterable where the start is no batch flow: one walk for each element, and a list of results for ``post``."""
    shared = walked([{"n": 1}, {"n": 2}], lambda element: [{"i": i} for i in range(element["n"])])
    assert shared["leaves"] == [{"n": 1, "i": 0}, {"n": 2, "i": 0}, {"n": 2, "i": 1}]
    assert shared["outer"] == [[[{"n": 1, "i": 0}], [{"n": 2, "i": 0}, {"n": 2, "i": 1}]]]


@pytest.mark.parametrize("start", [None, Inner(start=See())], ids=["node", "batch flow"])
@pytest.mark.parametrize("empty", [[], (), iter(())], ids=["list", "tuple", "iterator"])
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_exec_returns_nothing_to_do(start, empty, max_concurrency):
    """An empty iterable: no walk for that element, and an empty list as its result."""
    shared = walked([{"n": 1}], lambda element: empty, start=start, max_concurrency=max_concurrency)
    assert shared["leaves"] == []
    assert shared["outer"] == [[[]]]


@pytest.mark.parametrize("start", [None, Flow(start=See())], ids=["node", "flow"])
def test_plain_elements_of_exec(start):
    """Plain elements are found under ``item_key``, "item" if it is not given."""
    assert walked([{"n": 2}], lambda e: range(e["n"]), start)["leaves"] == [{"n": 2, "item": 0}, {"n": 2, "item": 1}]
    shared = walked([{"n": 2}], lambda e: range(e["n"]), start, item_key="i")
    assert shared["leaves"] == [{"n": 2, "i": 0}, {"n": 2, "i": 1}]


def test_plain_elements_of_prep():
    """A plain element of ``prep`` is what ``exec`` is given, and is found under ``item_key``."""
    assert walked(["x", "y"], lambda element: None)["leaves"] == [{"item": "x"}, {"item": "y"}]
    shared = walked(["x", "y"], lambda element: {"upper": element.upper()}, item_key="letter")
    assert shared["leaves"] == [{"letter": "x", "upper": "X"}, {"letter": "y", "upper": "Y"}]


def test_item_key_without_exec():
    """With ``item_key`` plain param sets work without an ``exec`` too; it may be given to the constructor."""

    class Sets(BatchFlow):
        def prep(self, shared):
            return ["x", {"other": 1}]

    assert run(Sets(start=See(), item_key="letter"))["leaves"] == [{"letter": "x"}, {"other": 1}]


@pytest.mark.parametrize("taken", [{"item": 0}, {"item": None}])
def test_item_key_that_is_taken(taken):
    """A plain element may not take the place of a param that is there already."""
    flow = type("Sets", (BatchFlow,), {"prep": lambda self, shared: [1], "exec": lambda self, element: None})(
        start=See()
    )
    flow.set_params(taken)
    with pytest.raises(
        HookReturnError, match=r"^Sets: params already contain 'item', so the int would replace it\. .*item_key="
    ):
        run(flow)


def test_two_plain_levels_need_two_keys():
    """Two levels of plain values under the default key are refused rather than mixed up."""
    inner = BatchFlow(start=See())
    outer = type("Sets", (BatchFlow,), {"prep": Outer.prep, "exec": listed})(start=inner)
    with pytest.raises(
        HookReturnError,
        match=r"^Sets/BatchFlow: params already contain 'item', so the str would replace it.",
    ):
        run(outer)


@pytest.mark.parametrize("wrong", ["text", b"bytes", 3, 2.5, True, object()], ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("start", [None, Inner(start=See())], ids=["node", "batch flow"])
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_wrong_returns_of_exec(wrong, start, max_concurrency):
    """Anything else that ``exec`` returns is an error that says what it may be."""
    name = type(wrong).__name__
    a = "an" if name[0] in "io" else "a"
    with pytest.raises(
        HookReturnError,
        match=rf"^Sets\.exec returned {a} {name}; the exec of a BatchFlow returns None, a dict",
    ):
        walked([{"n": 1}], lambda element: wrong, start, max_concurrency=max_concurrency)


def test_exec_without_self_items():
    """``self.items`` is None for a batch flow that nobody handed anything."""
    assert BatchFlow(start=See()).items is None
    assert run(BatchFlow(start=See()))["leaves"] == []


def test_params_in_exec():
    """``exec`` of an inner batch flow sees the outer params, and not those of another element."""
    seen = []

    class Middle(BatchFlow):
        item_key = "file"

        def exec(self, file):
            seen.append((dict(self.params), file))

    outer = type("Directories", (Outer,), {"exec": listed})
    run(outer(start=Middle(start=See())))
    assert seen == [({"directory": d}, f) for d, f in LEAVES]


def test_start_is_a_batch_node():
    """A BatchNode as the start goes by its own ``prep``: it is walked for each element."""

    class Words(BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, n):
            return (self.params["item"], n)

        def post(self, shared, prep_res, exec_res):
            shared["leaves"].append(exec_res)

    assert walked([{"d": 1}], lambda element: ["x", "y"], Words())["leaves"] == [
        [("x", 1), ("x", 2)],
        [("y", 1), ("y", 2)],
    ]


# ---- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_exec_that_fails(is_async, max_concurrency):
    """An error in ``exec`` is raised as it is, from its first and only attempt."""
    tries = []

    def fail(self, directory):
        tries.append(directory)
        raise KeyError(directory)

    async def fail_async(self, directory):
        fail(self, directory)

    outer = type("Directories", (Outer,), {"exec": fail_async if is_async else fail})
    with pytest.raises(KeyError, match="d1"):
        run(outer(start=Inner(start=Leaf()), max_concurrency=max_concurrency))
    assert tries.count("d1") == 1


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_exec_that_fails_is_kept(is_async, max_concurrency):
    """``on_error="keep"``: an element whose ``exec`` failed is a failed row, nothing is walked for it, the rest is."""

    def some(self, directory):
        if directory == "d1":
            raise KeyError(directory)
        return FILES[directory]

    async def some_async(self, directory):
        return some(self, directory)

    outer = type("Directories", (Outer,), {"exec": some_async if is_async else some})(
        start=Inner(start=Leaf()), on_error="keep", max_concurrency=max_concurrency
    )
    shared = run(outer)
    assert shared["leaves"] == [("d2", "c")]
    rows = list(outer.last_run.batch(outer))
    assert [row.status for row in rows] == ["failed", "ok"]
    assert isinstance(rows[0].error, KeyError)
    assert shared["outer"] == [[None, [("d2", "c")]]]


def test_leaf_that_fails_is_kept_by_the_inner_flow():
    """The flow that says "keep" keeps: here the inner one, while the outer one knows of no failure."""

    class Fails(Leaf):
        def exec(self, prep_res):
            if self.params["file"] == "a":
                raise ValueError("a")
            return self.params["directory"], self.params["file"]

    inner = Inner(start=Fails(), on_error="keep")
    outer = type("Directories", (Outer,), {"exec": listed})(start=inner)
    assert run(outer)["leaves"] == LEAVES[1:]
    assert [row.status for row in outer.last_run.batch(inner)] == ["failed", "ok", "ok"]
    assert [row.status for row in outer.last_run.batch(outer)] == ["ok", "ok"]


def test_all_fail_inside_one_element():
    """Where every file of a directory fails, the inner flow fails, and the outer one keeps that directory as failed."""

    class Fails(Leaf):
        def exec(self, prep_res):
            if self.params["directory"] == "d1":
                raise ValueError("d1")
            return self.params["directory"], self.params["file"]

    outer = type("Directories", (Outer,), {"exec": listed})(
        start=Inner(start=Fails(), on_error="keep"), on_error="keep"
    )
    assert run(outer)["leaves"] == [("d2", "c")]
    rows = list(outer.last_run.batch(outer))
    assert [row.status for row in rows] == ["failed", "ok"]
    assert isinstance(rows[0].error, AllFailedError)


@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_last_of_the_elements_that_exec_returned_fails(max_concurrency):
    """A walk that fails as the last one of those that ``exec`` asked for is a row without a result; the rest counts."""

    class Fails(Leaf):
        def exec(self, prep_res):
            if self.params["file"] == "b":
                raise ValueError("b")
            return self.params["file"]

    outer = type("Directories", (Outer,), {"exec": dicts})(
        start=Fails(), on_error="keep", max_concurrency=max_concurrency
    )
    shared = run(outer)
    assert sorted(shared["leaves"]) == ["a", "c"]
    assert shared["outer"] == [[["a", None], ["c"]]]
    assert sorted(row.status for row in outer.last_run.batch("Directories.exec")) == ["failed", "ok", "ok"]
