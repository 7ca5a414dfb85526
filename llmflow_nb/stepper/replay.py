"""The result cache of a stepper: results of calls are reused as long as input, params and code are the same."""

from collections import Counter, deque
from collections.abc import Iterable
from time import perf_counter as clock
from typing import Any

from ..core.copying import Copier
from ..core.errors import RunStateError
from ..engine.calls import CachedResult, Call
from ..journal.answers import Answers, Kept
from ..journal.keys import CallKey, CallKeys
from ..journal.store import RunStore

__all__ = ["ANSWERS", "Memory", "Replay", "Results", "check_mock"]

ANSWERS = ("called", "replayed", "mocked")
"""How a call of ``exec`` gets its result: by being made, from an earlier call, or from the user."""


Results = dict[tuple[bytes, int], Kept]
"""Results by the digest of their key and their occurrence."""


class Memory:
    """Keeps copies of results as long as it exists, and reads missing results from a file (a `Store`).

    Attributes:
        file: The results in the journal; None if there is none, or between two commands.
    """

    def __init__(self) -> None:
        self.results: Results = {}
        self.file: RunStore | None = None
        self._started: dict[Call, float] = {}  # the calls in progress

    def load(self, call: Call, key: CallKey, nth: int) -> Kept | None:
        """Return a copy of a result; None if there is none."""
        found = self.results.get((key.digest, nth))
        if found is None and self.file is not None:
            found = self.file.load(call, key, nth)
            if found is not None:
                self.results[key.digest, nth] = found
        elif self.file is not None:
            self.file.add_use(call, key, nth)
        return None if found is None else _copied(found)

    def start(self, call: Call, key: CallKey | None, nth: int) -> None:
        """Note that a call is about to be made."""
        self._started[call] = clock()
        if self.file is not None:
            self.file.start(call, key, nth)

    def save(self, call: Call, key: CallKey | None, nth: int, result: Kept) -> None:
        """Keep a copy of a result."""
        now = clock()
        seconds = now - self._started.pop(call, now)
        if key is not None:
            self.results[key.digest, nth] = _copied(result._replace(seconds=seconds))
        if self.file is not None:
            self.file.save(call, key, nth, result)

    def end(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Note how a call has ended."""
        self._started.pop(call, None)
        if self.file is not None:
            self.file.end(call, status, value, error)


def _copied(result: Kept) -> Kept:
    copier = Copier()
    attributes = {name: copier.copy(value) for name, value in result.attributes.items()}
    return result._replace(value=copier.copy(result.value), attributes=attributes)


class Replay(Answers):
    """The answers of one stepper: values that the user mocks, then results of earlier calls on the same way here."""

    def __init__(self, keys: CallKeys) -> None:
        self._memory = Memory()
        super().__init__(self._memory, keys)
        self._mocks: deque[tuple[str, Any]] = deque()
        self._asked: list[bytes] = []
        self._counts_taken: Counter[str] = Counter()

    @property
    def file(self) -> RunStore | None:
        """The results in the journal; None if there is none, or between two commands."""
        return self._memory.file

    @file.setter
    def file(self, file: RunStore | None) -> None:
        self._memory.file = file

    def know(self, results: Results) -> None:
        """Answer calls by these results too, which runs have returned."""
        self._memory.results.update(results)

    def mock(self, path: str, values: list[Any]) -> None:
        """Answer the next calls of a node with these values."""
        self._mocks.extend((path, value) for value in values)

    def end_command(self) -> None:
        """Discard mocks that were not used, and calls that were cancelled."""
        self._mocks.clear()
        self.end_calls()
        self.fresh = None

    def take_keys(self) -> list[bytes]:
        """Return the digests of the keys of the calls since the last time."""
        keys, self._asked = self._asked, []
        return keys

    def take_counts(self) -> Counter[str]:
        """Return the number of calls since the last time, by `ANSWERS`."""
        new, self._counts_taken = self.counts - self._counts_taken, self.counts.copy()
        return new

    def results_of(self, path: str, earlier: Iterable[bytes], keys: Iterable[bytes]) -> list[Any]:
        """Return the results of a node's calls with these keys, which came after the calls with the earlier ones."""
        counts, found = Counter(earlier), []
        for key in keys:
            kept = self._memory.results.get((key, counts[key]))
            counts[key] += 1
            if kept is not None and self.paths[key] == path:
                found.append(kept.value)
        return found

    def go_after(self, keys: Iterable[bytes]) -> None:
        """Continue after the calls with these keys. The next equal call gets the next stored result."""
        self.occurrences = Counter(keys)
        self._asked = []

    def find(self, call: Call) -> CachedResult | None:
        """Return the mocked or earlier result of a call; None: the call is made."""
        if self._mocks and self._mocks[0][0] == call.plan.path and call.plan.facts.layer is None:
            self.counts["mocked"] += 1
            return CachedResult(self._mocks.popleft()[1], is_replayed=False)
        return super().find(call)

    def _next_occurrence(self, key: CallKey) -> int:
        self._asked.append(key.digest)
        return super()._next_occurrence(key)


def check_mock(kind: str, path: str, result: Any, *, at_item: bool) -> list[Any]:
    """Return the results for the next calls of a node.

    Raises:
        RunStateError: The node is a flow, or the result for a batch is not a list.
    """
    if kind in ("flow", "batch_flow"):
        raise RunStateError(
            f"mock: {path} is a flow, and its result comes from its nodes; step into it, and mock one of them."
        )
    if kind == "node" or at_item:
        return [result]
    if not isinstance(result, list | tuple):
        raise RunStateError(
            f"mock: {path} calls exec once for each item, so give a list with one result for each item."
        )
    return list(result)
