"""The result cache of a stepper: results of calls are reused as long as input, params and code are the same."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..core.code_parts import is_code
from ..core.encoding import NoKeyError, key_of
from ..core.errors import RunStateError
from ..core.fingerprint import Fingerprints
from ..core.kinds import FIXED_TYPES
from ..core.node import BaseNode
from ..engine.calls import Call
from ..engine.plan import DRIVEN, CachedResult
from .copying import Copier
from .snapshots import Snapshots

__all__ = ["ANSWERS", "Replay", "attributes_key", "check_mock"]

_NOT_INPUT = BaseNode._dialect.settings | {
    "successors",
    "params",
    "last_run",
    "name",
    "start_node",
    "overwritten",
    "volatile",
    "grace",
    DRIVEN,
}
"""Attributes of a node that no result depends on: those of the library, and the engine's settings."""

ANSWERS = ("called", "replayed", "mocked")
"""How a call of ``exec`` gets its result: by being made, from an earlier call, or from the user."""


class _Key(NamedTuple):
    """What the result of a call depends on. ``node`` is an id."""

    path: str
    node: int
    code: bytes
    item: Any
    params: bytes
    attributes: tuple[tuple[str, bytes], ...]
    shared: Any


class _Started(NamedTuple):
    """A call in progress: its key, how many same calls came before, and the node and ``shared`` when it started."""

    key: _Key | None
    nth: int
    attributes: dict[str, Any]
    shared: Any


class _Result(NamedTuple):
    """A result, the attributes that the call set on the node, and the number of attempts."""

    value: Any
    attributes: dict[str, Any]
    attempts: int
    error: Exception | None


class Replay:
    """Answers calls of ``exec`` by the result of an earlier call (the engine's `ResultCache`).

    The earlier call had the same input, params, node attributes and code (and ``shared``, if ``exec`` takes it). If one
    branch makes the same call several times, the first is answered by the first result, the second by the second: a
    model may answer the same prompt differently.
    """

    def __init__(self, snapshots: Snapshots, fingerprints: Fingerprints) -> None:
        self.counts: Counter[str] = Counter()  # the number of calls, by `ANSWERS`; each attempt that is made counts
        self.notes: dict[str, str] = {}  # why calls of a node cannot be answered from the cache, by path
        self.bypass: str | None = None  # the path of a node that is called anyway, with the nodes within it
        self._snapshots, self._fingerprints = snapshots, fingerprints
        self._results: dict[tuple[_Key, int], _Result] = {}
        self._mocks: deque[tuple[str, Any]] = deque()
        self._in_progress: dict[Call, _Started] = {}
        self._earlier: Counter[Any] = Counter()
        self._keys: list[Any] = []
        self._counts_taken: Counter[str] = Counter()

    def mock(self, path: str, values: list[Any]) -> None:
        """Answer the next calls of a node with these values."""
        self._mocks.extend((path, value) for value in values)

    def end_command(self) -> None:
        """Discard mocks that were not used, and calls that failed."""
        self._mocks.clear()
        self._in_progress.clear()
        self.bypass = None

    def take_keys(self) -> list[Any]:
        """Return the keys of the calls since the last time."""
        keys, self._keys = self._keys, []
        return keys

    def take_counts(self) -> Counter[str]:
        """Return the number of calls since the last time, by `ANSWERS`."""
        new, self._counts_taken = self.counts - self._counts_taken, self.counts.copy()
        return new

    def go_after(self, keys: Iterable[Any]) -> None:
        """Continue after the calls with these keys. The next equal call gets the next stored result."""
        self._earlier = Counter(keys)
        self._keys = []

    def find(self, call: Call) -> CachedResult | None:
        """Return the result of a call if it is in the cache."""
        path = call.plan.path
        if self._mocks and self._mocks[0][0] == path:
            self.counts["mocked"] += 1
            return CachedResult(self._mocks.popleft()[1])
        if "exec" not in call.plan.hooks.own:  # the default one, which costs nothing
            return None
        key = self._key(call)
        nth, found = 0, None
        if key is not None:
            nth = self._earlier[key]
            self._earlier[key] += 1
            self._keys.append(key)
            if self.bypass is None or not f"{path}/".startswith(f"{self.bypass}/"):
                found = self._results.get((key, nth))
        if found is None:
            self._in_progress[call] = _Started(key, nth, dict(call.target.__dict__), self._version(call))
            return None
        self.counts["replayed"] += 1
        copier = Copier()
        call.target.__dict__.update({name: copier.copy(value) for name, value in found.attributes.items()})
        return CachedResult(copier.copy(found.value), found.attempts, found.error)

    def calling(self, call: Call) -> None:
        """Count an attempt that is about to be made."""
        self.counts["called"] += "exec" in call.plan.hooks.own

    def keep(self, call: Call, value: Any) -> None:
        """Add the result of a call that was made."""
        started = self._in_progress.pop(call, None)
        if started is None or started.key is None:
            return
        key, before = started.key, started.attributes
        if started.shared != self._version(call):
            self.notes[call.plan.path] = "exec writes to shared, so it is called again"
            return
        if type(call.item) not in FIXED_TYPES and _item_key(call.item) != key.item:
            self.notes[call.plan.path] = "exec changes its input in place, so it is called again"
            return
        now = attributes_key(call.target)
        for name, was in key.attributes:
            if call.target.__dict__.get(name) is before[name] and now.get(name) != was:
                self.notes[call.plan.path] = f"exec changes self.{name} in place, so it is called again"
                return
        copier = Copier()
        attributes = {
            name: copier.copy(item)
            for name, item in call.target.__dict__.items()
            if name not in before or before[name] is not item
        }
        self._results[key, started.nth] = _Result(copier.copy(value), attributes, call.attempts, call.error)

    def _version(self, call: Call) -> Any:
        """The version of ``shared`` for an exec that takes it."""
        return self._snapshots.version() if call.plan.hooks.exec_takes_shared else None

    def _key(self, call: Call) -> _Key | None:
        """Return what the result of a call depends on; None if unknown."""
        plan, target = call.plan, call.target
        if getattr(target, "volatile", False) is True:
            return None
        item = _item_key(call.item)
        if item is None:
            self.notes[plan.path] = f"its input cannot be compared ({type(call.item).__name__}), so it is called again"
            return None
        return _Key(
            plan.path,
            id(plan.node),
            self._fingerprints.of(target),
            item,
            key_of(dict(call.batch.params), loosely=True) if call.batch.params else b"",
            tuple(attributes_key(target).items()),
            self._version(call),
        )


def attributes_key(node: Any) -> dict[str, bytes]:
    """Return a key for each attribute of a node that results depend on. Code is in the fingerprint."""
    return {
        name: key_of(value, loosely=True)
        for name, value in sorted(node.__dict__.items())
        if name not in _NOT_INPUT and not is_code(value)
    }


def _item_key(item: Any) -> Any:
    try:
        return (key_of(item),)
    except NoKeyError:
        return None


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
