"""Every error and warning of llmflow_nb.

    FlowError                     base of all of them, so that one ``except`` catches the library's own
    ├── SignatureError            (TypeError)     a hook cannot be called as it is written
    ├── SettingError              (ValueError)    a constructor argument that makes no sense
    ├── WiringError               (ValueError)    a flow that cannot run as it is wired
    │   └── WiringTypeError       (TypeError)     an edge to something that is no node
    ├── HookReturnError           (TypeError)     a hook returned what the engine cannot use
    ├── LostActionError           (ValueError)    strict flow: no edge for the action that post returned
    ├── MaxStepsError             (RuntimeError)  a flow that went on and on
    ├── HookCancelledError        (RuntimeError)  a hook raised CancelledError by itself
    ├── CallTimeoutError          (TimeoutError)  one attempt of exec took longer than ``timeout``
    ├── AllFailedError            (RuntimeError)  on_error="keep", and every single one failed
    ├── ItemsNotKeptError         (RuntimeError)  post read items that keep_items=False had dropped
    ├── NestedLoopError           (RuntimeError)  run() where only ``await run_async()`` can work
    ├── NestedLimiterError        (RuntimeError)  a call waits for a slot that it holds itself
    ├── ExecutorError             (RuntimeError)  the executor cancelled or lost a call
    ├── RemoteError               (RuntimeError)  exec raised, in another process, what cannot be rebuilt here
    ├── SendError                 (TypeError)     a node, an item or a result cannot be sent between processes
    ├── RowError                  (KeyError)      a row, or a batch, that the record of a run does not have
    ├── RunStateError             (RuntimeError)  what can only be done with a run that has ended
    ├── StoppedError              (RuntimeError)  a submitted run was stopped
    └── ExportError               (OSError)       a file that is not written: its name, or that it is there already
    FlowWarning                   (UserWarning)

A user's own exception is never wrapped: it keeps its type and gains a note that says where it happened.
"""

import sys
import warnings
from collections.abc import Iterable
from types import FrameType

from .near import closest
from .text import class_name, message, quoted, shown

__all__ = [
    "AllFailedError",
    "CallTimeoutError",
    "ExecutorError",
    "ExportError",
    "FlowError",
    "FlowWarning",
    "HookCancelledError",
    "HookReturnError",
    "ItemsNotKeptError",
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
        """Make the message fit to be shown: it may quote names, actions and values of any size and content."""
        super().__init__(*(message(arg) if isinstance(arg, str) else arg for arg in args))


class SignatureError(FlowError, TypeError):
    """A hook's parameters do not fit how the engine calls it. Raised when the class is created."""


class SettingError(FlowError, ValueError):
    """A constructor argument that makes no sense, such as ``max_retries=0``."""


class WiringError(FlowError, ValueError):
    """A flow that cannot run as it is wired: no start node, or a flow that contains itself."""


class WiringTypeError(WiringError, TypeError):
    """An edge whose target is no node, or whose action is no string."""


class HookReturnError(FlowError, TypeError):
    """A hook returned a value of a type that the engine cannot use."""


class LostActionError(FlowError, ValueError):
    """``strict=True``: a node returned an action for which it has no edge.

    Attributes:
        action: The action that ``post`` returned.
        known: The actions that have an edge, in the order in which they were wired.
    """

    def __init__(self, message: str, action: object = None, known: Iterable[str] = ()) -> None:
        """Keep the parts beside the message."""
        super().__init__(message)
        self.action = action
        self.known = list(known)


class MaxStepsError(FlowError, RuntimeError):
    """A flow made more node visits than its ``max_steps``."""


class HookCancelledError(FlowError, RuntimeError):
    """A hook raised ``asyncio.CancelledError`` though nobody had cancelled the run. That error is its cause.

    An error of its own, because ``CancelledError`` is no ``Exception``: it would end the caller's task without a word.
    """

    @classmethod
    def of(cls, path: str, hook: str, error: BaseException) -> "HookCancelledError":
        """Make it from the error that the hook raised."""
        text = f"({shown(error)})" if error.args else ""
        made = cls(f"{path}: {hook} raised CancelledError{text}, and nobody had cancelled the run")
        made.__cause__ = error
        return made


class CallTimeoutError(FlowError, TimeoutError):
    """One attempt of ``exec`` took longer than the node's ``timeout`` (seconds)."""


class AllFailedError(FlowError, RuntimeError):
    """``on_error="keep"``, and not one of the items or param sets came through."""


class ItemsNotKeptError(FlowError, RuntimeError):
    """``post`` read the items of a batch that was told not to keep them."""


class NestedLoopError(FlowError, RuntimeError):
    """``run()`` was called from inside an async hook, on the very event loop that it would wait for."""


class NestedLimiterError(FlowError, RuntimeError):
    """A run inside ``exec`` waits for a slot of a `Limiter` whose slots are all held by calls that wait like this."""


class ExecutorError(FlowError, RuntimeError):
    """The executor cancelled a call, or lost the connection to where it ran. Whether the call ran is unknown."""


class RemoteError(FlowError, RuntimeError):
    """``exec`` raised an exception in another process, and its class cannot be rebuilt in this one.

    Attributes:
        type_name: The class of the original exception, such as ``"my_sdk.ApiError"``.
        retry_after: The ``retry_after`` of the original exception, where it had one: seconds.
    """

    retry_after: float | None = None

    def __init__(self, message: str, type_name: str = "") -> None:
        """Keep the name of the class beside the message."""
        super().__init__(message)
        self.type_name = type_name


class SendError(FlowError, TypeError):
    """A node, an item or a result cannot be sent to another process, or back. The text names the attribute."""


class RowError(FlowError, KeyError):
    """A row, or a batch, that the record of a run does not have."""

    def __str__(self) -> str:
        """Return the message as it is; a KeyError would put it in quotes."""
        return str(self.args[0]) if self.args else ""


class RunStateError(FlowError, RuntimeError):
    """Something that can only be done with a run that has ended."""


class StoppedError(FlowError, RuntimeError):
    """A submitted run was stopped, so it has no last action."""


class ExportError(FlowError, OSError):
    """A file that is not written: its name is unsafe, it is there already, or its folder is not."""


class FlowWarning(UserWarning):
    """Something that runs, but probably not as meant: a lost action, an overwritten edge."""


def a_type(value: object) -> str:
    """Return the type of a value with its article: "a list", "an int"."""
    name = shown(class_name(value))
    return f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name}"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'approve'?)"`` when a known word is close, else an empty string."""
    close = closest(word, known)
    return "" if close is None else f" (did you mean {quoted(close)}?)"


def warn(text: str) -> None:
    """Warn at the line of the caller's own code."""
    warnings.warn(message(text), FlowWarning, stacklevel=1 + _levels_to_caller()[0])


def line_of_caller() -> tuple[str, int]:
    """Return the file and the line of the caller's own code, for a warning that comes later (`warn_at`)."""
    _, frame = _levels_to_caller()
    return frame.f_code.co_filename, frame.f_lineno


def warn_at(line: tuple[str, int], text: str) -> None:
    """Warn at a line that `line_of_caller` returned."""
    warnings.warn_explicit(message(text), FlowWarning, *line)


def _levels_to_caller() -> tuple[int, FrameType]:
    """The first frame outside this package, and how many levels it is away from the function that asks."""
    level, frame = 1, sys._getframe(2)
    package = __name__.partition(".")[0]
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == package:
        frame, level = frame.f_back, level + 1
    return level, frame
