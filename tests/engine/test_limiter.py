"""`Limiter`: by itself, with a clock that the test turns, and shared by nodes, runs, threads and event loops."""

import asyncio
import copy
import pickle
import threading
from collections import Counter

import pytest

from llmflow_nb import BatchFlow, CallTimeoutError, Flow, Limiter, NestedLimiterError, Node, SettingError
from llmflow_nb.engine.limiter import Ticket
from tests.engine.helpers import MODES, PATIENCE, SIDE_BY_SIDE, Items, Signal, When, go, items_node, statuses


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Queue:
    """Tickets of one limiter by name, with the names that were woken."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.tickets = {}
        self.woken = []

    def ask(self, name):
        """Ask again, having joined the queue the first time."""
        if name not in self.tickets:
            self.tickets[name] = self.limiter.request(Ticket(lambda: self.woken.append(name)))
        return self.limiter.seconds_left(self.tickets[name])

    def leave(self, name):
        self.limiter.give_back(self.tickets[name])


def is_free(limiter, size=1):
    """Whether all of a limiter's slots can be had, those that an attempt is just giving back included."""
    tickets = []
    for _ in range(size):
        back = threading.Event()
        ticket = limiter.request(Ticket(back.set))
        tickets.append(ticket)
        if limiter.seconds_left(ticket) is None and not (back.wait(PATIENCE) and limiter.seconds_left(ticket) == 0):
            break
    granted = [limiter.seconds_left(ticket) for ticket in tickets] == [0.0] * size
    for ticket in tickets:
        limiter.give_back(ticket)
    return granted


# --- by itself -------------------------------------------------------------------------------------------------------


def test_slots():
    """So many get a slot as there are; the next one is woken when one comes back."""
    queue = Queue(Limiter(2))
    assert [queue.ask(name) for name in "abc"] == [0, 0, None]
    assert queue.ask("c") is None

    queue.woken.clear()
    queue.leave("a")
    assert queue.woken == ["c"]
    assert queue.ask("c") == 0


def test_first_come_first_served():
    """A free slot is for who asked first, even when another one asks now."""
    queue = Queue(Limiter(1))
    assert [queue.ask(name) for name in "abc"] == [0, None, None]
    queue.leave("a")
    assert queue.ask("c") is None
    assert queue.ask("b") == 0
    queue.leave("b")
    assert queue.ask("c") == 0


def test_granted_stays_granted():
    """Asking again with a slot in hand takes no second one."""
    queue = Queue(Limiter(2))
    assert [queue.ask("a"), queue.ask("a"), queue.ask("b"), queue.ask("c")] == [0, 0, 0, None]


def test_leaving_the_queue():
    """Who leaves the queue while waiting makes room for who comes next."""
    queue = Queue(Limiter(1))
    assert [queue.ask(name) for name in "abc"] == [0, None, None]
    queue.leave("b")
    queue.woken.clear()
    queue.leave("a")
    assert queue.woken == ["c"]
    assert queue.ask("c") == 0


def test_leaving_the_head_of_the_queue_wakes_the_next():
    """Where the first in the queue was to come back after a while and leaves, the next one is told to ask."""
    clock = Clock()
    queue = Queue(Limiter(per_minute=1, clock=clock))
    assert [queue.ask(name) for name in "abc"] == [0, 60, None]
    clock.now += 60
    queue.leave("b")
    assert queue.woken[-1] == "c"
    assert queue.ask("c") == 0


def test_giving_back_twice():
    """Giving a slot back twice frees one slot."""
    queue = Queue(Limiter(1))
    assert [queue.ask(name) for name in "abc"] == [0, None, None]
    queue.leave("a")
    queue.leave("a")
    assert [queue.ask("b"), queue.ask("c")] == [0, None]


def test_per_minute():
    """In any 60 seconds, no more start than may; who asks too early is told when to come back."""
    clock = Clock()
    queue = Queue(Limiter(per_minute=2, clock=clock))
    assert queue.ask("a") == 0
    clock.now += 10
    assert queue.ask("b") == 0
    assert queue.ask("c") == 50
    clock.now += 49.5
    assert queue.ask("c") == 0.5
    clock.now += 0.5
    assert queue.ask("c") == 0
    assert queue.ask("d") == 10


