"""Starts runs: puts a position, a record and a driver together.

From here down, the functions that lead to a user's hook set ``__tracebackhide__``, by which IPython and pytest leave
them out: what is seen of an error is the cell that ran the flow and the hook that failed.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any

from ..core.edited import rebind
from ..core.errors import RunStateError, SettingError, StoppedError, warn
from ..core.kept_errors import copy_without_callers
from ..core.node import ATTEMPT, BaseNode, check_setting, label
from ..core.text import class_name, quoted
from ..core.traversal import Survey, survey, within
from ..engine.drivers.async_ import drive_async
from ..engine.drivers.sync import drive
from ..engine.events import Event, Subscriber
from ..engine.plan import Plan, Setup
from ..engine.position import Position
from ..engine.remote import check_can_be_sent
from ..engine.resume import resume_run
from ..engine.stop import Stop, Stopped
from ..engine.unwind import FINISHED
from .run import Run, Watch

__all__ = ["Recorded", "check_executor", "resume", "run", "run_async"]


def run(
    node: BaseNode,
    shared: Any,
    *,
    executor: Executor | None,
    subscribers: Iterable[Subscriber],
    watch: Watch | None,
) -> Any:
    """Run a node in the caller's thread. See `BaseNode.run`."""
    __tracebackhide__ = True
    with Recorded(node, shared, executor, subscribers, watch) as run:
        run.tell_started()
        drive(run.position, run.setup)
    return run.position.action


async def run_async(
    node: BaseNode,
    shared: Any,
    *,
    executor: Executor | None,
    subscribers: Iterable[Subscriber],
    watch: Watch | None,
) -> Any:
    """Run a node on the running event loop. See `BaseNode.run_async`."""
    __tracebackhide__ = True
    with Recorded(node, shared, executor, subscribers, watch) as run:
        run.tell_started()
        await drive_async(run.position, run.setup)
    return run.position.action


def resume(record: Run, *, executor: Executor | None, watch: Watch | None) -> Any:
    """Go on with a run where it failed or was stopped, in the caller's thread. See `Run.resume`."""
    __tracebackhide__ = True
    with Recorded(record.node, record.shared, executor, (), watch, again=record) as run:
        drive(run.position, run.setup)
    return run.position.action


def check_executor(node: BaseNode, executor: Executor | None) -> None:
    """Refuse an executor that is none, and nodes that cannot be sent to it.

    Raises:
        SettingError: The executor has no ``submit``.
        SendError: A node cannot be pickled.
    """
    if executor is not None and not hasattr(type(executor), "submit"):
        raise SettingError(f"executor={quoted(executor)} has no submit(); pass a concurrent.futures.Executor.")
    if executor is not None:
        check_can_be_sent(within(node), executor)


def _surveyed(node: BaseNode, known: Survey | None) -> tuple[Survey, list[tuple[BaseNode, type[BaseNode]]]]:
    """Look at the wiring, and give nodes the new versions of classes whose cell was run again.

    ``known``, the survey of the run before, serves again where it is still valid.

    Returns:
        The survey, and the nodes whose class changed, each with the class that it had.
    """
    wiring = known if known is not None and known.is_valid_for(node) else survey(node)
    edited = rebind(wiring.nodes)
    return survey(node) if edited else wiring, edited


def _take_plan(node: BaseNode, wiring: Survey) -> Plan | None:
    """Take the plan of the run before, if the wiring is the same. Nobody else gets it then."""
    before = node.__dict__.get("last_run")
    if type(before) is not Run or before._survey is not wiring:
        return None
    plan: Plan | None = before.__dict__.pop("_plan", None)
    return plan


def _warn_of_new_classes(edited: list[tuple[BaseNode, type[BaseNode]]]) -> None:
    """Warn of each node whose new class has other code than the class that it had."""
    from ..core.fingerprint import fingerprint  # with its imports 25 ms, which few runs need

    for node, old in edited:
        if fingerprint(old) != fingerprint(type(node)):
            warn(f"{label(node)}: its class was defined again, and this run has the new one.")


