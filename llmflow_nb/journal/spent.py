"""What calls have used, as a column of a journal holds it: JSON, one list for each model."""

import json
from collections.abc import Iterable
from typing import Any

from ..core.usage import Usage, merged

__all__ = ["spent_from", "spent_text"]


def spent_text(usages: Iterable[Usage]) -> str | None:
    """Return what a column holds: the fields of `Usage`, for each model; None for nothing."""
    rows = merged(usages)
    return json.dumps(rows) if rows else None


def spent_from(stored: Any, *, replayed: bool = False) -> tuple[Usage, ...]:
    """Return what a column holds. ``replayed``: an earlier run has paid for it.

    Raises:
        TypeError: Somebody has changed it.
        ValueError: The same.
    """
    return tuple(_usage(row, replayed) for row in json.loads(stored)) if stored is not None else ()


def _usage(row: Any, replayed: bool) -> Usage:
    model, tokens_in, tokens_out, cached, cost, provider, was_replayed, cache_written = row
    return Usage(
        str(model),
        int(tokens_in),
        int(tokens_out),
        int(cached),
        None if cost is None else float(cost),
        None if provider is None else str(provider),
        replayed or bool(was_replayed),
        int(cache_written),
    )
