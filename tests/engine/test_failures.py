"""What becomes of a run when something fails: what stops, what goes on, and what the record says."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmflow_nb import (
    AllFailedError,
    BatchFlow,
    BatchNode,
    Flow,
    FlowWarning,
    HookCancelledError,
    HookReturnError,
    Node,
)
from tests.engine.helpers import MODES, PATIENCE, SIDE_BY_SIDE, Items, Signal, When, go, items_node, statuses

GO_ON = "; .last_run.resume() continues from there"

# --- on_error="raise": items -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_first_failure_stops_the_batch(mode):
    """After the first failure no further call starts; rows that never began are pending, and none is missing."""
    started = []

    def work(node, item):
        started.append(item)
        if item == 1:
            raise LookupError("no such item")
        return item

    node = items_node(mode, work, max_concurrency=1, name="Map")
    with pytest.raises(LookupError, match="no such item"):
        go(mode, node, {"items": [0, 1, 2, 3]})

    assert started == [0, 1]
    assert statuses(node) == ["ok", "failed", "pending", "pending"]
    assert node.last_run.batch(node).results == [0, None, None, None]
    assert node.last_run.status == "failed"


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_calls_in_flight_are_kept(mode):
    """Calls under way when another one fails finish, and their results are kept; nothing else starts."""
    started = []
    all_started = Signal()
    failed = When("attempt_finished", "failed")

    async def slow(item):
        await failed.signal.seen()
        return item * 10

    async def fail():
        await all_started.seen()
        raise LookupError("no such item")

    def work(node, item):
        started.append(item)
        if len(started) == 3:
            all_started.set()
        if item == 1 and "threads" not in mode:
            return fail()
        if item == 1:
            all_started.wait()
            raise LookupError("no such item")
        if "threads" not in mode:
            return slow(item)
        failed.signal.wait()
        return item * 10

    node = items_node(mode, work, max_concurrency=3)
    with pytest.raises(LookupError, match="no such item"):
        go(mode, node, {"items": range(9)}, subscribers=[failed])

    assert sorted(started) == [0, 1, 2]
    assert statuses(node) == ["ok", "failed", "ok"] + 6 * ["pending"]
    assert node.last_run.batch(node).results == [0, None, 20] + 6 * [None]
    assert node.last_run.abandoned == 0


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_grace_is_over(mode):
    """Calls that outlast the grace period are cancelled; a thread, which cannot be, is counted as abandoned."""
    release, begun, ended = Signal(), Signal(), Signal()

    async def for_ever():
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def fail():
        await begun.seen()
        raise LookupError("no such item")

    def work(node, item):
        if "threads" not in mode:
            return fail() if item else for_ever()
        if item:
            begun.wait()
            raise LookupError("no such item")
        begun.set()
        release.wait()
        return "late"

    node = items_node(mode, work, max_concurrency=2)
    node.grace = 0.05
    try:
        with pytest.raises(LookupError, match="no such item"):
            go(mode, node, {"items": [0, 1, 2]})
    finally:
        release.set()

    assert statuses(node) == ["cancelled", "failed", "pending"]
    assert node.last_run.abandoned == ("threads" in mode)
    if "threads" not in mode:
        ended.wait()


@pytest.mark.parametrize("mode", ["threads", "awaited threads"])
def test_calls_that_an_executor_makes(mode):
    """Calls that an executor is making when another one fails finish as well, and their results are kept."""
    begun = Signal()
    failed = When("call_finished", "failed")

    def work(node, item):
        if item == 0:
            begun.wait()
            raise LookupError("no such item")
        begun.set()
        failed.signal.wait()
        return item * 10

    node = items_node(mode, work, max_concurrency=2)
    with ThreadPoolExecutor(2) as pool, pytest.raises(LookupError, match="no such item"):
        go(mode, node, {"items": range(4)}, subscribers=[failed], executor=pool)

    assert statuses(node) == ["failed", "ok", "pending", "pending"]
    assert node.last_run.batch(node).results == [None, 10, None, None]


@pytest.mark.parametrize("mode", ["threads", "awaited threads"])
def test_calls_queued_in_an_executor(mode):
    """Calls that an executor has taken and not begun when another one fails are not begun any more."""
    started = []
    queued = When("call_started", times=4)
    cancelled = When("call_finished", "cancelled", times=2)

    def work(node, item):
        started.append(item)
        if item == 0:
            queued.signal.wait()
            raise LookupError("no such item")
        cancelled.signal.wait()  # begun in the moment between the failure and its coming home

    node = items_node(mode, work, max_concurrency=4)
    with ThreadPoolExecutor(1) as pool, pytest.raises(LookupError, match="no such item"):
        go(mode, node, {"items": range(6)}, subscribers=[queued, cancelled], executor=pool)

    assert started in ([0], [0, 1])
    rows = statuses(node)
    assert rows[0] == "failed"
    assert rows[2:] == ["cancelled"] * 2 + ["pending"] * 2
    assert node.last_run.abandoned == 0


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_two_failures_in_flight(mode):
    """Of several failures the first goes up: itself, not a group, with one note. All of them are in the record."""
    turn = threading.Barrier(2, timeout=PATIENCE)
    meet = asyncio.Barrier(2)

    async def together(item):
        await meet.wait()
        raise LookupError(item)

    def work(node, item):
        if "threads" not in mode:
            return together(item)
        turn.wait()
        raise LookupError(item)

    node = items_node(mode, work, name="Map")
    with pytest.raises(LookupError) as caught:
        go(mode, node, {"items": ["first", "second"]})

    assert caught.type is LookupError
    place = ["first", "second"].index(caught.value.args[0])
    (note,) = caught.value.__notes__
    assert note == f"in Map, item {place + 1} of 2 (row {place}); completed results are in .last_run{GO_ON}"
    assert {i: error.args[0] for i, error in node.last_run.batch(node).exceptions.items()} == {0: "first", 1: "second"}


@pytest.mark.parametrize("mode", MODES)
def test_note_names_the_way(mode):
    """The note on a failure names the flows and the node around it."""

    def work(node, item):
        raise LookupError

    flow = Flow(Flow(items_node(mode, work, name="Map"), name="Inner"), name="Outer")
    with pytest.raises(LookupError) as caught:
        go(mode, flow, {"items": [0]})
    (note,) = caught.value.__notes__
    assert note.startswith("in Outer > Inner > Map, item 1 of 1 (row 0)")


@pytest.mark.parametrize("mode", MODES)
def test_generator_that_raises(mode):
    """An iterable that raises ends the batch; what was executed before is kept."""

    def items():
        yield 0
        yield 1
        raise OSError("disk gone")

    node = items_node(mode, lambda node, item: item * 10, max_concurrency=1 if mode == "inline" else 2)
    with pytest.raises(OSError, match="disk gone"):
        go(mode, node, {"items": items()})

    assert statuses(node) == ["ok", "ok"]
    assert node.last_run.batch(node).results == [0, 10]
    assert [visit.status for visit in node.last_run.visits] == ["failed"]


@pytest.mark.parametrize("mode", ["tasks", "awaited"])
def test_async_generator_that_raises(mode):
    """So does an async one."""

    async def items():
        yield 0
        raise OSError("disk gone")

    node = items_node(mode, lambda node, item: item * 10)
    with pytest.raises(OSError, match="disk gone"):
        go(mode, node, {"items": items()})
    assert statuses(node) == ["ok"]


@pytest.mark.parametrize("keep_items", [True, False])
@pytest.mark.parametrize("mode", ["tasks", "awaited"])
def test_item_that_comes_after_the_failure(mode, keep_items):
    """An item that an async iterable yields after a call has failed is not executed any more, and has a row."""
    started = []
    failed = asyncio.Event()

    async def items():
        yield 0
        await failed.wait()
        for _ in range(50):  # rounds of the loop in which the failure can come home
            await asyncio.sleep(0)
        yield 1

    def work(node, item):
        started.append(item)
        failed.set()
        raise LookupError(item)

    node = items_node(mode, work, keep_items=keep_items)
    with pytest.raises(LookupError):
        go(mode, node, {"items": items()})
    assert started == [0]
    assert [(row.item, row.status) for row in node.last_run.batch(node)] == [(0, "failed"), (1, "pending")]


@pytest.mark.parametrize("mode", MODES)
def test_generator_that_raises_when_it_is_closed(mode):
    """What a generator raises in its clean-up, after a call has failed, is a warning; the failure goes up."""

    def items():
        try:
            yield from range(100)
        finally:
            raise OSError("disk gone")

    def work(node, item):
        raise LookupError("no such item")

    node = items_node(mode, work, name="Map")
    with (
        pytest.warns(FlowWarning, match=r"^Map: the item generator raised OSError\('disk gone'\) when it was"),
        pytest.raises(LookupError, match="no such item"),
    ):
        go(mode, node, {"items": items()})


@pytest.mark.parametrize("mode", ["tasks", "awaited"])
def test_exec_that_is_cancelled_from_within(mode):
    """An ``exec`` whose own task or future was cancelled by somebody else has failed: a row, where those are kept."""

    async def ask(item):
        answer = asyncio.get_running_loop().create_future()
        answer.cancel() if item == 1 else answer.set_result(item * 10)
        return await answer

    shared = {"items": [0, 1, 2]}
    node = items_node(mode, lambda node, item: ask(item), on_error="keep")
    go(mode, node, shared)
    assert shared["results"] == [0, None, 20]
    assert statuses(node) == ["ok", "failed", "ok"]
    assert type(node.last_run.batch(node)[1].error) is asyncio.CancelledError


@pytest.mark.parametrize("mode", ["tasks", "awaited"])
@pytest.mark.parametrize("hook", ["prep", "post"])
def test_hook_that_is_cancelled_from_within(hook, mode):
    """A ``prep`` or ``post`` whose own task or future was cancelled by somebody else ends the run."""
    after = []

    async def cancelled(self, *args):
        answer = asyncio.get_running_loop().create_future()
        answer.cancel()
        await answer

    class After(Node):
        def prep(self, shared):
            after.append("prep")

    node = type("Waits", (Node,), {hook: cancelled})()
    node >> After()
    flow = Flow(node)
    with pytest.raises(HookCancelledError, match=rf"^Flow/Waits: {hook} raised CancelledError, but the run was not"):
        go(mode, flow, {})
    assert after == []
    assert flow.last_run.status == "failed"
    assert [(visit.node, visit.status) for visit in flow.last_run.visits] == [
        ("Waits", "failed"),
        ("Flow", "failed"),
    ]


@pytest.mark.parametrize("keep_items", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_interrupted_item_has_a_row(mode, keep_items):
    """The item in whose call an interrupt came has a row, also where items are not kept."""

    def work(node, item):
        if item == 2:
            raise KeyboardInterrupt
        return item

    node = items_node(mode, work, max_concurrency=1, keep_items=keep_items)
    with pytest.raises(KeyboardInterrupt):
        go(mode, node, {"items": iter(range(5))})
    rows = statuses(node)
    assert rows[:2] == ["ok", "ok"]
    assert rows[2:] == ["cancelled"]


@pytest.mark.parametrize("watched", [False, True])
def test_interrupt_in_a_second_attempt(watched):
    """An interrupt while a call is tried again on the spot leaves its row as cancelled."""

    def work(node, item):
        if item == 1:
            if node.cur_retry:
                raise KeyboardInterrupt
            raise ValueError(item)
        return item

    node = items_node("inline", work, max_retries=3)
    with pytest.raises(KeyboardInterrupt):
        node.run({"items": [0, 1, 2]}, subscribers=[When("never")] if watched else ())
    assert statuses(node) == ["ok", "cancelled", "pending"]


def test_interrupt_while_watched():
    """A subscriber makes no difference to the rows that an interrupt leaves."""

    def work(node, item):
        if item == 1:
            raise KeyboardInterrupt
        return item

    node = items_node("inline", work)
    with pytest.raises(KeyboardInterrupt):
        node.run({"items": [0, 1, 2]}, subscribers=[When("never")])
    assert statuses(node) == ["ok", "cancelled", "pending"]


# --- on_error="keep": items ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_keep_items(mode):
    """Failed items are None in the list, their rows say why, and the rest goes on."""

    def work(node, item):
        if item % 2:
            raise LookupError(f"no item {item}")
        return item * 10

    node = items_node(mode, work, on_error="keep", max_retries=2)
    shared = {"items": range(5)}
    go(mode, node, shared)

    assert shared["results"] == [0, None, 20, None, 40]
    record = node.last_run.batch(node)
    assert statuses(node) == ["ok", "failed", "ok", "failed", "ok"]
    assert {place: str(error) for place, error in record.exceptions.items()} == {1: "no item 1", 3: "no item 3"}
    assert [row.attempts for row in record] == [1, 2, 1, 2, 1]
    assert node.last_run.status == "ok"
    assert [(path, place) for path, place, _ in node.last_run.failures] == [
        (node.last_run.visits[0].path, 1),
        (node.last_run.visits[0].path, 3),
    ]


@pytest.mark.parametrize("mode", MODES)
def test_keep_none_as_a_result(mode):
    """A None that ``exec`` returned is no failure."""
    node = items_node(mode, lambda node, item: None, on_error="keep")
    go(mode, node, {"items": [0, 1]})
    assert statuses(node) == ["ok", "ok"]


@pytest.mark.parametrize("mode", MODES)
def test_all_items_failed(mode):
    """Nothing to go on with is a failure, with the first error as its cause."""

    def work(node, item):
        raise LookupError(f"no item {item}")

    node = items_node(mode, work, on_error="keep", name="Map")
    with pytest.raises(
        AllFailedError, match=r"Map: all 3 items failed, the first with LookupError: no item \d"
    ) as caught:
        go(mode, node, {"items": [0, 1, 2]})
    assert isinstance(caught.value.__cause__, LookupError)
    assert statuses(node) == ["failed"] * 3
    assert node.last_run.visits[0].status == "failed"


@pytest.mark.parametrize("mode", MODES)
def test_no_items_is_no_failure(mode):
    """An empty batch is no failure."""
    shared = {"items": []}
    go(mode, items_node(mode, lambda node, item: item, on_error="keep"), shared)
    assert shared["results"] == []


@pytest.mark.parametrize("mode", MODES)
def test_keep_does_not_keep_a_broken_iterable(mode):
    """An iterable that raises is no failure of an item: it ends the batch."""

    def items():
        yield 0
        raise OSError("disk gone")

    node = items_node(mode, lambda node, item: item, on_error="keep")
    with pytest.raises(OSError, match="disk gone"):
        go(mode, node, {"items": items()})
    assert statuses(node) == ["ok"]


# --- param sets ------------------------------------------------------------------------------------------------------


class Sets(BatchFlow):
    """Walks once for each of ``shared["sets"]``, leaving the walks' results in ``shared["results"]``."""

    def prep(self, shared):
        return shared["sets"]

    def post(self, shared, prep_res, exec_res):
        shared["results"] = exec_res


