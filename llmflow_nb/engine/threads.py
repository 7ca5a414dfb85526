"""Daemon threads for blocking calls.

At exit the interpreter joins the threads of a ``ThreadPoolExecutor``, so one hung call would keep a kernel from
shutting down. These threads start when there is a call and no idle thread, and end with the run.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

__all__ = ["DaemonThreads"]


class DaemonThreads:
    """Starts every call at once. The caller limits how many calls there are."""

    def __init__(self) -> None:
        self._todo: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._threads = 0

    def submit(self, future: "Future[Any]", fn: Callable[..., Any], /, *args: Any) -> bool:
        """Run ``fn(*args)`` in a thread, for the caller's future. False: no thread can be started, and it fails."""
        self._todo.put((future, fn, args))
        with self._lock:
            if self._idle:
                self._idle -= 1  # that thread takes it
                return True
            self._threads += 1
        try:
            threading.Thread(target=self._work, name=f"llmflow_nb-call-{self._threads}", daemon=True).start()
        except RuntimeError as exc:
            if not (future.running() or future.done()):
                future.set_exception(exc)  # so that no other thread makes the call
                return False
        return True

    def _work(self) -> None:
        __tracebackhide__ = True
        while (task := self._todo.get()) is not None:
            future, fn, args = task
            del task
            result, error = None, None
            if not future.done() and future.set_running_or_notify_cancel():
                try:
                    result = fn(*args)
                except BaseException as exc:
                    error = exc
            with self._lock:
                self._idle += 1
            if error is not None:
                future.set_exception(error)
            elif not future.done():
                future.set_result(result)
            del future, fn, args, result, error

    def close(self) -> None:
        """Let every thread end after its current call, without waiting for it."""
        with self._lock:
            threads = self._threads
        for _ in range(threads):
            self._todo.put(None)
