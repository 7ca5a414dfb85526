"""The driver on the caller's event loop."""

import asyncio
import sys
import threading
from collections import deque
from contextlib import suppress
from contextvars import Context
from typing import Any

from ..advance import BOUNDARY, END, advance
from ..flight import CLEAN_UP
from ..lane import Job, Lane
from ..plan import Setup
from ..position import Position
from ..scheduler import Scheduler
from ..sources import close_sources

__all__ = ["drive_async"]


class _OnLoop:
    """What the scheduler needs of this driver: jobs on the running loop, and an event to wait for."""

    awaits_itself = True

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

    def lane(self, context: Context) -> Lane:
        return Lane(self.loop, context)

    def spawn(self, job: Job) -> None:
        job.start()

    def flush(self) -> None:
        """Do nothing: what was spawned starts as soon as the driver waits."""

    def cancel(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.cancel()

    def post(self, token: Any) -> None:
        self.arrived.append(token)
        if threading.get_ident() == self.thread:
            self.wake.set()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.wake.set)

    async def wait(self, seconds: float | None) -> None:
        """Wait until something has arrived, ``seconds`` at most."""
        alarm = None if seconds is None else self.loop.call_later(seconds, self.wake.set)
        await self.wake.wait()
        if alarm is not None:
            alarm.cancel()
        self.wake.clear()


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
    loop = _OnLoop()
    scheduler = Scheduler(position, setup, loop, mask)
    try:
        scheduler.begin(need)
        while True:
            awaitable = scheduler.turn()
            if awaitable is not None:
                scheduler.answer(*await _outcome(awaitable))
                continue
            if scheduler.came_to:
                return scheduler.came_to
            await loop.wait(scheduler.patience())
    except BaseException:
        scheduler.stop()
        raise
    finally:
        scheduler.close()
        loop.heart.cancel()
        scheduler.clear()
        # Jobs that were cancelled get a moment to clean up; not where this coroutine itself is being thrown away.
        if scheduler.leaving and not isinstance(sys.exception(), GeneratorExit):
            try:
                await _clean_up(scheduler, loop)
            finally:  # also of a second cancellation: what has come in by now is kept
                scheduler.clear()
        if setup.open_sources and not isinstance(sys.exception(), GeneratorExit):
            await close_sources(setup.open_sources)


async def _clean_up(scheduler: Scheduler, loop: _OnLoop) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(CLEAN_UP):
            while scheduler.leaving:
                await loop.wait(None)
                scheduler.clear()


async def _outcome(awaitable: Any) -> tuple[Any, BaseException | None]:
    __tracebackhide__ = True
    try:
        return await awaitable, None
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # it is this run that is cancelled
            raise
        return None, exc
    except Exception as exc:
        return None, exc
