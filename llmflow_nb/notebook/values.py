"""Values of users and models as short texts, whatever they are and whatever their ``__repr__`` does."""

import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any

from ..graph.text import shown

__all__ = ["CELL", "ValueTexts"]

CELL = 100
"""Characters of a value in a summary. The table itself (``.df``) has all of it."""

_DEPTH, _ELEMENTS = 3, 6
_PATIENCE = 0.5


class ValueTexts:
    """Turns values into texts, for one display.

    Text, numbers and the usual containers are written here. The ``__repr__`` of any other class is the user's code: it
    runs in a thread, and all of them together may take half a second; whatever they raise, sleep or return, there is a
    text.
    """

    def __init__(self) -> None:
        """Start the clock."""
        self._until = monotonic() + _PATIENCE
        self._slow: set[type] = set()

    def of(self, value: Any, length: int = CELL) -> str:
        """Return a value as one line of at most ``length`` characters: strings as they are, others as Python has it."""
        if isinstance(value, str) and type(value).__str__ is str.__str__:
            return shown(value, length) if value else "''"
        return shown(self._text(value, length, _DEPTH, ()), length)

    def _text(self, value: Any, length: int, depth: int, around: tuple[int, ...]) -> str:
        cls = type(value)
        if value is None or cls is bool or cls is float:
            return repr(value)
        if cls is str or cls is bytes:
            return repr(value[:length])
        if cls is int:
            return str(value) if value.bit_length() < 400 else f"<int of {value.bit_length()} bits>"
        if cls in _BRACKETS or cls is dict:
            if id(value) in around or depth == 0:
                return "..."
            return self._container(value, length, depth - 1, (*around, id(value)))
        shape = getattr(value, "shape", None) if cls.__module__.partition(".")[0] in ("pandas", "numpy") else None
        if shape is not None and cls.__name__ in ("DataFrame", "Series", "ndarray"):
            return f"<{cls.__name__} {' x '.join(map(str, shape))}>"
        return self._repr(value)

    def _container(self, value: Any, length: int, depth: int, around: tuple[int, ...]) -> str:
        parts: list[str] = []
        for n, element in enumerate(value):
            if n == _ELEMENTS or sum(map(len, parts)) > length:
                parts.append(f"... {len(value)} in all")
                break
            text = self._text(element, length, depth, around)
            if isinstance(value, Mapping):
                text += f": {self._text(value[element], length, depth, around)}"
            parts.append(text)
        left, right = _BRACKETS.get(type(value), ("{", "}"))
        return f"{left}{', '.join(parts)}{right}"

    def _repr(self, value: Any) -> str:
        cls = type(value)
        if cls in self._slow or monotonic() > self._until:
            return f"<{cls.__name__}>"
        found: list[Any] = []
        thread = threading.Thread(target=_try_repr, args=(value, found), name="llmflow_nb-repr", daemon=True)
        thread.start()
        thread.join(max(0.0, self._until - monotonic()))
        if not found:
            self._slow.add(cls)
            return f"<{cls.__name__}: its repr takes too long>"
        return str(found[0])


_BRACKETS: dict[type, tuple[str, str]] = {
    list: ("[", "]"),
    tuple: ("(", ")"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


def _try_repr(value: Any, found: list[Any]) -> None:
    try:
        found.append(repr(value)[:10_000])
    except BaseException as exc:  # the user's, and in a thread of its own: SystemExit would end only that
        found.append(f"<{type(value).__name__}: its repr raised {type(exc).__name__}>")
