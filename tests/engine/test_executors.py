"""The user's executor: what it is given, what comes back, and what is released."""

import asyncio
import multiprocessing
import os
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress

import pytest

from llmflow_nb import (
    BatchNode,
    ExecutorError,
    Flow,
    FlowWarning,
    Limiter,
    Node,
    RemoteError,
    SendError,
    StoppedError,
)
from tests.engine.helpers import PATIENCE, Items, Signal, When, go, items_node, statuses
from tests.fakes import GoneExecutor, LyingExecutor

MODES = ["threads", "awaited threads"]


# ---- futures are released --------------------------------------------------------------------------------------------


def alive(executor):
    executor.join()
    return sum(future() is not None for future in executor.futures)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("mode", MODES)
def test_futures_are_released(mode):
    """After a run no future of the executor is alive, so a cluster has nothing to make again."""
    executor = LyingExecutor()
    node = items_node(mode, lambda node, item: item, max_concurrency=3)
    go(mode, node, {"items": range(10)}, executor=executor)
    assert len(executor.futures) == 10
    assert alive(executor) == 0


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("mode", MODES)
def test_futures_are_released_as_calls_end(mode):
    """A finished call's future is released while the run goes on."""
    executor = LyingExecutor()
    counts = []

    def work(node, item):
        counts.append(sum(future() is not None for future in executor.futures))
        return item

    go(mode, items_node(mode, work, max_concurrency=1), {"items": range(20)}, executor=executor)
    assert max(counts) <= 2


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("on_error", ["raise", "keep"])
@pytest.mark.parametrize("mode", MODES)
def test_futures_are_released_after_failures(mode, on_error):
    """The futures of failed and of retried calls are released as well, though the record keeps the errors."""

    def work(node, item):
        if item % 3 == 1:
            raise LookupError(item)
        return item

    executor = LyingExecutor()
    node = items_node(mode, work, max_concurrency=3, max_retries=2, on_error=on_error)
    with suppress(LookupError):
        go(mode, node, {"items": range(10)}, executor=executor)
    assert "failed" in statuses(node)
    assert alive(executor) == 0


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("mode", MODES)
def test_futures_are_released_after_a_timeout(mode):
    """The future of a call that took too long is released: the executor alone keeps it."""
    release = Signal()
    executor = LyingExecutor()
    node = items_node(mode, lambda node, item: release.wait() if item else item, timeout=0.05, on_error="keep")
    go(mode, node, {"items": [0, 1, 2]}, executor=executor)
    release.set()
    assert statuses(node) == ["ok", "failed", "failed"]
    assert alive(executor) == 0


@pytest.mark.usefixtures("no_collector")
def test_futures_are_released_after_a_stop():
    """The futures of calls that a stop left in flight are released."""
    begun, release = Signal(), Signal()

    def work(node, item):
        begun.set()
        release.wait()

    executor = LyingExecutor()
    node = items_node("threads", work, max_concurrency=2)
    handle = node.submit({"items": range(4)}, executor=executor)
    begun.wait()
    assert handle.stop()
    release.set()
    assert alive(executor) == 0


@pytest.mark.usefixtures("no_collector")
def test_futures_are_released_after_an_interrupt():
    """The futures of calls that an interrupt left in flight are released, though the record keeps the interrupt."""
    release = Signal()

    class Interrupt:
        def handle(self, event):
            if event.kind == "attempt_started" and event.position == 2:
                raise KeyboardInterrupt

    executor = LyingExecutor()
    node = items_node("threads", lambda node, item: release.wait(), max_concurrency=4)
    with pytest.raises(KeyboardInterrupt):
        node.run({"items": range(4)}, executor=executor, subscribers=[Interrupt()])
    release.set()
    assert len(executor.futures) == 2
    assert alive(executor) == 0


# ---- cancel() that lies ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_calls_in_flight_finish_whatever_cancel_says(mode):
    """After a failure, calls in flight get their grace, though the executor would "cancel" them."""
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
    with pytest.raises(LookupError, match="no such item"):
        go(mode, node, {"items": range(4)}, executor=LyingExecutor(), subscribers=[failed])
    assert statuses(node) == ["failed", "ok", "pending", "pending"]
    assert node.last_run.batch(node).results == [None, 10, None, None]
    assert node.last_run.abandoned == 0


