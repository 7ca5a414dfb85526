"""Results that come while an interrupt or a cancellation cleans up, and what a cancelled run awaits."""

import asyncio
import threading
from concurrent.futures import Executor, Future

import pytest

from llmflow_nb import Flow, Limiter, Node
from tests.engine.helpers import (
    PATIENCE,
    InterruptAt,
    Items,
    Signal,
    is_free,
    items_node,
)


class Finishing(Items):
    """Item 0 ends once the others wait; those finish what they are at when they are cancelled."""

    def __init__(self):
        super().__init__(max_concurrency=3)
        self.waiting = []
        self.all_wait = asyncio.Event()

    async def exec(self, item):
        if item == 0:
            await self.all_wait.wait()
            return 0
        self.waiting.append(item)
        if len(self.waiting) == 2:
            self.all_wait.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return item * 10


def test_results_that_come_while_an_interrupt_cleans_up():
    """A task that answers its cancellation with a result, after an interrupt of ``run()``, has it in its row."""
    node = Finishing()
    with pytest.raises(KeyboardInterrupt):
        node.run({"items": [0, 1, 2]}, subscribers=[InterruptAt(1, "attempt_finished")])
    assert [(row.status, row.result) for row in node.last_run.batch(node)] == [("ok", 0), ("ok", 10), ("ok", 20)]
    assert node.last_run.status == "interrupted"


def test_results_that_come_while_a_cancelled_run_cleans_up():
    """So it is where the task that awaits ``run_async()`` is cancelled."""
    node = Finishing()

    async def main():
        run = asyncio.ensure_future(node.run_async({"items": [0, 1, 2]}))
        await node.all_wait.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    rows = [(row.status, row.result) for row in node.last_run.batch(node)]
    assert rows[1:] == [("ok", 10), ("ok", 20)]
    assert node.last_run.status == "interrupted"


@pytest.mark.parametrize("hook", ["prep", "post"])
def test_a_cancelled_run_cancels_the_hook_that_it_awaits(hook):
    """Where the task that awaits ``run_async()`` is cancelled, the hook has cleaned up, and nothing follows it."""
    done = []

    async def waits(self, shared, *args):
        done.append("begun")
        shared.set()
        try:
            await asyncio.Event().wait()
        finally:
            done.append("cleaned up")

    class After(Node):
        def prep(self, shared):
            done.append("after")

    node = type("Waits", (Node,), {hook: waits})()
    node >> After()
    flow = Flow(node)

    async def main():
        begun = asyncio.Event()
        run = asyncio.ensure_future(flow.run_async(begun))
        await begun.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    asyncio.run(main())
    assert done == ["begun", "cleaned up"]
    assert flow.last_run.status == "interrupted"
    assert [visit.status for visit in flow.last_run.visits] == ["cancelled", "cancelled"]


class LateFuture(Future):
    """Is done a while before it tells so."""

    def __init__(self):
        super().__init__()
        self.told_whom, self.done_by_now, self.tell = Signal(), Signal(), Signal()
        super().add_done_callback(self._hold_back)  # the first one, so that the others come after it

    def add_done_callback(self, fn):
        super().add_done_callback(fn)
        self.told_whom.set()

    def _hold_back(self, _):
        self.done_by_now.set()
        self.tell.wait()


class TellsLate(Executor):
    """Makes one call, in a thread of its own, when there is somebody to tell of it; and tells late."""

    def __init__(self):
        self.future = LateFuture()

    def submit(self, fn, /, *args):
        self.thread = threading.Thread(target=self._call, args=(fn, args))
        self.thread.start()
        return self.future

    def _call(self, fn, args):
        self.future.told_whom.wait()
        try:
            result = fn(*args)
        except LookupError as exc:
            self.future.set_exception(exc)
        else:
            self.future.set_result(result)


@pytest.mark.parametrize(("item", "status", "result"), [(1, "ok", 10), (0, "failed", None)], ids=["result", "error"])
def test_what_is_done_when_a_run_is_stopped_counts(item, status, result):
    """What an executor has finished, and has not told of yet when the run is stopped, is in its row: it is paid for."""

    def work(node, item):
        if not item:
            raise LookupError("no such item")
        return item * 10

    executor, limiter = TellsLate(), Limiter(1)
    node = items_node("threads", work, max_concurrency=1, limiter=limiter)
    handle = node.submit({"items": [item, 2]}, executor=executor)
    executor.future.done_by_now.wait()
    assert handle.stop()
    executor.future.tell.set()
    executor.thread.join(PATIENCE)
    assert [(row.status, row.result) for row in handle.run.batch(node)] == [(status, result), ("pending", None)]
    assert handle.run.abandoned == 0
    assert is_free(limiter)
