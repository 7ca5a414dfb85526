"""PocketFlow's private methods: called directly, and overridden. Each test runs on both packages and compares."""

import asyncio
import copy
import warnings
from types import SimpleNamespace
from unittest.mock import patch

import pocketflow as theirs
import pytest

import llmflow_nb.pocketflow as ours


@pytest.fixture(params=[ours, theirs], ids=["llmflow_nb", "pocketflow"])
def lib(request):
    return request.param


def steps_of(flow):
    """The record's visits, as paths; None under PocketFlow, which has no record."""
    record = getattr(flow, "last_run", None)
    return None if record is None else list(record.steps["path"])


# ---- called directly -------------------------------------------------------------------------------------------------


def flaky(lib):
    """A node whose exec fails twice and then answers, and which counts its visits in ``shared``."""

    class Flaky(lib.Node):
        tries = 0

        def prep(self, shared):
            shared["prep"] = shared.get("prep", 0) + 1
            return shared["prep"]

        def exec(self, prep_res):
            Flaky.tries += 1
            if Flaky.tries < 3:
                raise ValueError("not yet")
            return f"answer {prep_res}"

        def exec_fallback(self, prep_res, exc):
            return f"gave up after {exc}"

        def post(self, shared, prep_res, exec_res):
            shared["answer"] = exec_res, self.params.get("who")
            return "done"

    return Flaky


def test_run_of_a_node(lib):
    """``_run`` is one visit with retries: the action is returned, ``shared`` is written."""
    node, shared = flaky(lib)(max_retries=3), {}
    node.set_params({"who": "me"})
    assert node._run(shared) == "done"
    assert shared == {"prep": 1, "answer": ("answer 1", "me")}


def test_exec_of_a_node(lib):
    """``_exec`` is the calls of exec with retries and fallback, without prep and post."""
    assert flaky(lib)(max_retries=3)._exec(7) == "answer 7"
    assert flaky(lib)(max_retries=2)._exec(7) == "gave up after not yet"


def test_exec_of_a_batch_node(lib):
    """``_exec`` of a batch node gets the items and returns the list of results; nothing is an empty batch."""

    class Double(lib.BatchNode):
        def exec(self, item):
            if item == 3:
                raise ValueError(item)
            return 2 * item

        def exec_fallback(self, item, exc):
            return "three"

    node = Double(max_retries=2)
    assert node._exec([1, 2, 3]) == [2, 4, "three"]
    assert node._exec(None) == []
    assert super(lib.BatchNode, node)._exec(5) == 10


def noted(lib):
    """A node that notes its name and params, and returns the action that ``shared`` holds for it."""

    class Note(lib.Node):
        def __init__(self, name):
            super().__init__()
            self.label = name

        def post(self, shared, prep_res, exec_res):
            shared["seen"].append((self.label, dict(self.params)))
            return shared.get(self.label)

    return Note


def test_walk_of_a_flow(lib):
    """``_orch`` walks once and returns the last action; params given replace those of the flow."""
    note = noted(lib)
    a, b, c = note("a"), note("b"), note("c")
    a - "on" >> b
    b >> c
    flow = lib.Flow(start=a)
    flow.set_params({"x": 1})
    shared = {"seen": [], "a": "on", "c": "end"}
    assert flow._orch(shared) == "end"
    assert flow._orch(shared, {"y": 2}) == "end"
    assert shared["seen"] == [(n, p) for p in ({"x": 1}, {"y": 2}) for n in "abc"]
    assert flow._run(shared) == "end"
    assert len(shared["seen"]) == 9


def test_next_node_of_a_flow(lib):
    """``get_next_node`` is the target of an edge; None with PocketFlow's warning where a node has other edges."""
    a, b = lib.Node(), lib.Node()
    a - "on" >> b
    flow = lib.Flow(start=a)
    assert flow.get_next_node(a, "on") is b
    assert flow.get_next_node(b, "on") is None
    with pytest.warns(UserWarning, match=r"^Flow ends: 'off' not found in \['on'\]"):
        assert flow.get_next_node(a, "off") is None


