"""Attempts in the user's executor: what is sent there, and what comes back.

The executor may run in another process, and pickling fails in many ways. Two rules keep a failure in its own row:

* The worker packs the outcome itself. Its reply always unpickles, so no result and no exception can break a pool.
* An exception arrives as itself where that is possible. SDK errors often require arguments that pickle does not know
  of; those are rebuilt without calling ``__init__``. What cannot be rebuilt arrives as a `RemoteError`.
"""

import os
import pickle
import sys
import traceback
from collections.abc import Callable, Iterable
from concurrent import futures  # which imports its pools when they are first asked for: 20 ms
from concurrent.futures import Executor, Future
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from types import CoroutineType, FunctionType, ModuleType
from typing import Any

from ..core.errors import RemoteError, SendError, a_type
from ..core.hooks import hooks_of
from ..core.node import BaseNode, label
from ..core.seconds import seconds_of
from ..core.text import class_name, error_text, quoted, text_of
from .calls import invoke
from .plan import DRIVEN

__all__ = ["Reply", "check_can_be_sent", "dumps", "explain_unsent", "send"]

_TOKEN = os.urandom(8)  # a forked process shares it, one on another machine may share the process id
LONGEST_TRACEBACK = 10_000
"""Characters of a worker's traceback that are sent back, the last ones."""


# ---- in the run's own process ----------------------------------------------------------------------------------------


def send(
    executor: Executor, context: Context, target: Any, name: str, args: tuple[Any, ...], attempt: int, shared: Any
) -> "Future[Any]":
    """Submit one attempt. The future's result is a `Reply`.

    Raises:
        SendError: The node or an argument cannot be pickled, and the executor is known to need that.
        Exception: The executor accepts no calls.
    """
    has_shared = bool(args) and args[0] is shared
    if isinstance(executor, futures.ThreadPoolExecutor):
        return executor.submit(context.run, perform, _this_process(), target, name, args, attempt, has_shared)
    parcels = tuple(_ErrorParcel(arg) if isinstance(arg, BaseException) else arg for arg in args)
    call = _this_process(), portable(target), name, parcels, attempt, has_shared
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


def portable(target: Any) -> Any:
    """Return a copy of a node to send elsewhere.

    Without its edges, which would take the whole flow along, and without what only the engine here needs.
    """
    twin = object.__new__(type(target))
    left_here = ("limiter", "wait", "last_run", "start_node", DRIVEN)
    twin.__dict__.update({k: v for k, v in target.__dict__.items() if k not in left_here}, successors={})
    return twin


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
            error = _pickle_error(portable(node))
            if error is not None:
                raise explain_unsent(node, (), error, None)


# ---- in the worker ---------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Reply:
    """The outcome of one attempt: as it is in the run's own process, packed when it comes from another one.

    Attributes:
        value, error: The outcome, if it is not packed.
        pickled: The pickled value.
        packed_error: The packed exception.
        shared_writes: The parts of ``shared`` that a copy in another process was given, and that are lost.
    """

    value: Any = None
    error: BaseException | None = None
    pickled: bytes | None = None
    packed_error: "_PackedError | None" = None
    shared_writes: tuple[str, ...] = ()

    def open(self, path: str) -> tuple[Any, BaseException | None]:
        """Return the value or the exception. ``path``: the node, for the error text."""
        if self.packed_error is not None:
            return None, self.packed_error.open()
        if self.pickled is None:
            return self.value, self.error
        try:
            return pickle.loads(self.pickled), None
        except Exception as exc:
            text = f"{path}: the result of exec cannot be loaded in this process: {error_text(exc)}"
            return None, SendError(f"{text}; return plain data.")


def perform(
    home: tuple[bytes, int], target: Any, name: str, args: tuple[Any, ...], attempt: int, has_shared: bool
) -> Reply:
    """Make one attempt. A plain function of plain arguments, so that it can be sent to another process."""
    __tracebackhide__ = True
    args = tuple(arg.error if isinstance(arg, _ErrorParcel) else arg for arg in args)
    is_elsewhere = home != _this_process()
    before = _contents(args[0]) if is_elsewhere and has_shared else None
    try:
        value = invoke(target, name, args, attempt)
    except BaseException as exc:  # the run decides what follows, also from SystemExit; the worker lives on
        reply = Reply(packed_error=_pack_error(exc)) if is_elsewhere else Reply(error=exc)
    else:
        reply = _pack_value(value, label(target)) if is_elsewhere else Reply(value)
    if before is not None:
        reply.shared_writes = _written(before, _contents(args[0]))
    return reply


