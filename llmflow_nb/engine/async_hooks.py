"""Awaits the async ``prep`` and ``post`` of branches, and the items of async sources.

While one of them is awaited, no other branch moves, so user code needs no lock. The exception is parallel flows under
PocketFlow's names (``Dialect.hooks_overlap``): each branch moves in its own task, from ``post`` of a node to ``prep``
of the next node, while other branches do the same.
"""

from functools import partial
from time import perf_counter as clock
from typing import Any

from ..core.errors import warn
from .advance import advance
from .branch import Branch
from .flight import Flight, Loop
from .flights import Flights
from .position import AWAIT
from .setup import Setup

__all__ = ["AsyncHooks", "next_item"]

SLOW_HOOK = 3.0
"""Seconds that a hook may hold up other branches before the run warns of it."""


class AsyncHooks:
    """The hooks that are awaited.

    Attributes:
        blocking: The one that no other branch moves beside; None: there is none, or the driver itself awaits it.
    """

    def __init__(self, setup: Setup, loop: Loop, flights: Flights) -> None:
        self.blocking: Flight | None = None
        self._setup = setup
        self._loop = loop
        self._flights = flights
        self._warns_at = float("inf")

    def start(self, branch: Branch, awaitable: Any, kind: str) -> None:
        """Have a hook ("hook") or the next item of a source ("read") awaited."""
        flight = Flight(branch, self._loop, kind=kind)
        if kind == "hook" and self._overlaps(branch):
            self._flights.await_in_walk(flight, awaitable, partial(self._follow, flight))
            return
        if not self._flights.is_drivers(flight):
            self.blocking, self._warns_at = flight, clock() + SLOW_HOOK
        self._flights.await_in_walk(flight, awaitable)

    def _overlaps(self, branch: Branch) -> bool:
        """Return whether hooks of a branch are awaited beside those of others: in one thread only, as in PocketFlow."""
        is_inner = branch.parent is not None and self._loop.awaits_itself
        return is_inner and branch.position.frames[-1].plan.facts.hooks_overlap

    def _follow(self, flight: Flight, value: Any, error: BaseException | None) -> Any:
        """Advance a branch in its own task when a hook that overlaps with others has ended.

        Returns the next hook to await there. None: the branch needs something else, and arrives at the driver.
        """
        position = flight.branch.position
        if flight.is_awaited and not flight.branch.is_halted():
            if error is None:
                position.resume(value)
            else:
                position.throw(error)
            flight.kind, value, error = "walk", None, None
            try:
                value = advance(position, self._setup)
            except BaseException as exc:
                error = exc
            if value == AWAIT and self._overlaps(flight.branch):
                flight.kind = "hook"
                awaitable, position.awaiting = position.awaiting, None
                return awaitable
        flight.landed(value, error)
        return None

    def end(self, flight: Flight) -> None:
        """Take note that a hook has ended, or is not waited for any more."""
        if self.blocking is flight:
            self.blocking = None

    def seconds_to_warning(self, branches: int) -> float | None:
        """Return the seconds until `warn_if_slow` is due, given the number of branches; None: it is not."""
        if self.blocking is None or branches == 1 or self._warns_at == float("inf"):
            return None
        return max(0.0, self._warns_at - clock())

    def warn_if_slow(self, branches: int) -> None:
        """Warn once if a hook blocks other branches, since it may be waiting for one of them."""
        if self.blocking is None or branches == 1 or clock() < self._warns_at:
            return
        self._warns_at = float("inf")
        text = (
            f"{self.blocking.branch.position.path}: a prep or post has been awaited for {SLOW_HOOK:g} s, and no other "
            "param set runs meanwhile. If it waits for one of them, the wait never ends; await it in exec, whose "
            "calls run side by side."
        )
        self._setup.recorder.add_problem(text)
        warn(text)


async def next_item(source: Any) -> Any:
    """Return the next item of an async source. A coroutine of ours, since ``__anext__`` may raise at once."""
    return await anext(source)
