"""`Limiter`: one bound for every node that shares it.

It waits for nobody itself. A call asks for a *ticket* and, until the ticket is granted, is told either how many seconds
to come back after, or that it will be woken. So one limiter serves threads, event loops and several runs at a time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any

from ..core.errors import NestedLimiterError, SettingError
from ..core.settings import is_whole
from ..core.text import quoted

__all__ = ["HELD", "Limiter", "Ticket", "hold", "release"]

WINDOW = 60.0


class Ticket:
    """A place in a limiter's queue, then a slot of it, until it is given back.

    Args:
        wake: Called when it is worth asking again whether it is granted.
        path: The node that asks, for error texts.

    Attributes:
        holders: The tickets of the same limiter that are held by the calls around this one.
    """

    __slots__ = ("holders", "path", "state", "wake")

    def __init__(self, wake: Callable[[], None], path: str = "") -> None:
        self.wake = wake
        self.path = path
        self.holders: set[Ticket] = set()
        self.state = "waiting"  # then "granted", then "over"


HELD: ContextVar[tuple[Ticket, ...]] = ContextVar("llmflow_nb_held_tickets", default=())
"""The tickets of the attempt that runs in this context, and of the attempts around it."""


def hold(ticket: Ticket) -> "Token[tuple[Ticket, ...]]":
    """Note in this context that an attempt with this ticket runs in it."""
    return HELD.set((*HELD.get(), ticket))


def release(ticket: Ticket) -> None:
    """Note in this context that the attempt with this ticket has ended."""
    held = HELD.get()
    if ticket in held:
        HELD.set(tuple(other for other in held if other is not ticket))


class Limiter:
    """Bound the calls of every node that shares this object.

    Each attempt of ``exec`` counts, since each is a request to the model. Who asks first is served first. A blocking
    call that ran into its ``timeout`` keeps its slot until it really ends, for it is still using the model.

    A call whose ``exec`` runs another flow keeps its slot meanwhile. If a node of that flow needs a slot of the same
    limiter and every slot is held by such calls, the node fails with `NestedLimiterError`.

    Args:
        max_concurrency: Attempts in flight at once, over all nodes, flows, threads and event loops. None: no bound.
        per_minute: Attempts started in any 60 seconds. None: no bound.
        clock: A monotonic clock, in seconds.

    Raises:
        SettingError: A bound is below 1, or there is none.
    """

    def __init__(
        self,
        max_concurrency: int | None = None,
        per_minute: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Check the bounds."""
        for name, bound in (("max_concurrency", max_concurrency), ("per_minute", per_minute)):
            if bound is not None and (not is_whole(bound) or bound < 1):
                raise SettingError(f"Limiter({name}={quoted(bound)}): {name} must be 1 or more, or None for no bound.")
        if max_concurrency is None and per_minute is None:
            raise SettingError("Limiter() bounds nothing; give max_concurrency=, per_minute= or both.")
        self.max_concurrency = None if max_concurrency is None else int(max_concurrency)
        self.per_minute = None if per_minute is None else int(per_minute)
        self._clock = clock
        self._lock = threading.Lock()
        self._queue: deque[Ticket] = deque()
        self._granted: set[Ticket] = set()
        self._starts: deque[float] = deque()

    def __repr__(self) -> str:
        """Return the bounds as they would be written."""
        return f"Limiter(max_concurrency={self.max_concurrency}, per_minute={self.per_minute})"

    def __reduce__(self) -> Any:
        """Refuse to be copied: a copy would be a bound of its own."""
        raise TypeError("a Limiter cannot be copied or sent to another process; share the object itself")

    def __copy__(self) -> "Limiter":
        """Stay one and the same."""
        return self

    def __deepcopy__(self, memo: Any) -> "Limiter":
        """Stay one and the same."""
        return self

    def request(self, ticket: Ticket) -> Ticket:
        """Join the queue. The ticket's ``wake`` is called, from any thread, when it is worth asking again.

        The ticket is made by the caller, who can so take note of it first: an interrupt may come between any two lines.

        Raises:
            NestedLimiterError: The wait would never end, since every slot is held by a call that waits itself.
        """
        with self._lock:
            ticket.holders = self._granted.intersection(HELD.get())
            if ticket.holders:
                self._check_nesting(ticket)
            self._queue.append(ticket)
        return ticket

    def _check_nesting(self, ticket: Ticket) -> None:
        """Refuse a ticket if nobody could ever give a slot back. While one holder does not wait, there is hope."""
        if self.max_concurrency is None or len(self._granted) < self.max_concurrency:
            return
        waiting = ticket.holders.union(*(queued.holders for queued in self._queue))
        if self._granted <= waiting:
            outer = ", ".join(sorted({holder.path for holder in self._granted}))
            raise NestedLimiterError(
                f"{ticket.path} waits for a slot of {self!r}, and every slot is held by a call whose exec waits for "
                f"such a run: {outer}. Give the inner node a Limiter of its own, or raise max_concurrency above "
                "the number of calls that run a flow at once."
            )

    def seconds_left(self, ticket: Ticket) -> float | None:
        """Return 0 once the ticket is granted, the seconds after which to ask again, or None to wait for ``wake``."""
        with self._lock:
            if ticket.state == "granted":
                return 0.0
            if not self._queue or self._queue[0] is not ticket:
                return None
            if self.max_concurrency is not None and len(self._granted) >= self.max_concurrency:
                return None
            if self.per_minute is not None:
                now = self._clock()
                while self._starts and self._starts[0] <= now - WINDOW:
                    self._starts.popleft()
                if len(self._starts) >= self.per_minute:
                    return max(self._starts[0] + WINDOW - now, 0.001)
                self._starts.append(now)
            ticket.state = "granted"
            self._granted.add(ticket)
            self._queue.popleft()
            head = self._queue[0] if self._queue else None
        if head is not None:
            head.wake()
        return 0.0

    def give_back(self, ticket: Ticket) -> None:
        """Free the ticket's slot, or leave the queue. Doing it twice does no harm."""
        with self._lock:
            if ticket.state == "granted":
                self._granted.discard(ticket)
                if self._queue and self._queue[0] is ticket:  # an interrupt came while it was granted
                    self._queue.popleft()
            elif ticket in self._queue:
                self._queue.remove(ticket)
            ticket.state = "over"
            head = self._queue[0] if self._queue else None
        if head is not None:
            head.wake()
