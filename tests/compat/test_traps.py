"""Traps of PocketFlow 0.0.3 that are none here, and every difference that `llmflow_nb.pocketflow` announces."""

import asyncio
import warnings

import numpy as np
import pytest

from llmflow_nb import BatchFlow, Node, SettingError, WiringError
from llmflow_nb import pocketflow as names
from tests.engine.helpers import PATIENCE

# ---- retries ---------------------------------------------------------------------------------------------------------


class Counted(names.AsyncParallelBatchNode):
    """Four items at once, each failing so many times; ``shared`` counts the attempts of each."""

    failures = 9

    async def prep_async(self, shared):
        return list("abcd")

    async def exec_async(self, shared, item):
        shared[item] = shared.get(item, 0) + 1
        tries = shared[item]
        await asyncio.sleep(0)
        if tries <= self.failures:
            raise ValueError(item)
        return item.upper()

    async def exec_fallback_async(self, shared, item, exc):
        return f"not {item}"

    async def post_async(self, shared, prep_res, exec_res):
        shared["out"] = exec_res


@pytest.mark.parametrize(
    ("failures", "out"), [(9, ["not a", "not b", "not c", "not d"]), (2, ["A", "B", "C", "D"])], ids=["never", "third"]
)
def test_parallel_items_have_attempts_of_their_own(failures, out):
    """Every parallel item gets its three attempts; none uses up those of another."""
    node = Counted(max_retries=3)
    node.failures = failures
    shared = {}
    asyncio.run(node.run_async(shared))
    assert shared == {"a": 3, "b": 3, "c": 3, "d": 3, "out": out}


def test_cur_retry_belongs_to_the_call():
    """``cur_retry`` counts from 0 for each call, also for calls side by side, and can be read in the fallback."""

    class Seen(names.AsyncParallelBatchNode):
        async def prep_async(self, shared):
            return ["a", "b"]

        async def exec_async(self, shared, item):
            await asyncio.sleep(0)
            shared.append((item, self.cur_retry))
            raise ValueError

        async def exec_fallback_async(self, shared, item, exc):
            shared.append((item, "fallback", self.cur_retry))

    shared = []
    Seen(max_retries=2).run(shared)
    assert [entry[1:] for entry in shared if entry[0] == "a"] == [(0,), (1,), ("fallback", 1)]
    assert [entry[1:] for entry in shared if entry[0] == "b"] == [(0,), (1,), ("fallback", 1)]


def test_three_argument_fallback():
    """A fallback with ``shared`` beside an ``exec`` without it: each is called as it is written."""

    class Summarize(names.Node):
        def prep(self, shared):
            return shared["text"]

        def exec(self, text):
            raise ConnectionError("model is away")

        def exec_fallback(self, shared, text, exc):
            return f"{text}: {exc}", sorted(shared)

        def post(self, shared, prep_res, exec_res):
            shared["out"] = exec_res

    shared = {"text": "hello"}
    Summarize(max_retries=2).run(shared)
    assert shared["out"] == ("hello: model is away", ["text"])


# ---- silence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [names.Node, names.BatchNode, names.AsyncNode, names.AsyncParallelBatchNode])
def test_no_attempts_are_refused(cls):
    """``max_retries=0`` is an error at construction rather than an ``exec`` that is never called."""
    with pytest.raises(SettingError, match=r"max_retries=0.*1 \(try once\) or more"):
        cls(max_retries=0)


@pytest.mark.parametrize("cls", [names.Flow, names.BatchFlow, names.AsyncFlow, names.AsyncBatchFlow])
def test_no_start_is_refused(cls):
    """A flow without a start node is an error rather than a run of nothing."""

    class Sets(cls):
        if cls in (names.BatchFlow, names.AsyncBatchFlow):

            def prep(self, shared):
                return [{}]

    with pytest.raises(WiringError, match="Sets has no start node; write Sets\\(start=node\\)"):
        Sets().run({})


class Leaf(names.AsyncNode):
    async def post_async(self, shared, prep_res, exec_res):
        await asyncio.sleep(0)
        shared.append(self.params["n"])
        return "leaf"


@pytest.mark.parametrize("cls", [names.AsyncBatchFlow, names.AsyncParallelBatchFlow])
@pytest.mark.parametrize("is_async", [False, True], ids=["prep", "prep_async"])
def test_run_of_an_async_batch_flow(cls, is_async):
    """``run()`` of an async batch flow runs it, with a plain ``prep`` and with ``prep_async``."""

    def sets(self, shared):
        return [{"n": 1}, {"n": 2}]

    async def sets_async(self, shared):
        return [{"n": 1}, {"n": 2}]

    flow_class = type("Sets", (cls,), {"prep_async": sets_async} if is_async else {"prep": sets})
    shared = []
    flow_class(start=Leaf()).run(shared)
    assert shared == [1, 2]


