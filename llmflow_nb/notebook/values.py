"""Short texts for numbers, times, and any other values, whatever their ``__repr__`` does."""

import threading
from time import monotonic
from typing import Any

from ..core.text import characters, class_name, literal, shown, text_of

__all__ = ["CELL", "ValueTexts", "duration"]

CELL = 100
"""The number of characters of a value in a summary. The table itself (``.df``) has the whole value."""

_TIME_LIMIT = 0.5


class ValueTexts:
    """Turns values into texts, for one display.

    Text, numbers and the usual containers are written without user code. The ``__repr__`` of any other class and the
    ``__str__`` of an exception are user code: they run in a thread, and together have half a second. If they raise,
    hang or return no text, the value gets a text with its class.
    """

    def __init__(self) -> None:
        """Start the time limit."""
        self._until = monotonic() + _TIME_LIMIT
        self._slow: set[int] = set()

    def of(self, value: Any, length: int = CELL) -> str:
        """Return a value as one line of at most ``length`` characters: strings as they are, others as ``repr``."""
        try:
            if issubclass(type(value), str):
                text = value if type(value) is str else self._in_thread(characters, value)
                return shown(text, length) if text else "''"
            return shown(literal(value, length, lambda found: self._in_thread(repr, found)), length)
        except Exception:  # a class with a false __class__ or a broken method
            return "<?>"

    def of_error(self, error: BaseException, length: int = 2 * CELL) -> str:
        """Return the first line of an exception's text; "" if it has none."""
        try:
            text = self._in_thread(text_of, error).lstrip().partition("\n")[0]
        except Exception:  # a class with a false __class__ or a broken method
            return "<?>"
        return shown(text, length) if text else ""

    def _in_thread(self, make: Any, value: Any) -> str:
        """Call ``repr`` or `text_of` on a value of a user's class, within the time limit."""
        cls = type(value)
        if id(cls) in self._slow or monotonic() > self._until:
            return f"<{class_name(value)}>"
        found: list[str] = []
        thread = threading.Thread(target=_try, args=(make, value, found), name="llmflow_nb-repr", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads can be started
            return f"<{class_name(value)}>"
        thread.join(max(0.0, self._until - monotonic()))
        if not found:
            self._slow.add(id(cls))
            return f"<{class_name(value)}: its repr takes too long>"
        return found[0]


def _try(make: Any, value: Any, found: list[str]) -> None:
    try:
        found.append(str.__getitem__(make(value), slice(10_000)))
    except BaseException as exc:  # raised by user code in this thread only, SystemExit too
        found.append(f"<{class_name(value)}: its repr raised {class_name(exc)}>")


def duration(seconds: float) -> str:
    """Return seconds as a text: "12 ms", "3.4 s", "2 min 05 s"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
