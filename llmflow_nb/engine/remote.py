"""Run attempts in the user's executor: what is sent to a worker, and what it replies.

The worker may be in another process, and pickling fails in many ways. Two rules keep a failure in its own row:

* The worker packs the outcome itself. Its reply always unpickles, so no result and no exception can break a pool.
* An exception arrives as itself if that is possible (see `packed_error`).
"""

import pickle
from collections.abc import Iterable
from concurrent import futures  # imports its pools at their first use, which takes 20 ms
from concurrent.futures import Executor, Future
from contextvars import Context
from dataclasses import dataclass
from types import CoroutineType
from typing import Any

from ..core.errors import SendError
from ..core.hooks import hooks_of
from ..core.node import BaseNode, label
from ..core.text import class_name, error_text, quoted
from .calls import invoke
from .packed_error import ErrorParcel, PackedError, pack_error
from .pickling import dumps, explain_unreturned, explain_unsent, pickle_error, portable

__all__ = ["Reply", "check_can_be_sent", "send"]


class _Home:
    """An argument that arrives as None if the call was pickled on its way to the worker."""

    def __reduce__(self) -> Any:
        return type(None), ()


_HOME = _Home()


# ---- in the run's own process ----------------------------------------------------------------------------------------


def send(
    executor: Executor, context: Context, target: Any, name: str, args: tuple[Any, ...], attempt: int, shared: Any
) -> "Future[Any]":
    """Submit one attempt. The result of the future is a `Reply`.

    Raises:
        SendError: The node or an argument cannot be pickled, and the executor is known to need that.
        Exception: The executor accepts no calls.
    """
    has_shared = bool(args) and args[0] is shared
    if isinstance(executor, futures.ThreadPoolExecutor):
        return executor.submit(context.run, perform, _HOME, target, name, args, attempt, has_shared)
    parcels = tuple(ErrorParcel(arg) if isinstance(arg, BaseException) else arg for arg in args)
    call = _HOME, portable(target), name, parcels, attempt, has_shared
    if not isinstance(executor, futures.ProcessPoolExecutor):
        return executor.submit(perform, *call)
    try:  # here, since a call that does not unpickle would break the pool
        pickled = pickle.dumps(call, pickle.HIGHEST_PROTOCOL)
    except Exception as exc:
        error = explain_unsent(target, args, exc, shared)
        if error is exc:
            raise
        raise error from exc
    return executor.submit(perform_pickled, class_name(target), pickled)


def check_can_be_sent(nodes: Iterable[BaseNode], executor: Executor | None) -> None:
    """Refuse nodes that cannot be sent to a process pool, before anything runs.

    Raises:
        SendError: Names the node and the attribute.
    """
    if not isinstance(executor, futures.ProcessPoolExecutor):
        return
    for node in nodes:
        hooks = hooks_of(node)
        if "exec" in hooks.own and not hooks.exec_is_async:
            error = pickle_error(portable(node))
            if error is not None:
                raise explain_unsent(node, (), error, None)


# ---- in the worker ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Reply:
    """The outcome of one attempt. It is packed if the call was pickled on its way to the worker."""

    value: Any = None
    pickled: bytes | None = None  # the value, packed
    error: BaseException | PackedError | None = None
    shared_writes: tuple[str, ...] = ()  # the keys that the worker wrote in its copy of ``shared``, which are lost

    def open(self, path: str) -> tuple[Any, BaseException | None]:
        """Return the value and the exception. ``path``: the node, for the text of an error."""
        if self.error is not None:
            return None, self.error.open() if isinstance(self.error, PackedError) else self.error
        if self.pickled is None:
            return self.value, None
        try:
            return pickle.loads(self.pickled), None
        except Exception as exc:
            text = f"{path}: the result of exec cannot be loaded in this process: {error_text(exc)}"
            return None, SendError(f"{text}; return plain data.")


def perform(home: _Home | None, target: Any, name: str, args: tuple[Any, ...], attempt: int, has_shared: bool) -> Reply:
    """Make one attempt. It is a plain function of plain arguments, so that it can be sent to another process."""
    __tracebackhide__ = True
    args = tuple(arg.error if isinstance(arg, ErrorParcel) else arg for arg in args)
    was_pickled = home is None
    before = _contents(args[0]) if was_pickled and has_shared else None
    try:
        value = invoke(target, name, args, attempt)
    except BaseException as exc:  # also SystemExit: the worker lives on, and the run decides what follows
        reply = Reply(error=pack_error(exc) if was_pickled else exc)
    else:
        reply = _pack_value(value, label(target)) if was_pickled else Reply(value)
    if before is not None:
        reply.shared_writes = _written(before, _contents(args[0]))
    return reply


def perform_pickled(node: str, pickled: bytes) -> Reply:
    """Unpickle a call and make it. ``node``: the name of its class, for the text of an error."""
    __tracebackhide__ = True
    try:
        call = pickle.loads(pickled)
    except Exception as exc:
        text = f"{node} or its item cannot be loaded in the other process: {error_text(exc)}"
        advice = "define it in a module that the other process can import, or create the pool after the cell has run"
        return Reply(error=pack_error(SendError(f"{text}; {advice}.")))
    return perform(*call)


def _pack_value(value: Any, node: str) -> Reply:
    if isinstance(value, CoroutineType):
        value.close()
    try:
        return Reply(pickled=dumps(value))
    except Exception as exc:
        return Reply(error=pack_error(explain_unreturned(value, node, exc)))


# ---- writes to a copy of shared --------------------------------------------------------------------------------------


def _contents(shared: Any) -> dict[Any, tuple[Any, int]]:
    """Return the values of ``shared`` by key, with the lengths of containers: cheap, and nearly every write shows."""
    parts = shared if isinstance(shared, dict) else getattr(shared, "__dict__", {})
    return {key: (part, len(part) if isinstance(part, list | dict | set) else 0) for key, part in parts.items()}


def _written(before: dict[Any, tuple[Any, int]], after: dict[Any, tuple[Any, int]]) -> tuple[str, ...]:
    nothing = object(), -1
    keys = [key for key in {**before, **after} if not _is_same(before.get(key, nothing), after.get(key, nothing))]
    return tuple(quoted(key, 40) for key in keys[:3])


def _is_same(one: tuple[Any, int], other: tuple[Any, int]) -> bool:
    return one[0] is other[0] and one[1] == other[1]
