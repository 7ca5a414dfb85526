"""Whether and where a run resumes, and how its record is opened again."""

from time import perf_counter

from ..core.errors import RunStateError
from ..engine.checkpoint import Checkpoint
from ..engine.position import Position
from ..engine.resume import errors_to_retry, resume_run
from ..engine.setup import Setup
from .batch import BatchResult
from .run import Run

__all__ = ["checkpoint_of", "reopen", "require_code", "require_ended", "resumed_position"]

_HOW_RESUMED = {
    "ok": "with the results that retried rows have now",
    "failed": "after the failure",
    "interrupted": "after the interrupt",
    "stopped": "after the stop",
}


def require_code(record: Run) -> None:
    """Raise a `RunStateError` if the run was read from a journal."""
    if record._read_from:
        raise RunStateError(
            f"this run of {record.name} was read from {record._read_from}, which has no code and no shared; run the "
            "flow again with journal=: calls that have a result are not made again."
        )


def require_ended(record: Run) -> None:
    """Raise a `RunStateError` if the run has not ended, or was read from a journal."""
    require_code(record)
    if record.status == "running":
        raise RunStateError(f"the run of {record.name} is still running; wait for it or stop it, then retry.")


def checkpoint_of(record: Run, result: BatchResult) -> Checkpoint:
    """Return where the latest visit of a batch is resumed.

    Raises:
        RunStateError: It cannot be. Says why, and what to do.
    """
    batch, failure = result._batches[-1][1], record._resume_from
    if batch.kept_at is not None:
        batch.kept_at.failed_at = batch.path
        return batch.kept_at
    if failure is not None and batch in failure.batches():
        return failure
    if batch.parent_set is not None:
        outer = batch.parent_set[0].path
        raise RunStateError(
            f"{result.path} is inside the batch flow {outer}, so it cannot be resumed alone; retry param sets of "
            f"{outer}."
        )
    raise RunStateError(f"{result.path}: no row has failed since its post ran, so there is nothing to resume.")


def resumed_position(record: Run, setup: Setup) -> Position:
    """Return the position at which a run resumes.

    Raises:
        RunStateError: The run has finished, or it has no checkpoint, or the checkpoint cannot be restored.
    """
    __tracebackhide__ = True
    if record._retrying.locked():
        raise RunStateError(f"rows of {record.name} are being retried; wait until the retry has ended.")
    position = resume_run(record._resume_from, setup) if record._resume_from is not None else None
    if position is None:
        raise RunStateError(
            f"the run of {record.name} cannot be resumed; run it again. Completed results are in its tables."
        )
    return position


def reopen(record: Run) -> None:
    """Set the record to running again, with a note that says after what."""
    checkpoint, recorder = record._resume_from, record._recorder
    errors = record.error, *errors_to_retry([] if checkpoint is None else checkpoint.frames)
    recorder.resolved.update({id(error): error for error in errors if error is not None})
    for batch in [] if checkpoint is None else checkpoint.batches():
        batch.kept_at = None
    path = (checkpoint and checkpoint.failed_at) or record.name
    recorder.notes.append((path, f"resumed {_HOW_RESUMED[record.status]}"))
    record._clock_at_start = perf_counter() - (record.seconds or 0.0)
    record._restart()
