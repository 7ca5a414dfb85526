"""Runs the attempts of calls: limiter, start, timeout, retry, fallback.

It never waits. What ends, also an attempt that nobody would run, comes back by one queue: `Loop.arrived`, which the
scheduler takes out of and hands to `Attempts.on_arrival`. When a call is settled, the scheduler is called back.

An interrupt may come between any two lines. So every call is in `Attempts.calls` from its first moment until its row is
entered, and the limiter's ticket is on the call before it is requested: `Attempts.stop` finds whatever is half done.
"""

from asyncio import CancelledError
from collections.abc import Callable
from contextvars import Context
from functools import partial
from time import perf_counter as clock
from types import CoroutineType
from typing import Any

from ..core.errors import CallTimeoutError, NestedLimiterError
from ..core.kept_errors import drop_callers, drop_tracebacks
from ..core.node import ATTEMPT
from .awaitables import PLAIN, discard, is_awaitable
from .branch import Branch, Workload
from .calls import (
    ATTEMPT_FAILS,
    ATTEMPT_STARTS,
    ENQUEUE,
    FALLBACK_STARTS,
    FOR_SLOT,
    LATE_RESULT,
    LIMIT,
    SETTLE,
    SETTLED,
    TO_RETRY,
    WAITING,
    Call,
    add_context,
    invoke,
)
from .events import Event, EventKind
from .executor import UserExecutor, cancels_exactly
from .flight import ENDED, EXECUTOR, IN_FLIGHT, Flight, Loop
from .flights import Flights, context_of, run_within
from .limiter import HELD, Ticket, hold
from .plan import ResultCache, Setup
from .retry_policy import seconds_before_retry
from .timers import Timers
from .unwind import note_where

__all__ = ["Attempts"]


