"""Runs the attempts of calls: limiter, start, timeout, retry, fallback.

It never waits. An attempt that has ended, or could not be started, arrives in one queue, `Loop.arrived`, from which the
scheduler hands it to `Attempts.on_arrival`. An interrupt may come between any two lines: so the call has its ticket
before the limiter is asked for a slot, and a stop can give the slot back.
"""

from asyncio import CancelledError
from functools import partial
from time import perf_counter as clock
from types import CoroutineType
from typing import Any

from ..core.errors import BudgetError, CallTimeoutError, NestedLimiterError
from ..core.kept_errors import drop_tracebacks
from ..core.node import ATTEMPT
from ..core.spend import METER
from .awaitables import PLAIN, is_awaitable
from .calls import (
    ATTEMPT_FAILS,
    ATTEMPT_STARTS,
    ENQUEUE,
    FALLBACK_STARTS,
    FOR_SLOT,
    LIMIT,
    TO_RETRY,
    Call,
    add_context,
)
from .flight import EXECUTOR, Flight, Loop
from .flights import Flights, context_of_attempt, run_within
from .limiter import HELD, Ticket, hold
from .open_calls import OpenCalls
from .retry_policy import seconds_before_retry
from .setup import Setup
from .timers import Timers

__all__ = ["Attempts"]


