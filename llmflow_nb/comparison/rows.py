"""The rows of a comparison: which rows of the variants belong together, and what each variant has for them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ..core.encoding import content_of
from ..core.errors import RowError
from ..core.statuses import HAS_RESULT
from ..runs.rows import Item, item_of
from ..runs.run import Run

__all__ = ["Cell", "Row", "Scored", "cells_of", "joined"]

Scores = dict[str, float]


class Scored(NamedTuple):
    """What the score of one result is.

    Attributes:
        values: The numbers by name; "" if there is only one. Empty without a score.
        error: Why there is none; None if nothing failed.
    """

    values: Scores
    error: BaseException | None = None


class Cell(NamedTuple):
    """One row of one variant in one repeat.

    Attributes:
        item: The row's item.
        number: The number of the row in its batch, from 0; None for the result of a whole flow.
        label_names: The names of the levels of its label; None if the input has no labels.
        scored: Its score.
    """

    item: Item
    number: int | None
    label_names: tuple[Any, ...] | None = None
    scored: Scored = Scored({})

    @property
    def has_result(self) -> bool:
        """Whether there is a result, which may be None."""
        return self.item.status in HAS_RESULT


class Row(NamedTuple):
    """One row of the comparison.

    Attributes:
        label: Its label in the input, else its number.
        cells: The cells of each variant by the number of the repeat; a variant may lack the row in some of them.
    """

    label: Any
    cells: dict[str, dict[int, Cell]]

    def first(self, variant: str) -> Cell | None:
        """Return the cell of a variant in its first repeat; None if it has none."""
        return next(iter(self.cells.get(variant, {}).values()), None)

    def any_cell(self) -> Cell:
        """Return the first cell of the first variant that has the row."""
        return next(cell for cells in self.cells.values() for cell in cells.values())


Key = tuple[Any, ...]


def cells_of(run: Run, path: str) -> Iterator[tuple[Key, Cell]]:
    """Yield the rows of a batch with their keys; none if the run did not visit it.

    A key is made of the params, the number of the visit, and the label in the input or else the position.
    """
    try:
        result = run.batch(path)
    except RowError:  # another action has led past it
        return
    seen: Counter[Key] = Counter()
    number, usage = 0, result._usage_of_sets()
    for visit, batch in result._batches:
        params, index = content_of(dict(batch.params)), batch.items.index
        names = None if index is None else tuple(index.names)
        for position in range(batch.rows):
            item = item_of(batch, position, usage)
            key = (params, visit, position if names is None else content_of(item.label))
            yield (*key, seen[key]), Cell(item, number, names)
            seen[key] += 1
            number += 1


def joined(found: Iterable[tuple[str, int, Iterable[tuple[Key, Cell]]]], variants: Iterable[str]) -> dict[Key, Row]:
    """Return the rows by key, in the order of the variant that comes first.

    Args:
        found: The rows of each run, with the name of its variant and the number of the repeat.
        variants: The names of the variants in order.
    """
    names = list(variants)
    rows: dict[Key, Row] = {}
    for name, repeat, cells in sorted(found, key=lambda run: (names.index(run[0]), run[1])):
        for key, cell in cells:
            if key not in rows:
                label = len(rows) if cell.label_names is None else cell.item.label
                rows[key] = Row(label, {known: {} for known in names})
            rows[key].cells[name][repeat] = cell
    return rows
