"""`Comparison.plot`. This file imports matplotlib, so it is imported only when a plot is drawn."""

from typing import Any

from ..core.errors import SettingError
from .measures import Measures
from .verdict import ordered

__all__ = ["plot"]

COLOURS = {True: "#2e7d32", False: "#c62828", None: "#757575"}
"""Of rows that are better, worse and the same."""
GOLDEN = 0.618
"""The steps by which the dots of rows with equal differences are moved apart."""


def plot(measures: Measures, axes: Any) -> Any:
    """Draw the differences. See `Comparison.plot`."""
    import matplotlib.pyplot as plt

    if not measures.scores:
        raise SettingError("there are no scores to plot; give compare(score=...).")
    names = ordered(measures)
    if axes is None:
        _, axes = plt.subplots(figsize=(6, 1 + 0.45 * len(names)))
    for n, name in enumerate(names):
        deltas = [delta for row in measures.rows if (delta := measures.delta(row, name)) is not None]
        heights = [n + ((GOLDEN * m) % 1 - 0.5) * 0.6 for m in range(len(deltas))]
        colours = [COLOURS[delta > 0 if delta else None] for delta in deltas]
        axes.scatter(deltas, heights, s=12, c=colours, alpha=0.4, linewidths=0)
        found = measures.differences[name]
        if found.mean is not None:
            low, high = (found.mean if end is None else end for end in (found.low, found.high))
            axes.plot([low, high], [n, n], color="black", linewidth=2)
            axes.plot([found.mean], [n], marker="D", color="black")
    axes.axvline(0, color="#757575", linewidth=1, zorder=0)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    score = measures.scores[0] or "score"
    axes.set_xlabel(f"difference in {score} from {measures.baseline}: rows, their mean and its 95 % interval")
    axes.figure.tight_layout()
    return axes