@pytest.mark.parametrize("mode", MODES)
def test_calls_that_outlive_the_grace_are_counted(mode):
    """A call that still runs after the grace counts as abandoned, whatever ``cancel()`` said of it."""
    begun, release = Signal(), Signal()

    def work(node, item):
        if item == 0:
            begun.wait()
            raise LookupError("no such item")
        begun.set()
        release.wait()

    node = items_node(mode, work, max_concurrency=2)
    node.grace = 0.01
    with pytest.raises(LookupError):
        go(mode, node, {"items": range(4)}, executor=LyingExecutor())
    release.set()
    assert statuses(node) == ["failed", "cancelled", "pending", "pending"]
    assert node.last_run.abandoned == 1


def test_slot_of_a_call_that_runs_on():
    """A call that goes on after a stop keeps its slot of the limiter until it ends, whatever ``cancel()`` said."""
    begun, release = threading.Semaphore(0), Signal()
    limiter = Limiter(2)

    def work(node, item):
        begun.release()
        release.wait()

    executor = LyingExecutor()
    node = items_node("threads", work, max_concurrency=4, limiter=limiter)
    handle = node.submit({"items": range(4)}, executor=executor)
    assert begun.acquire(timeout=PATIENCE)
    assert begun.acquire(timeout=PATIENCE)
    assert handle.stop()
    assert handle.run.abandoned == 2

    other = items_node("threads", lambda node, item: item, limiter=limiter)
    waiting = other.submit({"items": [1]})
    assert not waiting.wait(0.05)
    release.set()
    assert waiting.wait(PATIENCE)
    assert statuses(other) == ["ok"]


# ---- an executor that is gone ----------------------------------------------------------------------------------------

LOST = [None, asyncio.CancelledError("lost"), GeneratorExit()]


@pytest.mark.parametrize("error", LOST, ids=["cancelled", "CancelledError", "GeneratorExit"])
@pytest.mark.parametrize("mode", MODES)
def test_executor_gone_raises_an_exception(mode, error):
    """An executor that loses its calls ends the run with an ``Exception`` that has a place."""
    node = items_node(mode, lambda node, item: item, max_concurrency=1)
    with pytest.raises(ExecutorError, match=r"the executor (cancelled|lost) the call") as caught:
        go(mode, node, {"items": range(4)}, executor=GoneExecutor(2, error))
    assert "in Blocking, item 3 of 4 (row 2)" in caught.value.__notes__[0]
    assert statuses(node) == ["ok", "ok", "failed", "pending"]
    assert node.last_run.status == "failed"


@pytest.mark.parametrize("error", LOST, ids=["cancelled", "CancelledError", "GeneratorExit"])
@pytest.mark.parametrize("mode", MODES)
def test_executor_gone_is_not_asked_again(mode, error):
    """With ``keep``, every further item fails at once, without a retry: a cluster that is gone would take 30 s each."""
    executor = GoneExecutor(2, error)
    node = items_node(mode, lambda node, item: item, max_concurrency=1, on_error="keep", max_retries=3, wait=1000)
    go(mode, node, {"items": range(5)}, executor=executor)
    assert statuses(node) == ["ok", "ok", "failed", "failed", "failed"]
    assert executor.submitted == 3
    assert "the call was not made, because the executor had failed" in str(node.last_run.batch(node)[4].error)


def test_resume_after_the_executor_is_gone():
    """What an executor lost is called elsewhere by ``resume``, and nothing else is."""
    called = []
    node = items_node("threads", lambda node, item: called.append(item) or item, max_concurrency=1)
    shared = {"items": range(4)}
    with pytest.raises(ExecutorError):
        node.run(shared, executor=GoneExecutor(2))
    with ThreadPoolExecutor(1) as pool:
        node.last_run.resume(executor=pool)
    assert called == [0, 1, 2, 3]
    assert shared["results"] == [0, 1, 2, 3]


# ---- another process: outcomes ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


class ApiError(Exception):
    """Made as SDK errors are: what it requires is not what it tells pickle."""

    def __init__(self, message, *, response):
        super().__init__(message)
        self.response = response
        self.status_code = 429
        self.lock = threading.Lock()


