"""The calls that are not settled, and how one is settled: a status for its row, a note on its error, an event.

An interrupt may come between any two lines. So a call is in `OpenCalls.unsettled` from its first moment until its row
is entered: a stop finds whatever is half done.
"""

from collections.abc import Callable
from time import perf_counter as clock
from typing import Any

from ..core.kept_errors import drop_callers
from .batch import positions_of
from .branch import Branch, Workload
from .calls import SETTLE, Call
from .events import Event, EventKind
from .setup import Setup
from .unwind import note_where

__all__ = ["OpenCalls"]


class OpenCalls:
    """Opens and settles the calls of a run."""

    def __init__(self, setup: Setup, settled: Callable[[Branch, BaseException | None, str | None], object]) -> None:
        """``settled``: called with the branch of a settled call, its error if it failed, and its path."""
        self.unsettled: dict[Call, None] = {}
        self._setup = setup
        self._settled = settled

    def open(self, branch: Branch, work: Workload, index: int, item: Any) -> Call:
        """Return a new call for an item of a visit."""
        call = Call(branch, work, index, item)
        call.budget = self._setup.budget
        self.unsettled[call] = None
        if self._setup.subscribers:
            self.tell("call_started", call, value=item)
        return call

    def settle(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Enter the outcome of a call, and call the scheduler back."""
        has_failed = status == "failed"
        if has_failed and error is not None:
            note_where(self._setup, error, call.plan.path, call.where())
        self.enter(call, status, value, error)
        self._settled(call.branch, error if has_failed else None, call.plan.path)

    def refuse(self, call: Call, error: Exception) -> None:
        """Enter that an attempt was not made, and call the scheduler back with the reason, which ends the run."""
        if call.branch.to_retry is None:
            self.enter(call, "cancelled", None, call.error)
        else:  # the row keeps its error
            self.enter(call, "failed", None, call.error or error)
        self._setup.refusal = error
        self._settled(call.branch, error, call.plan.path)

    def enter(self, call: Call, status: str, value: Any, error: BaseException | None, event: str = SETTLE) -> None:
        """Enter the outcome of a call in its row. The scheduler is not told.

        Args:
            call: The call.
            status: "ok" (in the row "fallback", if the fallback returned the result), "failed" or "cancelled".
            value: The result.
            error: The exception of the last attempt.
            event: What happened to the call, see `calls`.
        """
        if call.error is not None and error is call.error and status != "failed":
            drop_callers(error, variables=False)  # the fallback has read it by now
        if status == "ok" and call.in_fallback:
            status = "fallback"
        if self._setup.result_cache is not None:  # first: a call that is settled cannot be settled again
            self._setup.result_cache.settled(call, status, value, error)
        seconds = clock() - call.started if call.started is not None else 0.0
        call.batch.settle(call.index, status, value, call.attempts, seconds, error, item=call.item)
        call.move(event)
        self.unsettled.pop(call, None)  # only now: an interrupt in between leaves it for a stop
        if self._setup.subscribers:
            self.tell("call_finished", call, status, value, error)

    def tell(self, kind: EventKind, call: Call, status: str = "", value: Any = None, error: Any = None) -> None:
        """Report an event of a call, or of its latest attempt. A call of the fallback is no attempt."""
        of_attempt = kind in ("attempt_started", "attempt_finished")
        if self._setup.subscribers and not (of_attempt and call.in_fallback):
            index = call.item_index
            attempt = call.attempts if of_attempt else 0
            usage = call.batch.usage.of(call.index)[call.reported :] if kind == "call_finished" else ()
            around = positions_of(call.branch.position.param_set())
            event = Event(kind, call.plan.path, call.batch.params, index, attempt, status, value, error, usage, around)
            self._setup.notify(event)
