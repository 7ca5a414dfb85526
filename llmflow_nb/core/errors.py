"""All errors and warnings of llmflow_nb.

    FlowError                     the base of all, so that one ``except`` catches the errors of the library
    ├── SignatureError            (TypeError)     a hook cannot be called as it is written
    ├── SettingError              (ValueError)    a constructor argument is not valid
    ├── WiringError               (ValueError)    a flow cannot run as it is wired
    │   └── WiringTypeError       (TypeError)     the target of an edge is not a node
    ├── HookReturnError           (TypeError)     a hook returned a value that the engine cannot use
    ├── LostActionError           (ValueError)    strict=True: post returned an action without an edge
    ├── MaxStepsError             (RuntimeError)  a flow made more visits than max_steps
    ├── HookCancelledError        (RuntimeError)  a hook raised CancelledError itself
    ├── CallTimeoutError          (TimeoutError)  one attempt of exec took longer than timeout
    ├── AllFailedError            (RuntimeError)  on_error="keep": all items or param sets failed
    ├── ItemsNotKeptError         (RuntimeError)  post read items that keep_items=False had discarded
    ├── NestedLoopError           (RuntimeError)  run() was called where only ``await run_async()`` works
    ├── NestedLimiterError        (RuntimeError)  a deadlock: calls hold all slots, and the flows in them need one
    ├── BudgetError               (RuntimeError)  a call would exceed the budget
    ├── ExecutorError             (RuntimeError)  the executor cancelled or lost a call
    ├── RemoteError               (RuntimeError)  exec failed in another process, with an error unknown in this one
    ├── SendError                 (TypeError)     a node, an item or a result cannot be sent between processes
    ├── RowError                  (KeyError)      the record of a run does not have this row or batch
    ├── RunStateError             (RuntimeError)  the run must be in another state for this
    ├── StoppedError              (RuntimeError)  a submitted run was stopped
    ├── ExportError               (OSError)       a file was not written: its name, its folder, or it exists
    └── JournalError              (OSError)       a journal cannot be opened, read or written
    FlowWarning                   (UserWarning)

The library never wraps a user's exception: it keeps its type and gains a note that says where it happened.
"""

import sys
import warnings
from collections.abc import Iterable
from types import FrameType

from .near import closest
from .text import class_name, message, quoted, shown

__all__ = [
    "AllFailedError",
    "BudgetError",
    "CallTimeoutError",
    "ExecutorError",
    "ExportError",
    "FlowError",
    "FlowWarning",
    "HookCancelledError",
    "HookReturnError",
    "ItemsNotKeptError",
    "JournalError",
    "LostActionError",
    "MaxStepsError",
    "NestedLimiterError",
    "NestedLoopError",
    "RemoteError",
    "RowError",
    "RunStateError",
    "SendError",
    "SettingError",
    "SignatureError",
    "StoppedError",
    "WiringError",
    "WiringTypeError",
]


class FlowError(Exception):
    """Base class of all errors that llmflow_nb raises itself."""

    def __init__(self, *args: object) -> None:
        """Make the message safe to show: it may quote names, actions and values of any size and content."""
        super().__init__(*(message(arg) if isinstance(arg, str) else arg for arg in args))


class SignatureError(FlowError, TypeError):
    """The engine cannot call a hook with these parameters. Raised when the class is created."""


class SettingError(FlowError, ValueError):
    """A constructor argument is not valid, such as ``max_retries=0``."""


class WiringError(FlowError, ValueError):
    """A flow cannot run as it is wired: it has no start node, or it contains itself."""


class WiringTypeError(WiringError, TypeError):
    """The target of an edge is not a node, or its action is not a string."""


class HookReturnError(FlowError, TypeError):
    """A hook returned a value of a type that the engine cannot use."""


class LostActionError(FlowError, ValueError):
    """``strict=True``: a node returned an action for which it has no edge.

    Attributes:
        action: The action that ``post`` returned.
        known: The actions that have an edge, in the order in which they were wired.
    """

    def __init__(self, message: str, action: object = None, known: Iterable[str] = ()) -> None:
        """Store the action and the known actions with the message."""
        super().__init__(message)
        self.action = action
        self.known = list(known)


class MaxStepsError(FlowError, RuntimeError):
    """A flow made more node visits than its ``max_steps``."""


