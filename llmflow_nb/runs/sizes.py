"""About how many bytes a record holds: from a few items and results of each batch, one level deep."""

import sys
from itertools import islice
from typing import Any

from ..engine.batch import PENDING, Batch

__all__ = ["bytes_of"]

SAMPLED = 8
"""Rows of a batch, and elements of a list or a dict in it, that are looked at."""


def bytes_of(batch: Batch, known: set[int]) -> tuple[int, set[int]]:
    """Return about how many bytes a batch holds, and the ids of the values that were looked at.

    Args:
        batch: The batch. Its work should be done.
        known: Ids of values that another batch holds too, which are not counted again.
    """
    total = 0
    seen: set[int] = set()
    for column in (batch.items, batch.results):
        if column:
            step = max(1, len(column) // SAMPLED)
            values = [value for value in column[::step] if value is not PENDING]
            seen.update(map(id, values))
            new = [_size(value) for value in values if id(value) not in known]
            total += sum(new) * len(column) // max(1, len(values))
    return total + len(batch.results) * 16, seen


def _size(value: Any, *, deeper: bool = True) -> int:
    """About how many bytes a value takes, with what is in it."""
    if isinstance(value, str | bytes | bytearray | int | float | None):
        return sys.getsizeof(value)
    # Not by sys.getsizeof, for which pandas looks at each cell.
    if type(value).__module__.partition(".")[0] in ("numpy", "pandas"):
        of_table = getattr(value, "memory_usage", None)
        return int(of_table().sum()) if of_table is not None and value.ndim == 2 else int(getattr(value, "nbytes", 0))
    inside: Any = ()
    if deeper:
        if isinstance(value, dict):
            inside = value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            inside = value
        else:
            inside = getattr(value, "__dict__", {}).values()
    some = [_size(each, deeper=False) for each in islice(inside, SAMPLED)]
    return object.__sizeof__(value) + (sum(some) * len(inside) // len(some) if some else 0)
