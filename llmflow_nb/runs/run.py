"""The record of one run, read off the columns that the engine fills."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..core.errors import did_you_mean
from ..core.node import BaseNode
from ..engine.batch import PENDING, Batch
from ..engine.events import VISIT_FIELDS

__all__ = ["BatchRecord", "Item", "Run", "Visit"]

WIDTH = len(VISIT_FIELDS)


class Visit(NamedTuple):
    """One pass of a node.

    Attributes:
        step: Its place in the run, from 0, in the order in which visits ended.
        path: The node, from the outermost flow down, joined by "/".
        node: What it is called in its flow.
        visit: Which pass of this node it was on this walk through its flow, from 1.
        params: The params that it saw.
        action: What ``post`` returned; None for a visit that failed.
        status: "ok", "fallback", "failed" or "cancelled".
        attempts: Attempts of ``exec``, over all items.
        seconds: From the start of ``prep`` to the end of ``post``; prep_s, exec_s, post_s: of each hook.
        error: The exception that ended it, if one did.
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


class Item(NamedTuple):
    """One item of a batch node, or one param set of a batch flow.

    Attributes:
        position: Its place in the input, from 0.
        label: Its label in a pandas input, else its place.
        params: The params of the visit that it belongs to.
        item: The item or param set; None where items were not kept.
        result: The result of ``exec``; of a param set, that of the last node. None unless the status is ok or
            fallback; of a cancelled param set, what its last ``exec`` had given by then.
        status: "ok", "fallback", "failed", "cancelled" or "pending".
        attempts: Attempts of ``exec``; 0 for what was not begun.
        seconds: From its first attempt to its end.
        error: The exception of the last attempt that failed.
        action: Of a param set: the last action of its walk.
        failed_at: Of a param set: the path of the node that failed.
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


class BatchRecord:
    """The items of one node over a run, or the param sets of one batch flow: a sequence of `Item`, in input order.

    A node that was visited more than once (in a loop, in an outer batch) has the items of all its visits, one after the
    other; their ``params`` tell them apart.
    """

    def __init__(self, path: str, batches: list[Batch]) -> None:
        self.path = path
        self._batches = batches

    def __len__(self) -> int:
        """Count the items: as many as the input has, where it knows, else as many as were read."""
        return sum(_rows(batch) for batch in self._batches)

    def __iter__(self) -> Iterator[Item]:
        """Go through the items, the earliest visit first."""
        for batch in self._batches:
            for position in range(_rows(batch)):
                yield _item(batch, position)

    def __repr__(self) -> str:
        """Count the items by status."""
        counts: dict[str, int] = {}
        for item in self:
            counts[item.status] = counts.get(item.status, 0) + 1
        return f"<{self.path}: {len(self)} items, {', '.join(f'{n} {s}' for s, n in counts.items()) or 'none'}>"

    @property
    def results(self) -> list[Any]:
        """The results in input order; None where there is none."""
        return [item.result for item in self]

    @property
    def errors(self) -> dict[int, BaseException]:
        """The exceptions of failed items, by their place in this record."""
        return {i: item.error for i, item in enumerate(self) if item.status == "failed" and item.error is not None}


def _rows(batch: Batch) -> int:
    begun = max(batch.taken, len(batch.results))
    return begun if batch.exhausted else max(begun, batch.total or 0)


def _item(batch: Batch, position: int) -> Item:
    begun = position < len(batch.results)
    result = batch.results[position] if begun else PENDING
    odd = batch.odd.get(position)
    status = odd.status if odd else ("pending" if result is PENDING else "ok")
    items = batch.items
    return Item(
        position,
        batch.index[position] if batch.index is not None and position < len(batch.index) else position,
        batch.params,
        items[position] if items is not None and position < len(items) else None,
        None if result is PENDING else result,
        status,
        odd.attempts if odd else int(status == "ok"),
        batch.seconds[position] if position < len(batch.seconds) else 0.0,
        odd.error if odd else None,
        batch.actions[position] if batch.actions is not None and position < len(batch.actions) else None,
        odd.failed_at if odd else None,
    )


class Run:
    """What happened in one run, from its start on: also while it is going, and after an error or an interrupt.

    Attributes:
        node: The node or flow that was run.
        status: "running", "ok", "failed" or "interrupted".
        action: What the run returned.
        error: The exception that ended it, if one did.
        started: When it began, in seconds since the epoch.
        seconds: How long it took; None while it is running.
        problems: What ran but was probably not meant: actions without an edge, a batch whose ``prep`` returned None,
            subscribers that raised.
        abandoned: Blocking calls that could not be stopped and were left to end by themselves.
    """

    def __init__(self, node: BaseNode) -> None:
        self.node = node
        self.status = "running"
        self.action: Any = None
        self.error: BaseException | None = None
        self.started = time.time()
        self.seconds: float | None = None
        self.problems: list[str] = []
        self.abandoned = 0
        self._columns: list[Any] = []
        self._failures: dict[int, BaseException] = {}
        self._batches: list[Batch] = []
        self.visit = self._columns.extend  # the engine's `Recorder`, with the three methods below

    def visit_failed(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Take the row of a visit that an exception ended (for the engine)."""
        self._failures[len(self._columns) // WIDTH] = error
        self._columns.extend(row)

    def batch_opened(self, batch: Batch) -> None:
        """Take the columns of a batch that is being filled (for the engine)."""
        self._batches.append(batch)
        if batch.total == 0 and batch.is_none:
            self.problems.append(
                f"{batch.plan.path}: prep returned None, which is an empty batch; does it miss a return?"
            )

    def lost_action(self, path: str, action: Any, known: list[str]) -> None:
        """Take an action for which there was no edge (for the engine)."""
        self.problems.append(f"{path}: {action!r} not found in {known}")

    def ended(self, status: str, seconds: float, action: Any = None, error: BaseException | None = None) -> None:
        """Close the record (for whoever drives the run)."""
        self.status, self.seconds, self.action, self.error = status, seconds, action, error

    def __repr__(self) -> str:
        """Say how it went, in a line."""
        visits = len(self._columns) // WIDTH
        failed = sum(outcome.status == "failed" for batch in self._batches for outcome in batch.odd.values())
        parts = [f"{visits} visit{'s' * (visits != 1)}", f"{self.calls} call{'s' * (self.calls != 1)}"]
        if failed:
            parts.append(f"{failed} failed item{'s' * (failed != 1)}")
        if self.problems:
            parts.append(f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}")
        if self.seconds is not None:
            parts.append(f"{self.seconds:.3g} s")
        return f"<Run {self.status}: {', '.join(parts)}>"

    @property
    def visits(self) -> list[Visit]:
        """One `Visit` per node visit, in the order in which they ended."""
        columns = self._columns
        rows: list[Visit] = []
        passes: dict[tuple[int, int], int] = {}
        for step in range(len(columns) // WIDTH):
            plan, params, action, attempts, status, *times = columns[step * WIDTH : (step + 1) * WIDTH]
            start, prepared, executed, finished = times
            walk = id(plan), id(params)
            passes[walk] = passes.get(walk, 0) + 1
            seconds = finished - start, prepared - start, executed - prepared, finished - executed
            error = self._failures.get(step)
            rows.append(
                Visit(step, plan.path, plan.name, passes[walk], params, action, status, attempts, *seconds, error)
            )
        return rows

    @property
    def calls(self) -> int:
        """Attempts of ``exec`` made by nodes, batches included, so far."""
        leaf = ("node", "batch_node")
        columns = self._columns
        return sum(columns[i + 3] for i in range(0, len(columns) - WIDTH + 1, WIDTH) if columns[i].kind in leaf)

    @property
    def batches(self) -> list[BatchRecord]:
        """One `BatchRecord` for every batch node and batch flow that ran, in the order in which they began."""
        by_path: dict[str, list[Batch]] = {}
        for batch in self._batches:
            by_path.setdefault(batch.plan.path, []).append(batch)
        return [BatchRecord(path, batches) for path, batches in by_path.items()]

    def batch(self, which: str | BaseNode) -> BatchRecord:
        """Return the items of one batch node, or the param sets of one batch flow.

        Args:
            which: The node itself, its name, or its path ("SummarizeAll/MapSummaries").

        Raises:
            KeyError: No such batch ran, or the name fits several; names those that there are.
        """
        found: dict[str, list[Batch]] = {}
        for batch in self._batches:
            plan = batch.plan
            if (plan.node is which) if isinstance(which, BaseNode) else which in (plan.path, plan.name):
                found.setdefault(plan.path, []).append(batch)
        if isinstance(which, str) and which in found:
            return BatchRecord(which, found[which])
        if len(found) == 1:
            return BatchRecord(*found.popitem())
        known = list(found) or [record.path for record in self.batches]
        hint = did_you_mean(which, [*known, *(path.rpartition("/")[2] for path in known)])
        why = "several batches fit" if found else "no batch"
        raise KeyError(f"{why} {which!r}{hint}; this run has {known}")

    @property
    def errors(self) -> list[tuple[str, int | None, BaseException]]:
        """Everything that failed: path, place in its batch (None for a visit), exception. The cause first."""
        found: list[tuple[str, int | None, BaseException]] = [
            (batch.plan.path, position, outcome.error)
            for batch in self._batches
            if batch.actions is None
            for position, outcome in batch.odd.items()
            if outcome.status == "failed" and outcome.error is not None
        ]
        for visit in self.visits:
            if visit.status == "failed" and visit.error is not None:
                found.append((visit.path, None, visit.error))
        return found
