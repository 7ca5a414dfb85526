"""How ``exec`` is called: attempts and the waits between them, fallbacks, timeouts, and where an attempt runs."""

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from datetime import datetime, timedelta
from decimal import Decimal
from queue import SimpleQueue

import numpy as np
import pytest

from llmflow_nb import (
    AllFailedError,
    BatchNode,
    CallTimeoutError,
    ExecutorError,
    Flow,
    FlowWarning,
    NestedLoopError,
    Node,
    SettingError,
)
from tests.engine.helpers import MODES, PATIENCE, SIDE_BY_SIDE, Items, Signal, Square, When, go, items_node, statuses

# --- attempts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_retry_until_it_succeeds(mode):
    """A call is tried again until it succeeds, and the row counts its attempts."""

    def work(node, item):
        if node.cur_retry < item:
            raise ValueError(item)
        return item * 10

    node = items_node(mode, work, max_retries=3)
    shared = {"items": [0, 1, 2]}
    go(mode, node, shared)

    assert shared["results"] == [0, 10, 20]
    assert [row.attempts for row in node.last_run.batch(node)] == [1, 2, 3]
    assert node.last_run.calls == 6


@pytest.mark.parametrize("mode", MODES)
def test_retry_gives_up(mode):
    """After ``max_retries`` attempts the last error goes up, with its type and a note that says where."""
    attempts = []

    def work(node, item):
        attempts.append(node.cur_retry)
        raise ValueError(f"attempt {node.cur_retry}")

    node = items_node(mode, work, max_retries=3, name="Map")
    with pytest.raises(ValueError, match="attempt 2") as caught:
        go(mode, node, {"items": ["only"]})

    assert attempts == [0, 1, 2]
    assert caught.type is ValueError
    (note,) = caught.value.__notes__
    assert "in Map, item 1 of 1 (row 0), attempt 3 of 3" in note


@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_counters_are_not_shared(mode):
    """Calls side by side on one node each get all of their attempts."""
    attempts = Counter()
    turn = threading.Barrier(4, timeout=PATIENCE)

    async def in_step(item):
        await asyncio.sleep(0)  # lets the others in between
        raise ValueError(item)

    def work(node, item):
        attempts[item, node.cur_retry] += 1
        if "threads" not in mode:
            return in_step(item)
        turn.wait()
        raise ValueError(item)

    node = items_node(mode, work, max_retries=3, on_error="keep")
    with pytest.raises(RuntimeError, match="all 4 items failed"):
        go(mode, node, {"items": [0, 1, 2, 3]})

    assert attempts == {(item, attempt): 1 for item in range(4) for attempt in range(3)}
    assert [row.attempts for row in node.last_run.batch(node)] == [3, 3, 3, 3]


def test_plain_node_is_retried():
    """A node that is no batch is tried again as well; its visit counts the attempts."""
    attempts = []

    class Flaky(Node):
        def exec(self, prep_res):
            attempts.append(self.cur_retry)
            if len(attempts) < 3:
                raise ValueError
            return "answer"

        def post(self, shared, prep_res, exec_res):
            shared["answer"] = exec_res

    node, shared = Flaky(max_retries=5), {}
    node.run(shared)

    assert attempts == [0, 1, 2]
    assert shared == {"answer": "answer"}
    assert node.last_run.visits[0].attempts == 3


