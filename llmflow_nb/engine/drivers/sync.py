"""The driver that blocks its caller."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from time import perf_counter as clock
from typing import Any

from ...core.errors import warn
from ...core.spend import METER
from ..advance import advance
from ..branch import Workload
from ..flight import CANCEL_SECONDS, Flight
from ..hook_meter import use_hook_meter
from ..lane import Lane
from ..position import BOUNDARY, END, Position
from ..scheduler import Scheduler
from ..setup import Setup
from .loop import LoopThread, take

__all__ = ["drive", "drive_retry"]

BLOCKED = 5.0
"""Seconds in which nothing happens after which a run checks whether it blocks the event loop that it waits for."""


class _Blocking:
    """Starts coroutines on the background loop, and waits until something has arrived."""

    awaits_itself = False

    def __init__(self) -> None:
        self.arrived: deque[Any] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._rung = False
        self.context = Context()
        self._starts: deque[Any] = deque()
        self._looks_blocked_at = clock() + BLOCKED if _runs_in_loop() else float("inf")

    def post(self, arrival: Any) -> None:
        self.arrived.append(arrival)
        if not self._rung:  # once for all that arrives until the driver waits again
            self._rung = True
            self._bell.put(None)

    def wait(self, seconds: float | None) -> None:
        """Wait until something has arrived. Raises ``queue.Empty`` after ``seconds``."""
        self._rung = False  # first: after it, an interrupt would leave a bell that never rings again
        if not self.arrived:
            take(self._bell, seconds)
        if self._looks_blocked_at != float("inf"):
            self._looks_blocked_at = clock() + BLOCKED

    def lane(self, context: Context) -> Lane:
        return Lane(LoopThread.get().loop, context)

    def start(self, function: Callable[..., object], *args: Any) -> None:
        LoopThread.get()  # raises if this is the loop's own thread
        self._starts.append((function, args))

    def flush(self) -> None:
        if self._starts:
            LoopThread.get().start(self._starts)

    def cancel(self, flights: list[Flight]) -> None:
        self.flush()  # a coroutine that never starts would be left behind
        LoopThread.get().cancel(flights)

    def wake(self) -> None:
        """Make the driver take a step, though nothing has arrived."""
        self.post((None, None, None))

    def seconds_to_wait(self, seconds: float | None) -> float | None:
        """Return the seconds to wait: no longer than until `warn_if_blocked` is due."""
        if self._looks_blocked_at == float("inf"):
            return seconds
        if clock() >= self._looks_blocked_at:  # it was due, and there was nothing to warn of
            self._looks_blocked_at = clock() + BLOCKED
        left = self._looks_blocked_at - clock()
        return left if seconds is None else min(seconds, left)

    def warn_if_blocked(self, where: str) -> None:
        """Warn once if the run seems to wait for a task of the event loop that it blocks."""
        if clock() < self._looks_blocked_at:
            return
        self._looks_blocked_at = clock() + BLOCKED
        if LoopThread.get().waits_for_nothing():
            self._looks_blocked_at = float("inf")
            warn(
                f"{where}: nothing has happened for {BLOCKED:g} s, and run() blocks the event loop of this "
                "thread. If a hook waits for a task of that loop, the run never ends. Interrupt the cell and use "
                "`await flow.run_async(shared)`."
            )


def _runs_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def drive(position: Position, setup: Setup, mask: int = 0) -> str:
    """Run a position to its end, or to the next boundary in ``mask``, in the caller's thread.

    Returns:
        `END` or `BOUNDARY`.

    Raises:
        Exception: What the run failed with.
        KeyboardInterrupt: Completed results are in the record, and nothing of the run is called any more.
        Stopped: The same, after a request by ``setup.stop``.
    """
    __tracebackhide__ = True
    use_hook_meter(position, setup)
    meter = METER.set(position.meter)
    try:
        return _drive(position, setup, mask)
    finally:
        METER.reset(meter)


def _drive(position: Position, setup: Setup, mask: int) -> str:
    __tracebackhide__ = True
    if position.context is None:
        need = advance(position, setup, mask)
    else:
        need = position.context.run(advance, position, setup, mask)
    if need in (END, BOUNDARY):  # all hooks were plain functions
        return need
    loop = _Blocking()
    scheduler = Scheduler(position, setup, loop, mask)
    return _run(scheduler, loop, setup, position.where, partial(scheduler.start, need))


def drive_retry(visits: list[Workload], shared: Any, setup: Setup) -> None:
    """Call the queued rows of some visits of one node again, in the caller's thread, under the limit of the node.

    Raises:
        KeyboardInterrupt: See `drive`.
    """
    __tracebackhide__ = True
    work = visits[0]
    position = Position(shared, [], inline=work.limit == 1)
    position.context = copy_context()  # so that no call sets a context variable of the caller
    use_hook_meter(position, setup)
    loop = _Blocking()
    scheduler = Scheduler(position, setup, loop)
    _run(scheduler, loop, setup, lambda: work.plan.path, partial(scheduler.start_retry, visits))


def _run(
    scheduler: Scheduler, loop: _Blocking, setup: Setup, where: Callable[[], str], start: Callable[[], object]
) -> str:
    """Take the steps of a scheduler, and wait in between. ``where``: returns the path of the current node."""
    __tracebackhide__ = True
    stop = setup.stop
    try:
        start()
        while True:
            scheduler.step()
            loop.flush()
            if scheduler.reached:
                return scheduler.reached
            if stop is not None:
                stop.wake = loop.wake
                stop.check()  # the request may have come before `wake` was set
            try:
                loop.wait(loop.seconds_to_wait(scheduler.seconds_to_next_timer()))
            except Empty:
                if scheduler.waits_for_loop:
                    loop.warn_if_blocked(where())
    except BaseException:
        scheduler.stopping.stop()
        raise
    finally:
        scheduler.close()
        until = clock() + CANCEL_SECONDS  # cancelled coroutines get a moment to clean up, all of them together
        scheduler.stopping.collect_late()
        while scheduler.stopping.is_cancelling and (left := until - clock()) > 0:
            with suppress(Empty):
                loop.wait(left)
            scheduler.stopping.collect_late()
        if setup.open_sources:
            LoopThread.get().close_sources(setup.open_sources)
