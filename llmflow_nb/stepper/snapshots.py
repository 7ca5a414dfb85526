"""What ``shared`` held at each place, key by key. A key that has not changed is kept once."""

from collections.abc import Iterable, Mapping, MutableMapping, Set
from typing import Any, NamedTuple

from ..core.copying import Copier
from ..core.kinds import FIXED_TYPES
from ..core.text import quoted, shown
from .comparing import same

__all__ = ["Change", "Snapshot", "Snapshots", "Version", "changes", "names"]


class Version:
    """What one key held until it changed."""

    __slots__ = (  # noqa: RUF023  ordered by meaning
        "number",  # two versions are the same if their numbers are equal
        "original",  # the object that was copied; it is put back if it has not changed
        "kept",  # the copy
        "size",  # about how many bytes the copy takes
        "by_reference",  # the types that cannot be copied, which going back cannot restore
        "uses",  # the number of snapshots in use that hold this version; at 0 its copy was discarded
    )

    def __init__(self, number: int, value: Any, shared: Any) -> None:
        self.number = number
        self.original = self.kept = value
        self.size = self.uses = 0
        self.by_reference: Set[str] = frozenset()
        if type(value) not in FIXED_TYPES:
            copier = Copier(whole=shared)
            self.kept = copier.copy(value)
            self.size, self.by_reference = copier.size, copier.by_reference

    def holds(self, value: Any) -> bool:
        """Whether a value equals this version."""
        return same(value, self.kept)

    def value(self, shared: Any = None) -> Any:
        """Return what to put back: the original if it has not changed, else a copy."""
        return self.original if self.holds(self.original) else Copier(whole=shared).copy(self.kept)


Snapshot = Mapping[Any, Version]
"""The keys in their order, each with its version."""


class Change(NamedTuple):
    """How one key differs between two snapshots. ``before`` or ``after`` is None where the key did not exist."""

    key: Any
    before: Version | None
    after: Version | None


class Snapshots:
    """Takes snapshots of one ``shared`` and restores them: a dict by its keys, another object by its attributes."""

    def __init__(self, shared: Any) -> None:
        self.shared = shared
        self.size = 0  # about how many bytes the copies in use take
        self.not_restorable: dict[Any, str] = {}  # a text for each key that holds, or held, what cannot be copied
        self._latest: Snapshot = {}
        self._next = 0

    @property
    def values(self) -> MutableMapping[Any, Any] | None:
        """The mapping whose keys can be restored; None if ``shared`` has none."""
        if isinstance(self.shared, MutableMapping):
            return self.shared
        return vars(self.shared) if type(self.shared).__dictoffset__ else None

    def take(self) -> Snapshot:
        """Return a snapshot of ``shared``."""
        latest = self._latest
        taken: dict[Any, Version] = {}
        for key, value in list((self.values or {}).items()):
            version = latest.get(key)
            if version is None or not version.holds(value):
                self._next += 1
                version = Version(self._next, value, self.shared)
                if version.by_reference:
                    some = ", ".join(sorted(version.by_reference))
                    self.not_restorable[key] = f"{quoted(key)} cannot be copied ({some}): going back leaves it as it is"
            taken[key] = version
        self._latest = taken
        return taken

    def put_back(self, snapshot: Snapshot) -> None:
        """Restore ``shared``. Objects that have not changed since stay the same objects."""
        values = self.values
        if values is None:
            return
        restored: dict[Any, Any] = {}
        once: dict[int, Any] = {}  # one object under several keys stays one object
        for key, version in snapshot.items():
            if id(version.original) not in once:
                is_there = key in values and version.holds(values[key])
                once[id(version.original)] = values[key] if is_there else version.value(self.shared)
            restored[key] = once[id(version.original)]
        if list(values) != list(restored):
            values.clear()
        for key, value in restored.items():
            if key not in values or values[key] is not value:
                values[key] = value
        self._latest = dict(snapshot)

    def use(self, snapshot: Snapshot) -> None:
        """Count a snapshot as in use."""
        for version in snapshot.values():
            version.uses += 1
            if version.uses == 1:
                self.size += version.size

    def release(self, snapshot: Snapshot) -> None:
        """Release a snapshot, and discard the copies that no other snapshot uses."""
        for version in snapshot.values():
            version.uses -= 1
            if version.uses == 0:
                self.size -= version.size
                version.original = version.kept = None


def changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return the keys that differ between two snapshots: first those of the later one, in its order."""
    keys: Iterable[Any] = [*after, *(key for key in before if key not in after)]
    pairs = [(key, before.get(key), after.get(key)) for key in keys]
    return [Change(key, old, new) for key, old, new in pairs if (old and old.number) != (new and new.number)]


def names(found: list[Change]) -> str:
    """Return the changed keys as text."""
    return ", ".join(shown(change.key, 40) for change in found[:20]) + (", ..." if len(found) > 20 else "")
