"""Explain why the calls of a run were made, though a journal has earlier results."""

import json
import sqlite3
from collections import Counter
from typing import Any

__all__ = ["explained"]

_Codes = dict[str, tuple[str, dict[str, Any]]]
_Call = tuple[str, str | None, str | None]
"""The path, the input and the params of a call."""


def explained(db: sqlite3.Connection, run: int) -> list[tuple[str, int, int, str]]:
    """Return for each node of a run: its path, how many calls the file answered, how many were made, and why."""
    of_code = {digest: (code, json.loads(attributes)) for digest, code, attributes in
               db.execute("SELECT digest, code, attributes FROM code")}  # fmt: skip
    made = db.execute(
        "SELECT path, input, params, code FROM call WHERE run = ? AND started IS NOT NULL ORDER BY id", (run,)
    ).fetchall()
    earlier: dict[_Call, tuple[str | None, str]] = {}
    paths: set[str] = set()
    for path, given, params, code, status in db.execute(
        "SELECT path, input, params, code, status FROM call WHERE run < ? ORDER BY id", (run,)
    ):
        earlier[path, given, params] = code, status
        paths.add(path)
    reasons: dict[str, Counter[str]] = {}
    for path, given, params, code in made:
        reason = _reason(earlier.get((path, given, params)), code, of_code) if path in paths else "its first run"
        if given is None and path in paths:
            reason = "its input is not in the file, so it is unknown"
        reasons.setdefault(path, Counter())[reason] += 1
    replayed = dict(
        db.execute(
            "SELECT path, count(*) FROM use JOIN call ON call.id = use.call WHERE use.run = ? GROUP BY path", (run,)
        ).fetchall()
    )
    return [
        (path, replayed.get(path, 0), found.total(), "; ".join(f"{n}: {why}" for why, n in found.most_common()))
        for path in dict.fromkeys([*replayed, *reasons])
        for found in [reasons.get(path, Counter())]
    ]


def _reason(earlier: tuple[str | None, str] | None, code: str | None, of_code: _Codes) -> str:
    """Return why a call was made, from the latest call with the same path, input and params; None: there is none."""
    if code is None:
        return "it is volatile, or its input cannot be compared"
    if earlier is None or earlier[0] is None:
        return "new input or params"
    code_before, attributes_before = of_code[earlier[0]]
    code_now, attributes_now = of_code[code]
    if code_before != code_now:
        return "its code has changed"
    names = attributes_before.keys() | attributes_now.keys()
    changed = sorted(name for name in names if attributes_before.get(name) != attributes_now.get(name))
    if changed:
        return f"changed: {', '.join(f'self.{name}' for name in changed[:10])}"
    if earlier[1] != "ok":
        return f"it had no result ({earlier[1]})"
    return "asked once more than before, or another shared, or fresh="