def leaf(hook, broken, is_async=False):
    """A node that returns ``params["n"] * 10``, and whose ``hook`` fails for the param sets in ``broken``."""

    def check(node):
        if node.params["n"] in broken:
            raise LookupError(f"{hook} of {node.params['n']}")

    class Leaf(Node):
        def prep(self, shared):
            if hook == "prep":
                check(self)

        def exec(self, prep_res):
            if hook == "exec":
                check(self)
            return self.params["n"] * 10

        def post(self, shared, prep_res, exec_res):
            if hook == "post":
                check(self)

    class AsyncLeaf(Leaf):
        async def prep(self, shared):
            super().prep(shared)

        async def exec(self, prep_res):
            return super().exec(prep_res)

        async def post(self, shared, prep_res, exec_res):
            super().post(shared, prep_res, exec_res)

    return (AsyncLeaf if is_async else Leaf)(name="Leaf")


def sets(*numbers):
    return {"sets": [{"n": number} for number in numbers]}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_keep_param_sets(hook, concurrency, is_async):
    """Failed param sets are None in the list, their rows say why and where, and the rest goes on."""
    flow = Sets(Node() >> leaf(hook, {1}, is_async), max_concurrency=concurrency, on_error="keep", name="All")
    shared = sets(0, 1, 2, 3)
    flow.run(shared)

    assert shared["results"] == [0, None, 20, 30]
    rows = list(flow.last_run.batch(flow))
    assert [row.status for row in rows] == ["ok", "failed", "ok", "ok"]
    assert [row.failed_at for row in rows] == [None, "All/Leaf", None, None]
    assert str(rows[1].error) == f"{hook} of 1"
    assert flow.last_run.status == "ok"
    visits = [(visit.node, visit.params["n"], visit.status) for visit in flow.last_run.visits if visit.node == "Leaf"]
    assert sorted(visits) == [("Leaf", n, "failed" if n == 1 else "ok") for n in range(4)]


