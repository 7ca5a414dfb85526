"""The input of a batch: read lazily, and once.

An item is read when its call can start, so the input may be longer than the memory, or never end. What is read is kept
unless ``keep_items=False``. An input that can be read only once is never closed or lost by going back: see `split`.
"""

import copy
import itertools
from collections.abc import Iterator
from types import AsyncGeneratorType, GeneratorType
from typing import Any, NamedTuple, NoReturn

from ..core.errors import ItemsNotKeptError, warn
from ..core.text import quoted
from .iteration import COLLECTIONS, added_since, index_of, is_iterator, iterate, length, plain_value

__all__ = ["Items", "SavedItems", "split"]


class Items:
    """The input of one batch, as far as it was read."""

    source: Any  # what the next item is read from
    is_async = False  # whether the source has to be awaited
    values: list[Any] | None  # those read so far, or all; None: they are not kept
    is_materialised = False  # whether `values` holds all of them from the start
    dropped: dict[int, Any]  # where items are not kept: those that have no result
    returned: Any = None  # what the hook returned; None if it can be read only once
    one_pass = False  # whether it can be read only once
    index: Any = None  # the index of a pandas input
    is_none = False  # whether the hook returned None
    total: int | None  # how many there are; None: unknown
    read = 0  # how many were read
    reported = 0  # how many were read when `advance` last stopped after an item
    exhausted = False  # whether no more will be read: the input has ended or failed
    read_failed = False  # whether reading raised an exception

    def __init__(self, returned: Any, what: str, *, keep: bool = True) -> None:
        """Take what a hook returned.

        Args:
            returned: The items.
            what: Which hook returned them, for an error.
            keep: Whether items that have a result are kept.

        Raises:
            HookReturnError: It is not iterable, or it is one value (a string, a dict, a record); says what to write.
        """
        __tracebackhide__ = True
        self.source = source = iterate(returned, what)
        self.values = [] if keep else None
        self.dropped = {}
        self.total = length(returned)
        cls = returned.__class__
        if cls in COLLECTIONS:
            self.returned = returned
            if keep and (cls is list or cls is tuple):  # all at once is cheaper, and shows the items yet to come
                self.is_materialised = True
                self.values = values = list(returned)
                self.source = itertools.chain(values, added_since(values, returned))
            return
        self.index = index_of(returned)
        if hasattr(type(source), "__aiter__"):
            self.is_async = self.one_pass = True
        elif is_iterator(returned):
            self.one_pass = True
        elif returned is None:
            self.is_none, self.total = True, 0
        else:
            self.returned = returned

    @classmethod
    def of_one(cls, item: Any) -> "Items":
        """Return the only item of a plain node."""
        items = object.__new__(cls)
        items.returned = (item,)
        items.source = iter(items.returned)
        items.values = []
        items.dropped = {}
        items.total = 1
        return items

    def add(self, item: Any) -> int:
        """Enter an item that was read from the source, and return its index."""
        index = self.read
        self.read += 1
        if self.values is not None:
            self.values[index : index + 1] = [item]
        return index

    def at(self, index: int) -> Any:
        """Return an item.

        Raises:
            LookupError: It was not read, or not kept.
        """
        return self.dropped[index] if self.values is None else self.values[index]

    def label(self, index: int) -> Any:
        """Return the label that an item has in a pandas input; otherwise its index."""
        return index if self.index is None else plain_value(self.index[index])

    def for_post(self, prep_res: Any, path: str) -> Any:
        """Return what ``post`` gets as ``prep_res``: what ``prep`` returned, or a list of what was read of it."""
        if not self.one_pass:
            return prep_res
        return DroppedItems(path) if self.values is None else list(self.values)

    @property
    def known_total(self) -> int | None:
        """The number of items; None if unknown. At the end of the input the number that was read is certain."""
        return self.read if self.exhausted else self.total

    # ---- reading on --------------------------------------------------------------------------------------------------

    @property
    def can_resume(self) -> bool:
        """Whether the rest of the input can be read. Not that of an iterator that failed or was closed."""
        if self.exhausted and not self.read_failed:
            return True
        return not self.one_pass or not (
            self.read_failed or isinstance(self.source, GeneratorType | AsyncGeneratorType)
        )

    def resume(self, path: str) -> None:
        """Prepare to read the rest, from a new iterator if possible, since the old iterator may be closed."""
        if not self.one_pass and not self.is_async and (self.read_failed or not self.exhausted):
            self.source = itertools.islice(iterate(self.returned, path), self.read, None)
            self.exhausted = self.read_failed = False

    def close(self, path: str) -> None:
        """Run the clean-up of a generator that was not read to its end."""
        if isinstance(self.source, GeneratorType) and not self.source.gi_running:
            try:
                self.source.close()
            except Exception as exc:
                warn(f"{path}: the item generator raised {quoted(exc, 200)} when it was closed")

    # ---- going back --------------------------------------------------------------------------------------------------

    def save(self) -> "SavedItems":
        """Return what is needed to continue reading from here."""
        source = None
        if self.one_pass and not self.is_async:
            self.source, source = split(self.source)
        saved = copy.copy(self)
        saved.source = source if source is not None else self.source
        return SavedItems(
            saved,
            0 if self.values is None else len(self.values),
            len(self.returned) if self.is_materialised else 0,
        )

    def restored(self, saved: "SavedItems", path: str) -> "Items":
        """Return items of their own that stand where these stood when they were saved."""
        then, values, returned = saved
        twin = copy.copy(then)
        twin.reported = twin.read
        twin.values = None if self.values is None else self.values[:values]
        twin.dropped = {index: item for index, item in self.dropped.items() if index < twin.read}
        if self.is_materialised:
            assert twin.values is not None
            if len(self.returned) != returned:  # a hook has changed it since
                twin.returned = self.returned[:returned]
            left = itertools.islice(twin.values, twin.read, None)
            twin.source = itertools.chain(left, added_since(twin.values, twin.returned))
        elif self.one_pass and not self.is_async:
            then.source, twin.source = split(then.source)
        elif not (self.is_async or twin.exhausted):
            twin.source = itertools.islice(iterate(self.returned, path), twin.read, None)
        return twin


