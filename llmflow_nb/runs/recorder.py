"""The columns that the engine writes during a run: visits, batches, problems. `Run` shows them to users.

The record is bounded. Old visits and batches are dropped, and only counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..core.errors import did_you_mean
from ..core.node import kind_of
from ..core.statuses import HAS_RESULT
from ..core.text import message, quoted, shown
from ..core.usage import Usage, merged
from ..engine.batch import Batch, param_sets_from
from ..engine.events import VISIT_FIELDS
from .sizes import ByteBudget

if TYPE_CHECKING:
    from ..engine.checkpoint import Checkpoint

__all__ = ["MAX_VISITS", "WIDTH", "RecordPoint", "RunRecorder"]

WIDTH = len(VISIT_FIELDS)
MAX_VISITS = 100_000
"""The number of visits that a record keeps, and of visits of batch nodes and batch flows."""
SLACK = MAX_VISITS // 2  # dropped at a time, since removing items from the front of a list moves all others
MAX_PROBLEMS = 1_000
MAX_WALKS = 10_000

Passes = dict[tuple[str, int], tuple[Any, int]]
"""How often each walk passed a node in visits that are not kept any more, by path and id of the params.

The params are kept too, or another walk could get the same id.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Dropped:
    """What is still known of the rows that were dropped. Immutable, so that a `RecordPoint` can keep it."""

    visits: int = 0
    batches: int = 0
    calls: int = 0  # attempts of ``exec``
    usage: tuple[Usage, ...] = ()
    passes: Passes = field(default_factory=dict)  # of visits
    batch_passes: Passes = field(default_factory=dict)  # of batches


