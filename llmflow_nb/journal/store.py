"""The results of one run in a journal file."""

import hashlib
import json
import time
from typing import Any

from ..core.errors import JournalError
from ..core.text import error_text
from ..engine.calls import Call
from .answers import Kept
from .classes import Classes
from .errors import RefusedError, UnreadableError
from .file import JournalFile
from .keys import CallKey
from .values import from_text, to_text

__all__ = ["RunStore"]


class RunStore:
    """Loads results from a journal file, and writes the calls of one run to it (a `Store`).

    Attributes:
        run: The id of the run.
        failure: Why nothing more can be written, such as a full disk; None while all is well.
    """

    def __init__(self, file: JournalFile, run: int, types: tuple[type, ...] = ()) -> None:
        self.failure: JournalError | None = None
        self.run = run
        self._file, self._types = file, types
        self._rows: dict[tuple[bytes, int], int] = {}  # the calls in progress
        self._codes: dict[tuple[Any, ...], str] = {}
        self._classes: dict[type, Classes] = {}

    def load(self, call: Call, key: CallKey, nth: int) -> Kept | None:
        """Return the latest result; None if there is none.

        Raises:
            JournalError: It cannot be read; or an earlier result could not be written, so no call is made any more.
        """
        if self.failure is not None:
            raise self.failure
        found = self._file.read(
            "SELECT id, attempts, seconds, result, attributes FROM call "
            "WHERE key = ? AND nth = ? AND status = 'ok' ORDER BY id DESC LIMIT 1",
            key.digest.hex(), nth,
        )  # fmt: skip
        if found is None:
            return None
        row, attempts, seconds, value, attributes = found
        cls = type(call.target)
        classes = self._classes.get(cls) or self._classes.setdefault(cls, Classes(self._types, cls))
        try:
            result = Kept(from_text(self._file.text(value), classes), {}, int(attempts), seconds=float(seconds))
            if attributes is not None:
                result = result._replace(attributes=dict(from_text(self._file.text(attributes), classes)))
        except UnreadableError as exc:
            raise self._unreadable(call, str(exc)) from None
        except (TypeError, ValueError):  # of a row that somebody has changed
            raise self._unreadable(call, "it is damaged") from None
        self._file.write("INSERT INTO use(run, position, call) VALUES (?, ?, ?)", self.run, _position(call), row)
        return result

    def _unreadable(self, call: Call, why: str) -> JournalError:
        item = "" if call.batch.is_single else f", item {call.index + 1}"
        return JournalError(f"{call.plan.path}{item}: its result in {self._file.path} cannot be read: {why}.")

    def has(self, key: CallKey, nth: int) -> bool:
        """Return whether there is a result."""
        query = "SELECT 1 FROM call WHERE key = ? AND nth = ? AND status = 'ok'"
        return self._file.read(query, key.digest.hex(), nth) is not None

    def start(self, call: Call, key: CallKey, nth: int) -> None:
        """Write that a call is about to be made, so that one which a kill interrupts is known.

        Raises:
            JournalError: It cannot be written. The call is not made.
        """
        try:
            text = to_text(call.item)
        except RefusedError:  # the key of an input is enough for its result to be found
            text = None
        try:
            given = None if text is None else self._file.add_text(text)
            self._rows[key.digest, nth] = self._file.write(
                "INSERT INTO call(key, nth, run, path, position, code, input, params, status, started) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'started', ?)",
                key.digest.hex(), nth, self.run, key.path, _position(call), self._code(key), given,
                _params_text(call), time.time(),
            )  # fmt: skip
        except JournalError as exc:
            self.failure = exc
            raise

    def save(self, call: Call, key: CallKey, nth: int, result: Kept) -> None:
        """Write the result of a call. If the file cannot be written, `failure` says so, and nothing more is called.

        Raises:
            RefusedError: The result cannot be written.
        """
        text = to_text(result.value)
        of_attributes = to_text(result.attributes) if result.attributes else None
        row = self._rows.get((key.digest, nth))
        if row is None or self.failure is not None:
            return
        now = time.time()
        try:
            value = self._file.add_text(text)
            attributes = None if of_attributes is None else self._file.add_text(of_attributes)
            self._file.write(
                "UPDATE call SET status = 'ok', ended = ?, seconds = ? - started, attempts = ?, result = ?, "
                "attributes = ? WHERE id = ?",
                now, now, result.attempts, value, attributes, row,
            )  # fmt: skip
            self._rows.pop((key.digest, nth), None)
        except JournalError as exc:
            self.failure = exc

    def end(self, call: Call, key: CallKey, nth: int) -> None:
        """Write how a call has ended that has no result to keep. Without a row, it was not started."""
        row = self._rows.pop((key.digest, nth), None)
        if row is None or self.failure is not None:
            return
        outcome = call.batch.outcomes.exceptional.get(call.index)
        status, error = ("not kept", None) if outcome is None else (outcome.status, outcome.error)
        self._file.write(
            "UPDATE call SET status = ?, ended = ?, attempts = ?, error_type = ?, error = ? WHERE id = ?",
            status, time.time(), call.attempts, error and type(error).__name__, error and error_text(error), row,
        )  # fmt: skip

    def _code(self, key: CallKey) -> str:
        """Write what the code and the attributes of a node are, once, and return the digest of both."""
        parts = key.code, *key.attributes.items()
        digest = self._codes.get(parts)
        if digest is None:
            attributes = json.dumps({name: found.hex() for name, found in key.attributes.items()})
            digest = hashlib.blake2b(key.code + attributes.encode(), digest_size=16).hexdigest()
            self._file.write(
                "INSERT OR IGNORE INTO code VALUES (?, ?, ?, ?)", digest, key.path, key.code.hex(), attributes
            )
            self._codes[parts] = digest
        return digest


def _position(call: Call) -> int | None:
    return None if call.batch.is_single else call.index


def _params_text(call: Call) -> str | None:
    try:
        return to_text(dict(call.batch.params)) if call.batch.params else None
    except RefusedError:
        return None
