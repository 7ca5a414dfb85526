"""`submit`: runs in the background, and what they are followed, awaited and stopped by."""

import asyncio
import gc
import inspect
import itertools
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from multiprocessing import get_context

import pytest

from llmflow_nb import (
    BatchFlow,
    Flow,
    FlowWarning,
    Limiter,
    Node,
    RunStateError,
    SettingError,
    StoppedError,
    WiringError,
)
from llmflow_nb.engine.limiter import Ticket
from tests.engine.helpers import PATIENCE, Items, Signal, Square, When, items_node, statuses

WAYS = ["inline", "threads", "tasks"]  # of making the calls; in the background, "inline" is one thread beside


async def outcome(handle):
    return await asyncio.wait_for(handle, PATIENCE)


def ask_to_stop(handle):
    """Cancel whoever awaits a run, which asks it to stop and waits less than a second for its end."""

    async def main():
        waiting = asyncio.ensure_future(outcome(handle))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())


def calls_are_over():
    """Wait until no thread is left that could make a call."""
    for thread in threading.enumerate():
        if thread.name.startswith("llmflow_nb-call"):
            thread.join(PATIENCE)
            assert not thread.is_alive(), f"{thread.name} goes on"


def is_free(limiter, size=1):
    tickets = [limiter.request(Ticket(lambda: None)) for _ in range(size)]
    free = all(limiter.seconds_left(ticket) == 0 for ticket in tickets)
    for ticket in tickets:
        limiter.give_back(ticket)
    return free


class Gate:
    """Work for `items_node`: items from the third on say that they began, and do not end before the release."""

    def __init__(self, way):
        self.way = way
        self.began, self.cancelled = [], []
        self.release = Signal()
        self.blocked = [Signal() for _ in range(8)]

    def __call__(self, node, item):
        self.began.append(item)
        if item < 2:
            return item * 10
        if self.way == "tasks":
            return self.for_ever(item)
        self.blocked[item - 2].set()
        self.release.wait()
        return item * 10

    async def for_ever(self, item):
        self.blocked[item - 2].set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise

    def wait(self, count):
        for signal in self.blocked[:count]:
            signal.wait()


def blocked_run(way, width, **settings):
    """A run over ten items that blocks in ``width`` of them: the handle, the node and the gate."""
    gate = Gate(way)
    node = items_node(way, gate, max_concurrency=width, **settings)
    handle = node.submit({"items": list(range(10))})
    gate.wait(width)
    return handle, node, gate


# --- going on --------------------------------------------------------------------------------------------------------


def test_returns_at_once_with_the_record():
    """Nothing of a flow has to end before ``submit`` returns, and ``.run`` is its record from the start on."""
    release = Signal()

    class Slow(Node):
        def prep(self, shared):
            release.wait()

        def post(self, shared, prep_res, exec_res):
            return "done"

    flow = Flow(Slow())
    handle = flow.submit({})
    assert handle.run is flow.last_run
    assert (handle.run.status, handle.run.visits, handle.done) == ("running", [], False)
    assert handle.wait(0) is False
    assert repr(handle) == "<Submitted running: 0 visits, 0 calls>"

    release.set()
    assert handle.wait(PATIENCE) is True
    assert handle.done
    assert handle.run is flow.last_run
    assert (handle.run.status, handle.run.action, handle.run.visit_count) == ("ok", "done", 2)


@pytest.mark.parametrize("way", WAYS)
def test_the_table_grows_while_it_goes_on(way):
    """The rows of a run can be read before it ends; they cannot be called again before."""
    handle, node, gate = blocked_run(way, 1)
    batch = handle.run.batch(node)
    assert batch.results == [0, 10] + 8 * [None]
    assert [row.status for row in batch] == ["ok", "ok"] + 8 * ["pending"]
    with pytest.raises(RunStateError, match="is still running; wait for it or stop it, then retry"):
        batch.retry()
    assert handle.stop()
    gate.release.set()
    calls_are_over()


def test_hooks_see_the_callers_context():
    """A context variable has the value in every hook that it had where ``submit`` was called."""
    variable = ContextVar("variable")
    seen = []

    class Look(Items):
        def prep(self, shared):
            seen.append(variable.get())
            return [1, 2]

        def exec(self, item):
            seen.append(variable.get())

    class LookAsync(Look):
        async def prep(self, shared):
            seen.append(variable.get())
            return [1, 2]

        async def exec(self, item):
            seen.append(variable.get())

    variable.set("here")
    first = Look(max_concurrency=2)
    first >> LookAsync()
    handle = Flow(first).submit({})
    variable.set("elsewhere")
    assert handle.wait(PATIENCE)
    assert seen == ["here"] * 6


