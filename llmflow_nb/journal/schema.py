"""The format of a journal file: its tables, how a file is created, and how other files are recognized."""

import os
import sqlite3
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

from ..core.errors import JournalError

__all__ = ["DISCARDED", "OF_RUN", "check", "check_tables", "create"]

APPLICATION_ID = 0x6C666E62  # "lfnb"
VERSION = 1

TABLES = """
CREATE TABLE run(
    id INTEGER PRIMARY KEY AUTOINCREMENT, flow TEXT, started REAL, ended REAL, status TEXT, action TEXT, host TEXT,
    pid INTEGER, python TEXT, wiring TEXT, first_call INTEGER, called INTEGER, replayed INTEGER,
    abandoned INTEGER, problems TEXT, notes TEXT, error_type TEXT, error TEXT);
CREATE TABLE code(digest TEXT PRIMARY KEY, path TEXT, code TEXT, attributes TEXT) WITHOUT ROWID;
CREATE TABLE value(digest TEXT PRIMARY KEY, body BLOB, size INTEGER);
CREATE TABLE call(
    id INTEGER PRIMARY KEY, key TEXT, nth INTEGER, run INTEGER, batch INTEGER, path TEXT, position INTEGER, code TEXT,
    input TEXT, params TEXT, status TEXT, started REAL, ended REAL, seconds REAL, attempts INTEGER, result TEXT,
    attributes TEXT, usage TEXT, worker TEXT, error_type TEXT, error TEXT);
CREATE INDEX call_by_key ON call(key, nth);
CREATE TABLE use(
    run INTEGER, number INTEGER, batch INTEGER, position INTEGER, call INTEGER, PRIMARY KEY(run, number)
    ) WITHOUT ROWID;
CREATE TABLE batch(
    id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER, path TEXT, node TEXT, kind TEXT, walk INTEGER, params TEXT,
    size INTEGER, labels TEXT, parent INTEGER, parent_position INTEGER);
CREATE TABLE param_set(
    batch INTEGER, position INTEGER, item TEXT, result TEXT, action TEXT, status TEXT, failed_at TEXT, attempts INTEGER,
    seconds REAL, error_type TEXT, error TEXT, PRIMARY KEY(batch, position)) WITHOUT ROWID;
CREATE TABLE visit(
    run INTEGER, step INTEGER, path TEXT, kind TEXT, walk INTEGER, params TEXT, action TEXT, status TEXT,
    replayed INTEGER, attempts INTEGER, prep_s REAL, exec_s REAL, post_s REAL, error_type TEXT, error TEXT,
    is_resolved INTEGER, usage TEXT, parent INTEGER, parent_position INTEGER,
    PRIMARY KEY(run, step)) WITHOUT ROWID;
"""
"""What the file holds.

* ``call`` has a row for each call that was made, and ``use`` one for each that was answered by an earlier one. A call
  without a key answers no other. ``input``, ``params``, ``result`` and ``attributes`` are JSON (see `values`). For a
  long text, the column has "#" and the digest of a row of ``value``, which has long texts compressed, each once.
* ``code`` has hashes of the code and of each attribute of a node, so that it can be explained why a call was made.
* The others are what a run is shown from: ``visit`` has a row for each visit that has ended, ``batch`` one for each
  visit with items or param sets, ``param_set`` one for each param set. ``wiring`` is the flow (see `wiring`).
  ``walk`` numbers the walks through a flow. ``parent`` is the batch of the param set around a batch, or around a visit
  that has used something.
  The kind of a batch is `DISCARDED` if a retry has run its visit again: then only its calls count.
* ``worker`` is where an executor has made a call, if it says so.
* ``usage`` is what a call has reported with `spend`, as JSON (see `spent`): a list for each model. It has the name, the
  tokens in, out and cached, the cost if it was reported, the provider, and whether an earlier run has paid. A visit of
  a plain node has that of its hooks and its call.

What is written for each call is kept small. So there is no index of the calls by run: a run's are found by `OF_RUN`,
from its ``first_call`` on, which has the number that was free when the run began.
"""

DISCARDED = "discarded"

OF_RUN = "call.run = ?1 AND call.id >= (SELECT first_call FROM run WHERE id = ?1)"
"""The condition for the calls of a run."""

_HEADER = b"SQLite format 3\0"


def create(path: Path) -> None:
    """Create an empty journal. It is there at once as a whole, or not at all."""
    new = path.with_name(f"{path.name}-new{os.getpid()}")
    try:
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # what it holds may be confidential
        db = sqlite3.connect(new, isolation_level=None)
        try:
            db.executescript(
                f"PRAGMA synchronous=OFF; PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION}; "
                f"PRAGMA journal_mode=WAL; BEGIN;{TABLES}COMMIT;"
            )
        finally:
            db.close()
        with new.open("rb") as file:
            os.fsync(file)  # once, in place of after each step
        for orphan in _beside(path):  # of a file that was killed and deleted: SQLite would read it into the new one
            orphan.unlink(missing_ok=True)
        os.replace(new, path)
    except (OSError, sqlite3.Error) as exc:
        raise JournalError(f"the journal {path} cannot be created: {exc}") from None
    finally:
        for left in (new, *_beside(new)):
            with suppress(OSError):
                left.unlink()


def _beside(path: Path) -> tuple[Path, Path]:
    """Return the files in which SQLite keeps the latest commits of a database."""
    return Path(f"{path}-wal"), Path(f"{path}-shm")


def check(path: Path) -> None:
    """Check that a file is a journal of this format. The file is only read.

    Raises:
        JournalError: It is another file, cut off, or of a newer format. The text says which.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(100)
    except IsADirectoryError:
        raise JournalError(f"{path} is a folder; give the name of a file, such as {path / 'runs.db'}.") from None
    except OSError as exc:
        raise JournalError(f"the journal {path} cannot be read: {exc}") from None
    if not head.startswith(_HEADER) or len(head) < 100:
        what = "is empty" if not size else f"begins with {head[:8]!r}"
        raise _is_other(path, f"is not a journal: it {what}")
    page_size = int.from_bytes(head[16:18], "big")
    pages, application = int.from_bytes(head[28:32], "big"), int.from_bytes(head[68:72], "big")
    version = int.from_bytes(head[60:64], "big")
    if application != APPLICATION_ID:
        raise _is_other(path, "is an SQLite database, but not a journal")
    if version > VERSION:
        raise JournalError(
            f"{path} has the newer format {version}, and this version of llmflow_nb reads format {VERSION}; update "
            "llmflow_nb, or give another file. The file was not changed."
        )
    wal, _ = _beside(path)
    is_complete = not wal.exists() or not wal.stat().st_size  # else the latest pages are there
    if is_complete and size < pages * (65536 if page_size == 1 else page_size):
        raise _is_other(path, "is a journal that was cut off")


def check_tables(db: sqlite3.Connection, path: Path) -> None:
    """Check that a database has the tables of a journal, and nothing that runs automatically, such as a trigger."""
    if _objects(db) != _expected_objects():
        raise _is_other(path, "does not have the tables of a journal")


@cache
def _expected_objects() -> list[tuple[str, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(TABLES)
        return _objects(db)


def _objects(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    """Return what a database consists of: its tables, indexes, triggers, views."""
    return db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def _is_other(path: Path, what: str) -> JournalError:
    return JournalError(f"{path} {what}; give another file, or restore it from a copy. The file was not changed.")
