"""The items of one visit and what came of each, in columns.

Also used for the single call of a plain node that could not be made on the spot (`Batch.single`), and for the param
sets of a `BatchFlow`. The record of a run holds these very objects, so nothing is copied and a table can be read while
it runs.
"""

import itertools
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..core.errors import AllFailedError, HookReturnError, ItemsNotKeptError, warn
from ..core.statuses import FAILURES, HAS_RESULT
from ..core.text import error_text, quoted, shown
from .items import added_since, index_of, is_iterator, iterate, length, plain_value

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .plan import Plan
    from .position import Position

__all__ = ["PENDING", "Batch", "Outcome", "open_items", "split", "without_result"]

PENDING: Any = object()
"""In the column of results: not there yet. A value of its own, since None may be a real result."""


class Outcome(NamedTuple):
    """What came of an item that was not simply answered at the first attempt."""

    status: str
    attempts: int
    error: BaseException | None = None
    failed_at: str | None = None


class Batch:
    """Items in input order, beside what came of them.

    An interrupt may come between any two appends, and a table may be read from another thread: whoever reads allows for
    a column that is one short. A result is appended before its seconds, for it is paid for.

    Attributes:
        source: The iterator that items are read from; is_async: whether it has to be awaited.
        plan: The node (or `BatchFlow`) whose items these are; path: of that node, with ".exec" for the elements that
            the ``exec`` of a batch flow returned.
        params: The params of that visit; visit: the copy of the node that served it; hook_attributes: what ``prep``
            had set on it.
        items: The items in order: all of them where ``prep`` returned a list, else those read so far; None where they
            are not kept.
        dropped: Where items are not kept: those that have no result, by position.
        index: The index of a pandas input; None otherwise.
        results: The results by position; `PENDING` where there is none yet.
        seconds: How long each took, by position.
        odd: An `Outcome` for every item but those that were answered at the first attempt.
        actions: For param sets, the last action of each walk; else None.
        returned: What ``prep`` returned, unless it can be read only once.
        total: How many items there are, where the input knows; else None.
        is_whole: Whether ``items`` holds them all from the start.
        is_none: Whether ``prep`` returned None in place of items.
        one_pass: Whether the input can be read only once, so that ``post`` is given what was read.
        taken: How many items were read.
        open: How many of them are under way.
        exhausted: Whether the input came to its end; broken: whether that was an exception; stopped: whether its visit
            ended before.
        within: The param set around it, as its batch and its place there; None where there is none.
        again: Items to call once more before any is read, by position; earlier: what had become of those.
        checkpoints: For param sets that failed or were stopped, by position: where, to be resumed from.
        retries: For rows that a retry calls as the param sets of a walk, by position: where each begins.
        begun: A call that was begun on the spot and needs its driver to go on: item, coroutine, error, when it began.
        is_single: Whether this is the one call of a plain node.
        attempts_before: Attempts made before its visit was resumed; another row of the record has them.
    """

    __slots__ = (
        "actions",
        "again",
        "attempts_before",
        "begun",
        "broken",
        "checkpoints",
        "dropped",
        "earlier",
        "exhausted",
        "hook_attributes",
        "index",
        "is_async",
        "is_none",
        "is_single",
        "is_whole",
        "items",
        "odd",
        "one_pass",
        "open",
        "params",
        "path",
        "plan",
        "results",
        "retries",
        "returned",
        "seconds",
        "source",
        "stopped",
        "taken",
        "total",
        "visit",
        "within",
    )

    def __init__(self, plan: "Plan", params: Any, source: Any, *, keep: bool = True) -> None:
        self.plan = plan
        self.path = plan.path
        self.params = params
        self.visit: Any = None
        self.hook_attributes: dict[str, Any] = {}
        self.within: tuple[Batch, int] | None = None
        self.is_async = hasattr(type(source), "__aiter__")
        self.source: Any = aiter(source) if self.is_async else iter(source)
        self.items: list[Any] | None = [] if keep else None
        self.dropped: dict[int, Any] = {}
        self.index: Any = None
        self.results: list[Any] = []
        self.seconds = array("d")
        self.odd: dict[int, Outcome] = {}
        self.actions: list[Any] | None = None
        self.total: int | None = None
        self.one_pass = False
        self.returned: Any = None
        self.is_whole = False
        self.is_none = False
        self.taken = 0
        self.open = 0
        self.exhausted = False
        self.broken = False
        self.stopped = False
        self.again: deque[int] = deque()
        self.earlier: dict[int, tuple[Outcome, float]] = {}
        self.checkpoints: dict[int, Checkpoint] = {}
        self.retries: dict[int, Position] = {}
        self.begun: tuple[Any, Any, BaseException | None, float] | None = None
        self.is_single = False
        self.attempts_before = 0

    @classmethod
    def single(cls, plan: "Plan", params: Any, prep_res: Any) -> "Batch":
        """The one call of a plain node."""
        batch = cls(plan, params, (prep_res,))
        batch.is_single = True
        batch.total = 1
        return batch

    def take(self, item: Any) -> int:
        """Enter an item that was read, and return its position."""
        position = self.taken
        self.taken += 1
        if self.items is not None:
            self.items[position : position + 1] = [item]
        self.seconds.append(0.0)
        if self.actions is not None:
            self.actions.append(None)
        self.results.append(PENDING)
        self.open += 1
        return position

    def take_begun(self) -> tuple[int, tuple[Any, Any, BaseException | None, float]]:
        """Enter the item whose call was begun on the spot; return its position and what there is of the call."""
        begun, self.begun = self.begun, None
        assert begun is not None
        if self.is_single:
            self.exhausted = True
        return self.take(begun[0]), begun

    def settle(
        self,
        position: int,
        status: str,
        value: Any,
        attempts: int,
        seconds: float,
        error: BaseException | None = None,
        failed_at: str | None = None,
        item: Any = None,
    ) -> None:
        """Enter what came of an item. Of one that is called again, a result that it had is not lost."""
        if self.earlier and position in self.earlier:
            before, seconds_before = self.earlier[position]
            attempts += before.attempts
            seconds += seconds_before
            if status not in HAS_RESULT and before.status in HAS_RESULT:
                status, value, error, failed_at = before.status, self.results[position], before.error, before.failed_at
        if self.items is None and status not in HAS_RESULT:
            self.dropped[position] = item
        outcome = None if status == "ok" and attempts == 1 else Outcome(status, attempts, error, failed_at)
        # From here on nothing is called, and so no interrupt comes between: a row is entered as a whole.
        if self.results[position] is PENDING:
            self.open -= 1
        self.results[position] = value
        self.seconds[position] = seconds
        if outcome is not None:
            self.odd[position] = outcome
        elif position in self.odd:
            del self.odd[position]  # "cancelled", of a result that came in late

    @property
    def rows(self) -> int:
        """How many items there are, as far as that is known: the rows of a table."""
        begun = max(self.taken, len(self.results))
        return begun if self.exhausted else max(begun, self.total or 0)

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is still to come."""
        return (self.exhausted or self.stopped) and self.open <= 0

    def counts(self) -> dict[str, int]:
        """How many items have each status, as of now; only statuses that occur. Looks at the odd ones alone."""
        begun, rows, under_way = len(self.results), self.rows, self.open
        counts = Counter(outcome.status for outcome in list(self.odd.values()))
        under_way -= counts["pending"]
        counts["ok"] += begun - counts.total() - under_way
        counts["pending"] += rows - begun + under_way
        return {status: n for status, n in counts.items() if n > 0}

    @property
    def attempts(self) -> int:
        """Attempts over all items so far."""
        return max(self.taken, len(self.results)) + sum(outcome.attempts - 1 for outcome in list(self.odd.values()))

    @property
    def attempts_of_visit(self) -> int:
        """Attempts since the visit began, or was last resumed."""
        return self.attempts - self.attempts_before

    def row_at(self, position: int) -> Any:
        """Return the label that an item has in a pandas input, else its position."""
        return position if self.index is None else plain_value(self.index[position])

    def item_at(self, position: int) -> Any:
        """Return an item; raises ``LookupError`` where it was not kept, or not read."""
        return self.dropped[position] if self.items is None else self.items[position]

    @property
    def all_failed(self) -> bool:
        """Whether there were items and not one came through."""
        return 0 < self.taken == sum(outcome.status in FAILURES for outcome in self.odd.values())

    def for_post(self, prep_res: Any) -> Any:
        """Return what ``post`` gets for the items: what ``prep`` returned, or a list of what was read of it."""
        if not self.one_pass:
            return prep_res
        return DroppedItems(self.plan.path) if self.items is None else list(self.items)

    @property
    def can_go_on(self) -> bool:
        """Whether what has not been read of the input can still be: not of an iterator that was closed or failed."""
        if self.exhausted and not self.broken:
            return True
        return not self.one_pass or not (self.broken or isinstance(self.source, GeneratorType | AsyncGeneratorType))

    def read_on(self) -> None:
        """Be ready to read what is left. The iterator may have been closed, so it is made anew where that can be."""
        if not self.one_pass and not self.is_async and (self.broken or not self.exhausted):
            self.source = itertools.islice(iterate(self.returned, self.path), self.taken, None)
            self.exhausted = self.broken = False

    def call_again(self, positions: list[int]) -> None:
        """Have these items called once more. One that was not yet read is read, with those before it."""
        self._even_out()
        self.read_on()
        for position in positions:
            while position >= self.taken and not self.exhausted and not self.is_async:
                try:
                    item = next(self.source)
                except StopIteration:  # there were fewer than its length had said
                    self.exhausted = True
                    self.total = self.taken
                    break
                place = self.take(item)
                self.odd[place] = Outcome("pending", 0)
                if self.items is None:
                    self.dropped[place] = item
        for position in [position for position in positions if position < self.taken]:
            self.earlier[position] = (self.odd.get(position) or Outcome("ok", 1), self.seconds[position])
            self.again.append(position)

    def _even_out(self) -> None:
        """Make the columns equally long, and forget what was to be called again: an interrupt may come anywhere."""
        self.stopped = False
        self.again.clear()
        self.earlier.clear()
        self.taken = max(self.taken, len(self.results))
        self.results += [PENDING] * (self.taken - len(self.results))
        self.seconds.extend([0.0] * (self.taken - len(self.seconds)))
        if self.actions is not None:
            self.actions += [None] * (self.taken - len(self.actions))
        for position, outcome in self.odd.items():
            if outcome.status != "pending" and self.results[position] is PENDING:
                self.results[position] = None
        self.open = sum(result is PENDING for result in self.results)

    def is_within(self, sets: "Batch", place: int) -> bool:
        """Whether it belongs to a walk of this param set, at any depth."""
        around = self.within
        while around is not None:
            if around[0] is sets and around[1] == place:
                return True
            around = around[0].within
        return False

    def stop_reading(self) -> None:
        """Let a generator that is not read to its end run its clean-up now."""
        self.stopped = True
        if isinstance(self.source, GeneratorType) and not self.source.gi_running:
            try:
                self.source.close()
            except Exception as exc:
                warn(f"{self.plan.path}: the generator of its items raised {quoted(exc, 200)} when it was closed")

    def errors(self) -> list[BaseException]:
        """Return the exceptions of what did not come through at once."""
        return [outcome.error for outcome in self.odd.values() if outcome.error is not None]

    def refuse_all_failed(self, what: str) -> None:
        """Raise if there were ``what`` and not one of them came through.

        Raises:
            AllFailedError: From the first of their errors.
        """
        __tracebackhide__ = True
        if self.odd and self.all_failed:
            first = next(outcome.error for outcome in self.odd.values())
            assert first is not None
            where, why = shown(self.plan.path, 320), error_text(first)
            raise AllFailedError(f"{where}: all {self.taken} {what} failed, the first with {why}") from first

    # ---- going back, see `checkpoint` --------------------------------------------------------------------------------

    def lengths(self) -> tuple[int, ...]:
        """How long the columns are now: items, results, seconds, odd rows, actions, and what ``prep`` returned."""
        columns = self.items, self.results, self.seconds, self.odd, self.actions
        return *(0 if column is None else len(column) for column in columns), len(self.returned) if self.is_whole else 0

    def state(self) -> tuple[Any, ...]:
        """What there is beside the columns, and changes."""
        return tuple(getattr(self, name) for name in _STATE)

    def split_source(self) -> Any:
        """Return a second iterator over what is left of an input that can be read only once; None for any other."""
        if not self.one_pass or self.is_async or self.is_single:
            return None
        self.source, held = split(self.source)
        return held

    def cut(self, lengths: tuple[int, ...], state: tuple[Any, ...], source: Any) -> "Batch":
        """Return a batch of its own that stands where this one stood when it had these lengths and this state."""
        twin = object.__new__(Batch)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        for name, value in zip(_STATE, state, strict=True):
            setattr(twin, name, value)
        items, results, seconds, odd, actions, returned = lengths
        twin.items = None if self.items is None else self.items[:items]
        twin.results = self.results[:results]
        twin.seconds = self.seconds[:seconds]
        twin.odd = dict(itertools.islice(self.odd.items(), odd))
        twin.actions = None if self.actions is None else self.actions[:actions]
        twin.checkpoints = {place: kept for place, kept in self.checkpoints.items() if place < twin.taken}
        twin.dropped = {place: item for place, item in self.dropped.items() if place < twin.taken}
        twin.again, twin.earlier = deque(), {}
        if self.is_whole:
            assert twin.items is not None
            if len(self.returned) != returned:  # by a hook that ran since
                twin.returned = self.returned[:returned]
            left = itertools.islice(twin.items, twin.taken, None)
            twin.source = itertools.chain(left, added_since(twin.items, twin.returned))
        elif source is not None:
            twin.source = source
        elif not (self.is_async or self.is_single or twin.exhausted):
            twin.source = itertools.islice(iterate(self.returned, self.path), twin.taken, None)
        return twin


def without_result(batch: Batch) -> list[int]:
    """Return the positions of the items that have no result, whatever the reason."""
    odd = batch.odd
    begun = len(batch.results)
    results = batch.results
    return [
        i
        for i in range(batch.rows)
        if i >= begun or (odd[i].status not in HAS_RESULT if i in odd else results[i] is PENDING)
    ]


class _Tape:
    """What was read of an iterator, for those that read it from different places on.

    In place of ``itertools.tee``, which takes an iterator that has failed for one that has ended.
    """

    __slots__ = ("error", "read", "source")

    def __init__(self, source: Iterator[Any]) -> None:
        self.source = source
        self.read: list[Any] = []
        self.error: Exception | None = None


class _Reader:
    """Reads a tape from one place on."""

    __slots__ = ("_at", "tape")

    def __init__(self, tape: _Tape, at: int) -> None:
        self.tape, self._at = tape, at

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> Any:
        tape = self.tape
        if self._at == len(tape.read):
            if tape.error is not None:
                raise tape.error
            try:
                tape.read.append(next(tape.source))
            except StopIteration:
                raise
            except Exception as exc:
                tape.error = exc
                raise
        self._at += 1
        return tape.read[self._at - 1]

    def again(self) -> "_Reader":
        """Return another one that stands at the same place."""
        return _Reader(self.tape, self._at)


def split(source: Any) -> tuple[Any, Any]:
    """Return two iterators over what is left of one."""
    reader = source if type(source) is _Reader else _Reader(_Tape(source), 0)
    return reader, reader.again()


_STATE = ("taken", "open", "exhausted", "broken", "stopped", "total", "begun")


def open_items(plan: "Plan", params: Any, returned: Any, what: str, *, keep: bool) -> Batch:
    """Make a batch of what ``prep`` returned.

    Raises:
        HookReturnError: It is not iterable, or it is one value (a string, a dict, a record); says what to write.
    """
    __tracebackhide__ = True
    batch = Batch(plan, params, iterate(returned, what), keep=keep)
    batch.index = index_of(returned)
    batch.one_pass = batch.is_async or is_iterator(returned)
    batch.is_none = returned is None
    if not batch.one_pass:
        batch.returned = returned
    batch.total = 0 if batch.is_none else length(returned)
    if returned.__class__ in (list, tuple) and returned and plan.kind == "batch_node":
        _refuse_coroutines_with_retries(returned, plan.node, what)
    if keep and returned.__class__ in (list, tuple):
        # All of it at once is cheaper, and shows the items that are yet to come.
        batch.items = list(returned)
        batch.is_whole = True
        batch.source = itertools.chain(batch.items, added_since(batch.items, returned))
    return batch


def _refuse_coroutines_with_retries(items: Sequence[Any], node: Any, what: str) -> None:
    """Refuse coroutines as items where a call may be retried: only its first attempt could await one.

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
        "Return what they were called with, and call and await in exec."
    )


class DroppedItems:
    """Stands in for the items that ``keep_items=False`` let go of; every way of reading it says so."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __repr__(self) -> str:
        return "<items not kept>"

    def _dropped(self, *args: Any) -> NoReturn:
        raise ItemsNotKeptError(
            f"{self._path}: the items were not kept, so post cannot read them as prep_res. Use exec_res, or "
            "keep_items=True."
        )

    __iter__ = __len__ = __getitem__ = __contains__ = __bool__ = __reversed__ = _dropped