def test_per_minute_counts_starts():
    """Giving back does not undo a start: what was asked of the model counts for its minute."""
    queue = Queue(Limiter(per_minute=1, clock=Clock()))
    assert queue.ask("a") == 0
    queue.leave("a")
    assert queue.ask("b") == 60


def test_leaving_the_queue_counts_for_no_minute():
    """Who left the queue without a slot has started nothing."""
    clock = Clock()
    queue = Queue(Limiter(per_minute=1, clock=clock))
    assert [queue.ask(name) for name in "ab"] == [0, 60]
    queue.leave("b")
    clock.now += 60
    assert queue.ask("c") == 0


def test_both_bounds():
    """Both bounds hold together, and a slot that is lacking uses up no start."""
    clock = Clock()
    queue = Queue(Limiter(1, 2, clock=clock))
    assert [queue.ask(name) for name in "ab"] == [0, None]
    queue.leave("a")
    assert queue.ask("b") == 0
    queue.leave("b")
    assert queue.ask("c") == 60
    clock.now += 60
    assert queue.ask("c") == 0


@pytest.mark.parametrize("nonsense", [0, -1, 1.5, True, "3", float("inf")])
@pytest.mark.parametrize("bound", ["max_concurrency", "per_minute"])
def test_nonsense(bound, nonsense):
    """A bound that makes no sense is refused at once."""
    with pytest.raises(SettingError, match=rf"Limiter\({bound}={nonsense!r}\): {bound} must be 1 or more, or None"):
        Limiter(**{bound: nonsense})


def test_no_bound():
    """A limiter that bounds nothing is a mistake."""
    with pytest.raises(SettingError, match="limits nothing; give max_concurrency=, per_minute= or both"):
        Limiter()


@pytest.mark.parametrize("nonsense", [3, "3", object(), Limiter])
def test_node_refuses_what_is_no_limiter(nonsense):
    """A number is no limiter: it would be a bound for each node by itself."""
    with pytest.raises(SettingError, match="limiter must be a Limiter or None"):
        Node(limiter=nonsense)


def test_stays_one_and_the_same():
    """A limiter that were copied would be two; so it is not."""
    limiter = Limiter(2, 30)
    assert copy.copy(limiter) is limiter
    assert copy.deepcopy({"limiter": limiter})["limiter"] is limiter
    with pytest.raises(TypeError, match="share the object itself"):
        pickle.dumps(limiter)
    assert repr(limiter) == "Limiter(max_concurrency=2, per_minute=30)"


# --- in runs ---------------------------------------------------------------------------------------------------------


class Meter:
    """Counts calls in flight."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.calls = 0

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.calls += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *exc: object) -> None:
        with self.lock:
            self.now -= 1


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
@pytest.mark.parametrize("limit", [1, 3])
def test_never_more_than_the_limit(mode, limit):
    """Where the node allows more at once, the limiter's bound holds, and it is made use of."""
    meter, full = Meter(), Signal()

    def check():
        if meter.now == limit:
            full.set()

    async def task():
        with meter:
            check()
            await full.seen()

    def work(node, item):
        if "threads" not in mode:
            return task()
        with meter:
            check()
            full.wait()

    limiter = Limiter(limit)
    go(mode, items_node(mode, work, max_concurrency=8, limiter=limiter), {"items": range(20)})
    assert (meter.calls, meter.most) == (20, limit)
    assert is_free(limiter, limit)


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_coroutine_of_a_plain_exec_is_limited(mode):
    """A plain ``exec`` that returns a coroutine holds its slot until that has ended."""
    meter = Meter()

    async def ask():
        with meter:
            for _ in range(3):
                await asyncio.sleep(0)

    class Plain(Items):
        def exec(self, item):
            return ask()

    limiter = Limiter(2)
    go(mode, Plain(max_concurrency=8, limiter=limiter), {"items": range(20)})
    assert meter.calls == 20
    assert meter.most <= 2
    assert is_free(limiter, 2)


def test_two_nodes_share_a_limiter():
    """Two nodes of one flow, walked side by side, share the slots of their limiter."""
    meter = Meter()

    class Ask(Node):
        def exec(self, prep_res):
            with meter:
                pass

    class AskAsync(Node):
        async def exec(self, prep_res):
            with meter:
                await asyncio.sleep(0)

    class Sets(BatchFlow):
        def prep(self, shared):
            return [{"n": n} for n in range(10)]

    limiter = Limiter(2)
    first = Ask(limiter=limiter)
    first >> AskAsync(limiter=limiter) >> Ask(limiter=limiter)
    flow = Sets(first, max_concurrency=None)
    flow.run({})
    assert meter.calls == 30
    assert meter.most <= 2
    assert is_free(limiter, 2)


