"""The output of a step, captured and optionally printed, and a short traceback of an error."""

import io
import linecache
import sys
import traceback
from contextvars import ContextVar
from pathlib import PurePath
from types import FrameType
from typing import Any, TextIO

from ..core.text import shown

__all__ = ["Captured", "short_traceback"]

MAX_OUTPUT = 100_000
"""Characters of one step that are kept."""

_CAPTURING: ContextVar[list[str] | None] = ContextVar("_CAPTURING", default=None)
"""Where the output of this context goes. Threads and tasks of a step inherit it; other cells have another context."""


class _Tee(io.TextIOBase):
    def __init__(self, stream: TextIO, kept: list[str], echoes: bool) -> None:
        self._stream, self._kept, self._echoes = stream, kept, echoes
        self._left = MAX_OUTPUT

    def write(self, text: str) -> int:
        if _CAPTURING.get() is not self._kept:
            return self._stream.write(text)
        if self._left > 0:
            self._kept.append(text[: self._left])
            self._left -= len(text)
        return self._stream.write(text) if self._echoes else len(text)

    def flush(self) -> None:
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Captured:
    """Captures standard output and standard error of a ``with`` block; with ``echoes`` they are printed, too."""

    def __init__(self, *, echoes: bool) -> None:
        self._echoes = echoes

    def __enter__(self) -> "Captured":
        self._kept: list[str] = []
        self._token = _CAPTURING.set(self._kept)
        self._before = sys.stdout, sys.stderr
        self._ours = _Tee(sys.stdout, self._kept, self._echoes), _Tee(sys.stderr, self._kept, self._echoes)
        sys.stdout, sys.stderr = self._ours
        return self

    def __exit__(self, *_: object) -> None:
        _CAPTURING.reset(self._token)
        if sys.stdout is self._ours[0]:  # else the user's code has replaced it
            sys.stdout = self._before[0]
        if sys.stderr is self._ours[1]:
            sys.stderr = self._before[1]

    def take(self) -> str:
        """Return the output since the last time."""
        text = "".join(self._kept)
        self._kept.clear()
        return text


def short_traceback(error: BaseException) -> str:
    """Return the user's own lines of a traceback and the message, without paths of the machine."""
    package = __name__.partition(".")[0]
    lines = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            continue
        code = frame.f_code
        text = linecache.getline(code.co_filename, number).strip()
        lines.append(f"{code.co_qualname}, line {number} of {_module(frame)}: {text}")
    text = "\n".join([*lines, "".join(traceback.format_exception_only(error)).rstrip()])
    return shown(text, MAX_OUTPUT, keep_lines=True)


def _module(frame: FrameType) -> str:
    name = str(frame.f_globals.get("__name__", ""))
    file = frame.f_globals.get("__file__")
    return name if name != "__main__" else PurePath(file).name if isinstance(file, str) else "its cell"
