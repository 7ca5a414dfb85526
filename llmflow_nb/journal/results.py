"""Read results of calls from a journal file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..core.errors import JournalError
from ..engine.calls import Call
from .answers import Kept
from .classes import Classes
from .errors import UnreadableError
from .file import VALUE_BY_DIGEST, text_of
from .keys import CallKey
from .spent import spent_from
from .values import from_text

__all__ = ["Results"]

_BY_KEY = "FROM call WHERE key = ? AND nth = ? AND status = 'ok' ORDER BY id DESC LIMIT 1"


class Results:
    """The results in a journal file, by the key of the call and its occurrence."""

    def __init__(self, read: Callable[..., tuple[Any, ...] | None], path: Path, types: tuple[type, ...]) -> None:
        """Read nothing yet.

        Args:
            read: Executes a query and returns its first row, or None.
            path: The file.
            types: Classes of results.
        """
        self._read, self._path, self._types = read, path, types
        self._classes: dict[type, Classes] = {}

    def load(self, call: Call, key: CallKey, nth: int) -> tuple[int, Kept] | None:
        """Return the latest result, and the row that has it; None if there is none.

        Raises:
            JournalError: It cannot be read.
        """
        found = self._read(f"SELECT id, attempts, seconds, result, attributes, usage {_BY_KEY}", key.digest.hex(), nth)
        if found is None:
            return None
        row, attempts, seconds, value, attributes, usage = found
        cls = type(call.target)
        classes = self._classes.get(cls) or self._classes.setdefault(cls, Classes(self._types, cls))
        try:
            spent = spent_from(usage, replayed=True)
            result = Kept(self._value(value, classes), {}, int(attempts), seconds=float(seconds), usage=spent)
            if attributes is not None:
                result = result._replace(attributes=dict(self._value(attributes, classes)))
        except UnreadableError as exc:
            raise self._unreadable(call, str(exc)) from None
        except (TypeError, ValueError):  # of a row that somebody has changed
            raise self._unreadable(call, "it is damaged") from None
        return row, result

    def row_of(self, key: CallKey, nth: int) -> int | None:
        """Return the row that has the latest result; None if there is none."""
        found = self._read(f"SELECT id {_BY_KEY}", key.digest.hex(), nth)
        return None if found is None else found[0]

    def _value(self, stored: Any, classes: Classes) -> Any:
        return from_text(text_of(stored, lambda digest: self._read(VALUE_BY_DIGEST, digest)), classes)

    def _unreadable(self, call: Call, why: str) -> JournalError:
        item = "" if call.batch.is_single else f", item {call.index + 1}"
        return JournalError(f"{call.plan.path}{item}: its result in {self._path} cannot be read: {why}.")
