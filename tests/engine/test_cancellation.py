"""Cancelled runs, hooks that raise CancelledError by themselves, and failures that arrive while items are read."""

import asyncio
import subprocess
import sys
import threading

import pytest

from llmflow_nb import BatchFlow, BatchNode, HookCancelledError, NestedLoopError, Node
from tests.engine.helpers import PATIENCE, When, go, items_node, statuses


class Answers(BatchNode):
    """Twenty paid answers, each of which cleans up for as long as it is told when it is cancelled afterwards."""

    def prep(self, shared):
        return range(20)

    async def exec(self, item):
        self.params["paid"].append(item)
        if len(self.params["paid"]) == 20:
            self.params["all paid"].set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if item % 2 == 0:
                return item * 10
            raise


@pytest.mark.parametrize("cancellations", [1, 2, 3])
def test_answers_that_come_in_while_a_run_is_cancelled(cancellations):
    """What came in is in its row, however often the run is cancelled, and nothing is called afterwards."""

    async def main():
        all_paid, paid = asyncio.Event(), []
        node = Answers(max_concurrency=None)
        node.set_params({"paid": paid, "all paid": all_paid})
        task = asyncio.create_task(node.run_async({}))
        await asyncio.wait_for(all_paid.wait(), PATIENCE)
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(paid) == 20
        return node

    assert statuses(asyncio.run(main())) == ["ok", "cancelled"] * 10


def test_answers_that_were_there_before_the_run_was_cancelled():
    """An answer that had come in, and that the run had not yet looked at, is kept when it is cancelled twice."""

    class Ask(BatchNode):
        def prep(self, shared):
            return range(20)

        async def exec(self, item):
            await self.params["go"].wait()
            return item

    async def main():
        go_on = asyncio.Event()
        node = Ask(max_concurrency=None)
        node.set_params({"go": go_on})
        task = asyncio.create_task(node.run_async({}))
        for _ in range(5):
            await asyncio.sleep(0)
        go_on.set()
        await asyncio.sleep(0)  # all answer now, and the run is cancelled before it can look
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return node

    assert statuses(asyncio.run(main())) == ["ok"] * 20


# ---- CancelledError by a hook itself ---------------------------------------------------------------------------------


def _gives_up(node, item):
    if item == 1:
        raise asyncio.CancelledError("the SDK gave up")
    return item


@pytest.mark.parametrize("mode", ["inline", "threads", "tasks", "awaited", "awaited threads"])
@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_call_that_raises_cancelled_error_is_a_failed_row(mode, concurrency):
    """One rule for every way of running: it is a failure, and is not tried again."""
    node = items_node(mode, _gives_up, max_concurrency=concurrency, max_retries=3, on_error="keep")
    go(mode, node, {"items": [0, 1, 2]})
    rows = list(node.last_run.batch(node))
    assert [(row.status, row.attempts) for row in rows] == [("ok", 1), ("failed", 1), ("ok", 1)]
    assert type(rows[1].error) is asyncio.CancelledError


@pytest.mark.parametrize("mode", ["inline", "threads", "tasks", "awaited"])
def test_a_cancelled_error_that_ends_the_run_is_an_exception(mode):
    """Raised to the caller, it says where it is from, and does not look as if the caller's own task was cancelled."""
    node = items_node(mode, _gives_up, name="Map")
    with pytest.raises(HookCancelledError, match=r"Map: exec raised CancelledError\(the SDK gave up\)") as caught:
        go(mode, node, {"items": [0, 1, 2]})
    assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    assert node.last_run.status == "failed"


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_param_set_whose_hook_raises_cancelled_error(concurrency):
    """A batch flow that keeps failures keeps this one too."""

    class Step(Node):
        def post(self, shared, prep_res, exec_res):
            if self.params["n"] == 1:
                raise asyncio.CancelledError

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(3)]

    flow = Sets(start=Step(), on_error="keep", max_concurrency=concurrency)
    flow.run({})
    assert statuses(flow, flow) == ["ok", "failed", "ok"]


