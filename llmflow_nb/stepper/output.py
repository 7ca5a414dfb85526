"""What a step prints: kept, and passed on where that is wanted; and what an error says."""

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

MOST = 100_000
"""Characters that are kept of one step."""

_WHOSE: ContextVar[list[str] | None] = ContextVar("_WHOSE", default=None)
"""Whose output this is: the threads and tasks of a step inherit it. What another cell prints meanwhile is its own."""


class _Tee(io.TextIOBase):
    def __init__(self, stream: TextIO, kept: list[str], echoes: bool) -> None:
        self._stream, self._kept, self._echoes = stream, kept, echoes
        self._left = MOST

    def write(self, text: str) -> int:
        if _WHOSE.get() is not self._kept:
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
    """Keeps what is written to the standard output and the standard error within; ``echoes``: and passes it on."""

    def __init__(self, *, echoes: bool) -> None:
        self._echoes = echoes

    def __enter__(self) -> "Captured":
        self._kept: list[str] = []
        self._token = _WHOSE.set(self._kept)
        self._before = sys.stdout, sys.stderr
        self._ours = _Tee(sys.stdout, self._kept, self._echoes), _Tee(sys.stderr, self._kept, self._echoes)
        sys.stdout, sys.stderr = self._ours
        return self

    def __exit__(self, *_: object) -> None:
        _WHOSE.reset(self._token)
        if sys.stdout is self._ours[0]:  # else the user's code has put another there
            sys.stdout = self._before[0]
        if sys.stderr is self._ours[1]:
            sys.stderr = self._before[1]

    def take(self) -> str:
        """Return what was written since this was last asked."""
        text = "".join(self._kept)
        self._kept.clear()
        return text


def short_traceback(error: BaseException) -> str:
    """Return where an error came from and what it says: the user's own lines, and no paths of the machine."""
    package = __name__.partition(".")[0]
    lines = []
    for frame, number in traceback.walk_tb(error.__traceback__):
        if frame.f_globals.get("__name__", "").partition(".")[0] == package:
            continue
        code = frame.f_code
        text = linecache.getline(code.co_filename, number).strip()
        lines.append(f"{code.co_qualname}, line {number} of {_module(frame)}: {text}")
    text = "\n".join([*lines, "".join(traceback.format_exception_only(error)).rstrip()])
    return shown(text, MOST, keep_lines=True)


def _module(frame: FrameType) -> str:
    name = str(frame.f_globals.get("__name__", ""))
    file = frame.f_globals.get("__file__")
    return name if name != "__main__" else PurePath(file).name if isinstance(file, str) else "its cell"