class SavedItems(NamedTuple):
    """How far the items of a batch had been read: a shallow copy of them, and the lengths of lists that grow."""

    items: Items
    values: int
    returned: int


class DroppedItems:
    """Stands in for items that were not kept because of ``keep_items=False``; every way of reading it says so."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __repr__(self) -> str:
        return "<items not kept>"

    def _dropped(self, *args: Any) -> NoReturn:
        raise ItemsNotKeptError(
            f"{self._path}: the items were not kept, so post cannot read them as prep_res. Use exec_res, or "
            "keep_items=True."
        )

    __iter__ = __len__ = __getitem__ = __contains__ = __bool__ = __reversed__ = _dropped


class _Tape:
    """The values read from an iterator, for several readers at different places.

    Used instead of ``itertools.tee``, which takes an iterator that has failed for one that has ended.
    """

    __slots__ = ("error", "read", "source")

    def __init__(self, source: Iterator[Any]) -> None:
        self.source = source
        self.read: list[Any] = []
        self.error: Exception | None = None


class _Reader:
    """Reads a tape from one place on."""

    __slots__ = ("_at", "tape")

    def __init__(self, tape: _Tape, at: int) -> None:
        self.tape, self._at = tape, at

    def __iter__(self) -> "_Reader":
        return self

    def __next__(self) -> Any:
        tape = self.tape
        if self._at == len(tape.read):
            if tape.error is not None:
                raise tape.error
            try:
                tape.read.append(next(tape.source))
            except StopIteration:
                raise
            except Exception as exc:
                tape.error = exc
                raise
        self._at += 1
        return tape.read[self._at - 1]

    def twin(self) -> "_Reader":
        """Return another reader that is at the same place."""
        return _Reader(self.tape, self._at)


def split(source: Any) -> tuple[Any, Any]:
    """Return two iterators over the rest of one."""
    reader = source if type(source) is _Reader else _Reader(_Tape(source), 0)
    return reader, reader.twin()