class HookCancelledError(FlowError, RuntimeError):
    """A hook raised ``asyncio.CancelledError`` although the run was not cancelled. The ``CancelledError`` is the cause.

    It replaces the ``CancelledError``, which is not an ``Exception`` and would end the caller's task silently.
    """

    @classmethod
    def of(cls, path: str, hook: str, error: BaseException) -> "HookCancelledError":
        """Return the error for a ``CancelledError`` that a hook raised."""
        text = f"({shown(error)})" if error.args else ""
        made = cls(f"{path}: {hook} raised CancelledError{text}, but the run was not cancelled")
        made.__cause__ = error
        return made


class CallTimeoutError(FlowError, TimeoutError):
    """One attempt of ``exec`` took longer than the node's ``timeout`` (seconds)."""


class AllFailedError(FlowError, RuntimeError):
    """All items or param sets of a batch with ``on_error="keep"`` failed."""


class ItemsNotKeptError(FlowError, RuntimeError):
    """``post`` read the items of a batch with ``keep_items=False``."""


class NestedLoopError(FlowError, RuntimeError):
    """``run()`` was called in an async hook, on the event loop that it would block."""


class NestedLimiterError(FlowError, RuntimeError):
    """A deadlock: calls whose ``exec`` runs a flow hold all slots of a `Limiter`, and their flows need one."""


class BudgetError(FlowError, RuntimeError):
    """A call was not made, because it would exceed the `Budget` of the run. Results so far are in ``last_run``."""


class ExecutorError(FlowError, RuntimeError):
    """The executor cancelled a call, or lost the connection to its worker. It is unknown whether the call ran."""


class RemoteError(FlowError, RuntimeError):
    """``exec`` raised an exception in another process, and this process cannot create one of its class.

    Attributes:
        type_name: The class of the original exception, such as ``"my_sdk.ApiError"``.
        retry_after: The ``retry_after`` of the original exception in seconds. None: it had none.
    """

    retry_after: float | None = None

    def __init__(self, message: str, type_name: str = "") -> None:
        """Store the name of the class with the message."""
        super().__init__(message)
        self.type_name = type_name


class SendError(FlowError, TypeError):
    """A node, an item or a result cannot be sent to another process or back. The text names the attribute."""


class RowError(FlowError, KeyError):
    """The record of a run does not have this row or batch."""

    def __str__(self) -> str:
        """Return the message without the quotes that KeyError adds."""
        return str(self.args[0]) if self.args else ""


class RunStateError(FlowError, RuntimeError):
    """The run is in the wrong state for this method. For example, it must have ended."""


class StoppedError(FlowError, RuntimeError):
    """A submitted run was stopped, so it has no result."""


class ExportError(FlowError, OSError):
    """A file was not written: its name is unsafe, it exists, or its folder does not."""


class JournalError(FlowError, OSError):
    """A journal cannot be opened, read or written: another process writes to it, it is another file, the disk is full.

    The file was not changed. Results that could not be written are in ``last_run``.
    """


class FlowWarning(UserWarning):
    """A flow runs, but probably not as intended: an action has no edge, an edge was overwritten."""


def a_type(value: object) -> str:
    """Return the type of a value with its article: "a list", "an int"."""
    name = shown(class_name(value))
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'approve'?)"`` if a known word is similar, else an empty string."""
    close = closest(word, known)
    return "" if close is None else f" (did you mean {quoted(close)}?)"


def warn(text: str) -> None:
    """Warn at the line of the caller's own code."""
    frame = _caller()
    registry = frame.f_globals.setdefault("__warningregistry__", {})  # so that the default filter warns once a line
    module = frame.f_globals.get("__name__")
    warnings.warn_explicit(
        message(text), FlowWarning, frame.f_code.co_filename, frame.f_lineno, module=module, registry=registry
    )


def line_of_caller() -> tuple[str, int]:
    """Return the file and the line of the caller's own code, for a later `warn_at`."""
    frame = _caller()
    return frame.f_code.co_filename, frame.f_lineno


def warn_at(line: tuple[str, int], text: str) -> None:
    """Warn at a line that `line_of_caller` returned."""
    warnings.warn_explicit(message(text), FlowWarning, *line)


def _caller() -> FrameType:
    """Return the innermost frame outside this package."""
    frame = sys._getframe(1)
    package = __name__.partition(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame = frame.f_back
    return frame
