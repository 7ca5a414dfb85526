"""Start a run: put a position, a record and a driver together.

From here down, the functions that lead to a user's hook set ``__tracebackhide__``, so IPython and pytest leave them out
of a traceback: it shows the cell that ran the flow and the hook that failed.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.edited import rebind
from ..core.errors import RunStateError, SettingError, StoppedError, did_you_mean, warn
from ..core.kept_errors import copy_without_callers
from ..core.node import ATTEMPT, BaseNode, label
from ..core.settings import check_setting
from ..core.text import class_name, quoted
from ..core.traversal import Survey, last_name, path_part, survey, within
from ..engine.drivers.async_ import drive_async
from ..engine.drivers.sync import drive
from ..engine.events import Event, Subscriber
from ..engine.plan import Plan, Setup
from ..engine.position import Position
from ..engine.remote import check_can_be_sent
from ..engine.resume import resume_run
from ..engine.stop import Stop, Stopped
from ..engine.unwind import FINISHED
from .batch import BatchResult
from .run import Run, Watch

if TYPE_CHECKING:
    from ..engine.checkpoint import Checkpoint

__all__ = ["Recorded", "check_executor", "check_fresh", "resume", "run", "run_async"]


def run(
    node: BaseNode,
    shared: Any,
    *,
    executor: Executor | None,
    subscribers: Iterable[Subscriber],
    watch: Watch | None,
    journal: Any = None,
    fresh: str | None = None,
) -> Any:
    """Run a node in the caller's thread. See `BaseNode.run`."""
    __tracebackhide__ = True
    with Recorded(node, shared, executor, subscribers, watch, journal=journal, fresh=fresh) as run:
        run.notify_started()
        drive(run.position, run.setup)
    return run.position.action


async def run_async(
    node: BaseNode,
    shared: Any,
    *,
    executor: Executor | None,
    subscribers: Iterable[Subscriber],
    watch: Watch | None,
    journal: Any = None,
    fresh: str | None = None,
) -> Any:
    """Run a node on the running event loop. See `BaseNode.run_async`."""
    __tracebackhide__ = True
    with Recorded(node, shared, executor, subscribers, watch, journal=journal, fresh=fresh) as run:
        run.notify_started()
        await drive_async(run.position, run.setup)
    return run.position.action


def resume(record: Run, *, executor: Executor | None, watch: Watch | None, batch: BatchResult | None = None) -> Any:
    """Resume a run where it failed or was stopped, or at a batch, in the caller's thread.

    See `Run.resume` and `BatchResult.resume`.
    """
    __tracebackhide__ = True
    before = record._resume_from
    record._require_code()
    if batch is not None:
        record._require_ended()
        record._resume_from = _place_in(record, batch)
    elif record.status == "ok":
        raise RunStateError(
            f"the run of {record.name} finished; there is nothing to resume. After a retry of rows, .resume() of their "
            "batch runs post again, and what follows."
        )
    try:
        recorded = Recorded(record.node, record.shared, executor, (), watch, resumed=record)
    except BaseException:
        record._resume_from = before
        raise
    with recorded as run:
        drive(run.position, run.setup)
    return run.position.action


def check_executor(node: BaseNode, executor: Executor | None) -> None:
    """Check that an executor is one, and that the nodes can be sent to it.

    Raises:
        SettingError: The executor has no ``submit``.
        SendError: A node cannot be pickled.
    """
    if executor is not None and not (hasattr(type(executor), "submit") or hasattr(type(executor), "send_call")):
        raise SettingError(f"executor={quoted(executor)} has no submit(); pass a concurrent.futures.Executor.")
    if executor is not None:
        check_can_be_sent(within(node), executor)


def _surveyed(node: BaseNode, known: Survey | None) -> tuple[Survey, list[tuple[BaseNode, type[BaseNode]]]]:
    """Survey the wiring, and give nodes the new versions of classes whose cell was run again.

    Args:
        node: The node or flow to run.
        known: The survey of the previous run, which is used again if it is still valid.

    Returns:
        The survey, and the nodes whose class changed, each with its previous class.
    """
    wiring = known if known is not None and known.is_valid_for(node) else survey(node)
    edited = rebind(wiring.nodes)
    return survey(node) if edited else wiring, edited


def _take_plan(node: BaseNode, wiring: Survey) -> Plan | None:
    """Take the plan of the previous run, if the wiring is the same. No other run gets it then."""
    before = node.__dict__.get("last_run")
    if type(before) is not Run or before._survey is not wiring:
        return None
    plan: Plan | None = before.__dict__.pop("_plan", None)
    return plan


def _warn_of_new_classes(edited: list[tuple[BaseNode, type[BaseNode]]]) -> None:
    """Warn of each node whose new class has other code than its previous class."""
    from ..core.fingerprint import fingerprint  # with its imports 25 ms, which few runs need

    for node, old in edited:
        if fingerprint(old) != fingerprint(type(node)):
            warn(f"{label(node)}: its class was defined again, and this run has the new one.")


