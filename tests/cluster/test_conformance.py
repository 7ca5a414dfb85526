"""What every executor does: a process pool, loky, Dask. Whoever writes one for another cluster adds it to ``make``."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest
from joblib.externals.loky import get_reusable_executor

from llmflow_nb import Flow, Limiter, SendError, StoppedError
from tests.cluster.nodes import AsyncWork, Fails, Holds, Returns, Sleeps, Work, Writes, entered

EXECUTORS = ["processes", "loky", "dask"]


@pytest.fixture(scope="module", params=EXECUTORS)
def executor(request):
    if request.param == "dask":
        yield request.getfixturevalue("on_cluster")
    elif request.param == "loky":
        pool = get_reusable_executor(max_workers=2)
        yield pool
        pool.shutdown(wait=True)
    else:
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool


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
    assert list(run(node, executor, [0, 5]).df["status"]) == ["ok", "failed"]
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


def test_a_limit(executor, tmp_path):
    """Calls of two nodes together never exceed it."""
    limiter = Limiter(max_concurrency=2)
    seen = []

    class Watch:
        def handle(self, event):
            if event.kind in ("attempt_started", "attempt_finished"):
                seen.append(1 if event.kind == "attempt_started" else -1)

    first, second = Work(max_concurrency=8, limiter=limiter), Work(max_concurrency=8, limiter=limiter)
    first.folder = second.folder = str(tmp_path)
    first.seconds = second.seconds = 0.02
    first >> second
    flow = Flow(first)
    flow.run({"items": range(8)}, executor=executor, progress=False, subscribers=[Watch()])
    in_flight = [sum(seen[: n + 1]) for n in range(len(seen))]
    assert max(in_flight) == 2
    assert len(entered(tmp_path)) == 16


def test_shared_is_a_copy(executor):
    """A write to it is lost, and the run says so."""
    with pytest.warns(match="exec wrote to shared"):
        run(Writes(max_concurrency=2), executor, range(2))