def test_run_inside_an_attempt_counts_anew():
    """A run inside an attempt that is tried again starts from attempt 0."""
    seen = []

    class Inner(Node):
        def exec(self, prep_res):
            seen.append(("inner", self.cur_retry))

    class Outer(Node):
        def exec(self, prep_res):
            Inner().run({})
            seen.append(("outer", self.cur_retry))
            if self.cur_retry == 0:
                raise ValueError

    Outer(max_retries=2).run({})
    assert seen == [("inner", 0), ("outer", 0), ("inner", 0), ("outer", 1)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("on_error", ["raise", "keep"])
@pytest.mark.parametrize("mode", ["inline", "threads", "awaited threads"])
def test_exit_is_never_retried(mode, on_error, kind):
    """What is no ``Exception`` is neither tried again nor kept: it ends the run."""
    attempts = []

    def work(node, item):
        attempts.append(item)
        raise kind

    node = items_node(mode, work, max_retries=3, max_concurrency=1, on_error=on_error, timeout=PATIENCE)
    if mode == "inline":
        node.timeout = None
    with pytest.raises(kind):
        go(mode, node, {"items": [0, 1]})

    assert attempts == [0]
    assert node.last_run.status == "interrupted"


@pytest.mark.parametrize("hook", ["prep", "exec", "post"])
@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
def test_exit_in_an_async_hook(hook, kind):
    """An exit in an async hook ends the run, and the next run with async hooks works."""
    signature = {"prep": "shared", "exec": "prep_res", "post": "shared, prep_res, exec_res"}[hook]
    # In a process of its own: an error here would leave this one without its background loop.
    code = f"""
from llmflow_nb import Node

class Leaving(Node):
    async def {hook}(self, {signature}):
        raise {kind}

class Staying(Node):
    async def exec(self, prep_res):
        print("exec again")

node = Leaving()
try:
    node.run({{}})
except {kind}:
    print("raised,", node.last_run.status)
Staying().run({{}})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout.splitlines() == ["raised, interrupted", "exec again"], done.stderr


# --- waiting between attempts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_wait_function(mode):
    """``wait`` as a function is asked after every failed attempt but the last, with the number of that attempt."""
    asked = []

    def wait(attempt):
        asked.append(attempt)
        return 0.001

    def work(node, item):
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        go(mode, items_node(mode, work, max_retries=3, wait=wait), {"items": [0]})
    assert asked == [1, 2]


@pytest.mark.parametrize("mode", ["inline", "tasks"])
@pytest.mark.parametrize("nonsense", [None, "soon", float("nan")])
def test_wait_function_returns_nonsense(mode, nonsense):
    """What ``wait`` returned is named in a warning when it is no number of seconds; the error stays that of exec."""

    def work(node, item):
        raise ValueError

    node = items_node(mode, work, max_retries=3, wait=lambda attempt: nonsense, name="Map")
    with (
        pytest.warns(FlowWarning, match=rf"Map: the wait function returned {nonsense!r}, which is not a number"),
        pytest.raises(ValueError),  # noqa: PT011
    ):
        go(mode, node, {"items": [0]})


class Busy(Exception):
    """As an endpoint's client raises it: it says how many seconds to leave the endpoint alone."""

    def __init__(self, retry_after):
        super().__init__("busy")
        self.retry_after = retry_after


@pytest.mark.parametrize(("error", "wait"), [(ValueError(0), 3600), (Busy(100), 0)], ids=["wait", "retry_after"])
def test_wait_holds_the_next_attempt_back(error, wait):
    """While a call waits for its next attempt, nothing of it runs; the other items go on.

    It waits as ``wait`` says, or where the error asks for more seconds in ``retry_after``, for so many.
    """
    attempts = []

    class Waiting(Items):
        async def exec(self, item):
            attempts.append(item)
            if item == 0:
                raise error
            if item == 3:
                all_begun.set()

    async def main():
        run = asyncio.ensure_future(node.run_async({"items": [0, 1, 2, 3]}))
        await asyncio.wait_for(all_begun.wait(), PATIENCE)
        for _ in range(20):
            await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    all_begun = asyncio.Event()
    node = Waiting(max_retries=2, wait=wait, max_concurrency=2)
    asyncio.run(main())

    assert attempts == [0, 1, 2, 3]
    assert statuses(node) == ["cancelled", "ok", "ok", "ok"]
    row = next(iter(node.last_run.batch(node)))
    assert row.attempts == 1
    assert row.error is error


def test_a_retry_after_that_raises():
    """A name that an exception uses for something else takes nothing away from it."""

    class Odd(Exception):
        @property
        def retry_after(self):
            raise KeyError("headers")

    class Asks(Node):
        def exec(self, _):
            raise Odd("busy")

    node = Asks(max_retries=2)
    with pytest.raises(Odd, match="busy"):
        node.run({})
    assert node.last_run.calls == 2


@pytest.mark.parametrize(
    ("retry_after", "attempts"),
    [
        (0, 3),
        (-1, 3),
        ("soon", 3),
        (None, 3),
        (float("nan"), 3),
        (True, 3),
        (b"7", 3),
        ("0.001", 3),
        (np.float64(0.001), 3),
        (Decimal("0.001"), 3),
        (timedelta(milliseconds=1), 3),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 3),
        (datetime(2015, 10, 21), 3),
        (datetime.max, 1),
        (3600, 1),
        (np.int64(3600), 1),
        (10**400, 1),
        ("3600", 1),
        (" 3600 ", 1),
        (timedelta(hours=1), 1),
        ("Fri, 21 Oct 2415 07:28:00 GMT", 1),
        (float("inf"), 1),
    ],
    ids=repr,
)
@pytest.mark.parametrize("mode", MODES)
def test_how_many_attempts_an_error_with_retry_after_gets(mode, retry_after, attempts):
    """What is no time, or is over, or less than ``wait``, changes nothing; an hour is not waited for."""

    def work(node, item):
        raise Busy(retry_after)

    node = items_node(mode, work, max_retries=3, on_error="keep")
    with pytest.raises(AllFailedError):
        go(mode, node, {"items": [0]})
    (row,) = node.last_run.batch(node)
    assert row.attempts == attempts