class LocalError(Exception):
    """Says something else once it is pickled."""

    def __init__(self, code):
        super().__init__(f"code {code}")


class UnloadableResult:
    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise LookupError("not here")


def _local_class():
    class Local(Exception):
        retry_after = 7

    return Local


class Outcome(Items):
    """Each item is what its call does."""

    def exec(self, item):
        if item == "api error":
            raise ApiError("429: slow down", response="the response")
        if item == "says something else":
            raise LocalError(5)
        if item == "local class":
            raise _local_class()("unknown here")
        if item == "lock":
            return {"answer": [threading.Lock()]}
        if item == "unloadable":
            return UnloadableResult()
        if item == "coroutine":
            return self.later()
        if item == "exit":
            os._exit(1)
        return item

    async def later(self):
        return 1


def outcomes(pool, *items, **settings):
    """Run over these items in a process pool, between two that succeed; return the row in the middle."""
    node = Outcome(max_concurrency=2, on_error="keep", **settings)
    node.run({"items": [1, *items, 2]}, executor=pool)
    rows = list(node.last_run.batch(node))
    assert (rows[0].result, rows[-1].result) == (1, 2)
    return rows[1]


def test_error_that_does_not_unpickle(processes):
    """An exception whose class requires arguments that pickle does not know fails its own row, as itself."""
    error = outcomes(processes, "api error").error
    assert type(error) is ApiError
    assert str(error) == "429: slow down"
    assert (error.response, error.status_code) == ("the response", 429)
    assert error.__notes__[0] == "attributes that could not be sent: lock (lock)"
    assert error.__notes__[1].startswith("traceback in the other process:\nTraceback (most recent call last):\n")
    assert "in exec\n    raise ApiError(" in error.__notes__[1]
    assert error.__notes__[2].startswith("in Outcome, item 2 of 3 (row 1)")


def test_error_keeps_its_text(processes):
    """An exception that pickle would make again with another text keeps its text."""
    error = outcomes(processes, "says something else").error
    assert (type(error), str(error)) == (LocalError, "code 5")


def test_error_of_an_unknown_class(processes):
    """An exception whose class does not exist in this process is described, and its ``retry_after`` counts."""
    error = outcomes(processes, "local class").error
    assert type(error) is RemoteError
    assert str(error).endswith("._local_class.<locals>.Local: unknown here")
    assert error.type_name.endswith("Local")
    assert error.retry_after == 7
    assert "raise _local_class()" in error.__notes__[0]


@pytest.mark.parametrize("item", ["lock", "coroutine"])
def test_result_that_does_not_pickle(processes, item):
    """A result that cannot be sent back fails its own row, and the text names the part."""
    error = outcomes(processes, item).error
    assert type(error) is SendError
    path = {"lock": "result['answer'] is a list", "coroutine": "result is a coroutine"}[item]
    assert str(error).startswith(f"Outcome: {path} and cannot be sent back from another process (")
    assert item == "coroutine" or "(result['answer'][0] is a lock)" in str(error)
    assert str(error).endswith("return plain data.")


def test_result_that_does_not_unpickle(processes):
    """A result that cannot be loaded here fails its own row."""
    error = outcomes(processes, "unloadable").error
    assert type(error) is SendError
    assert "Outcome: the result of exec cannot be loaded in this process: LookupError: not here" in str(error)


class RateLimited(Items):
    """Fails as the SDK does when the endpoint sends 429."""

    def exec(self, item):
        import httpx  # here, so that the workers of the other tests start at once
        import openai

        request = httpx.Request("POST", "http://localhost/v1")
        response = httpx.Response(429, request=request)
        error = openai.RateLimitError("slow down", response=response, body={"code": "busy"})
        error.retry_after = 2.5
        raise error


def test_rate_limit_of_the_sdk(processes):
    """The SDK's error for a 429 arrives as itself, with its status and ``retry_after``."""
    import openai

    node = RateLimited()
    with pytest.raises(openai.RateLimitError, match="slow down") as caught:
        node.run({"items": [1]}, executor=processes)
    assert (caught.value.status_code, caught.value.code, caught.value.retry_after) == (429, "busy", 2.5)


