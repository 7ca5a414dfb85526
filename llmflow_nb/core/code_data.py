"""The data that code reads from its module, its class and its closures, for fingerprints."""

from typing import Any

Place = tuple[Any, ...]
"""Where a value was found, such as ("my_module", "Ask", "exec", "closure", "model")."""


class CodeData:
    """The state of the data at each place that a fingerprint contains: the first one, until a user edits the data.

    A log that hooks append to, or a number that they increment, is not an edit. A change between two calls of
    `Fingerprints.settle` is one.

    Attributes:
        is_settling: Whether the changes that are read now are the code's own, and no edits.
    """

    def __init__(self) -> None:
        self.is_settling = False
        self._states: dict[Place, tuple[bytes, bytes]] = {}  # in the fingerprint, and when last read
        self._large: dict[Place, tuple[Any, list[type] | None]] = {}

    def counted(self, place: Place, now: bytes | None = None) -> bytes:
        """Return the state of the data at a place that counts in a fingerprint.

        Args:
            place: Where the data are.
            now: Their current state. None: as before.
        """
        if now is None:
            return self._states[place][0]
        first, before = self._states.get(place, (now, now))
        if now != before and not self.is_settling:
            first = now
        self._states[place] = first, now
        return first

    def keep_large(self, place: Place, value: Any, classes: list[type]) -> None:
        """Remember data that take long to read. They count as unchanged as long as they are the same object."""
        self._large[place] = value, classes

    def large(self, place: Place, value: Any) -> list[type] | None:
        """Return the classes of the objects in large data that were read before; None if these data were not."""
        found, classes = self._large.get(place, (self, None))
        return classes if found is value else None
