"""Start a run: put a position, a record and a driver together.

From here down, the functions that lead to a user's hook set ``__tracebackhide__``, so IPython and pytest leave them out
of a traceback: it shows the cell that ran the flow and the hook that failed.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.errors import RunStateError, StoppedError, warn
from ..core.kept_errors import copy_without_callers
from ..core.node import ATTEMPT, BaseNode
from ..core.prices import dollars
from ..core.settings import check_setting
from ..core.spend import METER
from ..core.text import class_name, quoted
from ..core.traversal import path_part
from ..engine.budget import Budget
from ..engine.calls import ResultCache
from ..engine.drivers.async_ import drive_async
from ..engine.drivers.sync import drive
from ..engine.events import Event, Subscriber
from ..engine.position import Position
from ..engine.setup import Setup
from ..engine.stop import Stop, Stopped
from ..engine.unwind import FINISHED
from .batch import BatchResult
from .checks import check_budget, check_executor, check_fresh, survey_again
from .resuming import checkpoint_of, reopen, require_code, require_ended, resumed_position
from .run import Run, Watch

if TYPE_CHECKING:
    from ..journal.session import JournalSession

__all__ = ["Recorded", "resume", "run", "run_async"]


def run(node: BaseNode, shared: Any, **options: Any) -> Any:
    """Run a node in the caller's thread. The options are those of `Recorded`."""
    __tracebackhide__ = True
    with Recorded(node, shared, **options) as run:
        run.notify_started()
        drive(run.position, run.setup)
    return run.position.action


async def run_async(node: BaseNode, shared: Any, **options: Any) -> Any:
    """Run a node on the running event loop. The options are those of `Recorded`."""
    __tracebackhide__ = True
    with Recorded(node, shared, **options) as run:
        run.notify_started()
        await drive_async(run.position, run.setup)
    return run.position.action


def resume(record: Run, *, executor: Executor | None, watch: Watch | None, batch: BatchResult | None = None) -> Any:
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
        recorded = Recorded(record.node, record.shared, executor=executor, watch=watch, resumed=record)
    except BaseException:
        record._resume_from = before
        raise
    with recorded as run:
        drive(run.position, run.setup)
    return run.position.action


def _open_journal(record: Run, journal: Any, fresh: str | None) -> "JournalSession | None":
    """Open the journal of a run or of a resumed run; None if there is none."""
    if journal is not None:
        from .run_journal import RunJournal

        record._journal = RunJournal(journal, record.node, record.name, record._recorder)
    if record._journal is None:
        return None
    session = record._journal.open()
    session.answers.fresh = fresh
    return session


