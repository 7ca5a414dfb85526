"""A stepper at one row of a batch: with the item, the params and the state that it had."""

from typing import Any

from ..core.errors import RowError
from ..core.text import quoted
from ..engine.mark import Mark
from ..engine.plan import Setup
from ..engine.position import Position
from ..engine.resume import at_item, at_set
from ..runs.batch import BatchResult
from .stepper import Stepper
from .values import Copier

__all__ = ["debug"]


def debug(result: BatchResult, row: Any) -> Stepper:
    """Open a stepper at a row. See `BatchResult.debug`."""
    from ..runs.tables import rows_of

    (number,) = rows_of(result.df, result.path, [row])
    batch, place = result._at([number])[0]
    label = number if batch.index is None else batch.row_at(place)
    node, run = batch.plan.node, result.run
    kept = batch.kept.get(place)
    if kept is not None and kept.frames[0].owner is None:  # of rows that were called again
        kept = None
    try:
        item = batch.item_at(place)
    except LookupError:
        raise RowError(
            f"{result.path}: the item of row {quoted(row)} was not kept; keep_items=True keeps them."
        ) from None
    then = run.shared if kept is None or kept.seen is None else kept.seen
    shared = Copier().copy(then)

    def start(setup: Setup) -> Position:
        if not result.is_of_params:
            return at_item(batch, Copier().copy(item), shared, setup)
        setup.from_start = False
        again = None if kept is None else Mark(kept).position()[0]  # so that the record stays as it is
        return at_set(batch, place, again, shared, setup)

    return Stepper(node, shared, start=start, root=run.node, title=f"row {quoted(label)} of {result.path}")
