"""Start a run: put a position, a record and a driver together.

From here down, the functions that lead to a user's hook set ``__tracebackhide__``, so IPython and pytest leave them out
of a traceback: it shows the cell that ran the flow and the hook that failed.
"""

from collections.abc import Callable
from contextlib import suppress
from contextvars import Token
from typing import TYPE_CHECKING, Any

from ..core.errors import RunStateError, StoppedError, warn
from ..core.kept_errors import copy_without_callers
from ..core.node import ATTEMPT, BaseNode
from ..core.prices import dollars
from ..core.settings import check_setting
from ..core.spend import METER
from ..core.traversal import Survey, path_part
from ..engine.budget import Budget
from ..engine.drivers.async_ import drive_async
from ..engine.drivers.sync import drive
from ..engine.events import Event
from ..engine.flights import run_within
from ..engine.position import Position
from ..engine.resume import notify_resumed
from ..engine.setup import Setup
from ..engine.stop import Stopped
from ..engine.unwind import FINISHED
from .batch import BatchResult
from .checks import check_budget, check_executor, check_fresh, survey_again
from .options import RunOptions
from .resuming import checkpoint_of, reopen, require_code, require_ended, resumed_position
from .run import Run

if TYPE_CHECKING:
    from ..journal.session import JournalSession

__all__ = ["Recorded", "resume", "run", "run_async"]


def run(node: BaseNode, shared: Any, options: RunOptions) -> Any:
    """Run a node in the caller's thread."""
    __tracebackhide__ = True
    with Recorded(node, shared, options) as run:
        run.notify_started()
        drive(run.position, run.setup)
    return run.position.action


async def run_async(node: BaseNode, shared: Any, options: RunOptions) -> Any:
    """Run a node on the running event loop."""
    __tracebackhide__ = True
    with Recorded(node, shared, options) as run:
        run.notify_started()
        await drive_async(run.position, run.setup)
    return run.position.action


def resume(record: Run, options: RunOptions, *, batch: BatchResult | None = None) -> Any:
    """Resume a run where it failed or was stopped, or at a batch, in the caller's thread.

    See `Run.resume` and `BatchResult.resume`.
    """
    __tracebackhide__ = True
    before = record._resume_from
    require_code(record)
    if batch is not None:
        require_ended(record)
        record._resume_from = checkpoint_of(record, batch)
    elif record.status == "ok":
        raise RunStateError(
            f"the run of {record.name} finished; there is nothing to resume. After a retry of rows, call .resume() on "
            "their batch: it runs post and the nodes that follow again."
        )
    try:
        recorded = Recorded(record.node, record.shared, options, resumed=record)
    except BaseException:
        record._resume_from = before
        raise
    with recorded as run:
        run.notify_started()
        if run.setup.subscribers:
            run_within(run.position, notify_resumed, run.position, run.setup)
        drive(run.position, run.setup)
    return run.position.action