@pytest.mark.parametrize("setting", ["wait", "timeout"])
def test_more_seconds_than_a_clock_has(setting):
    """No end of seconds is either refused when it is set, or is no end."""

    def work(node, item):
        if item == 1 and node.cur_retry == 0:
            raise ValueError(item)

    try:
        node = items_node("threads", work, **{setting: float("inf")})
    except SettingError:
        return
    node.run({"items": [0]})
    assert node.last_run.status == "ok"


# --- the fallback ----------------------------------------------------------------------------------------------------


def fallbacks():
    class Modern(BatchNode):
        def exec_fallback(self, prep_res, exc):
            return prep_res, exc

    class Shared(BatchNode):
        def exec_fallback(self, shared, prep_res, exc):
            return (prep_res, exc) if shared["items"] else None

    class First(BatchNode):
        def process_after_fail(self, shared, prep_res, exc):
            return (prep_res, exc) if shared["items"] else None

    class FirstShort(BatchNode):
        def process_after_fail(self, prep_res, exc):
            return prep_res, exc

    class Async(BatchNode):
        async def exec_fallback(self, prep_res, exc):
            await asyncio.sleep(0)
            return prep_res, exc

    class AsyncShared(BatchNode):
        async def process_after_fail(self, shared, prep_res, exc):
            await asyncio.sleep(0)
            return (prep_res, exc) if shared["items"] else None

    return [Modern, Shared, First, FirstShort, Async, AsyncShared]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fallback", fallbacks(), ids=lambda cls: cls.__name__)
def test_fallback_result_stands_at_its_index(mode, fallback):
    """Under either name and with either signature, the fallback's answer takes the place of the failed call's."""

    def work(node, item):
        if item == 1:
            raise ValueError(f"attempt {node.cur_retry}")
        return item

    made = items_node(mode, work)
    node = type("Node", (type(made), fallback), {})(max_retries=2, max_concurrency=made.max_concurrency)
    shared = {"items": [0, 1, 2]}
    go(mode, node, shared)

    first, (item, error), last = shared["results"]
    assert (first, item, last) == (0, 1, 2)
    assert str(error) == "attempt 1"
    assert statuses(node) == ["ok", "fallback", "ok"]
    assert [row.attempts for row in node.last_run.batch(node)] == [1, 2, 1]


