"""Send exceptions to another process and back.

Many exceptions do not survive pickling: those of SDKs often require arguments that pickle does not know of. They are
rebuilt without a call of ``__init__``. One that cannot be rebuilt arrives as a `RemoteError`.
"""

import pickle
import traceback
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ..core.errors import RemoteError
from ..core.seconds import seconds_of
from ..core.text import class_name, text_of
from .pickling import dumps, pickle_error

__all__ = ["ErrorParcel", "PackedError", "pack_error"]

LONGEST_TRACEBACK = 10_000
"""How many characters of a worker's traceback are sent back, counted from its end."""


class ErrorParcel:
    """Holds an exception for an ``exec_fallback``, and packs it if it is sent to another process."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> Any:
        return _open_parcel, (pack_error(self.error),)


@dataclass(slots=True)
class PackedError:
    """An exception as bytes, with its description for a process in which the bytes cannot be loaded."""

    pickled: bytes | None
    type_name: str
    text: str
    traceback: str
    retry_after: float | None
    left_behind: tuple[str, ...]  # the attributes that could not be pickled

    def open(self) -> BaseException:
        """Return the exception, or a `RemoteError` that describes it, with the worker's traceback as a note."""
        error = None
        if self.pickled is not None:
            with suppress(Exception):  # its class may not exist here
                error = _load(self.pickled)
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


def _open_parcel(packed: PackedError) -> ErrorParcel:
    return ErrorParcel(packed.open())


def pack_error(error: BaseException) -> PackedError:
    """Return an exception in a form that always unpickles."""
    pickled, left_behind = _dump(error)
    cls = type(error)
    type_name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    seconds = None
    with suppress(Exception):  # raised by a property of the user's class
        seconds = seconds_of(getattr(error, "retry_after", None))
    return PackedError(pickled, type_name, text_of(error), _traceback_of(error), seconds, left_behind)


def _dump(error: BaseException) -> tuple[bytes | None, tuple[str, ...]]:
    """Return an exception as bytes that load to an equal one, and the attributes that had to be left out.

    None if there is no way to an equal one, which is one of the same class and text.
    """
    with suppress(Exception):  # most exceptions are pickled as they are
        pickled = dumps(error)
        if _is_equal(_load(pickled), error):
            return pickled, ()
    with suppress(Exception):  # others are taken apart; if that fails too, only the description is sent
        state = {name: value for name, value in vars(error).items() if pickle_error(value) is None}
        pickled = dumps((type(error), error.args, state))
        if _is_equal(_load(pickled), error):
            return pickled, tuple(f"{name} ({class_name(vars(error)[name])})" for name in vars(error).keys() - state)
    return None, ()


def _load(pickled: bytes) -> BaseException:
    loaded = pickle.loads(pickled)
    if isinstance(loaded, BaseException):
        return loaded
    cls, args, state = loaded
    builtin = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    error: BaseException = builtin.__new__(cls, *args)  # without its `__init__`, which may require other arguments
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