class Attempts:
    """The calls of a run that are not settled, and their attempts."""

    def __init__(
        self,
        setup: Setup,
        loop: Loop,
        flights: Flights,
        timers: Timers,
        settled: Callable[[Branch, BaseException | None, str | None], object],
    ) -> None:
        """``settled``: called with the branch of a settled call, its error if it failed, and its path."""
        self.calls: dict[Call, None] = {}
        self.executor = None if setup.executor is None else UserExecutor(setup.executor, setup.recorder)
        self._setup = setup
        self._loop = loop
        self._flights = flights
        self._timers = timers
        self._settled = settled
        self._cache = setup.result_cache

    # ---- starting ----------------------------------------------------------------------------------------------------

    def open(self, branch: Branch, work: Workload, index: int, item: Any) -> Call:
        """Return a new call for an item of a visit."""
        call = Call(branch, work, index, item)
        self.calls[call] = None
        if self._setup.subscribers:
            self._tell("call_started", call, 0, "", item)
        return call

    def start(self, call: Call) -> None:
        """Start the next attempt when the limiter lets it; or take a cached result."""
        if self._cache is not None and not call.attempts and call.ticket is None:
            cache = self._cache_for(call)
            cached = None if cache is None else cache.find(call)
            if cached is not None:
                call.attempts = cached.attempts
                call.started = clock()
                self._settle(call, "ok", cached.value, cached.error)
                return
        if call.plan.limiter is None or self._has_slot(call):
            self._launch(call)

    def take_over(self, call: Call, awaitable: Any, error: BaseException | None, started: float) -> None:
        """Continue a call whose first attempt was made on the spot by `advance`: it failed, or has to be awaited."""
        call.started = started
        call.attempts = 1
        call.move(ATTEMPT_STARTS)
        flight = Flight(call.branch, self._loop, call)
        if awaitable is not None:
            self._await(flight, call, awaitable)
        else:
            self._loop.arrived.append((flight, None, error))

    def _cache_for(self, call: Call) -> ResultCache | None:
        """Return the cache of results that a call takes part in. The calls within a layer are asked for one by one."""
        return self._cache if call.plan.layer is None and not call.in_fallback else None

    def _has_slot(self, call: Call) -> bool:
        """Ask the limiter. False: the call waits, or has failed for it."""
        limiter, ticket = call.plan.limiter, call.ticket
        if ticket is None:
            ticket = call.ticket = Ticket(lambda: self._loop.post((None, call, None)), call.plan.path)
            call.move(LIMIT)
            try:
                limiter.request(ticket)
            except NestedLimiterError as exc:
                self._stop_waiting(call)
                self._settle(call, "failed", None, exc)
                return False
        seconds = limiter.seconds_left(ticket)
        limited = self._setup.recorder.limited
        if seconds is None or seconds > 0:
            now = clock()
            since, _ = limited.get(ticket, (now, None))
            limited[ticket] = since, None if seconds is None else now + seconds
            if seconds is not None:
                self._timers.add(seconds, partial(self.ask_again, call))
            return False
        limited.pop(ticket, None)
        return True

    def ask_again(self, call: Call | None) -> None:
        """Ask the limiter again for a call that waits for it. None: the driver was woken for something else."""
        if call is not None and call.state is FOR_SLOT:
            self.start(call)

    def _end_wait(self, call: Call) -> None:
        if call.state is TO_RETRY:
            self.start(call)

    def send_next(self) -> bool:
        """Start the call that has waited longest for a worker of the user's pool. False: no call or no worker."""
        executor = self.executor
        if executor is None or not executor.queue or executor.is_full:
            return False
        call = next(iter(executor.queue))
        del executor.queue[call]
        self._launch(call)
        return True

    def _launch(self, call: Call) -> None:
        """Run one attempt: as a task, on the spot, in the user's executor, or in a thread."""
        setup, position, plan = self._setup, call.branch.position, call.plan
        if setup.stop is not None:
            setup.stop.check()
        name, args, is_async = call.hook(position.shared)
        executor = self.executor if plan.layer is None and not is_async else None  # the calls in a layer go there
        if executor is not None and executor.is_full:
            call.move(ENQUEUE)
            executor.queue[call] = None
            return
        if call.started is None:
            call.started = clock()
        if call.in_fallback:
            call.move(FALLBACK_STARTS)
        else:
            call.attempts += 1
            call.move(ATTEMPT_STARTS)
            if self._cache is not None and plan.layer is None:
                self._cache.calling(call)
            if setup.subscribers:
                self._tell("attempt_started", call, call.attempts, "", call.item)
        flight = Flight(call.branch, self._loop, call)
        if is_async and plan.limit != 1 and not call.batch.is_single:
            self._start_coroutine(flight, call, name, args)
            return
        if is_async or (plan.limit == 1 and plan.timeout is None and executor is None and position.inline):
            self._flights.in_progress[flight] = None  # so that `stop` closes it
            awaitable = run_within(position, self._call_here, flight, call, name, args)
            if awaitable is not None:
                self._await(flight, call, awaitable)
            return
        if executor is None:
            context = _context_of(flight)
            self._flights.call_in_thread(flight, context.run, invoke, call.target, name, args, call.attempts - 1)
        else:
            self._send(executor, flight, name, args)
        self._set_alarm(flight, plan.timeout)

    def _start_coroutine(self, flight: Flight, call: Call, name: str, args: tuple[Any, ...]) -> None:
        """Call an async def beside others, and await it in a task of its own.

        Nothing of it runs yet, so it is not called in the walk's context, which the source of the items may be using.
        """
        try:
            awaitable = getattr(call.target, name)(*args)
        except Exception as exc:
            self._loop.arrived.append((flight, None, exc))
            return
        if type(awaitable) is CoroutineType or is_awaitable(awaitable):
            self._await(flight, call, awaitable)
        else:
            self._loop.arrived.append((flight, awaitable, None))

    def _call_here(self, flight: Flight, call: Call, name: str, args: tuple[Any, ...]) -> Any:
        """Make an attempt. Return what is to be awaited; any other outcome has arrived."""
        __tracebackhide__ = True
        token = ATTEMPT.set(call.attempts - 1) if call.attempts > 1 else None
        held = None if flight.ticket is None else hold(flight.ticket)
        value: Any = None
        error: BaseException | None = None
        try:
            try:
                value = getattr(call.target, name)(*args)
            except (Exception, CancelledError) as exc:
                error = exc
            if error is None and type(value) not in PLAIN and is_awaitable(value):
                return value
            self._loop.arrived.append((flight, value, error))  # at once: it is paid for
        finally:
            if token is not None:
                ATTEMPT.reset(token)
            if held is not None:
                HELD.reset(held)

    def _await(self, flight: Flight, call: Call, awaitable: Any) -> None:
        """Await an attempt: in the task of its walk if calls are made in turn, else in one of its own.

        One with a timeout has a task of its own too, if else the caller's own task would have to await it.
        """
        plan, flights = call.plan, self._flights
        if call.is_in_turn and (plan.timeout is None or not flights.is_drivers(flight)):
            flights.await_in_walk(flight, awaitable)
        else:
            context = _context_of(flight)
            if call.attempts > 1:
                context.run(ATTEMPT.set, call.attempts - 1)
            flights.await_in_task(flight, awaitable, context)
        if plan.timeout is not None:
            self._set_alarm(flight, plan.timeout)

    def _send(self, executor: UserExecutor, flight: Flight, name: str, args: tuple[Any, ...]) -> None:
        try:
            executor.send(flight, _context_of(flight), name, args)
        except Exception as exc:
            self._flights.refuse(flight, exc)
            return
        self._flights.in_progress[flight] = None
        flight.handle.add_done_callback(flight.future_done)

    def _set_alarm(self, flight: Flight, timeout: float | None) -> None:
        if timeout is not None:
            self._timers.add(timeout, partial(self._time_out, flight))

    def _time_out(self, flight: Flight) -> None:
        call = flight.call
        has_landed = flight.outcome() is not None  # in time, and on its way here
        if flight in self._flights.in_progress and call is not None and not has_landed:
            self._release(flight, call)
            plan = call.plan
            self._attempt_failed(call, CallTimeoutError(f"{plan.path}: exec took longer than {plan.timeout} s"))

    # ---- ending ------------------------------------------------------------------------------------------------------

    def on_arrival(self, flight: Flight, call: Call, value: Any, error: BaseException | None) -> None:
        """Process the end of an attempt."""
        executor = self.executor
        if executor is not None:
            executor.sent.pop(flight, None)
        if error is None and type(value) not in PLAIN and is_awaitable(value):  # of a function that returned it
            flight.handle = None
            self._await(flight, call, value)
            return
        self._flights.end(flight)
        call.ticket = None
        if executor is not None and flight.shared_writes:
            executor.warn_of_writes(call.plan.path, flight.shared_writes)
        if error is None:
            self._succeeded(call, value)
            self._settled(call.branch, None, "")
            return
        if isinstance(error, Exception):
            flight.state = ENDED  # what follows may be the next attempt, in which an interrupt is another matter
            if flight.is_refused:
                self._refused(flight, call, error)
            else:
                self._attempt_failed(call, error)
        elif isinstance(error, CancelledError):  # by user code: ours is released before
            self._tell_attempt(call, "failed", error=error)
            self._settle(call, "failed", None, error)
        else:  # SystemExit and the like: as if it had been raised on the spot
            self._tell_attempt(call, "cancelled", error=error)
            self._enter(call, "cancelled", None, error)
            raise error

    def _succeeded(self, call: Call, value: Any) -> None:
        """Enter the result of an attempt."""
        if self._setup.subscribers:
            self._tell_attempt(call, "ok", value)
        if self._cache is not None and self._cache_for(call) is not None:
            self._cache.keep(call, value)
        self._enter(call, "fallback" if call.in_fallback else "ok", value, call.error)

    def _refused(self, flight: Flight, call: Call, error: Exception) -> None:
        """Fail a call for an error of what was to run it. Another attempt would meet the same error."""
        if flight.where is EXECUTOR and self.executor is not None:
            error = self.executor.explain(call, error)
        self._tell_attempt(call, "failed", error=error)
        self._settle(call, "failed", None, error)

    def _attempt_failed(self, call: Call, error: Exception) -> None:
        """Have the next attempt follow, or the fallback, or fail the call."""
        if call.in_fallback:
            add_context(error, call.error)
            self._settle(call, "failed", None, error)
            return
        call.error = error
        self._tell_attempt(call, "failed", error=error)
        try:
            seconds = seconds_before_retry(error, call.attempts, call.max_retries, call.wait, call.plan.path)
        except Exception as exc:
            self._settle(call, "failed", None, exc)
            return
        if call.branch.is_halted() or (seconds is None and not call.has_fallback):
            self._settle(call, "failed", None, error)
        elif seconds is None:
            call.in_fallback = True
            self._launch(call)
        else:
            drop_tracebacks(error)  # or every retried row would hold the variables of its failed attempt
            call.move(ATTEMPT_FAILS)
            if seconds > 0:
                self._timers.add(seconds, partial(self._end_wait, call))
            else:
                self.start(call)

    def _settle(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Enter the outcome of a call, and call the scheduler back."""
        if status == "failed" and error is not None:
            note_where(self._setup, error, call.plan.path, call.where())
        self._enter(call, status, value, error)
        self._settled(call.branch, error if status == "failed" else None, call.plan.path)

    def _enter(self, call: Call, status: str, value: Any, error: BaseException | None, event: str = SETTLE) -> None:
        """Enter the outcome of a call in its row. The scheduler is not told."""
        if call.error is not None and error is call.error and status != "failed":
            drop_callers(error, variables=False)  # the fallback has read it by now
        seconds = clock() - call.started if call.started is not None else 0.0
        call.batch.settle(call.index, status, value, call.attempts, seconds, error, item=call.item)
        call.move(event)
        self.calls.pop(call, None)  # only now: an interrupt in between leaves it for `stop`
        if self._setup.subscribers:
            self._tell("call_finished", call, 0, status, value, error)

    def _release(self, flight: Flight, call: Call) -> None:
        """Stop waiting for an attempt, which may still run."""
        self._flights.release(flight)
        if self.executor is not None:
            self.executor.sent.pop(flight, None)
        call.ticket = None  # the flight gives it back when it ends

    def _stop_waiting(self, call: Call) -> None:
        if self.executor is not None:
            self.executor.queue.pop(call, None)
        ticket = call.ticket
        if ticket is not None:
            call.plan.limiter.give_back(ticket)
            self._setup.recorder.limited.pop(ticket, None)
            call.ticket = None

    # ---- stopping ----------------------------------------------------------------------------------------------------

    def drain(self, branch: Branch) -> None:
        """Settle the calls of a branch, and of those within it, of which nothing is in flight."""
        for call in [c for c in self.calls if c.state in WAITING and c.branch.is_within(branch)]:
            self._stop_waiting(call)
            self._settle(call, "cancelled", None, call.error)

    def cancel_queued(self, flight: Flight) -> bool:
        """Cancel an attempt that an executor has queued. False: it runs, or that is not known."""
        is_queued = self.executor is not None and flight in self.executor.sent and cancels_exactly(self._setup.executor)
        return is_queued and bool(flight.handle.cancel())

    def give_up(self, flight: Flight, call: Call) -> None:
        """Stop waiting for an attempt, and settle its call as cancelled."""
        self._release(flight, call)
        self._tell_attempt(call, "cancelled")
        self._settle(call, "cancelled", None, call.error)

    def stop(self) -> None:
        """Keep what has arrived, release the rest, and settle every call. The scheduler is not told."""
        flights = self._flights
        while self._loop.arrived:
            self._keep(*self._loop.arrived.popleft())
        for flight in list(flights.in_progress):
            outcome = flight.outcome()
            if outcome is not None:
                self._keep(flight, *outcome)
        for flight in list(flights.in_progress):
            flights.release(flight)
            if flight.call is not None:
                self._tell_attempt(flight.call, "cancelled")
        in_use = flights.held_tickets()
        for call in [call for call in self.calls if call.state is not SETTLED]:
            if call.ticket in in_use:  # a thread that still runs, or a task that cleans up, uses the model
                call.ticket = None
            self._stop_waiting(call)
            self._enter(call, "cancelled", None, call.error)

    def _keep(self, flight: Flight | None, value: Any, error: BaseException | None) -> None:
        """Enter the outcome of an attempt that ended before the stop; nothing follows from it."""
        call = None if flight is None else flight.call
        if flight is None or call is None or flight.state is not IN_FLIGHT or call.state is SETTLED:
            self._flights.forget(flight, value)
            return
        flight.free()
        flight.handle = None
        self._flights.in_progress.pop(flight, None)
        if error is None and not (type(value) not in PLAIN and is_awaitable(value)):
            self._succeeded(call, value)
        elif isinstance(error, Exception):
            self._tell_attempt(call, "failed", error=error)
            if call.in_fallback:
                add_context(error, call.error)
            drop_callers(error)
            over = call.in_fallback or (call.attempts >= call.max_retries and not call.has_fallback)
            self._enter(call, "failed" if over else "cancelled", None, error)
        else:
            discard(value)
            self._tell_attempt(call, "cancelled", error=error)
            self._enter(call, "cancelled", None, call.error)

    def keep_late(self, call: Call, value: Any) -> None:
        """Enter a result that came in while its task was being cancelled: it is paid for."""
        row = call.batch.outcomes.exceptional.get(call.index)
        is_plain = type(value) in PLAIN or not is_awaitable(value)
        if row is not None and row.status == "cancelled" and is_plain:
            self._enter(call, "fallback" if call.in_fallback else "ok", value, call.error, LATE_RESULT)

    # ---- events ------------------------------------------------------------------------------------------------------

    def _tell_attempt(self, call: Call, status: str, value: Any = None, error: BaseException | None = None) -> None:
        """Report that an attempt of ``exec`` finished. The fallback is none."""
        if self._setup.subscribers and not call.in_fallback:
            self._tell("attempt_finished", call, call.attempts, status, value, error)

    def _tell(
        self, kind: EventKind, call: Call, attempt: int, status: str, value: Any, error: BaseException | None = None
    ) -> None:
        index = None if call.batch.is_single else call.index
        self._setup.notify(Event(kind, call.plan.path, call.batch.params, index, attempt, status, value, error))


def _context_of(flight: Flight) -> Context:
    """Return a context for an attempt: a copy of its walk's, which knows of the attempt's slot of a limiter."""
    context = context_of(flight.branch.position)
    if flight.ticket is not None:
        context.run(hold, flight.ticket)
    return context