def test_plain_hooks_run_one_at_a_time_in_one_thread():
    """Plain ``prep`` and ``post`` of param sets side by side run in one thread of their own, and ``exec`` in others."""
    hooks, calls, inside = set(), set(), []
    together = threading.Barrier(4, timeout=PATIENCE)

    class Step(Node):
        def prep(self, shared):
            return self.hook()

        def exec(self, prep_res):
            calls.add(threading.get_ident())
            together.wait()

        def post(self, shared, prep_res, exec_res):
            return self.hook()

        def hook(self):
            inside.append(self)
            hooks.add(threading.get_ident())
            threading.Event().wait(0.001)  # let another thread come in, if there were one
            assert inside.pop() is self
            assert not inside

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(8)]

    handle = Sets(Step(), max_concurrency=4).submit({})
    assert handle.wait(PATIENCE)
    assert handle.run.status == "ok"
    assert len(hooks) == 1
    assert len(calls) >= 4
    assert not hooks & calls
    assert threading.get_ident() not in hooks | calls


@pytest.mark.parametrize("way", WAYS)
def test_batch_flow_side_by_side(way):
    """A batch flow with ``max_concurrency`` runs in the background as it does in the foreground."""
    together = threading.Barrier(4, timeout=PATIENCE)

    class Work(Node):
        def exec(self, prep_res):
            if way == "threads":
                together.wait()
            return self.params["n"] * 10

    class WorkAsync(Node):
        async def exec(self, prep_res):
            await asyncio.to_thread(together.wait)
            return self.params["n"] * 10

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(8)]

        def post(self, shared, prep_res, exec_res):
            shared["results"] = exec_res
            return "done"

    shared = {}
    flow = Sets((WorkAsync if way == "tasks" else Work)(), max_concurrency=1 if way == "inline" else 4)
    handle = flow.submit(shared)
    assert handle.wait(PATIENCE)
    assert (handle.run.status, handle.run.action) == ("ok", "done")
    assert shared["results"] == [n * 10 for n in range(8)]
    assert statuses(flow) == ["ok"] * 8


def test_executor():
    """The calls of a submitted run are made in the executor that it is given."""
    names = []

    def work(node, item):
        names.append(threading.current_thread().name)
        return item

    shared = {"items": [1, 2, 3]}
    with ThreadPoolExecutor(2, thread_name_prefix="pool") as executor:
        handle = items_node("threads", work).submit(shared, executor=executor)
        assert handle.wait(PATIENCE)
    assert shared["results"] == [1, 2, 3]
    assert len(names) == 3
    assert all(name.startswith("pool") for name in names)


def test_process_pool():
    """It may be an executor of processes."""
    shared = {"items": [2, 3]}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        handle = Square(max_concurrency=2).submit(shared, executor=executor)
        assert handle.wait(3 * PATIENCE)
    assert shared["results"] == [4, 9]


# --- awaiting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_await_gives_the_last_action(way):
    """Awaiting a run gives what ``run`` would have returned: again afterwards too, and to several who await it."""
    release = Signal()

    class Last(Node):
        def post(self, shared, prep_res, exec_res):
            return "done"

    first = items_node(way, lambda node, item: release.wait_in(way))
    first >> Last()

    async def main():
        handle = Flow(first).submit({"items": [1]})
        waiting = [asyncio.ensure_future(outcome(handle)) for _ in range(3)]
        await asyncio.sleep(0)
        release.set()  # the event loop is not blocked by those who wait
        assert await asyncio.gather(*waiting) == ["done"] * 3
        assert await handle == "done"
        return handle

    handle = asyncio.run(main())
    assert asyncio.run(outcome(handle)) == "done"  # also on another loop


@pytest.mark.parametrize("way", WAYS)
def test_await_raises_the_users_error(way):
    """Awaiting a run that failed raises what the user's hook raised, as often as it is awaited; ``wait`` does not."""
    error = LookupError("no such item")

    def work(node, item):
        raise error

    handle = items_node(way, work).submit({"items": [1]})
    for _ in range(2):
        with pytest.raises(LookupError, match="no such item") as caught:
            asyncio.run(outcome(handle))
        assert type(caught.value) is LookupError
    assert handle.wait(PATIENCE)
    assert (handle.run.status, handle.run.error.args) == ("failed", error.args)


