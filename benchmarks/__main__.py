"""Measure the rows that are named (default: all), and print them as a table."""

import argparse
import cProfile
import os
import platform
import pstats
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from .measure import Result, alternate
from .workloads import AT_ONCE, CALL_S, ROWS, Row

HEADS = ("row", "workload", "unit", "PocketFlow", "ours", "ratio (min-max)", "target", "reached")
TOP = 25  # lines of a profile


def main() -> None:
    rows = {row.name: row for row in ROWS}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of: {', '.join(rows)}")
    parser.add_argument("--rounds", type=int, default=9, help="rounds to take the median of (default: 9)")
    parser.add_argument("--profile", metavar="ROW", choices=rows, help="show where the time of ours goes in this row")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in rows]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(rows)}")
    if options.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if options.profile:
        profile(rows[options.profile])
        return
    print(
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}; "
        f"PocketFlow {version('pocketflow')}; median of {options.rounds} rounds; "
        f"async and blocking items take {CALL_S * 1e3:g} ms, {AT_ONCE} at once"
    )
    lines = [HEADS]
    for row in [rows[name] for name in options.rows] or ROWS:
        if sys.stderr.isatty():
            print(f"{row.name} ...", end="\r", file=sys.stderr)
        lines.append(cells(row, measure(row, options.rounds)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def measure(row: Row, rounds: int) -> Result:
    def best(build: Callable[[], Any]) -> float:
        figures = [row.figure(build()) for _ in range(row.best_of)]
        return max(figures) if row.target is not None and row.target.at_least else min(figures)

    theirs = None if row.theirs is None else partial(best, row.theirs)
    return alternate(partial(best, row.ours), theirs, 1 if row.once else rounds)


def cells(row: Row, result: Result) -> tuple[str, ...]:
    ratio = "-" if result.ratio is None else f"{result.ratio:.2f} ({min(result.ratios):.2f}-{max(result.ratios):.2f})"
    return (
        row.name,
        row.workload,
        row.unit,
        "-" if result.their_figure is None else f"{result.their_figure:.3g}",
        f"{result.our_figure:.3g}",
        ratio,
        "-" if row.target is None else str(row.target),
        "-" if row.target is None else "yes" if row.target.reached(result.ratio, result.our_figure) else "no",
    )


def profile(row: Row) -> None:
    work = row.ours()
    if isinstance(work, str):  # a module to import
        command = [sys.executable, "-X", "importtime", "-c", f"import {work}"]
        head, *modules = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
        print(head, *sorted(modules, key=own_microseconds, reverse=True)[:TOP], sep="\n")
        return
    work()  # what the first run loads is not what is asked for
    profiler = cProfile.Profile()
    profiler.runcall(row.ours())
    pstats.Stats(profiler).strip_dirs().sort_stats("tottime").print_stats(TOP)


def own_microseconds(line: str) -> int:
    return int(line.removeprefix("import time:").partition("|")[0])


if __name__ == "__main__":
    main()
