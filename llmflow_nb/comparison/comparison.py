"""`Comparison`: the variants of a flow side by side, row by row."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from ..core.api.display import Shown
from ..core.errors import RowError
from ..core.prices import UsageSum, sum_of
from ..core.text import error_text, message, quoted, shown
from ..journal.journal import Journal
from ..runs.run import Run
from .measures import Measures
from .rows import Row
from .variants import Variant, Variants
from .verdict import costs, sentences

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..stepper.replay import Results
    from ..stepper.stepper import Stepper
    from .debug import Steppers

__all__ = ["Comparison"]

MOST_PROBLEMS = 5
"""The number of problems that the verdict has."""


class Comparison(Shown):
    """The variants of a flow side by side. As the last line of a cell it shows the verdict, the summary and the rows.

    The first variant is the baseline: a row is better or worse than the same row of the baseline.

    Attributes:
        path: The path of the batch or the node that is compared; "" for the result of the whole flow.
        measures: The rows, with the scores of each variant.
        runs: The records of each variant, one for each repeat. They have all tables of a `Run`.
        judge: The record of the judge's run; None without a judge.
        calls: The number of calls of each variant over all nodes: those that were "called", and the "replayed" ones.
    """

    _shown_as = "comparison"

    def __init__(
        self,
        variants: Variants,
        path: str,
        shared: Any,
        journal: Journal | None,
        rows: list[Row],
        runs: dict[str, list[Run]],
        judge: Run | None,
        calls: dict[str, Counter[str]],
        results: "Results | None",
        is_scored: bool,
    ) -> None:
        """Put the results together."""
        self._variants, self._shared, self._journal, self._results = variants, shared, journal, results
        self.path = path
        self.measures = Measures(rows, list(runs), len(runs[variants.known[0].name]), is_scored=is_scored)
        self.runs = runs
        self.judge = judge
        self.calls = calls

    @property
    def name(self) -> str:
        """The name of the flow."""
        return next(iter(self._variants.by_path)).rpartition("/")[2]

    @property
    def variants(self) -> list[Variant]:
        """The variants, the baseline first."""
        return self._variants.known

    @property
    def usage(self) -> UsageSum:
        """The tokens and dollars that this comparison has spent: those of all runs and of the judge.

        It does not include calls that were not made again. ``summary`` has what each variant costs, with these.
        """
        records = [record for runs in self.runs.values() for record in runs] + [self.judge] * (self.judge is not None)
        return sum_of(usage for record in records if record is not None for usage in record._recorder.all_usage())

    def usage_of(self, variant: str) -> UsageSum:
        """Return the mean cost of one run of a variant, including calls that were not made again."""
        runs = self.runs[variant]
        used = sum_of((usage for run in runs for usage in run._recorder.all_usage()), replayed=True)
        cost = None if used.cost is None else used.cost / len(runs)
        return used._replace(tokens_in=used.tokens_in // len(runs), tokens_out=used.tokens_out // len(runs), cost=cost)

    @property
    def verdict(self) -> list[str]:
        """What the comparison says, in sentences.

        They are about the variants, the best first, then about what failed, the costs and the problems of the runs.
        """
        usage = {name: self.usage_of(name) for name in self.runs}
        return sentences(self.measures) + costs(self.measures, usage) + self._problem_lines()

    @property
    def problems(self) -> list[str]:
        """The problems of the runs, each once with its variants, and the runs that ended early as all rows failed."""
        variants: dict[str, list[str]] = {}
        for name, runs in self.runs.items():
            for run in runs:
                ended = [] if run.error is None else [f"the run ended early: {error_text(run.error)}"]
                for text in ended + run.problems:
                    variants.setdefault(text, []).append(name)
        return [message(f"{', '.join(map(shown, dict.fromkeys(names)))}: {text}") for text, names in variants.items()]

    def _problem_lines(self) -> list[str]:
        found = self.problems
        more = [f"and {len(found) - MOST_PROBLEMS} more in .problems"] if len(found) > MOST_PROBLEMS else []
        return found[:MOST_PROBLEMS] + more

    @property
    def df(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for each row of the batch.

        The index is that of the input, else it counts the rows from 0. Columns, in this order:

        * ``item``: of the first variant that has the row;
        * one for each variant, named like it: its result, with repeats that of the first one; missing without a result;
        * ``changed`` (boolean): whether the result differs from that of the baseline, in any repeat;
        * ``same_item`` (boolean), only if some items differ: whether the item is that of the baseline;
        * ``score.<variant>`` (Float64), only with scores: the mean over the repeats; missing if the row or its score
          failed. If the score is a dict, ``score.<field>.<variant>`` for each field;
        * ``delta`` (Float64), only with scores: the first score minus that of the baseline;
        * ``spread.<variant>`` (Float64), only with repeats: the standard deviation of the first score;
        * ``status.<variant>`` (string): ok, fallback, failed, cancelled or pending; with repeats the first that is not
          ok;
        * ``seconds.<variant>`` (Float64): of the call, as the mean over the repeats. If an earlier call was used, its
          seconds;
        * ``cost.<variant>`` (Float64, US dollars), only if a call has reported it with `spend`: as for seconds.

        With three variants or more there is a ``changed.<variant>``, a ``same_item.<variant>`` and a
        ``delta.<variant>`` for each but the first.
        """
        from .tables import wide

        return wide(self.measures)

    @property
    def tidy(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for each row of each run, for ``groupby`` and ``pivot_table``.

        The index counts the rows from 0. Columns, in this order:

        * ``variant`` (string); one column for each setting that a variant changes, named as it was written, such as
          ``Label.prompt``: the value in this variant, that of the flow if the variant does not change it;
        * one for each param of the batch; ``row``: the label of the row; ``repeat`` (Int64), from 1;
        * ``item``, ``result``; ``status`` (string); ``score`` (Float64) or ``score.<field>``, only with scores;
        * ``seconds`` (Float64): of the call; ``tokens_in``, ``tokens_out`` (Int64) and ``cost`` (Float64), only if a
          call has reported them with `spend`, also of calls that were not made again;
        * ``error_type``, ``error`` (string): of the call, or of its score.
        """
        from .tables import tidy

        return tidy(self.measures, self._variants.settings())

    @property
    def summary(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for each variant, named by the index, the baseline first.

        Columns, in this order:

        * ``rows``, ``failed`` (Int64): rows of all repeats, and those that have no result;
        * ``unscored`` (Int64), only with scores: rows of all repeats that have a result and no score;
        * ``score`` (Float64) or ``score.<field>``, only with scores: the mean over the rows;
        * ``better``, ``worse``, ``same`` (Int64): the number of rows with a higher, a lower and the same first score;
        * ``delta``, ``low``, ``high`` (Float64): the mean difference, and its 95 % interval (a bootstrap of the rows);
        * ``p`` (Float64): of a paired test that the difference is only noise; for scores of 0 and 1 the exact binomial
          test, else a permutation test; adjusted for the number of variants (Holm). ``low``, ``high`` and ``p`` need
          scipy;
        * ``changed`` (Int64): the number of rows with another result than the baseline;
        * ``calls``, ``replayed`` (Int64): the calls of ``exec`` that this comparison made, and those that it did not
          make again, over all nodes and repeats;
        * ``seconds`` (Float64): of the calls of the rows, as the mean over the repeats;
        * ``tokens_in``, ``tokens_out`` (Int64), ``cost`` (Float64, US dollars), only if a call has reported some with
          `spend`: of one run of the variant over all nodes, also of calls that were not made again.
        """
        from .tables import summary

        return summary(self.measures, self.calls, {name: self.usage_of(name) for name in self.runs})

    @property
    def regressions(self) -> "pd.DataFrame":
        """Return the rows of ``df`` that are worse in a variant than in the baseline, the worst first.

        They have a lower first score, or no result where the baseline has one.
        """
        from .tables import regressions

        return regressions(self.measures)

    def debug(self, row: Any, *names: str) -> "Steppers":
        """Return steppers of two variants at one row, to be shown side by side.

        They are before ``exec`` with this item, on copies of the flow and of ``shared``, as in `BatchResult.debug`. A
        call with a result in the comparison is not made again. ``comparison.debug(row)["new"]`` is one of the steppers.

        Args:
            row: The label of the row, as in ``df``; if the labels are not numbers, also its number, from 0.
            names: The variants. Default: the baseline, and the variant that is worst in this row.

        Raises:
            RowError: There is no such row, several have this label, or its item was not kept.
            SettingError: There is no such variant.
        """
        from .debug import Steppers, chosen

        found, known = chosen(self.df, self.path or self.name, self.measures, row, names)
        return Steppers({name: self._stepper(found, name) for name in known})

    def _stepper(self, row: Row, name: str) -> "Stepper":
        from ..stepper.debug import stepper_at
        from ..stepper.stepper import Stepper

        cell = row.first(name)
        if cell is None:
            raise RowError(f"{name} has no row {quoted(row.label)}.")
        if cell.number is None:
            variant = next(variant for variant in self.variants if variant.name == name)
            node, shared = self._variants.copies(variant, self._shared)
            stepper = Stepper(node, shared, journal=self._journal, title=self.name)
        else:
            run = self.runs[name][next(iter(row.cells[name]))]
            stepper = stepper_at(run.batch(self.path), cell.number)
        stepper.title = f"{name}: {stepper.title}"
        if self._results is not None:
            stepper._session.cache.know(self._results)
        return stepper

    def plot(self, axes: Any = None) -> "Axes":
        """Draw for each variant the differences of the rows from the baseline, their mean and its 95 % interval.

        It needs matplotlib, and returns its ``Axes``.

        Args:
            axes: The ``Axes`` to draw on. Default: a new figure.

        Raises:
            SettingError: There are no scores.
        """
        from .plot import plot

        drawn: Axes = plot(self.measures, axes)
        return drawn

    def __repr__(self) -> str:
        """Return the verdict as text."""
        return "\n  ".join([f"<comparison of {shown(self.name)}: {', '.join(map(shown, self.runs))}>", *self.verdict])
