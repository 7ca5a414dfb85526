"""The data that code reads from its module, its class and its closures, for fingerprints."""

from typing import Any

__all__ = ["CodeData", "Place"]

Place = tuple[Any, ...]
"""Where a value was found, such as ("my_module", "Ask", "exec", "closure", "model")."""


class CodeData:
    """Decides what the data at each place count as: their state when they were first read, until a user edits them.

    A log that hooks append to, or a number that they count up, is no edit. A change between two calls of
    `Fingerprints.settle` is one.

    Attributes:
        is_settling: Whether the state that is read now replaces the settled one without being an edit.
    """

    def __init__(self) -> None:
        self.is_settling = False
        self._states: dict[Place, tuple[bytes, bytes]] = {}  # what they count as, and what they were when settled
        self._large: dict[Place, tuple[Any, list[type] | None]] = {}

    def counted(self, place: Place, now: bytes | None = None) -> bytes:
        """Return what the data at a place count as.

        Args:
            place: Where they are.
            now: Their present state. None: the same state as before.
        """
        first, settled = self._states[place] if now is None else self._states.get(place, (now, now))
        if now is not None and now != settled:
            first = first if self.is_settling else now
        self._states[place] = first, settled if now is None else now
        return first

    def keep_large(self, place: Place, value: Any, classes: list[type]) -> None:
        """Remember data that take long to read. They count as the same as long as they are the same object."""
        self._large[place] = value, classes

    def large(self, place: Place, value: Any) -> list[type] | None:
        """Return the classes of the objects in large data that were read before; None if they were not."""
        found, classes = self._large.get(place, (self, None))
        return classes if found is value else None
