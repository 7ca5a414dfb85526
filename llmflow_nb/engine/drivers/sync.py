"""The driver that blocks its caller."""

from contextlib import suppress
from contextvars import Context
from queue import Empty, SimpleQueue
from typing import Any

from ..advance import BOUNDARY, END, advance
from ..plan import Setup
from ..position import Position
from ..scheduler import Flight, Scheduler
from .loop import LoopThread, take

__all__ = ["drive"]


class _Blocking:
    """What the scheduler needs of this driver: tasks on the background loop, and a queue to wait at."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.post = self.inbox.put

    def spawn(self, flight: Flight, coroutine: Any, context: Context | None) -> None:
        LoopThread.get().spawn(flight, coroutine, context)

    def cancel(self, flights: list[Flight]) -> None:
        for flight in flights:
            LoopThread.get().cancel(flight.handle)

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
    need = advance(position, setup, mask)
    if need in (END, BOUNDARY):  # nothing on the way needed more than calling functions
        return need
    backend = _Blocking()
    scheduler = Scheduler(position, setup, backend, mask)
    try:
        scheduler.begin(need)
        while True:
            coroutine = scheduler.turn()
            if coroutine is not None:
                outcome = LoopThread.get().outcome(coroutine)
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
        tasks = scheduler.stop()
        with suppress(Empty):  # cancelled tasks get a moment to clean up
            for _ in tasks:
                take(backend.inbox, 0.5)
        raise
    finally:
        scheduler.close()