@pytest.mark.parametrize("concurrency", [1, 3])
def test_all_param_sets_failed(concurrency):
    """A batch flow of which not one param set came through is a failure."""
    flow = Sets(leaf("exec", {0, 1}), max_concurrency=concurrency, on_error="keep", name="All")
    with pytest.raises(AllFailedError, match=r"All: all 2 param sets failed, the first with LookupError: exec of"):
        flow.run(sets(0, 1))
    assert statuses(flow) == ["failed", "failed"]


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_raise_stops_the_param_sets(hook, concurrency):
    """With "raise" the first failure goes up as it is; sets that were not begun are pending."""
    flow = Sets(leaf(hook, {0}), max_concurrency=concurrency, name="All")
    with pytest.raises(LookupError, match=f"{hook} of 0") as caught:
        flow.run(sets(*range(9)))

    assert caught.type is LookupError
    (note,) = caught.value.__notes__
    assert note.startswith("in All > Leaf")
    rows = list(flow.last_run.batch(flow))
    assert len(rows) == 9
    assert (rows[0].status, rows[0].failed_at) == ("failed", "All/Leaf")
    assert {row.status for row in rows[concurrency:]} == {"pending"}


def test_sets_in_flight_are_stopped_between_nodes():
    """When a param set fails, the others finish the calls that they are in, and begin no further one."""
    failed = When("call_finished", "failed")
    started = []

    class First(Node):
        def exec(self, prep_res):
            started.append(("first", self.params["n"]))
            if self.params["n"] == 0:
                raise LookupError("of 0")
            failed.signal.wait()

    class Second(Node):
        def exec(self, prep_res):
            started.append(("second", self.params["n"]))

    first = First()
    first >> Second()
    flow = Sets(first, max_concurrency=2)
    with pytest.raises(LookupError, match="of 0"):
        flow.run(sets(0, 1, 2), subscribers=[failed])

    assert sorted(started) == [("first", 0), ("first", 1)]
    assert statuses(flow) == ["failed", "cancelled", "pending"]
    assert sorted((visit.params["n"], visit.status) for visit in flow.last_run.visits if visit.node == "First") in (
        [(0, "failed"), (1, "ok")],
        [(0, "failed"), (1, "cancelled")],
    )


