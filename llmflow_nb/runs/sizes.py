"""About how many bytes a record holds: from a few items and results of each batch, one level deep."""

import sys
from itertools import islice
from typing import Any

from ..engine.batch import PENDING, Batch

__all__ = ["bytes_of"]

SAMPLED = 4
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


_PLAIN = frozenset({str, bytes, bytearray, int, float, bool, complex, type(None)})


def _size(value: Any, *, deeper: bool = True) -> int:
    """About how many bytes a value takes, with what is in it."""
    cls = type(value)
    if cls in _PLAIN:
        return sys.getsizeof(value)
    inside: Any = ()
    if isinstance(value, dict):
        inside = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        inside = value
    elif cls.__module__.partition(".")[0] in ("numpy", "pandas"):  # sys.getsizeof would have pandas look at each cell
        of_table = getattr(value, "memory_usage", None)
        return int(of_table().sum()) if of_table is not None and value.ndim == 2 else int(getattr(value, "nbytes", 0))
    else:
        inside = getattr(value, "__dict__", {}).values()
    some = [_size(each, deeper=False) for each in islice(inside, SAMPLED)] if deeper else ()
    return object.__sizeof__(value) + (sum(some) * len(inside) // len(some) if some else 0)
