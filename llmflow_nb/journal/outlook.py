"""Say at the first call of a batch node, before it is made, how many calls the run will make there, and why."""

from collections import Counter
from itertools import islice
from typing import Any
from weakref import WeakSet

from ..core.encoding import NoKeyError
from ..core.text import quoted
from ..engine.batch import Batch
from ..engine.branch import Workload
from ..engine.calls import CachedResult, Call
from ..engine.iteration import COLLECTIONS, iterate
from .answers import Answers
from .explained import EarlierCalls, code_of, headline
from .history import column
from .keys import CallKey, CallKeys
from .store import RunStore

__all__ = ["RunAnswers"]


class RunAnswers(Answers):
    """The answers of one run, and its outlook: the known part of the calls that it will make.

    The outlook covers batch nodes that an earlier run has visited, and whose items can be read before they are called.

    Attributes:
        outlook: A line of text for users; "" if nothing is known.
    """

    _store: RunStore

    def __init__(self, store: RunStore, keys: CallKeys, earlier: EarlierCalls, file: str) -> None:
        """``file``: the name of the journal."""
        super().__init__(store, keys)
        self.outlook = ""
        self._earlier, self._file = earlier, file
        self._seen: WeakSet[Batch] = WeakSet()  # the visits that were looked at
        self._answered = 0  # calls of these visits
        self._reasons: dict[str, Counter[str]] = {}  # why calls of them are made, by path

    def summary(self) -> str:
        """Return what the run has done, in a line; "" if it is not known why some of the calls were made."""
        replayed, called = self.counts["replayed"], self.counts["called"]
        if sum(reasons.total() for reasons in self._reasons.values()) != called:
            return ""
        return headline(replayed, self._reasons, self._file, "called")

    def find(self, call: Call) -> CachedResult | None:
        """Return the result of a call if there is one. If there is none, look at the other items."""
        found = super().find(call)
        if found is None and call in self._in_progress and not call.batch.is_single and call.batch not in self._seen:
            self._seen.add(call.batch)
            self._look_ahead(call, self._in_progress[call].key)
            if self._reasons:
                self.outlook = headline(self._answered, self._reasons, self._file)
        return found

    def _look_ahead(self, call: Call, key: CallKey | None) -> None:
        """Count how many of the items of a visit will be called, from the first one that the journal does not answer.

        If all of them will, none is looked up. So a batch costs at most one additional look-up for each item.
        """
        path, rest = call.plan.path, _items_after(call)
        if rest is None or not self._earlier.has(column(path)):
            return
        reasons = self._reasons.setdefault(path, Counter())
        self._answered += call.index
        reasons[self._why(call, key)] += 1
        if key is None or self.is_fresh(path) or not self._earlier.has_code(column(path), code_of(key)):
            reasons[self._why(call, key)] += len(rest)
            return
        occurrences: Counter[bytes] = Counter()
        work = Workload(call.batch, call.plan, call.target, call.plan.settings.limit)
        for n, item in enumerate(rest, call.index + 1):
            later = Call(call.branch, work, n, item)
            try:
                following = self._keys.of(later)
            except NoKeyError:
                reasons[self._why(call, None)] += 1
                continue
            nth = self.occurrences[following.digest] + occurrences[following.digest]
            occurrences[following.digest] += 1
            if self._store.has(following, nth):
                self._answered += 1
            else:
                reasons[self._earlier.why_made(later, following)] += 1

    def _why(self, call: Call, key: CallKey | None) -> str:
        if key is not None and self.is_fresh(call.plan.path):
            return f"fresh={quoted(self.fresh)}"
        return self._earlier.why_made(call, key)


def _items_after(call: Call) -> list[Any] | None:
    """Return the items behind that of a call; None if to read them now might have an effect."""
    items = call.batch.items
    if items.returned.__class__ not in COLLECTIONS and items.index is None:
        return None
    return list(islice(iterate(items.returned, call.plan.path), call.index + 1, None))