@pytest.mark.parametrize("is_async", [False, True])
def test_no_attempt_after_a_failure(is_async):
    """A call that waits for its next attempt, or fails after another one did, is not tried again."""
    attempts = []
    tried, failed = When("attempt_finished", "failed"), When("call_finished", "failed")

    class Route(Node):
        def post(self, shared, prep_res, exec_res):
            return self.params["to"]

    class Step(Node):
        waits_for = None

        def exec(self, prep_res):
            attempts.append(self.name)
            if self.waits_for is not None:
                self.waits_for.wait()
            raise LookupError(self.name)

    class AsyncStep(Step):
        async def exec(self, prep_res):
            attempts.append(self.name)
            if self.waits_for is not None:
                await self.waits_for.seen()
            raise LookupError(self.name)

    step = AsyncStep if is_async else Step
    route, flaky, late, fails = Route(), step(2, 3600, name="flaky"), step(2, name="late"), step(name="fails")
    late.waits_for, fails.waits_for = failed.signal, tried.signal
    for node in (flaky, late, fails):
        route - node.name >> node
    flow = Sets(route, max_concurrency=3, name="All")
    with pytest.raises(LookupError, match="fails"):
        flow.run({"sets": [{"to": "flaky"}, {"to": "late"}, {"to": "fails"}]}, subscribers=[tried, failed])

    assert sorted(attempts) == ["fails", "flaky", "late"]
    rows = list(flow.last_run.batch(flow))
    assert rows[0].status == "cancelled"
    assert rows[1].status in ("cancelled", "failed")
    assert (rows[2].status, rows[2].failed_at) == ("failed", "All/fails")


