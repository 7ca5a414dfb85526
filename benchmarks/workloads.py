"""What is measured: the rows of the table.

A workload is a function of the library that builds it fresh and returns the work to measure, so that both libraries run
the very same nodes. Only what PocketFlow has under another name is written twice.
"""

import asyncio
import itertools
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pocketflow

import llmflow_nb
from llmflow_nb.engine.advance import advance
from llmflow_nb.engine.events import Event
from llmflow_nb.engine.position import ALL, END, Position
from llmflow_nb.engine.setup import Setup
from llmflow_nb.graph import render
from llmflow_nb.runs.run import Run

from . import cluster, journal
from .measure import Work, import_seconds, peak_bytes, seconds

__all__ = ["ROWS", "Row", "Target"]

VISITS = 99_999
ITEMS = 100_000
PARAM_SETS = 5_000
RUNS = 400
CALLS, AT_ONCE, CALL_S = 2_000, 100, 0.020
STREAMED = 1_000_000

IDEAL_S = CALLS / AT_ONCE * CALL_S


# ---- one after the other ---------------------------------------------------------------------------------------------


def loop_flow(lib: Any) -> Any:
    class Step(lib.Node):
        def prep(self, shared):
            return shared["count"]

        def exec(self, count):
            return count + 1

        def post(self, shared, prep_res, count):
            shared["count"] = count
            return "done" if count == VISITS else "default"

    class End(lib.Node):
        pass

    first, second, third = Step(), Step(), Step()
    first >> second >> third >> first
    third - "done" >> End()
    flow = lib.Flow(start=first)
    flow.max_steps = None  # PocketFlow has no such bound
    return flow


def loop(lib: Any, **options: Any) -> Work:
    return partial(loop_flow(lib).run, {"count": 0}, **options)


class Counter:
    """A subscriber that does next to nothing."""

    def __init__(self) -> None:
        self.events = 0

    def handle(self, event: Event) -> None:
        self.events += 1


def stepped() -> Work:
    def step() -> None:
        flow = loop_flow(llmflow_nb)
        setup = Setup(Run(flow)._recorder, concurrent=False)
        position = Position.at_start(flow, {"count": 0}, setup)
        while advance(position, setup, ALL) != END:
            pass

    return step


def batch(lib: Any) -> Work:
    class Echo(lib.BatchNode):
        def prep(self, shared):
            return shared["items"]

        def exec(self, item):
            return item

    return partial(Echo().run, {"items": list(range(ITEMS))})


def param_sets(lib: Any) -> Work:
    class Step(lib.Node):
        def prep(self, shared):
            return self.params["i"]

        def exec(self, i):
            return i

    class Sets(lib.BatchFlow):
        def prep(self, shared):
            return [{"i": i} for i in range(PARAM_SETS)]

    first = Step()
    first >> Step() >> Step()
    return partial(Sets(start=first).run, {})


def chain_again(lib: Any, length: int) -> Work:
    """Run a chain of nodes, each of a class of its own and visited once, again and again."""

    def step() -> Any:
        class Step(lib.Node):
            def prep(self, shared):
                return shared["count"]

            def exec(self, count):
                return count + 1

            def post(self, shared, prep_res, count):
                shared["count"] = count

        return Step()

    return partial(_run_again, _chain(lib.Flow, [step() for _ in range(length)]))


def _run_again(flow: Any) -> None:
    shared = {"count": 0}
    for _ in range(RUNS):
        flow.run(shared)


def our_chain_awaited(length: int) -> Work:
    class Step(llmflow_nb.Node):
        async def exec(self, prep_res):
            return prep_res

    return partial(_await_again, _chain(llmflow_nb.Flow, [Step() for _ in range(length)]))


def their_chain_awaited(length: int) -> Work:
    class Step(pocketflow.AsyncNode):
        async def exec_async(self, prep_res):
            return prep_res

    return partial(_await_again, _chain(pocketflow.AsyncFlow, [Step() for _ in range(length)]))


def _await_again(flow: Any) -> None:
    async def run() -> None:
        for _ in range(RUNS):
            await flow.run_async({})

    asyncio.run(run())


def _chain(flow: Any, nodes: list[Any]) -> Any:
    for node, following in itertools.pairwise(nodes):
        node.next(following)
    return flow(start=nodes[0])


# ---- side by side ----------------------------------------------------------------------------------------------------


class AsyncCalls(llmflow_nb.BatchNode):
    def prep(self, shared):
        return range(CALLS)

    async def exec(self, item):
        await asyncio.sleep(CALL_S)


class BlockingCalls(llmflow_nb.BatchNode):
    def prep(self, shared):
        return range(CALLS)

    def exec(self, item):
        time.sleep(CALL_S)


