"""The items of a batch that are called again."""

from collections import deque

from .outcomes import Outcome

__all__ = ["RetryQueue"]


class RetryQueue:
    """Items to call again before any other is read. They are taken in order, and remembered until the retry ends."""

    __slots__ = ("previous", "waiting")

    def __init__(self, previous: dict[int, tuple[Outcome, float]]) -> None:
        """Queue all of these items. ``previous``: their outcomes so far and their seconds, by index."""
        self.previous = previous
        self.waiting = deque(previous)

    def __len__(self) -> int:
        """Return the number of items that wait."""
        return len(self.waiting)

    def take(self) -> tuple[int, Outcome]:
        """Remove the next item. Return its index and the outcome that it had."""
        index = self.waiting.popleft()
        return index, self.previous[index][0]

    def taken(self) -> set[int]:
        """Return the items that do not wait any more."""
        return self.previous.keys() - set(self.waiting)