@pytest.mark.parametrize("mode", MODES)
def test_cur_retry_in_the_fallback(mode):
    """The fallback reads the number of the attempt that failed last, as in PocketFlow."""
    read = []

    class Reading(BatchNode):
        def exec_fallback(self, prep_res, exc):
            read.append(self.cur_retry)

    def work(node, item):
        raise ValueError

    made = items_node(mode, work)
    node = type("Node", (type(made), Reading), {})(max_retries=3, max_concurrency=made.max_concurrency)
    go(mode, node, {"items": [0, 1]})
    assert read == [2, 2]


@pytest.mark.parametrize("mode", MODES)
def test_fallback_raises(mode):
    """A fallback that raises ends the call with its own error, and is asked once."""
    asked = []

    class Failing(BatchNode):
        def exec_fallback(self, prep_res, exc):
            asked.append(prep_res)
            raise LookupError("no answer either") from exc

    def work(node, item):
        raise ValueError

    made = items_node(mode, work)
    node = type("Node", (type(made), Failing), {})(max_retries=2, max_concurrency=made.max_concurrency)
    with pytest.raises(LookupError, match="no answer either") as caught:
        go(mode, node, {"items": [0]})

    assert asked == [0]
    assert isinstance(caught.value.__cause__, ValueError)
    assert statuses(node) == ["failed"]


def test_fallback_of_a_plain_node():
    """The visit of a node that was answered by its fallback says so."""

    class Fallback(Node):
        def exec(self, prep_res):
            raise ValueError

        def exec_fallback(self, prep_res, exc):
            return "made up"

        def post(self, shared, prep_res, exec_res):
            return exec_res

    node = Fallback()
    assert node.run({}) == "made up"
    assert node.last_run.visits[0].status == "fallback"


# --- timeouts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["tasks", "awaited"])
def test_timeout_cancels_a_task(mode):
    """An ``async def exec`` that takes too long is cancelled, each attempt anew."""
    cancelled = SimpleQueue()

    async def for_ever(item):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.put(item)
            raise

    node = items_node(mode, lambda node, item: for_ever(item), timeout=0.02, max_retries=2, name="Map")
    with pytest.raises(CallTimeoutError, match=r"Map: exec took longer than 0\.02 s") as caught:
        go(mode, node, {"items": ["slow"]})

    assert isinstance(caught.value, TimeoutError)
    assert [cancelled.get(timeout=PATIENCE) for _ in range(2)] == ["slow", "slow"]
    assert node.last_run.abandoned == 0
    assert [row.attempts for row in node.last_run.batch(node)] == [2]


@pytest.mark.parametrize("mode", ["threads", "awaited threads"])
def test_timeout_abandons_a_thread(mode):
    """A blocking call that takes too long fails, is tried again, and is counted, since it cannot be stopped."""
    release = Signal()

    def work(node, item):
        if item == "slow" and node.cur_retry < 2:
            release.wait()
        return node.cur_retry

    node = items_node(mode, work, timeout=0.05, max_retries=3)
    shared = {"items": ["quick", "slow"]}
    try:
        go(mode, node, shared)
    finally:
        release.set()

    assert shared["results"] == [0, 2]
    assert node.last_run.abandoned == 2


def test_timeout_of_one_at_a_time():
    """A timeout holds without ``max_concurrency`` too: the call then runs in a thread."""
    release = Signal()

    class Slow(Node):
        def exec(self, prep_res):
            release.wait()

    node = Slow(timeout=0.02)
    try:
        with pytest.raises(CallTimeoutError, match="exec took longer"):
            node.run({})
    finally:
        release.set()
    assert node.last_run.abandoned == 1
    assert node.last_run.visits[0].status == "failed"