def perform_pickled(node: str, pickled: bytes) -> Reply:
    """Unpickle a call, and make it. ``node``: its class, for the error text."""
    __tracebackhide__ = True
    try:
        call = pickle.loads(pickled)
    except Exception as exc:
        text = f"{node} or its item cannot be loaded in the other process: {error_text(exc)}"
        advice = "define it in a module that the other process can import, or create the pool after the cell has run"
        return Reply(packed_error=_pack_error(SendError(f"{text}; {advice}.")))
    return perform(*call)


def _this_process() -> tuple[bytes, int]:
    return _TOKEN, os.getpid()


def _pack_value(value: Any, node: str) -> Reply:
    if isinstance(value, CoroutineType):
        value.close()
    try:
        return Reply(pickled=dumps(value))
    except Exception as exc:
        path, part, detail = _culprit(value, "result", dumps)
        what = f"{node}: {path} is {a_type(part)} and cannot be sent back from another process"
        return Reply(packed_error=_pack_error(SendError(f"{what}{detail or f' ({text_of(exc)})'}; return plain data.")))


def dumps(value: Any) -> bytes:
    """Pickle; by value where the executor has loaded cloudpickle, and so accepts classes of a notebook."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        cloudpickle = sys.modules.get("cloudpickle")
        if cloudpickle is None:
            raise
        pickled: bytes = cloudpickle.dumps(value)
        return pickled


# ---- shared, of which another process has a copy ---------------------------------------------------------------------


def _contents(shared: Any) -> dict[Any, tuple[Any, int]]:
    """What is in ``shared``, by key, with the lengths of containers: cheap, and a write nearly always changes it."""
    parts = shared if isinstance(shared, dict) else getattr(shared, "__dict__", {})
    return {key: (part, len(part) if isinstance(part, list | dict | set) else 0) for key, part in parts.items()}


def _written(before: dict[Any, tuple[Any, int]], after: dict[Any, tuple[Any, int]]) -> tuple[str, ...]:
    nothing = object(), -1
    keys = [key for key in {**before, **after} if not _is_same(before.get(key, nothing), after.get(key, nothing))]
    return tuple(quoted(key, 40) for key in keys[:3])


def _is_same(one: tuple[Any, int], other: tuple[Any, int]) -> bool:
    return one[0] is other[0] and one[1] == other[1]


# ---- exceptions between processes ------------------------------------------------------------------------------------


class _ErrorParcel:
    """Carries an exception to an ``exec_fallback`` in another process, and arrives holding it."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return _open_parcel, (_pack_error(self.error),)


@dataclass(slots=True)
class _PackedError:
    """An exception as bytes, and in words for where the bytes cannot be loaded."""

    pickled: bytes | None
    type_name: str
    text: str
    traceback: str
    retry_after: float | None
    left_behind: tuple[str, ...]

    def open(self) -> BaseException:
        """Return the exception, or a `RemoteError` that describes it, with the worker's traceback as a note."""
        error = None
        if self.pickled is not None:
            with suppress(Exception):  # its class may not exist here; the description below does
                error = _load_error(self.pickled)
        if error is None:
            error = RemoteError(f"{self.type_name}: {self.text}", self.type_name)
            if self.retry_after is not None:
                error.retry_after = self.retry_after
        with suppress(Exception):  # not every exception accepts notes
            if self.left_behind:
                error.add_note(f"attributes that could not be sent: {', '.join(self.left_behind)}")
            if self.traceback:
                error.add_note(f"traceback in the other process:\n{self.traceback}")
        return error


def _open_parcel(packed: _PackedError) -> _ErrorParcel:
    return _ErrorParcel(packed.open())


def _pack_error(error: BaseException) -> _PackedError:
    pickled, left_behind = _dump_error(error)
    cls = type(error)
    type_name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    seconds = None
    with suppress(Exception):  # a property of theirs may raise
        seconds = seconds_of(getattr(error, "retry_after", None))
    return _PackedError(pickled, type_name, text_of(error), _traceback_of(error), seconds, left_behind)


