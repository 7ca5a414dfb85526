"""The verdict of a comparison, in plain words."""

from collections.abc import Mapping

from ..core.prices import UsageSum
from ..core.text import error_text, many, message, shown
from .measures import Measures
from .statistics import Difference

__all__ = ["costs", "number", "ordered", "sentences", "signed"]

MOST_NAMES = 10
"""The number of variants that a sentence names."""
MOST_LEFT_OUT = 0.1
"""If a larger share of the rows cannot be compared, the verdict begins with that."""
MANY_DIGITS = 1e12
"""Larger scores have an exponent."""
FEW = 3
"""With more variants beside the baseline, the verdict has one sentence for all, and one for the best."""


def ordered(measures: Measures) -> list[str]:
    """Return the names of the variants without the baseline: those that are clearly better first, then by the mean."""
    found = measures.differences
    if not found:
        return measures.others

    def rank(name: str) -> tuple[bool, bool, float]:
        mean = found[name].mean
        return not found[name].is_better, mean is None, -(mean or 0.0)

    return sorted(measures.others, key=rank)


def sentences(measures: Measures) -> list[str]:
    """Return the sentences of the verdict: about the variants, the best first, then what failed.

    If few rows can be compared, they begin with that.
    """
    rows = len(measures.rows)
    if not rows:
        return ["there are no rows to compare"]
    names = ordered(measures)
    is_short = len(names) > FEW
    parts = _left_out(measures, names) + ([_of_all(measures)] if is_short else [])
    for name in names[:1] if is_short else names:
        if not measures.compared(name) and (measures.scores or not measures.is_scored):
            continue  # the first sentence says so
        found = measures.differences.get(name)
        changed = sum(measures.is_changed(row, name) for row in measures.rows)
        if found is None or found.mean is None:
            parts.append(_unscored(measures.baseline, name, changed, rows))
        else:
            parts.append(_scored(measures.baseline, name, found, changed))
    parts += _other_items(measures)
    parts += [text for name in measures.names if (text := _failed(measures, name))]
    unknown = [name for name, found in measures.differences.items() if found.p is None and found.mean is not None]
    single = [name for name in unknown if measures.compared(name) == 1]
    if single and rows > 1:
        parts.append(f"one row is too few to tell whether a difference is noise: {_names(single)}")
    if len(unknown) > len(single):
        parts.append('whether a difference is noise needs scipy: pip install "llmflow_nb[compare]"')
    return [message(part) for part in parts]


def _left_out(measures: Measures, names: list[str]) -> list[str]:
    """Return that only few rows can be compared; empty if nearly all can."""
    rows = len(measures.rows)
    if measures.is_scored and not measures.scores:
        errors = any(
            cell.scored.error for row in measures.rows for cells in row.cells.values() for cell in cells.values()
        )
        return ["no row has a score" if errors else "score returned None or NaN for all rows: is a return missing?"]
    counts = {name: measures.compared(name) for name in names}
    few = [name for name in names if rows - counts[name] > MOST_LEFT_OUT * rows]
    if not few:
        return []
    more = f" and {len(few) - MOST_NAMES} more variants" if len(few) > MOST_NAMES else ""
    found = ", ".join(f"{counts[name]:,} of {rows:,} ({shown(name)})" for name in few[:MOST_NAMES]) + more
    what = "scores" if measures.scores else "results"
    return [f"only some rows have {what} to compare with {shown(measures.baseline)}: {found}"]


def _other_items(measures: Measures) -> list[str]:
    """Return for which variants the rows have other items than those of the baseline."""
    found: dict[int, list[str]] = {}
    for name, differs in measures.other_items.items():
        found.setdefault(sum(differs), []).append(name)
    by = "position" if measures.rows[0].any_cell().label_names is None else "label"
    base = shown(measures.baseline)
    return [
        f"items differ from those of {base} on {many(count, 'row')}, paired by {by}: {_names(names)}"
        for count, names in found.items()
        if count
    ]


def costs(measures: Measures, usage: Mapping[str, UsageSum]) -> list[str]:
    """Return what a run costs, as a sentence: of the baseline and of the best variants. Nothing if it is not known."""
    names = [measures.baseline, *ordered(measures)[: FEW if len(measures.others) <= FEW else 1]]
    if not any(usage[name].cost for name in names):
        return []
    return [message(f"a run costs {', '.join(f'{usage[name].price} ({shown(name)})' for name in names)}")]