def test_late_result_goes_nowhere():
    """What an abandoned call returns in the end lands in no row, while the run is still going."""
    release, ended = Signal(), Signal()

    class Batch(Items):
        def exec(self, item):
            if item == "slow":
                release.wait()
                ended.set()
                return "late"
            return item

    class After(Node):
        def exec(self, prep_res):
            release.set()
            ended.wait()

    batch = Batch(max_concurrency=2, timeout=0.05, on_error="keep")
    batch >> After(timeout=PATIENCE)
    flow, shared = Flow(batch), {"items": ["slow", "quick", "quicker"]}
    flow.run(shared)

    assert shared["results"] == [None, "quick", "quicker"]
    assert statuses(flow, batch) == ["failed", "ok", "ok"]
    assert [type(error) for error in flow.last_run.batch(batch).exceptions] == [CallTimeoutError]


@pytest.mark.parametrize("mode", ["tasks", "awaited"])
def test_timeout_that_is_answered_with_a_result(mode):
    """A task that answers its cancellation with a result stays a row that took too long."""

    async def answer(item):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "late"

    node = items_node(mode, lambda node, item: answer(item) if item else item, timeout=0.05, on_error="keep")
    shared = {"items": [0, 1]}
    go(mode, node, shared)
    assert shared["results"] == [0, None]
    assert statuses(node) == ["ok", "failed"]
    assert type(node.last_run.batch(node)[1].error) is CallTimeoutError


@pytest.mark.parametrize("in_time", [True, False], ids=["run going", "run over"])
def test_late_coroutine_is_closed(in_time):
    """A coroutine that an abandoned call returns in the end is neither run nor left un-awaited."""
    release, late, asked = Signal(), Signal(), []

    async def ask(item):
        asked.append(item)

    class Plain(Items):
        def exec(self, item):
            if item == "slow":
                release.wait()
                late.set()
            return ask(item)

    class After(Node):
        def exec(self, prep_res):
            release.set()
            late.wait()

    batch = Plain(max_concurrency=2, timeout=0.05, on_error="keep")
    if in_time:
        batch >> After(timeout=PATIENCE)
    flow = Flow(batch)
    flow.run({"items": ["slow", "quick"]})
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("llmflow_nb-call"):
            thread.join(PATIENCE)
    gc.collect()  # which would complain

    assert asked == ["quick"]


# --- where an attempt runs -------------------------------------------------------------------------------------------


def test_one_at_a_time_runs_in_the_callers_thread():
    """Without concurrency, timeout or executor, ``exec`` runs where ``run()`` was called, retries included."""
    threads = set()

    def work(node, item):
        threads.add(threading.current_thread())
        if node.cur_retry == 0:
            raise ValueError

    items_node("inline", work, max_retries=2).run({"items": [0, 1]})
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("mode", MODES)
def test_prep_and_post_stay_in_the_callers_thread(mode):
    """``prep`` and ``post`` run where the run was started, wherever ``exec`` runs."""
    threads = []

    class Watched(BatchNode):
        def prep(self, shared):
            threads.append(threading.current_thread())
            return super().prep(shared)

        def post(self, shared, prep_res, exec_res):
            threads.append(threading.current_thread())

    made = items_node(mode, lambda node, item: None)
    go(mode, type("Node", (Watched, type(made)), {})(max_concurrency=made.max_concurrency), {"items": [0, 1]})
    assert threads == [threading.current_thread()] * 2


@pytest.mark.parametrize("limit", [2, 3, None])
@pytest.mark.parametrize("mode", SIDE_BY_SIDE)
def test_max_concurrency(mode, limit):
    """So many calls run at once, and never more; None sets no bound."""
    size = limit or 6
    here, most = 0, 0
    lock = threading.Lock()
    full = Signal()

    def enter(_item):
        nonlocal here, most
        with lock:
            here += 1
            most = max(most, here)
            if here == size:
                full.set()

    def leave():
        nonlocal here
        with lock:
            here -= 1

    async def task(item):
        enter(item)
        await full.seen()
        leave()

    def work(node, item):
        if "threads" not in mode:
            return task(item)
        enter(item)
        full.wait()
        leave()
        return None

    go(mode, items_node(mode, work, max_concurrency=limit), {"items": range(6)})
    assert most == size