def test_runs_in_threads_and_on_a_loop_share_a_limiter():
    """64 threads in two runs and 1,000 tasks in a third share one limiter, which is never passed."""
    meter, limiter = Meter(), Limiter(8)
    start = threading.Barrier(3, timeout=PATIENCE)

    class Blocking(Items):
        def exec(self, item):
            with meter:
                return item

    class Awaited(Items):
        async def exec(self, item):
            with meter:
                await asyncio.sleep(0)
                return item

    done = Counter()

    def run(name, mode, node, count):
        start.wait()
        shared = {"items": range(count)}
        go(mode, node, shared)
        done[name] = shared["results"] == list(range(count))

    runs = [
        ("first", "threads", Blocking(max_concurrency=32, limiter=limiter), 300),
        ("second", "threads", Blocking(max_concurrency=32, limiter=limiter), 300),
        ("third", "awaited", Awaited(max_concurrency=None, limiter=limiter), 1000),
    ]
    threads = [threading.Thread(target=run, args=each, daemon=True) for each in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3 * PATIENCE)

    assert done == {"first": True, "second": True, "third": True}
    assert meter.calls == 1600
    assert meter.most <= 8
    assert is_free(limiter, 8)


@pytest.mark.parametrize("mode", MODES)
def test_per_minute_in_a_run(mode):
    """In no minute of the limiter's clock do more attempts start than may."""
    clock = Clock(step=0.0002)  # time goes by as it is looked at, so that the last bit of a minute can be waited for
    starts = []

    def work(node, item):
        starts.append(clock.now)
        clock.now += 29.999
        if item == "flaky" and node.cur_retry == 0:
            raise ValueError

    node = items_node(mode, work, limiter=Limiter(per_minute=2, clock=clock), max_retries=2, max_concurrency=1)
    go(mode, node, {"items": ["flaky", 1, 2, 3, 4]})

    assert len(starts) == 6
    # A start is granted a moment before exec sees the clock; two windows further on, a minute has gone by.
    assert all(later - earlier >= 59.99 for earlier, later in zip(starts, starts[2:], strict=False))


def test_attempts_count_and_fallbacks_do_not():
    """Every attempt asks the limiter, the fallback does not: it is there to answer without the model."""
    limiter = Limiter(per_minute=3, clock=Clock())

    class Ask(Items):
        def exec(self, item):
            raise ValueError

        def exec_fallback(self, prep_res, exc):
            return "made up"

    shared = {"items": ["a"]}
    Ask(max_retries=3, limiter=limiter).run(shared)
    assert shared["results"] == ["made up"]
    assert not is_free(limiter)


@pytest.mark.parametrize("mode", MODES)
def test_slot_comes_back_after_an_error(mode):
    """A failing attempt gives its slot back, also while it waits for the next one."""

    def work(node, item):
        raise ValueError(item)

    limiter = Limiter(1)
    node = items_node(mode, work, limiter=limiter, max_retries=2, wait=0.001, on_error="keep")
    with pytest.raises(RuntimeError, match="all 5 items failed"):
        go(mode, node, {"items": range(5)})
    assert is_free(limiter)


def test_slot_is_free_while_a_retry_waits():
    """A call that waits for its next attempt holds no slot."""

    class Ask(Items):
        async def exec(self, item):
            if item == 0:
                raise ValueError
            return item

    async def main():
        run = asyncio.ensure_future(node.run_async({"items": [0, 1]}, subscribers=[succeeded]))
        await succeeded.signal.seen()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    limiter = Limiter(1)
    succeeded = When("call_finished", "ok")
    node = Ask(max_retries=2, wait=3600, max_concurrency=2, limiter=limiter)
    asyncio.run(main())
    assert statuses(node) == ["cancelled", "ok"]
    assert is_free(limiter)


