"""One background event loop for the process, for async hooks in a run that blocks its caller.

A notebook cell runs inside a running loop, where ``asyncio.run`` is refused; another thread has none.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from ...core.errors import NestedLoopError
from ..flight import CLEAN_UP, outcome_of
from ..stop import Stop

__all__ = ["LoopThread", "Start", "take"]

Start = tuple[Any, Context, list[Any], Callable[[Any], None]]
"""A coroutine to start: its context, a box to put the task into, and whom to hand the task when it is done."""

LONGEST_WAIT = 0.2
"""Seconds that are waited at a time.

An interrupt that comes in the few instructions before a thread goes to sleep does not wake it (seen in 4 of 800
interrupts timed to the start of a call), and on Windows none does.
"""


def take(queue: "SimpleQueue[Any]", seconds: float | None) -> Any:
    """Wait for the next thing in a queue, and raise ``queue.Empty`` after ``seconds`` (None: as long as it takes)."""
    while seconds is None or seconds > LONGEST_WAIT:
        try:
            return queue.get(timeout=LONGEST_WAIT)
        except Empty:
            seconds = None if seconds is None else seconds - LONGEST_WAIT
    return queue.get(timeout=seconds)


class LoopThread:
    """The loop and its daemon thread, made when first needed."""

    _lock = threading.Lock()
    _shared: "LoopThread | None" = None

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._run, name="llmflow_nb-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while True:
            # A task that raises SystemExit or KeyboardInterrupt breaks the loop off, having kept it as its outcome.
            with suppress(SystemExit, KeyboardInterrupt):
                self.loop.run_forever()

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

    def outcome(self, coroutine: Any, stop: Stop | None) -> tuple[Any, BaseException | None]:
        """Run a coroutine to its end and return its value, or what it raised. An interrupt or a stop cancels it."""
        done: SimpleQueue[asyncio.Task[Any] | None] = SimpleQueue()
        task_box: list[asyncio.Task[Any]] = []
        starts: deque[Start] = deque([(coroutine, copy_context(), task_box, done.put)])
        try:
            self.start(starts)
            if stop is not None:
                stop.wake = partial(done.put, None)
                stop.check()
            task = take(done, None)
            if task is None:
                stop.check()  # type: ignore[union-attr]  # only a stop puts None there
        except BaseException:
            self.start(starts)  # if the interrupt was quicker
            self.cancel([task_box])
            with suppress(Empty):  # a second stop leaves another None there
                while take(done, CLEAN_UP) is None:
                    pass
            raise
        return outcome_of(task)

    def start(self, starts: "deque[Start]") -> None:
        """Start tasks, all of them in one go: waking the loop costs more than a task does.

        It is the loop that takes them out of ``starts``, so that an interrupt here loses none, and twice does no harm.
        """
        self.loop.call_soon_threadsafe(self._start, starts)

    def _start(self, starts: "deque[Start]") -> None:
        while starts:
            coroutine, context, box, done = starts.popleft()
            task = self.loop.create_task(coroutine, context=context)
            box.append(task)
            task.add_done_callback(done)

    def cancel(self, boxes: list[list[Any]]) -> None:
        """Cancel tasks, each by the box that it is in once it has started."""
        self.loop.call_soon_threadsafe(lambda: [task.cancel() for box in boxes for task in box])
