"""What a journal costs: items that return a small dict at once, without one, with a new one, and with it again."""

import gc
import tempfile
import time
from pathlib import Path
from typing import Any

import llmflow_nb

from .measure import Work

__all__ = ["ITEMS", "cpu_microseconds", "labels"]

ITEMS = 2_000


class Label(llmflow_nb.BatchNode):
    def prep(self, shared):
        return range(ITEMS)

    def exec(self, n):
        return {"label": f"label {n}", "score": 0.5, "text": "some words of the answer of a model " * 4}


def labels(limit: int, journal: str = "") -> Work:
    """Return a run of a batch.

    Args:
        limit: How many calls are made at once.
        journal: "new" for a run that fills a new file, "again" for one that finds all results in it, "" for neither.
    """
    flow = llmflow_nb.Flow(start=Label(max_concurrency=limit))
    folder = tempfile.TemporaryDirectory()  # lives as long as the work
    options: dict[str, Any] = {"journal": Path(folder.name) / "runs.db"} if journal else {}

    def run(_: Any = folder) -> None:
        flow.run({}, progress=False, **options)

    if journal == "again":
        run()
    return run


def cpu_microseconds(work: Work) -> float:
    """Return the time of the processor for an item. How long a disk takes is no matter of this package."""
    gc.collect()
    started = time.process_time()
    work()
    return (time.process_time() - started) / ITEMS * 1e6