@pytest.mark.parametrize("concurrency", [1, 2])
def test_failed_at_names_the_innermost_node(concurrency):
    """However deep the nesting, and side by side or not, ``failed_at`` is the path of the node that failed."""

    class Inner(BatchFlow):
        def prep(self, shared):
            return [{"m": 0}, {"m": 1}]

    class Leaf(Node):
        def exec(self, prep_res):
            if (self.params["n"], self.params["m"]) == (1, 1):
                raise LookupError("1, 1")

    inner = Inner(Leaf(), max_concurrency=concurrency)
    flow = Sets(Flow(inner, name="Step"), max_concurrency=concurrency, on_error="keep", name="Outer")
    flow.run(sets(0, 1, 2))

    assert [row.failed_at for row in flow.last_run.batch("Outer")] == [None, "Outer/Step/Inner/Leaf", None]
    inner_rows = [(row.params["n"], row.item["m"], row.status) for row in flow.last_run.batch("Inner")]
    assert (1, 1, "failed") in inner_rows
    assert len(inner_rows) == 6


@pytest.mark.parametrize("concurrency", [1, 2])
def test_nested_keep(concurrency):
    """A failure is kept by the innermost batch flow that keeps, and the outer ones see nothing of it."""

    class Inner(BatchFlow):
        def prep(self, shared):
            return [{"m": 0}, {"m": 1}]

        def post(self, shared, prep_res, exec_res):
            shared["inner"].append(exec_res)

    class Leaf(Node):
        def exec(self, prep_res):
            if self.params["m"] == 1:
                raise LookupError
            return self.params["n"]

    shared = {**sets(0, 1), "inner": []}
    inner = Inner(Leaf(), max_concurrency=concurrency, on_error="keep")
    flow = Sets(inner, max_concurrency=concurrency)
    flow.run(shared)

    assert sorted(shared["inner"]) == [[0, None], [1, None]]
    assert statuses(flow) == ["ok", "ok"]
    assert [row.status for row in flow.last_run.batch("Inner")] == ["ok", "failed"] * 2


