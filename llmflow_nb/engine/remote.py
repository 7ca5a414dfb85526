"""Run attempts in the user's executor: what is sent to a worker, and what it replies.

The worker may be in another process, and pickling fails in many ways. Two rules keep a failure in its own row:

* The worker packs the outcome itself. Its reply always unpickles, so no result and no exception can break a pool.
* An exception arrives as itself if that is possible (see `packed_error`).
"""

import pickle
from collections.abc import Iterable
from concurrent import futures  # imports its pools at their first use, which takes 20 ms
from concurrent.futures import Future
from contextvars import Context
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, NamedTuple, Protocol

from ..core.errors import SendError
from ..core.hooks import hooks_of
from ..core.node import BaseNode, label
from ..core.spend import METER
from ..core.text import class_name, error_text, quoted
from ..core.usage import Usage
from .calls import invoke
from .packed_error import ErrorParcel, PackedError, pack_error
from .pickling import dumps, explain_unreturned, explain_unsent, pickle_error, portable

__all__ = ["RemoteCall", "RemoteExecutor", "Reply", "check_can_be_sent", "perform", "perform_async", "send"]


class _Home:
    """An argument that arrives as None if the call was pickled on its way to the worker."""

    def __reduce__(self) -> Any:
        return type(None), ()


_HOME = _Home()


# ---- in the run's own process ----------------------------------------------------------------------------------------


class RemoteCall(NamedTuple):
    """One attempt to be made elsewhere.

    Attributes:
        target: The node; send the result of `portable` instead. The same object for all calls of a visit.
        name: Of its hook.
        args: The arguments of the hook.
        attempt: The number of attempts before this one.
        has_shared: Whether the first argument is ``shared``.
    """

    target: Any
    name: str
    args: tuple[Any, ...]
    attempt: int
    has_shared: bool


class RemoteExecutor(Protocol):
    """An executor that knows how nodes are sent. Any other one is used through its ``submit``.

    The worker calls `perform` with a ``home`` of None, or `perform_async`, and sends the `Reply` back.

    Attributes:
        sends_async: Whether an ``async def exec`` is sent too. It runs in the notebook otherwise.
    """

    sends_async: bool

    def check(self, node: BaseNode) -> None:
        """Check that a node can be sent, before anything is called.

        Raises:
            SendError: It cannot. Names the attribute.
        """

    def send_call(self, call: RemoteCall) -> "Future[Reply]":
        """Send a call. The future raises only what is an error of the executor.

        Raises:
            SendError: The node or an argument cannot be sent.
        """


def send(
    executor: Any, context: Context, target: Any, name: str, args: tuple[Any, ...], attempt: int, shared: Any
) -> "Future[Any]":
    """Submit one attempt. The result of the future is a `Reply`.

    Raises:
        SendError: The node or an argument cannot be pickled, and the executor is known to need that.
        Exception: The executor accepts no calls.
    """
    has_shared = bool(args) and args[0] is shared
    future: Future[Any]
    if isinstance(executor, futures.ThreadPoolExecutor):
        future = executor.submit(context.run, perform, _HOME, target, name, args, attempt, has_shared)
        return future
    parcels = tuple(ErrorParcel(arg) if isinstance(arg, BaseException) else arg for arg in args)
    if hasattr(type(executor), "send_call"):
        future = executor.send_call(RemoteCall(target, name, parcels, attempt, has_shared))
        return future
    call = _HOME, portable(target), name, parcels, attempt, has_shared
    if not isinstance(executor, futures.ProcessPoolExecutor):
        future = executor.submit(perform, *call)
        return future
    try:  # here, since a call that does not unpickle would break the pool
        pickled = pickle.dumps(call, pickle.HIGHEST_PROTOCOL)
    except Exception as exc:
        error = explain_unsent(target, args, exc, shared)
        if error is exc:
            raise
        raise error from exc
    return executor.submit(perform_pickled, class_name(target), pickled)


def check_can_be_sent(nodes: Iterable[BaseNode], executor: Any) -> None:
    """Refuse nodes that cannot be sent to a process pool or a cluster, before anything runs.

    Raises:
        SendError: Names the node and the attribute.
    """
    check = getattr(executor, "check", None) if hasattr(type(executor), "send_call") else None
    if check is None and not isinstance(executor, futures.ProcessPoolExecutor):
        return
    for node in nodes:
        hooks = hooks_of(node)
        if "exec" not in hooks.own:
            continue
        if check is not None and (executor.sends_async or not hooks.exec_is_async):
            check(node)
        elif check is None and not hooks.exec_is_async:
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
    seconds: float = 0.0  # of the call, on the worker
    worker: str = ""  # where it ran; "" if the executor does not say
    usage: tuple[Usage, ...] = ()  # what the call has used, if it was pickled on its way to the worker
    again: int = 0  # how often the executor has made the same attempt again, since a worker died

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
    args, before = _opened(args, home, has_shared)
    value, error = None, None
    usages: list[Usage] = []
    meter = None if home is not None else METER.set(usages)
    try:
        value = invoke(target, name, args, attempt)
    except BaseException as exc:  # also SystemExit: the worker lives on, and the run decides what follows
        error = exc
    finally:
        if meter is not None:
            METER.reset(meter)
    return _reply(home, target, value, error, args, before, usages)


async def perform_async(target: Any, name: str, args: tuple[Any, ...], attempt: int, has_shared: bool) -> Reply:
    """Make one attempt of an ``async def``, on the event loop of a worker."""
    args, before = _opened(args, None, has_shared)
    value, error = None, None
    usages: list[Usage] = []
    meter = METER.set(usages)
    try:
        value = await invoke(target, name, args, attempt)
    except BaseException as exc:  # as for `perform`
        error = exc
    finally:
        METER.reset(meter)
    return _reply(None, target, value, error, args, before, usages)


def _opened(args: tuple[Any, ...], home: _Home | None, has_shared: bool) -> tuple[tuple[Any, ...], Any]:
    """Return the arguments of a hook, and the contents of a copy of ``shared`` before the call."""
    args = tuple(arg.error if isinstance(arg, ErrorParcel) else arg for arg in args)
    return args, _contents(args[0]) if home is None and has_shared else None


def _reply(
    home: _Home | None,
    target: Any,
    value: Any,
    error: BaseException | None,
    args: tuple[Any, ...],
    before: Any,
    usages: list[Usage],
) -> Reply:
    """Return the outcome of an attempt. It is packed if the call was pickled on its way here."""
    if home is not None:
        return Reply(value, error=error)
    reply = _pack_value(value, label(target)) if error is None else Reply(error=pack_error(error))
    reply.usage = tuple(usages)
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