@pytest.mark.parametrize("mode", ["tasks", "awaited"])
def test_slot_comes_back_after_a_timeout(mode):
    """A task that ran into its timeout gives its slot back to the next one."""

    async def for_ever():
        await asyncio.Event().wait()

    limiter = Limiter(1)
    node = items_node(mode, lambda node, item: for_ever() if item == 0 else item, timeout=0.05, limiter=limiter)
    node.on_error = "keep"
    shared = {"items": [0, 1, 2]}
    go(mode, node, shared)
    assert shared["results"] == [None, 1, 2]
    assert is_free(limiter)


def test_slot_of_an_abandoned_call_comes_back_when_it_ends():
    """A blocking call that ran into its timeout still uses the model: its slot comes back when it really ends."""
    limiter, release, ended = Limiter(1), Signal(), Signal()

    class Slow(Node):
        def exec(self, prep_res):
            release.wait()

    with pytest.raises(CallTimeoutError, match="exec took longer"):
        Slow(timeout=0.02, limiter=limiter).run({})
    ticket = limiter.request(Ticket(ended.set))
    assert limiter.seconds_left(ticket) is None

    release.set()
    ended.wait()
    assert limiter.seconds_left(ticket) == 0


@pytest.mark.parametrize("mode", ["inline", "awaited threads"])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_slot_comes_back_after_an_interrupt(mode, kind):
    """An interrupt inside a limited call gives its slot back, so that the next cell can use it."""

    def work(node, item):
        if item == 1:
            raise kind
        return item

    limiter = Limiter(1)
    node = items_node(mode, work, limiter=limiter, max_concurrency=1)
    with pytest.raises(kind):
        go(mode, node, {"items": [0, 1, 2]})
    assert is_free(limiter)


def test_slots_come_back_after_a_cancel():
    """Cancelling an awaited run gives back the slots of its calls and their places in the queue."""

    class Ask(Items):
        async def exec(self, item):
            begun.set()
            await asyncio.Event().wait()

    async def main():
        run = asyncio.ensure_future(node.run_async({"items": range(10)}))
        await begun.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    begun = asyncio.Event()
    limiter = Limiter(2)
    node = Ask(max_concurrency=None, limiter=limiter)
    asyncio.run(main())
    assert statuses(node) == ["cancelled"] * 10
    assert is_free(limiter, 2)


def test_slots_come_back_when_an_executor_refuses():
    """An executor that takes no call leaves no slot in use."""

    class Refusing:
        def submit(self, fn, /, *args, **kwargs):
            raise RuntimeError("closed")

    limiter = Limiter(1)
    node = items_node("threads", lambda node, item: item, limiter=limiter)
    with pytest.raises(RuntimeError, match="closed"):
        node.run({"items": [0, 1]}, executor=Refusing())
    assert is_free(limiter)


def test_first_failure_empties_the_queue():
    """When a batch stops at its first failure, its calls that wait for the limiter leave the queue."""
    limiter, queued = Limiter(1), When("call_started", times=4)

    def work(node, item):
        queued.signal.wait()
        raise LookupError(item)

    node = items_node("threads", work, limiter=limiter, max_concurrency=4)
    with pytest.raises(LookupError):
        node.run({"items": range(8)}, subscribers=[queued])
    assert statuses(node) == ["failed"] + 3 * ["cancelled"] + 4 * ["pending"]
    assert is_free(limiter)


def test_limiter_in_a_nested_run_of_its_own_holder():
    """Flows side by side hold a slot only during their calls, so that one slot is enough for all of them."""
    limiter = Limiter(1)
    node = items_node("threads", lambda node, item: item, limiter=limiter)
    shared = {"items": [1, 2]}
    Flow(Flow(node)).run(shared)
    assert shared["results"] == [1, 2]


# ---- a run inside a call ---------------------------------------------------------------------------------------------


class Inner(Node):
    def exec(self, prep_res):
        return 1


NESTED = (
    r"Inner would wait forever for Limiter\(max_concurrency=1, per_minute=None\): calls hold all its slots, and "
    r"the flows that they run need a slot too: Outer\. Give the inner node a Limiter of its own"
)