@pytest.mark.parametrize("within_a_loop", [False, True], ids=["script", "cell"])
def test_run_of_async_nodes_and_flows(within_a_loop):
    """``run()`` works for async classes, in a plain program and where an event loop is running, as in a cell."""
    leaf = Leaf()
    leaf.set_params({"n": 7})
    flow = names.AsyncFlow(start=leaf)
    flow.set_params({"n": 8})
    shared = []

    async def cell():
        return leaf.run(shared), flow.run(shared)

    actions = asyncio.run(cell()) if within_a_loop else (leaf.run(shared), flow.run(shared))
    assert actions == ("leaf", "leaf")
    assert shared == [7, 8]


def test_plain_flow_with_an_async_node():
    """A plain flow runs async nodes too."""
    flow = names.Flow(start=Leaf())
    flow.set_params({"n": 1})
    shared = []
    assert flow.run(shared) == "leaf"
    assert shared == [1]


def test_async_def_under_the_plain_names():
    """``async def prep``, ``exec`` and ``post`` are awaited, on any class; nothing is left un-awaited."""

    class Docs(names.Node):
        async def prep(self, shared):
            return 1

        async def exec(self, n):
            return n + 1

        async def post(self, shared, n, result):
            shared.append(result)
            return "done"

    shared = []
    assert Docs().run(shared) == "done"
    assert shared == [2]


# ---- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cls",
    [
        names.BatchNode,
        names.AsyncBatchNode,
        names.AsyncParallelBatchNode,
        names.BatchFlow,
        names.AsyncBatchFlow,
        names.AsyncParallelBatchFlow,
    ],
)
@pytest.mark.parametrize("define", [False, True], ids=["default", "None"])
def test_none_is_an_empty_batch(cls, define):
    """``prep`` that returns None, also the default one, is an empty batch in every batch class."""
    results = []

    class Nothing(cls):
        if define:

            def prep(self, shared):
                return None

        if "Async" in cls.__name__:

            async def post_async(self, shared, prep_res, exec_res):
                results.append(exec_res)
        else:

            def post(self, shared, prep_res, exec_res):
                results.append(exec_res)

    node = Nothing(start=names.Node()) if issubclass(cls, names.Flow) else Nothing()
    node.run({})
    assert results == [[]]


@pytest.mark.parametrize("cls", [names.BatchNode, names.AsyncBatchNode, names.AsyncParallelBatchNode])
def test_numpy_array(cls):
    """A numpy array is a batch; nobody asks for its truth value."""

    class Squares(cls):
        def prep(self, shared):
            return np.array([1, 2, 3])

        def exec(self, n):
            return int(n * n)

        def post(self, shared, prep_res, exec_res):
            shared.extend(exec_res)

    shared = []
    Squares().run(shared)
    assert shared == [1, 4, 9]


def test_async_generator():
    """``prep_async`` may be an async generator."""

    class Stream(names.AsyncBatchNode):
        async def prep_async(self, shared):
            for n in (1, 2, 3):
                await asyncio.sleep(0)
                yield n

        async def exec_async(self, n):
            return n * 2

        async def post_async(self, shared, prep_res, exec_res):
            shared.append((prep_res, exec_res))

    shared = []
    Stream().run(shared)
    assert shared == [([1, 2, 3], [2, 4, 6])]


@pytest.mark.parametrize("cls", [names.BatchFlow, names.AsyncBatchFlow, names.AsyncParallelBatchFlow])
def test_exec_of_a_batch_flow_is_called(cls):
    """``exec`` of a batch flow is called for each param set and may add params."""

    class Sets(cls):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

        def exec(self, params):
            return {"n": params["n"] * 10}

    shared = []
    Sets(start=Leaf()).run(shared)
    assert shared == [10, 20]


# ---- what runs side by side ------------------------------------------------------------------------------------------


def test_params_do_not_leak():
    """A node cannot write into the params of the next one."""

    class Write(names.Node):
        def prep(self, shared):
            self.params["mine"] = 1

    flow = names.Flow(start=Write())
    flow.set_params({"given": 1})
    with pytest.raises(TypeError, match="params are read-only during a run; put the value in shared"):
        flow.run({})
    assert flow.params == {"given": 1}


def test_own_params_stay():
    """A run leaves the params that the user set on a node as they were."""
    leaf = Leaf()
    leaf.set_params({"n": "own"})
    flow = names.AsyncFlow(start=leaf)
    flow.set_params({"n": "the flow's"})
    shared = []
    flow.run(shared)
    assert shared == ["the flow's"]
    assert leaf.params == {"n": "own"}


