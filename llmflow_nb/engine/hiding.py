"""A recorder that leaves out the visits of some plans and passes everything else on."""

from collections.abc import Callable, Iterable
from typing import Any

from .events import Recorder
from .plan import Plan

__all__ = ["Hiding", "Unrecorded"]


class Hiding:
    """Record what another recorder records, without the visits of some plans.

    Attributes:
        hidden: The plans whose visits are left out.
    """

    def __init__(self, recorder: Recorder, note: Callable[[tuple[Any, ...]], object] = lambda row: None) -> None:
        """``note``: is given the row of each visit that is left out."""
        self.recorder = recorder
        self.note = note
        self.hidden: set[Plan] = set()
        self.limited = recorder.limited
        self.add_visit: Callable[[Iterable[Any]], None] = self._visit
        self.add_batch, self.discard_batches = recorder.add_batch, recorder.discard_batches
        self.add_missing_edge, self.drop_old, self.add_problem = (
            recorder.add_missing_edge,
            recorder.drop_old,
            recorder.add_problem,
        )

    @property
    def abandoned(self) -> int:
        """See `Recorder`."""
        return self.recorder.abandoned

    @abandoned.setter
    def abandoned(self, count: int) -> None:
        self.recorder.abandoned = count

    def _visit(self, row: Iterable[Any]) -> None:
        plan, *_ = row = tuple(row)
        if plan in self.hidden:
            self.note(row)
        else:
            self.recorder.add_visit(row)

    def add_failed_visit(self, row: tuple[Any, ...], error: BaseException) -> None:
        """See `Recorder`."""
        if row[0] in self.hidden:
            self.note(row)
        else:
            self.recorder.add_failed_visit(row, error)


class Unrecorded:
    """A recorder that keeps nothing."""

    def __init__(self) -> None:
        self.abandoned = 0
        self.limited: dict[Any, tuple[float, float | None]] = {}
        self.add_visit: Callable[[Iterable[Any]], None] = lambda row: None

    def add_failed_visit(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Keep nothing."""

    def add_batch(self, batch: Any) -> None:
        """Keep nothing."""

    def drop_old(self) -> None:
        """There is nothing to drop."""

    def discard_batches(self, which: Callable[[Any], bool]) -> None:
        """There is nothing to drop."""

    def add_problem(self, text: str) -> None:
        """Keep nothing."""

    def add_missing_edge(self, path: str, action: Any, known: list[str]) -> None:
        """Keep nothing."""