@pytest.mark.parametrize("mode", ["inline", "awaited threads"])
def test_executor_of_the_user(mode):
    """Calls run in the executor that is given, which is left open."""
    names = []

    def work(node, item):
        names.append(threading.current_thread().name)
        return item

    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool:
        shared = {"items": [0, 1, 2]}
        go(mode, items_node(mode, work), shared, executor=pool)
        assert pool.submit(int).result() == 0

    assert shared["results"] == [0, 1, 2]
    assert all(name.startswith("mine") for name in names)


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_process_pool(processes):
    """An importable node's calls run in other processes, with its params and its attempts."""
    node = Square(max_retries=2, max_concurrency=2)
    node >> Node()  # edges stay at home
    flow, shared = Flow(node), {"items": [1, -2, 3]}
    flow.set_params({"factor": 10})
    flow.run(shared, executor=processes)

    assert shared["results"] == [10, 40, 90]
    assert [row.attempts for row in flow.last_run.batch(node)] == [1, 2, 1]


def test_process_pool_leaves_the_settings_at_home(processes):
    """Settings that cannot be sent, such as a function for ``wait``, do not keep a call from being sent."""
    shared = {"items": [-3]}
    Square(max_retries=2, wait=lambda attempt: 0).run(shared, executor=processes)
    assert shared["results"] == [9]


def test_process_pool_runs_elsewhere(processes):
    """The process is another one."""
    node = Items()
    node.exec = os_getpid
    shared = {"items": [None]}
    node.run(shared, executor=processes)
    assert shared["results"] != [os.getpid()]


def os_getpid(item):
    return os.getpid()


class Refusing(Executor):
    """Takes a number of calls, then refuses."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.taken: list[Future] = []

    def submit(self, fn, /, *args, **kwargs):
        if len(self.taken) == self.takes:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.taken.append(Future())
        return self.taken[-1]


@pytest.mark.parametrize("takes", [0, 1])
@pytest.mark.parametrize("mode", ["threads", "awaited threads"])
def test_executor_refuses(mode, takes):
    """The error of an executor that takes no more calls goes up as it is, and the rows are closed."""
    executor = Refusing(takes)
    node = items_node(mode, lambda node, item: item)
    node.grace = 0
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        go(mode, node, {"items": [0, 1, 2]}, executor=executor)

    assert all(future.cancelled() for future in executor.taken)
    rows = statuses(node)
    assert len(rows) == 3
    assert set(rows) <= {"cancelled", "failed", "pending"}
    assert node.last_run.abandoned == takes  # what it took may run, whatever cancel() says
    assert node.last_run.status == "failed"


class Cancelling(Executor):
    """Takes calls and cancels them, as one does that was told to shut down."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.cancel()
        return future


@pytest.mark.parametrize("mode", ["threads", "awaited threads"])
def test_executor_cancels(mode):
    """A call that its executor cancelled is a failed row that says so, with its place, and ends the run."""
    node = items_node(mode, lambda node, item: item, max_concurrency=1)
    with pytest.raises(ExecutorError, match="the executor cancelled the call; was it shut down") as caught:
        go(mode, node, {"items": [0, 1]}, executor=Cancelling())
    assert caught.value.__notes__[0].startswith("in Blocking, item 1 of 2 (row 0)")
    assert statuses(node) == ["failed", "pending"]
    assert "was it shut down" in str(node.last_run.batch(node)[0].error)