class Recorded:
    """Keeps the record of a run as ``node.last_run``, whatever becomes of it. Refuses what cannot run.

    Not a ``contextmanager``: that sets attributes of the exception that passes, and not every exception lets it.
    """

    def __init__(
        self,
        node: BaseNode,
        shared: Any,
        executor: Executor | None,
        subscribers: Iterable[Subscriber],
        watch: Watch | None,
        stop: Stop | None = None,
        again: Run | None = None,
    ) -> None:
        """``again``: the record of a run that is gone on with."""
        __tracebackhide__ = True
        if again is not None:
            again._require_ended()
        before = node.__dict__.get("last_run")
        wiring, edited = _surveyed(node, before._survey if type(before) is Run else None)
        if executor is not None:
            check_executor(node, executor)
        if node.successors:
            warn("Node won't run successors. Use Flow.")
        self.record = Run(node, shared) if again is None else again
        self.record._survey = wiring
        for edge in wiring.overwritten if again is None else ():
            self.record.problem(edge)
        if edited:
            _warn_of_new_classes(edited)
        self.setup = Setup(
            self.record._recorder,
            subscribers=subscribers,
            executor=executor,
            grace=node.grace if node.grace is BaseNode.grace else check_setting(node, "grace", node.grace),
            stop=stop,
            report=partial(_report, self.record),
            from_start=None if again is None else False,
        )
        self.setup.names = wiring.names
        self.setup.plan = _take_plan(node, wiring)
        if again is None:
            self.position = Position.at_start(node, shared, self.setup, inline=stop is None)
        else:
            self.position = _resumed(again, self.setup)
        self._goes_on = again is not None
        self._is_published = False
        self.record._where = self.position.where
        self.name = self.position.path
        self.watch = watch
        self.unwatch: Callable[[], None] | None = None

    def publish(self) -> None:
        """Make the record the node's ``last_run``, once. From here on it says "running" until `__exit__`."""
        if not self._is_published:
            self._is_published = True
            if self._goes_on:
                self.record._reopen()
            served = () if self.position.outermost is None else self.position.outermost[:1]
            for node in (self.record.node, *served):  # its hooks may look at it too
                node.__dict__["last_run"] = self.record  # not by setattr, which the class may have closed

    def __enter__(self) -> "Recorded":
        if self.watch is not None:
            self.unwatch = self.watch(self.record)
        self.token = ATTEMPT.set(0)  # a run inside a call that is tried again starts to count anew
        self.publish()  # last: an interrupt before it leaves no record that says "running" for ever
        return self

    def tell_started(self) -> None:
        """Tell the subscribers that the run begins."""
        if self.setup.subscribers:
            self.setup.tell(Event("run_started", self.name))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.position.give_back(self.record.node)
        except BaseException as interrupt:  # the record must not say "running" for ever
            self._end(interrupt)
            raise
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        """End the record and tell who listens."""
        raised = error
        if error is None:
            status = "ok"
        elif isinstance(error, Stopped):
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
            _say_how_to_go_on(error)
        action = self.position.action if error is None else None
        if error is None:
            self.record._plan = self.position.frames[0].plan
        self.record._resume_from = failure if error is not None else None
        self.record._end(status, self.record.seconds_so_far, action, error)
        if raised is not None:
            self.record._replace_error(raised, copy_without_callers(raised))
        if self.setup.subscribers:
            self.setup.tell(Event("run_finished", self.name, status=status, value=action, error=error))
        if self.unwatch is not None:
            self.unwatch()
        with suppress(ValueError):  # a coroutine that is thrown away ends in another context
            ATTEMPT.reset(self.token)


def _report(record: Run, subscriber: Subscriber, error: Exception) -> None:
    text = f"subscriber {class_name(subscriber)} raised {quoted(error, 200)} and was unsubscribed"
    record.problem(text)
    warn(text)


def _say_how_to_go_on(error: BaseException) -> None:
    """Say it where the engine has said where the error is from; an interrupt comes from nowhere."""
    with suppress(Exception):  # not every exception lets itself be written on, and it must come out as it is
        if isinstance(error, KeyboardInterrupt):
            error.add_note(FINISHED)
        if error.__notes__[-1].endswith(FINISHED):
            error.__notes__[-1] += "; .last_run.resume() continues from there"


def _resumed(record: Run, setup: Setup) -> Position:
    """Return the position at which a run is resumed.

    Raises:
        RunStateError: The run finished, or it has no checkpoint, or that cannot be restored.
    """
    __tracebackhide__ = True
    if record._retrying.locked():
        raise RunStateError(f"rows of {record.name} are being retried; wait until that has ended.")
    if record.status == "ok":
        raise RunStateError(f"the run of {record.name} finished; there is nothing to resume.")
    position = resume_run(record._resume_from, setup) if record._resume_from is not None else None
    if position is None:
        raise RunStateError(
            f"the run of {record.name} cannot be resumed; run it again. Completed results are in its tables."
        )
    return position
