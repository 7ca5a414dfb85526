"""A run read from a journal, as a `Run` that looks like the original."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple

from ..core.node import BaseNode
from ..core.text import text_of
from ..core.traversal import last_name
from ..core.usage import Usage
from ..engine.batch import PENDING, Batch, Outcome
from ..engine.events import ReplayedAttempts
from ..engine.items import Items
from ..engine.plan import Plan
from ..engine.retry_queue import RetryQueue
from ..engine.setup import Setup
from ..journal.journal import Journal
from ..journal.schema import DISCARDED, OF_RUN
from ..journal.spent import spent_from
from ..journal.wiring import flow_from, node_like, nodes_by_path
from .recorder import RunRecorder
from .run import Run

__all__ = ["stored_run"]

_RUN = """
SELECT flow, started, ended, status, action, wiring, abandoned, problems, notes, error_type, error FROM run
WHERE id = ?
"""
_VISITS = """
SELECT path, kind, walk, params, action, status, replayed, attempts, prep_s, exec_s, post_s, is_resolved, error_type,
    error, usage, parent, parent_position
FROM visit WHERE run = ? ORDER BY step
"""
_BATCHES = """
SELECT id, path, node, kind, walk, params, size, labels, parent, parent_position FROM batch WHERE run = ? ORDER BY id
"""
_PARAM_SETS = """
SELECT position, item, result, action, status, failed_at, attempts, seconds, error_type, error FROM param_set
WHERE batch = ? ORDER BY position
"""
_CALLS = f"""
SELECT batch, position, id AS made, input, result, status, attempts, seconds, usage, worker, error_type, error, 0
FROM call
WHERE {OF_RUN} AND batch IS NOT NULL
UNION ALL
SELECT use.batch, use.position, -1, input, result, status, attempts, seconds, usage, NULL, error_type, error, 1
FROM use JOIN call ON call.id = use.call WHERE use.run = ?1 AND use.batch IS NOT NULL
ORDER BY made
"""
_LATEST = f"SELECT path FROM call WHERE {OF_RUN} ORDER BY id DESC LIMIT 1"


def stored_run(journal: Journal, which: int) -> Run:
    """Return a run of a journal. It can be read like any other, and not resumed or retried.

    Args:
        journal: The journal.
        which: The number of the run, from 1; or a negative number, which counts from the latest run.

    Raises:
        RowError: (a KeyError) There is no such run.
        JournalError: There is no such file, it is no journal, or it is damaged.
    """
    with journal._opened() as db:
        return _Reader(db, journal, journal._number(db, which)).run()


class _Error(Exception):
    """Stands for an exception of the run. Its class has the same name."""


class _Reader:
    """Reads one run from an open file."""

    def __init__(self, db: sqlite3.Connection, journal: Journal, number: int) -> None:
        self.db, self.journal, self.number = db, journal, number
        self.value: Callable[[Any], Any] = lambda stored: journal._value(db, stored)
        self.statuses = {"not kept": "ok"}  # those of calls that no row of a table has, and what a row has instead
        self.walks: dict[int, Any] = {}  # params, by the number of the walk
        self.batches: dict[int, Batch] = {}  # by their number
        self.nodes: dict[str, BaseNode] = {}
        self.plans: dict[str, Plan] = {}
        self.setup = Setup(RunRecorder())
        self.classes: dict[str, Any] = {}  # of exceptions, by name
        self.errors: dict[tuple[str, str, bool], BaseException] = {}

    def run(self) -> Run:
        flow, started, ended, status, action, wiring, abandoned, problems, notes, *error = self.db.execute(
            _RUN, (self.number,)
        ).fetchone()
        root = flow_from(self.journal._text(self.db, wiring))
        self.nodes = nodes_by_path(root)
        run = Run(root)
        run._read_from = str(self.journal.path)
        run.name = str(flow)
        run.started = float(started)
        run.action = action
        run.status = self.journal._status(status)
        if ended is None:
            run._clock_at_start = perf_counter() - (time.time() - run.started)
        run.seconds = float(ended) - run.started if ended is not None else None
        self.statuses["started"] = "pending" if run.status == "running" else "cancelled"
        recorder = run._recorder
        recorder.abandoned = abandoned or 0
        recorder.problems = dict(json.loads(self.journal._text(self.db, problems))) if problems else {}
        recorder.notes = list(map(tuple, json.loads(self.journal._text(self.db, notes)))) if notes else []
        recorder.batches = list(self._batches(recorder))
        self._read_visits(recorder)
        run.error = self._error(*error)
        if run.status in ("running", "killed"):
            where = self.db.execute(_LATEST, (self.number,)).fetchone()
            recorder.where = lambda: text_of(where[0]) if where is not None else ""
        return run

    def _read_visits(self, recorder: RunRecorder) -> None:
        for step, row in enumerate(self.db.execute(_VISITS, (self.number,))):
            path, kind, walk, params, action, status, replayed, attempts, *row = row
            prep, exec_, post, is_resolved, *error, usage, parent, position = row
            if usage is not None:
                recorder.usage[step] = spent_from(usage), self._parent_set(parent, position)
            found = self._error(*error, is_resolved=bool(is_resolved))
            if found is not None:
                recorder.failures[step] = found
            if found is not None and is_resolved:
                recorder.resolved[id(found)] = found
            recorder.columns += (
                self._plan(path, kind), self._params(walk, params), action,
                ReplayedAttempts(attempts) if replayed else attempts, status,
                0.0, prep, prep + exec_, prep + exec_ + post,
            )  # fmt: skip

    def _batches(self, recorder: RunRecorder) -> Iterator[Batch]:
        """Yield the batches. Those whose visits were run again are only counted."""
        calls: dict[int, list[_Call]] = {}
        for number, *row in self.db.execute(_CALLS, (self.number,)):
            calls.setdefault(number, []).append(_Call(*row))
        for row in self.db.execute(_BATCHES, (self.number,)).fetchall():
            number, path, of_node, kind, walk, params, size, labels, *parent = row
            if kind == DISCARDED:
                for call in calls.get(number, ()):
                    recorder.count(call.attempts or 0, call.spent())
                continue
            rows: list[Any] = calls.get(number, [])
            add: Callable[[Batch, Any], None] = self._add_call
            if kind == "batch_flow" or path != of_node:
                add, rows = self._add_param_set, self.db.execute(_PARAM_SETS, (number,)).fetchall()
            count = max((row[0] for row in rows), default=-1) + 1
            batch = _pending_batch(self._plan(of_node, kind), path, self._params(walk, params), count, size)
            for row in rows:
                add(batch, row)
            batch.retry_queue = None
            batch.outcomes.in_flight = batch.outcomes.results.count(PENDING)
            if labels is not None:
                from .tables import index_from

                batch.items.index = index_from(*self.value(labels))
            batch.parent_set = self._parent_set(*parent)
            self.batches[number] = batch
            yield batch

    def _parent_set(self, number: int | None, position: int) -> tuple[Batch, int] | None:
        batch = None if number is None else self.batches.get(number)
        return None if batch is None else (batch, position)

    def _add_param_set(self, batch: Batch, row: Any) -> None:
        at, item, result, action, status, failed_at, attempts, seconds, *error = row
        assert batch.items.values is not None
        assert batch.outcomes.actions is not None
        batch.items.values[at], batch.outcomes.actions[at] = self.value(item), action
        batch.settle(at, status, self.value(result), attempts, seconds, self._error(*error), failed_at)

    def _add_call(self, batch: Batch, call: "_Call") -> None:
        """Enter a call of an item: the first one, or that of a retry."""
        at, outcomes = call.position, batch.outcomes
        assert batch.items.values is not None
        batch.items.values[at] = self.value(call.item)
        status = self.statuses.get(call.status, call.status)
        value = PENDING if status == "pending" else self.value(call.result)
        batch.retry_queue = RetryQueue({at: (outcomes.exceptional.get(at, Outcome("ok", 1)), outcomes.seconds[at])})
        error = self._error(call.error_type, call.error)
        batch.settle(at, status, value, call.attempts or 0, call.seconds or 0.0, error)
        if spent := call.spent():
            batch.usage.add(at, spent)
        if call.worker is not None:
            outcomes.workers[at] = str(call.worker)
        if call.is_replayed:
            outcomes.replayed.add(at)

    def _plan(self, path: str, kind: str) -> Plan:
        found = self.plans.get(path)
        if found is None:
            node = self.nodes.get(path) or node_like(kind, last_name(path))  # an edge was added during the run
            found = self.plans[path] = Plan(node, last_name(path), path, self.setup)
        return found

    def _params(self, walk: int, stored: Any) -> Any:
        if walk not in self.walks:
            found = None if stored is None else self.value(stored)
            self.walks[walk] = found if type(found) is dict else {}
        return self.walks[walk]

    def _error(self, kind: str | None, text: str | None, *, is_resolved: bool = False) -> BaseException | None:
        """Return the exception with this class and text: one object for equal ones, as one may end several visits."""
        if kind is None:
            return None
        key = kind, text or "", is_resolved
        found = self.errors.get(key)
        if found is None:
            if kind not in self.classes:
                self.classes[kind] = type(text_of(kind), (_Error,), {"__module__": "builtins"})
            found = self.errors[key] = self.classes[kind](*([text] if text else []))
        return found


class _Call(NamedTuple):
    """A row of `_CALLS`, without the number of its batch."""

    position: int
    made: int
    item: Any
    result: Any
    status: str
    attempts: int | None
    seconds: float | None
    usage: Any
    worker: Any
    error_type: str | None
    error: str | None
    is_replayed: int

    def spent(self) -> tuple[Usage, ...]:
        """Return what it has used."""
        return spent_from(self.usage, replayed=bool(self.is_replayed))


def _pending_batch(plan: Plan, path: str, params: Any, count: int, size: int | None) -> Batch:
    """Return a batch of which ``count`` items were read, and none has an outcome yet."""
    items = Items([None] * count, path)
    items.read, items.total = count, size
    items.exhausted = size is None or count >= size
    batch = Batch(plan, params, items)
    batch.path = path
    if plan.facts.kind == "batch_flow":
        batch.outcomes.actions = []
    batch.outcomes.even_out(count)
    batch.outcomes.exceptional = {at: Outcome("pending", 0) for at in range(count)}
    return batch
