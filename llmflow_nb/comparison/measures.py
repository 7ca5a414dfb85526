"""What is compared: for each row and variant the score, how it differs from the baseline, and what failed."""

from collections.abc import Iterator
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from ..core.encoding import content_of, digest, encode, name_of, pack
from ..core.kinds import BY_NAME
from .rows import Cell, Row
from .statistics import TOLERANCE, Difference, adjusted, difference

__all__ = ["Measures"]


class Measures:
    """The scores of some variants, row by row. The first variant is the baseline.

    Attributes:
        rows: The rows.
        names: The names of the variants.
        repeats: How often each variant was run.
        is_scored: Whether the results were scored, even if no row has a score.
    """

    def __init__(self, rows: list[Row], names: list[str], repeats: int, *, is_scored: bool = False) -> None:
        """Take the rows, with their scores."""
        self.rows = rows
        self.names = names
        self.repeats = repeats
        self.is_scored = is_scored

    @property
    def baseline(self) -> str:
        """The name of the first variant."""
        return self.names[0]

    @property
    def others(self) -> list[str]:
        """The names of the variants that are compared with the baseline."""
        return self.names[1:]

    @cached_property
    def scores(self) -> list[str]:
        """The names of the scores. The first one decides what is better; its name is "" if the score is a number."""
        return list(dict.fromkeys(name for cell in self._cells() for name in cell.scored.values))

    @cached_property
    def differences(self) -> dict[str, Difference]:
        """How the scores of each variant differ from those of the baseline; empty without scores."""
        if not self.scores:
            return {}
        by_variant = {name: [self.score(row, name) for row in self.rows] for name in self.names}
        before = by_variant[self.baseline]
        found = adjusted([difference(before, by_variant[name]) for name in self.others])
        return dict(zip(self.others, found, strict=True))

    @cached_property
    def has_usage(self) -> bool:
        """Whether a call of a row has reported what it has used."""
        return any(cell.item.usage for cell in self._cells())

    @property
    def failures(self) -> list[tuple[str, Any, BaseException | None]]:
        """What failed: the variant, the label of the row, and the exception of the call, or of its score."""
        return [
            (variant, row.label, cell.scored.error if cell.has_result else cell.item.error)
            for row in self.rows
            for variant, cells in row.cells.items()
            for cell in cells.values()
            if not cell.has_result or cell.scored.error is not None
        ]

    def unscored(self, variant: str) -> int:
        """Return the number of rows of a variant, in all repeats, that have a result and no first score."""
        name = next(iter(self.scores), "")
        cells = [cell for row in self.rows for cell in row.cells[variant].values()]
        return sum(cell.has_result and name not in cell.scored.values for cell in cells) if self.is_scored else 0

    def compared(self, variant: str) -> int:
        """Return the number of rows in which a variant and the baseline both have a score, or a result if unscored."""
        if self.is_scored:
            return sum(self.delta(row, variant) is not None for row in self.rows)
        known = self.baseline, variant
        return sum(all(any(c.has_result for c in row.cells[name].values()) for name in known) for row in self.rows)

    def score(self, row: Row, variant: str, name: str | None = None) -> float | None:
        """Return the score of a variant in a row, as the mean over the repeats; None if there is none.

        Args:
            row: The row.
            variant: The variant.
            name: The name of the score; None for the first one.
        """
        found = self._scores_of(row, variant, name)
        return fmean(found) if found else None

    def spread(self, row: Row, variant: str) -> float | None:
        """Return the standard deviation of the first score over the repeats; None with fewer than two."""
        found = self._scores_of(row, variant, None)
        return stdev(found) if len(found) > 1 else None

    def delta(self, row: Row, variant: str) -> float | None:
        """Return the score of a variant minus that of the baseline; None if one of them is missing."""
        before, after = self.score(row, self.baseline), self.score(row, variant)
        if before is None or after is None:
            return None
        return 0.0 if abs(after - before) < TOLERANCE else after - before

    def is_changed(self, row: Row, variant: str) -> bool:
        """Return whether a variant has another result than the baseline in any repeat, or only one of them has one."""
        before, after = row.cells[self.baseline], row.cells[variant]
        return any(_state(before.get(n)) != _state(after.get(n)) for n in before.keys() | after.keys())

    @cached_property
    def other_items(self) -> dict[str, list[bool]]:
        """For each variant and row, whether its item differs from that of the baseline: the wrong ones may be paired.

        An item that only one of them has does not count.
        """
        before = [_item_content(row.first(self.baseline)) for row in self.rows]
        return {
            name: [
                first is not None and (content := _item_content(row.first(name))) is not None and content != first
                for row, first in zip(self.rows, before, strict=True)
            ]
            for name in self.others
        }

    def _scores_of(self, row: Row, variant: str, name: str | None) -> list[float]:
        name = next(iter(self.scores), "") if name is None else name
        cells = row.cells[variant].values()
        return [cell.scored.values[name] for cell in cells if name in cell.scored.values]

    def _cells(self) -> Iterator[Cell]:
        return (cell for row in self.rows for cells in row.cells.values() for cell in cells.values())

    def worst_first(self) -> list[Row]:
        """Return the rows that got worse, then others that failed, that got better, that changed, and the rest."""
        return sorted(self.rows, key=self._rank)

    def is_regression(self, row: Row, variant: str) -> bool:
        """Return whether a variant has a lower score than the baseline, or has no result where the baseline has one."""
        delta = self.delta(row, variant)
        before, after = row.cells[self.baseline], row.cells[variant]
        is_lost = any(cell.has_result and n in after and not after[n].has_result for n, cell in before.items())
        return is_lost or (delta is not None and delta < 0)

    def _rank(self, row: Row) -> tuple[int, float]:
        deltas = [delta for name in self.others if (delta := self.delta(row, name)) is not None]
        if any(self.is_regression(row, name) for name in self.others):
            return 0, min(deltas, default=0.0)
        if any(not cell.has_result for cells in row.cells.values() for cell in cells.values()):
            return 1, 0.0
        if deltas and max(deltas) > 0:
            return 2, -max(deltas)
        return (3 if any(self.is_changed(row, name) for name in self.others) else 4), 0.0


def _item_content(cell: Cell | None) -> bytes | None:
    """Return what is compared of an item; None if it is not known.

    Each variant has its own copies of objects that are not data, so these are compared by their class.
    """
    if cell is None or cell.number is None:
        return None
    try:
        return digest(encode(cell.item.item, _name_or_class))
    except RecursionError:
        return None


def _name_or_class(value: Any) -> bytes:
    return name_of(value) if isinstance(value, BY_NAME) else pack("object", name_of(type(value)))


def _state(cell: Cell | None) -> Any:
    """Return what is compared of a cell: the content of its result, or that it has none."""
    return None if cell is None or not cell.has_result else content_of(cell.item.result)
