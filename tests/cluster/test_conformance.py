"""What every executor does: a process pool, loky, Dask, and the example of the guide.

To test another one, add a row to ``EXECUTORS``: a context manager that returns an executor with two workers.
"""

import _thread
import multiprocessing
import os
import sys
import textwrap
import threading
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, suppress

import pytest
from distributed import Client, LocalCluster
from joblib.externals.loky import get_reusable_executor

from llmflow_nb import ExecutorError, Flow, Limiter, SendError, StoppedError
from llmflow_nb.dask import on
from tests.cluster.minimal import Minimal
from tests.cluster.nodes import (
    AsyncWork,
    Dies,
    Fails,
    Holds,
    Returns,
    Sleeps,
    Spans,
    Spends,
    Waits,
    Work,
    Writes,
    entered,
)


@contextmanager
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextmanager
def loky():
    pool = get_reusable_executor(max_workers=2)
    yield pool
    pool.shutdown(wait=True)


@contextmanager
def dask():
    address = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, silence_logs=50, **address) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield on(client)


@contextmanager
def minimal():
    with processes() as pool:
        yield Minimal(pool)


EXECUTORS = {"processes": processes, "loky": loky, "dask": dask, "minimal": minimal}
PICKLE_BY_NAME = {"processes"}  # these cannot send what was defined in a notebook