@pytest.mark.parametrize("hook", ["prep", "post"])
def test_await_raises_what_a_plain_hook_raised(hook):
    """So it does for an error of ``prep`` or ``post``."""

    class Broken(Node):
        pass

    def broken(self, *args):
        raise LookupError(hook)

    setattr(Broken, hook, broken)
    with pytest.raises(LookupError, match=hook):
        asyncio.run(outcome(Broken().submit({})))


@pytest.mark.parametrize("way", WAYS)
def test_await_of_a_stopped_run(way):
    """Awaiting a run that is stopped raises `StoppedError`, which says where to look: during the stop, and after it."""
    handle, node, gate = blocked_run(way, 1)

    async def main():
        waiting = asyncio.ensure_future(outcome(handle))
        await asyncio.sleep(0)
        assert await asyncio.to_thread(handle.stop)
        with pytest.raises(StoppedError, match=rf"the run of {node.name or type(node).__name__} was stopped; .* \.run"):
            await waiting
        with pytest.raises(StoppedError, match="was stopped"):
            await handle

    asyncio.run(main())
    gate.release.set()
    calls_are_over()


@pytest.mark.parametrize("way", WAYS)
def test_cancel_of_who_awaits_stops_the_run(way):
    """When the task that awaits a run is cancelled, the run is stopped, and nothing is called any more."""
    handle, node, gate = blocked_run(way, 1)
    ask_to_stop(handle)
    assert handle.wait(PATIENCE)
    assert handle.run.status == "stopped"
    gate.release.set()
    calls_are_over()
    assert gate.began == [0, 1, 2]
    assert statuses(node) == ["ok", "ok", "cancelled"] + 7 * ["pending"]


# --- errors at once --------------------------------------------------------------------------------------------------


def test_flow_without_start():
    """A flow that cannot run is refused by ``submit`` itself, and leaves no record."""
    flow = Flow()
    with pytest.raises(WiringError, match="no start"):
        flow.submit({})
    assert flow.last_run is None


def test_nonsense_for_arguments():
    """What is no executor, and what is no way to show progress, are refused by ``submit`` itself."""
    node = Node()
    with pytest.raises(SettingError, match=r"has no submit\(\); pass a concurrent.futures.Executor"):
        node.submit({}, executor=3)
    with pytest.raises(SettingError, match="progress"):
        node.submit({}, progress="sometimes")
    assert node.last_run is None


def test_node_with_successors():
    """A node that is submitted warns, where it is submitted, that its successors will not run."""
    node = Node()
    node >> Node()
    with pytest.warns(FlowWarning, match="won't run successors"):
        handle = node.submit({})
    assert handle.wait(PATIENCE)


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("settings", [{}, {"timeout": 3600}, {"limiter": True}], ids=["plain", "timeout", "limiter"])
def test_blocking_calls_are_left_to_end(width, settings):
    """Stopping does not wait for blocking calls: they are counted, what they return is dropped, and none follows."""
    limiter = Limiter(width)
    settings = {"limiter": limiter} if "limiter" in settings else settings
    handle, node, gate = blocked_run("threads", width, **settings)
    assert handle.stop() is True
    expected = ["ok", "ok"] + width * ["cancelled"] + (8 - width) * ["pending"]
    assert handle.done
    assert (handle.run.status, type(handle.run.error)) == ("stopped", StoppedError)
    assert handle.run.abandoned == width
    assert statuses(node) == expected
    assert is_free(limiter) == (not settings.get("limiter")), "a call that goes on uses the model all the same"

    gate.release.set()
    calls_are_over()
    assert sorted(gate.began) == list(range(2 + width))
    assert statuses(node) == expected
    assert handle.run.batch(node).results == [0, 10] + 8 * [None]
    assert handle.run.abandoned == width
    assert is_free(limiter, width)


def test_single_blocking_call():
    """So it is for the one call of a plain node in a flow; its visit is cancelled, and the next node is not visited."""
    begun, release = Signal(), Signal()
    late = []

    class Slow(Node):
        def exec(self, prep_res):
            begun.set()
            release.wait()
            return "late"

        def post(self, shared, prep_res, exec_res):
            late.append(exec_res)

    class After(Node):
        def prep(self, shared):
            late.append("after")

    slow = Slow()
    slow >> After()
    handle = Flow(slow).submit({})
    begun.wait()
    assert handle.stop()
    release.set()
    calls_are_over()
    assert late == []
    assert [(visit.node, visit.status) for visit in handle.run.visits] == [("Slow", "cancelled"), ("Flow", "cancelled")]
    assert (handle.run.abandoned, handle.run.action) == (1, None)


