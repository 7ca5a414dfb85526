"""The record of one run, as users read it."""

import time
from collections.abc import Callable, Iterable
from functools import cached_property
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..core.api.records import RunMethods
from ..core.errors import RowError, did_you_mean
from ..core.node import BaseNode, label
from ..core.prices import UsageSum, sum_of
from ..core.statuses import FAILURES, count_with
from ..core.text import many, quoted
from ..core.traversal import Survey, last_name, path_part
from .batch import BatchResult
from .recorder import RunRecorder
from .rows import Visit, failed_rows, numbered_batches, unresolved, visits_of

if TYPE_CHECKING:
    import pandas as pd

    from ..engine.budget import Budget
    from ..engine.checkpoint import Checkpoint
    from ..engine.plan import Plan
    from .run_journal import RunJournal

__all__ = ["Run", "Watch"]

Watch = Callable[["Run"], Callable[[], None]]
"""Called with the record when a run starts. The function that it returns is called when the run ends."""


class Run(RunMethods):
    """The record of one run: visits, batches and errors. You can read it during the run and after it, however it ended.

    A record is bounded. It keeps the latest 100,000 visits of all nodes, and also the latest 100,000 visits of batch
    nodes and batch flows. For a short time, it can keep 150,000. It keeps about 1 GB of items and results. Above this
    size, it drops the oldest visits of batches, but never the latest visit of a node. `visit_count` and `calls` include
    dropped visits.

    Attributes:
        node: The node or flow that was run.
        shared: The object that it was run with, not a copy.
        status: "running", "ok", "failed", "interrupted" (by the keyboard or by the cancellation of a task), or
            "stopped".
        action: The value that the run returned.
        error: The exception that ended the run, or None. It is a copy of the raised exception, and its traceback begins
            at the hook, so the record keeps no variables of the code that called ``run``.
        started: The time of the start, in seconds since the epoch.
        seconds: The duration of the run; None while it is running.
    """

    _shown_as = "run"

    # Defaults of the class: to set them on each record takes 0.4 us, a hundredth of a short run.
    status = "running"
    action: Any = None
    error: BaseException | None = None
    seconds: float | None = None
    _survey: Survey | None = None  # of the wiring; the next run uses it again if nothing has changed
    _plan: "Plan | None" = None  # the plan of the node, which the next run uses again
    _journal: "RunJournal | None" = None
    _budget: "Budget | None" = None  # the bound of the run, of its resumes and its retries
    _read_from: str = ""  # the journal that the record was read from
    _resume_from: "Checkpoint | None" = None  # where the run failed or was stopped

    def __init__(self, node: BaseNode, shared: Any = None) -> None:
        """Start a record, with nothing in it."""
        self.node = node
        self.shared = shared
        self.started = time.time()
        self._clock_at_start = perf_counter()
        self._recorder = RunRecorder()
        self._retrying = Lock()  # held while rows are retried

    @cached_property
    def name(self) -> str:
        """The name of the node or flow that was run."""
        return label(self.node)

    def __repr__(self) -> str:
        """Summarize the run in a line."""
        of_nodes = [batch for batch in self._recorder.batches if batch.plan.facts.kind == "batch_node"]
        failed = sum(count_with(batch.counts(), FAILURES) for batch in of_nodes)
        counts = [(self.visit_count, "visit"), (self.calls, "call")]
        counts += [(n, what) for n, what in ((failed, "failed item"), (len(self.problems), "problem")) if n]
        parts = [many(n, what) for n, what in counts]
        if self.seconds is not None:
            parts.append(f"{self.seconds:.3f} s")
        return f"<Run {self.status}: {', '.join(parts)}>"

    # ---- counts ------------------------------------------------------------------------------------------------------

    @property
    def visit_count(self) -> int:
        """The number of visits that have ended, dropped visits included."""
        return self._recorder.visit_count

    @property
    def calls(self) -> int:
        """The number of attempts of ``exec`` so far, in batches and in retries too."""
        return self._recorder.calls

    @property
    def usage(self) -> UsageSum:
        """The tokens and dollars of all calls so far, as they were reported with `spend`. A replayed call is free."""
        return sum_of(self._recorder.all_usage())

    @property
    def seconds_so_far(self) -> float:
        """How long the run has taken, also while it is running."""
        return self.seconds if self.seconds is not None else perf_counter() - self._clock_at_start

    @property
    def abandoned(self) -> int:
        """The number of blocking calls that could not be stopped. Each ends by itself, and its result is dropped."""
        return self._recorder.abandoned

    @property
    def reexecuted(self) -> int:
        """How often a cluster has made a call again because a worker had died. The model may have been asked twice.

        Among short calls, which travel together, one that started just before its worker died may be missing.
        """
        return self._recorder.reexecuted

    @property
    def dropped_batches(self) -> int:
        """The number of visits of batch nodes and batch flows that were dropped."""
        return self._recorder.dropped.batches

    # ---- what happened -----------------------------------------------------------------------------------------------

    @property
    def problems(self) -> list[str]:
        """Texts about what ran but is probably a mistake.

        Such as an action without an edge, an edge that replaced another, a ``prep`` of a batch that returned None, a
        subscriber that raised. Each text is there once, with a count if it occurred more often; the first 1,000 texts.
        """
        return [text if n == 1 else f"{text} ({n} times)" for text, n in list(self._recorder.problems.items())]

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What a journal answers, and what changed the record after the run: retries and resumes.

        Pairs of a path and a text.
        """
        notes, outlook = self._recorder.notes, self._outlook()
        return [*notes, (self.name, outlook)] if outlook else notes

    @property
    def visits(self) -> list[Visit]:
        """A `Visit` for every node visit, in the order in which they ended; the latest 100,000."""
        return visits_of(self._recorder)

    @property
    def steps(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for every node visit, in the order in which they ended.

        The index counts the rows from 0. Columns, in this order:

        * ``step`` (Int64): the index in the run, from 0; the first is more than 0 if old visits were dropped;
        * ``path`` (string): names from the outermost flow to the node, joined by "/"; ``node`` (string): the last name;
        * ``visit`` (Int64): counts this node's visits in one pass through its flow, from 1; a visit that was resumed
          has a row for each part, with the same number, and the attempts and seconds of that part;
        * one column for each param, named like it, or ``params.<name>`` if another column has that name;
        * ``action`` (string): the value that ``post`` returned; ``status`` (string): ok, fallback, failed or cancelled;
        * ``replayed`` (boolean), only of a run with a journal: whether the journal answered all calls of the visit;
          missing if it made no call;
        * ``attempts`` (Int64): attempts of ``exec``, over all items; 0 for a flow, whose nodes have them;
        * ``seconds``, ``prep_s``, ``exec_s``, ``post_s`` (Float64): of the visit, and of each of its hooks;
        * ``tokens_in``, ``tokens_out`` (Int64), ``cost`` (Float64, US dollars), only if a call has reported some with
          `spend`: of all its calls; 0 if they were replayed; missing if nothing was reported, or a price is unknown;
        * ``error_type``, ``error`` (string): of the exception that ended it.
        """
        from .tables import steps_table

        return steps_table(self.visits, has_journal=self._has_journal)

    @property
    def batches(self) -> list[BatchResult]:
        """A `BatchResult` for every batch node and batch flow that ran, in the order in which they started."""
        return [BatchResult(self, path, batches) for path, batches in numbered_batches(self._recorder).items()]

    def batch(self, which: str | BaseNode) -> BatchResult:
        """Return the items of one batch node, or the param sets of one batch flow.

        Args:
            which: The node itself, its name, or its path ("SummarizeAll/MapSummaries"). In a path, a "/" that is part
                of a name can be written as it is, if only one batch matches.

        Raises:
            RowError: (a KeyError) No batch matches, or several do. The message lists the batches.
        """
        by_path = numbered_batches(self._recorder)
        found = [path for path, batches in by_path.items() if _matches(path, batches[0][1].plan, which)]
        if isinstance(which, str) and which in by_path:
            found = [which]
        if len(found) == 1:
            return BatchResult(self, found[0], by_path[found[0]])
        if found:
            raise RowError(f"several batches match {quoted(which)}; give the path of one: {_paths(found)}")
        if any(which in (visit.node, visit.path) for visit in self.visits):
            raise RowError(
                f"{quoted(which)} is not a batch, so it has no rows; its visits are in .steps, and batches are "
                f"{_paths(by_path)}"
            )
        hint = did_you_mean(which, [*by_path, *map(last_name, by_path)])
        raise RowError(f"no batch {quoted(which)}{hint}; this run has {_paths(by_path)}")

    @property
    def failures(self) -> list[tuple[str, int | None, BaseException]]:
        """What failed: path, position in the batch (None for a visit), exception. Items come before visits."""
        found: list[tuple[str, int | None, BaseException]] = [
            (batch.path, position, error)
            for batch in self._recorder.batches[:]
            if batch.outcomes.actions is None
            for position, error in failed_rows([batch])
        ]
        return found + [(visit.path, None, error) for visit, error in unresolved(self._recorder, self.visits)]

    @property
    def errors(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for every item and visit that failed, items first.

        Columns: ``path`` (string), ``position`` (Int64; the index of the item in its batch, missing for a visit),
        ``error_type``, ``error`` (string). `failures` has the exceptions themselves, in the same order.
        """
        from .tables import errors_table

        return errors_table(self.failures)

    def diff(self, before: "Run") -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with the rows of batches that differ from those of an earlier run.

        Rows belong together if they have the same path, params and item; equal items in their order. A row that only
        one of the runs has is in the table too. Columns, in this order:

        * ``path`` (string): of the node; ``position`` (Int64): of the row in its batch; ``item`` (object);
        * ``before``, ``after`` (object): the results, compared by their content; None without a result;
        * ``status_before``, ``status_after`` (string): missing if that run has no such row.

        Args:
            before: A run of the same flow: an earlier ``last_run``, or one of a journal, such as ``journal[-2]``.
        """
        from .compare import diff

        return diff(self.batches, before.batches)

    # ---- for the code that drives the run ----------------------------------------------------------------------------

    def _outlook(self) -> str:
        """Return what the journal knows of the calls that the run will make; "" if nothing."""
        return "" if self._journal is None else self._journal.outlook()

    @property
    def _has_journal(self) -> bool:
        """Whether a journal answers calls of this run, or the run was read from one."""
        return self._journal is not None or bool(self._read_from)

    def _end(self, status: str, seconds: float, action: Any = None, error: BaseException | None = None) -> None:
        """Close the record."""
        self.seconds, self.action, self.error, self.status = seconds, action, error, status
        self._recorder.where, self._recorder.open_usage = str, list

    def _replace_error(self, error: BaseException, kept: BaseException) -> None:
        """Keep another object in place of an error."""
        self.error = kept if self.error is error else self.error
        self._recorder.replace_error(error, kept, self._resume_from)

    def _restart(self) -> None:
        """Set the record to running again."""
        self.seconds, self.action, self.error, self.status, self._resume_from = None, None, None, "running", None


def _matches(path: str, plan: "Plan", which: str | BaseNode) -> bool:
    if path != plan.path:  # the elements that the exec of a batch flow returned
        return False
    return which in (plan.name, path.replace(path_part("/"), "/")) if isinstance(which, str) else plan.node is which


def _paths(paths: Iterable[str]) -> str:
    return quoted(list(paths), 1_000, elements=20)
