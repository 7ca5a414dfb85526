"""Threads for blocking calls, that hold nobody up.

``ThreadPoolExecutor`` is joined when the interpreter ends, so one hung model call would keep a kernel from shutting
down. These are daemon threads, made when there is work and no idle one, and sent home at the end of the run.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

__all__ = ["DaemonThreads"]


class DaemonThreads(Executor):
    """An executor that starts every call at once: how many there are at a time is its caller's affair."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run ``fn(*args)`` in a thread."""
        future: Future[Any] = Future()
        self._todo.put((future, fn, args))
        with self._lock:
            if self._idle:
                self._idle -= 1  # that one will take it
                return future
            self._threads += 1
        threading.Thread(target=self._work, name=f"llmflow_nb-call-{self._threads}", daemon=True).start()
        return future

    def _work(self) -> None:
        __tracebackhide__ = True
        while (task := self._todo.get()) is not None:
            future, fn, args = task
            del task
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args)
                except BaseException as exc:
                    with self._lock:
                        self._idle += 1
                    future.set_exception(exc)
                else:
                    with self._lock:
                        self._idle += 1
                    future.set_result(result)
                    del result
            else:
                with self._lock:
                    self._idle += 1
            del future, fn, args

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let every thread end after the call it is in. Never waits for one."""
        with self._lock:
            threads = self._threads
        for _ in range(threads):
            self._todo.put(None)
