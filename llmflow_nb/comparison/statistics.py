"""How a variant differs from the baseline: counts of rows, the mean difference, and whether it may be noise.

A row is one observation: with repeats, its mean over the repeats. The interval is a bootstrap of the differences of the
rows. The p-value is exact for scores of 0 and 1 (the binomial test on the rows that differ, also known as McNemar's);
otherwise it is that of a permutation test, which flips the signs of the differences. Both have a fixed seed.
"""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["NOISE", "Difference", "adjusted", "difference"]

NOISE = 0.05
"""A difference with a larger p may be noise."""
SEED = 0
MOST_SAMPLES, MOST_CELLS = 9_999, 10_000_000
"""The number of samples that are drawn, and the number of differences in all of them, unless that is too few."""
FEWEST_SAMPLES = 999
TOLERANCE = 1e-9
"""Differences below it are rounding errors of means."""


class Difference(NamedTuple):
    """The scores of a variant compared with those of the baseline.

    Attributes:
        better: The number of rows with a higher score.
        worse: The number of rows with a lower score.
        same: The number of rows with the same score.
        unscored: The number of rows without a score in one of the two.
        mean: The mean difference; None if no row has both scores.
        low: The lower end of the 95 % interval of the mean difference; None if there is none.
        high: The upper end.
        p: The probability of a difference at least as large if the variants do not differ; None if it is not known.
    """

    better: int
    worse: int
    same: int
    unscored: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None

    @property
    def is_noise(self) -> bool | None:
        """Whether the difference may be noise; None if unknown."""
        return None if self.p is None else self.p >= NOISE

    @property
    def is_better(self) -> bool:
        """Whether the variant is better, and that is no noise."""
        return self.is_noise is False and (self.mean or 0.0) > 0


def difference(before: Sequence[float | None], after: Sequence[float | None]) -> Difference:
    """Compare the scores of two variants, row by row. None: no score."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    deltas = [0.0 if abs(b - a) < TOLERANCE else b - a for a, b in pairs]
    better, worse = sum(delta > 0 for delta in deltas), sum(delta < 0 for delta in deltas)
    found = Difference(better, worse, len(deltas) - better - worse, len(before) - len(deltas))
    if not deltas:
        return found
    found = found._replace(mean=sum(deltas) / len(deltas))
    if len(deltas) < 2:
        return found
    if not better and not worse:
        return found._replace(low=0.0, high=0.0, p=1.0)
    try:
        import scipy.stats
    except ImportError:
        return found
    low, high = _interval(scipy.stats, deltas)
    is_yes_or_no = all(score in (0.0, 1.0) for pair in pairs for score in pair)
    p = scipy.stats.binomtest(better, better + worse).pvalue if is_yes_or_no else _p_of_signs(scipy.stats, deltas)
    return found._replace(low=low, high=high, p=float(p))


def _interval(stats: Any, deltas: list[float]) -> tuple[float, float]:
    if min(deltas) == max(deltas):
        return deltas[0], deltas[0]
    samples = _samples(len(deltas))
    found = stats.bootstrap(
        (deltas,), _mean, n_resamples=samples, method="percentile", batch=_batch(len(deltas)), **_seed(stats)
    ).confidence_interval
    return float(found.low), float(found.high)


def _p_of_signs(stats: Any, deltas: list[float]) -> float:
    options = {"permutation_type": "samples", "n_resamples": _samples(len(deltas)), "batch": _batch(len(deltas))}
    return float(stats.permutation_test((deltas,), _mean, **options, **_seed(stats)).pvalue)


def _mean(values: Any, axis: int = -1) -> Any:
    return values.mean(axis=axis)


def _samples(count: int) -> int:
    return min(MOST_SAMPLES, max(FEWEST_SAMPLES, MOST_CELLS // count))


def _batch(count: int) -> int:
    """Return how many samples are in memory at once."""
    return max(1, MOST_CELLS // (4 * count))


def _seed(stats: Any) -> dict[str, int]:
    """Return the fixed seed as an argument: scipy 1.15 has given it another name."""
    name = "rng" if "rng" in inspect.signature(stats.bootstrap).parameters else "random_state"
    return {name: SEED}


def adjusted(found: Sequence[Difference]) -> list[Difference]:
    """Return differences from one baseline with p-values adjusted for their number (Holm's method).

    With twenty variants that do not differ, one would otherwise seem to, by chance.
    """
    order = sorted((n for n, each in enumerate(found) if each.p is not None), key=lambda n: found[n].p or 0.0)
    result, largest = list(found), 0.0
    for rank, n in enumerate(order):
        largest = max(largest, min(1.0, (found[n].p or 0.0) * (len(order) - rank)))
        result[n] = found[n]._replace(p=largest)
    return result
