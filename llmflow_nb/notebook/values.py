"""Values of users and models as short texts, whatever they are and whatever their ``__repr__`` does."""

import threading
from collections import deque
from time import monotonic
from typing import Any

from ..core.errors import said
from ..graph.text import shown

__all__ = ["CELL", "ValueTexts", "class_name"]

CELL = 100
"""Characters of a value in a summary. The table itself (``.df``) has all of it."""

_DEPTH, _ELEMENTS = 3, 6
_PATIENCE = 0.5
_LARGE = 1000

_BRACKETS = ((list, "[", "]"), (tuple, "(", ")"), (set, "{", "}"), (frozenset, "frozenset({", "})"), (dict, "{", "}"))
_SIZED: tuple[Any, ...] = (list, tuple, dict, set, frozenset, deque, bytearray, memoryview)


class ValueTexts:
    """Turns values into texts, for one display.

    Text, numbers and the usual containers are written here. The ``__repr__`` of any other class, and the ``__str__`` of
    an exception, is the user's code: it runs in a thread, and all of them together may take half a second; whatever
    they raise, sleep or return, there is a text.
    """

    def __init__(self) -> None:
        """Start the clock."""
        self._until = monotonic() + _PATIENCE
        self._slow: set[int] = set()

    def of(self, value: Any, length: int = CELL) -> str:
        """Return a value as one line of at most ``length`` characters: strings as they are, others as Python has it."""
        try:
            if issubclass(type(value), str):
                return shown(value, length) if str.__len__(value) else "''"
            return shown(self._text(value, length, _DEPTH, ()), length)
        except Exception:  # a class that lies about itself
            return "<?>"

    def of_error(self, error: BaseException, length: int = 2 * CELL) -> str:
        """Return what an exception says, its first line; "" if that is nothing."""
        try:
            text = self._in_thread(said, error).lstrip().partition("\n")[0]
        except Exception:  # a class that lies about itself
            return "<?>"
        return shown(text, length) if text else ""

    def _text(self, value: Any, length: int, depth: int, around: tuple[int, ...]) -> str:
        cls = type(value)
        if value is None or cls is bool or cls is float:
            return repr(value)
        if cls is str or cls is bytes:
            return repr(value[:length])
        if cls is int:
            return str(value) if value.bit_length() < 400 else f"<int of {value.bit_length()} bits>"
        for known, left, right in _BRACKETS:
            if cls is known:
                if id(value) in around or depth == 0:
                    return "..."
                return self._container(value, left, right, length, depth - 1, (*around, id(value)))
        for known in _SIZED:
            if issubclass(cls, known) and known.__len__(value) > _LARGE:  # its repr would hold up every thread
                return f"<{class_name(value)} of {known.__len__(value):,}>"
        if str(getattr(cls, "__module__", "")).partition(".")[0] in ("pandas", "numpy") and hasattr(cls, "shape"):
            return f"<{class_name(value)} {' x '.join(map(str, value.shape))}>" if value.shape else repr(value)
        return self._in_thread(repr, value)

    def _container(self, value: Any, left: str, right: str, length: int, depth: int, around: tuple[int, ...]) -> str:
        if not value and type(value) is set:
            return "set()"
        parts: list[str] = []
        for n, element in enumerate(value.items() if type(value) is dict else value):
            if n == _ELEMENTS or sum(map(len, parts)) > length:
                parts.append(f"... {len(value)} in all")
                break
            if type(value) is dict:
                key, element = element
                parts.append(f"{self._text(key, length, depth, around)}: {self._text(element, length, depth, around)}")
            else:
                parts.append(self._text(element, length, depth, around))
        comma = "," if type(value) is tuple and len(value) == 1 else ""
        return f"{left}{', '.join(parts)}{comma}{right}"

    def _in_thread(self, make: Any, value: Any) -> str:
        """What ``repr``, or `said`, makes of a value whose class is the user's."""
        cls = type(value)
        if id(cls) in self._slow or monotonic() > self._until:
            return f"<{class_name(value)}>"
        found: list[str] = []
        thread = threading.Thread(target=_try, args=(make, value, found), name="llmflow_nb-repr", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no further thread to be had
            return f"<{class_name(value)}>"
        thread.join(max(0.0, self._until - monotonic()))
        if not found:
            self._slow.add(id(cls))
            return f"<{class_name(value)}: its repr takes too long>"
        return found[0]


def class_name(value: Any) -> str:
    """Return the name of a value's class, also where its metaclass would say something else."""
    return str(type.__dict__["__name__"].__get__(type(value)))


def _try(make: Any, value: Any, found: list[str]) -> None:
    try:
        found.append(str.__getitem__(make(value), slice(10_000)))
    except BaseException as exc:  # the user's, and in a thread of its own: SystemExit would end only that
        found.append(f"<{class_name(value)}: its repr raised {class_name(exc)}>")
