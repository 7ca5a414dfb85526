"""A journal file that is open for writing: an SQLite database, and a lock that makes its process the only writer.

Each call of `JournalFile.write` is a commit. An interrupt or a kill between two of them loses nothing that was written:
a result is written before the row of its call refers to it. A process that is killed loses no commit. When the machine
loses power, the latest commits may be lost, and the file stays intact.
"""

import hashlib
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakSet

from ..core.errors import JournalError, warn
from .errors import RefusedError, UnreadableError
from .network import network_of
from .schema import check, check_tables, create
from .values import MAX_BYTES, to_text

__all__ = ["VALUE_BY_DIGEST", "JournalFile", "is_locked", "stored_form", "text_of"]

LOCK_SECONDS = 0.2
"""How long to wait for the lock."""

SMALL = 4_000
"""Longer texts are compressed, and kept once. Others are there to be read in any browser of SQLite."""

MAX_WAITING = 1_000
"""How many statements may wait for the next commit."""

_open: dict[Path, "JournalFile"] = {}
"""The open files of this process: runs that use one file at the same time share it."""
_locks: dict[tuple[int, Path], sqlite3.Connection] = {}
"""The locks that a process has, or is about to take, by its number and the file.

After an interrupt at any line, the next run finds them here. The forked child of the process has none of them.
"""
_opening = threading.Lock()


class JournalFile:
    """The tables of one journal. Open it with `opened`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._users: WeakSet[object] = WeakSet()  # an interrupt may come before a user has closed it
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []  # statements of `write_later`
        network = network_of(path)
        if network:
            warn(
                f"the journal {path} is on a network file system ({network}), which may not lock it; use a local disk."
            )
        _take_lock(path)
        try:
            if not path.exists():
                create(path)
            check(path)
            self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise
        except BaseException:
            _release_lock(path)
            raise

    @classmethod
    def opened(cls, path: Path, user: object) -> "JournalFile":
        """Open a file, or share it with another run of this process. It is created if it does not exist.

        Args:
            path: The file.
            user: Who will close it. It is open as long as one of its users exists.

        Raises:
            JournalError: It is no journal, it cannot be written, or another process writes to it.
        """
        path = Path(os.path.realpath(path))
        with _opening:
            found = _open.get(path)
            if found is None or found._pid != os.getpid():
                found = _open[path] = cls(path)
            found._users.add(user)
            return found

    def close(self, user: object) -> None:
        """Close the file, if no other run of this process uses it."""
        with _opening:
            self._users.discard(user)
            if self._users or self._pid != os.getpid():
                return
            with suppress(sqlite3.Error):  # the disk may be full
                self._write_all("SELECT 1", ())
            with suppress(sqlite3.Error):
                self._end_transaction()
            _open.pop(self.path, None)  # not before: an interrupt may have left a transaction, which the next run ends
            with suppress(sqlite3.Error):
                self._db.close()
            _release_lock(self.path)

    def _prepare(self) -> None:
        try:
            self._db.execute("PRAGMA trusted_schema=OFF")
            self._db.execute("PRAGMA synchronous=NORMAL")
            check_tables(self._db, self.path)
        except sqlite3.DatabaseError as exc:
            raise self._explained(exc) from None

    def write(self, statement: str, *values: Any) -> int:
        """Execute a statement, and commit it. Return the id of the row that was added.

        Raises:
            JournalError: It cannot be written, or this process is a fork of the one that opened the file.
        """
        if os.getpid() != self._pid:
            raise JournalError(
                f"the journal {self.path} was opened before this process was forked; open it again here."
            )
        try:
            with self._lock:
                if self._waiting or self._db.in_transaction:
                    return self._write_all(statement, values)
                return self._db.execute(statement, values).lastrowid or 0
        except sqlite3.Error as exc:
            raise self._explained(exc) from None

    def write_later(self, statement: str, *values: Any) -> None:
        """Execute a statement in one transaction with the next one. This costs a tenth of a separate commit.

        It may be executed twice, with the same effect as once.

        Raises:
            JournalError: As for `write`.
        """
        self._waiting.append((statement, values))
        if len(self._waiting) >= MAX_WAITING:
            self.write("SELECT 1")

    def _write_all(self, statement: str, values: tuple[Any, ...]) -> int:
        """Execute what waits and a statement, and commit them together.

        An interrupt may come after any line. Then the next call executes again what waits.
        """
        self._begin()
        waiting = self._waiting[:]
        for earlier, its_values in waiting:
            self._db.execute(earlier, its_values)
        row = self._db.execute(statement, values).lastrowid or 0
        self._db.execute("COMMIT")
        del self._waiting[: len(waiting)]
        return row

    def _begin(self) -> None:
        self._end_transaction()
        self._db.execute("BEGIN IMMEDIATE")

    def _end_transaction(self) -> None:
        """Roll back what is not committed, after an interrupt or an error."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """Execute statements that are committed together at the end, or not at all if an exception comes.

        Raises:
            JournalError: As for `write`.
        """
        try:
            with self._lock:
                try:
                    self._begin()
                    yield self._db.execute
                    self._db.execute("COMMIT")
                finally:
                    self._end_transaction()
        except sqlite3.Error as exc:
            raise self._explained(exc) from None

    def vacuum(self) -> None:
        """Give the free pages of the file back.

        Raises:
            JournalError: As for `write`.
        """
        try:
            with self._lock:
                self._write_all("SELECT 1", ())
                self._db.execute("VACUUM")
        except sqlite3.Error as exc:
            raise self._explained(exc) from None

    def read(self, statement: str, *values: Any) -> tuple[Any, ...] | None:
        """Execute a query, and return its first row; None if there is none.

        Raises:
            JournalError: The file is damaged.
        """
        return next(iter(self.read_all(statement, values)), None)

    def read_all(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Execute a query, and return its rows.

        Raises:
            JournalError: The file is damaged.
        """
        try:
            with self._lock:
                return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as exc:
            raise self._explained(exc) from None

    def _explained(self, exc: sqlite3.Error) -> JournalError:
        if isinstance(exc, sqlite3.OperationalError):
            return JournalError(f"the journal {self.path} cannot be read or written: {exc}.")
        return JournalError(f"the journal {self.path} is damaged: {exc}; give another file, or restore it from a copy.")

    def mark_killed(self) -> None:
        """Mark killed runs: runs that are still "running" although no other process writes to the file."""
        if len(self._users) == 1:
            self.write("UPDATE run SET status = 'killed' WHERE status = 'running'")

    # ---- values ------------------------------------------------------------------------------------------------------

    def add_text(self, text: str) -> str:
        """Return what a column holds for the text of a value. A long text is added to the table of values."""
        if len(text) <= SMALL:
            return text
        data = text.encode()
        reference = _reference(data)
        self.write("INSERT OR IGNORE INTO value VALUES (?, ?, ?)", reference[1:], zlib.compress(data, 1), len(data))
        return reference

    def add_value(self, value: Any) -> str | None:
        """Return the column's entry for a value that is stored only for display; None if it cannot be written."""
        try:
            return self.add_text(to_text(value))
        except RefusedError:
            return None