@pytest.mark.parametrize("width", [1, 3])
def test_tasks_are_cancelled(width):
    """Stopping cancels async calls, which have cleaned up when it returns; none is abandoned."""
    handle, node, gate = blocked_run("tasks", width)
    assert handle.stop()
    assert sorted(gate.cancelled) == list(range(2, 2 + width))
    assert handle.run.abandoned == 0
    assert statuses(node) == ["ok", "ok"] + width * ["cancelled"] + (8 - width) * ["pending"]
    assert sorted(gate.began) == list(range(2 + width))


@pytest.mark.parametrize("hook", ["prep", "post"])
def test_awaited_hook_is_cancelled(hook):
    """Stopping cancels a ``prep`` or ``post`` that is awaited, and the visit with it."""
    begun, cancelled, after = Signal(), Signal(), []

    class Waiting(Node):
        pass

    async def for_ever(self, *args):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    class After(Node):
        def prep(self, shared):
            after.append("prep")

    setattr(Waiting, hook, for_ever)
    waiting = Waiting()
    waiting >> After()
    handle = Flow(waiting).submit({})
    begun.wait()
    assert handle.stop()
    cancelled.wait()
    assert after == []
    assert handle.run.status == "stopped"
    assert [visit.status for visit in handle.run.visits] == ["cancelled", "cancelled"]


def test_a_second_stop_while_a_hook_cleans_up():
    """A hook that is cancelled has a moment to clean up, also where the stop is asked for again meanwhile."""
    begun, done = Signal(), []

    class Cleaning(Node):
        async def prep(self, shared):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                again = asyncio.ensure_future(outcome(handle))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                again.cancel()  # which asks for a stop, and waits for the end of the run
                for _ in range(1000):  # rounds of the loop in which the run could end
                    await asyncio.sleep(0)
                done.append("cleaned up too late" if handle.done else "cleaned up")

    handle = Flow(Cleaning()).submit({})
    begun.wait()
    assert handle.stop()
    assert done == ["cleaned up"]
    assert handle.run.status == "stopped"


def test_next_item_that_is_awaited():
    """Stopping cancels the wait for the next item of an async generator; what came of earlier items is kept."""
    begun, closed = Signal(), Signal()

    async def items():
        try:
            yield 1
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    node = items_node("threads", lambda node, item: item * 10)
    handle = node.submit({"items": items()})
    begun.wait()
    assert handle.stop()
    closed.wait()
    assert handle.run.status == "stopped"
    assert [(row.item, row.result) for row in handle.run.batch(node)] == [(1, 10)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bound", [{"max_concurrency": 1}, {"per_minute": 1}], ids=str)
def test_stop_while_waiting_for_a_limiter(way, bound):
    """Calls that wait for a limiter are not made any more once the run is stopped, and leave its queue."""
    calls, asked = [], When("call_started")
    limiter = Limiter(**bound, clock=lambda: 0.0)
    taken = limiter.request(Ticket(lambda: None))
    assert limiter.seconds_left(taken) == 0
    node = items_node(way, lambda node, item: calls.append(item), limiter=limiter)
    handle = node.submit({"items": [1]}, subscribers=[asked])
    asked.signal.wait()
    assert handle.stop()
    assert statuses(node) == ["cancelled"]
    assert handle.run._recorder.limited == {}

    limiter.give_back(taken)
    calls_are_over()
    assert calls == []
    assert limiter.seconds_left(limiter.request(Ticket(lambda: None))) == (0 if "max_concurrency" in bound else 60)


@pytest.mark.parametrize("way", WAYS)
def test_stop_while_waiting_for_the_next_attempt(way):
    """A call that waits for its next attempt is cancelled; its row tells the attempt that was made, and its error."""
    failed = When("attempt_finished", "failed")
    calls = []

    def work(node, item):
        calls.append(item)
        raise LookupError("busy")

    node = items_node(way, work, max_retries=2, wait=3600)
    handle = node.submit({"items": [7]}, subscribers=[failed])
    failed.signal.wait()
    assert handle.stop()
    (row,) = handle.run.batch(node)
    assert (row.status, row.attempts, repr(row.error)) == ("cancelled", 1, "LookupError('busy')")
    assert calls == [7]


def test_stop_before_the_first_call():
    """A ``prep`` that blocks can hold up a stop, which says so; when it ends, the run does, and nothing is called."""
    begun, release, calls = Signal(), Signal(), []

    class Slow(Items):
        def prep(self, shared):
            begun.set()
            release.wait()
            return [1, 2]

        def exec(self, item):
            calls.append("exec")

        def post(self, shared, prep_res, exec_res):
            calls.append("post")

    node = Slow()
    handle = node.submit({})
    begun.wait()
    assert handle.stop() is False
    assert not handle.done
    release.set()
    assert handle.wait(PATIENCE)
    calls_are_over()
    assert handle.run.status == "stopped"
    assert calls == []
    assert handle.stop() is True


def test_stop_while_others_wait_for_their_turn():
    """Where a stop finds several param sets whose ``exec`` has ended, no ``post`` follows the one that is going on."""
    together, posts = threading.Barrier(3, timeout=PATIENCE), []
    begun, release = Signal(), Signal()

    class Step(Node):
        def exec(self, prep_res):
            together.wait()
            return self.params["n"] * 10

        def post(self, shared, prep_res, exec_res):
            posts.append(self.params["n"])
            begun.set()
            release.wait()

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(3)]

    flow = Sets(Step(), max_concurrency=3)
    handle = flow.submit({})
    begun.wait()
    ask_to_stop(handle)
    release.set()
    assert handle.wait(PATIENCE)
    assert handle.run.status == "stopped"
    assert len(posts) == 1
    assert set(statuses(flow)) <= {"ok", "cancelled"}


