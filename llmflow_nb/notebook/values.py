"""Values of users and models as short texts, whatever they are and whatever their ``__repr__`` does."""

import threading
from time import monotonic
from typing import Any

from ..core.text import characters, class_name, literal, shown, text_of

__all__ = ["CELL", "ValueTexts"]

CELL = 100
"""Characters of a value in a summary. The table itself (``.df``) has all of it."""

_PATIENCE = 0.5


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
                text = value if type(value) is str else self._in_thread(characters, value)
                return shown(text, length) if text else "''"
            return shown(literal(value, length, lambda found: self._in_thread(repr, found)), length)
        except Exception:  # a class that lies about itself
            return "<?>"

    def of_error(self, error: BaseException, length: int = 2 * CELL) -> str:
        """Return what an exception says, its first line; "" if that is nothing."""
        try:
            text = self._in_thread(text_of, error).lstrip().partition("\n")[0]
        except Exception:  # a class that lies about itself
            return "<?>"
        return shown(text, length) if text else ""

    def _in_thread(self, make: Any, value: Any) -> str:
        """What ``repr``, or `text_of`, makes of a value whose class is the user's."""
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


def _try(make: Any, value: Any, found: list[str]) -> None:
    try:
        found.append(str.__getitem__(make(value), slice(10_000)))
    except BaseException as exc:  # the user's, and in a thread of its own: SystemExit would end only that
        found.append(f"<{class_name(value)}: its repr raised {class_name(exc)}>")