# ---- a source that is slow -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["threads", "tasks", "awaited", "awaited threads"])
@pytest.mark.parametrize("concurrency", [4, 50, None])
def test_a_failure_while_the_source_is_slow(mode, concurrency):
    """A failure that has arrived is seen before the next item is read: nothing more is called."""
    calls, failed = [], When("attempt_finished", "failed")
    raised = threading.Event()

    def work(node, item):
        calls.append(item)
        if item == 0:
            raised.set()
            raise PermissionError("bad key")
        return item

    def slow():
        yield 0
        if "threads" in mode:
            assert raised.wait(PATIENCE)
        for n in range(1, 60):
            threading.Event().wait(0.01)  # a page of an API, a block of a file
            yield n

    node = items_node(mode, work, max_concurrency=concurrency)
    with pytest.raises(PermissionError):
        go(mode, node, {"items": slow()}, subscribers=[failed])
    assert len(calls) <= 3, calls


# ---- what has to be awaited ------------------------------------------------------------------------------------------


class Custom:
    """An awaitable that is no coroutine."""

    def __init__(self, value):
        self.value = value

    def __await__(self):
        yield from asyncio.sleep(0).__await__()
        return self.value


@pytest.mark.parametrize("way", ["run", "run_async"])
@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
def test_every_awaitable_is_awaited(hook, way):
    """Whatever ``await`` accepts, a hook may return it."""
    seen = []

    class Step(Node):
        def post(self, shared, prep_res, exec_res):
            seen.extend([prep_res, exec_res])

    hooks = {
        "prep": lambda self, shared: Custom("value"),
        "exec": lambda self, prep_res: Custom("value"),
        "post": lambda self, shared, prep_res, exec_res: Custom("value"),
    }
    step = type("Step", (Step,), {hook: hooks[hook]})()
    action = step.run({}) if way == "run" else asyncio.run(step.run_async({}))
    if hook == "post":
        assert action == "value"
    else:
        assert "value" in seen


def test_a_gathered_exec_is_awaited():
    """``exec`` may return ``asyncio.gather(...)`` where it runs on a loop."""

    class Two(Node):
        def exec(self, prep_res):
            return asyncio.gather(asyncio.sleep(0, "a"), asyncio.sleep(0, "b"))

        def post(self, shared, prep_res, exec_res):
            shared["answers"] = exec_res

    shared = {}

    async def main():
        await Two().run_async(shared)

    asyncio.run(main())
    assert shared == {"answers": ["a", "b"]}


def test_a_future_of_a_blocked_loop():
    """In ``run``, which blocks the caller's loop, a future of that loop would never be done: the error says so."""

    class Waits(Node):
        def exec(self, prep_res):
            return asyncio.get_running_loop().create_future()

    async def main():
        with pytest.raises(
            NestedLoopError, match=r"a future that belongs to another event loop; .* or use `await flow.run_async"
        ):
            Waits().run({})

    asyncio.run(main())


IN_A_LOOP = """
import asyncio, threading, warnings
from llmflow_nb import BatchNode, Flow, Node
from llmflow_nb.engine.drivers import sync

sync.BLOCKED = 0.2  # seconds

class Waits(Node):
    async def exec(self, prep_res):
        event = asyncio.Event()
        threading.Timer(0.6, asyncio.get_running_loop().call_soon_threadsafe, [event.set]).start()
        await event.wait()

class Blocks(BatchNode):
    def prep(self, shared):
        return range(4)

    def exec(self, item):
        threading.Event().wait(0.15 if item else 0.6)

async def main():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Flow(start={node}).run({{}}, progress=False)
    for warning in caught:
        print(warning.category.__name__, warning.message)

asyncio.run(main())
"""


def warnings_in_a_loop(node):
    """Run a node where an event loop runs, in a process of its own, where no thread of other tests is about."""
    command = [sys.executable, "-c", IN_A_LOOP.format(node=node)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


def test_a_run_that_blocks_the_loop_it_waits_for():
    """After some seconds it says what to write."""
    said = warnings_in_a_loop("Waits()")
    assert said.startswith("FlowWarning Flow/Waits: nothing has happened for 0.2 s, and run() blocks the event loop")
    assert "`await flow.run_async(shared)`" in said


def test_a_run_that_waits_for_threads():
    """It needs no event loop, so there is nothing to warn of, however long its calls take."""
    assert warnings_in_a_loop("Blocks(max_concurrency=2)") == ""
