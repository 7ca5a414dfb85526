"""Ends what is in flight before it has ended by itself.

* After a failure, a branch is *drained*: nothing of it that waits is started, and what is in flight gets ``grace``
  seconds. Its results are kept.
* At a stop or an interrupt, results that have arrived are kept, and the rest is released. Nothing is waited for.
* After that, a cancelled task may still bring in a result. It is kept too, for it is paid for.
"""

from functools import partial
from typing import Any

from ..core.kept_errors import drop_callers
from ..core.seconds import LONGEST
from .async_hooks import AsyncHooks
from .attempts import Attempts
from .awaitables import discard, is_awaitable
from .branch import Branch
from .calls import LATE_RESULT, SETTLED, WAITING, Call, add_context
from .flight import Flight, Loop
from .flights import Flights
from .open_calls import OpenCalls
from .param_sets import ParamSets
from .timers import Timers

__all__ = ["Stopping"]


class Stopping:
    """Settles calls and param sets as cancelled, and releases their flights."""

    def __init__(
        self,
        loop: Loop,
        timers: Timers,
        flights: Flights,
        hooks: AsyncHooks,
        calls: OpenCalls,
        attempts: Attempts,
        sets: ParamSets,
        to_fill: dict[Branch, None],
    ) -> None:
        """``to_fill``: takes the branches that no longer wait for their source."""
        self._loop = loop
        self._timers = timers
        self._flights = flights
        self._hooks = hooks
        self._calls = calls
        self._attempts = attempts
        self._sets = sets
        self._to_fill = to_fill

    # ---- after a failure ---------------------------------------------------------------------------------------------

    def drain(self, branch: Branch, grace: float) -> None:
        """Start nothing more in a branch and the branches within it. Flights in progress get ``grace`` seconds."""
        branch.draining = True
        for call in [c for c in self._calls.unsettled if c.state in WAITING and c.branch.is_within(branch)]:
            self._attempts.stop_waiting(call)
            self._calls.settle(call, "cancelled", None, call.error)
        in_flight = self._in_flight(branch)
        queued = [flight for flight in in_flight if self._flights.cancel_queued(flight)]
        for flight in queued:
            self._give_up(flight)
        if len(queued) < len(in_flight):
            self._timers.add(min(grace, LONGEST), partial(self._end_grace, branch))

    def _end_grace(self, branch: Branch) -> None:
        for flight in self._in_flight(branch):
            self._give_up(flight)

    def _in_flight(self, branch: Branch) -> list[Flight]:
        return [flight for flight in self._flights.in_progress if flight.branch.is_within(branch)]

    def _give_up(self, flight: Flight) -> None:
        """Stop waiting for a flight, and settle its call or hook as cancelled."""
        call, branch = flight.call, flight.branch
        self._flights.release(flight)
        if call is not None:
            self._calls.tell("attempt_finished", call, "cancelled")
            self._calls.settle(call, "cancelled", None, call.error)
            return
        self._hooks.end(flight)
        if flight.kind == "read":
            branch.is_reading, branch.work.batch.items.read_failed = False, True
            self._to_fill[branch] = None
        else:
            self._sets.end(branch, "cancelled", None, None)

    # ---- at a stop ---------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Start nothing more, keep what has arrived, release the rest, and settle everything. Nobody is called back."""
        flights, arrived = self._flights, self._loop.arrived
        if flights.awaited is not None:
            discard(flights.awaited[1])
        flights.awaited = self._hooks.blocking = None
        while arrived:
            self._keep(*arrived.popleft())
        for flight in list(flights.in_progress):
            outcome = flight.outcome()
            if outcome is not None:
                self._keep(flight, *outcome)
        for flight in list(flights.in_progress):
            flights.release(flight)
            if flight.call is not None:
                self._calls.tell("attempt_finished", flight.call, "cancelled")
        for call in [call for call in self._calls.unsettled if call.state is not SETTLED]:
            self._attempts.stop_waiting(call)
            self._calls.enter(call, "cancelled", None, call.error)
        self._sets.stop()

    def _keep(self, flight: Flight | None, value: Any, error: BaseException | None) -> None:
        """Enter the outcome of an attempt that ended before the stop; nothing follows from it."""
        call = None if flight is None else flight.call
        if flight is None or call is None or not flight.is_awaited or call.state is SETTLED:
            self._flights.forget(flight, value)
            return
        flight.free()
        flight.handle = None
        self._flights.in_progress.pop(flight, None)
        if error is None and not is_awaitable(value):
            self._attempts.keep_result(call, value)
            self._calls.enter(call, "ok", value, call.error)
        elif isinstance(error, Exception):
            self._calls.tell("attempt_finished", call, "failed", error=error)
            if call.in_fallback:
                add_context(error, call.error)
            drop_callers(error)
            over = call.in_fallback or (call.attempts >= call.max_retries and not call.has_fallback)
            self._calls.enter(call, "failed" if over else "cancelled", None, error)
        else:
            discard(value)
            self._calls.tell("attempt_finished", call, "cancelled", error=error)
            self._calls.enter(call, "cancelled", None, call.error)

    # ---- after the end -----------------------------------------------------------------------------------------------

    @property
    def is_cancelling(self) -> bool:
        """Whether coroutines that were cancelled have not ended yet."""
        return bool(self._flights.cancelling)

    def collect_late(self) -> None:
        """Take note of what has ended since."""
        for flight in list(self._flights.cancelling):
            outcome = flight.outcome()
            if outcome is not None:
                self._arrived_late(flight, *outcome)
        while self._loop.arrived:
            self._arrived_late(*self._loop.arrived.popleft())

    def _arrived_late(self, flight: Flight | None, value: Any, error: BaseException | None) -> None:
        call = None if flight is None else flight.call
        if call is not None and error is None and _is_cancelled(call) and not is_awaitable(value):
            self._attempts.cache_result(call, value)
            self._calls.enter(call, "ok", value, call.error, LATE_RESULT)
        self._flights.forget(flight, value)


def _is_cancelled(call: Call) -> bool:
    outcome = call.batch.outcomes.exceptional.get(call.index)
    return outcome is not None and outcome.status == "cancelled"
