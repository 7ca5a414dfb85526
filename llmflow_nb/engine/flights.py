"""Starts and releases what is in flight in a run, in whatever thread, task or process it runs."""

from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any

from ..core.node import ATTEMPT
from ..core.spend import METER
from .awaitables import discard
from .calls import invoke
from .events import Recorder
from .executor import UserExecutor
from .flight import DRIVER, EXECUTOR, HERE, LANE, TASK, THREAD, Flight, Loop
from .lane import Job
from .limiter import hold, release
from .position import Position
from .threads import DaemonThreads

__all__ = ["Flights", "context_of", "context_of_attempt", "run_within"]


class Flights:
    """The flights of a run.

    An interrupt may come between any two lines. So a flight is in `in_progress` before its call is started.
    """

    def __init__(self, loop: Loop, recorder: Recorder, executor: UserExecutor | None) -> None:
        """``executor``: the user's, if there is one."""
        self.executor = executor
        self.in_progress: dict[Flight, None] = {}
        self.cancelling: dict[Flight, None] = {}  # their tasks were cancelled, and may still clean up
        self.awaited: tuple[Flight, Any] | None = None  # what the driver has to await itself
        self._loop = loop
        self._recorder = recorder
        self._threads: DaemonThreads | None = None

    # ---- starting ----------------------------------------------------------------------------------------------------

    def is_drivers(self, flight: Flight) -> bool:
        """Return whether the driver is a coroutine that awaits the hooks of this flight's walk itself."""
        return self._loop.awaits_itself and flight.branch.parent is None

    def await_in_walk(self, flight: Flight, awaitable: Any, follow: Callable[..., Any] | None = None) -> None:
        """Await in the task and context of the flight's walk: its lane, or the driver's own task.

        Args:
            flight: The flight.
            awaitable: What to await.
            follow: See `Job`; not for what the driver awaits.
        """
        self.in_progress[flight] = None
        position = flight.branch.position
        if self.is_drivers(flight):
            flight.where = DRIVER
            _enter(flight)
            self.awaited = flight, awaitable
            return
        flight.where = LANE
        try:
            if position.lane is None:
                position.context = position.context or copy_context()
                position.lane = self._loop.lane(position.context)
            _enter(flight)
            flight.handle = job = Job(awaitable, flight.landed, follow)
            self._loop.start(position.lane.add, job)
        except Exception as exc:  # the loop cannot be waited for from here
            self.refuse(flight, exc)
            discard(awaitable)

    def await_in_task(self, flight: Flight, awaitable: Any, context: Context) -> None:
        """Await in a task of its own."""
        self.in_progress[flight] = None
        flight.where = TASK
        try:
            self._loop.start(flight.start_task, awaitable, context)
        except Exception as exc:
            self.refuse(flight, exc)
            discard(awaitable)

    def call_in_thread(self, flight: Flight, name: str, args: tuple[Any, ...]) -> None:
        """Call a hook in a thread."""
        call = flight.call
        assert call is not None
        self._threads = self._threads or DaemonThreads()
        future: Future[Any] = Future()
        flight.handle = future
        flight.where = THREAD
        future.add_done_callback(flight.future_done)
        self.in_progress[flight] = None
        hook = context_of_attempt(flight).run, invoke, call.target, name, args, call.attempts - 1
        flight.is_refused = not self._threads.submit(future, *hook)

    def send(self, flight: Flight, name: str, args: tuple[Any, ...]) -> None:
        """Call a hook in the user's executor."""
        assert self.executor is not None
        try:
            self.executor.send(flight, context_of_attempt(flight), name, args)
        except Exception as exc:
            self.refuse(flight, exc)
            return
        self.in_progress[flight] = None
        flight.handle.add_done_callback(flight.future_done)

    def refuse(self, flight: Flight, error: Exception) -> None:
        """Have a flight arrive with the error of what should have run it."""
        flight.is_refused = True
        flight.handle = None
        if flight.where is not EXECUTOR:
            flight.where = HERE
        self._loop.arrived.append((flight, None, error))

    # ---- ending ------------------------------------------------------------------------------------------------------

    def end(self, flight: Flight) -> None:
        """Remove a flight that has arrived."""
        self.in_progress.pop(flight, None)
        _end_in_budget(flight)
        flight.handle = None  # a future refers back to the flight, which would keep item and result in a cycle
        if flight.ticket is not None:
            flight.free()
        if flight.call is not None:
            flight.call.ticket = None
        if flight.where is LANE or flight.where is DRIVER:
            self._leave(flight)

    def release(self, flight: Flight) -> None:
        """Stop waiting for a flight. A task is cancelled; a thread cannot be, and is counted as abandoned."""
        handle = flight.handle
        is_cancelling = flight.where is LANE or flight.where is TASK
        flight.is_awaited = False
        if is_cancelling:
            self.cancelling[flight] = None
            if flight.where is LANE and handle is not None and handle.outcome is None:
                flight.branch.position.leave_lane()
                self._leave(flight)
            self._loop.cancel([flight])
        elif handle is None or handle.done():
            flight.free()  # it landed while it was awaited, or is not going to
        elif self._is_cancelled(flight):
            _undo_in_budget(flight)
        else:
            self._recorder.abandoned += 1
        _end_in_budget(flight)
        if flight.call is not None:
            flight.call.ticket = None  # the flight gives it back when it ends
        if self.executor is not None:
            self.executor.sent.pop(flight, None)
        self.in_progress.pop(flight, None)
        if not is_cancelling:
            flight.handle = None

    def _is_cancelled(self, flight: Flight) -> bool:
        """Cancel the future of a flight. Return whether it is certain that its call never runs.

        Outside of the standard library's pools that is not known. If the flight holds one of a bounded number of slots
        there, it is not even cancelled: ``cancel()`` would report its end at once, while the call may still run, and
        the slot must not be given to another one.
        """
        is_exact = flight.where is not EXECUTOR or self.executor is None or self.executor.cancels_exactly
        limiter = None if flight.call is None or flight.ticket is None else flight.call.plan.settings.limiter
        if not is_exact and limiter is not None and limiter.max_concurrency is not None:
            return False
        return bool(flight.handle.cancel()) and is_exact

    def _leave(self, flight: Flight) -> None:
        """Let the context of a walk forget the attempt that was made in it."""
        position, call = flight.branch.position, flight.call
        if call is not None:
            run_within(position, METER.set, position.meter)
            if call.attempts > 1:
                run_within(position, ATTEMPT.set, 0)
        if flight.ticket is not None:
            run_within(position, release, flight.ticket)

    def forget(self, flight: Flight | None, value: Any) -> None:
        """Remove a flight that has ended after it was released, and discard its value."""
        if flight is not None:
            self.in_progress.pop(flight, None)
            self.cancelling.pop(flight, None)
            flight.handle = None
            flight.drop(value)
            flight.is_awaited = False

    def cancel_queued(self, flight: Flight) -> bool:
        """Cancel an attempt that the executor has queued. False: it runs, or that is not known."""
        executor = self.executor
        is_queued = executor is not None and flight in executor.sent and executor.cancels_exactly
        is_cancelled = is_queued and bool(flight.handle.cancel())
        if is_cancelled:
            _undo_in_budget(flight)
        return is_cancelled

    def close(self) -> None:
        """Let the threads end."""
        if self._threads is not None:
            self._threads.close()


