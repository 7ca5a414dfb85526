"""What the engine reports while it runs, and to whom.

The *recorder* is always there and gets columns, since it must cost next to nothing. A *subscriber* is an object of a
user or a display that gets an `Event` for everything that starts and ends.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from ..core.text import described
from ..core.usage import Usage

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
        usage: What was reported with `spend`: for ``call_finished`` by all attempts of the call, for
            ``visit_finished`` by ``prep`` and ``post``. A report after the end is in no event.
        param_sets: The positions of the param sets around it, the outermost first. Together with the path it says
            which of several walks that run side by side the event belongs to.
    """

    kind: EventKind
    path: str
    params: Any = None
    position: int | None = None
    attempt: int = 0
    status: str = ""
    value: Any = None
    error: BaseException | None = None
    usage: tuple[Usage, ...] = ()
    param_sets: tuple[int, ...] = ()

    def __repr__(self) -> str:
        """Return the fields, each cut to a line, with secrets masked."""
        return described("Event", zip(self._fields, self, strict=True))


class Subscriber(Protocol):
    """Handle every event, in the thread that drives the run. It must be quick; if it raises, it is unsubscribed."""

    def handle(self, event: Event) -> None:
        """Handle one event."""


class Recorder(Protocol):
    """Record what happens, in columns.

    Attributes:
        add_visit: Adds the `VISIT_FIELDS` of a finished visit, given as one tuple. Bound to ``list.extend`` of one flat
            list: an object per visit would cost twice as much, most of it in the garbage collector.
        abandoned: Blocking calls that ran into their timeout, or outlived the run, and could not be stopped.
        reexecuted: How often a cluster has made an attempt again, because a worker had died.
        limited: The calls that wait for a limiter. Each has the clock when it started to wait, and the clock when it
            may start, or None if unknown.
    """

    abandoned: int
    reexecuted: int
    limited: dict[Any, tuple[float, float | None]]

    add_visit: Callable[[Iterable[Any]], None]

    def add_failed_visit(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Add the row of a visit that an exception ended."""

    def add_usage(
        self, usages: Sequence[Usage], parent_set: "tuple[Batch, int] | None", *, of_visit: bool = True
    ) -> None:
        """Add what was reported with `spend` to the visit that was added last, or to no visit.

        Args:
            usages: What was reported. A late report of the visit's call is appended to it.
            parent_set: The param set that has used it, or that is around the visit.
            of_visit: False: it belongs to a param set and to no visit, such as the exec of a batch flow. May be called
                from any thread then.
        """

    def add_batch(self, batch: "Batch") -> None:
        """Add the batch of a visit. Its columns are filled from now on."""

    def drop_old(self) -> None:
        """Drop the oldest visits and batches if there are too many. Called now and then, between visits."""

    def batches_by_param_set(self) -> "dict[tuple[int, int], list[Batch]]":
        """Return the batches in each param set, at any depth, by the ``id`` of its batch and its index there."""

    def discard_batches(self, old: "list[Batch]") -> None:
        """Discard batches whose visits are run again and add new ones. Their calls stay counted."""

    def add_problem(self, text: str) -> None:
        """Add a text about something that ran but was probably not meant."""

    def add_missing_edge(self, path: str, action: Any, known: list[str]) -> None:
        """Add the problem of an action that has no edge."""


VISIT_FIELDS = ("plan", "params", "action", "attempts", "status", "start", "prepared", "executed", "finished")
"""One visit: four clock readings in seconds, monotonic, so that the three hooks' times are their differences.

The attempts are `ReplayedAttempts` if all calls of the visit were answered by the results of earlier ones.
"""


class ReplayedAttempts(int):
    """The number of attempts of earlier calls. A number of its own, so that a visit needs no further column."""

    __slots__ = ()
