"""The results of one run in a journal file."""

import hashlib
import json
import time
from typing import Any

from ..core.errors import JournalError
from ..engine.calls import Call
from .answers import Kept
from .file import JournalFile
from .history import RunHistory, column, error_columns
from .keys import CallKey
from .results import Results
from .spent import spent_text
from .values import to_text

__all__ = ["RunStore"]


class RunStore:
    """Loads results from a journal file, and writes the calls of one run to it (a `Store`).

    Attributes:
        failure: Why nothing more can be written, such as a full disk; None while all is well.
    """

    def __init__(self, file: JournalFile, history: RunHistory, types: tuple[type, ...] = ()) -> None:
        self.failure: JournalError | None = None
        self._file, self._history = file, history
        self._results = Results(file.read, file.path, types)
        self._rows: dict[Call, int] = {}  # of the calls in progress
        self._codes: dict[tuple[Any, ...], str] = {}

    def load(self, call: Call, key: CallKey, nth: int) -> Kept | None:
        """Return the latest result; None if there is none.

        Raises:
            JournalError: It cannot be read; or an earlier result could not be written, so no call is made any more.
        """
        if self.failure is not None:
            raise self.failure
        found = self._results.load(call, key, nth)
        if found is None:
            return None
        row, result = found
        self._add_use(call, row)
        return result

    def add_use(self, call: Call, key: CallKey, nth: int) -> None:
        """Write that the result of an earlier call is used, without reading it.

        Raises:
            JournalError: It cannot be written.
        """
        row = self._results.row_of(key, nth)
        if row is not None:
            self._add_use(call, row)

    def _add_use(self, call: Call, row: int) -> None:
        self._history.write()
        self._history.add_use(call.batch, call.item_index, row)

    def has(self, key: CallKey, nth: int) -> bool:
        """Return whether there is a result."""
        return self._results.row_of(key, nth) is not None

    def start(self, call: Call, key: CallKey | None, nth: int) -> None:
        """Write that a call is about to be made, so that a call interrupted by a kill is known.

        Raises:
            JournalError: It cannot be written. The call is not made.
        """
        history = self._history
        try:
            history.write()
            self._rows[call] = self._file.write(
                "INSERT INTO call(key, nth, run, batch, path, position, code, input, params, status, started) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'started', ?)",
                key and key.digest.hex(), nth, history.run, history.number_of(call.batch), column(call.plan.path),
                call.item_index, key and self._code(key), self._file.add_value(call.item),
                history.params(call.batch.params), time.time(),
            )  # fmt: skip
        except JournalError as exc:
            self.failure = exc
            raise

    def save(self, call: Call, key: CallKey | None, nth: int, result: Kept) -> None:
        """Write the result of a call. If the file cannot be written, `failure` says so, and nothing more is called.

        Raises:
            RefusedError: The result cannot be written.
        """
        text = to_text(result.value)
        of_attributes = to_text(result.attributes) if result.attributes else None
        row = self._rows.get(call)
        if row is None or self.failure is not None:
            return
        now = time.time()
        try:
            value = self._file.add_text(text)
            attributes = None if of_attributes is None else self._file.add_text(of_attributes)
            if key is None:
                self._file.write_later("UPDATE call SET key = NULL WHERE id = ?", row)
            self._file.write(
                "UPDATE call SET status = 'ok', ended = ?, seconds = ? - started, attempts = ?, result = ?, "
                "attributes = ?, usage = ?, worker = ?, error_type = ?, error = ? WHERE id = ?",
                now, now, result.attempts, value, attributes, spent_text(result.usage), _worker(call),
                *error_columns(result.error), row,
            )  # fmt: skip
            self._rows.pop(call, None)
        except JournalError as exc:
            self.failure = exc

    def end(self, call: Call, status: str, value: Any, error: BaseException | None) -> None:
        """Write how a call without a result to keep has ended. Without a row, it was not started."""
        row = self._rows.pop(call, None)
        if row is None or self.failure is not None:
            return
        now = time.time()
        try:
            self._file.write(
                "UPDATE call SET status = ?, ended = ?, seconds = ? - started, attempts = ?, result = ?, usage = ?, "
                "worker = ?, error_type = ?, error = ? WHERE id = ?",
                "not kept" if status == "ok" else status, now, now, call.attempts,
                self._file.add_value(value) if status == "fallback" else None,
                spent_text(call.batch.usage.of(call.index)), _worker(call), *error_columns(error), row,
            )  # fmt: skip
        except JournalError as exc:
            self.failure = exc

    def _code(self, key: CallKey) -> str:
        """Write what the code and the attributes of a node are, once, and return the digest of both."""
        parts = key.code, *key.attributes.items()
        digest = self._codes.get(parts)
        if digest is None:
            attributes = json.dumps({name: found.hex() for name, found in key.attributes.items()})
            digest = hashlib.blake2b(key.code + attributes.encode(), digest_size=16).hexdigest()
            self._file.write(
                "INSERT OR IGNORE INTO code VALUES (?, ?, ?, ?)", digest, column(key.path), key.code.hex(), attributes
            )
            self._codes[parts] = digest
        return digest


def _worker(call: Call) -> str | None:
    found = call.batch.outcomes.workers.get(call.index)
    return None if found is None else column(found)
