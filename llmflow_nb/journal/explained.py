"""Explain why calls are made, though a journal has earlier results."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ..core.errors import JournalError
from ..core.prices import UsageSum, sum_of
from ..core.text import many, message
from ..core.traversal import last_name
from ..engine.calls import Call
from .file import stored_form
from .history import column
from .keys import CallKey
from .schema import OF_RUN
from .spent import spent_from

__all__ = ["NAMED", "EarlierCalls", "code_of", "explained", "headline", "reasons_text"]

NAMED = 3
"""The number of nodes that a line names."""

_Code = tuple[str, dict[str, Any]]
"""The code of a node and its attributes by name, as hashes."""


def explained(db: sqlite3.Connection, run: int) -> list[tuple[str, int, int, str]]:
    """Return for each node of a run: its path, how many calls the file answered, how many were made, and why."""
    earlier = EarlierCalls(db.execute, before=run)
    reasons: dict[str, Counter[str]] = {}
    for path, given, params, code in db.execute(
        f"SELECT path, input, params, code FROM call WHERE {OF_RUN} AND started IS NOT NULL ORDER BY id", (run,)
    ):
        reason = earlier.why(path, given, params, None if code is None else earlier.code(code))
        reasons.setdefault(path, Counter())[reason] += 1
    replayed = dict(
        db.execute(
            "SELECT path, count(*) FROM use JOIN call ON call.id = use.call WHERE use.run = ? GROUP BY path", (run,)
        ).fetchall()
    )
    return [
        (path, replayed.get(path, 0), found.total(), listed(found))
        for path in dict.fromkeys([*replayed, *reasons])
        for found in [reasons.get(path, Counter())]
    ]


def listed(reasons: "Counter[str]") -> str:
    """Return reasons as text, each with its number of calls, the most frequent first."""
    return "; ".join(f"{n}: {why}" for why, n in reasons.most_common())


def headline(answered: int, reasons: "dict[str, Counter[str]]", file: str, verb: str = "to call") -> str:
    """Return what a run will do or has done, in a line.

    Args:
        answered: The number of calls that the journal answers.
        reasons: Why calls will be made, by the path of the node.
        file: The name of the journal.
        verb: "to call" or "called".
    """
    known = answered + sum(why.total() for why in reasons.values())
    parts = [f"{answered:,} of {many(known, 'call')} answered by {file}"]
    made = list(reasons.items())
    parts += [f"{last_name(path)}: {why.total():,} {verb}, {reasons_text(why)}" for path, why in made[:NAMED]]
    if len(made) > NAMED:
        parts.append(f"{sum(why.total() for _, why in made[NAMED:]):,} more {verb}")
    return message("; ".join(parts))


def reasons_text(reasons: "Counter[str]") -> str:
    """Return reasons as text: with the number of calls of each, if there are several."""
    return next(iter(reasons)) if len(reasons) == 1 else listed(reasons)


class EarlierCalls:
    """The calls that a journal has, to compare another call with."""

    def __init__(
        self, execute: Callable[[str, tuple[Any, ...]], Iterable[tuple[Any, ...]]], *, before: int | None = None
    ) -> None:
        """Read nothing yet.

        Args:
            execute: Executes a query with values, and returns its rows.
            before: The number of a run; None: the calls of all runs count.
        """
        self._execute, self._before = execute, before
        self._codes: dict[str, _Code] = {}
        self._by_path: dict[str, dict[tuple[str | None, str | None], tuple[str | None, str]]] = {}

    def code(self, digest: str) -> _Code:
        """Return what the file has of the code and the attributes of a node."""
        found = self._codes.get(digest)
        if found is None:
            try:
                [(code, attributes)] = self._execute("SELECT code, attributes FROM code WHERE digest = ?", (digest,))
                found = self._codes[digest] = code, dict(json.loads(attributes))
            except (TypeError, ValueError):  # of a row that somebody has changed
                raise JournalError("the journal is damaged: its table of code cannot be read.") from None
        return found

    def expected_usage(self, path: str, calls: int) -> UsageSum | None:
        """Return what calls of a node will use, by the mean of its latest 1,000 that reported it; None without any."""
        rows = self._execute(
            "SELECT usage FROM call WHERE path = ? AND usage IS NOT NULL ORDER BY id DESC LIMIT 1000", (path,)
        )
        try:
            sums = [sum_of(spent_from(usage)) for (usage,) in rows]
        except (TypeError, ValueError):  # of a row that somebody has changed
            raise JournalError("the journal is damaged: what a call has used cannot be read.") from None
        return UsageSum.total(sums).times(calls / len(sums)) if sums else None

    def why(self, path: str, given: str | None, params: str | None, code: _Code | None) -> str:
        """Return why a call is made, from the latest call of the same node with the same input and params.

        Args:
            path: The node.
            given: The input, as the file has it; None if it cannot be written.
            params: The params, as the file has them; None without any.
            code: Of the node now; None if the result of this call answers no other.
        """
        calls = self._of(path)
        if not calls:
            return "its first run"
        if given is None:
            return "its input is not in the file, so it is unknown"
        if code is None:
            return "it is volatile, or its input cannot be compared"
        digest, status = calls.get((given, params), (None, ""))
        if digest is None:
            return "new input or params"
        (code_now, attributes_now), (code_before, attributes_before) = code, self.code(digest)
        if code_before != code_now:
            return "its code has changed"
        names = attributes_before.keys() | attributes_now.keys()
        changed = sorted(name for name in names if attributes_before.get(name) != attributes_now.get(name))
        if changed:
            return f"changed: {', '.join(f'self.{name}' for name in changed[:10])}"
        if status != "ok":
            return f"it had no result ({status})"
        return "called more often than before, or with another shared, or fresh="

    def why_made(self, call: Call, key: CallKey | None) -> str:
        """Return why a call of a run in progress is made. Without a key, its result answers no other."""
        params = stored_form(dict(call.batch.params)) if call.batch.params else None
        return self.why(column(call.plan.path), stored_form(call.item), params, None if key is None else code_of(key))

    def has_code(self, path: str, code: _Code) -> bool:
        """Return whether a node has made calls with this code and these attributes."""
        digests = {digest for digest, _ in self._of(path).values() if digest is not None}
        return any(self.code(digest) == code for digest in digests)

    def has(self, path: str) -> bool:
        """Return whether a node has made calls."""
        return bool(self._of(path))

    def _of(self, path: str) -> dict[tuple[str | None, str | None], tuple[str | None, str]]:
        """Return the latest calls of a node, by input and params: the digest of the code, and the status."""
        found = self._by_path.get(path)
        if found is None:
            rows = self._execute(
                "SELECT input, params, code, status FROM call WHERE path = ? AND run < ? ORDER BY id",
                (path, 2**62 if self._before is None else self._before),
            )
            found = self._by_path[path] = {(given, params): (code, status) for given, params, code, status in rows}
        return found


def code_of(key: CallKey) -> _Code:
    """Return what a file has of the code and the attributes of a node."""
    return key.code.hex(), {name: found.hex() for name, found in key.attributes.items()}
