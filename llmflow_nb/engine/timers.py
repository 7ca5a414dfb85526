"""Actions that are due later."""

import heapq
import itertools
from collections.abc import Callable
from time import perf_counter as clock

__all__ = ["Timers"]


class Timers:
    """Actions, ordered by the time at which they are due. They are called by `run_due` and not by a thread."""

    __slots__ = ("_heap", "_ids")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._ids = itertools.count()

    def add(self, seconds: float, action: Callable[[], object]) -> None:
        """Add an action that is due in ``seconds``."""
        heapq.heappush(self._heap, (clock() + seconds, next(self._ids), action))

    def run_due(self) -> None:
        """Call the actions that are due by now."""
        if self._heap:
            now = clock()
            while self._heap and self._heap[0][0] <= now:
                heapq.heappop(self._heap)[2]()

    def next_due(self) -> float | None:
        """Return the clock reading at which the next action is due; None: there is none."""
        return self._heap[0][0] if self._heap else None
