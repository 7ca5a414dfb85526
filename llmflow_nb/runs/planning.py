"""Plan a run: find out which calls of ``exec`` a journal answers, and which the run would make, without making any.

The usual interpreter walks through copies of the nodes, on a copy of ``shared``. A result cache answers each call from
the file or leaves it unanswered. An unanswered call ends its walk, but not the calls and param sets beside it.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any
from weakref import WeakSet

from ..core.code_parts import is_library
from ..core.copying import Copier
from ..core.edited import rebind
from ..core.errors import JournalError, a_type
from ..core.node import BaseNode, label
from ..core.prices import UsageSum
from ..core.text import error_text, quoted
from ..core.traversal import survey, within
from ..engine.batch import Batch, param_sets_from
from ..engine.calls import CachedResult, Call
from ..engine.drivers.sync import drive
from ..engine.hiding import Unrecorded
from ..engine.iteration import is_iterator
from ..engine.outcomes import UnansweredError
from ..engine.position import Position
from ..engine.setup import Setup
from ..journal.answers import Answers, Kept
from ..journal.explained import EarlierCalls
from ..journal.history import column
from ..journal.journal import Journal, as_journal
from ..journal.keys import CallKey, CallKeys
from ..journal.results import Results
from ..journal.run_code import RunCode
from .checks import check_fresh
from .rows import PlannedCall
from .run_plan import RunPlan, Stops
from .twins import copied_nodes, copied_shared

__all__ = ["plan"]

MAX_UNSIZED = 10_000
"""The number of items, and of param sets, that are read of an input whose length is not known: it may never end."""


def plan(node: BaseNode, shared: Any, *, journal: Any, fresh: str | None) -> RunPlan:
    """Plan a run of a node. See `BaseNode.plan`."""
    copier = _Copier()
    root = copied_nodes(node, copier)
    shared = copied_shared(shared, copier, "nothing can be planned with it")
    rebind(within(root))
    wiring = survey(root)
    name = label(root)
    if fresh is not None:
        check_fresh(fresh, name, wiring, journal)
    known = as_journal(journal, name, is_written=False)
    code = RunCode(node)
    try:
        store = _ReadOnly()
        planner = _Planner(store, CallKeys(code.fingerprints))
        planner.fresh = fresh
        setup = Setup(_Failures(planner.stops), result_cache=planner, names=wiring.names)
        position = Position.at_start(root, shared, setup, inline=False)
        with _opened(known) as (store.results, planner.earlier):
            ended_by = _walk(position, setup)
            expected = planner.expected()
    finally:
        code.close()
    return RunPlan(root, known.path.name, planner.calls, planner.stops, ended_by, expected)


def _walk(position: Position, setup: Setup) -> str:
    """Walk as far as all results are known. Return what else ends the run, as text."""
    position.context = copy_context()  # so that no hook sets a context variable of the caller
    try:
        drive(position, setup)
    except UnansweredError:
        return ""
    except JournalError:
        raise
    except _TooManyError as exc:
        return str(exc)
    except Exception as exc:  # of a hook: the run would end in the same way
        return f"{position.failed_at or position.path} ends the run: {error_text(exc)}"
    return ""


@contextmanager
def _opened(journal: Journal) -> Iterator[tuple[Results | None, EarlierCalls | None]]:
    """Open a journal to read it; nothing if the file does not exist yet."""
    if not journal.path.exists():
        yield None, None
        return
    with journal._opened() as db:

        def rows(query: str, values: tuple[Any, ...]) -> list[Any]:
            try:
                return db.execute(query, values).fetchall()
            except sqlite3.Error as exc:  # here, since the hooks may raise such an error too
                raise JournalError(f"the journal {journal.path} is damaged: {exc}.") from None

        def first(query: str, *values: Any) -> Any:
            return next(iter(rows(query, values)), None)

        yield Results(first, journal.path, journal._types), EarlierCalls(rows)


# ---- answering calls -------------------------------------------------------------------------------------------------


class _TooManyError(Exception):
    """An input is read no further. The text says which."""


class _ReadOnly:
    """Loads results, and writes nothing (a `Store`)."""

    def __init__(self) -> None:
        self.results: Results | None = None

    def load(self, call: Call, key: CallKey, nth: int) -> Kept | None:
        """Return a result; None if there is none."""
        found = None if self.results is None else self.results.load(call, key, nth)
        return None if found is None else found[1]

    def start(self, call: Call, key: CallKey | None, nth: int) -> None:
        """Write nothing: no call is made."""

    def save(self, call: Call, key: CallKey | None, nth: int, result: Kept) -> None:
        """Write nothing: no call is made."""

    def end(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Write nothing: no call is made."""


