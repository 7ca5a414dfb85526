"""`Limiter`: a bound on the calls of all nodes that share it.

A limiter never waits, so it serves threads, event loops and several runs at a time. A call requests a *ticket*. Until
the ticket is granted, the limiter returns the seconds after which to ask again, or wakes the call.
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
"""The seconds of a minute."""


class Ticket:
    """A place in a limiter's queue, then one of its slots, until it is given back."""

    __slots__ = ("holders", "path", "wake")

    def __init__(self, wake: Callable[[], None], path: str = "") -> None:
        self.wake = wake  # called when it is time to ask again whether the ticket is granted
        self.path = path  # the node, for error texts
        self.holders: set[Ticket] = set()  # the tickets of the same limiter that the calls around this one hold


HELD: ContextVar[tuple[Ticket, ...]] = ContextVar("llmflow_nb_held_tickets", default=())
"""The tickets of the attempt that runs in this context and of the attempts around it."""


def hold(ticket: Ticket) -> "Token[tuple[Ticket, ...]]":
    """Enter a ticket as held by the attempt that runs in this context."""
    return HELD.set((*HELD.get(), ticket))


def release(ticket: Ticket) -> None:
    """Remove a ticket that the attempt in this context held."""
    HELD.set(tuple(held for held in HELD.get() if held is not ticket))


class Limiter:
    """Limit the calls of all nodes that share this object.

    Each attempt of ``exec`` counts, since each is a request to the model. Attempts start in the order in which they ask
    for a slot. A blocking call that exceeds its ``timeout`` keeps its slot until it ends, because it still uses the
    model.

    A call whose ``exec`` runs another flow keeps its slot during that run. If such calls hold all slots and a node of
    their flows needs a slot, that node fails with `NestedLimiterError`.

    Args:
        max_concurrency: Attempts in flight at once, over all nodes, flows, threads and event loops. None: no limit.
        per_minute: Attempts started in any 60 seconds. None: no limit.
        clock: A monotonic clock, in seconds.

    Raises:
        SettingError: A limit is below 1, or both are None.
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
                raise SettingError(f"Limiter({name}={quoted(bound)}): {name} must be 1 or more, or None for no limit.")
        if max_concurrency is None and per_minute is None:
            raise SettingError("Limiter() limits nothing; give max_concurrency=, per_minute= or both.")
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
        """Refuse to be pickled: a copy would have its own, separate limit."""
        raise TypeError("a Limiter cannot be copied or sent to another process; share the object itself")

    def __copy__(self) -> "Limiter":
        """Return this limiter: a copy would be a bound of its own."""
        return self

    def __deepcopy__(self, memo: Any) -> "Limiter":
        """Return this limiter: a copy would be a bound of its own."""
        return self

    def request(self, ticket: Ticket) -> Ticket:
        """Put a ticket into the queue. Its ``wake`` is called, from any thread, when it is time to ask again.

        The caller makes the ticket, and keeps it before it is queued: an interrupt may come between any two lines.

        Raises:
            NestedLimiterError: The wait would never end, because every slot is held by a call that waits itself.
        """
        with self._lock:
            ticket.holders = self._granted.intersection(HELD.get())
            if ticket.holders:
                self._check_nesting(ticket)
            self._queue.append(ticket)
        return ticket

    def _check_nesting(self, ticket: Ticket) -> None:
        """Refuse a ticket if the holders of all slots wait for tickets themselves, so that no slot is ever released."""
        if self.max_concurrency is None or len(self._granted) < self.max_concurrency:
            return
        waiting = ticket.holders.union(*(queued.holders for queued in self._queue))
        if self._granted <= waiting:
            outer = ", ".join(sorted({holder.path for holder in self._granted}))
            raise NestedLimiterError(
                f"{ticket.path} would wait forever for {self!r}: calls hold all its slots, and the flows that "
                f"they run need a slot too: {outer}. Give the inner node a Limiter of its own, or raise "
                "max_concurrency above the number of calls that run a flow at the same time."
            )

    def seconds_left(self, ticket: Ticket) -> float | None:
        """Return 0 if the ticket is granted, else the seconds after which to ask again; None: after its ``wake``."""
        with self._lock:
            if ticket in self._granted:
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
            self._queue.popleft()
            self._granted.add(ticket)
            head = self._queue[0] if self._queue else None
        if head is not None:
            head.wake()
        return 0.0

    def give_back(self, ticket: Ticket) -> None:
        """Free the slot of a ticket, or take it out of the queue. The second time, nothing happens."""
        with self._lock:
            if ticket in self._granted:
                self._granted.remove(ticket)
            elif ticket in self._queue:
                self._queue.remove(ticket)
            head = self._queue[0] if self._queue else None
        if head is not None:
            head.wake()
