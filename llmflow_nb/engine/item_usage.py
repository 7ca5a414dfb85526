"""What the calls of each item of a batch have used."""

from collections.abc import Iterable
from threading import Lock

from ..core.usage import Usage

__all__ = ["ItemUsage"]


class ItemUsage:
    """What the calls of each item have reported with `spend`, by the index of the item.

    The items of a batch flow are its param sets: what is used there is in the batches and visits within.

    Attributes:
        in_record: Of a single call that has ended, the list that the record has: a late report is added there too.
    """

    __slots__ = ("_items", "in_record")
    _lock = Lock()

    def __init__(self, items: Iterable[tuple[int, tuple[Usage, ...]]] = ()) -> None:
        self._items = dict(items)
        self.in_record: list[Usage] | None = (
            None  # of a single call that has ended: what the record has, and late reports
        )

    def __bool__(self) -> bool:
        """Return whether anything was reported."""
        return bool(self._items)

    def add(self, index: int, usages: Iterable[Usage]) -> None:
        """Add a report. Called from any thread, also by a call that was not waited for any more."""
        new = tuple(usages)
        with self._lock:
            self._items[index] = self.of(index) + new
            if self.in_record is not None:
                self.in_record.extend(new)

    def of(self, index: int) -> tuple[Usage, ...]:
        """Return what the calls of an item have used so far."""
        return self._items.get(index, ())

    def all(self) -> tuple[Usage, ...]:
        """Return what the calls of all items have used so far."""
        return tuple(usage for used in list(self._items.values()) for usage in used)

    def take(self, index: int) -> tuple[Usage, ...]:
        """Remove and return what the calls of an item have used."""
        return self._items.pop(index, ())

    def first(self, count: int) -> "ItemUsage":
        """Return a copy with the items before an index."""
        return ItemUsage((index, used) for index, used in list(self._items.items()) if index < count)
