"""What a batch reads: async iterators, generators, lengths that are wrong; the lists that post is given."""

import pytest

from llmflow_nb import Node
from tests.engine.helpers import MODES, Sets, go, items_node, numbered, statuses


class Given:
    """An awaitable that is no coroutine and has its value at once."""

    def __init__(self, value):
        self.value = value

    def __await__(self):
        return self.value
        yield


class Pages:
    """An async iterator over 0 and 1 whose ``__anext__`` is a plain method."""

    def __init__(self):
        self.left = [0, 1]

    def __aiter__(self):
        return self

    def __anext__(self):
        if not self.left:
            raise StopAsyncIteration
        return Given(self.left.pop(0))


@pytest.mark.parametrize("mode", MODES)
def test_async_iterator_without_coroutines(mode):
    """An async iterator may return any awaitable, and may raise its end at once."""
    shared = {"items": Pages()}
    node = items_node(mode, lambda node, item: item * 10)
    go(mode, node, shared)
    assert shared["results"] == [0, 10]
    assert statuses(node) == ["ok", "ok"]


@pytest.mark.parametrize("mode", MODES)
def test_generator_is_closed_after_a_failure(mode):
    """A generator that is not read to its end has been closed when the run is over."""
    closed = []

    def items():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    def work(node, item):
        raise LookupError("no such item")

    shared = {"items": items()}  # held on to, so that it does not close for want of references
    with pytest.raises(LookupError, match="no such item"):
        go(mode, items_node(mode, work), shared)
    assert closed == [True]


class Sized:
    """Three items, and a length of one's own."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        if isinstance(self.length, Exception):
            raise self.length
        return self.length

    def __iter__(self):
        return iter("abc")


@pytest.mark.parametrize("length", [OSError("not known"), -1, "three", 0, 1, 99], ids=repr)
@pytest.mark.parametrize("mode", ["inline", "threads", "tasks"])
def test_a_length_that_fails_or_lies(mode, length):
    """A length that is wrong or cannot be had makes no difference to what is read, nor to the rows."""
    shared = {"items": Sized(length)}
    node = items_node(mode, lambda node, item: item.upper())
    go(mode, node, shared)
    assert shared["results"] == ["A", "B", "C"]
    assert [row.item for row in node.last_run.batch(node)] == ["a", "b", "c"]
    assert len(node.last_run.batch(node)) == 3


# --- what post is given ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("change", ["sort", "clear"])
def test_lists_of_a_batch_node_are_the_users_own(mode, kind, change):
    """What ``post`` does to the lists that it is given changes no row of the record."""
    node = items_node(mode, lambda node, item: -item)

    def post(shared, prep_res, exec_res):
        shared["given"] = list(prep_res), list(exec_res)
        getattr(exec_res, change)()
        prep_res.pop()

    node.post = post
    shared = {"items": kind([1, 2, 3])}
    go(mode, node, shared)
    assert shared["given"] == ([1, 2, 3], [-1, -2, -3])
    assert [(row.item, row.result, row.status) for row in node.last_run.batch(node)] == [
        (1, -1, "ok"),
        (2, -2, "ok"),
        (3, -3, "ok"),
    ]


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
@pytest.mark.parametrize("change", ["sort", "clear"])
def test_lists_of_a_batch_flow_are_the_users_own(concurrency, kind, change):
    """So it is for the param sets of a batch flow and the results of its walks."""

    class Negate(Node):
        def exec(self, prep_res):
            return -self.params["n"]

    class Changing(Sets):
        def post(self, shared, prep_res, exec_res):
            shared["given"] = list(prep_res), list(exec_res)
            getattr(exec_res, change)()
            prep_res.pop()

    flow = Changing(Negate(), max_concurrency=concurrency)
    shared = {"sets": kind(numbered(3))}
    flow.run(shared)
    assert shared["given"] == (numbered(3), [0, -1, -2])
    assert [(row.item, row.result, row.status) for row in flow.last_run.batch(flow)] == [
        ({"n": 0}, 0, "ok"),
        ({"n": 1}, -1, "ok"),
        ({"n": 2}, -2, "ok"),
    ]