@pytest.mark.parametrize("way", ["run", "run_async"])
def test_async_prep_and_post_never_overlap(way):
    """While one async prep or post is awaited no other one runs: a read, a pause and a write lose nothing."""

    class Sets(BatchFlow):
        async def prep(self, shared):
            return [{"i": i} for i in range(10)]

    class Count(Node):
        async def prep(self, shared):
            n = shared["n"]
            await asyncio.sleep(0)
            shared["n"] = n + 1

        async def exec(self, prep_res):
            await asyncio.sleep(0)

        async def post(self, shared, prep_res, exec_res):
            n = shared["n"]
            await asyncio.sleep(0)
            shared["n"] = n + 1

    flow, shared = Sets(start=Count(), max_concurrency=None), {"n": 0}
    flow.run(shared) if way == "run" else asyncio.run(flow.run_async(shared))
    assert shared == {"n": 20}


def test_hooks_of_parallel_walks_overlap():
    """Under PocketFlow's parallel names, ``prep_async`` and ``post_async`` of different walks wait for each other."""

    class Pairs(names.AsyncParallelBatchFlow):
        async def prep_async(self, shared):
            return [{"i": 0}, {"i": 1}]

    class Meet(names.AsyncNode):
        async def prep_async(self, shared):
            await shared["before"].wait()

        async def post_async(self, shared, prep_res, exec_res):
            await shared["after"].wait()
            shared["met"].append(self.params["i"])

    async def main():
        shared = {"before": asyncio.Barrier(2), "after": asyncio.Barrier(2), "met": []}
        await asyncio.wait_for(Pairs(start=Meet()).run_async(shared), PATIENCE)
        return sorted(shared["met"])

    assert asyncio.run(main()) == [0, 1]


def test_an_error_in_an_overlapping_hook():
    """It ends the run with its place; the other walk, which waits in its hook, is cancelled after the grace period."""

    class Pairs(names.AsyncParallelBatchFlow):
        grace = 0.0

        async def prep_async(self, shared):
            return [{"i": 0}, {"i": 1}]

    class Step(names.AsyncNode):
        async def post_async(self, shared, prep_res, exec_res):
            if self.params["i"] == 1:
                raise LookupError("no such item")
            await asyncio.Event().wait()

    flow = Pairs(start=Step())
    with pytest.raises(LookupError, match="no such item") as caught:
        asyncio.run(flow.run_async({}))
    assert caught.value.__notes__[0].startswith("in Pairs > Step, with i=1")
    assert [row.status for row in flow.last_run.batch("Pairs")] == ["cancelled", "failed"]


@pytest.mark.parametrize("way", ["run", "run_async"])
def test_nothing_comes_between_post_and_the_next_prep(way):
    """Between ``post`` of a node and ``prep`` of the next one no other branch runs, so a shared key can carry over."""

    class Sets(names.AsyncParallelBatchFlow):
        async def prep_async(self, shared):
            return [{"i": i} for i in range(5)]

    class Say(names.AsyncNode):
        async def exec_async(self, prep_res):
            await asyncio.sleep(0)

        async def post_async(self, shared, prep_res, exec_res):
            shared["current"] = self.params["i"]

    class Hear(names.AsyncNode):
        async def prep_async(self, shared):
            shared["heard"].append((self.params["i"], shared["current"]))

    say = Say()
    say >> Hear()
    shared = {"heard": []}
    flow = Sets(start=say)
    flow.run(shared) if way == "run" else asyncio.run(flow.run_async(shared))
    assert shared["heard"] == [(i, i) for i in range(5)]


def test_calls_in_flight_are_kept_after_a_failure():
    """When one parallel call fails, the others are waited for, and what they gave is in ``last_run``."""

    class Paid(names.AsyncParallelBatchNode):
        async def prep_async(self, shared):
            shared["failed"] = asyncio.Event()
            return ["bad", "good", "good too"]

        async def exec_async(self, shared, item):
            if item == "bad":
                shared["failed"].set()
                raise ValueError("bad item")
            await shared["failed"].wait()
            await asyncio.sleep(0)
            return item.upper()

    node = Paid()
    with pytest.raises(ValueError, match="bad item"):
        asyncio.run(node.run_async({}))
    assert [item.status for item in node.last_run.batch(node)] == ["failed", "ok", "ok"]
    assert node.last_run.batch(node).results == [None, "GOOD", "GOOD TOO"]


def test_calls_that_take_too_long_are_let_go_after_a_failure():
    """After ``grace`` seconds a call in flight is cancelled; nothing goes on in the background."""
    ended = []

    class Hangs(names.AsyncParallelBatchNode):
        grace = 0.01

        async def prep_async(self, shared):
            return ["bad", "hangs"]

        async def exec_async(self, item):
            if item == "bad":
                raise ValueError("bad item")
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(item)

    node = Hangs()
    with pytest.raises(ValueError, match="bad item"):
        asyncio.run(node.run_async({}))
    assert ended == ["hangs"]
    assert [item.status for item in node.last_run.batch(node)] == ["failed", "cancelled"]


