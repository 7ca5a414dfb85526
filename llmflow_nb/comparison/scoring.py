"""Score results: by a function, by a judge, or by the results of a batch node that follows in the flow.

A judge is a batch node, and its calls go through the engine like those of any other. A function becomes a judge.
"""

import copy
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from ..core.encoding import content_of
from ..core.errors import SettingError, a_type
from ..core.hooks import hooks_of
from ..core.node import BatchNode, kind_of
from ..core.statuses import HAS_RESULT
from ..core.text import quoted, text_of
from ..core.traversal import last_name
from ..runs.rows import Item
from ..runs.run import Run
from .rows import Cell, Key, Row, Scored, cells_of

__all__ = ["MAIN", "Pairs", "is_function", "judge_of", "set_scores_of_node"]

MAIN = ""
"""The name of a score that is a number, not one field of a dict."""


LARGEST = 1e100
"""Larger scores are refused: their sums and squares would not be finite."""


class _FunctionScore(BatchNode):
    """Calls a function of the user with an item and a result."""

    function: Callable[[Any, Any], Any]

    def exec(self, pair: dict[str, Any]) -> Any:
        """Return the score of a pair."""
        return self.function(pair["item"], pair["result"])


class _AsyncFunctionScore(_FunctionScore):
    """Awaits a function of the user."""

    async def exec(self, pair: dict[str, Any]) -> Any:
        """Return the score of a pair."""
        return await self.function(pair["item"], pair["result"])


def is_function(judge: BatchNode) -> bool:
    """Return whether a judge of `judge_of` calls a function of the user."""
    return isinstance(judge, _FunctionScore)


def judge_of(score: Any) -> BatchNode:
    """Return the batch node that scores pairs: ``{"item": ..., "result": ...}``.

    Raises:
        SettingError: It is neither a function nor a batch node, or its ``exec`` takes ``shared``.
    """
    if isinstance(score, type) or not (callable(score) or hasattr(type(score), "_kind")):
        raise SettingError(
            f"score is {a_type(score)}; give a function of (item, result), a BatchNode, or the name of a batch node "
            "that follows in the flow."
        )
    if not hasattr(type(score), "_kind"):
        of_class = getattr(type(score), "__call__", None)  # noqa: B004
        is_async = inspect.iscoroutinefunction(score) or inspect.iscoroutinefunction(of_class)
        judge = (_AsyncFunctionScore if is_async else _FunctionScore)(name="score")
        judge.__dict__["function"] = score
    elif kind_of(score) != "batch_node":
        raise SettingError(f"score is a {kind_of(score)}; a judge is a BatchNode, whose exec gets one pair at a time.")
    else:
        judge = copy.copy(score)
        judge.__dict__["name"] = score.name or type(score).__name__
    if hooks_of(judge).exec_takes_shared:
        raise SettingError(f"exec of the judge {judge.name} takes shared, which a judge does not have; it gets a pair.")
    cls = type(judge)
    hooks = dict.fromkeys(cls._dialect.prep, _prep) | dict.fromkeys(cls._dialect.post, _post)
    own = {name: _awaited(hook) if name.endswith("_async") else hook for name, hook in hooks.items()}
    namespace = {"__module__": __name__, "__qualname__": f"<judge>.{cls.__name__}"}
    judge.__class__ = type(cls.__name__, (cls,), {**own, **namespace})
    judge.__dict__["successors"] = {}
    if "on_error" in cls._dialect.settings:
        judge.__dict__["on_error"] = "keep"
    return judge


def _prep(self: Any, shared: Any) -> Any:
    return shared["pairs"]


def _post(self: Any, shared: Any, prep_res: Any, exec_res: Any) -> None:
    """Write nothing: the scores are read off the record."""


def _awaited(hook: Callable[..., Any]) -> Callable[..., Any]:
    async def awaited(*args: Any) -> Any:
        return hook(*args)

    return awaited


class Pairs:
    """The items and results to judge, those of one repeat after the other.

    If variants have the same result in the same row and repeat, it is judged once.

    Attributes:
        values: What ``exec`` of the judge gets, each a dict with "item" and "result".
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        """Collect the results of all rows."""
        self._places: dict[tuple[int, int, bytes], list[dict[int, Cell]]] = {}
        found = {}
        for number, row in enumerate(rows):
            for cells in row.cells.values():
                for repeat, cell in cells.items():
                    if cell.has_result:
                        pair = {"item": cell.item.item, "result": cell.item.result}
                        key = repeat, number, content_of(pair)
                        self._places.setdefault(key, []).append(cells)
                        found[key] = pair
        self._keys = sorted(found, key=itemgetter(0, 1))
        self.values = [found[key] for key in self._keys]

    def set_scores(self, judge: Run) -> None:
        """Set the scores of all rows from the run of a judge."""
        for key, item in zip(self._keys, judge.batches[0] if judge.batches else (), strict=True):
            scored = scored_from(item)
            for cells in self._places[key]:
                cells[key[0]] = cells[key[0]]._replace(scored=scored)


def set_scores_of_node(rows: dict[Key, Row], run: Run, path: str, variant: str, repeat: int) -> None:
    """Set the scores of one run from the results of a batch node that follows the rows.

    Raises:
        SettingError: The node has not one item for each of the rows.
    """
    cells = [row.cells[variant] for row in rows.values() if repeat in row.cells[variant]]
    scores = [cell.item for _, cell in cells_of(run, path)]
    if len(scores) != len(cells):
        raise SettingError(
            f"score={quoted(last_name(path))}: in {variant}, it has {len(scores)} items for {len(cells)} rows. Each "
            "item must be one row, in the same order."
        )
    for of_row, item in zip(cells, scores, strict=True):
        of_row[repeat] = of_row[repeat]._replace(scored=scored_from(item))


def scored_from(item: Item) -> Scored:
    """Return the score that an item of a judge has as its result."""
    if item.status not in HAS_RESULT:
        return Scored({}, item.error)
    fields = item.result if isinstance(item.result, Mapping) else {MAIN: item.result}
    values: dict[str, float] = {}
    for name, value in fields.items():
        if value is None or _is_na(value):
            continue
        try:
            score = _number(value)
        except (ArithmeticError, TypeError, ValueError) as exc:
            of = f" {quoted(name)}" if name else ""
            return Scored({}, TypeError(f"the score{of} is {exc}; return a number, a bool, or a dict of these"))
        if not math.isnan(score):
            values[text_of(name)] = score
    return Scored(values)


def _number(value: Any) -> float:
    """Return a score as a float.

    Raises:
        TypeError: It is no number. The text is its type.
        ArithmeticError: It is too large, or infinite.
    """
    if isinstance(value, str) or not hasattr(type(value), "__float__"):
        raise TypeError(a_type(value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):  # an array of several numbers
        raise TypeError(a_type(value)) from None
    if abs(number) > LARGEST:
        raise ArithmeticError("infinite, or too large")
    return number


def _is_na(value: Any) -> bool:
    """Return whether a value is that of pandas for a missing one. Pandas is not imported for it."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and value is pandas.NA