class RunRecorder:
    """The record of one run, as the engine writes it.

    Only the thread that drives the run writes. ``lock`` is held to drop, replace and read rows, but not to add one, so
    a visit costs no lock.
    """

    # Defaults of the class, as in `Run`.
    abandoned = reexecuted = 0
    removed = 0  # how many batches were added and are not kept
    discarded: tuple[tuple[int, int], ...] = ()  # what a journal has yet to mark, see `Batch.stored`
    where: Callable[[], str] = str  # returns the path of the node that is visited now; "" if unknown
    open_usage: Callable[[], list[Usage]] = list  # returns what visits in progress have used
    dropped = Dropped()

    def __init__(self) -> None:
        self.columns: list[Any] = []  # the VISIT_FIELDS of all visits, one after the other
        self.add_visit: Callable[[Iterable[Any]], None] = self.columns.extend
        self.failures: dict[int, BaseException] = {}  # of visits, by step
        self.batches: list[Batch] = []  # one for each visit of a batch node or batch flow, in the order they started
        # Of visits, by step; below 0 of no visit. Each with the param set around it.
        self.usage: dict[int, tuple[Sequence[Usage], tuple[Batch, int] | None]] = {}
        self.limited: dict[Any, tuple[float, float | None]] = {}
        self.problems: dict[str, int] = {}  # how often each was reported
        self.notes: list[tuple[str, str]] = []  # of retries and resumes: path, text
        self.resolved: dict[int, BaseException] = {}  # errors of work that was repeated, by id
        self.lock = Lock()

    @cached_property
    def budget(self) -> ByteBudget:
        """Bounds the bytes of the batches. Only made for a run that has one: it takes 0.5 us."""
        return ByteBudget()

    # ---- the engine writes -------------------------------------------------------------------------------------------

    def add_failed_visit(self, row: tuple[Any, ...], error: BaseException) -> None:
        """Add the row of a visit that an exception ended."""
        self.failures[self.visit_count] = error
        self.columns.extend(row)

    def add_usage(
        self, usages: Sequence[Usage], parent_set: tuple[Batch, int] | None, *, of_visit: bool = True
    ) -> None:
        """Add what was used to the visit that was added last, or to no visit. See `Recorder`."""
        if of_visit:
            self.usage[self.visit_count - 1] = usages, parent_set
        else:
            with self.lock:
                self.usage[-1 - len(self.usage)] = usages, parent_set

    def add_batch(self, batch: Batch) -> None:
        """Add the columns of a batch, which are filled from now on."""
        if self.budget.measure():
            self._drop_batches(self.budget.surplus(self.batches))
        self.batches.append(batch)
        self.budget.add(batch)
        facts = batch.plan.facts
        if facts.kind == "batch_node" and "exec" not in facts.hooks.own and not batch.items.is_none:
            self.add_problem(
                f"{batch.path}: the class defines no exec, so every result is None. Is the method name misspelt?"
            )
        if batch.items.is_none:
            self.add_problem(f"{batch.path}: prep returned None, which is an empty batch. Is a return missing?")

    def add_missing_edge(self, path: str, action: Any, known: list[str]) -> None:
        """Add the problem of an action that has no edge."""
        hint = did_you_mean(action, known) if action else ""
        self.add_problem(f"{shown(path, 320)}: {quoted(action)} not found in {quoted(known, 400, elements=30)}{hint}")

    def add_problem(self, text: str) -> None:
        """Add a text about something that ran but is probably a mistake."""
        text = message(text)
        if text in self.problems or len(self.problems) < MAX_PROBLEMS:
            self.problems[text] = self.problems.get(text, 0) + 1

    def drop_old(self) -> None:
        """Drop the oldest visits and batches if there are too many."""
        if len(self.columns) > WIDTH * (MAX_VISITS + SLACK):
            self._drop_visits(len(self.columns) // WIDTH - MAX_VISITS)
        if len(self.batches) > MAX_VISITS + SLACK:
            self._drop_batches(self.batches[: len(self.batches) - MAX_VISITS])

    def batches_by_param_set(self) -> dict[tuple[int, int], list[Batch]]:
        """Return the batches in each param set, at any depth, by the ``id`` of its batch and its index there."""
        found: dict[tuple[int, int], list[Batch]] = {}
        for batch in self.batches:
            for sets, index in param_sets_from(batch.parent_set):
                found.setdefault((id(sets), index), []).append(batch)
        return found

    def discard_batches(self, old: list[Batch]) -> None:
        """Discard batches whose visits are run again. Their calls stay counted."""
        with self.lock:
            old = [batch for batch in old if batch in self.batches]  # mostly at the front, so this is fast
            self.count(sum(map(_calls_of_batch, old)), [usage for batch in old for usage in batch.usage.all()])
            for batch in old:
                self.batches.remove(batch)
            self.removed += len(old)
            self.discarded += tuple(batch.stored for batch in old if batch.stored is not None)
            self.budget.remove(map(id, old))

    def _drop_visits(self, count: int) -> None:
        with self.lock:
            old = self.columns[: count * WIDTH]
            first = self.dropped.visits + count
            steps = [step for step in self.usage if step < first]
            usages = [usage for step in steps for usage in self.usage.pop(step)[0]]
            passes = _with_passes(self.dropped.passes, *_walks(old))
            self.count(_calls_of_plain_nodes(old), usages, visits=first, passes=passes)
            del self.columns[: count * WIDTH]
            for step in [step for step in self.failures if step < first]:
                del self.failures[step]

    def count(self, calls: int, usages: Iterable[Usage], **changes: Any) -> None:
        """Count calls of rows that are not kept, and what they have used."""
        before = self.dropped
        usage = tuple(merged([*before.usage, *usages]))
        self.dropped = replace(before, calls=before.calls + calls, usage=usage, **changes)

    def _drop_batches(self, old: list[Batch]) -> None:
        if not old:
            return
        with self.lock:
            ids = set(map(id, old))
            walks = [(batch.path, id(batch.params)) for batch in old]
            passes = _with_passes(self.dropped.batch_passes, walks, [batch.params for batch in old])
            calls, usages = sum(map(_calls_of_batch, old)), [usage for batch in old for usage in batch.usage.all()]
            self.count(calls, usages, batches=self.dropped.batches + len(old), batch_passes=passes)
            self.batches = [batch for batch in self.batches if id(batch) not in ids]
            self.removed += len(old)
            self.budget.remove(ids)

    def batches_since(self, seen: int) -> tuple[list[Batch], int]:
        """Return the batches that were added after the first ``seen`` ones and are kept; and how many were added."""
        with self.lock:
            new = self.batches[max(0, seen - self.removed) :]
            return new, self.removed + len(self.batches)

    def has_resolved(self, error: BaseException) -> bool:
        """Return whether a retry or a resume has resolved an error, or what it was raised from."""
        return not {id(error), id(error.__cause__)}.isdisjoint(self.resolved)

    # ---- counts ------------------------------------------------------------------------------------------------------

    @property
    def visit_count(self) -> int:
        """The number of visits that have ended, dropped ones included."""
        return self.dropped.visits + len(self.columns) // WIDTH

    @property
    def calls(self) -> int:
        """Attempts of ``exec`` made by nodes so far, batches, retries and dropped visits included."""
        with self.lock:
            in_batches = sum(map(_calls_of_batch, self.batches))
            return self.dropped.calls + _calls_of_plain_nodes(self.columns) + in_batches

    def all_usage(self) -> list[Usage]:
        """Return what all calls so far have used, one sum for each model."""
        with self.lock:
            of_visits = [usage for usages, _ in list(self.usage.values()) for usage in usages]
            of_batches = [usage for batch in self.batches for usage in batch.usage.all()]
            return merged([*self.dropped.usage, *of_visits, *of_batches, *self.open_usage()])

    # ---- replacing what was recorded ---------------------------------------------------------------------------------

    def replace_error(self, error: BaseException, kept: BaseException, checkpoint: "Checkpoint | None") -> None:
        """Keep another object in place of an error, also in the batches of the checkpoint to resume from."""
        self.failures.update({step: kept for step, known in self.failures.items() if known is error})
        for batch in _batches_within(self.batches, checkpoint):
            for position, outcome in batch.outcomes.exceptional.items():
                if outcome.error is error:
                    batch.outcomes.exceptional[position] = outcome._replace(error=kept)

    def cut_after(self, point: "RecordPoint", replaced: dict[int, Batch]) -> None:
        """Drop all that was recorded after a point.

        The record gets new lists, so later points, which refer to the old lists, stay valid.

        Args:
            point: A point of this record.
            replaced: The batches that the engine resumes, by the ``id`` of the batches that they replace.
        """
        with self.lock:
            self.columns = point.columns[: point.visits * WIDTH]
            self.add_visit = self.columns.extend
            added = self.removed + len(self.batches)
            self.batches = [replaced.get(id(batch), batch) for batch in point.batches[: point.batch_count]]
            self.removed = added - len(self.batches)
            self.failures = dict(islice(point.failures.items(), point.failure_count))
            self.dropped = point.dropped
            self.problems = point.problems.copy()
            self.usage = dict(islice(point.usage.items(), point.usage_count))
            del self.notes[point.note_count :]
            self.budget = ByteBudget()
            for batch in self.batches:
                self.budget.add(batch)


class RecordPoint:
    """The length of a record at one time. Its lists only grow, so their lengths are enough to go back."""

    __slots__ = (
        "batch_count",
        "batches",
        "columns",
        "dropped",
        "failure_count",
        "failures",
        "note_count",
        "problems",
        "usage",
        "usage_count",
        "visits",
    )

    def __init__(self, recorder: RunRecorder) -> None:
        self.columns, self.visits = recorder.columns, len(recorder.columns) // WIDTH
        self.batches, self.batch_count = recorder.batches, len(recorder.batches)
        self.failures, self.failure_count = recorder.failures, len(recorder.failures)
        self.usage, self.usage_count = recorder.usage, len(recorder.usage)
        self.problems, self.note_count = recorder.problems.copy(), len(recorder.notes)
        self.dropped = recorder.dropped

    def first_visit(self, later: "RecordPoint", path: str) -> tuple[Any, str, float] | None:
        """Return action, status and seconds of a node's first visit between two points; None if there is none."""
        for visit in range(self.visits, later.visits):
            plan, _, action, _, status, started, _, _, ended = later.columns[visit * WIDTH : (visit + 1) * WIDTH]
            if plan.path == path:
                return action, status, ended - started
        return None


def _with_passes(before: Passes, walks: list[tuple[str, int]], params: list[Any]) -> Passes:
    """Return passes with those of more visits, in their order, without the walks whose latest pass is the oldest."""
    passes = before.copy()
    params_of = dict(zip(walks, params, strict=True))
    for walk, n in Counter(walks).items():
        _, earlier = passes.pop(walk, (None, 0))
        passes[walk] = params_of[walk], earlier + n
    for walk in list(passes)[:-MAX_WALKS]:
        del passes[walk]
    return passes


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
    """Return the walk of each visit that ended with a result, and the params that the walk is known by."""
    plans, params, status = (islice(columns, n, None, WIDTH) for n in (0, 1, 4))
    ended = [(plan.path, param) for plan, param, how in zip(plans, params, status, strict=False) if how in HAS_RESULT]
    return [(path, id(param)) for path, param in ended], [param for _, param in ended]


def _calls_of_plain_nodes(columns: list[Any]) -> int:
    plans, attempts = islice(columns, 0, None, WIDTH), islice(columns, 3, None, WIDTH)
    return sum(n for plan, n in zip(plans, attempts, strict=False) if kind_of(plan.node) == "node")


def _calls_of_batch(batch: Batch) -> int:
    return batch.attempts if kind_of(batch.plan.node) == "batch_node" else 0
