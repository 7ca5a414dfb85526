"""Where a run, a param set or a row starts again.

* At the checkpoint of a failure: `resume_run` and `resume_param_set`, unless it has to start from scratch.
* At rows of an earlier visit: `workload_to_retry` is for a retry of them, then `position_of_post`.
* At one row, in a stepper: `debug_item` and `debug_param_set`.
"""

from collections.abc import Iterator
from time import perf_counter as clock
from typing import Any

from .batch import Batch, positions_of
from .branch import Workload
from .checkpoint import Checkpoint, clone_again
from .events import Event
from .plan import Plan
from .position import EXEC, EXECED, PREP, Frame, Position
from .setup import Setup
from .visit_exec import take_results
from .walks import position_of_set

__all__ = [
    "debug_item",
    "debug_param_set",
    "errors_to_retry",
    "notify_resumed",
    "position_of_post",
    "resume_param_set",
    "resume_run",
    "workload_to_retry",
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


def notify_resumed(position: Position, setup: Setup) -> None:
    """Notify the subscribers that the visits and param sets in progress at a checkpoint start: their ends will follow.

    Called in the context of the position's hooks. `advance` itself reports a visit that starts with ``prep``.
    """
    around: tuple[int, ...] = ()
    for frame in position.frames:
        walk = frame.walk
        if walk is not None and walk.set_open:
            around = positions_of(walk.param_set)
            if walk.sets is not None:  # otherwise it is side by side with others, and its start was reported
                event = Event("param_set_started", walk.owner.path, walk.base_params, around[-1], value=walk.element)
                setup.notify(event._replace(param_sets=around[:-1]))
        if frame.visit is not None and frame.phase > PREP:
            setup.notify(Event("visit_started", frame.plan.path, frame.visit.params, param_sets=around))


def errors_to_retry(frames: list[Frame]) -> Iterator[BaseException]:
    """Iterate over the errors of the calls and param sets that are retried when these frames are resumed."""
    for frame in frames:
        if frame.work is not None:
            yield from frame.work.outcomes.errors()
            for checkpoint in frame.work.checkpoints.values():
                yield from errors_to_retry(checkpoint.frames)
    if frames and frames[-1].visit is None and frames[-1].sets is not None:  # all of its param sets failed
        yield from frames[-1].sets.outcomes.errors()


def workload_to_retry(node: Any, batch: Batch, setup: Setup) -> Workload:
    """Return how a node, as given, calls items of an earlier visit again: those in the retry queue of its batch."""
    before = vars(batch.plan.node)
    # A setting that is given for this retry wins over what prep had set.
    kept = {name: value for name, value in batch.hook_attributes.items() if vars(node).get(name) is before.get(name)}
    plan = Plan(node, batch.plan.name, batch.plan.path, setup, batch.plan.within)
    return Workload(batch, plan, clone_again(plan, batch.visit, batch.params, kept), plan.settings.limit)


def position_of_post(work: Workload, shared: Any) -> Position:
    """Return a position in which an earlier visit stands before its post, with the results that it has now."""
    frame = _frame_of(work)
    frame.prep_res = work.batch.items.returned
    take_results(frame, work.batch)
    frame.phase = EXECED
    return Position(shared, [frame], inline=False)


def debug_item(batch: Batch, item: Any, shared: Any, setup: Setup) -> Position:
    """Return a position in which the node of a batch stands before its exec, with this item and no others."""
    frame = _frame_of(workload_to_retry(batch.plan.node, batch, setup))
    frame.prep_res = [item]
    frame.phase = EXEC
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
        position = position_of_set(
            workload_to_retry(batch.plan.node, batch, setup), shared, index, batch.items.at(index)
        )
    position.inline = True
    return position


def _frame_of(work: Workload) -> Frame:
    """Return a frame at the bottom of a run, with an earlier visit."""
    frame = Frame(work.plan.node, work.batch.params)
    frame.plan, frame.visit = work.plan, work.target
    frame.t_start = frame.t_prepared = clock()
    return frame
