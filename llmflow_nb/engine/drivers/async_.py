"""The driver on the caller's event loop."""

import asyncio
import sys
import threading
from collections import deque
from contextvars import Context
from typing import Any

from ..advance import BOUNDARY, END, advance
from ..flight import CLEAN_UP, Flight
from ..plan import Setup
from ..position import Position
from ..scheduler import Scheduler

__all__ = ["drive_async"]


class _OnLoop:
    """What the scheduler needs of this driver: tasks on the running loop, and an event to wait for."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.wake = asyncio.Event()
        self._beat()
        self.arrived: deque[Any] = deque()

    def _beat(self) -> None:
        """Wake the loop five times a second.

        A kernel's handler of an interrupt only leaves a callback with the loop, which does not look at it while asleep.
        """
        self.heart = self.loop.call_later(0.2, self._beat)

    def spawn(self, flight: Flight, coroutine: Any, context: Context | None) -> None:
        flight.handle = task = self.loop.create_task(coroutine, context=context)
        task.add_done_callback(flight.task_done)

    def cancel(self, flights: list[Flight]) -> None:
        for flight in flights:
            flight.handle.cancel()

    def post(self, token: Any) -> None:
        self.arrived.append(token)
        if threading.get_ident() == self.thread:
            self.wake.set()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.wake.set)


async def drive_async(position: Position, setup: Setup, mask: int = 0) -> str:
    """Run a position to its end, or to the next boundary in ``mask``, on the running event loop. As `sync.drive`.

    Raises:
        Exception: What the run failed with.
        asyncio.CancelledError: Nothing of the run calls anything any more; what was finished is in the record.
    """
    __tracebackhide__ = True
    need = advance(position, setup, mask)
    if need in (END, BOUNDARY):
        return need
    backend = _OnLoop()
    scheduler = Scheduler(position, setup, backend, mask)
    try:
        scheduler.begin(need)
        while True:
            coroutine = scheduler.turn()
            if coroutine is not None:
                scheduler.answer(*await _outcome(coroutine))
                continue
            if scheduler.came_to:
                return scheduler.came_to
            await _wait(backend, scheduler.patience())
    except BaseException:
        scheduler.stop()
        raise
    finally:
        scheduler.close()
        backend.heart.cancel()
        scheduler.clear()
        # Tasks that were cancelled get a moment to clean up; not where this coroutine itself is being thrown away.
        if scheduler.leaving and not isinstance(sys.exception(), GeneratorExit):
            await asyncio.wait([flight.handle for flight in scheduler.leaving], timeout=CLEAN_UP)
            scheduler.clear()


async def _outcome(coroutine: Any) -> tuple[Any, BaseException | None]:
    __tracebackhide__ = True
    try:
        return await coroutine, None
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # it is this run that is cancelled
            raise
        return None, exc
    except Exception as exc:
        return None, exc


async def _wait(backend: _OnLoop, seconds: float | None) -> None:
    alarm = None if seconds is None else backend.loop.call_later(seconds, backend.wake.set)
    await backend.wake.wait()
    if alarm is not None:
        alarm.cancel()
    backend.wake.clear()
