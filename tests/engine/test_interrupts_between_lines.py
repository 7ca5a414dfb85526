"""An interrupt between two lines of the library: at places that real interrupts seldom find."""

import asyncio
import gc
import itertools
import sys
from contextlib import suppress

import pytest

from llmflow_nb import BatchFlow, BatchNode, Limiter, Node
from llmflow_nb.engine.drivers.loop import take
from llmflow_nb.engine.lane import Lane


class Asking(BatchNode):
    """Answers every item that it has started, also one that is cancelled; the last one only then."""

    def prep(self, shared):
        self.answers = shared["answers"]
        return shared["items"]

    async def exec(self, item):
        with suppress(asyncio.CancelledError):
            await (asyncio.sleep(0) if item != "last" else asyncio.Event().wait())
        self.answers.append(item)
        return item


@pytest.fixture
def no_collection():
    """Keep the collector from freeing coroutines that never began in a frame where their warning cannot be given."""
    gc.disable()
    yield
    gc.collect()
    gc.enable()


def interrupted(node, shared, is_now):
    """Run a node; raise ``KeyboardInterrupt`` once a builtin returns and this is true of its caller and of it."""

    def profile(frame, event, function):
        if event == "c_return" and is_now(frame, function):
            sys.setprofile(None)
            raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        node.run(shared, progress=False)
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def is_ours(frame):
    return frame.f_globals["__name__"].startswith("llmflow_nb.")


def is_in(function, frame):
    return frame is not None and (frame.f_code is function.__code__ or is_in(function, frame.f_back))


def kept(node):
    return [row.result for batch in node.last_run.batches for row in batch if row.status == "ok"]


def test_an_interrupt_as_the_driver_wakes():
    """A task that is then cancelled and answers all the same has its answer in the table."""
    node, shared = Asking(max_concurrency=2), {"items": ["first", "last"], "answers": []}
    assert interrupted(node, shared, lambda frame, function: function.__name__ == "get" and is_in(take, frame))
    assert shared["answers"] == kept(node) == ["first", "last"]


@pytest.mark.filterwarnings("ignore:coroutine 'Asking.exec' was never awaited:RuntimeWarning")  # nor was it begun
def test_an_interrupt_between_any_two_steps(no_collection):
    """Wherever in the driver's thread an interrupt comes, the run has ended, and what tasks answer is in the table."""
    for n in itertools.count(1):
        node, shared = Asking(max_concurrency=2), {"items": list(range(3)), "answers": []}
        steps = itertools.count(1)
        if not interrupted(node, shared, lambda frame, _, steps=steps, n=n: is_ours(frame) and next(steps) == n):
            break
        if node.last_run is not None:
            assert node.last_run.status in ("interrupted", "ok"), f"after step {n}"
            assert kept(node) == sorted(shared["answers"]), f"after step {n}"
    assert n > 50
    assert kept(node) == list(range(3))


class Meeting(BatchNode):
    """Two items that need a slot of the limiter each at the same time."""

    def prep(self, shared):
        return [asyncio.Barrier(2)] * 2

    async def exec(self, barrier):
        async with asyncio.timeout(10):
            await barrier.wait()


@pytest.mark.filterwarnings("ignore:coroutine 'Asking.exec' was never awaited:RuntimeWarning")  # nor was it begun
@pytest.mark.parametrize("max_concurrency", [1, 2])
def test_an_interrupt_keeps_no_slot_of_a_limiter(no_collection, max_concurrency):
    """Wherever in the driver's thread it comes, afterwards all slots are free."""
    limiter = Limiter(max_concurrency=2)
    for n in itertools.count(1):
        node = Asking(max_concurrency=max_concurrency, limiter=limiter)
        shared, steps = {"items": [1, 2], "answers": []}, itertools.count(1)
        if not interrupted(node, shared, lambda frame, _, steps=steps, n=n: is_ours(frame) and next(steps) == n):
            break
        meeting = Meeting(max_concurrency=2, limiter=limiter)
        meeting.run({})
        assert meeting.last_run.status == "ok", f"after step {n}"
    assert n > 50


class Step(Node):
    """Answers for each param set."""

    async def exec(self, prep_res):
        self.params["answers"].append("answer")


class Sets(BatchFlow):
    def prep(self, shared):
        return [{"answers": answers} for answers in shared["answers"]]


def test_an_interrupt_as_a_param_set_ends():
    """The param set that has ended is in the table, and a retry calls none again that has answered."""
    flow, shared = Sets(Step(), max_concurrency=2), {"answers": [[], []]}
    assert interrupted(flow, shared, lambda frame, function: function.__name__ == "send" and is_in(Lane.close, frame))
    batch = flow.last_run.batch(flow)
    assert next(iter(batch)).status == "ok"
    assert batch.retry().counts == {"ok": 2}
    assert shared["answers"] == [["answer"], ["answer"]]


def test_an_interrupt_after_the_last_visit():
    """The run is complete: there is nothing to resume."""

    class Last(Node):
        async def post(self, shared, prep_res, exec_res):
            return "done"

    node = Last()
    assert interrupted(node, {}, lambda frame, function: function.__name__ == "send" and is_in(Lane.close, frame))
    assert (node.last_run.status, node.last_run.action) == ("ok", "done")
