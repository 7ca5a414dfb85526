"""Calls rows of a batch again, in the record of the run that they are from."""

import copy
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any

from ..core.edited import rebind
from ..core.errors import AllFailedError, RowError, RunStateError, SettingError, did_you_mean
from ..core.flow import BatchFlow
from ..core.kept_errors import copy_without_callers
from ..core.node import check_setting, label
from ..core.statuses import FAILURES, HAS_RESULT
from ..core.text import quoted
from ..core.traversal import within
from ..engine.advance import AFTER_EXEC
from ..engine.batch import Batch
from ..engine.drivers.sync import drive
from ..engine.hiding import Hiding
from ..engine.items import Items
from ..engine.plan import Setup
from ..engine.position import WORKING, Position
from ..engine.resume import retry_position
from .run import Run, Watch
from .start import check_executor

__all__ = ["retry"]

# Attributes of a node that say what it is, and are no settings to try another value of.
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
    """Call some rows of one node again, and fill them in place. See `BatchResult.retry`."""
    __tracebackhide__ = True
    node = chosen[0][0].plan.node
    _check_items(path, chosen)
    rebind(within(node))
    twin = _with(node, overrides)
    again = Hiding(run._recorder)
    check_executor(node, executor)
    grace = check_setting(node, "grace", node.grace)
    setup = Setup(again, grace=grace, from_start=from_start, executor=executor)
    if not run._retrying.acquire(blocking=False):
        raise RunStateError(f"rows of {run.name} are already being retried; wait until that has ended.")
    before = [(batch, batch.plan, batch.items.exhausted) for batch, _ in chosen]
    were = {(n, row): batch.outcomes.exceptional.get(row) for n, (batch, rows) in enumerate(chosen) for row in rows}
    had_none = {(n, row) for n, (batch, _) in enumerate(chosen) for row in batch.without_result()}
    ready: list[tuple[Batch, list[int]]] = []
    unwatch = watch(run) if watch is not None else None
    try:
        _visit_again(run, twin, [(batch, rows) for batch, rows in chosen if rows], setup, again, post=False)
        if post:
            # Where failures are raised, post has never seen a row without a result, and does not now.
            keeps = before[0][1].on_error == "keep"
            ready = [(batch, []) for batch, _ in chosen if not (batch.all_failed if keeps else batch.without_result())]
            _visit_again(run, twin, ready, setup, again, post=True)
    except BaseException as exc:
        run._replace_error(exc, copy_without_callers(exc))
        raise
    finally:
        run._retrying.release()
        called = {key for key in were if key[1] not in chosen[key[0]][0].retry_queue}
        for batch, plan, exhausted in before:
            batch.plan, batch.items.exhausted = plan, exhausted
            batch.retry_queue.clear()
            batch.previous.clear()
        through = 0
        for (n, row), was in were.items():
            now = chosen[n][0].outcomes.exceptional.get(row)
            has_result = row < len(chosen[n][0].outcomes.results) and (now is None or now.status in HAS_RESULT)
            if has_result and (n, row) in called and (now is not was or (n, row) in had_none):
                through += 1
                if was is not None and was.status in FAILURES and was.error is not None:
                    run._recorder.resolved[id(was.error)] = was.error
        posts = len(ready) if post else None
        run.notes.append((path, _note(label(node), len(called), through, posts, len(chosen), setup.restarted)))
        if unwatch is not None:
            unwatch()


def _visit_again(
    run: Run, node: Any, chosen: list[tuple[Batch, list[int]]], setup: Setup, again: Hiding, *, post: bool
) -> None:
    """Take some visits of a node up again, each at work on its rows, as the param sets of a walk around them.

    ``max_concurrency`` bounds the calls of all of them together: it is shared out between visits and rows.
    """
    __tracebackhide__ = True
    if not chosen:
        return
    root = _Visits(name=label(node), on_error="keep")
    limit = node.max_concurrency
    root.max_concurrency = None if limit is None else min(limit, len(chosen))
    node = copy.copy(node)
    node.__dict__["max_concurrency"] = None if limit is None else max(1, limit // len(chosen))
    position = Position.at_start(root, run.shared, setup)
    frame = position.frames[0]
    hidden = again.hidden
    hidden.add(frame.plan)
    visits = Batch(frame.plan, {}, Items(chosen, frame.plan.path))
    visits.outcomes.actions = []
    visits.items.total = len(chosen)
    for batch, rows in chosen:
        there = retry_position(node, batch, rows, run.shared, setup)
        plan = there.frames[0].plan
        plan.has_post = plan.has_post and post
        plan.on_error = "keep"  # whatever the node says: a failure is a row again
        hidden.add(plan)
        batch.plan, batch.items.exhausted = plan, True  # nothing more is read of the input
        visits.retries[visits.take((batch, rows))] = there
    visits.retry_queue.extend(range(len(chosen)))
    visits.items.exhausted = True
    frame.work = visits
    frame.phase = WORKING
    with suppress(AllFailedError):  # not one came through; the rows say so
        drive(position, setup, AFTER_EXEC)
    for outcome in visits.outcomes.exceptional.values():
        if outcome.error is not None and not isinstance(outcome.error, AllFailedError):
            raise outcome.error


class _Visits(BatchFlow):
    """Stands for the walk around the visits whose rows are called again."""


def _with(node: Any, overrides: dict[str, Any]) -> Any:
    """A copy of a node with other settings.

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
            raise SettingError(f"{label(node)} has no setting {quoted(name)} to be used for a retry{hint}")
        if name in type(node)._dialect.settings:
            value = check_setting(node, name, value)
        twin.__dict__[name] = value
    return twin


def _check_items(path: str, chosen: list[tuple[Batch, list[int]]]) -> None:
    """Refuse rows whose items are not there any more, before anything is called.

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
                    f"{path}: the item of row {quoted(batch.items.label(row))} was not kept, so it cannot be called "
                    "again; keep_items=True keeps them, and keep_items=False those of rows that failed."
                ) from None


def _note(name: str, called: int, through: int, posts: int | None, visits: int, anew: int) -> str:
    """What was done, in a line. ``posts``: how many visits had their ``post`` run; None where nobody asked for it."""
    told = [f"{called} row{'s' * (called != 1)} called again"]
    if called:
        told[0] += f", {through} came through"
    if anew:
        told.append(
            f"{anew} of them walked from the start, since shared is not as it was; from_start=False goes on where they "
            "failed"
        )
    if posts is None:
        told.append(f"post was not run again, nor were the nodes after {name}")
    elif posts:
        times = "" if visits == 1 else f" for {posts} of {visits} visits"
        told.append(f"post ran again{times} with all results, the nodes after {name} did not")
    else:
        told.append("post was not run again, since there are rows without a result")
    return "; ".join(told)
