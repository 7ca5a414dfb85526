"""`BatchResult.debug`: a stepper at one row of a batch, with the item, the params and the state of that row."""

from typing import Any

from ..core.copying import Copier
from ..core.errors import RowError
from ..core.text import quoted
from ..engine.position import Position
from ..engine.resume import debug_item, debug_param_set
from ..engine.setup import Setup
from ..runs.batch import BatchResult
from ..runs.resuming import require_code
from .stepper import Stepper

__all__ = ["debug", "stepper_at"]


def debug(result: BatchResult, row: Any) -> Stepper:
    """Open a stepper at a row. See `BatchResult.debug`."""
    from ..runs.selection import rows_of

    (number,) = rows_of(result.df, result.path, [row])
    return stepper_at(result, number)


def stepper_at(result: BatchResult, number: int) -> Stepper:
    """Open a stepper at the row with this number, from 0.

    Raises:
        RowError: Its item was not kept.
    """
    require_code(result.run)
    batch, index = result._at([number])[0]
    label = number if batch.items.index is None else batch.items.label(index)
    node, run = batch.plan.node, result.run
    checkpoint = batch.checkpoints.get(index)
    try:
        item = batch.items.at(index)
    except LookupError:
        raise RowError(
            f"{result.path}: the item of row {quoted(label)} was not kept; keep_items=True keeps them."
        ) from None
    values = None if checkpoint is None else checkpoint.shared_values
    shared = Copier().copy(run.shared if values is None else values)

    def start(setup: Setup) -> Position:
        if not result.is_of_params:
            return debug_item(batch, Copier().copy(item), shared, setup)
        setup.from_start = False
        return debug_param_set(batch, index, checkpoint, shared, setup)

    title = f"row {quoted(label)} of {result.path}"
    return Stepper(
        node,
        shared,
        journal=None if run._journal is None else run._journal.journal,
        start=start,
        root=run.node,
        title=title,
    )