class TheirAsyncCalls(pocketflow.AsyncParallelBatchNode):
    """PocketFlow starts all items at once; a semaphore is how its users bound them."""

    async def prep_async(self, shared):
        self.at_once = asyncio.Semaphore(AT_ONCE)
        return range(CALLS)

    async def exec_async(self, item):
        async with self.at_once:
            await asyncio.sleep(CALL_S)


def awaited(node: Any) -> Work:
    return lambda: asyncio.run(node.run_async({}))


def blocking(node: Any) -> Work:
    return partial(node.run, {})


class AsyncAtOnce(AsyncCalls):
    def prep(self, shared):
        return range(AT_ONCE)


class TheirAsyncAtOnce(TheirAsyncCalls):
    async def prep_async(self, shared):
        await super().prep_async(shared)
        return range(AT_ONCE)


# ---- memory ----------------------------------------------------------------------------------------------------------


def stream() -> Work:
    class Echo(llmflow_nb.BatchNode):
        def prep(self, shared):
            return iter(range(STREAMED))

        def exec(self, item):
            return item

    return partial(Echo(keep_items=False).run, {})


def bare_results() -> list[int]:
    results = []
    for item in iter(range(STREAMED)):
        results.append(item)  # not list(...): a list that grew, as that of the results has to
    return results


# ---- drawing ---------------------------------------------------------------------------------------------------------


