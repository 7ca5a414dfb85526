"""The background event loop of the process, for async hooks in a run that blocks its caller.

A notebook cell runs in a thread with a running event loop, which refuses ``asyncio.run``.
"""

import asyncio
import os
import threading
from collections import deque
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Any

from ...core.errors import NestedLoopError
from ..batch import Batch
from ..flight import CANCEL_SECONDS, Flight
from ..sources import close_sources

__all__ = ["LoopThread", "take"]

POLL_SECONDS = 0.2
"""The longest time, in seconds, to wait without a look at interrupts.

An interrupt just before a thread goes to sleep does not wake it (seen in 4 of 800 interrupts timed to the start of a
call), and on Windows none does.
"""


def take(queue: "SimpleQueue[Any]", seconds: float | None) -> Any:
    """Return the next thing in a queue. Raise ``queue.Empty`` after ``seconds``; None: wait without a limit."""
    while seconds is None or seconds > POLL_SECONDS:
        try:
            return queue.get(timeout=POLL_SECONDS)
        except Empty:
            seconds = None if seconds is None else seconds - POLL_SECONDS
    return queue.get(timeout=seconds)


class LoopThread:
    """The loop and its daemon thread. They start with the first async hook."""

    _lock = threading.Lock()
    _shared: "LoopThread | None" = None

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._run, name="llmflow_nb-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            # A task that raises SystemExit or KeyboardInterrupt ends the loop. It has the exception as its outcome.
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()

    @classmethod
    def get(cls) -> "LoopThread":
        """Return the loop thread of this process.

        Raises:
            NestedLoopError: The caller is that thread, which would wait for itself.
        """
        with cls._lock:
            if cls._shared is None or cls._shared.pid != os.getpid():
                cls._shared = LoopThread()
        if threading.current_thread() is cls._shared.thread:
            raise NestedLoopError(
                "run() was called inside an async hook, and has async hooks of its own; write "
                "`await flow.run_async(shared)` there."
            )
        return cls._shared

    def start(self, starts: "deque[Any]") -> None:
        """Make all calls in ``starts`` on the loop, after one wake-up, which costs more than a task does.

        The loop takes them out of ``starts``, so an interrupt here loses none, and a second call makes none twice.

        Args:
            starts: Pairs of a function and its arguments.
        """
        self.loop.call_soon_threadsafe(_start, starts, context=Context())

    def close_sources(self, batches: list[Batch]) -> None:
        """Close async generators that were read on this loop, and wait for it."""
        with suppress(TimeoutError):  # one of them blocks the loop
            asyncio.run_coroutine_threadsafe(close_sources(batches), self.loop).result(timeout=2 * CANCEL_SECONDS)

    def cancel(self, flights: list[Flight]) -> None:
        """Cancel flights that were started here."""
        self.loop.call_soon_threadsafe(_cancel, flights, context=Context())

    def waits_for_nothing(self) -> bool:
        """Return whether no task on the loop waits for a timer, a socket or a thread.

        It reads private attributes of asyncio's own loop. If a loop has no such attributes, the answer is no: it is
        only used for a hint.
        """
        loop: Any = self.loop
        files = getattr(getattr(loop, "_selector", None), "get_map", lambda: None)()
        has_timers = bool(getattr(loop, "_scheduled", True))
        has_threads = getattr(loop, "_default_executor", True) is not None
        return files is not None and len(files) <= 1 and not has_timers and not has_threads


def _cancel(flights: list[Flight]) -> None:
    for flight in flights:
        flight.cancel()


def _start(starts: "deque[Any]") -> None:
    while starts:
        function, args = starts.popleft()
        function(*args)
