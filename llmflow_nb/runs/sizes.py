"""Bound a record by bytes: estimate the size of each batch, and choose the batches to drop."""

import sys
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Any

from ..engine.batch import PENDING, Batch

__all__ = ["MAX_BYTES", "ByteBudget"]

MAX_BYTES = 1_000_000_000
"""About the number of bytes of items and results that a record keeps."""
SAMPLED = 4
"""The number of rows of a batch, and of elements of a list, in an estimate."""
SAMPLED_FIELDS = 16
"""The number of values of a dict, or attributes of an object, in an estimate."""
LOOKED_AT = 32
"""The number of values after which the estimate of one item does not look inside containers any more."""
SMALL_VALUES = 32
SMALL_CHARACTERS = 1_000
"""Smaller batches are not counted. The bound on the number of visits keeps all of them below 1 GB."""

_NUMBERS = frozenset({int, float, bool, type(None)})
_PLAIN = frozenset({str, bytes, bytearray, int, float, bool, complex, type(None)})


class ByteBudget:
    """Estimate the bytes of the batches in a record. Each batch is measured once, when all its items have ended."""

    def __init__(self) -> None:
        self._unmeasured: deque[Batch] = deque()
        self._sizes: dict[int, int] = {}  # by the id of a batch
        self._latest_values: dict[str, set[int]] = {}  # ids of values in the latest batch of each path
        self._bytes = 0

    def add(self, batch: Batch) -> None:
        """Count a new batch as soon as it has ended."""
        self._unmeasured.append(batch)

    def measure(self) -> bool:
        """Measure some of the batches that have ended; return whether the record holds too many bytes."""
        unmeasured = self._unmeasured
        for _ in range(min(4, len(unmeasured))):  # a few each time: many may be in progress at once
            batch = unmeasured.popleft()
            if not batch.is_done:
                unmeasured.append(batch)
            elif not _is_small(batch):
                size, values = _measure(batch, self._latest_values.get(batch.path, set()))
                self._latest_values[batch.path] = values
                self._sizes[id(batch)] = size
                self._bytes += size
        return self._bytes > MAX_BYTES

    def surplus(self, batches: list[Batch]) -> list[Batch]:
        """Return the oldest batches that must be dropped to get well below the limit again.

        The latest batch of each path and batches in progress are never dropped.
        """
        latest = {batch.path: batch for batch in batches}
        old, left = [], self._bytes
        for batch in batches:
            if left <= MAX_BYTES * 3 // 4:
                break
            if batch.is_done and latest[batch.path] is not batch:
                old.append(batch)
                left -= self._sizes.get(id(batch), 0)
        return old

    def remove(self, ids: Iterable[int]) -> None:
        """Forget batches, by their ids."""
        gone = set(ids)
        self._unmeasured = deque(batch for batch in self._unmeasured if id(batch) not in gone)
        self._bytes -= sum(self._sizes.pop(each, 0) for each in gone)


def _is_small(batch: Batch) -> bool:
    """Whether a batch holds a few short texts and numbers, in containers or not. Takes 3 us, an estimate 25 us."""
    results = batch.outcomes.results
    if len(results) > SMALL_VALUES:
        return False
    values = [*results, *(batch.items.values or ())]
    characters = 0
    for value in values:  # grows as it is read
        cls = type(value)
        if cls is str or cls is bytes:
            characters += len(value)
        elif cls in _NUMBERS:
            continue
        elif cls is dict and len(value) <= SMALL_VALUES >= len(values):
            values += value.values()
        elif cls in (list, tuple) and len(value) <= SMALL_VALUES >= len(values):
            values += value
        else:
            return False
    return characters <= SMALL_CHARACTERS


def _measure(batch: Batch, known: set[int]) -> tuple[int, set[int]]:
    """Return about how many bytes a batch holds, and the ids of the values that were looked at.

    Args:
        batch: The batch. All its items have ended.
        known: Ids of values that are not counted, since another batch holds them too.
    """
    total = 0
    seen: set[int] = set()
    for column in (batch.items.values, batch.outcomes.results):
        if column:
            step = max(1, len(column) // SAMPLED)
            values = [value for value in column[::step] if value is not PENDING]
            seen.update(map(id, values))
            new = [_size(value) for value in values if id(value) not in known]
            total += sum(new) * len(column) // max(1, len(values))
    return total + len(batch.outcomes.results) * 16, seen


def _size(value: Any) -> int:
    try:
        return _estimate(value)
    except Exception:  # from a user's class; an estimate must not end the run
        return 0


def _estimate(value: Any) -> int:
    """Return about how many bytes a value takes, with its elements at any depth: a sample of them, scaled up."""
    total = 0.0
    todo = [(value, 1.0)]
    for each, weight in todo:  # grows as it is read
        cls = type(each)
        if cls in _PLAIN:
            total += weight * sys.getsizeof(each)
        elif cls.__module__.partition(".")[0] in ("numpy", "pandas"):  # whose getsizeof would look at each cell
            total += weight * _bytes_of_array(each)
        else:
            total += weight * object.__sizeof__(each)
            if len(todo) < LOOKED_AT:
                some, number = _elements(each)
                todo += [(element, weight * number / len(some)) for element in some]
    return int(total)


def _elements(value: Any) -> tuple[list[Any], int]:
    """Return some elements of a container, or values of attributes, and their number."""
    if isinstance(value, list | tuple | set | frozenset):
        return list(islice(value, SAMPLED)), len(value)
    fields = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return list(islice(fields.values(), SAMPLED_FIELDS)), len(fields)


def _bytes_of_array(value: Any) -> int:
    of_table = getattr(value, "memory_usage", None)
    return int(of_table().sum()) if of_table is not None and value.ndim == 2 else int(getattr(value, "nbytes", 0))
