"""The outcomes of the items of a batch, in columns."""

import copy
import itertools
from array import array
from collections import Counter
from typing import Any, NamedTuple

from ..core.statuses import HAS_RESULT

__all__ = ["PENDING", "Outcome", "Outcomes", "UnansweredError"]

PENDING: Any = object()
"""In the column of results: no outcome yet. A value of its own, since None may be a real result."""


class UnansweredError(Exception):
    """The error of a call that a result cache neither answers nor allows: its result is not known.

    Unlike a failure, it does not stop the calls and param sets beside it, and no setting keeps it: no ``post`` runs
    without the result.
    """


class Outcome(NamedTuple):
    """The outcome of an item, unless ``exec`` returned at the first attempt."""

    status: str
    attempts: int
    error: BaseException | None = None
    failed_at: str | None = None


class Outcomes:
    """The outcomes of the items of one batch, by index.

    An interrupt may come between two appends, and another thread may read a table. So readers accept a column that is
    one row shorter. A result is appended before its seconds, because it is paid for.
    """

    results: list[Any]  # `PENDING` where there is none yet
    seconds: "array[float]"  # from the first attempt to the end
    exceptional: dict[int, Outcome]  # of all items that are not simply "ok" at the first attempt
    actions: list[Any] | None = None  # of param sets: the last action of each walk
    in_flight = 0  # how many have started and not ended
    replayed: set[int]  # the items whose result is that of an earlier call
    workers: dict[int, str]  # where items were called, if an executor says so

    def __init__(self) -> None:
        self.results = []
        self.seconds = array("d")
        self.exceptional = {}
        self.replayed = set()
        self.workers = {}

    def start(self) -> None:
        """Append a row for an item that is about to be called."""
        self.seconds.append(0.0)
        if self.actions is not None:
            self.actions.append(None)
        self.results.append(PENDING)
        self.in_flight += 1

    def enter(self, index: int, value: Any, seconds: float, outcome: Outcome | None) -> None:
        """Enter the outcome of an item. None: it is simply "ok".

        Nothing is called here, so no interrupt comes in between: a row is entered completely or not at all.
        """
        if self.results[index] is PENDING:
            self.in_flight -= 1
        self.results[index] = value
        self.seconds[index] = seconds
        if outcome is not None:
            self.exceptional[index] = outcome
        elif index in self.exceptional:
            del self.exceptional[index]  # "cancelled", and its result arrived late

    @property
    def is_replayed(self) -> bool:
        """Whether every item has the result of an earlier call."""
        return len(self.replayed) == len(self.results) > 0

    def counts(self, rows: int) -> dict[str, int]:
        """Return how many of the first ``rows`` items have each status now; only statuses that occur."""
        started, in_flight = len(self.results), self.in_flight
        counts = Counter(outcome.status for outcome in list(self.exceptional.values()))
        in_flight -= counts["pending"]
        counts["ok"] += started - counts.total() - in_flight
        counts["pending"] += rows - started + in_flight
        return {status: n for status, n in counts.items() if n > 0}

    def has_result(self, index: int) -> bool:
        """Return whether an item has a result."""
        if not 0 <= index < len(self.results) or self.results[index] is PENDING:
            return False
        return index not in self.exceptional or self.exceptional[index].status in HAS_RESULT

    def without_result(self, rows: int) -> list[int]:
        """Return the indices of the items, among the first ``rows``, that have no result."""
        exceptional, results, started = self.exceptional, self.results, len(self.results)
        return [
            i
            for i in range(rows)
            if i >= started or (exceptional[i].status not in HAS_RESULT if i in exceptional else results[i] is PENDING)
        ]

    def errors(self) -> list[BaseException]:
        """Return the exceptions of the items that did not simply have a result."""
        return [outcome.error for outcome in self.exceptional.values() if outcome.error is not None]

    def even_out(self, rows: int) -> None:
        """Make the columns equally long. After an interrupt, one may be shorter."""
        self.results += [PENDING] * (rows - len(self.results))
        self.seconds.extend([0.0] * (rows - len(self.seconds)))
        if self.actions is not None:
            self.actions += [None] * (rows - len(self.actions))
        for index, outcome in self.exceptional.items():
            if outcome.status != "pending" and self.results[index] is PENDING:
                self.results[index] = None
        self.in_flight = sum(result is PENDING for result in self.results)

    def reopen(self, index: int) -> float:
        """Remove the outcome of the latest param set, which is in progress again. Return its seconds so far."""
        seconds = sum(self.seconds[index:])
        before = self.exceptional.get(index)
        del self.results[index:], self.seconds[index:]
        if self.actions is not None:
            del self.actions[index:]
        self.exceptional[index] = Outcome("ok", (before.attempts if before else 1) + 1)
        return seconds

    def save(self) -> tuple[int, int, int, int, int]:
        """Return the lengths of the columns, and how many items are in flight."""
        actions = 0 if self.actions is None else len(self.actions)
        return len(self.results), len(self.seconds), len(self.exceptional), actions, self.in_flight

    def restored(self, saved: tuple[int, int, int, int, int]) -> "Outcomes":
        """Return outcomes of their own, cut to what they were when they were saved."""
        results, seconds, exceptional, actions, in_flight = saved
        twin = copy.copy(self)
        twin.results = self.results[:results]
        twin.seconds = self.seconds[:seconds]
        twin.exceptional = dict(itertools.islice(self.exceptional.items(), exceptional))
        twin.actions = None if self.actions is None else self.actions[:actions]
        twin.in_flight = in_flight
        twin.replayed = {index for index in self.replayed if index < results}
        twin.workers = self.workers.copy()
        return twin
