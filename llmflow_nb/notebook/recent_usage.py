"""What a run has used, for displays that ask again and again while it runs."""

from time import perf_counter
from weakref import WeakKeyDictionary

from ..core.prices import UsageSum, are_loaded, sum_of
from ..runs.run import Run

__all__ = ["recent_usage"]

_KNOWN: "WeakKeyDictionary[Run, tuple[float, UsageSum | None]]" = WeakKeyDictionary()
"""The usage of each run when it was last summed, and when it may be summed again."""


def recent_usage(run: Run) -> UsageSum | None:
    """Return `Run.usage`, or what it was a moment ago; None if nothing was reported.

    Summing takes at most a twentieth of the time. It does not wait until prices are loaded: until then, the cost is
    unknown.
    """
    started = perf_counter()
    due, found = _KNOWN.get(run, (0.0, None))
    if started >= due or run.seconds is not None:
        usages = run._recorder.all_usage()
        if usages and not are_loaded():
            usages = [usage._replace(model="") for usage in usages]
        found = sum_of(usages) if usages else None
        now = perf_counter()
        _KNOWN[run] = now + 20 * (now - started), found
    return found
