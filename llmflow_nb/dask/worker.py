"""What a worker of the cluster runs: some calls of one node."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Any

import cloudpickle
from distributed import get_worker

from ..core.errors import SendError
from ..core.text import error_text
from ..engine.packed_error import pack_error
from ..engine.remote import Reply, perform, perform_async

__all__ = ["run_items"]


def run_items(node: bytes, payloads: list[bytes], ids: list[int], topic: str) -> list[Reply]:
    """Make calls of one node, in a worker."""
    worker = get_worker()
    name = str(worker.name)

    def started(id: int) -> None:
        worker.log_event(topic, [id])

    try:
        target, hook = cloudpickle.loads(node)
        calls = [cloudpickle.loads(payload) for payload in payloads]
    except Exception as exc:
        text = f"the node or its item cannot be loaded on the worker {name}: {error_text(exc)}"
        error = SendError(f"{text}; install what it imports there, or write it in a module beside the notebook.")
        return [Reply(error=pack_error(error), worker=name) for _ in ids]
    if asyncio.iscoroutinefunction(getattr(target, hook)):
        return asyncio.run(_run_async(target, hook, calls, ids, started, name))
    replies = []
    for id, (args, attempt, has_shared) in zip(ids, calls, strict=True):
        started(id)
        began = time.perf_counter()
        reply = contextvars.copy_context().run(perform, None, target, hook, args, attempt, has_shared)
        reply.seconds, reply.worker = time.perf_counter() - began, name
        replies.append(reply)
    return replies


async def _run_async(
    target: Any, hook: str, calls: list[Any], ids: list[int], started: Callable[[int], None], worker: str
) -> list[Reply]:
    """Make calls of an ``async def``, on one event loop."""

    async def one(id: int, args: tuple[Any, ...], attempt: int, has_shared: bool) -> Reply:
        started(id)
        began = time.perf_counter()
        reply = await perform_async(target, hook, args, attempt, has_shared)
        reply.seconds, reply.worker = time.perf_counter() - began, worker
        return reply

    return await asyncio.gather(*(one(id, *call) for id, call in zip(ids, calls, strict=True)))