def test_a_task_that_answers_its_cancellation():
    """A task that answers, within a moment, while it is being cancelled by a stop has its answer in its row."""
    begun = Signal()

    async def answer():
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "in time"

    node = items_node("tasks", lambda node, item: answer())
    handle = node.submit({"items": [1]})
    begun.wait()
    assert handle.stop()
    assert [(row.status, row.result) for row in handle.run.batch(node)] == [("ok", "in time")]
    assert handle.run.status == "stopped"


@pytest.mark.parametrize("way", WAYS)
def test_stop_twice(way):
    """Stopping again, from several threads at once, is the same as stopping once."""
    handle, node, gate = blocked_run(way, 1)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: handle.stop(), range(8))) == [True] * 8
    assert handle.stop()
    assert handle.run.status == "stopped"
    assert handle.run.abandoned == (way != "tasks")
    gate.release.set()
    calls_are_over()
    assert statuses(node) == ["ok", "ok", "cancelled"] + 7 * ["pending"]


@pytest.mark.parametrize("way", WAYS)
def test_stop_after_the_end(way):
    """Stopping a run that has ended changes nothing."""
    shared = {"items": [1, 2]}
    handle = items_node(way, lambda node, item: item * 10).submit(shared)
    assert handle.wait(PATIENCE)
    assert handle.stop() is True
    assert (handle.run.status, handle.run.error) == ("ok", None)
    assert asyncio.run(outcome(handle)) is None
    assert shared["results"] == [10, 20]


def test_stop_while_a_failure_waits_for_calls_in_flight():
    """A run that has failed already, and lets calls in flight end, is stopped at once; the failed row stays failed."""
    failed, begun, release = When("call_finished", "failed"), Signal(), Signal()

    def work(node, item):
        if item == 0:
            begun.wait()
            raise LookupError("no such item")
        begun.set()
        release.wait()

    node = items_node("threads", work, max_concurrency=2)
    node.grace = 3600
    handle = node.submit({"items": [0, 1, 2]}, subscribers=[failed])
    failed.signal.wait()
    assert handle.stop()
    assert statuses(node) == ["failed", "cancelled", "pending"]
    assert handle.run.status == "stopped"
    release.set()
    calls_are_over()


def test_stop_with_an_executor():
    """Calls that wait in a user's executor are taken back by a stop, and those that it makes are left to end."""
    gate = Gate("threads")
    node = items_node("threads", gate, max_concurrency=4)
    with ThreadPoolExecutor(1) as executor:
        handle = node.submit({"items": list(range(10))}, executor=executor)
        gate.wait(1)
        assert handle.stop()
        assert handle.run.abandoned == 1
        gate.release.set()
    assert gate.began == [0, 1, 2]
    assert statuses(node)[:3] == ["ok", "ok", "cancelled"]
    assert set(statuses(node)[3:]) <= {"cancelled", "pending"}
    assert handle.run.batch(node).results == [0, 10] + 8 * [None]