@pytest.mark.parametrize("concurrency", [1, 2])
def test_all_failed_inside_keep(concurrency):
    """That all of an inner batch failed is a failure like any other, which the outer one keeps."""

    class Inner(BatchNode):
        def prep(self, shared):
            return [1, 2]

        def exec(self, item):
            if self.params["n"] == 0:
                raise LookupError
            return item

    flow = Sets(Inner(on_error="keep"), max_concurrency=concurrency, on_error="keep", name="All")
    flow.run(shared := sets(0, 1))

    assert shared["results"] == [None, [1, 2]]
    failed = next(iter(flow.last_run.batch(flow)))
    assert isinstance(failed.error, AllFailedError)
    assert failed.failed_at == "All/Inner"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_generator_of_param_sets_that_raises(concurrency):
    """Param sets that come from a generator which raises end the flow, kept failures or not."""

    def numbers():
        yield {"n": 0}
        yield {"n": 1}
        raise OSError("disk gone")

    flow = Sets(leaf("exec", {1}), max_concurrency=concurrency, on_error="keep")
    with pytest.raises(OSError, match="disk gone"):
        flow.run({"sets": numbers()})
    assert statuses(flow)[:1] == ["ok"]
    assert len(statuses(flow)) == 2
    assert flow.last_run.visits[-1].status == "failed"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_param_set_that_is_no_dict(concurrency):
    """A param set that is no dict fails by itself, at the batch flow."""
    flow = Sets(leaf("exec", ()), max_concurrency=concurrency, on_error="keep", name="All")
    flow.run(shared := {"sets": [{"n": 0}, 3, {"n": 2}]})

    assert shared["results"] == [0, None, 20]
    row = list(flow.last_run.batch(flow))[1]
    assert isinstance(row.error, HookReturnError)
    assert (row.status, row.failed_at) == ("failed", "All")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("on_error", ["raise", "keep"])
