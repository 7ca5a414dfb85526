"""Starts runs: puts a position, a record and a driver together."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from time import perf_counter as clock
from typing import Any

from ..core.errors import SettingError, warn
from ..core.node import ATTEMPT, BaseNode
from ..core.walk import check_containment
from ..engine.drivers.async_ import drive_async
from ..engine.drivers.sync import drive
from ..engine.events import Event, Subscriber
from ..engine.plan import Setup
from ..engine.position import Position
from .run import Run

__all__ = ["run", "run_async"]


def run(node: BaseNode, shared: Any, *, executor: Executor | None, subscribers: Iterable[Subscriber]) -> Any:
    """Run a node in the caller's thread. See `BaseNode.run`."""
    with _recorded(node, shared, executor, subscribers) as (position, setup):
        drive(position, setup)
    return position.action


async def run_async(
    node: BaseNode, shared: Any, *, executor: Executor | None, subscribers: Iterable[Subscriber]
) -> Any:
    """Run a node on the running event loop. See `BaseNode.run_async`."""
    with _recorded(node, shared, executor, subscribers) as (position, setup):
        await drive_async(position, setup)
    return position.action


@contextmanager
def _recorded(
    node: BaseNode, shared: Any, executor: Executor | None, subscribers: Iterable[Subscriber]
) -> Iterator[tuple[Position, Setup]]:
    """Keep the record of a run as ``node.last_run``, whatever becomes of it."""
    if executor is not None and not hasattr(executor, "submit"):
        raise SettingError(f"executor={executor!r} has no submit(); pass a concurrent.futures.Executor.")
    check_containment(node)
    if node.successors:
        warn("Node won't run successors. Use Flow.")
    record = Run(node)

    def report(subscriber: Subscriber, error: Exception) -> None:
        record.problems.append(f"subscriber {type(subscriber).__name__} raised {error!r} and is told no more")
        warn(record.problems[-1])

    setup = Setup(record, subscribers=subscribers, executor=executor, grace=node.grace, report=report)
    position = Position.at_start(node, shared, setup)
    node.last_run = record
    name = position.path
    began = clock()
    token = ATTEMPT.set(0)  # a run inside a call that is tried again starts to count anew
    if setup.subscribers:
        setup.tell(Event("run_started", name))
    try:
        yield position, setup
    except BaseException as exc:
        status = "failed" if isinstance(exc, Exception) else "interrupted"
        record.ended(status, clock() - began, error=exc)
        if setup.subscribers:
            setup.tell(Event("run_finished", name, status=status, error=exc))
        raise
    else:
        record.ended("ok", clock() - began, position.action)
        if setup.subscribers:
            setup.tell(Event("run_finished", name, status="ok", value=position.action))
    finally:
        ATTEMPT.reset(token)