def context_of(position: Position) -> Context:
    """Return a copy of the context that the hooks of a walk run in."""
    return copy_context() if position.context is None else position.context.copy()


def context_of_attempt(flight: Flight) -> Context:
    """Return a context for an attempt: a copy of its walk's, which knows of the attempt's slot of a limiter."""
    context = context_of(flight.branch.position)
    if flight.call is not None:
        context.run(METER.set, flight.call)
    if flight.ticket is not None:
        context.run(hold, flight.ticket)
    return context


def run_within(position: Position, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in the context of a walk, if it has one of its own."""
    __tracebackhide__ = True
    return function(*args) if position.context is None else position.context.run(function, *args)


def _undo_in_budget(flight: Flight) -> None:
    call = flight.call
    if call is not None and call.budget is not None:
        call.budget.undo(call)


def _end_in_budget(flight: Flight) -> None:
    call = flight.call
    if call is not None and call.budget is not None:
        call.budget.end(call)


def _enter(flight: Flight) -> None:
    """Let the context of a walk know of the attempt that is made in it."""
    position, call = flight.branch.position, flight.call
    if call is not None:
        run_within(position, METER.set, call)
        if call.attempts > 1:
            run_within(position, ATTEMPT.set, call.attempts - 1)
    if flight.ticket is not None:
        run_within(position, hold, flight.ticket)
