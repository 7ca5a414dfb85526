"""Two recorders: one that leaves out the visits of one plan, and one that keeps nothing."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..core.spend import METER
from ..core.usage import Usage
from .batch import Batch
from .events import Recorder
from .plan import Plan

__all__ = ["Hiding", "Unrecorded"]


class Hiding:
    """Records in another recorder, except the visits of one plan."""

    def __init__(self, recorder: Recorder, hidden: Plan, on_hidden: Callable[[tuple[Any, ...]], object]) -> None:
        """``on_hidden``: called with the row of each visit that is left out."""
        self._recorder, self._hidden, self._on_hidden = recorder, hidden, on_hidden
        self.limited = recorder.limited
        self._meter = METER.get()  # of the visit that has a row
        self.add_visit: Callable[[Iterable[Any]], None] = self._add_visit
        self.add_batch, self.drop_old = recorder.add_batch, recorder.drop_old
        self.batches_by_param_set, self.discard_batches = recorder.batches_by_param_set, recorder.discard_batches
        self.add_problem, self.add_missing_edge = recorder.add_problem, recorder.add_missing_edge

    @property
    def abandoned(self) -> int:
        """See `Recorder`."""
        return self._recorder.abandoned

    @abandoned.setter
    def abandoned(self, count: int) -> None:
        self._recorder.abandoned = count

    @property
    def reexecuted(self) -> int:
        """See `Recorder`."""
        return self._recorder.reexecuted

    @reexecuted.setter
    def reexecuted(self, count: int) -> None:
        self._recorder.reexecuted = count

    def _add_visit(self, row: Iterable[Any]) -> None:
        plan, *_ = row = tuple(row)
        if plan is self._hidden:
            self._on_hidden(row)
        else:
            self._recorder.add_visit(row)

    def add_failed_visit(self, row: tuple[Any, ...], error: BaseException) -> None:
        """See `Recorder`."""
        if row[0] is self._hidden:
            self._on_hidden(row)
        else:
            self._recorder.add_failed_visit(row, error)

    def add_usage(
        self, usages: Sequence[Usage], parent_set: tuple[Batch, int] | None, *, of_visit: bool = True
    ) -> None:
        """See `Recorder`."""
        if self._meter is not None:
            for usage in usages:
                self._meter.append(usage)


class Unrecorded:
    """A recorder that keeps nothing."""

    def __init__(self) -> None:
        self.abandoned = self.reexecuted = 0
        self.limited: dict[Any, tuple[float, float | None]] = {}
        self.add_visit: Callable[[Iterable[Any]], None] = lambda row: None

    def add_failed_visit(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Keep nothing."""

    def add_usage(self, usages: Sequence[Usage], parent_set: Any, *, of_visit: bool = True) -> None:
        """Keep nothing."""

    def add_batch(self, batch: Any) -> None:
        """Keep nothing."""

    def drop_old(self) -> None:
        """There is nothing to drop."""

    def batches_by_param_set(self) -> dict[tuple[int, int], list[Batch]]:
        """Return nothing."""
        return {}

    def discard_batches(self, old: list[Batch]) -> None:
        """There is nothing to drop."""

    def add_problem(self, text: str) -> None:
        """Keep nothing."""

    def add_missing_edge(self, path: str, action: Any, known: list[str]) -> None:
        """Keep nothing."""
