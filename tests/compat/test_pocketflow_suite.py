"""What PocketFlow promises holds here too: each test runs on `llmflow_nb.pocketflow` and on the real ``pocketflow``."""

import asyncio
import warnings

import pocketflow
import pytest

import llmflow_nb.pocketflow as ours


@pytest.fixture(params=[ours, pocketflow], ids=["llmflow_nb", "pocketflow"])
def lib(request):
    return request.param


def run_async(coroutine):
    """Run on an event loop of its own; a flow that waits for what never comes fails instead of hanging."""

    async def bounded():
        async with asyncio.timeout(20):
            return await coroutine

    return asyncio.run(bounded())


def arithmetic(lib):
    """Return node makers that work on ``shared["n"]`` in ``prep``, and one that returns a signal."""

    class Put(lib.Node):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def prep(self, shared):
            shared["n"] = self.n

    class Add(Put):
        def prep(self, shared):
            shared["n"] += self.n

    class Times(Put):
        def prep(self, shared):
            shared["n"] *= self.n

    class Sign(lib.Node):
        def post(self, shared, prep_res, exec_res):
            return "positive" if shared["n"] >= 0 else "negative"

    class Signal(lib.Node):
        def __init__(self, signal):
            super().__init__()
            self.signal = signal

        def post(self, shared, prep_res, exec_res):
            shared["signal"] = self.signal
            return self.signal

    return Put, Add, Times, Sign, Signal


# ---- flows -----------------------------------------------------------------------------------------------------------


def test_start_method(lib):
    """``flow.start(node)`` sets the start node; ``run`` returns the last action, here None."""
    put, *_ = arithmetic(lib)
    flow, shared = lib.Flow(), {}
    flow.start(put(5))
    assert flow.run(shared) is None
    assert shared["n"] == 5


def test_start_and_next_chain(lib):
    """``start`` and ``next`` return the node they were given, so that they chain."""
    put, add, times, *_ = arithmetic(lib)
    flow, shared = lib.Flow(), {}
    flow.start(put(5)).next(add(3)).next(times(2))
    assert flow.run(shared) is None
    assert shared["n"] == 16


def test_start_and_operator_chain(lib):
    """``flow.start(a) >> b >> c`` wires on."""
    put, add, times, *_ = arithmetic(lib)
    flow, shared = lib.Flow(), {}
    flow.start(put(5)) >> add(3) >> times(2)
    assert flow.run(shared) is None
    assert shared["n"] == 16


@pytest.mark.parametrize(("start", "end"), [(5, 15), (-5, -25)])
def test_branches(lib, start, end):
    """An action chooses the edge; the flow returns the last action."""
    put, add, *_, sign, _ = arithmetic(lib)
    first, check = put(start), sign()
    first >> check
    check - "positive" >> add(10)
    check - "negative" >> add(-20)
    shared = {}
    assert lib.Flow(start=first).run(shared) is None
    assert shared["n"] == end


def test_loop_ends_with_a_signal(lib):
    """The action that ends a loop is what ``run`` returns."""
    put, add, _, sign, signal = arithmetic(lib)
    first, check, down = put(10), sign(), add(-3)
    first >> check
    check - "positive" >> down
    down >> check
    check - "negative" >> signal("cycle_done")
    shared = {}
    assert lib.Flow(start=first).run(shared) == "cycle_done"
    assert shared["n"] == -2
    assert shared["signal"] == "cycle_done"


