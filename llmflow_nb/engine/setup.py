"""The options of a run, and what all its positions share."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from ..core.errors import warn
from ..core.node import BaseNode
from ..core.text import class_name, quoted
from .budget import Budget
from .events import Event, Recorder, Subscriber
from .facts import Checked, Facts, facts_of
from .stop import Stop

if TYPE_CHECKING:
    from .batch import Batch
    from .calls import ResultCache

__all__ = ["Setup"]

_NO_NAMES: Mapping[int, dict[int, str]] = {}


class Setup:
    """The options of a run, and what all its positions share.

    Attributes:
        recorder: Records visits, batches and problems.
        subscribers: The objects that get every event.
        executor: The user's executor for calls, or None.
        grace: Seconds that calls in flight get after a failure.
        open_sources: The batches whose async generators the driver has to close.
        noted: The exceptions that already have a note, by ``id``.
        concurrent: Whether param sets may be walked side by side. False for a stepper.
        stop: The flag that ends the run; None if nobody can set it.
        result_cache: Answers calls in place of ``exec``, and gets the results of the others; or None.
        refusal: Why the budget has refused a call; None if it has not.
        budget: The limit on the calls or their cost; or None.
        from_start: Whether retried param sets are walked from their start. None: if ``shared`` has changed since.
        restarted: The number of param sets that were walked from their start because ``shared`` has changed.
        silent_path: The path of a visit whose events another position reports.
        names: The names of the steps of each flow, from `Survey`; empty if there was no survey.
        stamp: Marks the plans that are valid for this run.
        checked: The facts of the classes that this run has checked.
    """

    # Defaults of the class, since few runs change them.
    refusal: Exception | None = None
    restarted = 0
    silent_path = ""

    def __init__(
        self,
        recorder: Recorder,
        *,
        subscribers: Iterable[Subscriber] = (),
        executor: Executor | None = None,
        concurrent: bool = True,
        grace: float = 5.0,
        from_start: bool | None = None,
        stop: Stop | None = None,
        result_cache: "ResultCache | None" = None,
        budget: Budget | None = None,
        names: Mapping[int, dict[int, str]] = _NO_NAMES,
    ) -> None:
        self.recorder = recorder
        self.subscribers = list(subscribers)
        self.calls_here = executor is None and not self.subscribers and result_cache is None and budget is None
        self.executor = executor
        self.concurrent = concurrent
        self.grace = grace
        self.from_start = from_start
        self.stop = stop
        self.result_cache = result_cache
        self.budget = budget
        self.names = names
        self.noted: dict[int, BaseException] = {}
        self.open_sources: list[Batch] = []
        self.stamp = object()
        self.checked: Checked = {}

    def facts_of(self, node: BaseNode) -> Facts:
        """Return the facts of a node in this run. See `facts_of`."""
        return facts_of(node, self.calls_here, self.checked)

    def notify(self, event: Event) -> None:
        """Pass an event to every subscriber. One that raises is reported and removed."""
        if event.path == self.silent_path and event.kind in ("visit_started", "visit_finished"):
            return
        for subscriber in self.subscribers[:]:
            try:
                subscriber.handle(event)
            except Exception as exc:
                self.subscribers.remove(subscriber)
                text = f"subscriber {class_name(subscriber)} raised {quoted(exc, 200)} and was unsubscribed"
                self.recorder.add_problem(text)
                warn(text)
