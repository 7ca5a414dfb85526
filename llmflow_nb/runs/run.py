"""The record of one run, in the columns that the engine fills."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from itertools import islice
from operator import itemgetter
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.doors import RunDoors
from ..core.errors import RowError, RunStateError, did_you_mean
from ..core.node import BaseNode, kind_of, label
from ..core.text import described, message, plain_text, quoted, shown
from ..core.traversal import Survey, last_name, path_part
from ..engine.batch import HAS_RESULT, Batch
from ..engine.events import VISIT_FIELDS
from .batch import BatchResult
from .sizes import bytes_of

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd

    from ..engine.checkpoint import Checkpoint
    from ..engine.plan import Plan

__all__ = ["MOST_KEPT", "Run", "Visit", "Watch"]

WIDTH = len(VISIT_FIELDS)
MOST_KEPT = 100_000
"""Visits that a record keeps, and visits of batch nodes and batch flows: the latest. What is dropped is counted."""
MOST_BYTES = 1_000_000_000
"""About how many bytes of items and results a record keeps of earlier visits of batch nodes and batch flows."""
SLACK = MOST_KEPT // 2  # dropped at a time, since taking them off the front of a list moves all the others
MOST_PROBLEMS = 1_000
MOST_WALKS = 10_000

Watch = Callable[["Run"], Callable[[], None]]
"""Called with the record as a run begins; what it returns is called at the run's end."""


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
        attempts: Attempts of ``exec``, over all items; 0 for a flow, whose nodes have them.
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

    def __repr__(self) -> str:
        """Return the fields, each cut to a line, with secrets masked."""
        return described("Visit", zip(self._fields, self, strict=True))


