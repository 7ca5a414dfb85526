"""The param sets of a flow that are walked side by side: each is a branch of its own."""

from collections import deque
from collections.abc import Callable
from time import perf_counter as clock
from typing import Any

from .batch import PENDING, Batch, positions_of
from .branch import Branch, Workload
from .events import Event
from .flights import context_of
from .hook_meter import use_hook_meter
from .position import Position
from .resume import notify_resumed, resume_param_set
from .setup import Setup
from .unwind import cancel, keep_checkpoint
from .walks import position_of_set

__all__ = ["ParamSets"]


class ParamSets:
    """Starts and ends branches."""

    def __init__(
        self, root: Branch, setup: Setup, settled: Callable[[Branch, BaseException | None, str | None], object]
    ) -> None:
        """``settled``: called with the branch around a param set that has ended, its error, and where it failed."""
        self.branches: dict[Branch, None] = {root: None}  # those in progress, the outermost one too
        self.ready: deque[Branch] = deque()  # those to be advanced
        self._earlier: dict[tuple[int, int], list[Batch]] | None = None  # before any was started again; see `Recorder`
        self._setup = setup
        self._settled = settled

    def start(self, parent: Branch, work: Workload, index: int, element: Any, position: Position | None = None) -> None:
        """Start to walk a param set; from ``position``, if it is resumed."""
        batch = work.batch
        self._setup.recorder.drop_old()
        if self._setup.subscribers:
            around = positions_of(batch.parent_set)
            path, params = batch.plan.path, batch.params
            self._setup.notify(Event("param_set_started", path, params, index, value=element, param_sets=around))
        try:
            position = position or position_of_set(work, parent.position.shared, index, element)
        except Exception as exc:
            batch.settle(index, "failed", None, 1, 0.0, exc, batch.plan.path)
            self._tell_finished(batch, index, "failed", error=exc)
            self._settled(parent, exc, batch.plan.path)
            return
        position.inline = parent.position.inline and work.limit == 1
        position.context = position.context or context_of(parent.position)
        use_hook_meter(position, self._setup)
        if self._setup.subscribers:
            position.context.run(notify_resumed, position, self._setup)
        branch = Branch(position, parent)
        self.branches[branch] = None
        self.ready.append(branch)

    def start_again(self, parent: Branch, work: Workload, index: int) -> None:
        """Walk a param set again: from where it failed, or from its start."""
        batch, position = work.batch, None
        checkpoint = batch.checkpoints.pop(index, None)
        if checkpoint is not None:
            position = resume_param_set(checkpoint, self._setup, parent.position.shared)
            if position is not None:
                position.frames[0].walk.part_of = batch, index
        if position is None:  # it starts from the beginning, so its earlier batches are of no more use
            if self._earlier is None:
                self._earlier = self._setup.recorder.batches_by_param_set()
            self._setup.recorder.discard_batches(self._earlier.pop((id(batch), index), []))
        self.start(parent, work, index, batch.items.at(index), position)

    def end(self, branch: Branch, status: str, value: Any, error: BaseException | None) -> None:
        """Enter the outcome of a param set in its row."""
        position, parent = branch.position, branch.parent
        batch, index = _param_set(position)
        assert parent is not None
        if status == "cancelled":
            value = _result_so_far(position)
            cancel(position, self._setup)
        if status != "ok":
            keep_checkpoint(batch, index, position)
        failed_at = position.failed_at if error is not None else None
        assert batch.outcomes.actions is not None
        batch.outcomes.actions[index] = position.action
        batch.settle(index, status, value, 1, clock() - branch.started, error, failed_at)
        self.branches.pop(branch, None)  # only now: `stop` enters the rows of those that are still there
        position.close_lane()
        self._tell_finished(batch, index, status, value, error)
        self._settled(parent, error, failed_at)

    def stop(self) -> None:
        """Close all branches, the innermost first."""
        for branch in list(reversed(self.branches)):
            position = branch.position
            if branch.parent is not None:
                self.end(branch, "ok" if position.has_ended else "cancelled", position.result, None)
            else:
                cancel(position, self._setup)
                position.close_lane()
        self.branches.clear()

    def _tell_finished(
        self, batch: Batch, index: int, status: str, value: Any = None, error: BaseException | None = None
    ) -> None:
        if self._setup.subscribers:
            around = positions_of(batch.parent_set)
            path, params = batch.plan.path, batch.params
            self._setup.notify(Event("param_set_finished", path, params, index, 0, status, value, error, (), around))


def _param_set(position: Position) -> tuple[Batch, int]:
    """Return the param set that a branch walks: its batch, and its index there."""
    param_set = position.frames[0].walk.part_of
    assert param_set is not None
    return param_set


def _result_so_far(position: Position) -> Any:
    """Return the last exec result of a walk that is cancelled. A single call has no row but that of its param set."""
    frame = position.frames[-1]
    if frame.work is None:
        return None if frame.visit is None else frame.exec_res
    result = frame.work.outcomes.results[0] if frame.work.is_single and frame.work.outcomes.results else PENDING
    return None if result is PENDING else result
