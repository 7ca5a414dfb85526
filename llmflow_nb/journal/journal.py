"""`Journal`: a file of finished calls, for runs to write and for users to look at."""

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.api.records import JournalMethods
from ..core.errors import JournalError, RowError, SettingError
from ..core.prices import UsageSum, sum_of
from ..core.settings import is_whole
from ..core.text import many, quoted, shown
from ..core.usage import Usage
from .classes import Classes
from .errors import UnreadableError
from .explained import explained
from .file import VALUE_BY_DIGEST, is_locked, text_of
from .pruning import prune
from .schema import OF_RUN, check, check_tables
from .spent import spent_from
from .values import from_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Journal", "as_journal"]

FOLDER = ".llmflow"
"""Where ``journal=True`` keeps its files: a folder that git ignores, beside the notebook."""

_COLUMNS = ("run", "flow", "started", "seconds", "status", "called", "replayed", "failed", "unanswered")

_DAMAGE = (
    sqlite3.Error,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What may be raised by values in the file that somebody has changed."""

_RUNS = """
SELECT id, flow, started, ended - started, iif(status = 'running', :if_running, status), coalesce(calls.called, 0),
    coalesce(used, 0), coalesce(failed, 0),
    iif(iif(status = 'running', :if_running, status) = 'killed', coalesce(open, 0), 0)
FROM run LEFT JOIN (
    SELECT run, count(*) AS called, sum(status NOT IN ('ok', 'started')) AS failed, sum(status = 'started') AS open
    FROM call GROUP BY run
) calls ON calls.run = id LEFT JOIN (SELECT run, count(*) AS used FROM use GROUP BY run) uses ON uses.run = id
ORDER BY id DESC
"""

_CALLS = f"""
SELECT path, position, params, input, result, status, 0 AS replayed, attempts, seconds, error_type, error, usage
FROM call WHERE {OF_RUN}
UNION ALL
SELECT call.path, use.position, params, input, result, status, 1, attempts, seconds, error_type, error, usage
FROM use JOIN call ON call.id = use.call WHERE use.run = ?1
ORDER BY path, position
"""
_CALL_COLUMNS = {
    "path": "string",
    "position": "Int64",
    "params": "object",
    "item": "object",
    "result": "object",
    "status": "string",
    "replayed": "boolean",
    "attempts": "Int64",
    "seconds": "Float64",
    "error_type": "string",
    "error": "string",
}


class Journal(JournalMethods):
    """A file that keeps the results of calls of ``exec``, so that a later run does not make the same calls again.

    Give it to a run: ``flow.run(shared, journal="runs.db")``. The file answers a call if its node, code, input, params
    and attributes are the same (and ``shared``, if ``exec`` takes it), also in another process. The file is an SQLite
    database, which the first run creates. Any SQLite browser can read it: the results are JSON.

    As the last line of a cell it shows its runs.

    Attributes:
        path: The file.
    """

    def __init__(self, path: "str | os.PathLike[str]", *, types: Iterable[type] = ()) -> None:
        """Name the file. Nothing is read or written yet.

        Args:
            path: The file. Its folder must exist.
            types: Classes of results, such as data classes, that are neither in the module of their node nor in the
                annotation of what its ``exec`` returns. Other classes are found without it.

        Raises:
            SettingError: ``types`` has something other than classes.
        """
        self.path = Path(path)
        self._types = tuple(types)
        for each in self._types:
            if not isinstance(each, type):
                raise SettingError(f"types={quoted(list(self._types))}: {quoted(each)} is not a class.")

    @property
    def runs(self) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for each run, the newest first.

        The index counts the rows from 0. Columns, in this order:

        * ``run`` (Int64): its number in the file, from 1; ``flow`` (string): the name of what was run;
        * ``started`` (datetime64, local time); ``seconds`` (Float64): missing while it runs, and after a kill;
        * ``status`` (string): running, ok, failed, interrupted, stopped, or killed;
        * ``called`` (Int64): the calls that were made; ``replayed`` (Int64): those that the file answered;
        * ``failed`` (Int64): the calls without a result; ``unanswered`` (Int64): the calls that were in progress when
          the process was killed. They may have been billed;
        * ``tokens_in``, ``tokens_out`` (Int64), ``cost`` (Float64, US dollars), only if a call has reported some with
          `spend`: of the calls that were made; missing if none of them has, or the price of a model is unknown.

        Raises:
            JournalError: There is no such file, or it is no journal.
        """
        import pandas as pd

        rows = self._read()
        used = self._usage_by_run() if rows else {}
        frame = pd.DataFrame(rows, columns=list(_COLUMNS))
        frame["started"] = pd.to_datetime(frame["started"])
        kinds = {"flow": "string", "status": "string", "seconds": "Float64"}
        counts = dict.fromkeys(("run", "called", "replayed", "failed", "unanswered"), "Int64")
        return _with_usage(frame.astype(kinds | counts), [used.get(number) for number, *_ in rows])

    def calls(self, run: int = -1) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` with a row for each call of a run, even if the run was killed.

        The rows are in the order of paths and positions; the index counts them from 0. Columns, in this order:

        * ``path`` (string): of the node; ``position`` (Int64): the index of the item, missing for a node without items;
        * ``params`` (object): those of the visit, as a dict; None without params;
        * ``item``, ``result`` (object): what ``exec`` was given and returned; None if there is none or it was not kept;
          an object whose class is not in ``types`` is shown as its JSON;
        * ``status`` (string): ok, fallback, failed, cancelled, not kept, or started: it was in progress at a kill;
        * ``replayed`` (boolean): whether an earlier run made the call; ``attempts`` (Int64), ``seconds`` (Float64);
        * ``error_type``, ``error`` (string): of a failed call;
        * ``tokens_in``, ``tokens_out`` (Int64), ``cost`` (Float64, US dollars), only if a call has reported some with
          `spend`; 0 if it was replayed; missing if it has reported nothing, or the price of the model is unknown.

        Args:
            run: The number of the run, as in `runs`. A negative one counts from the latest run, which is -1.

        Raises:
            RowError: (a KeyError) There is no such run.
            JournalError: There is no such file, or it is no journal.
        """
        import pandas as pd

        with self._opened() as db:
            found = db.execute(_CALLS, (self._number(db, run),)).fetchall()
            rows = [(*row[:2], *(self._value(db, part) for part in row[2:5]), *row[5:-1]) for row in found]
            used = [None if row[-1] is None else sum_of(spent_from(row[-1], replayed=bool(row[6]))) for row in found]
        frame = pd.DataFrame(rows, columns=list(_CALL_COLUMNS), dtype=object)
        return _with_usage(frame.astype({name: kind for name, kind in _CALL_COLUMNS.items() if kind != "object"}), used)

    def _value(self, db: sqlite3.Connection, stored: Any) -> Any:
        """Return the value for which a column holds this, or its text if it cannot be read."""
        if stored is None:
            return None
        text = ""
        try:
            text = self._text(db, stored)
            return from_text(text, Classes(self._types))
        except UnreadableError:
            return text

    def _text(self, db: sqlite3.Connection, stored: Any) -> str:
        return text_of(stored, lambda digest: db.execute(VALUE_BY_DIGEST, (digest,)).fetchone())

    def _status(self, stored: str) -> str:
        """Return the status of a run. A run that is still running although no process writes to the file was killed."""
        return "killed" if stored == "running" and not is_locked(self.path) else str(stored)

    def why(self, run: int = -1) -> "pd.DataFrame":
        """Return a plain `pandas.DataFrame` that says, for each node of a run, why its calls were made again or not.

        The index counts the rows from 0. Columns, in this order:

        * ``path`` (string): of the node, in the order of the calls;
        * ``replayed`` (Int64): the calls that the file answered; ``called`` (Int64): those that were made;
        * ``why`` (string): the reasons for the calls made, each with its number of calls, such as "12: its code has
          changed".

        Args:
            run: The number of the run, as in `runs`. A negative one counts from the latest run, which is -1.

        Raises:
            RowError: (a KeyError) There is no such run.
            JournalError: There is no such file, or it is no journal.
        """
        import pandas as pd

        with self._opened() as db:
            rows = explained(db, self._number(db, run))
        frame = pd.DataFrame(rows, columns=["path", "replayed", "called", "why"])
        return frame.astype({"path": "string", "replayed": "Int64", "called": "Int64", "why": "string"})

    def prune(
        self, *, older_than: timedelta | None = None, keep: int | None = None, max_bytes: int | None = None
    ) -> int:
        """Remove old runs with the results of their calls, and return how many runs were removed.

        A run is removed if one of the arguments says so, the oldest first. A call is kept, with its result, if a later
        run has used the result. Runs in progress are kept. Calls whose results were removed are made again.

        Args:
            older_than: Remove runs that ended longer ago, such as ``timedelta(days=30)``.
            keep: Keep at most this number of runs.
            max_bytes: Remove runs until the file has at most this size.

        Raises:
            SettingError: No argument is given, or a number is below 0.
            JournalError: There is no such file, it is not a journal, or another process writes to it.
        """
        return prune(self.path, older_than, keep, max_bytes)

    def __repr__(self) -> str:
        """List the latest runs, a line for each."""
        try:
            rows = self._read()
        except JournalError as exc:
            return f"<Journal {self.path}: {exc}>"
        used = self._usage_by_run() if rows else {}
        lines = [f"<Journal {self.path}: {many(len(rows), 'run')}>"]
        for number, flow, started, seconds, status, called, replayed, failed, unanswered in rows[:20]:
            parts = [f"{called} called", f"{replayed} replayed"]
            parts += [f"{n} {what}" for n, what in ((failed, "failed"), (unanswered, "unanswered")) if n]
            parts += [used[number].short] if number in used else []
            took = "" if seconds is None else f", {seconds:.1f} s"
            lines.append(f"  {number}  {started:%Y-%m-%d %H:%M}  {shown(flow, 80)}: {status}, {', '.join(parts)}{took}")
        return "\n".join([*lines, f"  ... {len(rows) - 20} more"] if len(rows) > 20 else lines)

    def _number(self, db: sqlite3.Connection, run: int) -> int:
        """Return the number of a run. A negative number counts from the latest run.

        Raises:
            RowError: There is no such run.
        """
        found = None
        if is_whole(run) and run >= 0:
            found = db.execute("SELECT id FROM run WHERE id = ?", (int(run),)).fetchone()
        elif is_whole(run):
            found = db.execute("SELECT id FROM run ORDER BY id DESC LIMIT 1 OFFSET ?", (-1 - int(run),)).fetchone()
        if found is None:
            raise RowError(f"{self.path} has no run {quoted(run)}; its runs are in .runs, and -1 is the latest.")
        number: int = found[0]
        return number

    def _read(self) -> list[tuple[Any, ...]]:
        """Return the rows of `runs`."""
        with self._opened() as db:
            if_running = "running" if is_locked(self.path) else "killed"
            found = db.execute(_RUNS, {"if_running": if_running}).fetchall()
            return [(n, str(name), datetime.fromtimestamp(began), *rest) for n, name, began, *rest in found]

    def _usage_by_run(self) -> dict[int, UsageSum]:
        """Return what the calls of each run have used that was reported."""
        found: dict[int, list[Usage]] = {}
        with self._opened() as db:
            for run, usage in db.execute("SELECT run, usage FROM call WHERE usage IS NOT NULL"):
                found.setdefault(run, []).extend(spent_from(usage))
        return {run: sum_of(usages) for run, usages in found.items()}

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """Open the file to read it, also while a run writes to it.

        Raises:
            JournalError: There is no such file, or it is no journal, or it is damaged.
        """
        if not self.path.exists():
            raise JournalError(f"there is no journal {self.path} yet; a run with journal= creates it.")
        check(self.path)
        uri = f"{Path(os.path.realpath(self.path)).as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=5.0)) as db:
                db.execute("PRAGMA trusted_schema=OFF")
                check_tables(db, self.path)
                yield db
        except RowError:
            raise
        except _DAMAGE as exc:
            raise JournalError(f"the journal {self.path} is damaged: {exc}; restore it from a copy.") from None


def _with_usage(frame: "pd.DataFrame", used: "list[UsageSum | None]") -> "pd.DataFrame":
    """Return a table with the columns of what the calls of each row have used, if any has reported it."""
    import pandas as pd

    if any(used):
        for name, kind in (("tokens_in", "Int64"), ("tokens_out", "Int64"), ("cost", "Float64")):
            frame[name] = pd.Series([None if each is None else getattr(each, name) for each in used], dtype=kind)
    return frame


def as_journal(given: Any, name: str, *, is_written: bool = True) -> Journal:
    """Return the journal that ``journal=`` means.

    Args:
        given: A `Journal`, the path of a file, True for a file in a folder of its own.
        name: The name of the flow, after which such a file is called.
        is_written: False: it is only read, so that folder is not created.

    Raises:
        SettingError: It is something else.
        JournalError: The folder cannot be created.
    """
    if isinstance(given, Journal):
        return given
    if given is True:
        if is_written:
            _create_folder()
        return Journal(Path(FOLDER) / f"{_file_name(name)}.db")
    if isinstance(given, str | os.PathLike) and str(given):
        return Journal(given)
    raise SettingError(f"journal={quoted(given)}: it must be a file name, a Journal, or True.")


def _create_folder() -> None:
    folder = Path(FOLDER)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as exc:
        raise JournalError(f"the folder {folder} cannot be created: {exc}; give a file: journal='runs.db'.") from None


def _file_name(name: str) -> str:
    """Return a name with the characters that a file name may have."""
    found = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "_" for char in name[:80])
    return found.lstrip(".") or "flow"
