"""What a worker of the cluster runs: some calls of one node."""

import asyncio
import contextvars
import time
from typing import Any

import cloudpickle
from distributed import get_worker
from distributed.utils import sync

from ..core.errors import SendError
from ..core.text import error_text
from ..engine.packed_error import pack_error
from ..engine.remote import Reply, perform, perform_async

__all__ = ["run_items"]


def run_items(node: bytes, payloads: list[bytes], ids: list[int], topic: str, is_async: bool) -> list[Reply]:
    """Make calls of one node, in a worker.

    The start of a call is reported to the scheduler, so that a call that is made twice is counted. If it is alone in
    its task, it waits until the scheduler knows. Several are short, and are delayed only once.

    Args:
        node: The node and the name of its hook, pickled.
        payloads: The arguments of `perform` for each call, pickled.
        ids: The number of each attempt, for the reports.
        topic: Where the starts are reported.
        is_async: Whether the hook is an ``async def``. Its calls run side by side, on one event loop.
    """
    name = str(get_worker().name)
    _report(topic, ids if is_async else ids[:1])  # to unpickle can kill a worker too
    try:
        target, hook = cloudpickle.loads(node)
        calls = [cloudpickle.loads(payload) for payload in payloads]
    except Exception as exc:
        text = f"the node or its item cannot be loaded on the worker {name}: {error_text(exc)}"
        error = SendError(f"{text}; install what it imports there, or write it in a module beside the notebook.")
        return [Reply(error=pack_error(error), worker=name) for _ in ids]
    if is_async:
        return asyncio.run(_run_async(target, hook, calls, name))
    replies = []
    for n, (args, attempt, has_shared) in enumerate(calls):
        if n > 0:
            if _is_cancelled():
                break
            get_worker().log_event(topic, [ids[n]])
        started = time.perf_counter()
        reply = contextvars.copy_context().run(perform, None, target, hook, args, attempt, has_shared)
        reply.seconds, reply.worker = time.perf_counter() - started, name
        replies.append(reply)
    return replies


async def _run_async(target: Any, hook: str, calls: list[Any], worker: str) -> list[Reply]:
    """Make calls of an ``async def``, side by side."""

    async def make_call(args: tuple[Any, ...], attempt: int, has_shared: bool) -> Reply:
        started = time.perf_counter()
        reply = await perform_async(target, hook, args, attempt, has_shared)
        reply.seconds, reply.worker = time.perf_counter() - started, worker
        return reply

    return await asyncio.gather(*(make_call(*call) for call in calls))


def _report(topic: str, ids: list[int]) -> None:
    """Report that calls start, and wait until the scheduler knows, which takes 0.5 ms."""
    worker = get_worker()
    sync(worker.loop, worker.scheduler.log_event, topic=topic, msg=ids)


def _is_cancelled() -> bool:
    """Return whether nobody waits for this task any more."""
    worker = get_worker()
    task = worker.state.tasks.get(worker.get_current_task())
    return task is None or task.state == "cancelled"
