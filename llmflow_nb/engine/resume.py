"""Where a run, a param set or a row starts again: three policies over a `Checkpoint`.

* Where it failed: `resume_run` and `resume_param_set`.
* From the start: what `resume_param_set` falls back to, see there.
* At one row: `retry_position` calls some rows of a batch again, `debug_item` and `debug_param_set` open one of them.
"""

from collections.abc import Iterator
from time import perf_counter as clock
from typing import Any

from .batch import Batch
from .checkpoint import Checkpoint, clone_again
from .plan import Plan, Setup
from .position import EXEC, WORKING, Frame, Position
from .walks import branch

__all__ = [
    "debug_item",
    "debug_param_set",
    "errors_to_retry",
    "resume_param_set",
    "resume_run",
    "retry_position",
]


def resume_run(checkpoint: Checkpoint, setup: Setup) -> Position | None:
    """Return the position at which a run failed or was stopped; None if it cannot be resumed."""
    position = checkpoint.restore(setup, checkpoint.shared)
    if position is not None:
        bottom = position.frames[0]
        position.inline = True
        position.outermost = bottom.visit, dict(vars(bottom.node))
    return position


def resume_param_set(checkpoint: Checkpoint, setup: Setup, shared: Any, *, copies: bool = False) -> Position | None:
    """Return the position at which a param set failed or was stopped; None if it is to be walked from its start.

    By default a param set is resumed only if ``shared`` holds the same values under the same keys as at the failure:
    otherwise another param set may have replaced what an earlier node of this one had left there.

    Args:
        checkpoint: Taken at the failure.
        setup: The run that the position will be a part of. Its ``from_start`` overrides the default.
        shared: What the hooks will read and write.
        copies: Whether to leave the record as it is, see `Checkpoint.restore`.
    """
    if setup.from_start is None and not _has_same_values(checkpoint.shared_values, shared):
        setup.restarted += 1
        return None
    if setup.from_start:
        return None
    position = checkpoint.restore(setup, shared, copies=copies)
    if position is not None:
        position.inline = False
    return position


def _has_same_values(before: dict[Any, Any] | None, shared: Any) -> bool:
    if before is None or not isinstance(shared, dict) or before.keys() != shared.keys():
        return False
    return all(shared[key] is value for key, value in before.items())


def errors_to_retry(frames: list[Frame]) -> Iterator[BaseException]:
    """Iterate over the errors of the calls and param sets that are retried when these frames are resumed."""
    for frame in frames:
        if frame.work is not None:
            yield from frame.work.outcomes.errors()
            for checkpoint in frame.work.checkpoints.values():
                yield from errors_to_retry(checkpoint.frames)
    if frames and frames[-1].visit is None and frames[-1].sets is not None:  # all of its param sets failed
        yield from frames[-1].sets.outcomes.errors()


def retry_position(node: Any, batch: Batch, rows: list[int], shared: Any, setup: Setup) -> Position:
    """Return a position in which a node calls some items of a batch again.

    Args:
        node: The node as it is to be used.
        batch: The items.
        rows: Which of them to call.
        shared: As for any position.
        setup: As for any position.
    """
    before = vars(batch.plan.node)
    # A setting that is given for this retry wins over what prep had set.
    kept = {name: value for name, value in batch.hook_attributes.items() if vars(node).get(name) is before.get(name)}
    frame = _visit_of(batch, node, setup, kept)
    frame.work = batch
    frame.prep_res = batch.items.returned
    frame.phase = WORKING
    frame.t_start = frame.t_prepared = clock()
    batch.retry(rows)
    return Position(shared, [frame], inline=False)


def debug_item(batch: Batch, item: Any, shared: Any, setup: Setup) -> Position:
    """Return a position in which the node of a batch stands before its exec, with this item and no others."""
    frame = _visit_of(batch, batch.plan.node, setup, batch.hook_attributes)
    frame.prep_res = [item]
    frame.phase = EXEC
    frame.steps = 1
    return Position(shared, [frame])


def debug_param_set(batch: Batch, index: int, checkpoint: Checkpoint | None, shared: Any, setup: Setup) -> Position:
    """Return a position in which one param set of a batch flow is walked. The record of the run stays as it is.

    Args:
        batch: The param sets.
        index: Which of them.
        checkpoint: Where it failed; None: walk it from its start.
        shared: As for any position.
        setup: As for any position.
    """
    position = None if checkpoint is None else resume_param_set(checkpoint, setup, shared, copies=True)
    if position is None:
        frame = _visit_of(batch, batch.plan.node, setup, batch.hook_attributes)
        frame.work = batch
        position = branch(Position(shared, [frame]), index, batch.items.at(index))
    position.inline = True
    return position


def _visit_of(batch: Batch, node: Any, setup: Setup, hook_attributes: dict[str, Any]) -> Frame:
    """Return a frame at the bottom of a run, with the visit of a node that a batch belongs to."""
    old = batch.plan
    frame = Frame(None, None, batch.params, node)
    frame.plan = Plan(node, old.name, old.path, setup, old.within)
    frame.visit = clone_again(frame.plan, batch.visit, batch.params, hook_attributes)
    return frame
