"""Values in readable form: as texts, chat messages, fields or rows, which a front end lays out.

A value becomes a dict with one of these keys: ``text``, a string; ``messages``, a list of [role, text];
``fields``, a list of [name, text]; ``rows``, a list of lists of texts, with their ``heads``. ``more`` is the number of
fields or rows that are left out, and ``cut`` says that text is. All texts are bounded, and secrets are masked.
"""

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any

from ..core.loaded import loaded
from ..core.text import MASK, is_secret, shown
from .values import ValueTexts

__all__ = ["LONG", "Readable", "readable", "whole"]

LONG = 2_000
"""The usual number of characters of a text that is read."""

MAX_WHOLE = 1_000_000
"""The largest number of characters of a value that is asked for as a whole."""
FIELDS, ROWS, COLUMNS, CELL = 30, 20, 8, 200
"""The largest numbers of fields, of rows and of columns, and of characters in a cell of a row."""
SHORT = 60
"""A list or dict whose Python form is at most this long is shown in that form."""

Readable = dict[str, Any]


def readable(value: Any, texts: ValueTexts, length: int) -> Readable:
    """Return a value as texts to be laid out.

    Args:
        value: Any value. Of objects that are no built-in containers, only the ``repr`` is used.
        texts: Turns values into texts, within its time limit.
        length: The maximum number of characters of one text.
    """
    if type(value) is str:
        return _text(shown(value, length, keep_lines=True) if value else "''", is_cut=len(value) > length)
    as_python = texts.of(value, length)
    if type(value) in (list, tuple, dict) and len(value) and (len(as_python) > SHORT or "\\n" in as_python):
        try:
            return _dict(value, texts, length) if type(value) is dict else _list(value, texts, length)
        except RuntimeError:  # another thread has added a key
            pass
    if (pandas := loaded("pandas", "DataFrame")) is not None and type(value) is pandas.DataFrame:
        return _frame(value, texts)
    return _text(as_python, is_cut=as_python.endswith("…") or ", ... " in as_python)


def whole(value: Any, texts: ValueTexts) -> str:
    """Return the whole text of a value, to copy it or to show all of it: a string as it is, other values as JSON."""
    return shown(_whole(value, texts), MAX_WHOLE, keep_lines=True)


def _whole(value: Any, texts: ValueTexts) -> str:
    if type(value) is str:
        return value
    try:
        return json.dumps(_without_secrets(value), ensure_ascii=False, indent=2)
    except (TypeError, ValueError, RecursionError):
        return texts.of(value, MAX_WHOLE)


def _without_secrets(value: Any) -> Any:
    if type(value) is dict:
        return {key: MASK if is_secret(key) else _without_secrets(found) for key, found in value.items()}
    return [_without_secrets(found) for found in value] if type(value) in (list, tuple) else value


def _text(text: str, *, is_cut: bool) -> Readable:
    return {"text": text, "cut": True} if is_cut else {"text": text}


def _dict(value: dict[Any, Any], texts: ValueTexts, length: int) -> Readable:
    return {
        "fields": [[texts.of(key, 60), _field(key, found, texts, length)] for key, found in _first(value.items())]
    } | (_left_out(len(value), FIELDS))


def _list(value: Any, texts: ValueTexts, length: int) -> Readable:
    if all(map(_is_message, value)):
        messages = [
            [shown(found["role"], 40), shown(found["content"], length, keep_lines=True)] for found in _first(value)
        ]
        return {"messages": messages} | _left_out(len(value), FIELDS)
    if all(type(found) is dict and found for found in value) and (heads := _common_keys(value)):
        some = islice(value, ROWS)
        rows = [[_cell(head, found[head], texts) if head in found else "" for head in heads] for found in some]
        return {"heads": [texts.of(head, 60) for head in heads], "rows": rows} | _left_out(len(value), ROWS)
    fields = [[str(n), _field(None, found, texts, length)] for n, found in enumerate(_first(value))]
    return {"fields": fields} | _left_out(len(value), FIELDS)


def _frame(frame: Any, texts: ValueTexts) -> Readable:
    heads = list(frame.columns[:COLUMNS])
    first = frame.iloc[:ROWS, :COLUMNS]
    rows = [
        [texts.of(label, 60), *(_cell(head, cell, texts) for head, cell in zip(heads, cells, strict=True))]
        for label, cells in zip(first.index, first.itertuples(index=False, name=None), strict=True)
    ]
    left_out = _left_out(len(frame), ROWS)
    return {"heads": ["", *(texts.of(head, 60) for head in heads)], "rows": rows} | left_out


def _first(values: Iterable[Any]) -> list[Any]:
    return list(islice(values, FIELDS))


def _left_out(count: int, most: int) -> Readable:
    return {"more": count - most} if count > most else {}


def _common_keys(dicts: Any) -> list[Any]:
    """Return the keys of the first rows if these are alike, so that they make a table."""
    some = list(islice(dicts, ROWS))
    keys = list(dict.fromkeys(key for found in some for key in found))
    return keys if len(keys) <= COLUMNS and any(len(found) == len(keys) for found in some) else []


def _field(key: Any, value: Any, texts: ValueTexts, length: int) -> str:
    if is_secret(key):
        return MASK
    if type(value) is str and value:
        return shown(value, length, keep_lines=True)
    return texts.of(value, length)


def _cell(key: Any, value: Any, texts: ValueTexts) -> str:
    return _field(key, value, texts, CELL)


def _is_message(value: Any) -> bool:
    """Whether a value is a message of a chat, as the APIs of models take it: a role and a text."""
    return type(value) is dict and value.keys() == {"role", "content"} and {type(v) for v in value.values()} == {str}