@pytest.fixture(scope="module", params=EXECUTORS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def executor(name):
    with EXECUTORS[name]() as executor:
        yield executor


def run(node, executor, items, **options):
    shared = {"items": items}
    node.run(shared, executor=executor, progress=False, **options)
    return node.last_run.batch(node)


def test_calls_are_made_elsewhere(executor, tmp_path):
    """Each item once, and the results are in the order of the items."""
    node = Work(max_concurrency=4)
    node.folder = str(tmp_path)
    results = run(node, executor, range(10)).results
    assert [item for item, _ in results] == list(range(10))
    assert os.getpid() not in {pid for _, pid in results}
    assert entered(tmp_path) == sorted(map(str, range(10)))


def test_async_hooks(executor, tmp_path):
    """They run elsewhere if the executor says so, and here otherwise."""
    node = AsyncWork(max_concurrency=4)
    node.folder = str(tmp_path)
    pids = {pid for _, pid in run(node, executor, range(6)).results}
    assert (os.getpid() in pids) is not getattr(executor, "sends_async", False)
    assert entered(tmp_path) == sorted(map(str, range(6)))


def test_failures_and_retries(executor):
    """A failure keeps to its row, with its class and text; another attempt is made here."""
    result = run(Fails(max_concurrency=4, max_retries=2, on_error="keep"), executor, range(5))
    assert list(result.df["status"]) == ["ok", "failed", "ok", "failed", "ok"]
    assert list(result.df["attempts"]) == [1, 2, 2, 2, 1]
    assert [type(error).__name__ for error in result.exceptions[[1, 3]]] == ["OddError", "ValueError"]
    assert [str(error) for error in result.exceptions[[1, 3]]] == ["one", "three"]


def test_what_cannot_be_sent(executor, tmp_path):
    """An attribute is refused before any call, a result fails its row."""
    node = Holds(max_concurrency=2)
    node.folder = str(tmp_path)
    with pytest.raises(SendError, match=r"client is a lock and cannot be sent|client is an? \S*lock"):
        run(node, executor, range(3))
    assert entered(tmp_path) == []
    result = run(Returns(on_error="keep", max_concurrency=2), executor, range(3))
    assert result.counts == {"ok": 2, "failed": 1}
    assert "cannot be sent back" in str(result.exceptions[1])


def test_a_timeout(executor):
    """The row fails, and the others go on."""
    node = Sleeps(max_concurrency=2, timeout=1, on_error="keep")
    assert list(run(node, executor, [0, 2]).df["status"]) == ["ok", "failed"]
    assert node.last_run.abandoned == 1


def test_a_stop(executor, tmp_path):
    """It ends the run, and nothing is called afterwards that the executor had not begun."""
    node = Work(max_concurrency=2)
    node.folder, node.seconds = str(tmp_path), 0.3
    job = node.submit({"items": range(100)}, executor=executor, progress=False)
    while len(entered(tmp_path)) < 2:
        assert not job.done
    assert job.stop()
    assert job.run.status == "stopped"
    assert isinstance(job.run.error, StoppedError)
    begun = len(entered(tmp_path))
    threading.Event().wait(1)
    assert len(entered(tmp_path)) <= begun + 2


def test_an_interrupt(executor, tmp_path):
    """It ends the run while calls are in progress. They end by themselves, and nothing is called afterwards."""
    node = Waits(max_concurrency=2)
    node.folder = str(tmp_path / "ledger")
    (tmp_path / "ledger").mkdir()

    def interrupt():
        while len(entered(node.folder)) < 2:
            threading.Event().wait(0.01)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run(node, executor, range(20))
    (tmp_path / "open").touch()
    assert node.last_run.status == "interrupted"
    assert node.last_run.batch(node).counts == {"cancelled": 2, "pending": 18}
    assert node.last_run.abandoned == 2
    assert [item for item, _ in run(Work(max_concurrency=2), executor, range(4)).results] == list(range(4))
    assert len(entered(node.folder)) == 2


def test_a_limit(executor):
    """Calls of two nodes together never exceed it."""
    limiter = Limiter(max_concurrency=2)
    first, second = (Spans(name=name, max_concurrency=8, limiter=limiter) for name in ("first", "second"))
    first >> second
    flow = Flow(first)
    flow.run({"items": range(8)}, executor=executor, progress=False)
    spans = [span for name in ("first", "second") for span in flow.last_run.batch(name).results]
    assert len(spans) == 16
    in_progress = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert max(in_progress) <= 2


def test_what_a_call_spends_elsewhere(executor):
    """Its row has it, failed attempts included, and the run has the sum."""
    result = run(Spends(max_concurrency=4, max_retries=2), executor, [1, 2, 3])
    assert result.df["tokens_in"].tolist() == [1, 2, 6]
    assert result.run.usage.tokens_in == 9
    assert result.run.usage.cost == 4.5


def test_shared_is_a_copy(executor):
    """A write to it is lost, and the run says so."""
    with pytest.warns(match="exec wrote to shared"):
        run(Writes(max_concurrency=2), executor, range(2))


@pytest.fixture
def define():
    """Returns a function that runs a cell of a notebook, and the globals: those of the module ``__main__``."""
    names = vars(sys.modules["__main__"])
    before = set(names)
    yield lambda cell: exec(compile(textwrap.dedent(cell), "<cell>", "exec"), names) or names
    for name in set(names) - before:
        del names[name]


def test_what_a_notebook_defines(name, executor, define):
    """A class of a cell, an edited global and an edited class are sent as they are now, or are refused."""
    names = define("""
        from llmflow_nb import BatchNode

        WORD = "first"

        class Cell(BatchNode):
            def prep(self, shared):
                return shared["items"]

            def exec(self, item):
                return f"{WORD} {item}"
    """)

    def results():
        return run(names["Cell"](max_concurrency=2), executor, range(2)).results

    if name in PICKLE_BY_NAME:
        with pytest.raises(SendError, match="define it in a module that the other process can import"):
            results()
        return
    assert results() == ["first 0", "first 1"]
    define("WORD = 'second'")
    assert results() == ["second 0", "second 1"]
    define("""
        class Cell(Cell):
            def exec(self, item):
                return f"{WORD} {item}, edited"
    """)
    assert results() == ["second 0, edited", "second 1, edited"]


# The last one: loky has one pool for all, which it breaks.
def test_a_killed_worker(name, tmp_path):
    """The run ends. It has made the call again, or failed and can be resumed; a finished call is not made again."""
    (tmp_path / "ledger").mkdir()
    node = Dies(max_concurrency=2)
    node.folder, node.kills = str(tmp_path / "ledger"), (5,)
    with EXECUTORS[name]() as executor, suppress(ExecutorError, BrokenExecutor):
        run(node, executor, range(12))
    finished = node.last_run.batch(node).df.query("status == 'ok'")["item"]
    if len(finished) < 12:
        assert node.last_run.status == "failed"
        node.last_run.resume(progress=False)
    assert node.last_run.batch(node).results == list(range(12))
    assert all(entered(node.folder).count(str(item)) == 1 for item in finished if item != 5)
