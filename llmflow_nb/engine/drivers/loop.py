"""One background event loop for the process, for async hooks in a run that blocks its caller.

A notebook cell runs inside a running loop, where ``asyncio.run`` is refused; another thread has none.
"""

import asyncio
import atexit
import os
import threading
from collections import deque
from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakSet

from ...core.errors import NestedLoopError
from ..batch import Batch
from ..flight import CANCEL_SECONDS, Flight
from ..lane import Lane
from ..sources import close_sources

__all__ = ["LoopThread", "take"]

POLL_SECONDS = 0.2
"""Seconds to wait at a time.

An interrupt that comes in the few instructions before a thread goes to sleep does not wake it (seen in 4 of 800
interrupts timed to the start of a call), and on Windows none does.
"""


def take(queue: "SimpleQueue[Any]", seconds: float | None) -> Any:
    """Wait for the next thing in a queue, and raise ``queue.Empty`` after ``seconds`` (None: as long as it takes)."""
    while seconds is None or seconds > POLL_SECONDS:
        try:
            return queue.get(timeout=POLL_SECONDS)
        except Empty:
            seconds = None if seconds is None else seconds - POLL_SECONDS
    return queue.get(timeout=seconds)


class LoopThread:
    """The loop and its daemon thread, made when first needed."""

    _lock = threading.Lock()
    _shared: "LoopThread | None" = None

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pid = os.getpid()
        self._lanes: WeakSet[Lane] = WeakSet()
        self.thread = threading.Thread(target=self._run, name="llmflow_nb-loop", daemon=True)
        self.thread.start()
        atexit.register(self._settle)

    def _run(self) -> None:
        while True:
            # A task that raises SystemExit or KeyboardInterrupt breaks the loop off, having kept it as its outcome.
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()

    def _settle(self) -> None:
        """End all lanes, such as that of a stepper in the middle of a flow: the interpreter complains of open tasks."""
        if self.pid == os.getpid() and self.thread.is_alive():
            for lane in list(self._lanes):
                lane.close()
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0.01), self.loop).exception(timeout=1)

    @classmethod
    def get(cls) -> "LoopThread":
        """Return the one of this process.

        Raises:
            NestedLoopError: Asked from the loop's own thread, which would wait for itself.
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

    def lane(self, context: Context) -> Lane:
        """Make a lane on this loop."""
        lane = Lane(self.loop, context)
        self._lanes.add(lane)
        return lane

    def start(self, starts: "deque[Any]") -> None:
        """Make calls on the loop, all of them in one go: waking the loop costs more than a task does.

        It is the loop that takes them out of ``starts``, so an interrupt here loses none, and twice does no harm.

        Args:
            starts: Pairs of a function and its arguments.
        """
        self.loop.call_soon_threadsafe(_start, starts, context=Context())

    def close_sources(self, batches: list[Batch]) -> None:
        """Close async generators that were read on this loop, and wait for it."""
        with suppress(TimeoutError):  # of one that blocks the loop
            asyncio.run_coroutine_threadsafe(close_sources(batches), self.loop).result(timeout=2 * CANCEL_SECONDS)

    def cancel(self, flights: list[Flight]) -> None:
        """Cancel flights that were started here."""
        self.loop.call_soon_threadsafe(_cancel, flights, context=Context())

    def waits_for_nothing(self) -> bool:
        """Whether nothing on the loop can go on by itself: no timer, no socket, no thread is being waited for.

        Read off private attributes of asyncio's own loop, since there is no public way. Where a loop has none of that
        name, the answer is no: this only serves a hint.
        """
        loop: Any = self.loop
        files = getattr(getattr(loop, "_selector", None), "get_map", lambda: None)()
        has_timers = bool(getattr(loop, "_scheduled", True))
        has_threads = getattr(loop, "_default_executor", True) is not None
        return files is not None and len(files) <= 1 and not has_timers and not has_threads


def _cancel(flights: list[Flight]) -> None:
    for flight in flights:
        handle = flight.handle
        if handle is not None:  # else it has ended by now
            handle.cancel()


def _start(starts: "deque[Any]") -> None:
    while starts:
        function, args = starts.popleft()
        function(*args)