def nested(way, limiter, **settings):
    """A node whose exec runs another node, both with the same limiter."""
    inner = Inner(limiter=limiter)

    class Plain(Node):
        def exec(self, prep_res):
            inner.run({})
            return inner.last_run.status

    class Awaits(Node):
        async def exec(self, prep_res):
            if way == "gathered":
                await asyncio.gather(inner.run_async({}))
            elif way == "in a thread":
                await asyncio.to_thread(inner.run, {})
            else:
                await inner.run_async({})
            return inner.last_run.status

    return (Plain if way in ("plain", "plain in a thread") else Awaits)(limiter=limiter, name="Outer", **settings)


@pytest.mark.parametrize("way", ["plain", "plain in a thread", "awaited", "gathered", "in a thread"])
@pytest.mark.parametrize("mode", ["inline", "awaited"])
def test_nested_run_that_waits_for_its_own_slot(mode, way):
    """A call that runs a node which needs the call's own slot fails at once; the text names both nodes."""
    limiter = Limiter(1)
    outer = nested(way, limiter, timeout=PATIENCE if way == "plain in a thread" else None)
    with pytest.raises(NestedLimiterError, match=NESTED):
        go(mode, outer, {})
    assert is_free(limiter)


@pytest.mark.parametrize("way", ["plain", "awaited"])
def test_nested_run_with_a_slot_to_spare(way):
    """With a slot to spare, a run inside a call takes it."""
    limiter = Limiter(2)
    outer = nested(way, limiter)
    outer.run({})
    assert is_free(limiter, 2)


def test_nested_run_with_a_limit_per_minute_alone():
    """A limiter without a bound of concurrency can be used inside its own calls: only time is waited for."""
    nested("plain", Limiter(per_minute=10)).run({})


def test_nested_run_with_a_limiter_of_its_own():
    """The way out that the error names works."""
    inner = Inner(limiter=Limiter(1))

    class Outer(Node):
        def exec(self, prep_res):
            inner.run({})

    Outer(limiter=Limiter(1)).run({})
    assert inner.last_run.status == "ok"


@pytest.mark.parametrize("mode", ["threads", "tasks"])
def test_nested_runs_of_two_holders(mode):
    """Two calls hold both slots. The first to run a flow waits; the second cannot be served and fails."""
    limiter = Limiter(2)
    both = Both(mode)
    inner = [Inner(limiter=limiter, name=f"Inner{n}") for n in range(2)]

    def work(node, item):
        if mode == "threads":
            both.wait()
            inner[item].run({})
            return inner[item].last_run.status
        return later(item)

    async def later(item):
        await both.seen()
        await inner[item].run_async({})
        return inner[item].last_run.status

    outer = items_node(mode, work, max_concurrency=2, limiter=limiter, on_error="keep")
    outer.run({"items": [0, 1]})
    assert sorted(statuses(outer)) == ["failed", "ok"]
    assert is_free(limiter, 2)


class Both:
    """A barrier for two threads or two tasks."""

    def __init__(self, mode):
        self.wait = threading.Barrier(2, timeout=PATIENCE).wait
        self.left, self.full = 2, asyncio.Event()

    async def seen(self):
        self.left -= 1
        if not self.left:
            self.full.set()
        await self.full.wait()


def test_nested_run_waits_for_a_holder_that_can_finish():
    """While another holder works and waits for nothing, a run inside a call waits for it."""
    limiter = Limiter(2)
    waits = threading.Event()
    queued = When("attempt_started")
    inner = Inner(limiter=limiter)

    class Queue:
        """Lets the other holder finish once the inner call is known to wait."""

        def handle(self, event):
            if event.kind == "call_started":
                waits.set()

    def work(node, item):
        if item == "works":
            assert waits.wait(PATIENCE)
            return "worked"
        queued.signal.wait()
        inner.run({}, subscribers=[Queue()])
        return inner.last_run.status

    outer = items_node("threads", work, max_concurrency=2, limiter=limiter)
    shared = {"items": ["nests", "works"]}
    outer.run(shared, subscribers=[queued])
    assert shared["results"] == ["ok", "worked"]
    assert is_free(limiter, 2)


def test_submitted_run_inside_a_call_waits():
    """A run that a call submits and does not wait for gets the call's slot after it."""
    limiter = Limiter(1)
    inner = Inner(limiter=limiter)
    handles = []

    class Outer(Node):
        def exec(self, prep_res):
            handles.append(inner.submit({}))

    Outer(limiter=limiter).run({})
    assert handles[0].wait(PATIENCE)
    assert handles[0].run.status == "ok"