class Fallback(Items):
    """Its fallback sees the error that exec raised, in another process as well."""

    def exec(self, item):
        raise ApiError("429: slow down", response="the response")

    def exec_fallback(self, item, exc):
        return type(exc).__name__, str(exc), exc.status_code


def test_fallback_in_another_process(processes):
    """An error that does not unpickle reaches the fallback as itself."""
    shared = {"items": [1]}
    Fallback().run(shared, executor=processes)
    assert shared["results"] == [("ApiError", "429: slow down", 429)]


class Exits(Items):
    def exec(self, item):
        raise SystemExit(3)


def test_exit_in_another_process(processes):
    """``SystemExit`` in a worker ends the run, as it does in a thread."""
    with pytest.raises(SystemExit):
        Exits().run({"items": [1]}, executor=processes)


def test_worker_that_dies():
    """A worker that is killed fails the rows in flight with a clear text; finished results are kept."""
    node = Outcome(max_concurrency=1, on_error="keep", max_retries=3, wait=1000)
    with ProcessPoolExecutor(1) as pool:
        node.run({"items": [1, 2, "exit", 4, 5]}, executor=pool)
    assert statuses(node) == ["ok", "ok", "failed", "failed", "failed"]
    for row in list(node.last_run.batch(node))[2:]:
        assert isinstance(row.error, BrokenProcessPool)
        assert "process" in str(row.error)
    with ProcessPoolExecutor(1) as pool:
        node.last_run.batch(node).retry([3, 4], executor=pool)
    assert node.last_run.batch(node).results == [1, 2, None, 4, 5]


# ---- another process: what is sent -----------------------------------------------------------------------------------


class Client:
    def __init__(self):
        self.lock = threading.Lock()


class Ask(Items):
    def exec(self, item):
        return item


class Load(Node):
    calls = 0

    def post(self, shared, prep_res, exec_res):
        Load.calls += 1


def test_attribute_that_does_not_pickle(processes):
    """A node that cannot be sent is refused before anything is called; the text names node and attribute."""
    ask = Ask()
    ask.options = {"client": [Client()]}
    load = Load()
    load >> ask
    text = (
        r"Ask\.options is a dict and cannot be sent to another process "
        r"\(Ask\.options\['client'\]\[0\]\.lock is a lock\); create it in exec, or exclude it with __getstate__"
    )
    with pytest.raises(SendError, match=text):
        Flow(load).run({"items": [1]}, executor=processes)
    assert Load.calls == 0


def test_attribute_left_out_by_getstate(processes):
    """``__getstate__`` says what is sent."""

    shared = {"items": [1]}
    node = LeavesOut()
    node.client = Client()
    node.run(shared, executor=processes)
    assert shared["results"] == [1]


class LeavesOut(Ask):
    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "client"}


def test_item_that_does_not_pickle(processes):
    """An item that cannot be sent fails its own row; the text names node, item and part."""
    node = Ask(on_error="keep")
    node.run({"items": [1, {"client": Client()}, 3]}, executor=processes)
    assert statuses(node) == ["ok", "failed", "ok"]
    error = node.last_run.batch(node)[1].error
    assert isinstance(error, SendError)
    assert str(error).startswith("Ask: item['client'] is a Client and cannot be sent to another process")
    assert "item 2 of 3 (row 1)" in error.__notes__[0]


def test_class_of_a_function(processes):
    """A class that the other process cannot import is refused, and the text says where to define it."""

    class Local(Items):
        def exec(self, item):
            return item

    with pytest.raises(SendError, match=r"Local cannot be sent to another process.*define the class in a module"):
        Local().run({"items": [1]}, executor=processes)


class WritesShared(BatchNode):
    def prep(self, shared):
        return [1, 2]

    def exec(self, shared, item):
        shared["found"].append(item)
        return item


class ReadsShared(WritesShared):
    def exec(self, shared, item):
        return shared["factor"] * item


def test_write_to_shared_in_another_process(processes):
    """A write to ``shared`` that is lost is told, once; a node that only reads is left in peace."""
    shared = {"found": [], "factor": 10}
    node = WritesShared()
    text = "WritesShared: exec wrote to shared\\['found'\\] in another process, where shared is a copy"
    with pytest.warns(FlowWarning, match=text) as caught:
        node.run(shared, executor=processes)
    assert len(caught) == 1
    assert "the write is lost" in node.last_run.problems[0]
    assert shared == {"found": [], "factor": 10}

    reads = ReadsShared()
    reads.run(shared, executor=processes)
    assert reads.last_run.problems == []