class NoMoreThreads:
    """A subscriber that leaves no room for further threads once the attempt at an item has started."""

    def __init__(self, position):
        self.position = position

    def handle(self, event):
        if (event.kind, event.position) == ("attempt_started", self.position):
            try:
                threading.stack_size(1 << 46)
            except ValueError:
                pytest.skip("this system refuses a stack of that size before a thread is asked for")


@pytest.fixture
def stack_size():
    before = threading.stack_size()
    yield
    threading.stack_size(before)


@pytest.mark.usefixtures("stack_size")
@pytest.mark.parametrize("mode", ["threads", "awaited threads"])
def test_no_further_thread(mode):
    """A call for which the system has no thread left fails and is never made; one that has its thread is kept."""
    started = []
    failed = When("call_finished", "failed")

    def work(node, item):
        started.append(item)
        failed.signal.wait()
        return item * 10

    node = items_node(mode, work, max_concurrency=2)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        go(mode, node, {"items": [7, 8, 9]}, subscribers=[NoMoreThreads(1), failed])
    for thread in threading.enumerate():
        if thread.name.startswith("llmflow_nb-call"):
            thread.join(PATIENCE)

    assert started == [7]
    assert statuses(node) == ["ok", "failed", "pending"]
    assert node.last_run.batch(node).results == [70, None, None]
    assert node.last_run.abandoned == 0


def test_executor_is_none():
    """Something that cannot be submitted to is refused before anything runs."""
    with pytest.raises(SettingError, match=r"has no submit\(\)"):
        Node().run({}, executor="threads")


# --- async hooks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_plain_exec_that_returns_a_coroutine(mode):
    """What a plain ``exec`` returns un-awaited is awaited: ``def exec(self, x): return ask(x)``."""

    async def ask(item):
        await asyncio.sleep(0)
        return item + 1

    class Plain(Items):
        def exec(self, item):
            return ask(item)

    shared = {"items": [1, 2, 3]}
    go(mode, Plain(max_concurrency=1 if mode == "inline" else 4), shared)
    assert shared["results"] == [2, 3, 4]


@pytest.mark.parametrize("driver", ["run", "awaited"])
def test_plain_exec_of_a_node_that_returns_a_coroutine(driver):
    """So it is where there are no items."""

    async def ask(question):
        await asyncio.sleep(0)
        return f"not {question}"

    class Plain(Node):
        def prep(self, shared):
            return shared["question"]

        def exec(self, question):
            return ask(question)

        def post(self, shared, prep_res, exec_res):
            shared["answer"] = exec_res

    shared = {"question": "why"}
    go(driver, Flow(Plain()), shared)
    assert shared["answer"] == "not why"


@pytest.mark.parametrize("mode", ["tasks", "awaited"])
def test_every_hook_async(mode):
    """``prep``, ``exec``, ``exec_fallback`` and ``post`` may each be ``async def``."""

    class Async(Node):
        async def prep(self, shared):
            await asyncio.sleep(0)
            return shared["question"]

        async def exec(self, prep_res):
            await asyncio.sleep(0)
            raise ValueError(prep_res)

        async def exec_fallback(self, prep_res, exc):
            await asyncio.sleep(0)
            return f"no {prep_res}"

        async def post(self, shared, prep_res, exec_res):
            await asyncio.sleep(0)
            shared["answer"] = exec_res
            return "done"

    shared = {"question": "why"}
    assert go(mode, Async(max_retries=2), shared) == "done"
    assert shared["answer"] == "no why"


def test_async_hooks_run_on_the_callers_loop():
    """In ``run_async`` every async hook runs on the loop that awaits it."""
    loops = []

    class Async(Items):
        async def prep(self, shared):
            loops.append(asyncio.get_running_loop())
            return [1, 2]

        async def exec(self, item):
            loops.append(asyncio.get_running_loop())

        async def post(self, shared, prep_res, exec_res):
            loops.append(asyncio.get_running_loop())

    async def main():
        await Async(max_concurrency=2).run_async({})
        return asyncio.get_running_loop()

    assert set(loops) | {asyncio.run(main())} == set(loops)
    assert len(loops) == 4


