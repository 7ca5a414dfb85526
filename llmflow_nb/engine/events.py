"""What the engine tells while it runs, and who may listen.

Two kinds of listeners. The *recorder* is always there and is handed columns, since it must cost next to nothing.
A *subscriber* is a user's or a display's object that is handed an `Event` for everything that starts and ends.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from ..core.text import described

if TYPE_CHECKING:
    from .batch import Batch

__all__ = ["Event", "EventKind", "Recorder", "Subscriber"]

EventKind = Literal[
    "run_started",
    "run_finished",
    "visit_started",
    "visit_finished",
    "param_set_started",
    "param_set_finished",
    "call_started",
    "call_finished",
    "attempt_started",
    "attempt_finished",
]


class Event(NamedTuple):
    """One thing that started or ended.

    Attributes:
        kind: What happened. A call is one use of ``exec``: of a `BatchNode` there is one for each item.
        path: The node, from the outermost flow down: "SummarizeAll/MapSummaries".
        params: The params of the visit.
        position: Of the item in its batch, or of the param set, from 0; None where there is none.
        attempt: The attempt, from 1; 0 where it does not apply.
        status: For what finished: "ok", "fallback", "failed" or "cancelled".
        value: For ``call_started`` the item (or ``prep``'s result), for ``call_finished`` the result, for
            ``visit_finished`` and ``run_finished`` the action.
        error: The exception of what failed.
    """

    kind: EventKind
    path: str
    params: Any = None
    position: int | None = None
    attempt: int = 0
    status: str = ""
    value: Any = None
    error: BaseException | None = None

    def __repr__(self) -> str:
        """Return the fields, each cut to a line, with secrets masked."""
        return described("Event", zip(self._fields, self, strict=True))


class Subscriber(Protocol):
    """Told of every event, in the thread that drives the run. It must be quick; if it raises, it is unsubscribed."""

    def handle(self, event: Event) -> None:
        """Take note of one event."""


class Recorder(Protocol):
    """Where the engine leaves what happened, in columns.

    Attributes:
        visit: Takes the `VISIT_FIELDS` of a finished visit as one tuple. Bound to ``list.extend`` of one flat list: an
            object per visit would cost twice as much, most of it in the garbage collector.
        abandoned: Blocking calls that ran into their timeout, or outlived the run, and could not be stopped.
        limited: The calls that wait for a limiter, each with the clock when it began to, and the clock when it will be
            let, where that is known.
    """

    abandoned: int
    limited: dict[Any, tuple[float, float | None]]

    visit: Callable[[Iterable[Any]], None]

    def visit_failed(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Take the row of a visit that an exception ended."""

    def batch_opened(self, batch: "Batch") -> None:
        """Take the items of a visit, whose columns are being filled from now on."""

    def make_room(self) -> None:
        """Drop what is too old to be kept. Called now and then, between visits."""

    def superseded(self, which: "Callable[[Batch], bool]") -> None:
        """Drop the batches of which this is true: their visits are made again, and open others."""

    def problem(self, text: str) -> None:
        """Take a text about something that ran but was probably not meant."""

    def lost_action(self, path: str, action: Any, known: list[str]) -> None:
        """Take an action for which there was no edge."""


VISIT_FIELDS = ("plan", "params", "action", "attempts", "status", "start", "prepared", "executed", "finished")
"""One visit: four clock readings in seconds, monotonic, so that the three hooks' times are their differences."""