class _Planner(Answers):
    """Answers calls from a journal, and leaves the others unanswered."""

    def __init__(self, store: _ReadOnly, keys: CallKeys) -> None:
        super().__init__(store, keys)
        self.earlier: EarlierCalls | None = None
        self.calls: list[PlannedCall] = []
        self.stops = Stops()
        self._seen: WeakSet[Batch] = WeakSet()  # the visits that wait for a result

    def find(self, call: Call) -> CachedResult:
        """Return the result of a call, or say that there is none. No call is ever made."""
        plan = call.plan
        batch = _too_long(call)
        if batch is not None:
            self.stops.add_unknown(plan.path, f"only the first {MAX_UNSIZED:,} inputs were checked")
            self._stop(call)
            raise _TooManyError(f"{batch.path} is not read after item {MAX_UNSIZED:,}, since its input has no length")
        if plan.facts.layer is not None:
            self.stops.add_unknown(plan.path, f"its own {plan.facts.layer.method} decides what is called")
            return self._unanswered(call)
        if "exec" not in plan.facts.hooks.own:
            return CachedResult(None)
        found = super().find(call)
        started = self._in_progress.pop(call, None)
        why = "" if found is not None else self._why(call, None if started is None else started.key)
        self.calls.append(PlannedCall(plan.path, call.batch.params, call.item_index, call.item, why))
        if found is not None:
            return found
        return self._unanswered(call)

    def _why(self, call: Call, key: CallKey | None) -> str:
        path = call.plan.path
        if key is None:
            return self.notes.get(path, "volatile=True, so it is called each time")
        if self.is_fresh(path):
            return f"fresh={quoted(self.fresh)}"
        if self.earlier is None:
            return "its first run"
        return self.earlier.why_made(call, key)

    def expected(self) -> dict[str, UsageSum]:
        """Return what the calls of the run will use, by path, as far as the journal knows."""
        found = {}
        for path, count in Counter(call.path for call in self.calls if call.why).items():
            usage = None if self.earlier is None else self.earlier.expected_usage(column(path), count)
            if usage is not None:
                found[path] = usage
        return found

    def _unanswered(self, call: Call) -> CachedResult:
        self._stop(call)
        error = UnansweredError("its result is not in the journal")
        return CachedResult(None, error=error, is_replayed=False, status="failed")

    def _stop(self, call: Call) -> None:
        """Note, once for each visit, that it cannot continue."""
        if call.batch not in self._seen:
            self._seen.add(call.batch)
            self.stops.add(call.plan.path, is_within=call.plan.facts.is_flow)


def _too_long(call: Call) -> Batch | None:
    """Return the batch whose input may never end, if enough of it was read before this call."""
    at = call.branch.position.param_set() if call.batch.is_single else (call.batch, call.index)
    unsized = (batch for batch, index in param_sets_from(at) if batch.items.total is None and index >= MAX_UNSIZED)
    return next(unsized, None)


class _Failures(Unrecorded):
    """Records where a walk has ended because a value can be read only once."""

    def __init__(self, stops: Stops) -> None:
        super().__init__()
        self._stops = stops
        self._seen: list[BaseException] = []

    def add_failed_visit(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Note the innermost visit that such an error ends."""
        if isinstance(error, _ReadOnceError) and error not in self._seen:
            self._seen.append(error)
            self._stops.add(row[0].path)
            self._stops.add_unknown(row[0].path, str(error))


# ---- copies ----------------------------------------------------------------------------------------------------------


class _ReadOnceError(UnansweredError):
    """A value of the user's would be consumed by a plan. The text says which."""


class _ReadOnce:
    """Stands for an iterator in ``shared``, which the run is to read."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __iter__(self) -> "_ReadOnce":
        return self

    def __next__(self) -> Any:
        raise _ReadOnceError(f"shared has {self._kind}, which can be read only once, so the run reads it")


class _Copier(Copier):
    """Copies what hooks may change. An object of a user's class is copied without the clients and locks in it."""

    def _plain(self, value: Any, cls: type) -> Any:
        if is_library(cls.__module__):
            return super()._plain(value, cls)
        twin = self._begin(value, object.__new__(cls))
        twin.__dict__.update({name: self._copy(item) for name, item in vars(value).items()})
        return twin

    def _reference(self, value: Any) -> Any:
        return _ReadOnce(a_type(value)) if is_iterator(value) else super()._reference(value)