class PickleFails:
    """An executor that reports what cannot be pickled late, as those of clusters do."""

    def submit(self, fn, /, *args):
        pickle.dumps(args)


@pytest.mark.parametrize("mode", MODES)
def test_executor_that_cannot_pickle(mode):
    """What an unknown executor cannot pickle is named, too."""
    node = Ask()
    node.client = Client()
    with pytest.raises(SendError, match=r"Ask\.client is a Client and cannot be sent to another process"):
        go(mode, node, {"items": [1]}, executor=PickleFails())


# ---- pools -----------------------------------------------------------------------------------------------------------


class Begins(Items):
    """Leaves a file for every call that begins."""

    def exec(self, item):
        folder, name = item
        with open(f"{folder}/{name}", "x"):
            pass
        while not os.path.exists(f"{folder}/release"):
            threading.Event().wait(0.01)


def test_no_call_begins_after_a_stop(tmp_path):
    """A process pool gets no more calls than it has workers, since it starts those in its queue after a stop."""
    folder = str(tmp_path)
    node = Begins(max_concurrency=6)
    began = When("attempt_started", times=2)
    with ProcessPoolExecutor(2) as pool:
        handle = node.submit({"items": [(folder, str(n)) for n in range(6)]}, executor=pool, subscribers=[began])
        try:
            began.signal.wait()
            while len(os.listdir(folder)) < 2:
                threading.Event().wait(0.01)
            assert handle.stop()
            assert handle.run.abandoned == 2
        finally:
            (tmp_path / "release").touch()
    assert sorted(os.listdir(folder)) == ["0", "1", "release"]
    assert statuses(node) == ["cancelled"] * 6
    with pytest.raises(StoppedError):
        raise handle.run.error


def test_timeout_does_not_count_the_queue_of_a_pool():
    """A call that waits for a worker of a pool is not timed out before it begins."""
    turn = threading.Semaphore(0)

    def work(node, item):
        assert turn.acquire(timeout=PATIENCE)
        return item

    class Ticks:
        """Lets a call end when it has started, and the run knows it."""

        def handle(self, event):
            if event.kind == "attempt_started":
                turn.release()

    node = items_node("threads", work, max_concurrency=8, timeout=PATIENCE)
    started = []

    class Counts:
        def handle(self, event):
            started.append(event.kind == "attempt_started")
            started.append(-(event.kind == "attempt_finished"))
            assert sum(started) <= 1

    with ThreadPoolExecutor(1) as pool:
        node.run({"items": range(8)}, executor=pool, subscribers=[Ticks(), Counts()])
    assert statuses(node) == ["ok"] * 8


@pytest.mark.parametrize("mode", MODES)
def test_failure_while_a_coroutine_of_a_pool_is_awaited(mode):
    """A coroutine that a call in a pool returned, and that is awaited here, gets its grace when another call fails."""
    failed = When("call_finished", "failed")

    async def later(item):
        awaited.set()
        await failed.signal.seen()
        return item

    def work(node, item):
        if item == 0:
            awaited.wait()
            raise LookupError("no such item")
        return later(item) if item == 1 else failed.signal.wait()

    awaited = Signal()
    node = items_node(mode, work, max_concurrency=3)
    with ThreadPoolExecutor(3) as pool, pytest.raises(LookupError, match="no such item"):
        go(mode, node, {"items": [0, 1, 2]}, executor=pool, subscribers=[failed])
    assert statuses(node) == ["failed", "ok", "ok"]


# ---- retry -----------------------------------------------------------------------------------------------------------


def test_retry_in_an_executor():
    """Rows are called again in the executor that is given."""
    names = []

    def work(node, item):
        names.append(threading.current_thread().name)
        if len(names) == 1:
            raise LookupError("busy")
        return item

    node = items_node("threads", work, max_concurrency=1, on_error="keep")
    with ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        node.run({"items": [1, 2]}, executor=pool)
        node.last_run.batch(node).retry_failed(executor=pool)
    assert statuses(node) == ["ok", "ok"]
    assert all(name.startswith("mine") for name in names)
