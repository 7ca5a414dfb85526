"""What ``shared`` held at each place, key by key: a key that has not changed is kept once."""

from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple

from ..core.text import quoted, shown
from .values import Copier, same

__all__ = ["Change", "Snapshot", "Snapshots", "Version", "changes", "names"]


class Version:
    """What one key held, as long as it did.

    Attributes:
        number: Its own, so that two versions are the same if their numbers are.
        kept: The copy.
        original: The object it was made of, which is put back as long as it has not changed.
        size: About how many bytes the copy takes.
        by_reference: Types of which there is no copy: going back cannot restore these.
    """

    __slots__ = ("by_reference", "kept", "number", "original", "size", "uses")

    def __init__(self, number: int, value: Any, shared: Any) -> None:
        copier = Copier(whole=shared)
        self.number = number
        self.kept = copier.copy(value)
        self.original = value
        self.size = copier.size
        self.by_reference = copier.by_reference
        self.uses = 0

    def holds(self, value: Any) -> bool:
        """Whether a value is still what this version says."""
        return same(value, self.kept)

    def value(self, shared: Any = None) -> Any:
        """Return what to put back: the object itself if it is as it was, else a copy."""
        return self.original if self.holds(self.original) else Copier(whole=shared).copy(self.kept)


Snapshot = Mapping[Any, Version]
"""The keys in their order, with what they held."""


class Change(NamedTuple):
    """How one key differs between two snapshots. ``before`` or ``after`` is None where the key was not there."""

    key: Any
    before: Version | None
    after: Version | None


class Snapshots:
    """Takes snapshots of one ``shared`` and puts them back.

    Attributes:
        shared: The user's object. A dict by its keys, another object by its attributes.
        size: About how many bytes all copies take that are in use.
        not_restorable: What to say of keys that hold, or held, what cannot be copied.
    """

    def __init__(self, shared: Any) -> None:
        self.shared = shared
        self.size = 0
        self.not_restorable: dict[Any, str] = {}
        self._latest: dict[Any, Version] = {}
        self._next = 0

    @property
    def values(self) -> MutableMapping[Any, Any] | None:
        """What can be put back; None if there is nothing in ``shared`` that could be."""
        if isinstance(self.shared, MutableMapping):
            return self.shared
        return vars(self.shared) if type(self.shared).__dictoffset__ else None

    def take(self) -> Snapshot:
        """Return what ``shared`` holds now."""
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

    def version(self) -> tuple[Any, ...]:
        """Return something that is the same as long as ``shared`` holds the same."""
        return tuple((key, version.number) for key, version in self.take().items())

    def put_back(self, snapshot: Snapshot) -> None:
        """Make ``shared`` hold what it held then. Objects that have not changed since stay the very same."""
        values = self.values
        if values is None:
            return
        restored: dict[Any, Any] = {}
        once: dict[int, Any] = {}  # what was one object under several keys is one again
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
        """Count a snapshot as kept."""
        for version in snapshot.values():
            version.uses += 1
            if version.uses == 1:
                self.size += version.size

    def let_go(self, snapshot: Snapshot) -> None:
        """Count a snapshot as dropped."""
        for version in snapshot.values():
            version.uses -= 1
            if version.uses == 0:
                self.size -= version.size


def changes(before: Snapshot, after: Snapshot) -> list[Change]:
    """Return the keys in which two snapshots differ, those of the later one first, in its order."""
    keys: Iterable[Any] = [*after, *(key for key in before if key not in after)]
    pairs = [(key, before.get(key), after.get(key)) for key in keys]
    return [Change(key, old, new) for key, old, new in pairs if (old and old.number) != (new and new.number)]


def names(found: list[Change]) -> str:
    """Return the keys that have changed, as one says them."""
    return ", ".join(shown(change.key, 40) for change in found[:20]) + (", ..." if len(found) > 20 else "")
