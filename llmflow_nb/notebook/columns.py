"""The columns of a batch in a display. Dicts become columns, one for each field."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from ..core.prices import dollars, sum_of
from ..core.statuses import HAS_RESULT
from ..core.text import MASK, class_name, is_secret, shown
from ..runs.batch import BatchResult
from ..runs.rows import Item
from .values import CELL, ValueTexts, duration

__all__ = [
    "ABSENT",
    "LABEL",
    "USAGE_HEADS",
    "Column",
    "Kind",
    "columns_of",
    "error_line",
    "is_labelled",
    "text_of_cell",
]

Kind = Literal["name", "text", "number", "cost", "seconds", "status", "error"]
"""How a column is written: names are not broken into lines, numbers, dollars and seconds are aligned to the right."""

USAGE_HEADS: dict[str, Kind] = {"tokens in": "number", "tokens out": "number", "cost": "cost"}
"""The columns of what calls have used. The attributes of `UsageSum` have these names, with "_"."""

ABSENT: Any = object()
"""The value of a cell that is empty."""
LABEL = 60
"""The number of characters of a label, and of the head of a column."""
NAME = 80
MANY_DIGITS = 1e6
"""Floats below it are shown with six digits."""
FEW, MOST_FIELDS = 6, 20
"""The number of fields that are spread, and the largest dict that is."""


class Column(NamedTuple):
    """One column.

    Attributes:
        head: Its head, named as in ``.expand()``.
        kind: How it is written.
        value: Returns the value in the row with this number and item.
    """

    head: str
    kind: Kind
    value: Callable[[int, Item], Any]


def columns_of(result: BatchResult, sample: Sequence[Item], texts: ValueTexts) -> tuple[list[Column], int]:
    """Return the columns of a batch, and the number of fields that are left out.

    Args:
        result: The batch.
        sample: Some of its rows: the fields of these are spread.
        texts: Turns the names of fields into texts.
    """
    own = {"row", "item", "result", "status", "replayed", "attempts", *USAGE_HEADS, "seconds", "error"}

    def params_of(_: int, item: Item) -> Any:
        return dict(item.params)

    def param_head(key: str) -> str:
        return f"params.{key}" if key in own else key

    def is_replayed(row: int, _: Item) -> Any:
        return "replayed" if result._is_replayed(row) else ABSENT

    params, more = spread("params", params_of, sample, texts, param_head)
    if result.is_of_params:
        name = result._batches[0][1].plan.settings.item_key or "item"
        items, more_of_items = spread(name, lambda _, item: item.item, sample, texts, param_head)
    else:
        items, more_of_items = spread("item", lambda _, item: item.item, sample, texts, "item.{}".format)
    results, more_of_results = spread("result", lambda _, item: _result(item), sample, texts, "result.{}".format)
    label = (lambda row, item: item.label) if is_labelled(result) else (lambda row, item: row)
    columns = [
        Column("row", "name", label),
        Column("status", "status", lambda _, item: item.status),
        *([Column("replayed", "status", is_replayed)] if result._replayed else []),
        *(params if any(item.params for item in sample) else []),
        *items,
        *results,
        Column("error", "error", lambda _, item: ABSENT if item.error is None else item.error),
        Column("attempts", "number", lambda _, item: item.attempts),
        *(_usage_columns() if result._usages() else []),
        Column("seconds", "seconds", lambda _, item: item.seconds),
    ]
    return columns, more + more_of_items + more_of_results


def _usage_columns() -> list[Column]:
    def of(name: str) -> Callable[[int, Item], Any]:
        def value(_: int, item: Item) -> Any:
            found = getattr(sum_of(item.usage), name) if item.usage else None
            return ABSENT if found is None else found

        return value

    return [Column(head, kind, of(head.replace(" ", "_"))) for head, kind in USAGE_HEADS.items()]


def is_labelled(result: BatchResult) -> bool:
    """Whether rows have labels of the input. Otherwise a row is named by its number."""
    return all(batch.items.index is not None for _, batch in result._batches)


def text_of_cell(kind: Kind, value: Any, texts: ValueTexts, length: int) -> str:
    """Return the text of a cell, of at most ``length`` characters. A long text keeps its line ends."""
    if value is ABSENT or (kind == "seconds" and not value):
        return ""
    if kind == "seconds":
        return duration(value)
    if kind == "cost":
        return dollars(value)
    if kind == "error":
        return error_line(value, texts)
    if kind == "name":
        return _label(value, texts)
    if type(value) is float and abs(value) < MANY_DIGITS:
        return f"{value:.6g}"
    is_long = type(value) is str and len(value) > CELL
    return shown(value, length, keep_lines=True) if is_long else texts.of(value, length)


def _label(label: Any, texts: ValueTexts) -> str:
    """Return the text of a label: numbers and times of numpy and pandas as they print them."""
    if type(label) is tuple:
        return shown(", ".join(_label(part, texts) for part in label), LABEL)
    is_of_pandas = type(label).__module__.partition(".")[0] in ("numpy", "pandas")
    return shown(label, LABEL) if is_of_pandas else texts.of(label, LABEL)


def error_line(error: BaseException, texts: ValueTexts) -> str:
    """Return the class of an exception and the first line of its text."""
    text = texts.of_error(error)
    return f"{shown(class_name(error), NAME)}{': ' if text else ''}{text}"


def _result(item: Item) -> Any:
    return ABSENT if item.result is None and item.status not in HAS_RESULT else item.result


def spread(
    head: str,
    value: Callable[[int, Item], Any],
    sample: Sequence[Item],
    texts: ValueTexts,
    head_of: Callable[[str], str],
) -> tuple[list[Column], int]:
    """Return a column for each field that at least half of the values have, and the number of fields left out.

    If the values are no dicts, or have no field in common, return one column for the values themselves.
    """
    values = [found for item in sample if (found := value(0, item)) is not ABSENT and found is not None]
    fields = [_fields(found) for found in values]
    counts = Counter(key for found in fields for key in found or ())
    common = [key for key, n in counts.items() if 2 * n >= len(values)]
    if not common or not all(found is not None for found in fields):
        return [Column(head, _kind(values), value)], 0

    def column(key: str) -> Column:
        kind = _kind([found[key] for found in fields if found and key in found])
        of_row = _secret_field if is_secret(key) else _field
        return Column(head_of(texts.of(key, LABEL)), kind, lambda row, item: of_row(value(row, item), key))

    return [column(key) for key in common[:FEW]], len(counts) - len(common[:FEW])


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a dict, unless it is large. Of other objects, only the ``repr`` is asked."""
    if type(value) is not dict or len(value) > MOST_FIELDS:
        return None
    fields = value.copy()  # another thread may add to it
    return fields if all(type(key) is str for key in fields) else None


def _field(value: Any, key: str) -> Any:
    if type(value) is not dict:
        return ABSENT if value is None else value
    return value.get(key, ABSENT)


def _secret_field(value: Any, key: str) -> Any:
    return ABSENT if _field(value, key) is ABSENT else MASK


def _kind(values: Sequence[Any]) -> Kind:
    return "number" if values and all(type(value) in (int, float) for value in values) else "text"
