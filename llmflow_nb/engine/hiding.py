"""A recorder that leaves out the visits of some plans, and hands everything else on."""

from collections.abc import Callable, Iterable
from typing import Any

from .events import Recorder
from .plan import Plan

__all__ = ["Hiding", "Unrecorded"]


class Hiding:
    """Records what another recorder records, but for the visits of some plans.

    Attributes:
        hidden: The plans whose visits are left out.
    """

    def __init__(self, recorder: Recorder, note: Callable[[tuple[Any, ...]], object] = lambda row: None) -> None:
        """``note``: is given the row of each visit that is left out."""
        self.recorder = recorder
        self.note = note
        self.hidden: set[Plan] = set()
        self.limited = recorder.limited
        self.visit: Callable[[Iterable[Any]], None] = self._visit
        self.batch_opened, self.superseded = recorder.batch_opened, recorder.superseded
        self.lost_action, self.make_room, self.problem = recorder.lost_action, recorder.make_room, recorder.problem

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
            self.recorder.visit(row)

    def visit_failed(self, row: tuple[Any, ...], error: BaseException) -> None:
        """See `Recorder`."""
        if row[0] in self.hidden:
            self.note(row)
        else:
            self.recorder.visit_failed(row, error)


class Unrecorded:
    """A recorder that keeps nothing."""

    def __init__(self) -> None:
        self.abandoned = 0
        self.limited: dict[Any, tuple[float, float | None]] = {}
        self.visit: Callable[[Iterable[Any]], None] = lambda row: None

    def visit_failed(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Keep nothing."""

    def batch_opened(self, batch: Any) -> None:
        """Keep nothing."""

    def make_room(self) -> None:
        """There is nothing to drop."""

    def superseded(self, which: Callable[[Any], bool]) -> None:
        """There is nothing to drop."""

    def problem(self, text: str) -> None:
        """Keep nothing."""

    def lost_action(self, path: str, action: Any, known: list[str]) -> None:
        """Keep nothing."""