def test_missing_default_edge_warns_once(lib):
    """No edge for None: one warning, the flow ends and returns None. The hook was set on the object."""
    put, add, *_ = arithmetic(lib)
    first = put(1)
    first.post = lambda *args: None
    first - "specific_action" >> add(1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert lib.Flow(start=first).run({}) is None
    (only,) = seen
    assert issubclass(only.category, UserWarning)
    assert "Flow ends: 'None' not found in ['specific_action']" in str(only.message)


def test_missing_named_edge_warns_once(lib):
    """No edge for a named action: one warning, the flow ends and returns that action."""
    put, add, *_ = arithmetic(lib)
    first = put(1)
    first.post = lambda *args: "specific_action"
    first >> add(1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert lib.Flow(start=first).run({}) == "specific_action"
    (only,) = seen
    assert issubclass(only.category, UserWarning)
    assert "Flow ends: 'specific_action' not found in ['default']" in str(only.message)


# ---- flows in flows --------------------------------------------------------------------------------------------------


def test_flow_is_a_node(lib):
    """A flow is a step like any node."""
    put, add, times, *_ = arithmetic(lib)
    first = put(5)
    first >> add(10)
    inner = lib.Flow(start=first)
    inner >> times(2)
    shared = {}
    assert lib.Flow(start=lib.Flow(start=inner)).run(shared) is None
    assert shared["n"] == 30


def test_three_levels(lib):
    """Flows nest to three levels."""
    put, add, times, *_ = arithmetic(lib)
    first = put(5)
    first >> add(3)
    middle = lib.Flow(start=lib.Flow(start=first))
    middle >> times(4)
    shared = {}
    lib.Flow(start=middle).run(shared)
    assert shared["n"] == 32


def test_flow_after_flow(lib):
    """``flow1 >> flow2`` runs one after the other."""
    put, add, times, *_ = arithmetic(lib)
    first = put(10)
    first >> add(10)
    flow1, flow2 = lib.Flow(start=first), lib.Flow(start=times(2))
    flow1 >> flow2
    shared = {}
    assert lib.Flow(start=flow1).run(shared) is None
    assert shared["n"] == 40


def test_inner_action_picks_the_outer_edge(lib):
    """The last action of an inner flow chooses the edge in the outer flow."""
    put, add, _, _, signal = arithmetic(lib)
    first = put(100)
    first >> signal("inner_done")
    inner = lib.Flow(start=first)
    inner - "inner_done" >> add(1)
    inner - "other" >> add(1000)
    shared = {}
    assert lib.Flow(start=inner).run(shared) is None
    assert shared["n"] == 101


# ---- batch nodes -----------------------------------------------------------------------------------------------------


def summing(lib, size):
    class SumChunks(lib.BatchNode):
        def prep(self, shared):
            numbers = shared["numbers"]
            return [numbers[i : i + size] for i in range(0, len(numbers), size)]

        def exec(self, chunk):
            return sum(chunk)

        def post(self, shared, prep_res, exec_res):
            shared["parts"] = exec_res
            return "default"

    class Reduce(lib.Node):
        def prep(self, shared):
            shared["total"] = sum(shared["parts"])

    return SumChunks, Reduce


def test_batch_node_gives_a_list(lib):
    """``post`` of a BatchNode gets the list of results, in order."""
    chunks, _ = summing(lib, 10)
    shared = {"numbers": list(range(25))}
    chunks().run(shared)
    assert shared["parts"] == [45, 145, 110]


@pytest.mark.parametrize(
    ("numbers", "size", "total"),
    [(range(100), 10, 4950), (range(25), 10, 300), (range(100), 15, 4950), ([10], 10, 10), ([], 10, 0)],
    ids=["even", "uneven", "size 15", "one", "none"],
)
def test_map_and_reduce(lib, numbers, size, total):
    """A BatchNode maps over chunks, and the node behind it reduces the results."""
    chunks, reduce = summing(lib, size)
    first = chunks()
    first >> reduce()
    shared = {"numbers": list(numbers)}
    lib.Flow(start=first).run(shared)
    assert shared["total"] == total


# ---- batch flows -----------------------------------------------------------------------------------------------------


def per_key(lib):
    class Keys(lib.BatchFlow):
        def prep(self, shared):
            return [{"key": key} for key in shared["in"]]

    class Double(lib.Node):
        def prep(self, shared):
            return shared["in"][self.params["key"]]

        def exec(self, n):
            if n < 0:
                raise ValueError(f"{self.params['key']} is negative")
            return n * 2

        def post(self, shared, n, result):
            shared.setdefault("out", {})[self.params["key"]] = result

    return Keys, Double


@pytest.mark.parametrize("given", [{"a": 1, "b": 2, "c": 3}, {"only": 7}], ids=["three", "one"])
def test_params_reach_the_nodes(lib, given):
    """The flow runs once per param set, and the nodes see it in ``self.params``."""
    keys, double = per_key(lib)
    shared = {"in": given}
    keys(start=double()).run(shared)
    assert shared["out"] == {key: n * 2 for key, n in given.items()}


def test_no_param_sets(lib):
    """An empty list runs nothing."""
    keys, double = per_key(lib)
    shared = {"in": {}}
    keys(start=double()).run(shared)
    assert "out" not in shared


def test_batch_flow_error(lib):
    """An error in a node leaves ``run`` with its own type."""
    keys, double = per_key(lib)
    with pytest.raises(ValueError, match=r"^b is negative"):
        keys(start=double()).run({"in": {"a": 1, "b": -1}})


def test_chain_per_param_set(lib):
    """The chain behind the start node runs for every param set; ``exec`` may read ``shared`` by closure."""
    keys, double = per_key(lib)
    shared = {"in": {"a": 1, "b": 2}}

    class AddOne(lib.Node):
        def exec(self, prep_res):
            return shared["out"][self.params["key"]] + 1

        def post(self, shared, prep_res, result):
            shared["out"][self.params["key"]] = result

    first = double()
    first >> AddOne()
    keys(start=first).run(shared)
    assert shared["out"] == {"a": 3, "b": 5}


def test_two_params(lib):
    """A param set may hold more than one key."""

    class Powers(lib.BatchFlow):
        def prep(self, shared):
            return [{"base": 2, "power": 3}, {"base": 3, "power": 2}]

    class Power(lib.Node):
        def exec(self, prep_res):
            return self.params["base"] ** self.params["power"]

        def post(self, shared, prep_res, result):
            shared.append(result)

    shared = []
    Powers(start=Power()).run(shared)
    assert shared == [8, 9]


def test_batch_flow_in_a_batch_flow(lib):
    """The inner param sets run once for each outer one, in order, and the leaf sees both params."""

    class Groups(lib.BatchFlow):
        def prep(self, shared):
            return [{"group": group} for group in shared["groups"]]

    class Members(lib.BatchFlow):
        def prep(self, shared):
            return [{"member": member} for member in shared["groups"][self.params["group"]]]

    class Leaf(lib.Node):
        def post(self, shared, prep_res, exec_res):
            shared["seen"].append((self.params["group"], self.params["member"]))

    shared = {"groups": {"x": [1, 2], "y": [3]}, "seen": []}
    Groups(start=Members(start=Leaf())).run(shared)
    assert shared["seen"] == [("x", 1), ("x", 2), ("y", 3)]


# ---- failures --------------------------------------------------------------------------------------------------------


def failing(lib, *, is_async, failures, fallback):
    """A node whose ``exec`` fails so many times; it counts its attempts on itself and shows them in ``post``."""

    def attempt(self):
        self.attempts += 1
        if self.attempts <= failures:
            raise ValueError(f"attempt {self.attempts}")
        return "answer"

    if not is_async:

        class Fails(lib.Node):
            attempts = 0

            def exec(self, prep_res):
                return attempt(self)

            def post(self, shared, prep_res, exec_res):
                shared.append((self.attempts, exec_res))

        if fallback:

            class Fails(Fails):
                def exec_fallback(self, prep_res, exc):
                    return "fallback"

        return Fails

    class AsyncFails(lib.AsyncNode):
        attempts = 0

        async def exec_async(self, prep_res):
            return attempt(self)

        async def post_async(self, shared, prep_res, exec_res):
            shared.append((self.attempts, exec_res))

    if fallback:

        class AsyncFails(AsyncFails):
            async def exec_fallback_async(self, prep_res, exc):
                return "fallback"

    return AsyncFails


def run(node, shared, *, is_async):
    return run_async(node.run_async(shared)) if is_async else node.run(shared)


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(
    ("max_retries", "failures", "seen"),
    [
        (3, 0, (1, "answer")),
        (2, 9, (2, "fallback")),
        (1, 9, (1, "fallback")),
        (3, 2, (3, "answer")),
    ],
    ids=["success", "after failure", "one attempt", "success at the third"],
)
def test_attempts_and_fallback(lib, is_async, max_retries, failures, seen):
    """``max_retries`` counts attempts; after the last one the fallback answers."""
    node = failing(lib, is_async=is_async, failures=failures, fallback=True)(max_retries=max_retries)
    shared = []
    run(node, shared, is_async=is_async)
    assert shared == [seen]


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_fallback_in_a_flow(lib, is_async):
    """A flow goes on behind a node that fell back."""
    node = failing(lib, is_async=is_async, failures=9, fallback=True)(max_retries=1)

    class Last(lib.Node):
        def post(self, shared, prep_res, exec_res):
            shared.append("last")

    node >> Last()
    shared = []
    run((lib.AsyncFlow if is_async else lib.Flow)(start=node), shared, is_async=is_async)
    assert shared == [(1, "fallback"), "last"]


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_no_fallback(lib, is_async):
    """Without a fallback the last error is raised."""
    node = failing(lib, is_async=is_async, failures=9, fallback=False)(max_retries=2)
    with pytest.raises(ValueError, match=r"^attempt 2"):
        run(node, [], is_async=is_async)


# ---- async flows -----------------------------------------------------------------------------------------------------


def async_nodes(lib):
    class Put(lib.AsyncNode):
        def __init__(self, n):
            super().__init__()
            self.n = n

        async def prep_async(self, shared):
            shared["n"] = self.n

        async def post_async(self, shared, prep_res, exec_res):
            return "number_set"

    class Increment(lib.AsyncNode):
        async def prep_async(self, shared):
            return shared["n"]

        async def exec_async(self, n):
            await asyncio.sleep(0)
            return n + 1

        async def post_async(self, shared, prep_res, exec_res):
            shared["n"] = exec_res
            return "done"

    return Put, Increment


def test_run_async_of_a_node(lib):
    """``run_async`` of a node returns its action."""
    put, increment = async_nodes(lib)
    shared = {}
    assert run_async(put(5).run_async(shared)) == "number_set"
    assert run_async(increment().run_async(shared)) == "done"
    assert shared["n"] == 6


def test_async_flow(lib):
    """An async flow returns the last action of its async nodes."""
    put, increment = async_nodes(lib)
    first = put(5)
    first - "number_set" >> increment()
    shared = {}
    assert run_async(lib.AsyncFlow(start=first).run_async(shared)) == "done"
    assert shared["n"] == 6


@pytest.mark.parametrize(("n", "path"), [(10, "positive"), (-5, "negative")])
def test_async_branches_to_plain_nodes(lib, n, path):
    """Plain nodes can follow async ones; a plain ``exec`` on an async node does no harm."""
    put, _ = async_nodes(lib)

    class Branch(lib.AsyncNode):
        def exec(self, data):
            return None

        async def post_async(self, shared, prep_res, exec_res):
            return "positive" if shared["n"] >= 0 else "negative"

    class Note(lib.Node):
        def __init__(self, text):
            super().__init__()
            self.text = text

        def post(self, shared, prep_res, exec_res):
            shared["path"] = self.text

    first, branch = put(n), Branch()
    first - "number_set" >> branch
    branch - "positive" >> Note("positive")
    branch - "negative" >> Note("negative")
    shared = {}
    run_async(lib.AsyncFlow(start=first).run_async(shared))
    assert shared["path"] == path


def test_async_inner_action_picks_the_outer_edge(lib):
    """The last action of an inner async flow chooses the edge in the outer one."""
    put, increment = async_nodes(lib)
    first = put(100)
    first - "number_set" >> increment()
    inner = lib.AsyncFlow(start=first)
    inner - "done" >> increment()
    shared = {}
    assert run_async(lib.AsyncFlow(start=inner).run_async(shared)) == "done"
    assert shared["n"] == 102


# ---- async batches ---------------------------------------------------------------------------------------------------


def test_async_batch_node(lib):
    """An AsyncBatchNode gives the list of results in order."""

    class Sums(lib.AsyncBatchNode):
        async def prep_async(self, shared):
            return [range(0, 10), range(10, 20), range(20, 25)]

        async def exec_async(self, chunk):
            await asyncio.sleep(0)
            return sum(chunk)

        async def post_async(self, shared, prep_res, exec_res):
            shared["parts"] = exec_res
            return "processed"

    shared = {}
    assert run_async(Sums().run_async(shared)) == "processed"
    assert shared["parts"] == [45, 145, 110]


def async_per_key(lib, name="AsyncBatchFlow"):
    class Keys(getattr(lib, name)):
        async def prep_async(self, shared):
            return [{"key": key} for key in shared["in"]]

    class Double(lib.AsyncNode):
        async def prep_async(self, shared):
            return shared["in"][self.params["key"]]

        async def exec_async(self, n):
            if n < 0:
                raise ValueError(f"{self.params['key']} is negative")
            return n * 2

        async def post_async(self, shared, n, result):
            shared["out"][self.params["key"]] = result
            return "doubled"

    return Keys, Double


@pytest.mark.parametrize("name", ["AsyncBatchFlow", "AsyncParallelBatchFlow"])
@pytest.mark.parametrize("given", [{"a": 1, "b": 2}, {"only": 7}, {}], ids=["two", "one", "none"])
def test_async_batch_flow(lib, name, given):
    """An async batch flow runs once for each param set of ``prep_async``."""
    keys, double = async_per_key(lib, name)
    shared = {"in": given, "out": {}}
    run_async(keys(start=double()).run_async(shared))
    assert shared["out"] == {key: n * 2 for key, n in given.items()}


@pytest.mark.parametrize("name", ["AsyncBatchFlow", "AsyncParallelBatchFlow"])
def test_async_batch_flow_error(lib, name):
    """An error in a node leaves ``run_async`` with its own type."""
    keys, double = async_per_key(lib, name)
    with pytest.raises(ValueError, match=r"^b is negative") as caught:
        run_async(keys(start=double()).run_async({"in": {"a": 1, "b": -1, "c": 1}, "out": {}}))
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("name", ["AsyncBatchFlow", "AsyncParallelBatchFlow"])
def test_async_chain_per_param_set(lib, name):
    """The chain behind the start node runs for every param set."""
    keys, double = async_per_key(lib, name)

    class AddOne(lib.AsyncNode):
        async def post_async(self, shared, prep_res, exec_res):
            shared["out"][self.params["key"]] += 1

    first = double()
    first - "doubled" >> AddOne()
    shared = {"in": {"a": 1, "b": 2}, "out": {}}
    run_async(keys(start=first).run_async(shared))
    assert shared["out"] == {"a": 3, "b": 5}


def test_async_two_params(lib):
    """Param sets of two keys reach async nodes."""

    class Powers(lib.AsyncBatchFlow):
        async def prep_async(self, shared):
            return [{"base": 2, "power": 3}, {"base": 3, "power": 2}]

    class Power(lib.AsyncNode):
        async def post_async(self, shared, prep_res, exec_res):
            shared.append(self.params["base"] ** self.params["power"])

    shared = []
    run_async(Powers(start=Power()).run_async(shared))
    assert shared == [8, 9]


# ---- parallel batches ------------------------------------------------------------------------------------------------


def parallel_node(lib, work):
    class Parallel(lib.AsyncParallelBatchNode):
        async def prep_async(self, shared):
            return shared["in"]

        async def exec_async(self, item):
            return await work(item)

        async def post_async(self, shared, prep_res, exec_res):
            shared["out"] = exec_res
            return "processed"

    return Parallel()


def test_parallel_items_run_at_once(lib):
    """All items of a parallel batch are under way together: each waits for the others."""
    meeting = asyncio.Barrier(5)

    async def work(item):
        await meeting.wait()
        return item * 2

    shared = {"in": range(5)}
    run_async(parallel_node(lib, work).run_async(shared))
    assert shared["out"] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("items", [[], [42], list(range(100))], ids=["none", "one", "hundred"])
def test_parallel_sizes(lib, items):
    """Results come in the order of the items, however many there are."""

    async def work(item):
        await asyncio.sleep(0)
        return item * 2

    shared = {"in": items}
    run_async(parallel_node(lib, work).run_async(shared))
    assert shared["out"] == [item * 2 for item in items]


def test_parallel_error(lib):
    """One failing item raises its own error, not a group of errors."""

    async def work(item):
        if item == 2:
            raise ValueError("item 2")
        return item

    with pytest.raises(ValueError, match=r"^item 2") as caught:
        run_async(parallel_node(lib, work).run_async({"in": range(4)}))
    assert type(caught.value) is ValueError


def test_parallel_items_overtake(lib):
    """Later items may finish before earlier ones; the results keep the order of the items."""
    finished = []
    odd_ones_done = asyncio.Event()

    async def work(item):
        if item % 2 == 0:
            await odd_ones_done.wait()
        finished.append(item)
        if len(finished) == 2:
            odd_ones_done.set()
        return item

    shared = {"in": range(4)}
    run_async(parallel_node(lib, work).run_async(shared))
    assert set(finished[:2]) == {1, 3}
    assert shared["out"] == [0, 1, 2, 3]


def batches(lib, work):
    """A parallel flow over ``shared["batches"]``, with a parallel node and an aggregator behind it."""

    class Batches(lib.AsyncParallelBatchFlow):
        async def prep_async(self, shared):
            return [{"batch": i} for i in range(len(shared["batches"]))]

    class Process(lib.AsyncParallelBatchNode):
        async def prep_async(self, shared):
            return shared["batches"][self.params["batch"]]

        async def exec_async(self, item):
            return await work(item)

        async def post_async(self, shared, prep_res, exec_res):
            shared["done"][self.params["batch"]] = exec_res
            return "processed"

    class Aggregate(lib.AsyncNode):
        async def prep_async(self, shared):
            return [n for i in range(len(shared["done"])) for n in shared["done"][i]]

        async def exec_async(self, numbers):
            return sum(numbers)

        async def post_async(self, shared, prep_res, exec_res):
            shared["total"] = exec_res
            return "aggregated"

    first = Process()
    first - "processed" >> Aggregate()
    return Batches(start=first)


def test_parallel_flows_of_parallel_nodes(lib):
    """Three flows of three items make nine calls at once."""
    meeting = asyncio.Barrier(9)

    async def work(item):
        await meeting.wait()
        return item * 2

    shared = {"batches": [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "done": {}}
    run_async(batches(lib, work).run_async(shared))
    assert shared["done"] == {0: [2, 4, 6], 1: [8, 10, 12], 2: [14, 16, 18]}
    assert shared["total"] == 90


def test_parallel_flows_of_parallel_nodes_error(lib):
    """An error in one of the calls leaves the outer flow with its own type."""

    async def work(item):
        if item == 2:
            raise ValueError("item 2")
        return item

    with pytest.raises(ValueError, match=r"^item 2"):
        run_async(batches(lib, work).run_async({"batches": [[1, 2], [3]], "done": {}}))


def test_parallel_flows_resume_in_order(lib):
    """Flows of different sizes go on in the order in which they began: results 0 to n - 1 are always there together."""

    async def work(item):
        await asyncio.sleep(0)
        return item * 2

    shared = {"batches": [[1], [2, 3, 4], [5, 6], [7, 8, 9, 10]], "done": {}}
    run_async(batches(lib, work).run_async(shared))
    assert shared["done"] == {0: [2], 1: [4, 6, 8], 2: [10, 12], 3: [14, 16, 18, 20]}
    assert shared["total"] == 110


def test_parallel_flow_in_a_parallel_flow(lib):
    """The leaf of nested parallel flows sees the params of both."""

    class Outer(lib.AsyncParallelBatchFlow):
        async def prep_async(self, shared):
            return [{"group": group} for group in shared["groups"]]

    class Inner(lib.AsyncParallelBatchFlow):
        async def prep_async(self, shared):
            return [{"member": member} for member in shared["groups"][self.params["group"]]]

    class Leaf(lib.AsyncNode):
        async def exec_async(self, prep_res):
            await asyncio.sleep(0)
            return self.params["group"], self.params["member"]

        async def post_async(self, shared, prep_res, exec_res):
            shared["seen"].append(exec_res)

    shared = {"groups": {"x": [1, 2], "y": [3]}, "seen": []}
    run_async(Outer(start=Inner(start=Leaf())).run_async(shared))
    assert sorted(shared["seen"]) == [("x", 1), ("x", 2), ("y", 3)]