def test_run_within_a_running_loop():
    """``run()`` works in a cell, where an event loop is running, also with async hooks."""

    class Async(Items):
        async def prep(self, shared):
            return shared["items"]

        async def exec(self, item):
            await asyncio.sleep(0)
            return item * 2

    async def cell():
        shared = {"items": [1, 2]}
        Async(max_concurrency=2).run(shared)
        return shared["results"]

    assert asyncio.run(cell()) == [2, 4]


@pytest.mark.parametrize("inner", ["prep", "exec", "post"])
@pytest.mark.parametrize("outer", ["prep", "exec", "post"])
def test_run_inside_an_async_hook(outer, inner):
    """``run()`` of async hooks on the very loop that it would wait for is refused, and says what to write."""

    async def nothing(self, *args):
        return None

    async def run_inner(self, *args):
        type("Inner", (Node,), {inner: _with_arguments(inner, nothing)})().run({})

    node = type("Outer", (Node,), {outer: _with_arguments(outer, run_inner)})()
    with pytest.raises(NestedLoopError, match=r"await flow\.run_async\(shared\)"):
        node.run({})


def _with_arguments(hook, function):
    if hook == "prep":

        async def method(self, shared):
            return await function(self)
    elif hook == "exec":

        async def method(self, prep_res):
            return await function(self)
    else:

        async def method(self, shared, prep_res, exec_res):
            return await function(self)

    return method


def test_plain_run_inside_an_async_hook():
    """``run()`` of plain hooks works inside an async hook."""

    class Inner(Items):
        def exec(self, item):
            return item * 2

    class Outer(Node):
        async def exec(self, prep_res):
            shared = {"items": [1, 2]}
            Inner(max_concurrency=2).run(shared)
            return shared["results"]

        def post(self, shared, prep_res, exec_res):
            shared["out"] = exec_res

    shared = {}
    Outer().run(shared)
    assert shared["out"] == [2, 4]


@pytest.mark.parametrize("mode", MODES)
def test_run_async_inside_an_async_hook(mode):
    """``await run_async()`` works inside an async hook, whoever drives the outer run."""

    class Inner(Items):
        async def exec(self, item):
            return item * 2

    async def inner(item):
        shared = {"items": [item]}
        await Inner(max_concurrency=2).run_async(shared)
        return shared["results"]

    shared = {"items": [1, 2]}
    go(mode, items_node(mode, lambda node, item: inner(item)), shared)
    assert shared["results"] == [[2], [4]]


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_run_inside_threads(kind):
    """``run()`` inside ``exec`` in threads works, also with async hooks."""

    def work(node, item):
        shared = {"items": [item, item]}
        items_node(kind, lambda node, item: item + 1).run(shared)
        return sum(shared["results"])

    shared = {"items": [1, 2, 3, 4]}
    items_node("threads", work).run(shared)
    assert shared["results"] == [4, 6, 8, 10]


VARIABLE = ContextVar("VARIABLE", default="unset")


@pytest.mark.parametrize("mode", [*MODES, "pool"])
def test_context_variables(mode):
    """A context variable set by the caller is seen in ``exec``, wherever it runs; set there, it stays there."""

    def work(node, item):
        seen = VARIABLE.get()
        if mode != "inline":
            VARIABLE.set(f"item {item}")
        return seen

    shared = {"items": [0, 1, 2, 3, 4]}
    token = VARIABLE.set("by the caller")
    try:
        with ThreadPoolExecutor(1) as pool:
            options = {"executor": pool} if mode == "pool" else {}
            go(mode, items_node(mode, work, max_concurrency=1 if mode == "inline" else 2), shared, **options)
        assert VARIABLE.get() == "by the caller"
    finally:
        VARIABLE.reset(token)
    assert shared["results"] == ["by the caller"] * 5