def graph() -> Work:
    """From a flow of 500 nodes to a finished drawing, by the times that the dot program takes by itself."""
    steps = [llmflow_nb.Node(name=f"Step {i}") for i in range(500)]
    for i, step in enumerate(steps[1:], 1):
        steps[(i - 1) // 2] - f"on {i % 2}" >> step
    flow = llmflow_nb.Flow(start=steps[0])
    dot = flow.graph().dot()

    def draw() -> Any:
        render._found.cache_clear()
        return flow.graph().svg(backend="dot")

    return lambda: (
        draw,
        partial(subprocess.run, ["dot", "-Tsvg"], input=dot.encode(), capture_output=True, check=True),
    )


def times_dot_alone(work: Work) -> float:
    ours, alone = work()
    return seconds(ours) / seconds(alone)


# ---- the stepper ----------------------------------------------------------------------------------------------------


def worked(call_s: float, visits: int) -> Any:
    """A loop whose exec is busy for so long: what a stepper costs, it costs beside calls."""

    class Step(llmflow_nb.Node):
        def prep(self, shared):
            return shared["count"]

        def exec(self, count):
            until = time.perf_counter() + call_s
            while time.perf_counter() < until:
                pass
            return count + 1

        def post(self, shared, prep_res, count):
            shared["count"] = count
            return "again" if count < visits else "done"

    first, second = Step(), Step()
    for node, following in ((first, second), (second, first)):
        _ = node - "again" >> following
        _ = node - "done" >> llmflow_nb.Node()
    return llmflow_nb.Flow(first, max_steps=None)


def stepper_run(call_s: float, visits: int) -> tuple[Work, Work]:
    flow, other = worked(call_s, visits), worked(call_s, visits)
    return lambda: flow.stepper({"count": 0}).run(), lambda: other.run({"count": 0}, progress=False)


def times_run(works: tuple[Work, Work]) -> float:
    ours, plain = works
    return seconds(ours) / seconds(plain)


# ---- the table -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What is to be reached.

    Attributes:
        bound: The figure.
        of: "ratio", or "ours" where our own figure counts.
        at_least: Whether more is better.
    """

    bound: float
    of: str = "ratio"
    at_least: bool = False

    def reached(self, ratio: float | None, ours: float) -> bool:
        value = ratio if self.of == "ratio" else ours
        assert value is not None
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{self.of} {'>=' if self.at_least else '<='} {self.bound:g}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What to call it on the command line.
        workload: What is done.
        unit: What is counted.
        figure: Measures a piece of work, in that unit.
        ours: Builds the work; theirs: the same with PocketFlow, where it can.
        target: None for a row that is there for information.
        best_of: Measurements in a round, the best of which counts; more for work so short that a moment's interruption
            would spoil it.
        once: Whether one round tells all, because nothing in it is a matter of time.
    """

    name: str
    workload: str
    unit: str
    figure: Callable[[Any], float]
    ours: Callable[[], Any]
    theirs: Callable[[], Any] | None
    target: Target | None
    best_of: int = 1
    once: bool = False


def microseconds(count: int, work: Work) -> float:
    return seconds(work) / count * 1e6


def share_of_ideal(work: Work) -> float:
    return IDEAL_S / seconds(work)


def share_of_one_call(work: Work) -> float:
    return CALL_S / seconds(work)


def bytes_over_bare(work: Work) -> float:
    return (peak_bytes(work) - peak_bytes(bare_results)) / STREAMED


def import_ms(module: str) -> float:
    return import_seconds(module) * 1e3


per_visit = partial(microseconds, VISITS)
ours_is, theirs_is = llmflow_nb, pocketflow
their_loop = partial(loop, theirs_is)
share = partial(Target, of="ours", at_least=True)
at_once = {"max_concurrency": AT_ONCE}

# fmt: off
ROWS = [
    Row("loop", f"3-node loop, {VISITS:,} visits", "us a visit", per_visit,
        partial(loop, ours_is), their_loop, Target(0.6)),
    Row("watched", "the same with a subscriber", "us a visit", per_visit,
        lambda: loop(ours_is, subscribers=[Counter()]), their_loop, None),
    Row("stepped", "the same, stopping at every boundary", "us a visit", per_visit,
        stepped, their_loop, None),
    Row("batch", f"batch of {ITEMS:,} no-op items", "us an item", partial(microseconds, ITEMS),
        partial(batch, ours_is), partial(batch, theirs_is), Target(1.0), best_of=5),
    Row("param_sets", f"{PARAM_SETS:,} param sets over 3 nodes", "us a set", partial(microseconds, PARAM_SETS),
        partial(param_sets, ours_is), partial(param_sets, theirs_is), Target(0.6), best_of=5),
    *(
        Row(f"chain_{n}", f"chain of {n} nodes, run again", "us a run", partial(microseconds, RUNS),
            partial(chain_again, ours_is, n), partial(chain_again, theirs_is, n), Target(bound), best_of=5)
        for n, bound in ((1, 3.0), (5, 1.5), (50, 1.0))
    ),
    Row("chain_async", "chain of 5 with async exec, run_async() again", "us a run", partial(microseconds, RUNS),
        partial(our_chain_awaited, 5), partial(their_chain_awaited, 5), Target(1.5), best_of=5),
    Row("async", f"{CALLS:,} async items, run_async()", "share of ideal", share_of_ideal,
        lambda: awaited(AsyncCalls(**at_once)), lambda: awaited(TheirAsyncCalls()), share(0.93)),
    Row("async_at_once", f"{AT_ONCE} async items at once, from outside", "share of ideal", share_of_one_call,
        lambda: awaited(AsyncAtOnce(**at_once)), lambda: awaited(TheirAsyncAtOnce()), share(0.90), best_of=5),
    Row("async_run", f"{CALLS:,} async items, run()", "share of ideal", share_of_ideal,
        lambda: blocking(AsyncCalls(**at_once)), lambda: awaited(TheirAsyncCalls()), share(0.93)),
    Row("threads", f"{CALLS:,} blocking items", "share of ideal", share_of_ideal,
        lambda: blocking(BlockingCalls(**at_once)), None, share(0.87)),
    Row("memory", f"{STREAMED:,} items, keep_items=False", "bytes an item", bytes_over_bare,
        stream, None, Target(40, "ours"), once=True),
    Row("graph", "500 nodes, model to finished SVG", "times dot alone", times_dot_alone,
        graph, None, Target(1.5, "ours")),
    Row("stepper", "stepper.run(), 1,000 calls of 1 ms", "times run", times_run,
        lambda: stepper_run(0.001, 1000), None, Target(1.3, "ours")),
    Row("stepper_bare", "the same, 2,000 calls that do nothing", "times run", times_run,
        lambda: stepper_run(0.0, 2000), None, None),
    Row("journal_none", f"{journal.ITEMS:,} items, 8 at once, no journal", "us CPU an item", journal.cpu_microseconds,
        partial(journal.labels, 8), None, None),
    *(
        Row(f"journal_{limit}", f"the same with a new journal, {limit} at once", "us CPU an item",
            journal.cpu_microseconds, partial(journal.labels, limit, "new"), None, Target(150, "ours"), best_of=3)
        for limit in (1, 8)
    ),
    Row("journal_again", "the same, all answered by the journal", "us CPU an item", journal.cpu_microseconds,
        partial(journal.labels, 8, "again"), None, Target(100, "ours"), best_of=3),
    Row("cluster", f"{cluster.ITEMS:,} items of 20 ms on a Dask cluster of 8 threads", "times client.map",
        cluster.times_map, cluster.map_and_run, None, Target(1.5, "ours")),
    Row("import", "import, in a new interpreter", "ms", import_ms,
        lambda: "llmflow_nb", lambda: "pocketflow", Target(1.5), best_of=3),
]
# fmt: on
