"""Takes a record back to where it was, for who goes back in a run and on from there in another way."""

from collections import Counter
from typing import Any, NamedTuple

from ..engine.batch import Batch
from .run import WIDTH, Run

__all__ = ["RunMark"]


class _Lists(NamedTuple):
    columns: list[Any]
    batches: list[Batch]
    failures: dict[int, BaseException]


class RunMark:
    """How far a record had come. The lists of a record only grow, so their lengths are enough.

    Going back gives the record lists of its own, so that marks that were made later stay good.
    """

    __slots__ = ("_dropped", "_lengths", "_lists", "_notes", "_problems")

    def __init__(self, run: Run) -> None:
        """Remember how far a record is."""
        self._lists = _Lists(run._columns, run.opened_batches, run._failures)
        self._lengths = tuple(map(len, self._lists))
        self._dropped = run._dropped_visits, run._dropped_calls, run.dropped_batches
        self._problems = dict(run._problems)
        self._notes = len(run.notes)

    def put_back(self, run: Run, again: dict[int, Batch]) -> None:
        """Take a record back.

        Args:
            run: The record that the mark is of.
            again: The batches that are gone on with, by the ``id`` of those that they stand for.
        """
        columns, batches, failures = self._lengths
        with run._lock:
            run._columns = self._lists.columns[:columns]
            run.visit = run._columns.extend
            run.opened_batches = [again.get(id(batch), batch) for batch in self._lists.batches[:batches]]
            run._failures = dict(list(self._lists.failures.items())[:failures])
            run._dropped_visits, run._dropped_calls, run.dropped_batches = self._dropped
            run._problems = Counter(self._problems)
            del run.notes[self._notes :]
        run.status, run.action, run.error, run.seconds = "running", None, None, None

    def first_visit(self, later: "RunMark", path: str) -> tuple[Any, str, float] | None:
        """Return action, status and seconds of the first visit of a node that ended between here and a later mark."""
        columns = later._lists.columns
        for start in range(self._lengths[0], later._lengths[0], WIDTH):
            plan, _, action, _, status, began, _, _, ended = columns[start : start + WIDTH]
            if plan.path == path:
                return action, status, ended - began
        return None
