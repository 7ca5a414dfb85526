"""The driver that blocks its caller."""

from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from ..advance import END, advance
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

    def spawn(self, flight: Flight, coroutine: Any, context: Any) -> None:
        LoopThread.get().spawn(flight, coroutine, context)

    def cancel(self, flights: list[Flight]) -> None:
        for flight in flights:
            LoopThread.get().cancel(flight.handle)


def drive(position: Position, setup: Setup) -> None:
    """Run a position to its end in the caller's thread.

    Raises:
        Exception: What the run failed with.
        KeyboardInterrupt: Nothing of the run calls anything any more; what was finished is in the record.
    """
    need = advance(position, setup)
    if need == END:  # nothing in this run needed more than calling functions
        return
    backend = _Blocking()
    scheduler = Scheduler(position, setup, backend)
    try:
        scheduler.begin(need)
        while True:
            coroutine = scheduler.turn()
            if coroutine is not None:
                scheduler.answer(*LoopThread.get().outcome(coroutine))
                continue
            if scheduler.ended:
                return
            with suppress(Empty):
                scheduler.arrived.append(take(backend.inbox, scheduler.patience()))
            while not backend.inbox.empty():
                scheduler.arrived.append(backend.inbox.get())
    except BaseException:
        while not backend.inbox.empty():
            scheduler.arrived.append(backend.inbox.get())
        tasks = scheduler.stop()
        with suppress(Empty):  # cancelled tasks get a moment to clean up
            for _ in tasks:
                take(backend.inbox, 0.5)
        raise
    finally:
        scheduler.close()