class Attempts:
    """Starts the attempts of calls, and decides what follows from their outcomes."""

    def __init__(self, setup: Setup, loop: Loop, calls: OpenCalls, flights: Flights, timers: Timers) -> None:
        self._setup = setup
        self._loop = loop
        self._calls = calls
        self._flights = flights
        self._timers = timers
        self._executor = flights.executor
        self._cache = setup.result_cache

    # ---- starting ----------------------------------------------------------------------------------------------------

    def start(self, call: Call) -> None:
        """Take a cached result, or start the next attempt as soon as the limiter has a slot."""
        if self._cache is not None and not call.attempts and call.ticket is None:
            cached = self._cache.find(call)
            if cached is not None:
                call.attempts = cached.attempts
                call.started = clock() - cached.seconds
                self._calls.settle(call, cached.status, cached.value, cached.error)
                if cached.usage:
                    call.batch.usage.add(call.index, cached.usage)
                if cached.is_replayed:
                    call.batch.outcomes.replayed.add(call.index)
                return
        if call.plan.settings.limiter is None or self._has_slot(call):
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

    def _has_slot(self, call: Call) -> bool:
        """Return whether a call has a slot of its limiter. If it has none, it waits for one, or has failed."""
        limiter, ticket = call.plan.settings.limiter, call.ticket
        if ticket is None:
            ticket = call.ticket = Ticket(lambda: self._loop.post((None, call, None)), call.plan.path)
            call.move(LIMIT)
            try:
                limiter.request(ticket)
            except NestedLimiterError as exc:
                self.stop_waiting(call)
                self._calls.settle(call, "failed", None, exc)
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
        executor = self._executor
        if executor is None or not executor.queue or executor.is_full:
            return False
        call = next(iter(executor.queue))
        del executor.queue[call]
        self._launch(call)
        return True

    def _launch(self, call: Call) -> None:
        """Run one attempt: as a task, on the spot, in the user's executor, or in a thread."""
        setup, position = self._setup, call.branch.position
        facts, settings = call.plan.facts, call.plan.settings
        if setup.stop is not None:
            setup.stop.check()
        name, args, is_async = call.hook(position.shared)
        executor = self._executor if facts.layer is None else None  # the calls behind a layer are sent
        if is_async and executor is not None and not executor.sends_async:
            executor = None
        if executor is not None and executor.is_full:
            call.move(ENQUEUE)
            executor.queue[call] = None
            return
        if call.started is None:
            call.started = clock()
        if call.in_fallback:
            call.move(FALLBACK_STARTS)
        else:
            if setup.budget is not None and facts.layer is None and "exec" in facts.hooks.own:
                try:
                    setup.budget.start(call, call.plan.path)
                except BudgetError as exc:
                    self.stop_waiting(call)
                    self._calls.refuse(call, exc)
                    return
            if self._cache is not None and facts.layer is None:
                self._cache.calling(call)
            call.attempts += 1
            call.move(ATTEMPT_STARTS)
            if setup.subscribers:
                self._calls.tell("attempt_started", call, value=call.item)
        flight = Flight(call.branch, self._loop, call)
        if is_async and executor is None and settings.limit != 1 and not call.batch.is_single:
            self._start_coroutine(flight, call, name, args)
            return
        if executor is None and (is_async or (settings.limit == 1 and settings.timeout is None and position.inline)):
            self._flights.in_progress[flight] = None  # so that `stop` closes it
            awaitable = run_within(position, self._call_here, flight, call, name, args)
            if awaitable is not None:
                self._await(flight, call, awaitable)
            return
        if executor is None:
            self._flights.call_in_thread(flight, name, args)
        else:
            self._flights.send(flight, name, args)
        if settings.timeout is not None:
            self._timers.add(settings.timeout, partial(self._time_out, flight))

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
        """Make an attempt on the spot. Return what has to be awaited; None: its outcome has arrived."""
        __tracebackhide__ = True
        meter = METER.set(call)
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
            METER.reset(meter)
            if token is not None:
                ATTEMPT.reset(token)
            if held is not None:
                HELD.reset(held)

    def _await(self, flight: Flight, call: Call, awaitable: Any) -> None:
        """Await an attempt: in the task of its walk if calls are made in turn, otherwise in a task of its own.

        A call in turn that has a timeout gets a task of its own too, if the walk's task is that of the driver.
        """
        timeout, flights = call.plan.settings.timeout, self._flights
        if call.is_in_turn and (timeout is None or not flights.is_drivers(flight)):
            flights.await_in_walk(flight, awaitable)
        else:
            context = context_of_attempt(flight)
            if call.attempts > 1:
                context.run(ATTEMPT.set, call.attempts - 1)
            flights.await_in_task(flight, awaitable, context)
        if timeout is not None:
            self._timers.add(timeout, partial(self._time_out, flight))

    def _time_out(self, flight: Flight) -> None:
        call = flight.call
        has_landed = flight.outcome() is not None  # in time, and on its way here
        if flight in self._flights.in_progress and call is not None and not has_landed:
            self._flights.release(flight)
            path, timeout = call.plan.path, call.plan.settings.timeout
            self._attempt_failed(call, CallTimeoutError(f"{path}: exec took longer than {timeout} s"))

    # ---- ending ------------------------------------------------------------------------------------------------------

    def on_arrival(self, flight: Flight, call: Call, value: Any, error: BaseException | None) -> None:
        """Process the end of an attempt."""
        if self._executor is not None:
            self._executor.sent.pop(flight, None)
        if error is None and type(value) not in PLAIN and is_awaitable(value):  # of a function that returned it
            flight.handle = None
            self._await(flight, call, value)
            return
        self._flights.end(flight)
        reply = flight.reply
        if reply is not None and self._executor is not None:
            self._executor.note(call, reply)
        if error is None:
            self.keep_result(call, value)
            self._calls.settle(call, "ok", value, call.error)
            return
        if not isinstance(error, Exception | CancelledError):  # SystemExit and the like: as if raised on the spot
            self._calls.tell("attempt_finished", call, "cancelled", error=error)
            self._calls.enter(call, "cancelled", None, error)
            raise error
        flight.is_awaited = False  # it is still in the queue: a stop during the next attempt must not enter it
        if isinstance(error, Exception) and not flight.is_refused:
            self._attempt_failed(call, error)
            return
        # It was cancelled by user code (ours is released before), or could not be started: so would the next attempt.
        if isinstance(error, Exception) and flight.where is EXECUTOR and self._executor is not None:
            error = self._executor.explain(call, error)
        self._calls.tell("attempt_finished", call, "failed", error=error)
        self._calls.settle(call, "failed", None, error)

    def keep_result(self, call: Call, value: Any) -> None:
        """Report the result of an attempt, and keep it in the cache."""
        if self._setup.subscribers:
            self._calls.tell("attempt_finished", call, "ok", value)
        self.cache_result(call, value)

    def cache_result(self, call: Call, value: Any) -> None:
        """Keep the result of an attempt in the cache."""
        if self._cache is not None and call.plan.facts.layer is None and not call.in_fallback:
            self._cache.keep(call, value)

    def _attempt_failed(self, call: Call, error: Exception) -> None:
        """Start the next attempt or the fallback, or fail the call."""
        if call.in_fallback:
            add_context(error, call.error)
            self._calls.settle(call, "failed", None, error)
            return
        call.error = error
        self._calls.tell("attempt_finished", call, "failed", error=error)
        try:
            seconds = seconds_before_retry(error, call.attempts, call.max_retries, call.wait, call.plan.path)
        except Exception as exc:
            self._calls.settle(call, "failed", None, exc)
            return
        if call.branch.is_halted() or (seconds is None and not call.has_fallback):
            self._calls.settle(call, "failed", None, error)
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

    def stop_waiting(self, call: Call) -> None:
        """Take a call out of the queues for a worker and for a slot of the limiter."""
        if self._executor is not None:
            self._executor.queue.pop(call, None)
        ticket = call.ticket
        if ticket is not None:
            call.plan.settings.limiter.give_back(ticket)
            self._setup.recorder.limited.pop(ticket, None)
            call.ticket = None
