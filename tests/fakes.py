"""Executors for tests: ordinary classes that behave as those of clusters do."""

import threading
from concurrent.futures import Executor, Future, InvalidStateError
from contextlib import suppress
from queue import SimpleQueue
from weakref import ref


class _ToldFuture(Future):
    """Knows when somebody waits for it."""

    def __init__(self):
        super().__init__()
        self.is_awaited = threading.Event()

    def add_done_callback(self, fn):
        super().add_done_callback(fn)
        self.is_awaited.set()


class LyingExecutor(Executor):
    """Makes every call in a thread of its own, once somebody waits for it: a call takes longer than its submission.

    ``cancel()`` says True of a call that runs, as Dask's futures do.

    Attributes:
        futures: Weak references to every future that was handed out.
    """

    def __init__(self):
        self.futures = []
        self._calls = []

    def submit(self, fn, /, *args):
        future = _ToldFuture()  # never told that it runs, so that it can always be cancelled
        self.futures.append(ref(future))
        calls = SimpleQueue()
        calls.put((future, fn, args))
        thread = threading.Thread(target=self._work, args=(calls,), daemon=True)
        self._calls.append(thread)
        thread.start()
        return future

    def _work(self, calls):
        future, fn, args = calls.get()
        held, is_awaited = [future], future.is_awaited
        del future  # no frame of the call refers to it
        is_awaited.wait(10)
        result = error = None
        try:
            result = fn(*args)
        except BaseException as exc:
            error = exc
        del fn, args
        with suppress(InvalidStateError):  # it was cancelled
            if error is None:
                held.pop().set_result(result)
            else:
                held.pop().set_exception(error)

    def join(self):
        """Wait for all calls to end."""
        for thread in self._calls:
            thread.join(10)


class GoneExecutor(Executor):
    """Makes a number of calls, then loses its cluster: a call that it took is cancelled, or fails with some error.

    Attributes:
        submitted: How many calls it was given.
    """

    def __init__(self, makes, error=None):
        self.makes, self.error = makes, error
        self.submitted = 0

    def submit(self, fn, /, *args):
        self.submitted += 1
        future = Future()
        if self.submitted <= self.makes:
            future.set_result(fn(*args))
        elif self.error is None:
            future.cancel()
        else:
            future.set_exception(self.error)
        return future
