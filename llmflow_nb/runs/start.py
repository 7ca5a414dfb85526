"""Starts runs: puts a position, a record and a driver together.

From here down, the functions that lead to a user's hook set ``__tracebackhide__``, by which IPython and pytest leave
them out: what is seen of an error is the cell that ran the flow and the hook that failed.
"""

from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import suppress
from time import perf_counter as clock
from typing import Any

from ..core.errors import SettingError, warn
from ..core.node import ATTEMPT, BaseNode
from ..core.walk import check_flows
from ..engine.drivers.async_ import drive_async
from ..engine.drivers.sync import drive
from ..engine.events import Event, Subscriber
from ..engine.plan import Setup
from ..engine.position import Position
from .run import Run

__all__ = ["run", "run_async"]


def run(node: BaseNode, shared: Any, *, executor: Executor | None, subscribers: Iterable[Subscriber]) -> Any:
    """Run a node in the caller's thread. See `BaseNode.run`."""
    __tracebackhide__ = True
    _check(node, executor)
    with _Recorded(node, shared, executor, subscribers) as run:
        run.tell_started()
        drive(run.position, run.setup)
    return run.position.action


async def run_async(
    node: BaseNode, shared: Any, *, executor: Executor | None, subscribers: Iterable[Subscriber]
) -> Any:
    """Run a node on the running event loop. See `BaseNode.run_async`."""
    __tracebackhide__ = True
    _check(node, executor)
    with _Recorded(node, shared, executor, subscribers) as run:
        run.tell_started()
        await drive_async(run.position, run.setup)
    return run.position.action


def _check(node: BaseNode, executor: Executor | None) -> None:
    """Refuse, before anything runs, what cannot run."""
    if executor is not None and not hasattr(executor, "submit"):
        raise SettingError(f"executor={executor!r} has no submit(); pass a concurrent.futures.Executor.")
    check_flows(node)
    if node.successors:
        warn("Node won't run successors. Use Flow.")


class _Recorded:
    """Keeps the record of a run as ``node.last_run``, whatever becomes of it.

    Not a ``contextmanager``: that sets attributes of the exception that passes, and not every exception lets it.
    """

    def __init__(
        self, node: BaseNode, shared: Any, executor: Executor | None, subscribers: Iterable[Subscriber]
    ) -> None:
        self.record = Run(node)
        self.setup = Setup(
            self.record, subscribers=subscribers, executor=executor, grace=node.grace, report=self._report
        )
        self.position = Position.at_start(node, shared, self.setup)
        self.name = self.position.path
        node.__dict__["last_run"] = self.record  # not by setattr, which the class may have closed

    def _report(self, subscriber: Subscriber, error: Exception) -> None:
        self.record.problems.append(f"subscriber {type(subscriber).__name__} raised {error!r} and is told no more")
        warn(self.record.problems[-1])

    def __enter__(self) -> "_Recorded":
        self.token = ATTEMPT.set(0)  # a run inside a call that is tried again starts to count anew
        self.began = clock()
        return self

    def tell_started(self) -> None:
        if self.setup.subscribers:
            self.setup.tell(Event("run_started", self.name))

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        status = "ok" if error is None else "failed" if isinstance(error, Exception) else "interrupted"
        action = self.position.action if error is None else None
        self.record.ended(status, clock() - self.began, action, error)
        if self.setup.subscribers:
            self.setup.tell(Event("run_finished", self.name, status=status, value=action, error=error))
        with suppress(ValueError):  # a coroutine that is thrown away ends in another context
            ATTEMPT.reset(self.token)
