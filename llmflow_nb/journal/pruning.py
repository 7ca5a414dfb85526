"""Remove old runs from a journal."""

import sqlite3
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from ..core.errors import JournalError, SettingError
from ..core.settings import is_whole
from ..core.text import quoted
from .file import JournalFile

__all__ = ["prune"]

_ORPHANS = (
    "DELETE FROM call WHERE run NOT IN (SELECT id FROM run) AND id NOT IN (SELECT call FROM use)",
    "DELETE FROM param_set WHERE batch NOT IN (SELECT id FROM batch)",
    "DELETE FROM code WHERE digest NOT IN (SELECT code FROM call WHERE code IS NOT NULL)",
    """
    DELETE FROM value WHERE digest NOT IN (
        SELECT substr(text, 2) FROM (
            SELECT input AS text FROM call UNION SELECT params FROM call UNION SELECT result FROM call
            UNION SELECT attributes FROM call UNION SELECT wiring FROM run UNION SELECT problems FROM run
            UNION SELECT notes FROM run UNION SELECT params FROM batch UNION SELECT labels FROM batch
            UNION SELECT item FROM param_set UNION SELECT result FROM param_set UNION SELECT params FROM visit
        ) WHERE text LIKE '#%')
    """,
)
"""Remove what no run uses any more."""


def prune(path: Path, older_than: timedelta | None, keep: int | None, max_bytes: int | None) -> int:
    """See `Journal.prune`."""
    if older_than is None and keep is None and max_bytes is None:
        raise SettingError("prune() needs older_than=, keep= or max_bytes=.")
    if older_than is not None and not (isinstance(older_than, timedelta) and older_than >= timedelta(0)):
        raise SettingError(f"prune(older_than={quoted(older_than)}): it must be a timedelta of 0 or more.")
    for name, value in (("keep", keep), ("max_bytes", max_bytes)):
        if value is not None and not (is_whole(value) and value >= 0):
            raise SettingError(f"prune({name}={quoted(value)}): it must be a whole number, 0 or more.")
    if not path.exists():
        raise JournalError(f"there is no journal {path} yet; a run with journal= creates it.")
    user = _User()
    file = JournalFile.opened(path, user)
    try:
        file.mark_killed()
        with file.transaction() as execute:
            removed = _remove(execute, older_than, keep, max_bytes)
        if removed:
            file.vacuum()
        return removed
    finally:
        file.close(user)


class _User:
    """Who has opened the file."""


def _remove(
    execute: Callable[..., sqlite3.Cursor], older_than: timedelta | None, keep: int | None, max_bytes: int | None
) -> int:
    """Remove runs, and return how many."""
    runs = execute("SELECT id, coalesce(ended, started), status FROM run ORDER BY id").fetchall()
    latest = -1.0 if older_than is None else time.time() - older_than.total_seconds()
    old = {run for run, ended, _ in runs if ended < latest}
    beyond = {run for run, *_ in runs[: max(0, len(runs) - keep)]} if keep is not None else set()
    ended = [run for run, _, status in runs if status != "running"]
    chosen = [run for run in ended if run in old | beyond]
    _delete(execute, chosen)
    rest = iter(run for run in ended if run not in chosen)
    while max_bytes is not None and _bytes_used(execute) > max_bytes:
        run = next(rest, None)
        if run is None:
            break
        _delete(execute, [run])
        chosen.append(run)
    return len(chosen)


def _delete(execute: Callable[..., sqlite3.Cursor], runs: list[int]) -> None:
    for run in runs:
        for table in ("use", "batch", "visit"):
            execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        execute("DELETE FROM run WHERE id = ?", (run,))
    for statement in _ORPHANS if runs else ():
        execute(statement)


def _bytes_used(execute: Callable[..., sqlite3.Cursor]) -> int:
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    used: int = (pages - free) * size
    return used
