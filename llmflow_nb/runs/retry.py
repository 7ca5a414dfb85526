"""Retries rows of a batch, in the record of the run that they belong to."""

import copy
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from ..core.edited import rebind
from ..core.errors import RowError, RunStateError, SettingError, did_you_mean
from ..core.kept_errors import copy_without_callers
from ..core.node import label
from ..core.settings import check_setting, settable
from ..core.statuses import FAILURES
from ..core.text import many, quoted
from ..core.traversal import path_part, within
from ..core.usage import Usage
from ..engine.batch import Batch, Outcome
from ..engine.calls import ResultCache
from ..engine.drivers.sync import drive, drive_retry
from ..engine.hiding import Unrecorded
from ..engine.resume import position_of_post, workload_to_retry
from ..engine.setup import Setup
from .batch import BatchResult
from .checks import check_executor
from .resuming import require_ended
from .rows import item_of
from .run import Run, Watch

if TYPE_CHECKING:
    from .run_journal import RunJournal

__all__ = ["retry", "retry_failed", "retry_failed_of_run"]


def retry_failed_of_run(run: Run, **options: Any) -> Run:
    """Retry the failed rows of all batches of a run, and return it. See `Run.retry_failed`."""
    __tracebackhide__ = True
    require_ended(run)
    for result, failed in [(result, list(result._failed_rows())) for result in run.batches]:
        rows = _still_failed(result, failed)  # retrying an outer row has retried the rows inside
        if rows:
            _retry_rows(result, rows, {}, post=False, **options)
    return run


def retry_failed(result: BatchResult, overrides: dict[str, Any], **options: Any) -> BatchResult:
    """Retry the failed rows of a batch, and return it. See `BatchResult.retry`."""
    __tracebackhide__ = True
    return _retry_rows(result, [row for row, _ in result._failed_rows()], overrides, **options)


def retry(result: BatchResult, chosen: Any, overrides: dict[str, Any], **options: Any) -> BatchResult:
    """Retry the chosen rows of a batch, and return it. See `BatchResult.retry`."""
    __tracebackhide__ = True
    if chosen is None:
        rows, start = [], 0
        for _, batch in result._batches:
            rows += [start + position for position in batch.without_result()]
            start += batch.rows
    else:
        from .selection import rows_of

        rows = rows_of(result.df, result.path, chosen)
    return _retry_rows(result, rows, overrides, **options)


def _still_failed(result: BatchResult, failed: list[tuple[int, BaseException]]) -> list[int]:
    """Return the rows whose latest error is still the given one."""
    now = dict(result._failed_rows())
    rows = [row for row, error in failed if now.get(row) is error]
    recorded = {id(batch) for batch in result.run._recorder.batches}  # a visit that was repeated has another batch
    return [row for row, (batch, _) in zip(rows, result._at(rows), strict=True) if id(batch) in recorded]


def _retry_rows(result: BatchResult, rows: list[int], overrides: dict[str, Any], **options: Any) -> BatchResult:
    """Retry rows, and note in the batch which of them were called."""
    __tracebackhide__ = True
    require_ended(result.run)
    at = result._at(rows)
    before = [item_of(*where).attempts for where in at]
    chosen = [(batch, [position for _, position in group]) for batch, group in groupby(at, key=itemgetter(0))]
    if not chosen:  # there may still be a post to run
        chosen = [(batch, []) for _, batch in result._batches]
    try:
        _retry_with(result.run, result.path, chosen, overrides, **options)
    finally:
        after = [item_of(*where).attempts for where in at]
        result.called_again = [row for row, n, m in zip(rows, before, after, strict=True) if m > n]
    return result


def _retry_with(
    run: Run,
    path: str,
    chosen: list[tuple[Batch, list[int]]],
    overrides: dict[str, Any],
    *,
    post: bool,
    from_start: bool | None,
    executor: Executor | None,
    watch: Watch | None,
) -> None:
    """Retry rows of the visits of one node, with other settings, under the journal and the display of the run."""
    __tracebackhide__ = True
    plan = chosen[0][0].plan
    node = plan.node
    if post and path != plan.path:
        raise SettingError(
            f"post=True is not possible for {path}: no post belongs to these rows. Leave out post=True, or retry "
            f"{plan.path}."
        )
    _check_items(path, chosen)
    rebind(within(node))
    twin = _with(node, overrides)
    check_executor(node, executor)
    grace = check_setting(twin, "grace", twin.grace)
    if not run._retrying.acquire(blocking=False):
        raise RunStateError(f"rows of {run.name} are already being retried; wait until the retry has ended.")
    with ExitStack() as at_end:
        at_end.callback(run._retrying.release)
        cache = None if run._journal is None else _answers(run, run._journal, chosen, at_end)
        setup = Setup(
            run._recorder, grace=grace, from_start=from_start, executor=executor, result_cache=cache, budget=run._budget
        )
        if watch is not None:
            at_end.callback(watch(run))
        _retry(run, path, twin, chosen, setup, post=post)


