"""Programs in the style of PocketFlow's first version run: ``exec(self, shared, x)``, ``process_after_fail``."""

import asyncio

import pytest

import llmflow_nb
import llmflow_nb.pocketflow as pocketflow_names


@pytest.fixture(params=[llmflow_nb, pocketflow_names], ids=lambda module: module.__name__)
def lib(request):
    """The everyday names, and PocketFlow's names: both take this style."""
    return request.param


def arithmetic(lib):
    """Return node makers that work on ``shared["n"]``: set it, add, multiply, and check its sign."""

    class Put(lib.Node):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def prep(self, shared):
            shared["n"] = self.n

    class Add(lib.Node):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def prep(self, shared):
            return shared["n"]

        def exec(self, shared, n):
            return n + self.n

        def post(self, shared, n, total):
            shared["n"] = total
            return "default"

    class Times(Add):
        def exec(self, shared, n):
            return n * self.n

    class Sign(lib.Node):
        def post(self, shared, prep_res, exec_res):
            return "negative" if shared["n"] < 0 else "positive"

    return Put, Add, Times, Sign


# ---- flows -----------------------------------------------------------------------------------------------------------


def test_one_node(lib):
    """A flow of one node writes to ``shared``."""
    put, *_ = arithmetic(lib)
    shared = {}
    lib.Flow(start=put(5)).run(shared)
    assert shared == {"n": 5}


def test_sequence(lib):
    """``a >> b >> c`` runs in this order."""
    put, add, times, _ = arithmetic(lib)
    first = put(5)
    first >> add(3) >> times(2)
    shared = {}
    lib.Flow(first).run(shared)
    assert shared["n"] == 16


@pytest.mark.parametrize(("start", "end"), [(5, 15), (-5, -25)])
def test_branches(lib, start, end):
    """The action that ``post`` returns chooses the edge."""
    put, add, times, sign = arithmetic(lib)
    first, check = put(start), sign()
    first >> check
    check - "positive" >> add(10)
    check - "negative" >> times(5)
    shared = {}
    lib.Flow(start=first).run(shared)
    assert shared["n"] == end


def test_loop(lib):
    """A flow goes round until an action leads out of the loop."""
    put, add, _, sign = arithmetic(lib)
    seen = []

    class Stop(lib.Node):
        def prep(self, shared):
            seen.append(shared["n"])

    first, down, check = put(10), add(-3), sign()
    first >> down >> check
    check - "positive" >> down
    check - "negative" >> Stop()
    shared = {}
    lib.Flow(start=first).run(shared)
    assert shared["n"] == -2
    assert seen == [-2]


def test_loop_that_ends_without_an_edge_warns(lib):
    """An action without an edge ends the flow, with a warning, and ``shared`` stays as it is."""
    put, add, _, sign = arithmetic(lib)
    first, down, check = put(10), add(-3), sign()
    first >> down >> check
    check - "positive" >> down
    shared = {}
    with pytest.warns(UserWarning, match="Flow ends: 'negative' not found in"):
        lib.Flow(start=first).run(shared)
    assert shared["n"] == -2


def test_add_successor(lib):
    """``add_successor(node, action)`` wires, and returns the target."""
    put, add, _, sign = arithmetic(lib)
    first, check, end = put(1), sign(), add(1)
    assert first.add_successor(check) is check
    assert check.add_successor(end, "positive") is end
    shared = {}
    lib.Flow(first).run(shared)
    assert shared["n"] == 2


# ---- flows in flows --------------------------------------------------------------------------------------------------


def test_flow_is_a_node(lib):
    """A flow is a step like any node, also of a flow in a flow."""
    put, add, times, _ = arithmetic(lib)
    first = put(5)
    first >> add(10)
    inner = lib.Flow(start=first)
    inner >> times(2)
    shared = {}
    lib.Flow(start=lib.Flow(start=inner)).run(shared)
    assert shared["n"] == 30


def test_three_levels(lib):
    """Flows nest to three levels, each with a step of its own behind the inner one."""
    put, add, times, _ = arithmetic(lib)
    first = put(5)
    first >> add(3)
    inner = lib.Flow(start=first)
    inner >> times(4)
    middle = lib.Flow(start=inner)
    shared = {}
    lib.Flow(start=middle).run(shared)
    assert shared["n"] == 32


def test_flow_after_flow(lib):
    """``flow1 >> flow2`` runs one after the other."""
    put, add, times, _ = arithmetic(lib)
    first = put(10)
    first >> add(10)
    flow1, flow2 = lib.Flow(start=first), lib.Flow(start=times(2))
    flow1 >> flow2
    shared = {}
    lib.Flow(start=flow1).run(shared)
    assert shared["n"] == 40


