"""The driver on the caller's event loop."""

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from threading import get_ident
from typing import Any

from ...core.spend import METER
from ..advance import advance
from ..flight import CANCEL_SECONDS, Flight
from ..hook_meter import use_hook_meter
from ..lane import Lane
from ..position import AWAIT, END, Position
from ..scheduler import Scheduler
from ..setup import Setup
from ..sources import close_sources
from ..unwind import cancel

__all__ = ["drive_async"]


class _Heart:
    """Wakes a loop five times a second.

    A kernel's handler of an interrupt only leaves a callback with the loop, which does not look at it while asleep.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # A timer takes 4 us. A hook that returns without a wait, so that the loop never runs, is spared it.
        self._next: asyncio.Handle = loop.call_soon(self._beat, context=Context())

    def _beat(self) -> None:
        self._next = self._loop.call_later(0.2, self._beat, context=Context())

    def stop(self) -> None:
        self._next.cancel()


class _OnLoop:
    """Starts coroutines on the running loop, and waits for a future."""

    awaits_itself = True

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = get_ident()
        self.context = Context()
        self.arrived: deque[Any] = deque()
        self._bell: asyncio.Future[None] | None = None
        self.heart = _Heart(self.loop)

    def lane(self, context: Context) -> Lane:
        return Lane(self.loop, context)

    def start(self, function: Callable[..., object], *args: Any) -> None:
        function(*args)

    def flush(self) -> None:
        """Do nothing: what was started runs as soon as the driver waits."""

    def cancel(self, flights: list[Flight]) -> None:
        for flight in flights:
            flight.cancel()

    def post(self, arrival: Any) -> None:
        self.arrived.append(arrival)
        if get_ident() == self.thread:
            if self._bell is not None and not self._bell.done():  # `_ring`, without its call
                self._bell.set_result(None)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        if self._bell is not None and not self._bell.done():
            self._bell.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Wait until something has arrived, ``seconds`` at most."""
        if self.arrived:
            return
        self._bell = self.loop.create_future()
        alarm = None if seconds is None else self.loop.call_later(seconds, self._ring)
        try:
            await self._bell
        finally:
            self._bell = None
            if alarm is not None:
                alarm.cancel()


async def drive_async(position: Position, setup: Setup) -> None:
    """Run a position to its end on the running event loop. As `sync.drive`.

    Raises:
        Exception: What the run failed with.
        asyncio.CancelledError: The run makes no further call. Finished results are in the record.
    """
    __tracebackhide__ = True
    use_hook_meter(position, setup)
    meter = METER.set(position.meter)
    try:
        await _drive_async(position, setup)
    finally:
        with suppress(ValueError):  # a coroutine that is thrown away ends in another context
            METER.reset(meter)


async def _drive_async(position: Position, setup: Setup) -> None:
    __tracebackhide__ = True
    position.awaits_exec = True
    need = advance(position, setup)
    if need == AWAIT:
        need = await _await_hooks(position, setup)
    if need == END:
        return
    loop = _OnLoop()
    scheduler = Scheduler(position, setup, loop)
    try:
        scheduler.start(need)
        while True:
            awaitable = scheduler.step()
            if awaitable is not None:
                scheduler.resume(*await _outcome(awaitable))
                continue
            if scheduler.reached:
                return
            await loop.wait(scheduler.seconds_to_next_timer())
    except BaseException:
        scheduler.stopping.stop()
        raise
    finally:
        scheduler.close()
        loop.heart.stop()
        scheduler.stopping.collect_late()
        # Cancelled coroutines get a moment to clean up; not where this coroutine itself is being thrown away.
        if scheduler.stopping.is_cancelling and not isinstance(sys.exception(), GeneratorExit):
            try:
                await _clean_up(scheduler, loop)
            finally:  # also of a second cancellation: what has come in by now is kept
                scheduler.stopping.collect_late()
        if setup.open_sources and not isinstance(sys.exception(), GeneratorExit):
            await close_sources(setup.open_sources)


async def _await_hooks(position: Position, setup: Setup) -> str:
    """Await one hook after the other until the position needs something else.

    A scheduler would do the same, see `Flights.await_in_walk`. To make one costs 20 us, and 10 us more for each hook.
    """
    __tracebackhide__ = True
    heart = _Heart(asyncio.get_running_loop())
    try:
        need = AWAIT
        while need == AWAIT:
            awaitable, position.awaiting = position.awaiting, None
            try:
                position.resume(await awaitable)
            except (Exception, asyncio.CancelledError) as exc:
                position.throw(_from_hook(exc))
            need = advance(position, setup)
        return need
    except BaseException:  # also a cancellation of this run
        cancel(position, setup)
        raise
    finally:
        heart.stop()


async def _clean_up(scheduler: Scheduler, loop: _OnLoop) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(CANCEL_SECONDS):
            while scheduler.stopping.is_cancelling:
                await loop.wait(None)
                scheduler.stopping.collect_late()


async def _outcome(awaitable: Any) -> tuple[Any, BaseException | None]:
    __tracebackhide__ = True
    try:
        return await awaitable, None
    except (Exception, asyncio.CancelledError) as exc:
        return None, _from_hook(exc)


def _from_hook(error: BaseException) -> BaseException:
    """Return the exception of a hook. Raise the one that is being handled if it cancels the run itself."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    return error
