"""A visit of a batch node or a batch flow: its input (`Items`), and its `Outcomes`.

Also used for the single call of a plain node that could not be made on the spot (`Batch.single`). The record of a run
holds these objects themselves, so nothing is copied, and a table can be read while it runs.
"""

import copy
from collections.abc import Iterator, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import AllFailedError, HookReturnError
from ..core.statuses import FAILURES, HAS_RESULT
from ..core.text import error_text, shown
from ..core.usage import Usage
from .item_usage import ItemUsage
from .items import Items, SavedItems
from .outcomes import PENDING, Outcome, Outcomes, UnansweredError
from .retry_queue import RetryQueue

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .plan import Plan

__all__ = ["PENDING", "Batch", "Outcome", "SavedBatch", "open_batch", "param_sets_from", "positions_of"]


class Batch:
    """One visit of a node or flow that makes several calls or walks, in the order of its items."""

    plan: "Plan"  # the node or the `BatchFlow`
    path: str  # with ".exec" at its end for the elements that the exec of a batch flow returned
    params: Any  # of the visit
    items: Items
    outcomes: Outcomes
    visit: Any = None  # the copy of the node that serves the visit
    hook_attributes: dict[str, Any]  # what ``prep`` has set on that copy
    parent_set: "tuple[Batch, int] | None" = None  # the param set around it: its batch, and its index there
    started: tuple[Any, Any, BaseException | None, float] | None = None  # see `take_started`
    stopped = False  # whether the visit ended before the items did
    is_single = False  # whether this is the one call of a plain node
    attempts_before = 0  # attempts before the visit was resumed, which another row of the record has
    retry_queue: RetryQueue | None = None  # the items to call again before any is read
    usage: ItemUsage  # what the calls of each item have used
    stored: tuple[int, int] | None = None  # its run and its number in a journal
    kept_at: "Checkpoint | None" = None  # where it ended with failures that were kept, to run ``post`` again
    checkpoints: "dict[int, Checkpoint]"  # where param sets failed or were stopped, to resume them

    def __init__(self, plan: "Plan", params: Any, items: Items) -> None:
        self.plan = plan
        self.path = plan.path
        self.params = params
        self.items = items
        self.outcomes = Outcomes()
        self.hook_attributes = {}
        self.usage = ItemUsage()
        self.checkpoints = {}

    @classmethod
    def single(cls, plan: "Plan", params: Any, prep_res: Any) -> "Batch":
        """Return the one call of a plain node."""
        batch = cls(plan, params, Items.of_one(prep_res))
        batch.is_single = True
        return batch

    # ---- the calls ---------------------------------------------------------------------------------------------------

    def take(self, item: Any) -> int:
        """Enter an item that was read and is called now. Return its index."""
        index = self.items.add(item)
        self.outcomes.start()
        return index

    def take_unstarted(self, item: Any) -> int:
        """Enter an item that was read and is not called for now. Return its index."""
        index = self.take(item)
        self.outcomes.exceptional[index] = Outcome("pending", 0)
        if self.items.values is None:
            self.items.dropped[index] = item
        return index

    def take_started(self) -> tuple[int, tuple[Any, Any, BaseException | None, float]]:
        """Enter the item whose call was started on the spot and needs the driver.

        Returns:
            Its index; and the item, the coroutine to await, the error of the attempt, and the clock when it started.
        """
        started, self.started = self.started, None
        assert started is not None
        if self.is_single:
            self.items.exhausted = True
        return self.take(started[0]), started

    def settle(
        self,
        index: int,
        status: str,
        value: Any,
        attempts: int,
        seconds: float,
        error: BaseException | None = None,
        failed_at: str | None = None,
        item: Any = None,
    ) -> None:
        """Enter the outcome of an item. A retried item keeps the result that it had if there is no other."""
        queue = self.retry_queue
        if queue is not None and index in queue.previous:
            before, seconds_before = queue.previous[index]
            attempts += before.attempts
            seconds += seconds_before
            if status not in HAS_RESULT and before.status in HAS_RESULT:
                status, error, failed_at = before.status, before.error, before.failed_at
                value = self.outcomes.results[index]
            else:
                self.outcomes.replayed.discard(index)
        if self.items.values is None and status not in HAS_RESULT:
            self.items.dropped[index] = item
        outcome = None if status == "ok" and attempts == 1 else Outcome(status, attempts, error, failed_at)
        self.outcomes.enter(index, value, seconds, outcome)

    def retry(self, indices: list[int]) -> None:
        """Queue items to be called again. One that was not read yet is read, with those before it.

        Raises:
            Exception: What reading them raised.
        """
        self.retry_queue = None
        items = self.items
        items.read = max(items.read, len(self.outcomes.results))
        self.outcomes.even_out(items.read)  # an interrupt may have come at any line
        if any(index >= items.read for index in indices) and items.can_resume and not items.is_async:
            self._read_up_to(max(indices))
        exceptional, seconds = self.outcomes.exceptional, self.outcomes.seconds
        ok = Outcome("ok", 1)
        previous = {index: (exceptional.get(index, ok), seconds[index]) for index in indices if index < items.read}
        if previous:
            self.retry_queue = RetryQueue(previous)

    def _read_up_to(self, index: int) -> None:
        items = self.items
        items.resume(self.path)
        try:
            while index >= items.read:
                self.take_unstarted(next(items.source))
        except StopIteration:  # there were fewer than its length had said
            items.exhausted = True
            items.total = items.read
        except BaseException:
            items.read_failed = True
            raise

    def resume(self) -> None:
        """Continue the visit: queue the items without a result, and be ready to read the rest."""
        self.stopped = False
        self.start_row()
        self.retry([index for index in self.without_result() if index < self.items.read])
        self.items.resume(self.path)

    def start_row(self) -> None:
        """Count attempts from here on, for a new row: the row of the visit that failed has those before."""
        self.attempts_before = self.attempts
        if self.is_single:
            self.usage = ItemUsage()

    def close(self) -> None:
        """End the visit before its items do. A generator that they are read from runs its clean-up."""
        self.stopped = True
        self.items.close(self.plan.path)

    def take_unread_usage(self) -> tuple[Usage, ...]:
        """Remove and return what the source of the items has reported since the last one was read."""
        return self.usage.take(len(self.outcomes.results))

    def require_results(self, what: str) -> None:
        """Raise if there were ``what`` and all of them failed, or the result of one is not known.

        Raises:
            AllFailedError: From the first of their errors.
            UnansweredError: The first of these.
        """
        __tracebackhide__ = True
        for outcome in self.outcomes.exceptional.values():
            if isinstance(outcome.error, UnansweredError):
                raise outcome.error
        if self.outcomes.exceptional and self.all_failed:
            first = next(outcome.error for outcome in self.outcomes.exceptional.values())
            assert first is not None
            where, why = shown(self.plan.path, 320), error_text(first)
            raise AllFailedError(f"{where}: all {self.items.read} {what} failed, the first with {why}") from first

    # ---- what there is to see ----------------------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        """The number of items, as far as it is known: the rows of a table."""
        started = max(self.items.read, len(self.outcomes.results))
        return started if self.items.exhausted else max(started, self.items.total or 0)

    @property
    def is_done(self) -> bool:
        """Whether none of its items is in flight or yet to come."""
        return (self.items.exhausted or self.stopped) and self.outcomes.in_flight <= 0

    @property
    def all_failed(self) -> bool:
        """Whether there were items and all of them failed."""
        failed = sum(outcome.status in FAILURES for outcome in self.outcomes.exceptional.values())
        return 0 < self.items.read == failed

    @property
    def attempts(self) -> int:
        """Attempts over all items so far."""
        outcomes = self.outcomes
        extra = (
            sum(outcome.attempts - 1 for outcome in list(outcomes.exceptional.values())) if outcomes.exceptional else 0
        )
        return max(self.items.read, len(outcomes.results)) + extra

    @property
    def attempts_of_visit(self) -> int:
        """Attempts since the visit began, or was last resumed."""
        return self.attempts - self.attempts_before

    def counts(self) -> dict[str, int]:
        """Return how many items have each status now; only statuses that occur."""
        return self.outcomes.counts(self.rows)

    def without_result(self) -> list[int]:
        """Return the indices of the items that have no result: failed, cancelled and pending ones."""
        return self.outcomes.without_result(self.rows)

    # ---- going back, see `checkpoint` --------------------------------------------------------------------------------

    def save(self) -> "SavedBatch":
        """Return the state that `restored` needs."""
        return SavedBatch(self, self.items.save(), self.outcomes.save(), self.stopped, self.started)

    def restored(self, saved: "SavedBatch") -> "Batch":
        """Return an independent copy in the saved state."""
        twin = copy.copy(self)
        twin.items = self.items.restored(saved.items, self.path)
        twin.outcomes = self.outcomes.restored(saved.outcomes)
        twin.stopped, twin.started = saved.stopped, saved.started
        twin.checkpoints = {index: kept for index, kept in self.checkpoints.items() if index < twin.items.read}
        twin.retry_queue = twin.kept_at = None
        twin.usage = self.usage.first(twin.items.read)
        return twin


