"""The results of calls that were paid for, to be used again while what they were made from is the same."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from ..core.encoding import NoKeyError, key_of
from ..core.errors import RunStateError
from ..core.fingerprint import Fingerprints, is_code
from ..core.node import BaseNode
from ..engine.calls import Call
from ..engine.plan import DRIVEN, Answer
from .snapshots import Snapshots
from .values import Copier

__all__ = ["Replay", "attributes_key", "check_mock"]

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
"""What the engine and the library keep on a node, and the engine's settings: no result depends on them."""


class _Paid(NamedTuple):
    """A result, with what the call left on the node, and how many attempts it took."""

    value: Any
    left: dict[str, Any]
    attempts: int
    error: Exception | None


class Replay:
    """Answers calls of ``exec`` whose input, params and code are those of one that was made (the engine's `Answers`).

    Of calls that are all the same, the first on the way here is answered by the first, the second by the second: what a
    model says twice to the same prompt need not be the same, and a loop may be there to ask until it is.

    Attributes:
        called: Calls of ``exec`` that were made, each attempt counted.
        replayed: Calls that were answered from here.
        mocked: Calls that were answered by the user.
        notes: Why calls of a node cannot be answered from here, by path.
        again: The path of a node whose calls are made in any case, with those within it; None for none.
    """

    def __init__(self, snapshots: Snapshots, fingerprints: Fingerprints) -> None:
        self.called = self.replayed = self.mocked = 0
        self.notes: dict[str, str] = {}
        self.again: str | None = None
        self._snapshots, self._fingerprints = snapshots, fingerprints
        self._paid: dict[Any, _Paid] = {}
        self._mocks: deque[tuple[str, Any]] = deque()
        self._made: dict[Call, tuple[Any, dict[str, Any], Any]] = {}
        self._before: Counter[Any] = Counter()
        self._used: list[Any] = []

    def mock(self, path: str, values: list[Any]) -> None:
        """Have the next calls of a node answered with these values."""
        self._mocks.extend((path, value) for value in values)

    def end_command(self) -> None:
        """Forget mocks that no call came for, and calls that failed."""
        self._mocks.clear()
        self._made.clear()
        self.again = None

    def take_used(self) -> list[Any]:
        """Return what the calls since this was last asked were found by."""
        used, self._used = self._used, []
        return used

    def be_after(self, used: Iterable[Any]) -> None:
        """Stand where these calls have been made, and no others."""
        self._before = Counter(used)
        self._used = []

    def find(self, call: Call) -> Answer | None:
        """Return the result of a call if it is there already."""
        path = call.plan.path
        if self._mocks and self._mocks[0][0] == path:
            self.mocked += 1
            return Answer(self._mocks.popleft()[1])
        if "exec" not in call.plan.hooks.own:  # the library's own, which costs nothing
            return None
        key = self._key(call)
        paid = None
        if key is not None:
            nth = self._before[key]
            self._before[key] += 1
            self._used.append(key)
            key = key, nth
            if self.again is None or not f"{path}/".startswith(f"{self.again}/"):
                paid = self._paid.get(key)
        if paid is None:
            self._made[call] = key, dict(call.target.__dict__), self._version(call)
            return None
        self.replayed += 1
        copier = Copier()
        call.target.__dict__.update({name: copier.copy(value) for name, value in paid.left.items()})
        return Answer(copier.copy(paid.value), paid.attempts, paid.error)

    def calling(self, call: Call) -> None:
        """Count an attempt."""
        self.called += "exec" in call.plan.hooks.own

    def keep(self, call: Call, value: Any) -> None:
        """Keep the result of a call that was made."""
        key, before, shared = self._made.pop(call, (None, {}, None))
        if key is None:
            return
        if shared != self._version(call):
            self.notes[call.plan.path] = "exec writes to shared, so it is called again"
            return
        if _item_key(call.item) != key[0][_ITEM]:
            self.notes[call.plan.path] = "exec changes its input in place, so it is called again"
            return
        now = attributes_key(call.target)
        for name, was in key[0][_ATTRIBUTES]:
            if call.target.__dict__.get(name) is before[name] and now.get(name) != was:
                self.notes[call.plan.path] = f"exec changes self.{name} in place, so it is called again"
                return
        copier = Copier()
        left = {
            name: copier.copy(item)
            for name, item in call.target.__dict__.items()
            if name not in before or before[name] is not item
        }
        self._paid[key] = _Paid(copier.copy(value), left, call.attempts, call.error)

    def _version(self, call: Call) -> Any:
        """What ``shared`` holds, for an exec that is given it."""
        return self._snapshots.version() if call.plan.hooks.exec_takes_shared else None

    def _key(self, call: Call) -> Any:
        """What the result of a call hangs on; None where that cannot be told."""
        plan, target = call.plan, call.target
        if getattr(target, "volatile", False) is True:
            return None
        item = _item_key(call.item)
        if item is None:
            self.notes[plan.path] = f"its input cannot be compared ({type(call.item).__name__}), so it is called again"
            return None
        return (
            plan.path,
            id(plan.node),
            self._fingerprints.of(target),
            item,
            key_of(dict(call.batch.params), loosely=True),
            tuple(attributes_key(target).items()),
            self._version(call),
        )


_ITEM, _ATTRIBUTES = 3, 5
"""Where in a key the input is, and the attributes of the node."""


def attributes_key(node: Any) -> dict[str, bytes]:
    """Return what each attribute of a node counts as, of those that results depend on. Code is in the fingerprint."""
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
    """Return what to answer the next calls of a node with.

    Raises:
        RunStateError: It is a flow, or the result of a batch is no list.
    """
    if kind in ("flow", "batch_flow"):
        raise RunStateError(f"mock: {path} is a flow, whose result is that of its nodes; step into it, and mock one.")
    if kind == "node" or at_item:
        return [result]
    if not isinstance(result, list | tuple):
        raise RunStateError(f"mock: {path} calls exec for each item, so give a list with one result for each.")
    return list(result)
