"""Laws of flows that several callers run at once: each has its attributes, context and answers, cancelled or not."""

import asyncio
import threading
from contextvars import ContextVar
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llmflow_nb import BatchFlow, BatchNode, Flow, Node
from tests.engine.helpers import PATIENCE
from tests.properties.test_laws import laws

CALLER: ContextVar[int] = ContextVar("caller")
KINDS = ["plain", "async", "batch", "async batch"]
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from([1, 3, None])), min_size=1, max_size=4)
AROUND = st.sampled_from(["flow", "sets", "sets side by side"])


class Plain(Node):
    """Every hook compares whom it works for: by ``shared``, by an attribute that ``prep`` set, by the context."""

    def prep(self, shared):
        self.caller = shared["caller"]
        CALLER.set(self.caller)
        return shared["caller"]

    def exec(self, shared, item):
        return self.caller, CALLER.get(), item

    def post(self, shared, prep_res, exec_res):
        for seen in exec_res if isinstance(exec_res, list) else [exec_res]:
            shared["seen"].add(seen)
        shared["seen"].add((self.caller, self.caller, self.caller))


class Async(Plain):
    async def prep(self, shared):
        await asyncio.sleep(0)
        return Plain.prep(self, shared)

    async def exec(self, shared, item):
        await asyncio.sleep(0)
        shared["answered"].append(item)
        return Plain.exec(self, shared, item)

    async def post(self, shared, prep_res, exec_res):
        await asyncio.sleep(0)
        return Plain.post(self, shared, prep_res, exec_res)


class Batch(Plain, BatchNode):
    def prep(self, shared):
        return [Plain.prep(self, shared)] * 3


class AsyncBatch(Async, BatchNode):
    async def prep(self, shared):
        return [await Async.prep(self, shared)] * 3


class Sets(BatchFlow):
    def prep(self, shared):
        self.caller = shared["caller"]
        return [{"n": n} for n in range(3)]

    def post(self, shared, prep_res, exec_res):
        shared["seen"].add((self.caller, self.caller, self.caller))


def make(steps, around):
    nodes = []
    for kind, limit in steps:
        settings = {"max_concurrency": limit} if "batch" in kind else {}
        nodes.append({"plain": Plain, "async": Async, "batch": Batch, "async batch": AsyncBatch}[kind](**settings))
    for a, b in pairwise(nodes):
        a >> b
    if around == "flow":
        return Flow(start=nodes[0])
    return Sets(start=nodes[0], max_concurrency=1 if around == "sets" else None)


def shared_of(callers):
    return [{"caller": n, "seen": set(), "answered": []} for n in range(callers)]


@laws
@given(STEPS, AROUND, st.integers(2, 5))
def test_callers_in_threads(steps, around, callers):
    """Threads that run one flow at once see what they would see alone."""
    flow, start, shareds = make(steps, around), threading.Barrier(callers, timeout=PATIENCE), shared_of(callers)

    def call(shared):
        start.wait()
        flow.run(shared)

    threads = [threading.Thread(target=call, args=(shared,)) for shared in shareds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [shared["seen"] for shared in shareds] == [{(n, n, n)} for n in range(callers)]


@laws
@given(
    STEPS,
    AROUND,
    st.lists(st.integers(0, 2), min_size=2, max_size=5),
    st.integers(0, 30),
)
def test_callers_on_a_loop(steps, around, cancellations, moment):
    """So do tasks on one loop. One that is cancelled, once or twice, keeps its answers and leaves the others alone."""
    flow, shareds, records = make(steps, around), shared_of(len(cancellations)), {}

    async def call(shared):
        try:
            await flow.run_async(shared, subscribers=[Recorded()])
        except asyncio.CancelledError:
            return "cancelled"
        return "ended"

    class Recorded:
        """Notes the record of each run as it begins; ``flow.last_run`` is that of the latest."""

        def handle(self, event):
            if event.kind == "run_started":
                records[asyncio.current_task()] = flow.last_run

    async def main():
        tasks = [asyncio.create_task(call(shared)) for shared in shareds]
        for _ in range(moment):
            await asyncio.sleep(0)
        for times in range(2):
            for task, wanted in zip(tasks, cancellations, strict=True):
                if wanted > times:
                    task.cancel()
            await asyncio.sleep(0)
        ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)
        return tasks, ends

    tasks, ends = asyncio.run(main())
    for n, (shared, task, end, times) in enumerate(zip(shareds, tasks, ends, cancellations, strict=True)):
        assert shared["seen"] <= {(n, n, n)}
        assert set(shared["answered"]) <= {n}
        if times == 0:
            assert end == "ended"
            assert shared["seen"] == {(n, n, n)}
        if task in records:
            rows = [row for batch in records[task].batches if "Batch" in batch.path for row in batch]
            assert all(row.result == (n, n, n) for row in rows if row.status == "ok")
            assert all(row.status in ("ok", "cancelled", "pending") for row in rows)
