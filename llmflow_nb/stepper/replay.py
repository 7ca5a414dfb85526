"""The results of calls that were paid for, to be used again while what they were made from is the same."""

from collections import deque
from typing import Any, NamedTuple

from ..core.errors import RunStateError
from ..engine.calls import Call
from ..engine.plan import Answer
from .code import Fingerprints
from .snapshots import Snapshots
from .values import Copier, NoKeyError, key_of

__all__ = ["Replay", "check_mock"]

# What the engine and the library keep on a node; no result hangs on it.
_NOT_INPUT = frozenset({"successors", "params", "last_run", "name", "start_node", "overwritten", "volatile", "wait"})


class _Paid(NamedTuple):
    """A result, with what the call left on the node, and how many attempts it took."""

    value: Any
    left: dict[str, Any]
    attempts: int
    error: Exception | None


class Replay:
    """Answers calls of ``exec`` whose input, params and code are those of one that was made (the engine's `Answers`).

    Attributes:
        called: Calls that were made, by way of ``exec``.
        replayed: Calls that were answered from here.
        mocked: Calls that were answered by the user.
        notes: Why calls of a node cannot be answered from here, by path.
    """

    def __init__(self, snapshots: Snapshots, fingerprints: Fingerprints) -> None:
        self.called = self.replayed = self.mocked = 0
        self.notes: dict[str, str] = {}
        self._snapshots, self._fingerprints = snapshots, fingerprints
        self._paid: dict[Any, _Paid] = {}
        self._mocks: deque[tuple[str, Any]] = deque()
        self._made: dict[Call, tuple[Any, dict[str, Any], Any]] = {}

    def mock(self, path: str, values: list[Any]) -> None:
        """Have the next calls of a node answered with these values."""
        self._mocks.extend((path, value) for value in values)

    def end_command(self) -> None:
        """Forget mocks that no call came for, and calls that failed."""
        self._mocks.clear()
        self._made.clear()

    def forget(self, path: str) -> None:
        """Have the calls of a node made again."""
        for key in [key for key in self._paid if key[0] == path]:
            del self._paid[key]

    def find(self, call: Call) -> Answer | None:
        """Return the result of a call if it is there already."""
        path = call.plan.path
        if self._mocks and self._mocks[0][0] == path:
            self.mocked += 1
            return Answer(self._mocks.popleft()[1])
        if "exec" not in call.plan.hooks.own:  # the library's own, which costs nothing
            return None
        key = self._key(call)
        paid = None if key is None else self._paid.get(key)
        if paid is None:
            self.called += 1
            shared = self._snapshots.version() if call.plan.hooks.exec_takes_shared else None
            self._made[call] = key, dict(call.target.__dict__), shared
            return None
        self.replayed += 1
        copier = Copier()
        call.target.__dict__.update({name: copier.copy(value) for name, value in paid.left.items()})
        return Answer(copier.copy(paid.value), paid.attempts, paid.error)

    def keep(self, call: Call, value: Any) -> None:
        """Keep the result of a call that was made."""
        key, before, shared = self._made.pop(call, (None, {}, None))
        if key is None:
            return
        if shared is not None and shared != self._snapshots.version():
            self.notes[call.plan.path] = "exec writes to shared, so it is called again"
            return
        copier = Copier()
        left = {
            name: copier.copy(item)
            for name, item in call.target.__dict__.items()
            if name not in before or before[name] is not item
        }
        self._paid[key] = _Paid(copier.copy(value), left, call.attempts, call.error)

    def _key(self, call: Call) -> Any:
        """What the result of a call hangs on; None where that cannot be told."""
        plan, target = call.plan, call.target
        if getattr(target, "volatile", False) is True:
            return None
        try:
            item = key_of(call.item)
        except NoKeyError as exc:
            self.notes[plan.path] = f"its input cannot be compared ({exc}), so it is called again"
            return None
        attributes = {name: value for name, value in target.__dict__.items() if name not in _NOT_INPUT}
        shared = self._snapshots.version() if plan.hooks.exec_takes_shared else None
        return (
            plan.path,
            id(plan.node),
            self._fingerprints.of(target),
            item,
            key_of(dict(call.batch.params), loosely=True),
            key_of(attributes, loosely=True),
            shared,
        )


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
