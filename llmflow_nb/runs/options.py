"""The options of a run, as `Node.run`, ``run_async``, ``submit`` and a comparison pass them on."""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from ..engine.budget import Budget
from ..engine.calls import ResultCache
from ..engine.events import Subscriber
from ..engine.stop import Stop
from .run import Watch

__all__ = ["RunOptions"]


@dataclass(slots=True, eq=False)
class RunOptions:
    """The options of a run. The first six are documented in `Node.run`."""

    executor: Executor | None = None
    subscribers: Iterable[Subscriber] = ()
    watch: Watch | None = None  # shows the progress
    journal: Any = None
    fresh: str | None = None
    budget: Budget | None = None
    stop: Stop | None = None  # the flag that ends the run; None if nobody can set it
    cache: ResultCache | None = None  # answers calls of a run without a journal
    name: str = ""  # of the record; "" for that of the node
