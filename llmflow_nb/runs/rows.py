"""The rows of tables: a `Visit` of a node and an `Item` of a batch, made when a record is read; a `PlannedCall`."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from ..core.node import kind_of
from ..core.statuses import FAILURES, HAS_RESULT
from ..core.text import described, plain_text
from ..core.usage import Usage
from ..engine.batch import PENDING, Batch, Outcome, param_sets_from
from .recorder import WIDTH, RunRecorder

__all__ = [
    "Item",
    "PlannedCall",
    "Visit",
    "failed_rows",
    "item_of",
    "numbered_batches",
    "rows_with_outcome",
    "unresolved",
    "usage_by_param_set",
    "visits_of",
]


UsageOfSets = Mapping[tuple[int, int], tuple[Usage, ...]]
"""What was used within param sets, by the ``id`` of their batch and their index there."""


class Visit(NamedTuple):
    """One pass of a node.

    Attributes:
        step: Its index in the run, from 0, in the order in which visits ended.
        path: The node, from the outermost flow down, joined by "/".
        node: Its name in its flow.
        visit: Its number among the visits of this node in one walk of its flow, from 1.
        params: The params of the visit.
        action: The value that ``post`` returned; None for a visit that failed.
        status: "ok", "fallback", "failed" or "cancelled".
        attempts: Attempts of ``exec``, over all items; 0 for a flow, whose nodes have them.
        seconds: The time from the start of ``prep`` to the end of ``post``; prep_s, exec_s, post_s: of each hook.
        error: The exception that ended the visit; None if there was none.
        usage: What its hooks and calls have reported with `spend`; of a flow: what its own hooks have.
    """

    step: int
    path: str
    node: str
    visit: int
    params: Any
    action: Any
    status: str
    attempts: int
    seconds: float
    prep_s: float
    exec_s: float
    post_s: float
    error: BaseException | None
    usage: tuple[Usage, ...] = ()

    def __repr__(self) -> str:
        """Return the fields, each cut to a line, with secrets masked."""
        return described("Visit", zip(self._fields, self, strict=True))


class Item(NamedTuple):
    """One item of a batch node, or one param set of a batch flow.

    Attributes:
        position: Its index in the input, from 0.
        label: Its label in a pandas input, else its position.
        params: The params of the visit that it belongs to.
        item: The item or param set; None if it was not kept, or not read yet.
        result: The result of ``exec``; for a param set, that of the last node. None unless the status is ok or
            fallback. A cancelled param set has the result of its last ``exec``.
        status: "ok", "fallback", "failed", "cancelled" or "pending".
        attempts: Attempts of ``exec``, or walks of a param set; 0 if it was not started.
        seconds: The time from its first attempt to its end. Retries are added.
        error: The exception of the last attempt that failed.
        action: For a param set: the last action of its walk.
        failed_at: For a param set: the path of the node that failed.
        usage: What its calls have reported with `spend`; for a param set: that of all visits and calls in it.
    """

    position: int
    label: Any
    params: Any
    item: Any
    result: Any
    status: str
    attempts: int
    seconds: float
    error: BaseException | None
    action: Any
    failed_at: str | None
    usage: tuple[Usage, ...] = ()

    def __repr__(self) -> str:
        """Return the fields, each cut to a line, with secrets masked."""
        return described("Item", zip(self._fields, self, strict=True))


class PlannedCall(NamedTuple):
    """A call that the run needs.

    Attributes:
        path: The node.
        params: Of the visit.
        position: The index of the item; None for a node without items.
        item: What ``exec`` is given.
        why: Why the call will be made; "" if the journal answers it.
    """

    path: str
    params: Any
    position: int | None
    item: Any
    why: str


def visits_of(recorder: RunRecorder) -> list[Visit]:
    """Return the visits of a record, in the order in which they ended."""
    with recorder.lock:
        first, columns = recorder.dropped.visits, recorder.columns[:]
        passes = {walk: n for walk, (_, n) in recorder.dropped.passes.items()}
    rows: list[Visit] = []
    for step in range(len(columns) // WIDTH):
        plan, params, action, attempts, status, *times = columns[step * WIDTH : (step + 1) * WIDTH]
        start, prepared, executed, finished = times
        walk = plan.path, id(params)
        number = passes.get(walk, 0) + 1
        if status in HAS_RESULT:  # a visit that failed is the same visit when it is resumed
            passes[walk] = number
        seconds = finished - start, prepared - start, executed - prepared, finished - executed
        error = recorder.failures.get(first + step)
        if kind_of(plan.node) not in ("node", "batch_node"):
            attempts = 0
        action = plain_text(action)
        row = first + step, plan.path, plan.name, number, params, action, status, attempts, *seconds, error
        rows.append(Visit(*row))
    return _with_usage(recorder, rows)


def _with_usage(recorder: RunRecorder, visits: list[Visit]) -> list[Visit]:
    """Return visits with their usage: of a batch node, the usage of its items, in its last row if resumed."""
    of_items = {
        (path, id(batch.params), number): used
        for path, batches in numbered_batches(recorder).items()
        for number, batch in batches
        if (used := batch.usage.all())
    }
    if not of_items and not recorder.usage:
        return visits
    visits = visits[:]
    for n in range(len(visits) - 1, -1, -1):
        visit = visits[n]
        of_visit, _ = recorder.usage.get(visit.step, ((), None))
        used = (*of_visit, *of_items.pop((visit.path, id(visit.params), visit.visit), ()))
        if used:
            visits[n] = visit._replace(usage=used)
    return visits


def usage_by_param_set(recorder: RunRecorder) -> UsageOfSets:
    """Return what was used within each param set, at any depth, by the ``id`` of its batch and its index there."""
    found: dict[tuple[int, int], list[Usage]] = {}
    used = [*recorder.usage.values(), *((batch.usage.all(), batch.parent_set) for batch in recorder.batches)]
    for usages, around in used:
        for batch, index in param_sets_from(around if usages else None):
            found.setdefault((id(batch), index), []).extend(usages)
    return {place: tuple(usages) for place, usages in found.items()}


def numbered_batches(recorder: RunRecorder) -> dict[str, list[tuple[int, Batch]]]:
    """Return the batches by path, in the order in which they started, each with its number on its walk."""
    found: dict[str, list[tuple[int, Batch]]] = {}
    with recorder.lock:
        batches = recorder.batches[:]
        passes = {walk: n for walk, (_, n) in recorder.dropped.batch_passes.items()}
    for batch in batches:
        walk = batch.path, id(batch.params)
        passes[walk] = passes.get(walk, 0) + 1
        found.setdefault(batch.path, []).append((passes[walk], batch))
    return found


def rows_with_outcome(batches: Iterable[Batch]) -> Iterator[tuple[int, Outcome]]:
    """Yield the rows of some batches that are not simply "ok", counted from 0 over all of them."""
    start = 0
    for batch in batches:
        for position, outcome in sorted(batch.outcomes.exceptional.copy().items()):
            yield start + position, outcome
        start += batch.rows


def failed_rows(batches: Iterable[Batch]) -> Iterator[tuple[int, BaseException]]:
    """Yield the rows of some batches that failed, each with its exception."""
    for row, outcome in rows_with_outcome(batches):
        if outcome.status in FAILURES and outcome.error is not None:
            yield row, outcome.error


def unresolved(recorder: RunRecorder, visits: list[Visit]) -> list[tuple[Visit, BaseException]]:
    """Return the visits that failed, with their errors, unless a retry or a resume has resolved the error."""
    return [
        (visit, visit.error)
        for visit in visits
        if visit.status in FAILURES and visit.error is not None and not recorder.has_resolved(visit.error)
    ]


def item_of(batch: Batch, position: int, usage: UsageOfSets | None = None) -> Item:
    """Return one item of a batch, with its outcome so far. ``usage``: of the param sets, if it is one."""
    columns = batch.outcomes
    result = columns.results[position] if position < len(columns.results) else PENDING
    outcome = columns.exceptional.get(position)
    status = outcome.status if outcome else ("pending" if result is PENDING else "ok")
    if status == "ok" and result is PENDING:  # a param set that is run again
        status = "pending"
    try:
        item = batch.items.at(position)
    except LookupError:
        item = None
    actions = columns.actions or ()
    return Item(
        position,
        batch.items.label(position),
        batch.params,
        item,
        None if result is PENDING else result,
        status,
        outcome.attempts if outcome else int(status == "ok"),
        columns.seconds[position] if position < len(columns.seconds) else 0.0,
        outcome.error if outcome else None,
        plain_text(actions[position]) if position < len(actions) else None,
        outcome.failed_at if outcome else None,
        batch.usage.of(position) if usage is None else usage.get((id(batch), position), ()),
    )