def _answers(run: Run, journal: "RunJournal", chosen: list[tuple[Batch, list[int]]], at_end: ExitStack) -> ResultCache:
    """Open the journal of the run, and keep the new results there. A row that has a result is called again."""
    has_results = any(batch.outcomes.has_result(row) for batch, rows in chosen for row in rows)
    of_node = chosen[0][0].plan.facts.kind == "batch_node"
    session = journal.open(retries_rows=of_node and not has_results)
    at_end.callback(lambda: journal.end(session, run.status, run.action, run.error))
    if has_results:
        session.answers.fresh = path_part(run.name)
    return session.answers


def _retry(run: Run, path: str, node: Any, chosen: list[tuple[Batch, list[int]]], setup: Setup, *, post: bool) -> None:
    """Retry the rows, run ``post``, and note what was done, also if it was interrupted."""
    __tracebackhide__ = True
    before = [
        (batch, row, batch.outcomes.exceptional.get(row), batch.outcomes.has_result(row))
        for batch, rows in chosen
        for row in rows
    ]
    complete = None
    try:
        visits = []
        for batch, rows in chosen:
            batch.retry(rows)
            visits.append(workload_to_retry(node, batch, setup))
        drive_retry(visits, run.shared, setup)
        if setup.refusal is not None:
            raise setup.refusal
        if post:
            complete = [batch for batch, _ in chosen if _is_ready_for_post(batch)]
            for batch in complete:
                again = Setup(_Post(run, batch), grace=setup.grace, budget=run._budget)
                drive(position_of_post(workload_to_retry(node, batch, again), run.shared), again)
    except BaseException as exc:
        run._replace_error(exc, copy_without_callers(exc))
        raise
    finally:
        taken = {id(batch): batch.retry_queue.taken() for batch, _ in chosen if batch.retry_queue is not None}
        called = [row for row in before if row[1] in taken.get(id(row[0]), ())]
        resolved = [row for row in called if _has_new_result(*row)]
        for _, _, outcome, _ in resolved:
            if outcome is not None and outcome.status in FAILURES and outcome.error is not None:
                run._recorder.resolved[id(outcome.error)] = outcome.error
        for batch, _ in chosen:
            batch.retry_queue = None
        posts = None if complete is None else len(complete)
        note = _note(label(node), len(called), len(resolved), posts, len(chosen), setup.restarted)
        run._recorder.notes.append((path, note))


class _Post(Unrecorded):
    """Records only what ``post`` of an earlier visit has used: the visit has a row already."""

    def __init__(self, run: Run, batch: Batch) -> None:
        super().__init__()
        self._run, self._batch = run, batch

    def add_usage(self, usages: Sequence[Usage], parent_set: Any, *, of_visit: bool = True) -> None:
        """Add it to the run, and to the param set around the visit."""
        self._run._recorder.add_usage(usages, self._batch.parent_set, of_visit=False)


def _is_ready_for_post(batch: Batch) -> bool:
    """Return whether ``post`` may see the results: without all of them only if the node keeps failures."""
    return not (batch.all_failed if batch.plan.settings.on_error == "keep" else batch.without_result())


def _has_new_result(batch: Batch, row: int, before: Outcome | None, had_result: bool) -> bool:
    outcomes = batch.outcomes
    return outcomes.has_result(row) and not (had_result and outcomes.exceptional.get(row) is before)


def _with(node: Any, overrides: dict[str, Any]) -> Any:
    """Return a copy of a node with other settings.

    Raises:
        SettingError: The node has no such setting or attribute, or the value makes no sense.
    """
    twin = copy.copy(node)
    known = [name for name in settable(node) if name not in ("on_error", *type(node)._dialect.names())]
    for name, value in overrides.items():
        if name not in known:
            hint = did_you_mean(name, known)
            raise SettingError(f"{label(node)} has no setting {quoted(name)} that a retry can change{hint}")
        if name in type(node)._dialect.settings:
            value = check_setting(node, name, value)
        twin.__dict__[name] = value
    return twin


def _check_items(path: str, chosen: list[tuple[Batch, list[int]]]) -> None:
    """Refuse rows whose items were not kept, before anything is called.

    Raises:
        RowError: Says which row, and why.
    """
    for batch, rows in chosen:
        for row in rows:
            try:
                if row < batch.items.read:
                    batch.items.at(row)
            except LookupError:
                raise RowError(
                    f"{path}: the item of row {quoted(batch.items.label(row))} was not kept, so it cannot be retried; "
                    "keep_items=True keeps all items, and keep_items=False those of rows that failed."
                ) from None


def _note(name: str, retried: int, succeeded: int, posts: int | None, visits: int, restarted: int) -> str:
    """Say what was done, in a line. ``posts``: how many visits ran ``post``; None: it was not requested."""
    parts = [f"{many(retried, 'row')} retried"]
    if retried:
        parts[0] += f", {succeeded} succeeded"
    if restarted:
        parts.append(
            f"{restarted} of them started at the first node, because shared has changed; from_start=False resumes them "
            "where they failed"
        )
    if posts is None:
        parts.append(f"post and the nodes after {name} were not run again")
    elif posts:
        of = "" if visits == 1 else f" for {posts} of {visits} visits"
        parts.append(f"post ran again{of} with all results, but the nodes after {name} did not")
    else:
        parts.append("post was not run again, because rows have no result")
    return "; ".join(parts)