def test_run_of_a_batch_flow(lib):
    """``_run`` of a batch flow walks once for each param set and returns what post returns."""
    note = noted(lib)

    class Each(lib.BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

        def post(self, shared, prep_res, exec_res):
            return len(prep_res)

    shared = {"seen": []}
    assert Each(start=note("a"))._run(shared) == 2
    assert shared["seen"] == [("a", {"n": 1}), ("a", {"n": 2})]


def test_async_methods(lib):
    """The async twins are coroutines with the same results; ``_run`` of an async node is refused, as there."""

    class Ask(lib.AsyncNode):
        async def prep_async(self, shared):
            return 3

        async def exec_async(self, prep_res):
            await asyncio.sleep(0)
            if self.max_retries == 2:
                raise ValueError(prep_res)
            return prep_res + 1

        async def exec_fallback_async(self, prep_res, exc):
            return -prep_res

        async def post_async(self, shared, prep_res, exec_res):
            shared["out"] = exec_res
            return "asked"

    class Many(lib.AsyncParallelBatchNode):
        async def exec_async(self, item):
            await asyncio.sleep(0)
            return 10 * item

    class OneByOne(lib.AsyncBatchNode):
        async def exec_async(self, item):
            return item + 1

    async def main():
        shared = {}
        assert await Ask()._run_async(shared) == "asked"
        assert shared == {"out": 4}
        assert await Ask()._exec(8) == 9
        assert await Ask(max_retries=2)._exec(8) == -8
        assert await Many()._exec([1, 2]) == [10, 20]
        assert await OneByOne()._exec([1, 2]) == [2, 3]
        flow = lib.AsyncFlow(start=Ask())
        assert await flow._orch_async(shared, {}) == "asked"
        assert await flow._run_async(shared) == "asked"

    asyncio.run(main())
    with pytest.raises(RuntimeError, match=r"^Use run_async\.$"):
        Ask()._run({})


# ---- overridden: where from ------------------------------------------------------------------------------------------


def body(lib, name, wrap):
    class Own(lib.Node):
        def post(self, shared, prep_res, exec_res):
            shared["post"] = exec_res
            return "ok"

        def exec(self, prep_res):
            return "result"

    setattr(Own, name, lambda self, given: wrap(lambda given: getattr(super(Own, self), name)(given))(given))
    return Own()


def mixin(lib, name, wrap):
    class Mixin:
        pass

    setattr(Mixin, name, lambda self, given: wrap(lambda given: getattr(super(Mixin, self), name)(given))(given))
    plain = type(body(lib, "unused", wrap))
    return type("Mixed", (Mixin, plain), {})()


def patched_class(lib, name, wrap):
    node = body(lib, "unused", wrap)
    original = getattr(type(node), name)
    setattr(type(node), name, lambda self, given: wrap(lambda given: original(self, given))(given))
    return node


def on_the_object(lib, name, wrap):
    node = body(lib, "unused", wrap)
    setattr(node, name, wrap(getattr(node, name)))
    return node


@pytest.mark.parametrize("name", ["_run", "_exec"])
@pytest.mark.parametrize("place", [body, mixin, patched_class, on_the_object])
def test_an_override_is_honoured_wherever_it_comes_from(lib, name, place):
    """A wrapper around ``_run`` or ``_exec`` sees what goes in and out, in a flow and alone."""
    told = []

    def wrap(inner):
        def wrapped(given):
            told.append(given)
            result = inner(given)
            told.append(result)
            return result

        return wrapped

    node, shared = place(lib, name, wrap), {}
    flow = lib.Flow(start=node)
    assert flow.run(shared) == "ok"
    assert shared == {"post": "result"}
    assert told == ([shared, "ok"] if name == "_run" else [None, "result"])
    assert node.run({}) == "ok"
    assert len(told) == 4
    if lib is ours:
        assert list(flow.last_run.steps["status"]) == ["ok", "ok"]


def test_a_patched_library_class(lib):
    """``patch.object`` on the package's own classes reaches every node and flow, and ends with the patch."""
    told = []

    def traced(cls, name):
        original = getattr(cls, name)

        def wrapped(self, *args):
            told.append(f"{type(self).__name__}.{name}")
            return original(self, *args)

        return patch.object(cls, name, wrapped)

    class Double(lib.BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            return 2 * item

        def post(self, shared, prep_res, exec_res):
            shared["out"] = exec_res

    first, shared = lib.Node(), {}
    first >> Double()
    flow = lib.Flow(start=first)
    with traced(lib.Node, "_exec"), traced(lib.BatchNode, "_exec"), traced(lib.Flow, "_orch"):
        flow.run(shared)
    assert shared == {"out": [2, 4]}
    assert told == ["Flow._orch", "Node._exec", "Double._exec", "Double._exec", "Double._exec"]
    flow.run(shared)
    assert len(told) == 5


def test_an_override_that_replaces(lib):
    """An override that never calls what it overrides is taken for what it returns."""

    class Fixed(lib.Node):
        def _exec(self, prep_res):
            return "fixed"

        def exec(self, prep_res):
            raise AssertionError("never called")

        def post(self, shared, prep_res, exec_res):
            shared["out"] = exec_res

    class Skipped(lib.Node):
        def _run(self, shared):
            shared["skipped"] = True
            return "skip"

    fixed, skipped, shared = Fixed(), Skipped(), {}
    fixed >> skipped
    assert lib.Flow(start=fixed).run(shared) == "skip"
    assert shared == {"out": "fixed", "skipped": True}


def test_an_override_of_get_next_node(lib):
    """The node that ``get_next_node`` returns comes next, also behind a node without edges; None ends."""
    note = noted(lib)
    a, b, rescue = note("a"), note("b"), note("rescue")
    a >> b

    class Routed(lib.Flow):
        def get_next_node(self, curr, action):
            if action == "lost":
                return rescue
            return super().get_next_node(curr, action)

    shared = {"seen": [], "a": "lost"}
    flow = Routed(start=a)
    flow.run(shared)
    assert [name for name, _ in shared["seen"]] == ["a", "rescue"]
    shared = {"seen": [], "b": "lost"}
    flow.run(shared)
    assert [name for name, _ in shared["seen"]] == ["a", "b", "rescue"]


def test_both_layers(lib):
    """``_run`` and ``_exec`` may both be overridden, on nodes within flows that override ``_orch``."""
    told = []

    class Base(lib.Node):
        def _run(self, shared):
            told.append("run")
            return super()._run(shared)

        def _exec(self, prep_res):
            told.append("exec")
            return super()._exec(prep_res)

    class Work(Base):
        tries = 0

        def exec(self, prep_res):
            Work.tries += 1
            if Work.tries < 2:
                raise ValueError
            return "worked"

        def post(self, shared, prep_res, exec_res):
            shared["out"] = exec_res

    class Walked(lib.Flow):
        def _orch(self, shared, params=None):
            told.append("orch")
            return super()._orch(shared, params)

        def _run(self, shared):
            told.append("flow")
            return super()._run(shared)

    shared = {}
    flow = lib.Flow(start=Walked(start=Work(max_retries=3)))
    flow.run(shared)
    assert shared == {"out": "worked"}
    assert told == ["flow", "orch", "run", "exec"]
    if lib is ours:
        steps = flow.last_run.steps
        assert list(steps["path"]) == ["Flow/Walked/Work", "Flow/Walked", "Flow"]
        assert list(steps["attempts"]) == [2, 0, 0]


def test_a_failure_passes_through_an_override(lib):
    """What exec raises passes through the overrides, unwrapped, and they can turn it into a result."""

    class Guarded(lib.Node):
        def _exec(self, prep_res):
            try:
                return super()._exec(prep_res)
            except ZeroDivisionError as exc:
                self.seen = str(exc)
                raise

        def exec(self, prep_res):
            return 1 / 0

    class Saved(Guarded):
        def _run(self, shared):
            try:
                return super()._run(shared)
            except ZeroDivisionError:
                return "saved"

    with pytest.raises(ZeroDivisionError, match=r"^division by zero"):
        lib.Flow(start=Guarded()).run({})
    assert lib.Flow(start=Saved()).run({}) == "saved"


# ---- throttling ------------------------------------------------------------------------------------------------------


class Gate:
    """An asyncio.Semaphore that knows how many were inside at most."""

    def __init__(self, n):
        self.semaphore, self.inside, self.most = asyncio.Semaphore(n), 0, 0

    async def __aenter__(self):
        await self.semaphore.acquire()
        self.inside += 1
        self.most = max(self.most, self.inside)

    async def __aexit__(self, *exc):
        self.inside -= 1
        self.semaphore.release()


def test_throttled_by_an_exec_of_its_own(lib):
    """Throttling as published: ``_exec`` gathers, and calls the method for one item behind a semaphore."""

    class Throttled(lib.AsyncParallelBatchNode):
        def __init__(self, gate, **kwargs):
            super().__init__(**kwargs)
            self.gate = gate

        async def _exec(self, items):
            async def one(item):
                async with self.gate:
                    return await super(lib.AsyncParallelBatchNode, self)._exec(item)

            return await asyncio.gather(*(one(item) for item in items))

    class Ask(Throttled):
        async def prep_async(self, shared):
            return list(range(9))

        async def exec_async(self, item):
            await asyncio.sleep(0.001)
            return item * item

        async def post_async(self, shared, prep_res, exec_res):
            shared["out"] = list(exec_res)

    async def main():
        gate, shared = Gate(3), {}
        await lib.AsyncFlow(start=Ask(gate)).run_async(shared)
        return gate.most, shared["out"]

    assert asyncio.run(main()) == (3, [n * n for n in range(9)])


def test_throttled_by_a_class_of_both_kinds(lib):
    """A class of an async node and a batch node, with an ``_exec`` that calls its parent's for each item."""

    class Throttled(lib.AsyncNode, lib.BatchNode):
        async def _one(self, item):
            async with self.gate:
                return await super()._exec(item)

        async def _exec(self, items):
            return await asyncio.gather(*(self._one(item) for item in items)) if items else []

    class Ask(Throttled):
        async def prep_async(self, shared):
            return list(range(9))

        async def exec_async(self, item):
            await asyncio.sleep(0.001)
            if item == 4 and (item, "failed") not in self.seen:
                self.seen.add((item, "failed"))
                raise ValueError("too many requests")
            return item * item

        async def post_async(self, shared, prep_res, exec_res):
            shared["out"] = list(exec_res)

    async def main():
        node, shared = Ask(max_retries=2), {}
        node.gate, node.seen = Gate(3), set()
        await lib.AsyncFlow(start=node).run_async(shared)
        return node.gate.most, shared["out"]

    assert asyncio.run(main()) == (3, [n * n for n in range(9)])


def test_throttled_by_a_mixin_behind_the_batch_class(lib):
    """A mixin for single nodes, behind the batch class in the bases, is called for each item."""

    class Throttled(lib.AsyncNode):
        async def _exec(self, item):
            async with self.gate:
                return await super()._exec(item)

    class Ask(lib.AsyncParallelBatchNode, Throttled):
        async def prep_async(self, shared):
            return list(range(9))

        async def exec_async(self, item):
            await asyncio.sleep(0.001)
            return item * item

        async def post_async(self, shared, prep_res, exec_res):
            shared["out"] = list(exec_res)

    async def main():
        node, shared = Ask(max_retries=2), {}
        node.gate = Gate(3)
        flow = lib.AsyncFlow(start=node)
        await flow.run_async(shared)
        if lib is ours:
            assert len(flow.last_run.batch("Ask").df) == 9
        return node.gate.most, shared["out"]

    assert asyncio.run(main()) == (3, [n * n for n in range(9)])


def test_throttled_flows(lib):
    """A parallel batch flow with a ``_run_async`` of its own bounds its walks; its steps are recorded."""

    class Throttled(lib.AsyncParallelBatchFlow):
        async def _run_async(self, shared):
            async def one(param_set):
                async with shared["gate"]:
                    return await self._orch_async(shared, {**self.params, **param_set})

            sets = await self.prep_async(shared) or []
            await asyncio.gather(*(one(param_set) for param_set in sets))
            return await self.post_async(shared, sets, None)

        async def prep_async(self, shared):
            return [{"n": n} for n in range(6)]

        async def post_async(self, shared, prep_res, exec_res):
            return "all"

    class Ask(lib.AsyncNode):
        async def exec_async(self, prep_res):
            await asyncio.sleep(0.001)
            return self.params["n"]

        async def post_async(self, shared, prep_res, exec_res):
            shared["out"].append(exec_res)

    async def main():
        shared = {"gate": Gate(2), "out": []}
        flow = Throttled(start=Ask())
        action = await flow.run_async(shared)
        if lib is ours:
            assert steps_of(flow) == ["Throttled/Ask"] * 6 + ["Throttled"]
        return action, shared["gate"].most, sorted(shared["out"])

    assert asyncio.run(main()) == ("all", 2, list(range(6)))


def test_a_walk_of_its_own_in_a_batch_flow(lib):
    """``_orch`` and ``_orch_async`` of batch flows are called for each param set, with the params of its walk."""
    note, told = noted(lib), []

    class Each(lib.BatchFlow):
        def prep(self, shared):
            return [{"n": 1}, {"n": 2}]

        def _orch(self, shared, params=None):
            told.append(dict(params))
            return super()._orch(shared, params)

    class EachAsync(lib.AsyncBatchFlow):
        async def prep_async(self, shared):
            return [{"m": 1}, {"m": 2}]

        async def _orch_async(self, shared, params=None):
            told.append(dict(params))
            return await super()._orch_async(shared, params)

    shared = {"seen": []}
    Each(start=note("a")).run(shared)
    asyncio.run(EachAsync(start=note("b")).run_async(shared))
    assert told == [{"n": 1}, {"n": 2}, {"m": 1}, {"m": 2}]
    assert [(name, *params.values()) for name, params in shared["seen"]] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]


@pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
def test_what_an_override_leaves_on_the_flow_that_is_run(lib, use_async):
    """Attributes that an override sets on the object that is run are there afterwards: counts of what came through."""

    class Counted(lib.AsyncParallelBatchFlow if use_async else lib.BatchFlow):
        done = failed = 0

        if use_async:

            async def prep_async(self, shared):
                return [{"n": n} for n in range(4)]

            async def _run_async(self, shared):
                async def one(param_set):
                    try:
                        await self._orch_async(shared, param_set)
                        self.done += 1
                    except ZeroDivisionError:
                        self.failed += 1

                await asyncio.gather(*(one(param_set) for param_set in await self.prep_async(shared)))
        else:

            def prep(self, shared):
                return [{"n": n} for n in range(4)]

            def _orch(self, shared, params=None):
                try:
                    super()._orch(shared, params)
                    self.done += 1
                except ZeroDivisionError:
                    self.failed += 1

    class Divide(lib.Node):
        def exec(self, prep_res):
            return 1 / self.params["n"]

    flow = Counted(start=Divide())
    asyncio.run(flow.run_async({})) if use_async else flow.run({})
    assert (flow.done, flow.failed) == (3, 1)


# ---- tracing ---------------------------------------------------------------------------------------------------------


def traced(spans):
    """A class decorator as tracing packages have it: wraps the private methods that a class has."""

    def decorate(cls):
        for name in ("_run", "_exec", "_orch", "_run_async", "_orch_async"):
            original = getattr(cls, name, None)
            if original is None:
                continue
            if asyncio.iscoroutinefunction(original):

                async def wrapped(self, *args, _name=name, _original=original, **kwargs):
                    spans.append(f"> {type(self).__name__}.{_name}")
                    result = await _original(self, *args, **kwargs)
                    spans.append(f"< {type(self).__name__}.{_name}: {result}")
                    return result
            else:

                def wrapped(self, *args, _name=name, _original=original, **kwargs):
                    spans.append(f"> {type(self).__name__}.{_name}")
                    result = _original(self, *args, **kwargs)
                    spans.append(f"< {type(self).__name__}.{_name}: {result}")
                    return result

            setattr(cls, name, wrapped)
        return cls

    return decorate


def traced_run(lib, use_async):
    spans = []

    @traced(spans)
    class Ask(lib.AsyncNode if use_async else lib.Node):
        if use_async:

            async def exec_async(self, prep_res):
                await asyncio.sleep(0)
                return "hello"

            async def post_async(self, shared, prep_res, exec_res):
                return "said"
        else:

            def exec(self, prep_res):
                return "hello"

            def post(self, shared, prep_res, exec_res):
                return "said"

    @traced(spans)
    class Talk(lib.AsyncFlow if use_async else lib.Flow):
        pass

    ask = Ask()
    ask - "said" >> lib.Node()
    flow = Talk(start=ask)
    action = asyncio.run(flow.run_async({})) if use_async else flow.run({})
    return action, spans


@pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
def test_tracing_by_patched_classes(use_async):
    """A tracing decorator sees the same spans, in the same order, under both packages."""
    assert traced_run(ours, use_async) == traced_run(theirs, use_async)
    assert len(traced_run(ours, use_async)[1]) == 8


def test_tracking_by_another_class(lib):
    """A tracker that gives each node a subclass with a ``_run`` of its own sees every visit and every failure."""
    told = []

    def track(node):
        class Tracked(type(node)):
            def _run(self, shared):
                told.append(f"{type(node).__name__} runs")
                try:
                    action = super()._run(shared)
                except Exception as exc:
                    told.append(f"{type(self).__name__} failed: {exc.args}")
                    raise
                told.append(f"{action}")
                return action

        Tracked.__name__ = f"Tracked_{type(node).__name__}"
        node.__class__ = Tracked

    class First(lib.Node):
        def post(self, shared, prep_res, exec_res):
            self.mine = shared["seen"] = 1
            return "on"

    class Second(lib.BatchNode):
        def prep(self, shared):
            return [1, 0]

        def exec(self, item):
            return 1 / item

    first, second = First(), Second()
    first - "on" >> second
    track(first)
    track(second)
    flow = lib.Flow(start=first)
    with pytest.raises(ZeroDivisionError):
        flow.run({})
    assert told == [
        *("Tracked_First runs", "on"),
        *("Tracked_Second runs", "Tracked_Second failed: ('division by zero',)"),
    ]


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def checkpointed(lib, replaces):
    """A flow that saves which node is next, and a copy of ``shared``, before each visit."""
    saved = []

    class Saving(lib.Flow):
        if replaces:

            def _orch(self, shared, params=None):
                curr, p, last = copy.copy(self.start_node), (params or {**self.params}), None
                while curr:
                    saved.append((type(curr).__name__, copy.deepcopy(shared)))
                    curr.set_params(p)
                    last = curr._run(shared)
                    curr = copy.copy(self.get_next_node(curr, last))
                return last
        else:

            def get_next_node(self, curr, action):
                following = super().get_next_node(curr, action)
                saved.append((type(following).__name__, action))
                return following

    class First(lib.Node):
        def post(self, shared, prep_res, exec_res):
            shared["n"] += 1
            return "again" if shared["n"] < 2 else None

    class Second(lib.BatchNode):
        def prep(self, shared):
            return [self.params["k"], 2]

        def exec(self, item):
            return item * 10

        def post(self, shared, prep_res, exec_res):
            shared["out"] = exec_res
            return "end"

    first, shared = First(), {"n": 0}
    first - "again" >> first
    first >> Second()
    flow = Saving(start=first)
    flow.set_params({"k": 1})
    return flow, shared, saved


@pytest.mark.parametrize("replaces", [True, False], ids=["_orch", "get_next_node"])
def test_checkpoints(replaces):
    """A flow that saves its place, by a loop of its own or around ``get_next_node``, saves the same in both."""
    came_to = []
    for lib in (ours, theirs):
        flow, shared, saved = checkpointed(lib, replaces)
        came_to.append((flow.run(shared), shared, saved))
        if lib is ours:
            assert steps_of(flow) == ["Saving/First", "Saving/First", "Saving/Second", "Saving"]
            assert list(flow.last_run.batch("Second").df["result"]) == [10, 20]
    assert came_to[0] == came_to[1]
    assert len(came_to[0][2]) == 3


# ---- what else is seen of it -----------------------------------------------------------------------------------------


def test_stepped_over():
    """The stepper takes an override of ``_run`` as one step, that of ``_exec`` as the exec, and replays the calls."""
    calls = []

    class Whole(ours.Node):
        def _run(self, shared):
            return super()._run(shared)

        def exec(self, prep_res):
            calls.append("whole")
            return 1

    class Inner(ours.Node):
        def _exec(self, prep_res):
            return super()._exec(prep_res)

        def exec(self, prep_res):
            calls.append("inner")
            return 2

        def post(self, shared, prep_res, exec_res):
            shared["out"] = exec_res

    whole, shared = Whole(), {}
    whole >> Inner()
    stepper = ours.Flow(start=whole).stepper(shared)
    while not stepper.place.is_end:
        stepper.into()
        assert stepper.error is None
    assert (shared, calls) == ({"out": 2}, ["whole", "inner"])
    stepper.goto(0)
    stepper.rerun()
    assert stepper.run().is_end
    assert (shared, calls) == ({"out": 2}, ["whole", "inner"])


def test_submitted():
    """A submitted run goes through an override as well."""

    class Inner(ours.Node):
        def _exec(self, prep_res):
            return f"<{super()._exec(prep_res)}>"

        def exec(self, prep_res):
            return "x"

        def post(self, shared, prep_res, exec_res):
            return exec_res

    submitted = ours.Flow(start=Inner()).submit({})
    assert submitted.wait(20)
    assert submitted.run.action == "<x>"


def test_resumed():
    """A run that failed behind an override is resumed there: the visit is made again, through the override."""
    told = []

    class Inner(ours.Node):
        broken = True

        def _exec(self, prep_res):
            told.append("exec")
            return super()._exec(prep_res)

        def exec(self, prep_res):
            if Inner.broken:
                raise ValueError("broken")
            return "well"

        def post(self, shared, prep_res, exec_res):
            return exec_res

    flow = ours.Flow(start=Inner())
    with pytest.raises(ValueError, match=r"^broken"):
        flow.run({})
    Inner.broken = False
    assert flow.last_run.resume() == "well"
    assert told == ["exec", "exec"]


@pytest.mark.parametrize("kind", ["node", "flow"])
def test_runs_side_by_side(lib, kind):
    """Runs of one object side by side, through overrides at every layer, know nothing of each other."""

    class Ask(lib.AsyncNode):
        async def prep_async(self, shared):
            await asyncio.sleep(0)
            return shared["n"]

        async def _exec(self, prep_res):
            await asyncio.sleep(0)
            return await super()._exec(prep_res)

        async def exec_async(self, prep_res):
            await asyncio.sleep(0)
            return prep_res

        async def post_async(self, shared, prep_res, exec_res):
            shared["seen"] = shared["n"], exec_res

    class Around(lib.AsyncFlow):
        async def _run_async(self, shared):
            await asyncio.sleep(0)
            return await super()._run_async(shared)

        async def _orch_async(self, shared, params=None):
            await asyncio.sleep(0)
            return await super()._orch_async(shared, params)

    async def one(n):
        shared = {"n": n}
        await shared_object.run_async(shared)
        return shared["seen"]

    async def main():
        return await asyncio.gather(*(one(n) for n in range(5)))

    shared_object = Ask() if kind == "node" else Around(start=Ask())
    assert asyncio.run(main()) == [(n, n) for n in range(5)]
    if lib is ours:
        assert len(shared_object.last_run.steps) == (1 if kind == "node" else 2)


def test_shared_of_runs_side_by_side():
    """An ``exec`` that is given ``shared`` gets that of its own run, also behind an override of ``_exec``."""

    class Ask(ours.AsyncNode):
        async def _exec(self, prep_res):
            await asyncio.sleep(0)
            return await super()._exec(prep_res)

        async def exec_async(self, shared, prep_res):
            shared["seen"] = shared["n"]

    async def main():
        node, all_shared = Ask(), [{"n": n} for n in range(5)]
        await asyncio.gather(*(node.run_async(shared) for shared in all_shared))
        return all_shared

    assert asyncio.run(main()) == [{"n": n, "seen": n} for n in range(5)]


def test_attempts_of_a_visit_that_is_stepped_again():
    """Back before an exec with an override, and on again: the attempts are counted from the start."""

    class Flaky(ours.Node):
        def _exec(self, prep_res):
            return super()._exec(prep_res)

        def exec(self, prep_res):
            if self.cur_retry == 0:
                raise ValueError
            return 1

    stepper = ours.Flow(start=Flaky(max_retries=3)).stepper({})
    stepper.run()
    stepper.goto(0)
    stepper.rerun()
    stepper.run()
    assert list(stepper.record.steps["attempts"]) == [2, 0]


def test_events_are_told_once():
    """Of a visit through an override, a subscriber is told once that it started and finished."""
    told = []

    class Inner(ours.Node):
        def _run(self, shared):
            return super()._run(shared)

    flow = ours.Flow(start=Inner())
    flow.run({}, subscribers=[SimpleNamespace(handle=lambda event: told.append((event.kind, event.path)))])
    visits = [event for event in told if event[0].startswith("visit")]
    assert visits == [
        ("visit_started", "Flow"),
        ("visit_started", "Flow/Inner"),
        ("visit_finished", "Flow/Inner"),
        ("visit_finished", "Flow"),
    ]


def test_nothing_is_warned_of():
    """Classes that override the private methods are made, wired and run without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for replaces in (True, False):
            flow, shared, _ = checkpointed(ours, replaces)
            flow.run(shared)
