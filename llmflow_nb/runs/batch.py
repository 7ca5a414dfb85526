"""The items of one batch node, or the param sets of one batch flow: a sequence and a table."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, overload

from ..core.api.records import BatchMethods
from ..core.prices import UsageSum, sum_of
from ..core.statuses import FAILURES, HAS_RESULT, STATUSES
from ..core.text import quoted, shown
from ..core.usage import Usage
from ..engine.batch import Batch
from .rows import Item, UsageOfSets, failed_rows, item_of, usage_by_param_set

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["BatchResult"]


class BatchResult(BatchMethods):
    """The items of one batch node in a run, or the param sets of one batch flow. `df` is the table.

    It is also a sequence of `Item`, one for each item of the input, in input order. Items that were not called are in
    it too, with the status "pending". If the node was visited several times, the items of its first visit come first.

    A batch shows the current state of the record, also during the run and after a `retry`. It has the visits that had
    started when ``run.batch(...)`` returned it. Call ``run.batch(...)`` again to get later visits.

    Attributes:
        run: The run that the batch belongs to.
        path: The names from the outermost flow down to the node, joined by "/". If it ends with ".exec", the items are
            the elements that the ``exec`` of a batch flow returned.
        called_again: The numbers of the rows that the latest `retry` of this object called.
    """

    _shown_as = "batch"

    def __init__(self, run: Any, path: str, batches: list[tuple[int, Batch]]) -> None:
        """Take the visits of one node, each with its number on its walk."""
        self.run = run
        self.path = path
        self._batches = batches
        self.called_again: list[int] = []
        self._view: Any = None  # the widget that shows it

    def __len__(self) -> int:
        """Return the number of items that are known so far."""
        return sum(batch.rows for _, batch in self._batches)

    def __iter__(self) -> Iterator[Item]:
        """Iterate over the items, the earliest visit first."""
        usage = self._usage_of_sets()
        return (item_of(batch, position, usage) for _, batch in self._batches for position in range(batch.rows))

    @overload
    def __getitem__(self, row: int) -> Item: ...
    @overload
    def __getitem__(self, row: slice) -> list[Item]: ...
    def __getitem__(self, row: int | slice) -> Item | list[Item]:
        """Return the item in a row. Rows count from 0 over all visits, negative rows from the end.

        Raises:
            IndexError: There is no such row.
            TypeError: ``row`` is no whole number. Labels and column names work in `df`.
        """
        if isinstance(row, slice):
            usage = self._usage_of_sets()
            return [item_of(*at, usage) for at in self._at(range(len(self))[row])]
        if not hasattr(type(row), "__index__"):
            raise TypeError(f"{quoted(row)} is not a row number (rows count from 0); use .df for labels and columns.")
        return item_of(*self._at([row.__index__()])[0], self._usage_of_sets())

    def __repr__(self) -> str:
        """Count the items by status."""
        counts = ", ".join(f"{n} {status}" for status, n in self.counts.items())
        what = "param sets" if self.is_of_params else "items"
        return f"<{shown(self.path, 320)}: {len(self)} {what}, {counts or 'none'}>"

    @property
    def is_of_params(self) -> bool:
        """Whether these are the param sets of a `BatchFlow`, rather than the items of a `BatchNode`."""
        return self._batches[0][1].plan.facts.kind == "batch_flow"

    @property
    def usage(self) -> UsageSum:
        """The tokens and dollars of all rows, as they were reported with `spend`. A replayed call is free."""
        return sum_of(self._usages())

    def _usages(self) -> list[Usage]:
        """Return what was reported in all rows. No object is made for each row: a summary asks this."""
        sets = self._usage_of_sets()
        if sets is None:
            return [usage for _, batch in self._batches for usage in batch.usage.all()]
        own = {id(batch) for _, batch in self._batches}
        return [usage for (batch, _), used in sets.items() if batch in own for usage in used]

    def _usage_of_sets(self) -> UsageOfSets | None:
        return usage_by_param_set(self.run._recorder) if self.is_of_params else None

    @property
    def _replayed(self) -> int:
        """The number of rows that a journal answered."""
        return sum(len(batch.outcomes.replayed) for _, batch in self._batches) if self.run._has_journal else 0

    def _is_replayed(self, row: int) -> bool:
        """Return whether a journal answered a row."""
        batch, position = self._at([row])[0]
        return position in batch.outcomes.replayed

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows by status, in the order ok, fallback, failed, cancelled, pending."""
        counts = {status.name: 0 for status in STATUSES}
        for _, batch in self._batches:
            for status, n in batch.counts().items():
                counts[status] += n
        return {status: n for status, n in counts.items() if n}

    @property
    def results(self) -> list[Any]:
        """The results in input order; None for a row without a result."""
        return [item.result for item in self]

    # ---- as a table --------------------------------------------------------------------------------------------------

    @property
    def df(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for every item, in the same order as this sequence.

        Its index is that of the ``DataFrame`` or ``Series`` that ``prep`` returned. Else it counts the rows from 0. The
        columns for a batch node, in this order:

        * one for each param (set by the batch flows around the node), named like the param, or ``params.<name>`` if
          its name is in this list;
        * ``visit`` (Int64): the number of the visit in this pass through the flow, from 1;
        * ``position`` (Int64): the index of the item in the input of that visit, from 0;
        * ``item``, ``result``: the objects themselves, not copies, in a nullable dtype if all are strings, all numbers
          or all booleans. ``result`` is missing if there is none;
        * ``status`` (string): ok, fallback, failed, cancelled or pending;
        * ``replayed`` (boolean), only of a run with a journal: whether the journal answered the call; ``attempts`` and
          ``seconds`` are then those of the original call;
        * ``attempts`` (Int64): the number of attempts of ``exec``; 0 for an item that was not called;
        * ``seconds`` (Float64): from the start of the first attempt to the end of the call;
        * ``tokens_in``, ``tokens_out`` (Int64), ``cost`` (Float64, US dollars), only if a call has reported some with
          `spend`: of all attempts; 0 if it was replayed; missing if nothing was reported, or the price is unknown;
        * ``worker`` (string), only if an executor has named it: the worker that called ``exec``;
        * ``error_type``, ``error`` (string): the class and the text of the last exception, with its location.

        For a batch flow, a row is a param set. The columns are its params, with those of the flows around it, then
        ``visit``, ``position``, ``result`` (of the ``exec`` of the last node), ``action`` (the last one), ``status``,
        ``failed_at`` (the path of the node that failed), ``attempts`` (walks), ``seconds``, what all calls in it have
        used if they have reported it, ``error_type``, ``error``.

        `expand` makes columns of the fields of dicts. Parquet needs values of one type in each column; pandas reads
        nullable strings back from it in another string dtype.
        """
        from .tables import batch_table

        usage = self._usage_of_sets()
        return batch_table(self._batches, of_params=self.is_of_params, has_journal=self.run._has_journal, usage=usage)

    @property
    def ok(self) -> "pd.DataFrame":
        """The rows of ``df`` that have a result: those with the status ok or fallback."""
        df = self.df
        return df[df["status"].isin(HAS_RESULT)]

    @property
    def errors(self) -> "pd.DataFrame":
        """The rows of ``df`` that failed. `exceptions` has the exceptions with their tracebacks."""
        df = self.df
        return df[df["status"].isin(FAILURES)]

    @property
    def exceptions(self) -> "pd.Series":
        """The exceptions, by the labels of ``df``: ``exceptions[label]`` is one of them.

        The exception of a failed row has a traceback with the variables of the hook and of the functions that it
        called, so ``pdb.post_mortem(exceptions[label].__traceback__)`` works. It begins at the hook. For a row with a
        result of the fallback, the traceback has no variables. For a row that succeeded at a later attempt, the
        exception has no traceback.
        """
        from .tables import exceptions

        return exceptions(self._batches)

    def expand(self) -> "pd.DataFrame":
        """Return ``df`` with the fields of items and results as columns.

        The column ``item`` (or ``result``) is replaced if all its values are dicts, dataclasses, NamedTuples, or
        attrs, msgspec or pydantic objects; some may be missing. The new columns are named ``item.<field>`` (or
        ``result.<field>``). Fields of fields are not expanded.
        """
        from .tables import expanded

        return expanded(self.df)

    def to_csv(
        self, path: "str | Path", *, expand: bool = False, overwrite: bool = False, escape_formulas: bool = True
    ) -> "Path":
        """Write ``df`` as a CSV file that is safe to open in a spreadsheet. Return its path.

        Args:
            path: The file, in an existing folder. Its name has letters, digits, "." "_" and "-", at most 100.
            expand: Whether to write the table of `expand` instead.
            overwrite: Whether to replace an existing file.
            escape_formulas: Whether to put a ``'`` before texts that a spreadsheet would read as a formula: those that
                begin with ``= + - @``, a tab or a carriage return. Numbers are not changed.

        Raises:
            ExportError: The name is not allowed, the folder is missing, or the file exists. Nothing was written.
        """
        from .export import write_csv

        table = self.expand() if expand else self.df
        return write_csv(table, path, overwrite=overwrite, escape_formulas=escape_formulas)

    # ---- for other modules -------------------------------------------------------------------------------------------

    def _failed_rows(self) -> Iterator[tuple[int, BaseException]]:
        """Yield the rows that failed, each with its exception."""
        return failed_rows(batch for _, batch in self._batches)

    def _at(self, rows: Iterable[int]) -> list[tuple[Batch, int]]:
        """Return for each row its batch and its position there."""
        ends = list(accumulate((batch.rows for _, batch in self._batches), initial=0))
        found = []
        for row in rows:
            index = row if row >= 0 else ends[-1] + row
            if not 0 <= index < ends[-1]:
                raise IndexError(f"{self.path} has {ends[-1]} rows; there is no row {row}.")
            n = bisect_right(ends, index) - 1
            found.append((self._batches[n][1], index - ends[n]))
        return found
