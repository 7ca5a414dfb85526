"""Answer calls of ``exec`` by the results of earlier calls that have the same key (the engine's `ResultCache`)."""

from collections import Counter
from typing import Any, NamedTuple, Protocol

from ..core.encoding import NoKeyError
from ..core.kinds import FIXED_TYPES
from ..core.usage import Usage
from ..engine.calls import CachedResult, Call
from .errors import RefusedError
from .keys import CallKey, CallKeys

__all__ = ["Answers", "Kept", "Store"]


class Kept(NamedTuple):
    """The result of a finished call.

    Attributes:
        value: The returned value.
        attributes: What the call set on the node.
        attempts: The number of attempts.
        error: What the attempt before the last one raised, if it is known.
        seconds: How long the call took, if it is known.
        usage: What its attempts have reported with `spend`.
    """

    value: Any
    attributes: dict[str, Any]
    attempts: int
    error: Exception | None = None
    seconds: float = 0.0
    usage: tuple[Usage, ...] = ()


class Store(Protocol):
    """Where results are kept, by the key of the call and its occurrence: the number of calls with this key before it.

    It is used in the thread that drives the run.
    """

    def load(self, call: Call, key: CallKey, nth: int) -> Kept | None:
        """Return a result, which the caller may change; None if there is none."""

    def start(self, call: Call, key: CallKey | None, nth: int) -> None:
        """Note that a call is about to be made. Without a key, its result answers no other call."""

    def save(self, call: Call, key: CallKey | None, nth: int, result: Kept) -> None:
        """Keep a result, in place of an earlier one. The caller may change it afterwards.

        Raises:
            RefusedError: It cannot be kept. The text says why, and what to do.
        """

    def end(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Note that a call has ended without a result of ``exec`` to keep. The value may be that of the fallback."""


class _Started(NamedTuple):
    """A call in progress: its key, its occurrence, and the attributes of the node when it started."""

    key: CallKey | None
    nth: int
    attributes: dict[str, Any]


_WITHOUT_KEY = _Started(None, 0, {})


class Answers:
    """Answers calls by earlier results, and keeps the results of the others.

    If a run makes the same call several times, the first call gets the first result, and the second call the second. A
    model may answer the same prompt differently.
    """

    def __init__(self, store: Store, keys: CallKeys) -> None:
        self.counts: Counter[str] = Counter()  # the number of calls, "called" or "replayed"; each attempt counts
        self.notes: dict[str, str] = {}  # why calls of a node cannot be answered by earlier ones, by path
        self.fresh: str | None = None  # the name or path of a node that is called anyway, with the nodes within it
        self.occurrences: Counter[bytes] = Counter()  # the number of calls so far, by the digest of their key
        self.paths: dict[bytes, str] = {}  # of the nodes that made these calls
        self._store, self._keys = store, keys
        self._in_progress: dict[Call, _Started] = {}

    def find(self, call: Call) -> CachedResult | None:
        """Return the result of a call if there is one."""
        plan, target = call.plan, call.target
        if plan.facts.layer is not None or "exec" not in plan.facts.hooks.own:  # the default exec costs nothing
            return None
        if getattr(target, "volatile", False) is True:
            self._in_progress[call] = _WITHOUT_KEY
            return None
        try:
            key = self._keys.of(call)
        except NoKeyError as exc:
            self.notes[plan.path] = f"{exc}, so it is called again"
            self._in_progress[call] = _WITHOUT_KEY
            return None
        nth = self._next_occurrence(key)
        found = None if self.is_fresh(plan.path) else self._store.load(call, key, nth)
        if found is None:
            self._in_progress[call] = _Started(key, nth, dict(target.__dict__))
            return None
        self.counts["replayed"] += 1
        target.__dict__.update(found.attributes)
        return CachedResult(found.value, found.attempts, found.error, found.seconds, usage=found.usage)

    def is_fresh(self, path: str) -> bool:
        """Return whether the user wants the calls of a node to be made again."""
        return self.fresh is not None and f"/{self.fresh}/" in f"/{path}/"

    def _next_occurrence(self, key: CallKey) -> int:
        nth = self.occurrences[key.digest]
        self.occurrences[key.digest] += 1
        self.paths[key.digest] = key.path
        return nth

    def calling(self, call: Call) -> None:
        """Count an attempt that is about to be made."""
        started = None if call.attempts else self._in_progress.get(call)
        if started is not None:
            self._store.start(call, started.key, started.nth)
        self.counts["called"] += "exec" in call.plan.facts.hooks.own

    def keep(self, call: Call, value: Any) -> None:
        """Keep the result of a call that was made. An interrupt may come at any line: then this is called again."""
        started = self._in_progress.get(call)
        if started is None:
            return
        key, before = started.key, started.attributes
        change = "" if key is None else self._change_in_place(call, key)
        if change:
            self.notes[call.plan.path] = f"exec {change}, so it is called again"
            key = None
        attributes = {
            name: item
            for name, item in (call.target.__dict__.items() if key is not None else ())
            if name not in before or before[name] is not item
        }
        try:
            usage = call.batch.usage.of(call.index)
            result = Kept(value, attributes, call.attempts, call.error, usage=usage)
            self._store.save(call, key, started.nth, result)
        except RefusedError as exc:
            self.notes[call.plan.path] = f"the result{_of_item(call)} was not kept: {exc}"
            return
        self._in_progress.pop(call, None)

    def settled(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Note how a call ends that has no result to keep."""
        if status != "cancelled" and self._in_progress.pop(call, None) is not None:  # else its result may come late
            self._store.end(call, status, value, error)

    def _change_in_place(self, call: Call, key: CallKey) -> str:
        """Return what the call has changed besides its result, which a replay would not change; "" if nothing."""
        keys = self._keys
        if key.shared and key.shared != keys.of_shared(call.branch.position.shared):
            return "writes to shared"
        if type(call.item) not in FIXED_TYPES:
            try:
                is_same = keys.of_input(call.item) == key.item
            except NoKeyError:
                is_same = False
            if not is_same:
                return "changes its input in place"
        for name, was in key.attributes.items():
            value = key.values[name]
            if (
                type(value) not in FIXED_TYPES
                and call.target.__dict__.get(name) is value
                and keys.of_value(value) != was
            ):
                return f"changes self.{name} in place"
        return ""

    def end_calls(self) -> None:
        """Forget the calls that were cancelled."""
        for call in self._in_progress:
            self._store.end(call, "cancelled", None, call.error)
        self._in_progress.clear()


def _of_item(call: Call) -> str:
    return "" if call.batch.is_single else f" of item {call.index + 1}"
