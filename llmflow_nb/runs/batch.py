"""What came of the items of one batch node, or of the param sets of one batch flow, read off the engine's columns."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, overload

from ..core.doors import BatchDoors, watcher_for
from ..core.statuses import FAILURES, HAS_RESULT, STATUSES
from ..core.text import quoted, shown
from ..engine.batch import Batch, without_result
from .rows import Item, item_of

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path

    import pandas as pd

__all__ = ["BatchResult"]


class BatchResult(BatchDoors):
    """The items of one batch node over a run, or the param sets of one batch flow.

    A sequence of `Item`, in input order, the earliest visit first; with ``.df`` it is a table. There is a row for every
    item of the input, also for those that were not reached. It reads the record itself, so it can be looked at while a
    run goes on, and shows what `retry` changes; a visit that begins later is in the next ``run.batch(...)``.

    Attributes:
        run: The run that it is a part of.
        path: The node, from the outermost flow down. With ".exec" at its end: the elements that the ``exec`` of this
            batch flow returned.
        called_again: The rows that the latest `retry` of this object called.
    """

    _shown_as = "batch"

    def __init__(self, run: Any, path: str, batches: list[tuple[int, Batch]]) -> None:
        """Take the visits of one node, each with its number."""
        self.run = run
        self.path = path
        self._batches = batches
        self.called_again: list[int] = []

    def __len__(self) -> int:
        """Return how many items there are, as far as that is known."""
        return sum(batch.rows for _, batch in self._batches)

    def __iter__(self) -> Iterator[Item]:
        """Go through the items, the earliest visit first."""
        for _, batch in self._batches:
            for position in range(batch.rows):
                yield item_of(batch, position)

    @overload
    def __getitem__(self, row: int) -> Item: ...
    @overload
    def __getitem__(self, row: slice) -> list[Item]: ...
    def __getitem__(self, row: int | slice) -> Item | list[Item]:
        """Return the item in this row, counted from 0 over all visits; from the end where it is negative.

        Raises:
            IndexError: There is no such row.
            TypeError: A label, or the name of a column: those are for the table, ``.df``.
        """
        if isinstance(row, slice):
            return [item_of(*at) for at in self._at(range(len(self))[row])]
        if not hasattr(type(row), "__index__"):
            raise TypeError(
                f"rows are counted from 0, and {quoted(row)} is no number; for labels and columns use .df.loc."
            )
        return item_of(*self._at([row.__index__()])[0])

    def __repr__(self) -> str:
        """Count the items by status."""
        counts = ", ".join(f"{n} {status}" for status, n in self.counts.items())
        what = "param sets" if self.is_of_params else "items"
        return f"<{shown(self.path, 320)}: {len(self)} {what}, {counts or 'none'}>"

    @property
    def is_of_params(self) -> bool:
        """Whether these are the param sets of a `BatchFlow`, rather than the items of a `BatchNode`."""
        return self._batches[0][1].plan.kind == "batch_flow"

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each status, in the order ok, fallback, failed, cancelled, pending."""
        counts = {status.name: 0 for status in STATUSES}
        for _, batch in self._batches:
            for status, n in batch.counts().items():
                counts[status] += n
        return {status: n for status, n in counts.items() if n}

    @property
    def results(self) -> list[Any]:
        """The results in input order; None where there is none."""
        return [item.result for item in self]

    # ---- as a table --------------------------------------------------------------------------------------------------

    @property
    def df(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for every item, in input order, the earliest visit first.

        The index is that of the ``DataFrame`` or ``Series`` that ``prep`` returned, else it counts the rows from 0.
        Columns of a batch node, in this order:

        * one for each param of the visit (from a batch flow around this node), named like the param, or
          ``params.<name>`` where one of the names below is taken;
        * ``visit`` (Int64): which pass of the node this was on its walk, from 1; ``position`` (Int64): the item's place
          in the input of that visit, from 0;
        * ``item``, ``result``: the very objects, whole; a nullable dtype where all are strings, numbers or booleans.
          ``result`` is missing where there is none;
        * ``status`` (string): ok, fallback, failed, cancelled or pending;
        * ``attempts`` (Int64): attempts of ``exec``, 0 for what was not begun; ``seconds`` (Float64): from the first
          attempt to the end;
        * ``error_type``, ``error`` (string): the class of the last attempt's exception, and what it said and where.

        Of a batch flow, a row is a param set: the params around it and its own are columns, then ``visit``,
        ``position``, ``result`` (of the last node's ``exec``), ``action`` (the last one), ``status``, ``failed_at``
        (the path of the node), ``attempts`` (walks), ``seconds``, ``error_type``, ``error``.

        `expand` shows what is inside of dicts. Columns of one kind save as parquet; a nullable string comes back from
        there as another string dtype of pandas.
        """
        from .tables import batch_table

        return batch_table(self._batches, of_params=self.is_of_params)

    @property
    def ok(self) -> "pd.DataFrame":
        """The rows of ``df`` that have a result: those with the status ok or fallback."""
        df = self.df
        return df[df["status"].isin(HAS_RESULT)]

    @property
    def errors(self) -> "pd.DataFrame":
        """The rows of ``df`` that failed. The exceptions themselves, with their tracebacks, are in `exceptions`."""
        df = self.df
        return df[df["status"].isin(FAILURES)]

    @property
    def exceptions(self) -> "pd.Series":
        """The exceptions, by the labels of ``df``; ``exceptions[label]`` is one of them.

        That of a failed row has its traceback from the hook on, with the variables of the hook and of what it called,
        so that ``pdb.post_mortem(exceptions[label].__traceback__)`` works. The frames of whoever ran the flow are not
        kept. Rows that came through after a failed attempt have its exception without a traceback; rows that the
        fallback answered have the lines and no variables.
        """
        from .tables import exceptions

        return exceptions(self._batches)

    def expand(self) -> "pd.DataFrame":
        """Return ``df`` with what is inside of items and results as columns.

        Where every ``item`` (or ``result``) that is there is a dict, a dataclass, a NamedTuple or a pydantic model,
        that column gives way to one for each of its fields, named ``item.<field>`` or ``result.<field>``. One level
        deep.
        """
        from .tables import expanded

        return expanded(self.df)

    def to_csv(
        self, path: "str | Path", *, expand: bool = False, overwrite: bool = False, escape_formulas: bool = True
    ) -> "Path":
        """Write ``df`` as a CSV file, and return its path. ``df.to_csv`` is pandas' own, without these precautions.

        Args:
            path: The file, in a folder that is there. Its name has letters, digits, "." "_" and "-", at most 100.
            expand: Write the table of `expand` instead.
            overwrite: Whether a file that is there already is replaced.
            escape_formulas: Put a ``'`` before texts that a spreadsheet would take for a formula: those that begin with
                ``= + - @``, a tab or a carriage return. Numbers stay as they are.

        Raises:
            ExportError: The name, the folder or the file is not as it should be. Nothing was written.
        """
        from .export import write_csv

        table = self.expand() if expand else self.df
        return write_csv(table, path, overwrite=overwrite, escape_formulas=escape_formulas)

    # ---- calling rows again ------------------------------------------------------------------------------------------

    def retry_failed(
        self,
        *,
        post: bool = False,
        from_start: bool | None = None,
        executor: "Executor | None" = None,
        progress: Any = "auto",
        **overrides: Any,
    ) -> "BatchResult":
        """Call the rows that failed again, and nothing else. As `retry` otherwise."""
        failed = [row for row, item in enumerate(self) if item.status in FAILURES]
        return self._retry(failed, overrides, post, from_start, executor, progress)

    def retry(
        self,
        rows: Any = None,
        *,
        post: bool = False,
        from_start: bool | None = None,
        executor: "Executor | None" = None,
        progress: Any = "auto",
        **overrides: Any,
    ) -> "BatchResult":
        """Call some rows again, with the node as it is now, and fill them in place.

        A node whose class was edited since (its cell was run again) is taken over by the new class. ``prep`` is not run
        again: each call gets the item that it had. ``attempts`` and ``seconds`` go on counting. A failure is a row
        again and is not raised; a row that has a result keeps it until there is another. The rest of the flow is not
        run: what later nodes made of the earlier results stays as it was.

        A row of a batch flow is a whole param set. It goes on at the node at which it failed or was stopped, with the
        input that this node had, if its place was kept (that of the first 1,000 is) and if ``shared`` holds the same
        values under the same keys as then. Else, since another param set may have written there, it begins anew.

        Args:
            rows: Labels of ``df``, a mask over it, or a part of it: ``result.retry(df[df["seconds"] > 10])``. If the
                index has no numbers, a whole number that is no label is the position of a row, from 0. Default: every
                row without a result, also those that an interrupt or a failure left pending.
            post: Whether to run the node's ``post`` once more, with all results, for each visit with such rows (for
                every visit where there are none). The nodes after it are not run. With ``on_error="raise"``, ``post``
                is not run while a row of the visit has no result.
            from_start: Of param sets: True walks them from their beginning, False goes on where they failed wherever
                that place was kept, whatever ``shared`` holds. None: as said above.
            executor: As for `Node.run`; that of the run is not used again by itself.
            progress: As for `Node.run`.
            **overrides: Settings, or other attributes of the node, to be used this time: ``max_retries=5``,
                ``max_concurrency=8``, ``model="larger"``.

        Raises:
            RunStateError: The run has not ended.
            RowError: There is no such row, a label names several, or an item was not kept.
            SettingError: The node has no such setting or attribute, or the value makes no sense.
            Exception: What ``post`` raised.
        """
        if rows is None:
            chosen, start = [], 0
            for _, batch in self._batches:
                chosen += [start + place for place in without_result(batch)]
                start += batch.rows
        else:
            from .tables import rows_of

            chosen = rows_of(self.df, self.path, rows)
        return self._retry(chosen, overrides, post, from_start, executor, progress)

    def _retry(
        self,
        rows: list[int],
        overrides: dict[str, Any],
        post: bool,
        from_start: bool | None,
        executor: "Executor | None",
        progress: Any,
    ) -> "BatchResult":
        self.run._require_ended()
        at = self._at(rows)
        before = [item_of(*where).attempts for where in at]
        chosen = [(batch, [place for _, place in group]) for batch, group in groupby(at, key=itemgetter(0))]
        if not chosen:  # there may still be a post to run
            chosen = [(batch, []) for _, batch in self._batches]
        watch = watcher_for(progress)
        try:
            self._retry_rows(chosen, overrides, post=post, from_start=from_start, executor=executor, watch=watch)
        finally:
            after = [item_of(*where).attempts for where in at]
            self.called_again = [row for row, n, m in zip(rows, before, after, strict=True) if m > n]
        return self

    def still_failed(self, rows: list[tuple[int, BaseException | None]]) -> list[int]:
        """Return those of some rows that are still there, and failed with the very errors that are named."""
        here = {id(batch) for batch in self.run._recorder.batches}  # else the visit was made anew
        found = []
        for (row, error), (batch, place) in zip(rows, self._at([row for row, _ in rows]), strict=True):
            outcome = batch.odd.get(place)
            if id(batch) in here and outcome is not None and outcome.status in FAILURES and outcome.error is error:
                found.append(row)
        return found

    def _at(self, rows: Iterable[int]) -> list[tuple[Batch, int]]:
        """Return which batch each row is in, and its place there."""
        ends = list(accumulate((batch.rows for _, batch in self._batches), initial=0))
        found = []
        for row in rows:
            place = row if row >= 0 else ends[-1] + row
            if not 0 <= place < ends[-1]:
                raise IndexError(f"{self.path} has {ends[-1]} rows; there is no row {row}.")
            n = bisect_right(ends, place) - 1
            found.append((self._batches[n][1], place - ends[n]))
        return found
