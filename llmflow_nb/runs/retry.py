"""Retries rows of a batch, in the record of the run that they belong to."""

import copy
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..core.edited import rebind
from ..core.errors import RowError, RunStateError, SettingError, did_you_mean
from ..core.kept_errors import copy_without_callers
from ..core.node import label
from ..core.settings import check_setting
from ..core.statuses import FAILURES
from ..core.text import quoted
from ..core.traversal import path_part, within
from ..engine.batch import Batch, Outcome
from ..engine.calls import ResultCache
from ..engine.drivers.sync import drive, drive_retry
from ..engine.hiding import Unrecorded
from ..engine.resume import position_of_post, workload_to_retry
from ..engine.setup import Setup
from .checks import check_executor
from .run import Run, Watch

if TYPE_CHECKING:
    from .run_journal import RunJournal

__all__ = ["retry"]

# Attributes that say what a node is, and so are no settings of a retry.
_NOT_SETTINGS = {"params", "successors", "name", "start_node", "items", "last_run", "cur_retry", "on_error"}


def retry(
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
    """Retry some rows of one node, and update them in place. See `BatchResult.retry`."""
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
            unrecorded = Setup(Unrecorded(), grace=setup.grace)
            for batch in complete:
                drive(position_of_post(workload_to_retry(node, batch, unrecorded), run.shared), unrecorded)
    except BaseException as exc:
        run._replace_error(exc, copy_without_callers(exc))
        raise
    finally:
        called = [row for row in before if row[1] in row[0].previous and row[1] not in row[0].retry_queue]
        resolved = [row for row in called if _has_new_result(*row)]
        for _, _, outcome, _ in resolved:
            if outcome is not None and outcome.status in FAILURES and outcome.error is not None:
                run._recorder.resolved[id(outcome.error)] = outcome.error
        for batch, _ in chosen:
            batch.clear_retry()
        posts = None if complete is None else len(complete)
        note = _note(label(node), len(called), len(resolved), posts, len(chosen), setup.restarted)
        run._recorder.notes.append((path, note))


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
    hooks = type(node)._dialect.names()
    for name, value in overrides.items():
        known = hasattr(node, name) and not (name.startswith("_") or name in _NOT_SETTINGS or name in hooks)
        if not known or callable(getattr(type(node), name, None)):
            settings = [n for n in dir(node) if not n.startswith("_") and not callable(getattr(type(node), n, None))]
            hint = did_you_mean(name, [n for n in settings if n not in _NOT_SETTINGS])
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
    parts = [f"{retried} row{'s' * (retried != 1)} retried"]
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