def _dump_error(error: BaseException) -> tuple[bytes | None, tuple[str, ...]]:
    """Return an exception as bytes that load to an equal one, and the attributes that had to be left out.

    None if neither pickle nor `_rebuild` gives an equal one: same class, same text.
    """
    with suppress(Exception):  # most exceptions; the others are taken apart below
        pickled = dumps(error)
        if _is_equal(_load_error(pickled), error):
            return pickled, ()
    with suppress(Exception):  # it remains a description
        state = {name: value for name, value in vars(error).items() if _pickle_error(value) is None}
        pickled = dumps((_rebuild, type(error), error.args, state))
        if _is_equal(_load_error(pickled), error):
            return pickled, tuple(f"{name} ({class_name(vars(error)[name])})" for name in vars(error).keys() - state)
    return None, ()


def _load_error(pickled: bytes) -> BaseException:
    loaded = pickle.loads(pickled)
    if isinstance(loaded, tuple):
        rebuild, *parts = loaded
        loaded = rebuild(*parts)
    error: BaseException = loaded
    return error


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    """Make an exception without its ``__init__``, which may require arguments that nobody kept."""
    builtin = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    error: BaseException = builtin.__new__(cls, *args)
    error.__dict__.update(state)
    return error


def _is_equal(one: BaseException, other: BaseException) -> bool:
    return type(one) is type(other) and text_of(one) == text_of(other)


def _traceback_of(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith("llmflow_nb.engine."):
        trace = trace.tb_next
    if trace is None:
        return ""
    lines = traceback.format_exception(type(error), error, trace)
    return "".join(lines).rstrip()[-LONGEST_TRACEBACK:]


# ---- what cannot be pickled, by name ---------------------------------------------------------------------------------


def explain_unsent(
    target: Any, args: tuple[Any, ...], error: Exception, shared: Any, dump: Callable[[Any], object] | None = None
) -> Exception:
    """Return a `SendError` that names what cannot be pickled; the given error if everything can be.

    Args:
        target: The node; args: what its hook is called with; shared: which of these is ``shared``.
        error: What pickling them all together raised.
        dump: Pickles a value, or raises. Default: as a process pool pickles.
    """
    dump = dump or _dump_nowhere
    name, twin = class_name(target), portable(target)
    if _pickle_error(twin, dump) is not None:
        path, part, detail = _culprit(twin, name, dump)
        if part is twin:
            return SendError(
                f"{name} cannot be sent to another process: {error_text(error)}; define the class in a module that "
                "the other process can import."
            )
        return SendError(
            f"{path} is {a_type(part)} and cannot be sent to another process{detail}; create it in exec, or leave it "
            "out by __getstate__."
        )
    for arg in args:
        if not isinstance(arg, BaseException) and _pickle_error(arg, dump) is not None:
            path, part, detail = _culprit(arg, "shared" if arg is shared else "item", dump)
            return SendError(
                f"{name}: {path} is {a_type(part)} and cannot be sent to another process{detail}; pass plain data, and "
                "create it in exec."
            )
    return error


class _Nowhere:
    """A file that keeps nothing."""

    def write(self, data: Any) -> int:
        return len(data)


def _dump_nowhere(value: Any) -> None:
    pickle.Pickler(_Nowhere(), pickle.HIGHEST_PROTOCOL).dump(value)


def _pickle_error(value: Any, dump: Callable[[Any], object] = _dump_nowhere) -> Exception | None:
    """Return what pickling a value raises."""
    try:
        dump(value)
    except Exception as exc:
        return exc
    return None


def _culprit(value: Any, path: str, dump: Callable[[Any], object]) -> tuple[str, Any, str]:
    """Return the attribute or key of a value that cannot be pickled, and in words the innermost part of it."""
    found = [(path, value)]
    for _ in range(8):
        path, value = found[-1]
        part = next(((name, part) for name, part in _parts(value) if _pickle_error(part, dump) is not None), None)
        if part is None:
            break
        found.append((path + part[0], part[1]))
    outer, inner = found[min(1, len(found) - 1)], found[-1]
    return *outer, "" if inner is outer else f" ({inner[0]} is {a_type(inner[1])})"


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{quoted(key, 40)}]", part) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [(f"[{place}]", part) for place, part in enumerate(value)]
    if isinstance(value, type | FunctionType | ModuleType):
        return []
    try:
        state = value.__getstate__()
    except Exception:  # of an object that refuses: there is nothing inside it to name
        return []
    states = state if isinstance(state, tuple) else (state,)  # with __slots__: the attributes, and those in slots
    return [(f".{name}", part) for each in states if isinstance(each, dict) for name, part in each.items()]