@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_stop_of_param_sets_side_by_side(way):
    """A batch flow that is stopped keeps the param sets that were finished, and can be gone on with."""
    gate = Gate(way)

    class Work(Node):
        def exec(self, prep_res):
            return gate(self, self.params["n"])

    class WorkAsync(Node):
        async def exec(self, prep_res):
            value = gate(self, self.params["n"])
            return await value if asyncio.iscoroutine(value) else value

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(6)]

    flow = Sets((Work if way == "threads" else WorkAsync)(name="Work"), max_concurrency=3)
    handle = flow.submit({})
    gate.wait(3)
    assert handle.stop()
    gate.release.set()
    calls_are_over()
    assert statuses(flow) == ["ok", "ok"] + 3 * ["cancelled"] + ["pending"]
    assert sorted(gate.began) == [0, 1, 2, 3, 4]

    gate.way = "threads"
    handle.run.batch(flow).retry()
    assert handle.run.batch(flow).results == [0, 10, 20, 30, 40, 50]
    assert statuses(flow) == ["ok"] * 6


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [list, tuple], ids=["list", "tuple"])
def test_retry_after_a_stop(way, kind):
    """After a stop, ``retry`` calls the rows without a result, and only those, and completes the batch."""
    gate = Gate(way)
    node = items_node(way, gate, max_concurrency=1 if way == "inline" else 3)
    handle = node.submit({"items": kind(range(10))})
    gate.wait(node.max_concurrency)
    assert handle.stop()
    gate.release.set()
    calls_are_over()
    first = sorted(gate.began)

    del gate.began[:]
    gate.way = "threads"  # those that awaited for ever may answer now
    handle.run.batch(node).retry()
    assert handle.run.batch(node).results == [item * 10 for item in range(10)]
    assert statuses(node) == ["ok"] * 10
    assert sorted(gate.began) == list(range(2, 10))
    assert [row.attempts for row in handle.run.batch(node)] == [1 + (row in first[2:]) for row in range(10)]
    assert handle.run.status == "stopped"


# --- two at a time ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ways", [("threads", "threads"), ("threads", "tasks"), ("tasks", "tasks")], ids=" and ".join)
def test_two_runs_share_a_limiter(ways):
    """Two submitted runs stay within the limiter that they share, and both use it."""
    lock, now, most = threading.Lock(), [], []
    full = Signal()

    def work(node, item):
        with lock:
            now.append(item)
            most.append(len(now))
            if len(now) == 3:
                full.set()
        return task(item) if "Awaited" in type(node).__name__ else leave(full.wait(), item)

    async def task(item):
        return leave(await full.seen(), item)

    def leave(_, item):
        with lock:
            now.remove(item)
        return item

    limiter = Limiter(3)
    shared = [{"items": range(20)}, {"items": range(20, 40)}]
    nodes = [items_node(way, work, max_concurrency=8, limiter=limiter) for way in ways]
    handles = [node.submit(each) for node, each in zip(nodes, shared, strict=True)]
    assert all(handle.wait(PATIENCE) for handle in handles)
    assert [each["results"] for each in shared] == [list(range(20)), list(range(20, 40))]
    assert max(most) == 3
    assert is_free(limiter, 3)


def test_stopping_one_of_two_runs():
    """A run that is stopped while it waits for a shared limiter is no burden to the other one."""
    limiter, release, begun = Limiter(1), Signal(), Signal()

    def slow(node, item):
        begun.set()
        release.wait()
        return item

    shared = {"items": [1, 2, 3]}
    calls, asked = [], When("call_started", times=2)
    first = items_node("threads", slow, limiter=limiter).submit(shared)
    begun.wait()
    waiting = items_node("threads", lambda node, item: calls.append(item), max_concurrency=2, limiter=limiter)
    second = waiting.submit({"items": [4, 5]}, subscribers=[asked])
    asked.signal.wait()
    assert second.stop()
    release.set()
    assert first.wait(PATIENCE)
    assert (first.run.status, second.run.status) == ("ok", "stopped")
    assert shared["results"] == [1, 2, 3]
    assert calls == []
    assert is_free(limiter)