class Recorded:
    """Keep the record of a run as ``node.last_run``, also after an error. Raises first if the node cannot run.

    Not a ``contextmanager``, which sets attributes of the exception that passes: not every exception allows that.
    """

    # Defaults of the class, as in `Run`.
    _is_published = _is_resumed = False
    session: "JournalSession | None" = None
    token: Token[int] | None = None
    unwatch: Callable[[], None] | None = None

    def __init__(self, node: BaseNode, shared: Any, options: RunOptions, *, resumed: Run | None = None) -> None:
        """Check the node, and make the record and the position.

        Args:
            node: The node or flow to run.
            shared: What the hooks read and write.
            options: The options.
            resumed: The record of a run to resume. It has the journal and the budget of that run.
        """
        __tracebackhide__ = True
        if resumed is not None:
            require_ended(resumed)
        before = node.__dict__.get("last_run")
        known = before._survey if type(before) is Run else None
        wiring = survey_again(node, known)
        if options.executor is not None:
            check_executor(node, options.executor)
        if node.successors:
            warn("Node won't run successors. Use Flow.")
        record = self.record = Run(node, shared) if resumed is None else resumed
        record._survey = wiring
        if options.name:
            record.name = options.name
        self._apply(options, wiring)
        self.watch = options.watch
        self.setup = Setup(
            record._recorder,
            subscribers=options.subscribers,
            executor=options.executor,
            result_cache=options.cache if self.session is None else self.session.answers,
            grace=node.grace if node.grace is BaseNode.grace else check_setting(node, "grace", node.grace),
            budget=record._budget,
            stop=options.stop,
            from_start=None if resumed is None else False,
            names=wiring.names,
        )
        try:
            if resumed is not None:
                self._is_resumed = True
                self.position = resumed_position(resumed, self.setup)
            else:
                # No other run gets this plan. The names in it are still true if the wiring is the same.
                plan = before.__dict__.pop("_plan", None) if known is wiring else None
                self.position = Position.at_start(node, shared, self.setup, inline=options.stop is None, plan=plan)
                for edge in wiring.overwritten:
                    record._recorder.add_problem(edge)
        except BaseException:
            if self.session is not None:
                self.session.end("failed")
            raise
        record._recorder.where = self.position.where
        record._recorder.open_usage = self.position.unrecorded_usage

    def _apply(self, options: RunOptions, wiring: Survey) -> None:
        """Give the record its journal, which is opened, and its budget. A resumed run has had them."""
        record, journal = self.record, None if options.journal is False else options.journal
        if options.fresh is not None:
            check_fresh(options.fresh, record.name, wiring, journal)
        if options.budget is not None:
            check_budget(options.budget)
            record._budget = options.budget
        if journal is not None:
            from .run_journal import RunJournal

            record._journal = RunJournal(journal, record.node, record.name, record._recorder)
        if record._journal is not None:
            self.session = record._journal.open()
            self.session.answers.fresh = options.fresh

    @property
    def name(self) -> str:
        """The name of the node, as in a path."""
        return path_part(self.record.name)

    def publish(self) -> None:
        """Make the record the node's ``last_run``, once. Its status is "running" until `__exit__`."""
        if not self._is_published:
            self._is_published = True
            if self._is_resumed:
                reopen(self.record)
            self.record.node.__dict__["last_run"] = self.record  # not by setattr, which the class may have closed
            if self.position.outermost is not None:  # hooks may read it too
                self.position.frames[0].visit.__dict__["last_run"] = self.record

    def show_progress(self) -> None:
        """Show the progress of the run from now on, once."""
        if self.watch is not None and self.unwatch is None:
            self.unwatch = self.watch(self.record)

    def __enter__(self) -> "Recorded":
        if self.watch is not None:
            self.show_progress()
        if ATTEMPT.get():  # a run inside a call that is retried counts its own attempts
            self.token = ATTEMPT.set(0)
        self.publish()  # last: an interrupt before it leaves no record with status "running"
        return self

    def notify_started(self) -> None:
        """Notify the subscribers that the run starts."""
        if self.setup.subscribers:
            self.setup.notify(Event("run_started", self.name))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.position.give_back(self.record.node)
            self._end(error)
        except BaseException as interrupt:
            if self.record.status == "running":  # nothing would ever end it
                self._end(interrupt)
            raise

    def _end(self, error: BaseException | None) -> None:
        """Close the record and notify the subscribers."""
        if error is not None and self.position.has_ended and not isinstance(error, Exception):
            error = None  # an interrupt after the last visit: there is nothing to resume
        if error is None:
            self.record._plan = self.position.frames[0].plan
            self._close("ok", self.position.action)
        else:
            self._end_with(error)
        if self.unwatch is not None:
            self.unwatch()
        if self.token is not None:
            with suppress(ValueError):  # a coroutine that is discarded ends in another context
                ATTEMPT.reset(self.token)
        elif ATTEMPT.get():  # an attempt that was cancelled has left its number
            ATTEMPT.set(0)

    def _end_with(self, raised: BaseException) -> None:
        """Close the record of a run that an exception ended."""
        error = raised
        if isinstance(raised, Stopped):
            status = "stopped"
            error = StoppedError(
                f"the run of {self.name} was stopped; completed results are in .run; .run.resume() continues from there"
            )
        else:
            status = "failed" if isinstance(error, Exception) else "interrupted"
        failure = self.position.failure
        top = None if failure is None else failure.frames[-1]
        is_resumable = top is not None and (top.visit is not None or top.sets is not None)
        if is_resumable and isinstance(error, Exception | KeyboardInterrupt):
            _add_hint_to_resume(error)
        self.record._resume_from = failure
        self._close(status, None, error, raised)

    def _close(
        self, status: str, action: Any, error: BaseException | None = None, raised: BaseException | None = None
    ) -> None:
        if self.record._budget is not None:
            _check_reports(self.record, self.record._budget)
        around = METER.get()
        if around is not None:  # the run was inside a call, which has used this too
            for usage in self.record._recorder.all_usage():
                around.append(usage)
        if self.session is not None:
            session, self.session = self.session, None
            assert self.record._journal is not None
            self.record._journal.end(session, status, action, error)
        self.record._end(status, self.record.seconds_so_far, action, error)
        if raised is not None:
            self.record._replace_error(raised, copy_without_callers(raised))
        if self.setup.subscribers:
            self.setup.notify(Event("run_finished", self.name, status=status, value=action, error=error))


def _check_reports(record: Run, budget: Budget) -> None:
    """Add a problem if a budget of money had nothing to count, or was exceeded."""
    if budget.cost is None:
        return
    if budget.spent > budget.cost:
        record._recorder.add_problem(
            f"The budget of {dollars(budget.cost)} was exceeded: {dollars(budget.spent)} is spent. The calls that "
            "exceeded it had begun before their cost was known; fewer calls at once exceed it less."
        )
    if record.calls and not record._recorder.all_usage():
        record._recorder.add_problem(
            "No call has reported a cost, so the budget's cost limit had no effect: call spend() in exec, or bound the "
            "number of calls with Budget(calls=...)."
        )


def _add_hint_to_resume(error: BaseException) -> None:
    """Add to the engine's note on an error, or to an interrupt, which has no note, how to resume the run."""
    with suppress(Exception):  # not every exception accepts notes; it is raised as it is
        if isinstance(error, KeyboardInterrupt):
            error.add_note(FINISHED)
        if error.__notes__[-1].endswith(FINISHED):
            error.__notes__[-1] += "; .last_run.resume() continues from there"