class Recorded:
    """Keep the record of a run as ``node.last_run``, also after an error. Raises first if the node cannot run.

    Not a ``contextmanager``, which sets attributes of the exception that passes: not every exception allows that.
    """

    _is_published = False
    unwatch: Callable[[], None] | None = None

    def __init__(
        self,
        node: BaseNode,
        shared: Any,
        *,
        executor: Executor | None = None,
        subscribers: Iterable[Subscriber] = (),
        watch: Watch | None = None,
        stop: Stop | None = None,
        resumed: Run | None = None,
        journal: Any = None,
        fresh: str | None = None,
        cache: ResultCache | None = None,
        name: str = "",
        budget: Budget | None = None,
    ) -> None:
        """Check the node, and make the record and the position.

        Args:
            node: The node or flow to run.
            shared: What the hooks read and write.
            executor: See `BaseNode.run`, as for ``subscribers``, ``journal``, ``fresh`` and ``budget``.
            subscribers: See there.
            watch: Shows the progress.
            stop: The flag that ends the run; None if nobody can set it.
            resumed: The record of a run to resume. It has the journal of that run.
            journal: See there.
            fresh: See there.
            cache: Answers calls of a run without a journal; None if nothing does.
            name: The name of the record; "" for that of the node.
            budget: See `Node.run`. A resumed run keeps its budget.
        """
        __tracebackhide__ = True
        if resumed is not None:
            require_ended(resumed)
        before = node.__dict__.get("last_run")
        before = before if type(before) is Run else None
        wiring = survey_again(node, None if before is None else before._survey)
        if executor is not None:
            check_executor(node, executor)
        if node.successors:
            warn("Node won't run successors. Use Flow.")
        self.record = Run(node, shared) if resumed is None else resumed
        if name:
            self.record.name = name
        self.record._survey = wiring
        if fresh is not None:
            check_fresh(fresh, self.record.name, wiring, journal)
        if budget is not None:
            check_budget(budget)
            self.record._budget = budget
        self.session = _open_journal(self.record, journal, fresh)
        self.setup = Setup(
            self.record._recorder,
            subscribers=subscribers,
            executor=executor,
            result_cache=cache if self.session is None else self.session.answers,
            grace=node.grace if node.grace is BaseNode.grace else check_setting(node, "grace", node.grace),
            budget=self.record._budget,
            stop=stop,
            report=partial(_report, self.record),
            from_start=None if resumed is None else False,
        )
        self.setup.names = wiring.names
        try:
            self.position = self._first_position(before) if resumed is None else resumed_position(resumed, self.setup)
        except BaseException:
            if self.session is not None:
                self.session.end("failed")
            raise
        self._is_resumed = resumed is not None
        self.record._recorder.where = self.position.where
        self.watch = watch

    def _first_position(self, before: Run | None) -> Position:
        """Return the position of a new run, with the plan of the previous run if the wiring is still the same."""
        __tracebackhide__ = True
        record, setup = self.record, self.setup
        assert record._survey is not None
        for edge in record._survey.overwritten:
            record._recorder.add_problem(edge)
        plan = None
        if before is not None and before._survey is record._survey:
            plan = before.__dict__.pop("_plan", None)  # no other run gets it then
        return Position.at_start(record.node, record.shared, setup, inline=setup.stop is None, plan=plan)

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
            self.position.frames[0].visit.__dict__["last_run"] = self.record  # hooks may read it too

    def show_progress(self) -> None:
        """Show the progress of the run from now on, once."""
        if self.watch is not None and self.unwatch is None:
            self.unwatch = self.watch(self.record)

    def __enter__(self) -> "Recorded":
        if self.watch is not None:
            self.show_progress()
        # A run inside a call that is retried counts its own attempts. To set and reset takes 0.7 us, to ask 0.05.
        self.token = ATTEMPT.set(0) if ATTEMPT.get() else None
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
        _check_reports(self.record)
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


def _check_reports(record: Run) -> None:
    """Add a problem if a budget of money had nothing to count, or was exceeded."""
    budget = record._budget
    if budget is not None and budget.cost is not None and budget.spent > budget.cost:
        record._recorder.add_problem(
            f"The budget of {dollars(budget.cost)} was exceeded: {dollars(budget.spent)} is spent. The calls that "
            "exceeded it had begun before their cost was known; fewer calls at once exceed it less."
        )
    if budget is not None and budget.cost is not None and record.calls and not record._recorder.all_usage():
        record._recorder.add_problem(
            "No call has reported a cost, so the budget's cost limit had no effect: call spend() in exec, or bound the "
            "number of calls with Budget(calls=...)."
        )


def _report(record: Run, subscriber: Subscriber, error: Exception) -> None:
    text = f"subscriber {class_name(subscriber)} raised {quoted(error, 200)} and was unsubscribed"
    record._recorder.add_problem(text)
    warn(text)


def _add_hint_to_resume(error: BaseException) -> None:
    """Add to the engine's note on an error, or to an interrupt, which has no note, how to resume the run."""
    with suppress(Exception):  # not every exception accepts notes; it is raised as it is
        if isinstance(error, KeyboardInterrupt):
            error.add_note(FINISHED)
        if error.__notes__[-1].endswith(FINISHED):
            error.__notes__[-1] += "; .last_run.resume() continues from there"