class Recorded:
    """Keep the record of a run as ``node.last_run``, also after an error. Raises first if the node cannot run.

    Not a ``contextmanager``, which sets attributes of the exception that passes: not every exception allows that.
    """

    def __init__(
        self,
        node: BaseNode,
        shared: Any,
        executor: Executor | None,
        subscribers: Iterable[Subscriber],
        watch: Watch | None,
        stop: Stop | None = None,
        resumed: Run | None = None,
        journal: Any = None,
        fresh: str | None = None,
    ) -> None:
        """Check the node, and make the record and the position.

        Args:
            node: The node or flow to run.
            shared: What the hooks read and write.
            executor: See `BaseNode.run`, as for ``subscribers`` and ``journal``.
            subscribers: See there.
            watch: Shows the progress.
            stop: The flag that ends the run; None if nobody can set it.
            resumed: The record of a run to resume. It has the journal of that run.
            journal: See there.
            fresh: See there.
        """
        __tracebackhide__ = True
        if resumed is not None:
            resumed._require_ended()
        before = node.__dict__.get("last_run")
        wiring, edited = _surveyed(node, before._survey if type(before) is Run else None)
        if executor is not None:
            check_executor(node, executor)
        if node.successors:
            warn("Node won't run successors. Use Flow.")
        self.record = Run(node, shared) if resumed is None else resumed
        self.record._survey = wiring
        for edge in wiring.overwritten if resumed is None else ():
            self.record._recorder.add_problem(edge)
        if edited:
            _warn_of_new_classes(edited)
        if fresh is not None:
            check_fresh(fresh, self.record.name, wiring, journal)
        if journal is not None:
            self.record._journal = journal
        self.session = None if self.record._journal is None else self.record._open_journal()
        if self.session is not None:
            self.session.answers.fresh = fresh
        self.setup = Setup(
            self.record._recorder,
            subscribers=subscribers,
            executor=executor,
            result_cache=None if self.session is None else self.session.answers,
            grace=node.grace if node.grace is BaseNode.grace else check_setting(node, "grace", node.grace),
            stop=stop,
            report=partial(_report, self.record),
            from_start=None if resumed is None else False,
        )
        self.setup.names = wiring.names
        self.setup.plan = _take_plan(node, wiring)
        try:
            if resumed is None:
                self.position = Position.at_start(node, shared, self.setup, inline=stop is None)
            else:
                self.position = _resumed_position(resumed, self.setup)
        except BaseException:
            if self.session is not None:
                self.session.end("failed")
            raise
        self._is_resumed = resumed is not None
        self._is_published = False
        self.record._where = self.position.where
        self.watch = watch
        self.unwatch: Callable[[], None] | None = None

    @property
    def name(self) -> str:
        """The name of the node, as in a path."""
        return path_part(self.record.name)

    def publish(self) -> None:
        """Make the record the node's ``last_run``, once. Its status is "running" until `__exit__`."""
        if not self._is_published:
            self._is_published = True
            if self._is_resumed:
                self.record._reopen()
            self.record.node.__dict__["last_run"] = self.record  # not by setattr, which the class may have closed
            if self.position.outermost is not None:  # hooks may read it too
                self.position.outermost[0].__dict__["last_run"] = self.record

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
        if self.session is not None:
            session, self.session = self.session, None
            self.record._end_journal(session, status, action, error)
        self.record._end(status, self.record.seconds_so_far, action, error)
        if raised is not None:
            self.record._replace_error(raised, copy_without_callers(raised))
        if self.setup.subscribers:
            self.setup.notify(Event("run_finished", self.name, status=status, value=action, error=error))


def check_fresh(fresh: str, name: str, wiring: Survey, journal: Any) -> None:
    """Check the node whose results in the journal are not used.

    Raises:
        SettingError: There is no journal, or no such node.
    """
    if journal is None:
        raise SettingError(f"fresh={quoted(fresh)} is for a run with journal=: without one, every call is made.")
    known = [name, *(step for names in wiring.names.values() for step in names.values())]
    if last_name(fresh) not in known:
        raise SettingError(f"fresh={quoted(fresh)}: the flow has no such node{did_you_mean(fresh, known)}")


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


def _place_in(record: Run, result: BatchResult) -> "Checkpoint":
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
            f"{result.path} is inside the batch flow {outer}, so it cannot be resumed by itself; retry param sets of "
            f"{outer}."
        )
    raise RunStateError(f"{result.path}: no row has failed since its post ran, so there is nothing to resume.")


def _resumed_position(record: Run, setup: Setup) -> Position:
    """Return the position at which a run resumes.

    Raises:
        RunStateError: The run has finished, or it has no checkpoint, or the checkpoint cannot be restored.
    """
    __tracebackhide__ = True
    if record._retrying.locked():
        raise RunStateError(f"rows of {record.name} are being retried; wait until that has ended.")
    position = resume_run(record._resume_from, setup) if record._resume_from is not None else None
    if position is None:
        raise RunStateError(
            f"the run of {record.name} cannot be resumed; run it again. Completed results are in its tables."
        )
    return position
