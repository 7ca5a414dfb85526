"""Threads for blocking calls, that hold nobody up.

``ThreadPoolExecutor`` is joined when the interpreter ends, so one hung model call would keep a kernel from shutting
down. These are daemon threads, made when there is work and no idle one, and sent home at the end of the run.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

__all__ = ["DaemonThreads"]


class DaemonThreads:
    """Starts every call at once: how many there are at a time is its caller's affair."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0

    def submit(self, future: "Future[Any]", fn: Callable[..., Any], /, *args: Any) -> None:
        """Run ``fn(*args)`` in a thread, for a future of the caller's.

        Raises:
            RuntimeError: The system gives no further thread.
        """
        self._todo.put((future, fn, args))
        with self._lock:
            if self._idle:
                self._idle -= 1  # that one will take it
                return
            self._threads += 1
        try:
            threading.Thread(target=self._work, name=f"llmflow_nb-call-{self._threads}", daemon=True).start()
        except RuntimeError:
            future.cancel()  # or one of the others would make the call after all
            raise

    def _work(self) -> None:
        __tracebackhide__ = True
        while (task := self._todo.get()) is not None:
            future, fn, args = task
            del task
            result, error = None, None
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args)
                except BaseException as exc:
                    error = exc
            with self._lock:
                self._idle += 1
            if error is not None:
                future.set_exception(error)
            elif not future.cancelled():
                future.set_result(result)
            del future, fn, args, result, error

    def close(self) -> None:
        """Let every thread end after the call it is in. Waits for none."""
        with self._lock:
            threads = self._threads
        for _ in range(threads):
            self._todo.put(None)