# ---- batch nodes -----------------------------------------------------------------------------------------------------


def summing(lib, size):
    class SumChunks(lib.BatchNode):
        def prep(self, shared):
            total = len(shared["numbers"])
            return [(i, min(i + size, total)) for i in range(0, total, size)]

        def exec(self, shared, bounds):
            return sum(shared["numbers"][slice(*bounds)])

        def post(self, shared, prep_res, exec_res_list):
            shared["parts"] = exec_res_list
            return "default"

    class Reduce(lib.Node):
        def prep(self, shared):
            return shared["parts"]

        def exec(self, shared, parts):
            return sum(parts)

        def post(self, shared, prep_res, total):
            shared["total"] = total
            return "default"

    return SumChunks, Reduce


def test_hooks_are_plain_methods(lib):
    """``node.prep(shared)`` can be called by hand, and so can ``exec`` and ``post``."""
    chunks, _ = summing(lib, 10)
    node, shared = chunks(), {"numbers": list(range(25))}
    assert node.prep(shared) == [(0, 10), (10, 20), (20, 25)]
    assert node.exec(shared, (0, 10)) == 45
    assert node.post(shared, [], [1, 2]) == "default"


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

        def exec(self, shared, n):
            if n < 0:
                raise ValueError(f"{self.params['key']} is negative")
            return n * 2

        def post(self, shared, n, result):
            shared.setdefault("out", {})[self.params["key"]] = result
            return "default"

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


def test_error_leaves_a_batch_flow_as_it_is(lib):
    """An error in a node leaves ``run`` with its own type."""
    keys, double = per_key(lib)
    with pytest.raises(ValueError, match=r"^b is negative") as caught:
        keys(start=double()).run({"in": {"a": 1, "b": -1}})
    assert type(caught.value) is ValueError


def test_chain_per_param_set(lib):
    """The chain behind the start node runs for every param set."""
    keys, double = per_key(lib)

    class AddOne(lib.Node):
        def post(self, shared, prep_res, exec_res):
            shared["out"][self.params["key"]] += 1
            return "default"

    first = double()
    first >> AddOne()
    shared = {"in": {"a": 1, "b": 2}}
    keys(start=first).run(shared)
    assert shared["out"] == {"a": 3, "b": 5}


def test_two_params(lib):
    """A param set may hold more than one key."""

    class Powers(lib.BatchFlow):
        def prep(self, shared):
            return [{"base": 2, "power": 3}, {"base": 3, "power": 2}]

    class Power(lib.Node):
        def exec(self, shared, prep_res):
            return self.params["base"] ** self.params["power"]

        def post(self, shared, prep_res, result):
            shared.append(result)
            return "default"

    shared = []
    Powers(start=Power()).run(shared)
    assert shared == [8, 9]


# ---- failures --------------------------------------------------------------------------------------------------------


def test_process_after_fail(lib):
    """``process_after_fail(shared, prep_res, exc)`` answers after the last attempt, and ``post`` gets its answer."""
    tries = []

    class Fails(lib.Node):
        def prep(self, shared):
            return "question"

        def exec(self, shared, question):
            tries.append(question)
            raise ValueError("no")

        def process_after_fail(self, shared, question, exc):
            return shared["apology"], question, str(exc)

        def post(self, shared, question, answer):
            shared["answer"] = answer
            return "default"

    shared = {"apology": "sorry"}
    Fails(max_retries=3).run(shared)
    assert tries == ["question"] * 3
    assert shared["answer"] == ("sorry", "question", "no")


def test_no_process_after_fail(lib):
    """Without a fallback the error of the last attempt is raised."""

    class Fails(lib.Node):
        def exec(self, shared, prep_res):
            raise ValueError("no")

    with pytest.raises(ValueError, match=r"^no"):
        Fails(max_retries=2).run({})