VALUE_BY_DIGEST = "SELECT body FROM value WHERE digest = ?"


def _reference(data: bytes) -> str:
    return f"#{hashlib.blake2b(data, digest_size=16).hexdigest()}"


def stored_form(value: Any) -> str | None:
    """Return what a column holds for a value, as `JournalFile.add_value` does, and write nothing."""
    try:
        text = to_text(value)
    except RefusedError:
        return None
    return text if len(text) <= SMALL else _reference(text.encode())


def text_of(stored: Any, row_of: Callable[[str], tuple[Any, ...] | None]) -> str:
    """Return the text for which a column holds this.

    Args:
        stored: The content of the column.
        row_of: Returns the row of the table of values that has this digest.

    Raises:
        UnreadableError: It is damaged, or longer than any value.
    """
    if type(stored) is not str:
        raise UnreadableError("it is damaged")
    if not stored.startswith("#"):
        return stored
    row = row_of(stored[1:])
    if row is None or type(row[0]) is not bytes:
        raise UnreadableError("it is damaged")
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(row[0], MAX_BYTES * 4)  # as UTF-8, a character takes up to four bytes
        if not inflate.eof:
            raise UnreadableError("it is too long, or cut off")
        return data.decode()
    except (zlib.error, UnicodeDecodeError) as exc:
        raise UnreadableError(f"it is damaged ({type(exc).__name__})") from None


# ---- the lock --------------------------------------------------------------------------------------------------------


def _take_lock(path: Path) -> None:
    """Lock a file for this process. The operating system releases the lock when the process ends, however it ends.

    The lock is that of an empty database beside the journal. A lock of the journal itself would keep readers out.

    Raises:
        JournalError: Another process has it, or it cannot be created.
    """
    side = Path(f"{path}-lock")
    try:
        os.close(os.open(side, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as exc:
        raise JournalError(f"the journal {path} cannot be opened for writing: {exc}") from None
    holder = _locks.get((os.getpid(), path))
    if holder is None:
        holder = sqlite3.connect(side, timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        holder = _locks.setdefault((os.getpid(), path), holder)
    try:
        if not holder.in_transaction:
            holder.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as exc:
        _release_lock(path)
        if "locked" in str(exc):
            raise JournalError(f"the journal {path} is in use{_by_whom(path)}; wait, or give another file.") from None
        raise JournalError(f"the journal {path} cannot be locked: {exc}") from None


def _release_lock(path: Path) -> None:
    holder = _locks.pop((os.getpid(), path), None)
    if holder is not None:
        holder.close()


def _by_whom(path: Path) -> str:
    """Return which process writes to a journal, as far as it is known."""
    try:
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=LOCK_SECONDS)
        try:
            query = "SELECT pid, host, started FROM run WHERE status = 'running' ORDER BY id DESC LIMIT 1"
            pid, host, started = db.execute(query).fetchone()
        finally:
            db.close()
        since = datetime.fromtimestamp(started).strftime("%Y-%m-%d %H:%M:%S")
        return f" by process {int(pid)} on {str(host)[:80]} since {since}"
    except (sqlite3.Error, TypeError, ValueError, OverflowError, OSError):  # it has just begun, or is no journal
        return " by another process"


def is_locked(path: Path) -> bool:
    """Return whether a process writes to a journal now."""
    side = Path(f"{os.path.realpath(path)}-lock")
    if not side.exists():
        return False
    try:
        with closing(sqlite3.connect(side, timeout=0, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        return True
    return False
