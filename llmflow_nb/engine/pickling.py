"""Pickle nodes and values for another process, and name the part of one that cannot be pickled."""

import pickle
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

from ..core.errors import SendError, a_type
from ..core.loaded import loaded
from ..core.text import class_name, error_text, quoted, text_of
from .plan import DRIVEN

__all__ = ["dumps", "explain_unreturned", "explain_unsent", "pickle_error", "portable"]


def dumps(value: Any) -> bytes:
    """Pickle by reference; by value if the executor has loaded cloudpickle, and so accepts classes of a notebook."""
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        cloudpickle = loaded("cloudpickle", "dumps")
        if cloudpickle is None:
            raise
        pickled: bytes = cloudpickle.dumps(value)
        return pickled


def portable(target: Any) -> Any:
    """Return a copy of a node to send elsewhere, without what only the engine here needs.

    It has no edges, which would take the whole flow along.
    """
    twin = object.__new__(type(target))
    left_here = ("limiter", "wait", "last_run", "start_node", DRIVEN)
    twin.__dict__.update({k: v for k, v in target.__dict__.items() if k not in left_here}, successors={})
    return twin


def pickle_error(value: Any, dump: Callable[[Any], object] = pickle.dumps) -> Exception | None:
    """Return the exception that pickling a value raises; None if it can be pickled."""
    try:
        dump(value)
    except Exception as exc:
        return exc
    return None


def explain_unsent(
    target: Any, args: tuple[Any, ...], error: Exception, shared: Any, dump: Callable[[Any], object] = pickle.dumps
) -> Exception:
    """Return a `SendError` that names what cannot be pickled; the given error if everything can be.

    Args:
        target: The node.
        args: The arguments of its hook.
        error: The exception from pickling them all together.
        shared: The argument that is ``shared``.
        dump: A function that pickles a value, or raises. Default: as a process pool pickles.
    """
    name, twin = class_name(target), portable(target)
    sent = [(name, twin), *(("shared" if arg is shared else "item", arg) for arg in args)]
    for what, value in sent:
        if isinstance(value, BaseException) or pickle_error(value, dump) is None:  # an exception is sent in a parcel
            continue
        path, part, detail = _culprit(value, what, dump)
        why = f"is {a_type(part)} and cannot be sent to another process{detail}"
        if value is not twin:
            return SendError(f"{name}: {path} {why}; pass plain data, and create it in exec.")
        if part is not twin:
            return SendError(f"{path} {why}; create it in exec, or exclude it with __getstate__.")
        text = f"{name} cannot be sent to another process: {error_text(error)}"
        return SendError(f"{text}; define the class in a module that the other process can import.")
    return error


def explain_unreturned(value: Any, node: str, error: Exception) -> SendError:
    """Return the error for a result that cannot be pickled. It names the part that is to blame."""
    path, part, detail = _culprit(value, "result", dumps)
    what = f"{node}: {path} is {a_type(part)} and cannot be sent back from another process"
    return SendError(f"{what}{detail or f' ({text_of(error)})'}; return plain data.")


def _culprit(value: Any, path: str, dump: Callable[[Any], object]) -> tuple[str, Any, str]:
    """Find the part of a value that cannot be pickled.

    Returns:
        The path and the value of the attribute or item that holds it, and in words the innermost part.
    """
    found = [(path, value)]
    for _ in range(8):
        path, value = found[-1]
        part = next(((name, part) for name, part in _parts(value) if pickle_error(part, dump) is not None), None)
        if part is None:
            break
        found.append((path + part[0], part[1]))
    outer, inner = found[min(1, len(found) - 1)], found[-1]
    return *outer, "" if inner is outer else f" ({inner[0]} is {a_type(inner[1])})"


def _parts(value: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(f"[{quoted(key, 40)}]", part) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return [(f"[{index}]", part) for index, part in enumerate(value)]
    if isinstance(value, type | FunctionType | ModuleType):
        return []
    try:
        state = value.__getstate__()
    except Exception:  # raised by an object that refuses to be pickled: nothing inside it is to blame
        return []
    states = state if isinstance(state, tuple) else (state,)  # with __slots__: the attributes, and those in slots
    return [(f".{name}", part) for each in states if isinstance(each, dict) for name, part in each.items()]