def number(value: float) -> str:
    """Return a score as a text of three digits, or with all digits before the point: "0.333", "30,003"."""
    return f"{value:,.0f}" if 999.5 <= abs(value) < MANY_DIGITS else f"{value:.3g}"


def signed(value: float | None) -> str:
    """Return a difference as a text, with its sign; 0 has none."""
    return "" if value is None else f"{'+' * (value > 0)}{number(value)}" if value else "0"


def _of_all(measures: Measures) -> str:
    """Return how many variants are better or worse than the baseline."""
    found = list(measures.differences.values())
    clear = [each for each in found if each.is_noise is False]
    better = sum(each.is_better for each in found)
    of = f"of {len(measures.others)} variants"
    if not found:
        changed = [any(measures.is_changed(row, name) for row in measures.rows) for name in measures.others]
        return f"{sum(changed)} {of} have other results than {shown(measures.baseline)}"
    if all(each.p is None for each in found):
        better = sum((each.mean or 0.0) > 0 for each in found)
        return f"{better} {of} score higher than {shown(measures.baseline)}"
    best = [name for name in ordered(measures) if measures.differences[name].is_better]
    counts = (
        (better, f"better ({_names(best)})"),
        (len(clear) - better, "worse"),
        (len(found) - len(clear), "not clearly different"),
    )
    return f"compared with {shown(measures.baseline)}: {', '.join(f'{n} {what}' for n, what in counts if n)}"


def _names(names: list[str]) -> str:
    """Return names as a text, with the number of those that it leaves out."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(map(shown, names[:MOST_NAMES])) + more


def _scored(baseline: str, name: str, found: Difference, changed: int) -> str:
    old, new = shown(baseline), shown(name)
    counts = f"better on {many(found.better, 'row')}, worse on {found.worse}, the same on {found.same}"
    if not found.better and not found.worse:
        return f"{new} scores the same as {old} on all {many(found.same, 'row')} ({_results(changed)})"
    by = f"{signed(found.mean)} on average"
    if found.low is not None and found.high is not None:
        by += f" (95 % interval {signed(found.low)} to {signed(found.high)})"
    if found.is_noise is None:
        return f"{new} scores {by} compared with {old}: {counts}"
    if found.is_noise and found.low is not None and found.high is not None and not found.low <= 0 <= found.high:
        mean = f"{found.mean:+.3g} on average"
        return f"too few rows to tell whether {new} differs from {old}: {mean}; {counts}"
    if found.is_noise:
        return f"no clear difference between {new} and {old}: {by}, which can be noise; {counts}"
    better = "better" if (found.mean or 0.0) > 0 else "worse"
    return f"{new} is {better} than {old}: {by}; {counts}"


def _unscored(baseline: str, name: str, changed: int, rows: int) -> str:
    if not changed:
        return f"{shown(name)} has the same results as {shown(baseline)} on all {many(rows, 'row')}"
    return f"{shown(name)} differs from {shown(baseline)} on {changed} of {many(rows, 'row')}"


def _failed(measures: Measures, name: str) -> str:
    """Return how many rows of a variant have no result or no score; "" if all have them."""
    cells = [cell for row in measures.rows for cell in row.cells[name].values()]
    missing = sum(not row.cells[name] for row in measures.rows)
    failed = sum(not cell.has_result for cell in cells)
    unscored = [cell.scored.error for cell in cells if cell.has_result and cell.scored.error is not None]
    errors = [cell.item.error for cell in cells if not cell.has_result and cell.item.error is not None]
    why = f" ({_first_error(errors)})" if errors else ""
    parts = [f"{many(failed, 'row')} failed{why}"] * bool(failed)
    parts += [f"{many(missing, 'row')} missing"] * bool(missing)
    parts += [f"{many(len(unscored), 'row')} could not be scored ({_first_error(unscored)})"] if unscored else []
    if measures.scores and (none := measures.unscored(name) - len(unscored)):
        parts.append(f"{many(none, 'row')} {'has' if none == 1 else 'have'} no score")
    not_counted = "; not counted in the scores" if measures.scores else ""
    return f"{shown(name)}: {', '.join(parts)}{not_counted}" if parts else ""


def _first_error(errors: list[BaseException]) -> str:
    return error_text(errors[0])


def _results(changed: int) -> str:
    return f"{many(changed, 'result')} differ{'s' * (changed == 1)}"