def test_exec_of_a_batch_flow_that_fails(on_error, concurrency, is_async):
    """A failing ``exec`` of a batch flow fails its param set, which is not walked then."""
    walked = []

    class Leaf(Node):
        def prep(self, shared):
            walked.append(self.params["n"])

    class Plain(Sets):
        def exec(self, element):
            if element["n"] == 0:
                raise LookupError("of 0")
            return {"more": 1}

    class Async(Sets):
        async def exec(self, element):
            return Plain.exec(self, element)

    flow = (Async if is_async else Plain)(Leaf(), max_concurrency=concurrency, on_error=on_error, name="All")
    if on_error == "keep":
        flow.run(sets(0, 1))
        assert walked == [1]
        assert statuses(flow) == ["failed", "ok"]
    else:
        with pytest.raises(LookupError, match="of 0"):
            flow.run(sets(0, 1))
        assert walked == []
        assert statuses(flow)[0] == "failed"
    row = next(iter(flow.last_run.batch(flow)))
    assert isinstance(row.error, LookupError)
    assert row.failed_at == "All"


# --- nested flows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_every_visit_is_recorded(hook, is_async):
    """A failing hook closes the visit that it belongs to and the flows around it as failed; earlier visits stay ok."""
    before = Node(name="Before")
    before >> leaf(hook, {7}, is_async)
    inner = Flow(before, name="Inner")
    start = Node(name="Start")
    start >> inner
    flow = Flow(start, name="Outer")
    flow.set_params({"n": 7})
    with pytest.raises(LookupError, match=f"{hook} of 7"):
        flow.run({})

    assert [(visit.path, visit.status) for visit in flow.last_run.visits] == [
        ("Outer/Start", "ok"),
        ("Outer/Inner/Before", "ok"),
        ("Outer/Inner/Leaf", "failed"),
        ("Outer/Inner", "failed"),
        ("Outer", "failed"),
    ]
    assert all((visit.error is None) == (visit.status == "ok") for visit in flow.last_run.visits)
    assert all(visit.seconds >= 0 and visit.exec_s >= 0 for visit in flow.last_run.visits)


@pytest.mark.parametrize("hook", ["prep", "post"])
def test_failing_hook_of_a_flow(hook):
    """A failing hook of a nested flow itself is the flow's failure."""

    def fail(self, *args):
        raise LookupError(hook)

    class Inner(Flow):
        pass

    if hook == "prep":
        Inner.prep = lambda self, shared: fail(self)
    else:
        Inner.post = lambda self, shared, prep_res, exec_res: fail(self)
    flow = Flow(Inner(Node(name="Leaf")), name="Outer")
    with pytest.raises(LookupError, match=hook) as caught:
        flow.run({})

    walked = [("Outer/Inner/Leaf", "ok")] if hook == "post" else []
    rows = [(visit.path, visit.status) for visit in flow.last_run.visits]
    assert rows == [*walked, ("Outer/Inner", "failed"), ("Outer", "failed")]
    assert caught.value.__notes__ == [f"in Outer > Inner; completed results are in .last_run{GO_ON}"]


def test_error_of_an_earlier_run_gets_no_second_note():
    """An exception that a run let through and an outer run lets through too says where for each of them, once."""

    class Leaf(Node):
        def exec(self, prep_res):
            raise LookupError

    class Outer(Node):
        def exec(self, prep_res):
            Leaf().run({})

    with pytest.raises(LookupError) as caught:
        Outer().run({})
    assert [note.partition(";")[0] for note in caught.value.__notes__] == ["in Leaf", "in Outer"]


def test_record_of_a_failed_run():
    """The record of a failed run holds the error and everything that failed, the cause first."""
    batch = Items(name="Map")
    batch.exec = lambda item: 1 // item
    flow = Flow(batch, name="Outer")
    with pytest.raises(ZeroDivisionError):
        flow.run({"items": [1, 0, 2]})

    run = flow.last_run
    assert run.status == "failed"
    assert isinstance(run.error, ZeroDivisionError)
    assert [(path, place) for path, place, _ in run.failures] == [
        ("Outer/Map", 1),
        ("Outer/Map", None),
        ("Outer", None),
    ]