class SavedBatch(NamedTuple):
    """The state of a batch when it was saved. From then on it only appends."""

    batch: Batch
    items: SavedItems
    outcomes: tuple[int, int, int, int, int]
    stopped: bool
    started: tuple[Any, Any, BaseException | None, float] | None


def open_batch(plan: "Plan", params: Any, returned: Any, what: str, *, keep: bool) -> Batch:
    """Return a batch of what a hook returned.

    Raises:
        HookReturnError: It is not iterable, or it is one value (a string, a dict, a record); says what to write.
    """
    __tracebackhide__ = True
    if returned.__class__ in (list, tuple) and returned and plan.facts.kind == "batch_node":
        _refuse_coroutines_with_retries(returned, plan.node, what)
    return Batch(plan, params, Items(returned, what, keep=keep))


def _refuse_coroutines_with_retries(items: Sequence[Any], node: Any, what: str) -> None:
    """Refuse coroutines as items if a call may be retried: only its first attempt could await one.

    Raises:
        HookReturnError: Says what to return instead.
    """
    __tracebackhide__ = True
    if items[0].__class__ is not CoroutineType or node.max_retries == 1:
        return
    for item in items:
        if isinstance(item, CoroutineType):
            item.close()
    raise HookReturnError(
        f"{what} returned coroutines, which can be awaited only once, so max_retries={node.max_retries} has no effect. "
        "Return the arguments as items. In exec, call the async function and await it."
    )


def param_sets_from(param_set: tuple[Batch, int] | None) -> Iterator[tuple[Batch, int]]:
    """Iterate over a param set and those around it, the innermost first; none for None."""
    while param_set is not None:
        yield param_set
        param_set = param_set[0].parent_set


def positions_of(param_set: tuple[Batch, int] | None) -> tuple[int, ...]:
    """Return the positions of a param set and of those around it, the outermost first; empty for None."""
    return tuple(index for _, index in param_sets_from(param_set))[::-1]