def test_one_flow_on_several_event_loops():
    """Nothing that belongs to one event loop stays on a node: a flow runs on one loop, on another, and without."""

    class Items(names.AsyncParallelBatchNode):
        async def prep_async(self, shared):
            return [1, 2, 3]

        async def exec_async(self, item):
            await asyncio.sleep(0)
            return item

        async def post_async(self, shared, prep_res, exec_res):
            shared.extend(exec_res)

    flow, shared = names.AsyncFlow(start=Items()), []
    asyncio.run(flow.run_async(shared))
    asyncio.run(flow.run_async(shared))
    flow.run(shared)
    assert shared == [1, 2, 3] * 3


def test_two_runs_of_one_flow_side_by_side():
    """Two runs of the same flow object on one loop know nothing of each other."""

    class Items(names.AsyncBatchNode):
        async def prep_async(self, shared):
            self.mine = shared["items"]
            return self.mine

        async def exec_async(self, item):
            await asyncio.sleep(0)
            return item * 2

        async def post_async(self, shared, prep_res, exec_res):
            shared["out"] = (self.mine, exec_res)

    async def both():
        await asyncio.gather(flow.run_async(one), flow.run_async(two))

    flow, one, two = names.AsyncFlow(start=Items()), {"items": [1, 2, 3]}, {"items": [4]}
    asyncio.run(both())
    assert one["out"] == ([1, 2, 3], [2, 4, 6])
    assert two["out"] == ([4], [8])


def test_async_flow_in_a_plain_flow():
    """An async flow may be a step of a plain one, and the other way round."""
    leaf = Leaf()
    plain = names.Flow(start=names.AsyncFlow(start=names.Flow(start=leaf)))
    plain.set_params({"n": 3})
    shared = []
    assert plain.run(shared) == "leaf"
    assert asyncio.run(plain.run_async(shared)) == "leaf"
    assert shared == [3, 3]


# ---- the edges -------------------------------------------------------------------------------------------------------


def test_no_limit_of_steps():
    """PocketFlow's names know no ``max_steps``: a loop of more than 10,000 rounds goes on."""

    class Count(names.Node):
        def post(self, shared, prep_res, exec_res):
            shared["n"] += 1
            return "again" if shared["n"] < 10_500 else "done"

    node = Count()
    node - "again" >> node
    node - "done" >> names.Node()
    shared = {"n": 0}
    names.Flow(start=node).run(shared)
    assert shared == {"n": 10_500}


@pytest.mark.parametrize("action", ["", 0, False, None, ()])
def test_falsy_actions_are_the_default(action):
    """Any falsy action follows the default edge, as in PocketFlow, and ``run`` of one node returns it unchanged."""

    class Falsy(names.Node):
        def post(self, shared, prep_res, exec_res):
            return action

    class Last(names.Node):
        def post(self, shared, prep_res, exec_res):
            shared.append("last")

    node, shared = Falsy(), []
    assert names.Flow(start=node).run(shared) == action
    node >> Last()
    names.Flow(start=node).run(shared)
    assert shared == ["last"]


def test_a_list_is_no_action():
    """An action that cannot be looked up is an error that names the node, not "unhashable type"."""

    class Wrong(names.Node):
        def post(self, shared, prep_res, exec_res):
            return ["not", "an", "action"]

    node = Wrong()
    node >> names.Node()
    with pytest.raises(TypeError, match=r"Flow/Wrong.post returned a list; an action is"):
        names.Flow(start=node).run({})


def test_foreign_attributes_are_left_alone():
    """A PocketFlow node may use names such as ``timeout`` or ``limiter`` for something of its own."""

    class Own(names.Node):
        timeout = "soon"
        limiter = object()
        on_error = print
        strict = "yes"

        def exec(self, prep_res):
            return self.timeout

        def post(self, shared, prep_res, exec_res):
            shared.append(exec_res)

    shared = []
    names.Flow(start=Own()).run(shared)
    assert shared == ["soon"]


def test_run_with_successors_warns():
    """``run`` of a node with successors warns once, and runs the node alone."""
    first, ran = names.Node(), []
    second = names.Node()
    second.post = lambda *args: ran.append(1)
    first >> second
    with pytest.warns(UserWarning, match="Node won't run successors. Use Flow.") as seen:
        first.run({})
    assert len(seen) == 1
    assert ran == []


def test_no_warning_for_either_style():
    """Neither style of ``exec`` is called out of date."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Old(names.Node):
            def exec(self, shared, prep_res):
                return 1

        class New(names.Node):
            def exec(self, prep_res):
                return 1

        old = Old()
        old >> New()
        names.Flow(start=old).run({})
