"""Compare the rows of two runs. This file imports pandas, so it is imported only when runs are compared."""

from collections import Counter
from typing import Any, NamedTuple

import pandas as pd

from ..core.encoding import content_of
from .batch import BatchResult
from .tables import TEXT, series

__all__ = ["diff"]

_KINDS = {"path": TEXT, "position": "Int64", "status_before": TEXT, "status_after": TEXT}


class _Row(NamedTuple):
    path: str
    position: int
    item: Any
    result: Any
    status: str
    content: bytes  # of the result


def diff(after: list[BatchResult], before: list[BatchResult]) -> pd.DataFrame:
    """See `Run.diff`."""
    old_rows, new_rows = _rows(before), _rows(after)
    found: list[tuple[Any, ...]] = []
    for key in dict.fromkeys([*new_rows, *old_rows]):
        old, new = old_rows.get(key), new_rows.get(key)
        if old is None or new is None or (old.status, old.content) != (new.status, new.content):
            row = new or old
            assert row is not None
            results = (old and old.result), (new and new.result)
            found.append((row.path, row.position, row.item, *results, old and old.status, new and new.status))
    names = ("path", "position", "item", "before", "after", "status_before", "status_after")
    columns = {name: [row[n] for row in found] for n, name in enumerate(names)}
    return pd.DataFrame({name: series(values, _KINDS.get(name, object)) for name, values in columns.items()})


def _rows(batches: list[BatchResult]) -> dict[tuple[Any, ...], _Row]:
    """Return the rows of batches, by what tells which rows belong together."""
    found: dict[tuple[Any, ...], _Row] = {}
    seen: Counter[tuple[Any, ...]] = Counter()
    for result in batches:
        for item in result:
            is_known = item.item is not None or item.status != "pending"
            known_by = content_of((dict(item.params), item.item)) if is_known else item.position
            key = result.path, known_by
            nth, seen[key] = seen[key], seen[key] + 1
            row = _Row(result.path, item.position, item.item, item.result, item.status, content_of(item.result))
            found[(*key, nth)] = row
    return found
