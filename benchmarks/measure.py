"""How a piece of work is measured, and how two of them are compared.

Machines differ, and a shared one differs from minute to minute. So what counts is a ratio: ours and theirs take turns,
and each round gives one ratio of two figures that were measured next to each other. The garbage collector stays on, as
it is for users; a collection before each measurement keeps one from paying for the litter of the other.
"""

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter as clock
from typing import Any

__all__ = ["Result", "alternate", "import_seconds", "peak_bytes", "seconds"]

Work = Callable[[], Any]


def seconds(work: Work) -> float:
    """Return the wall time of one call."""
    gc.collect()
    started = clock()
    work()
    return clock() - started


def peak_bytes(work: Work) -> int:
    """Return the most that one call had allocated at a time."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def import_seconds(module: str) -> float:
    """Return the time of a first import, in a new interpreter.

    Modules are compiled files, as in an installed package: where the environment forbids Python to write them, it is
    allowed here, and the first of several figures includes the compiler.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"from time import perf_counter as clock; started = clock(); import {module}; print(clock() - started)"
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)


@dataclass(frozen=True)
class Result:
    """The figures of one row, a pair for each round.

    Attributes:
        ours: Our figures, in the unit of the row.
        theirs: PocketFlow's; empty where it has nothing to compare with.
    """

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """Ours by theirs, round by round."""
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)] if self.theirs else []

    @property
    def our_figure(self) -> float:
        return median(self.ours)

    @property
    def their_figure(self) -> float | None:
        return median(self.theirs) if self.theirs else None

    @property
    def ratio(self) -> float | None:
        return median(self.ratios) if self.theirs else None


def alternate(ours: Callable[[], float], theirs: Callable[[], float] | None, rounds: int) -> Result:
    """Measure ours, theirs, ours, theirs ...; the first round warms up and is not counted."""
    result = Result([], [])
    for _ in range(rounds + 1):
        result.ours.append(ours())
        if theirs is not None:
            result.theirs.append(theirs())
    del result.ours[0], result.theirs[:1]
    return result