def test_one_flow_submitted_twice():
    """Two runs of one flow at a time have a record each; ``last_run`` is the later one."""
    together = threading.Barrier(2, timeout=PATIENCE)

    def work(node, item):
        together.wait()
        return item * 10

    flow = Flow(items_node("inline", work))
    shared = [{"items": [1]}, {"items": [2]}]
    first, second = [flow.submit(each) for each in shared]
    assert first.wait(PATIENCE)
    assert second.wait(PATIENCE)
    assert flow.last_run is second.run is not first.run
    assert [each["results"] for each in shared] == [[10], [20]]
    assert [handle.run.batches[0].results for handle in (first, second)] == [[10], [20]]


class InterruptAfterStep:
    """A profile function that raises ``KeyboardInterrupt``, once: when the n-th builtin that `submit` calls returns."""

    def __init__(self, n):
        self.n, self.steps = n, 0

    def __call__(self, frame, event, function):
        is_ours = frame.f_globals["__name__"].startswith("llmflow_nb.")
        if event == "c_return" and (is_ours or frame.f_code is threading.Thread.start.__code__):
            self.steps += 1
            if self.steps == self.n:
                raise KeyboardInterrupt


def test_an_interrupt_at_any_step_of_submit():
    """Wherever an interrupt meets ``submit``, nothing goes on without a handle: there is no run, or it is stopped."""
    release = threading.Event()
    had_no_run = was_stopped = False
    for n in itertools.count(1):
        node = items_node("threads", lambda node, item: release.wait(PATIENCE))
        handle, finished = None, When("run_finished")
        sys.setprofile(InterruptAfterStep(n))
        try:
            handle = node.submit({"items": [n]}, progress=False, subscribers=[finished])
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
        if handle is not None:
            break
        record = node.last_run
        if record is None:
            had_no_run = True
        else:
            was_stopped = True
            finished.signal.wait()
            assert record.status == "stopped", f"at step {n}"
    assert handle.stop()
    release.set()
    assert had_no_run
    assert was_stopped


def failing(text="boom"):
    def prep(shared):
        raise ValueError(text)

    node = Node(name="Ask")
    node.prep = prep
    return node


def runs_are_over():
    """Wait until no thread of a run holds its handle."""
    for thread in threading.enumerate():
        if thread.name.startswith("llmflow_nb-run") and thread.ident is not None:
            thread.join(PATIENCE)


def told_when_dropped(use, node=None):
    """Submit a run that fails, do something with its handle, drop it, and return the warnings that come then."""
    node = node or failing()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        handle = node.submit({})
        handle.wait()
        use(handle)
        del handle
        runs_are_over()
        gc.collect()
    return told


def awaited(handle):
    with pytest.raises(ValueError, match="boom"):
        asyncio.run(outcome(handle))


def test_a_failure_that_nothing_looks_at_is_told_once():
    """The warning names the run and its error, and points at the line that called submit."""
    (told,) = told_when_dropped(lambda handle: None)
    assert told.category is FlowWarning
    assert str(told.message) == (
        "The submitted run of Ask failed, and its record was never read: ValueError: boom. Await what submit() "
        "returned, or read its .run."
    )
    lines, first = inspect.getsourcelines(told_when_dropped)
    assert "submit({})" in lines[told.lineno - first]


@pytest.mark.parametrize("use", [awaited, lambda handle: handle.run.status, repr], ids=["await", "run", "repr"])
def test_a_failure_that_was_looked_at_is_not_told_again(use):
    """Who awaited the handle, or read its record, or printed it, knows."""
    assert told_when_dropped(use) == []


def test_a_failure_that_was_read_in_last_run_is_not_told_again():
    """The record that ``last_run`` gives says that the run failed."""
    node = failing()
    assert told_when_dropped(lambda handle: node.last_run, node) == []


def test_a_failure_that_the_progress_showed_is_not_told_again(capsys):
    """The last line of the live display says that the run failed."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        handle = failing().submit({}, progress=True)
        handle.wait()
        del handle
        runs_are_over()
        gc.collect()
    assert "Ask failed" in capsys.readouterr().err
    assert told == []


def test_a_run_that_was_stopped_is_not_told_of():
    """Who stops a run knows that it did not come to its end."""
    signal = Signal()
    node = Node(name="Ask")
    node.exec = lambda prep_res: signal.wait()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        handle = node.submit({})
        assert handle.stop()
        signal.set()
        del handle
        gc.collect()
    assert told == []