class Run(RunDoors):
    """What happened in one run, from its start on: also while it is going, and after an error or an interrupt.

    Bounded: of a flow that goes on for ever, the latest 100,000 visits are kept (and as many visits of batch nodes and
    batch flows), or up to half as many more. Of batches, about 1 GB of items and results is kept: beyond it, earlier
    visits of a node are dropped, the oldest first, and its latest one stays. Visits and calls go on being counted.

    Attributes:
        node: The node or flow that was run; name: what it is called.
        shared: What it was run with: the very object.
        status: "running", "ok", "failed", "interrupted" (by the keyboard, or as a task was cancelled), or "stopped".
        action: What the run returned.
        error: The exception that ended it, if one did: a copy of the one that was raised, whose traceback begins at the
            hook. So the record holds no variables of whoever ran the flow.
        started: When it began, in seconds since the epoch.
        seconds: How long it took; None while it is running.
        abandoned: Blocking calls that could not be stopped and were left to end by themselves.
        is_displayed: Whether the live display has shown how it ended.
        limited: The calls that wait for a limiter now, each with the clock when it began to, and the clock when it will
            be let; None where that is not known.
        retrying: Held while rows are called again.
        mended: The errors of what was done again, and came through, or failed with another one; by ``id``.
        notes: What was done with the record since: rows that were called again. Pairs of a path and a text.
        survey: Of the wiring, as the run began; the next run takes it over if nothing has changed.
        plan: The plan of the node, for the next run to take over.
        resume_from: Where the run failed or was stopped; None where it cannot be resumed.
        where: Returns the path of the node that is visited now; "" where that cannot be told.
        opened_batches: The engine's columns, one `Batch` for each visit of a batch node or batch flow, as they began.
        dropped_batches: How many before them are not kept any more.
    """

    _shown_as = "run"

    def __init__(self, node: BaseNode, shared: Any = None) -> None:
        """Begin a record, with nothing in it."""
        self.node = node
        self.name = label(node)
        self.shared = shared
        self.status = "running"
        self.action: Any = None
        self.error: BaseException | None = None
        self.started = time.time()
        self.seconds: float | None = None
        self._began = perf_counter()
        self.abandoned = 0
        self.is_displayed = False
        self.limited: dict[Any, tuple[float, float | None]] = {}
        self.notes: list[tuple[str, str]] = []
        self.mended: dict[int, BaseException] = {}
        self.resume_from: Checkpoint | None = None
        self.survey: Survey | None = None
        self.plan: Plan | None = None
        self.retrying = Lock()
        self.where: Callable[[], str] = str
        self._problems: Counter[str] = Counter()
        self._columns: list[Any] = []
        self._failures: dict[int, BaseException] = {}
        self.opened_batches: list[Batch] = []
        self._unmeasured: deque[Batch] = deque()
        self._sizes: dict[int, int] = {}  # by the id of a batch
        self._values: dict[str, set[int]] = {}  # the ids of values in the latest batch of each path
        self._bytes = 0
        self._dropped_visits = self._dropped_calls = self.dropped_batches = 0
        self._passes, self._batch_passes = _Passes(), _Passes()
        self._lock = Lock()  # between what drops visits and who reads them; it is not taken to add one
        self.visit = self._columns.extend  # the engine's `Recorder`, with the four methods below

    def visit_failed(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Take the row of a visit that an exception ended (for the engine)."""
        self._failures[self._dropped_visits + len(self._columns) // WIDTH] = error
        self._columns.extend(row)

    def batch_opened(self, batch: Batch) -> None:
        """Take the columns of a batch that is being filled (for the engine)."""
        self._measure_batches()
        self.opened_batches.append(batch)
        self._unmeasured.append(batch)
        if batch.plan.kind == "batch_node" and "exec" not in batch.plan.hooks.own and not batch.is_none:
            self.problem(f"{batch.path}: it has no exec of its own, so every result is None; is it misspelt?")
        if batch.total == 0 and batch.is_none:
            self.problem(f"{batch.path}: prep returned None, which is an empty batch; does it miss a return?")

    def lost_action(self, path: str, action: Any, known: list[str]) -> None:
        """Take an action for which there was no edge (for the engine)."""
        hint = did_you_mean(action, known) if action else ""
        self.problem(f"{shown(path, 320)}: {quoted(action)} not found in {quoted(known, 400, elements=30)}{hint}")

    def make_room(self) -> None:
        """Drop the oldest visits and batches where there are too many (for the engine)."""
        if len(self._columns) > WIDTH * (MOST_KEPT + SLACK):
            with self._lock:
                count = len(self._columns) // WIDTH - MOST_KEPT
                old = self._columns[: count * WIDTH]
                self._dropped_calls += _calls_of_plain_nodes(old)
                self._passes.count(*_walks(old))
                del self._columns[: count * WIDTH]
                self._dropped_visits += count
                for step in [step for step in self._failures if step < self._dropped_visits]:
                    del self._failures[step]
        if len(self.opened_batches) > MOST_KEPT + SLACK:
            self._drop_batches(self.opened_batches[: len(self.opened_batches) - MOST_KEPT])

    def _measure_batches(self) -> None:
        """Add up the bytes of batches that are done; drop the oldest where there are too many.

        The latest batch of each path stays, whatever its size, and so does one that is not done.
        """
        for _ in range(min(4, len(self._unmeasured))):  # a few each time, since many may be open side by side
            batch = self._unmeasured.popleft()
            if not batch.is_done:
                self._unmeasured.append(batch)
                continue
            size, values = bytes_of(batch, self._values.get(batch.path, set()))
            self._values[batch.path] = values
            self._sizes[id(batch)] = size
            self._bytes += size
        if self._bytes <= MOST_BYTES:
            return
        latest = {batch.path: batch for batch in self.opened_batches}
        old, left = [], self._bytes
        for batch in self.opened_batches:
            if left <= MOST_BYTES * 3 // 4:
                break
            if batch.is_done and latest[batch.path] is not batch:
                old.append(batch)
                left -= self._sizes.get(id(batch), 0)
        self._drop_batches(old)

    def _drop_batches(self, old: list[Batch]) -> None:
        with self._lock:
            ids = set(map(id, old))
            self._dropped_calls += sum(_calls_of_batch(batch) for batch in old)
            walks = [(batch.path, id(batch.params)) for batch in old]
            self._batch_passes.count(walks, [batch.params for batch in old])
            self.opened_batches = [batch for batch in self.opened_batches if id(batch) not in ids]
            self._unmeasured = deque(batch for batch in self._unmeasured if id(batch) not in ids)
            self._bytes -= sum(self._sizes.pop(each, 0) for each in ids)
            self.dropped_batches += len(old)

    def superseded(self, which: Callable[[Batch], bool]) -> None:
        """Drop batches whose visits are made again (for the engine). Their calls stay counted."""
        with self._lock:
            old = [batch for batch in self.opened_batches if which(batch)]
            self._dropped_calls += sum(_calls_of_batch(batch) for batch in old)
            self._bytes -= sum(self._sizes.pop(id(batch), 0) for batch in old)
            self.opened_batches[:] = [batch for batch in self.opened_batches if batch not in old]

    def refuse_going(self) -> None:
        """Refuse what cannot be done with a run that is still going.

        Raises:
            RunStateError: It is.
        """
        if self.status == "running":
            raise RunStateError(f"the run of {self.name} is still going; wait for it, or stop it, and then retry.")

    def problem(self, text: str) -> None:
        """Take something that ran but was probably not meant (for whoever notices it)."""
        text = message(text)
        if text in self._problems or len(self._problems) < MOST_PROBLEMS:
            self._problems[text] += 1

    def ended(self, status: str, seconds: float, action: Any = None, error: BaseException | None = None) -> None:
        """Close the record (for whoever drives the run)."""
        self.seconds, self.action, self.error, self.status = seconds, action, error, status
        self.where = str

    def replace_error(self, error: BaseException, kept: BaseException) -> None:
        """Keep another object in place of an error (for whoever drives the run)."""
        self.error = kept if self.error is error else self.error
        self._failures.update({step: kept for step, known in self._failures.items() if known is error})
        for batch in _batches_within(self.opened_batches, self.resume_from):
            for position, outcome in batch.odd.items():
                if outcome.error is error:
                    batch.odd[position] = outcome._replace(error=kept)

    def goes_on(self) -> None:
        """Open the record again (for whoever goes on with the run)."""
        from ..engine.resume import errors_to_retry

        checkpoint = self.resume_from
        frames = [] if checkpoint is None else checkpoint.frames
        self.mended.update({id(error): error for error in (self.error, *errors_to_retry(frames)) if error is not None})
        how = {"failed": "failed", "interrupted": "been interrupted", "stopped": "been stopped"}[self.status]
        self.notes.append(((checkpoint and checkpoint.failed_at) or self.name, f"gone on with where it had {how}"))
        self._began = perf_counter() - (self.seconds or 0.0)
        self.seconds, self.action, self.error, self.status, self.resume_from = None, None, None, "running", None

    def __repr__(self) -> str:
        """Say how it went, in a line."""
        failed = sum(
            batch.counts().get("failed", 0) for batch in self.opened_batches if batch.plan.kind == "batch_node"
        )
        counts = [(self.visit_count, "visit"), (self.calls, "call")]
        counts += [(n, what) for n, what in ((failed, "failed item"), (len(self.problems), "problem")) if n]
        parts = [f"{n} {what}{'s' * (n != 1)}" for n, what in counts]
        if self.seconds is not None:
            parts.append(f"{self.seconds:.3f} s")
        return f"<Run {self.status}: {', '.join(parts)}>"

    @property
    def visit_count(self) -> int:
        """How many visits have ended, also of those that are not kept any more."""
        return self._dropped_visits + len(self._columns) // WIDTH

    @property
    def seconds_so_far(self) -> float:
        """How long the run has taken, also while it is going."""
        return self.seconds if self.seconds is not None else perf_counter() - self._began

    @property
    def calls(self) -> int:
        """Attempts of ``exec`` made by nodes so far, batches and retried rows included."""
        with self._lock:
            return (
                self._dropped_calls
                + _calls_of_plain_nodes(self._columns)
                + sum(_calls_of_batch(batch) for batch in self.opened_batches)
            )

    @property
    def problems(self) -> list[str]:
        """What ran but was probably not meant.

        Actions without an edge, edges that were wired over, a batch whose ``prep`` returned None, subscribers that
        raised. Each once, with how often it came where it came again; the first 1,000 kinds.
        """
        return [text if n == 1 else f"{text} ({n} times)" for text, n in list(self._problems.items())]

    @property
    def visits(self) -> list[Visit]:
        """One `Visit` per node visit, the latest 100,000, in the order in which they ended."""
        with self._lock:
            first, columns = self._dropped_visits, self._columns[:]
            passes = self._passes.so_far()
        rows: list[Visit] = []
        for step in range(len(columns) // WIDTH):
            plan, params, action, attempts, status, *times = columns[step * WIDTH : (step + 1) * WIDTH]
            start, prepared, executed, finished = times
            walk = plan.path, id(params)
            number = passes[walk] + 1
            action = plain_text(action)
            passes[walk] += status in HAS_RESULT  # a visit that failed is the same visit when it is resumed
            seconds = finished - start, prepared - start, executed - prepared, finished - executed
            error = self._failures.get(first + step)
            attempts *= kind_of(plan.node) in ("node", "batch_node")
            rows.append(
                Visit(first + step, plan.path, plan.name, number, params, action, status, attempts, *seconds, error)
            )
        return rows

    @property
    def steps(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for every node visit, in the order in which they ended.

        The index counts the rows from 0. Columns, in this order:

        * ``step`` (Int64): the place in the run, from 0; the first is more than 0 where old visits were dropped;
        * ``path``, ``node`` (string): names from the outermost flow down, joined by "/", and the last of them;
        * ``visit`` (Int64): which pass of this node it was on this walk through its flow, from 1; a visit that was
          resumed has a row for each of its parts, with the same number and the attempts and seconds of that part;
        * one column for each param, named like it, or ``params.<name>`` where another column has that name;
        * ``action`` (string): what ``post`` returned; ``status`` (string): ok, fallback, failed or cancelled;
        * ``attempts`` (Int64): attempts of ``exec``, over all items; 0 for a flow, whose nodes have them;
        * ``seconds``, ``prep_s``, ``exec_s``, ``post_s`` (Float64): of the visit, and of each of its hooks;
        * ``error_type``, ``error`` (string): of what ended it.
        """
        from .tables import steps_table

        return steps_table(self.visits)

    @property
    def batches(self) -> list[BatchResult]:
        """One `BatchResult` for every batch node and batch flow that ran, in the order in which they began."""
        return [BatchResult(self, path, batches) for path, batches in self._by_path().items()]

    def batch(self, which: str | BaseNode) -> BatchResult:
        """Return the items of one batch node, or the param sets of one batch flow.

        Args:
            which: The node itself, its name, or its path ("SummarizeAll/MapSummaries"). In a path, a "/" that is part
                of a name may be written as it is, if that names one batch.

        Raises:
            RowError: (a KeyError) No such batch ran, or the name fits several; names those that there are.
        """
        by_path = self._by_path()
        if isinstance(which, str) and which in by_path:
            return BatchResult(self, which, by_path[which])
        found = {
            path: batches
            for path, batches in by_path.items()
            if path == (plan := batches[0][1].plan).path
            and (
                which in (plan.name, path.replace(path_part("/"), "/"))
                if isinstance(which, str)
                else plan.node is which
            )
        }
        if len(found) == 1:
            return BatchResult(self, *found.popitem())
        if found:
            raise RowError(f"several batches fit {quoted(which)}; give the path of one: {_paths(found)}")
        if any(which in (visit.node, visit.path) for visit in self.visits):
            raise RowError(
                f"{quoted(which)} is no batch, so it has no rows; its visits are in .steps, and batches are "
                f"{_paths(by_path)}"
            )
        hint = did_you_mean(which, [*by_path, *map(last_name, by_path)])
        raise RowError(f"no batch {quoted(which)}{hint}; this run has {_paths(by_path)}")

    def _by_path(self) -> dict[str, list[tuple[int, Batch]]]:
        """The batches by path, in the order in which they began, each with the number of its visit on its walk."""
        found: dict[str, list[tuple[int, Batch]]] = {}
        with self._lock:
            batches, passes = self.opened_batches[:], self._batch_passes.so_far()
        for batch in batches:
            walk = batch.path, id(batch.params)
            passes[walk] += 1
            found.setdefault(batch.path, []).append((passes[walk], batch))
        return found

    @property
    def failures(self) -> list[tuple[str, int | None, BaseException]]:
        """What failed, the cause first. Of each the path, the place in its batch (None for a visit), the exception."""
        found: list[tuple[str, int | None, BaseException]] = [
            (batch.path, position, outcome.error)
            for batch in self.opened_batches[:]
            if batch.actions is None
            for position, outcome in sorted(batch.odd.copy().items(), key=itemgetter(0))
            if outcome.status == "failed" and outcome.error is not None
        ]
        found += [
            (visit.path, None, visit.error) for visit in self.failed_visits(self.visits) if visit.error is not None
        ]
        return found

    def failed_visits(self, visits: list[Visit]) -> list[Visit]:
        """Return those of some visits that failed, but for those whose cause has come through in a retry."""
        return [
            visit
            for visit in visits
            if visit.status == "failed"
            and visit.error is not None
            and not {id(visit.error), id(visit.error.__cause__)} & self.mended.keys()
        ]

    @property
    def errors(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` of everything that failed, first items, then visits, in their order.

        Columns: ``path`` (string), ``position`` (Int64; of the item in its batch, missing for a visit), ``error_type``,
        ``error`` (string). The exceptions themselves are in `failures`, in the same order.
        """
        from .tables import errors_table

        return errors_table(self.failures)

    def retry_failed(
        self, *, from_start: bool | None = None, executor: "Executor | None" = None, progress: Any = "auto"
    ) -> "Run":
        """Call every row that failed again, in all batches, and fill it in place. Returns this record.

        Where a failure ended a param set, it is the param set that goes on (`BatchResult.retry`), and with it the rows
        inside; else it is the failed items alone. What comes after a batch is not run again.

        Raises:
            RunStateError: The run has not ended.
        """
        self.refuse_going()
        told: set[int] = set()  # the errors of rows that a row further out takes care of
        chosen = []
        for result in self.batches:
            failed = [(row, item.error) for row, item in enumerate(result) if item.status == "failed"]
            chosen.append((result, [(row, error) for row, error in failed if id(error) not in told]))
            for _, error in failed:
                told |= {id(error), id(getattr(error, "__cause__", None))}
        for result, failed in chosen:  # what a row further out has called has come through by now, or failed anew
            rows = result.still_failed(failed)
            if rows:
                result._retry(rows, {}, False, from_start, executor, progress)
        return self


class _Passes:
    """How often each walk has passed a node, of visits that are not kept any more: the walks that passed latest.

    A walk is told by the id of its params, so these are held, or another walk could come to have the same.
    """

    def __init__(self) -> None:
        self._walks: dict[tuple[Any, int], tuple[Any, int]] = {}

    def count(self, walks: list[tuple[Any, int]], params: Iterable[Any]) -> None:
        """Take the walks of some visits, in their order, with their params."""
        held = dict(zip(walks, params, strict=True))
        for walk, n in Counter(walks).items():
            _, before = self._walks.pop(walk, (None, 0))
            self._walks[walk] = held[walk], before + n
        for walk in list(self._walks)[:-MOST_WALKS]:
            del self._walks[walk]

    def so_far(self) -> Counter[tuple[Any, int]]:
        """Return how often, by walk."""
        return Counter({walk: n for walk, (_, n) in self._walks.items()})


def _paths(paths: Iterable[str]) -> str:
    return quoted(list(paths), 1_000, elements=20)


def _batches_within(batches: list[Batch], checkpoint: "Checkpoint | None") -> list[Batch]:
    """Return the given batches, those of a checkpoint, and those of the checkpoints in them, each once."""
    found: dict[int, Batch] = {}
    todo = [*batches, *(checkpoint.batches() if checkpoint is not None else ())]
    for batch in todo:  # grows as it is read
        if id(batch) not in found:
            found[id(batch)] = batch
            for inner in batch.checkpoints.values():
                todo += inner.batches()
    return list(found.values())


def _walks(columns: list[Any]) -> tuple[list[tuple[str, int]], list[Any]]:
    """The walk of each visit that ended with a result, and the params that the walk is known by."""
    plans, params, status = (islice(columns, n, None, WIDTH) for n in (0, 1, 4))
    ended = [(plan.path, param) for plan, param, how in zip(plans, params, status, strict=False) if how in HAS_RESULT]
    return [(path, id(param)) for path, param in ended], [param for _, param in ended]


def _calls_of_plain_nodes(columns: list[Any]) -> int:
    plans, attempts = islice(columns, 0, None, WIDTH), islice(columns, 3, None, WIDTH)
    return sum(n for plan, n in zip(plans, attempts, strict=False) if kind_of(plan.node) == "node")


def _calls_of_batch(batch: Batch) -> int:
    return batch.attempts if kind_of(batch.plan.node) == "batch_node" else 0
