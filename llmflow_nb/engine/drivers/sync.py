"""The driver that blocks its caller."""

from collections import deque
from contextlib import suppress
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from time import perf_counter as clock
from typing import Any

from ...core.errors import NestedLoopError
from ..advance import BOUNDARY, END, advance
from ..flight import CLEAN_UP, Flight
from ..plan import Setup
from ..position import Position
from ..scheduler import Scheduler
from ..stop import Stop
from .loop import LoopThread, Start, take

__all__ = ["drive"]


class _Blocking:
    """What the scheduler needs of this driver: tasks on the background loop, and a bell to wait for."""

    def __init__(self) -> None:
        self.arrived: deque[Any] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._rung = False
        self._starts: deque[Start] = deque()

    def post(self, token: Any) -> None:
        self.arrived.append(token)
        if not self._rung:  # once for all that arrives until the driver looks
            self._rung = True
            self._bell.put(None)

    def wait(self, seconds: float | None) -> None:
        """Wait until something has arrived. Raises ``queue.Empty`` after ``seconds``."""
        take(self._bell, seconds)
        self._rung = False

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

    def outcome(self, coroutine: Any, stop: Stop | None) -> tuple[Any, BaseException | None]:
        try:
            loop = LoopThread.get()
        except NestedLoopError:
            coroutine.close()
            raise
        return loop.outcome(coroutine, stop)

    def wake(self) -> None:
        """Have the driver look around, though nothing has arrived."""
        self.post((None, None, None))


def drive(position: Position, setup: Setup, mask: int = 0) -> str:
    """Run a position to its end, or to the next boundary in ``mask``, in the caller's thread.

    Returns:
        `END` or `BOUNDARY`.

    Raises:
        Exception: What the run failed with.
        Stopped: As asked for by ``setup.stop``. As for an interrupt:
        KeyboardInterrupt: Nothing of the run calls anything any more; what was finished is in the record.
    """
    __tracebackhide__ = True
    need = advance(position, setup, mask)
    if need in (END, BOUNDARY):  # nothing on the way needed more than calling functions
        return need
    loop = _Blocking()
    stop = setup.stop
    scheduler = Scheduler(position, setup, loop, mask)
    try:
        scheduler.begin(need)
        while True:
            coroutine = scheduler.turn()
            loop.start()
            if coroutine is not None:
                scheduler.answer(*loop.outcome(coroutine, stop))
            elif scheduler.came_to:
                return scheduler.came_to
            else:
                if stop is not None:
                    stop.wake = loop.wake
                    stop.check()  # made before there was anybody to wake
                with suppress(Empty):
                    loop.wait(scheduler.patience())
    except BaseException:
        scheduler.stop()
        raise
    finally:
        scheduler.close()
        with suppress(Empty):  # tasks that were cancelled get a moment to clean up, all of them together
            until = clock() + CLEAN_UP
            scheduler.clear()
            while scheduler.leaving and (left := until - clock()) > 0:
                loop.wait(left)
                scheduler.clear()
