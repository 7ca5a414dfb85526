"""The driver that blocks its caller."""

from collections import deque
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any

from ...core.errors import NestedLoopError
from ..advance import BOUNDARY, END, advance
from ..plan import Setup
from ..position import Position
from ..scheduler import Flight, Scheduler
from .loop import LoopThread, Start, take

__all__ = ["drive"]

CLEAN_UP = 0.5
"""Seconds that a cancelled task may take to end before it is left to itself."""


class _Blocking:
    """What the scheduler needs of this driver: tasks on the background loop, and a queue to wait at."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.post = self.inbox.put
        self._starts: deque[Start] = deque()

    def spawn(self, flight: Flight, coroutine: Any, context: Context | None) -> None:
        LoopThread.get()  # refuses here and now where it cannot work
        box: list[Any] = []
        flight.handle = box
        self._starts.append((coroutine, context or copy_context(), box, flight.task_done))

    def start(self) -> None:
        """Start what was spawned since."""
        if self._starts:
            LoopThread.get().start(self._starts)

    def cancel(self, flights: list[Flight]) -> None:
        self.start()  # a task that never ran would leave its coroutine behind
        LoopThread.get().cancel([flight.handle for flight in flights])

    def outcome(self, coroutine: Any) -> tuple[Any, BaseException | None]:
        try:
            loop = LoopThread.get()
        except NestedLoopError:
            coroutine.close()
            raise
        return loop.outcome(coroutine)

    def collect(self, scheduler: Scheduler) -> None:
        while not self.inbox.empty():
            scheduler.arrived.append(self.inbox.get())


def drive(position: Position, setup: Setup, mask: int = 0) -> str:
    """Run a position to its end, or to the next boundary in ``mask``, in the caller's thread.

    Returns:
        `END` or `BOUNDARY`.

    Raises:
        Exception: What the run failed with.
        KeyboardInterrupt: Nothing of the run calls anything any more; what was finished is in the record.
    """
    __tracebackhide__ = True
    need = advance(position, setup, mask)
    if need in (END, BOUNDARY):  # nothing on the way needed more than calling functions
        return need
    backend = _Blocking()
    scheduler = Scheduler(position, setup, backend, mask)
    try:
        scheduler.begin(need)
        while True:
            coroutine = scheduler.turn()
            backend.start()
            if coroutine is not None:
                outcome = backend.outcome(coroutine)
                backend.collect(scheduler)
                scheduler.answer(*outcome)
                continue
            if scheduler.ended:
                return scheduler.came_to
            with suppress(Empty):
                scheduler.arrived.append(take(backend.inbox, scheduler.patience()))
            backend.collect(scheduler)
    except BaseException:
        backend.collect(scheduler)
        scheduler.stop()
        raise
    finally:
        with suppress(Empty):  # tasks that were cancelled get a moment to clean up
            while scheduler.leaving:
                flight, value, _ = take(backend.inbox, CLEAN_UP)
                scheduler.left(flight, value)
        scheduler.close()