def test_keyboard_interrupt_is_not_tried_again(lib):
    """Only an ``Exception`` is tried again: an interrupt goes through after one call."""
    tries = []

    class Stopped(lib.Node):
        def exec(self, shared, prep_res):
            tries.append(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stopped(max_retries=5).run({})
    assert len(tries) == 1


# ---- asynchronous ----------------------------------------------------------------------------------------------------


class PutNumber(pocketflow_names.AsyncNode):
    """Plain ``prep`` and ``exec`` beside ``post_async``, as the first version had it."""

    def __init__(self, n):
        super().__init__()
        self.n = n

    def prep(self, shared):
        return self.n

    def exec(self, shared, n):
        return n + 0

    async def post_async(self, shared, prep_res, exec_res):
        await asyncio.sleep(0)
        shared["n"] = exec_res
        return "number_set"


class Increment(pocketflow_names.AsyncNode):
    def prep(self, shared):
        return shared["n"]

    def exec(self, shared, n):
        return n + 1

    async def post_async(self, shared, prep_res, exec_res):
        shared["n"] = exec_res
        return "done"


@pytest.mark.parametrize(
    ("node", "shared", "action", "n"), [(PutNumber(5), {}, "number_set", 5), (Increment(), {"n": 5}, "done", 6)]
)
def test_run_async_of_a_node(node, shared, action, n):
    """``run_async`` returns the action of ``post_async``."""
    assert asyncio.run(node.run_async(shared)) == action
    assert shared["n"] == n


def test_async_flow():
    """``AsyncFlow(start)`` follows the actions of async nodes."""
    first = PutNumber(5)
    first - "number_set" >> Increment()
    shared = {}
    asyncio.run(pocketflow_names.AsyncFlow(first).run_async(shared))
    assert shared["n"] == 6


@pytest.mark.parametrize(("n", "path"), [(10, "positive"), (-5, "negative")])
def test_async_branches_to_plain_nodes(n, path):
    """A plain node can follow an async one."""

    class Branch(pocketflow_names.AsyncNode):
        def exec(self, shared, data):
            return shared["n"]

        async def post_async(self, shared, prep_res, exec_res):
            return "positive" if exec_res >= 0 else "negative"

    class Note(pocketflow_names.Node):
        def __init__(self, text):
            super().__init__()
            self.text = text

        def post(self, shared, prep_res, exec_res):
            shared["path"] = self.text
            return "default"

    start = PutNumber(n)
    branch = Branch()
    start - "number_set" >> branch
    branch - "positive" >> Note("positive")
    branch - "negative" >> Note("negative")
    shared = {}
    asyncio.run(pocketflow_names.AsyncFlow(start).run_async(shared))
    assert shared["path"] == path


class AsyncKeys(pocketflow_names.BatchAsyncFlow):
    """A plain ``prep`` on an async batch flow."""

    def prep(self, shared):
        return [{"key": key} for key in shared["in"]]


class AsyncDouble(pocketflow_names.AsyncNode):
    def prep(self, shared):
        return shared["in"][self.params["key"]]

    def exec(self, shared, n):
        return n * 2

    async def post_async(self, shared, n, result):
        if n < 0:
            raise ValueError(f"{self.params['key']} is negative")
        shared.setdefault("out", {})[self.params["key"]] = result
        return "default"


@pytest.mark.parametrize("given", [{"a": 1, "b": 2}, {}], ids=["two", "none"])
def test_async_batch_flow(given):
    """A plain ``prep`` gives the param sets of an async batch flow."""
    shared = {"in": given, "out": {}}
    asyncio.run(AsyncKeys(start=AsyncDouble()).run_async(shared))
    assert shared["out"] == {key: n * 2 for key, n in given.items()}


def test_async_batch_flow_error():
    """An error in ``post_async`` leaves ``run_async`` with its own type."""
    with pytest.raises(ValueError, match=r"^b is negative"):
        asyncio.run(AsyncKeys(start=AsyncDouble()).run_async({"in": {"a": 1, "b": -1}}))


def test_async_chain_per_param_set():
    """The chain behind the start node runs for every param set, also in an async batch flow."""

    class AddOne(pocketflow_names.AsyncNode):
        async def post_async(self, shared, prep_res, exec_res):
            shared["out"][self.params["key"]] += 1
            return "default"

    first = AsyncDouble()
    first >> AddOne()
    shared = {"in": {"a": 1, "b": 2}}
    asyncio.run(AsyncKeys(start=first).run_async(shared))
    assert shared["out"] == {"a": 3, "b": 5}


def test_async_two_params():
    """Param sets of two keys reach async nodes."""

    class Powers(pocketflow_names.BatchAsyncFlow):
        def prep(self, shared):
            return [{"base": 2, "power": 3}, {"base": 3, "power": 2}]

    class Power(pocketflow_names.AsyncNode):
        async def post_async(self, shared, prep_res, exec_res):
            shared.append(self.params["base"] ** self.params["power"])
            return "default"

    shared = []
    asyncio.run(Powers(start=Power()).run_async(shared))
    assert shared == [8, 9]
