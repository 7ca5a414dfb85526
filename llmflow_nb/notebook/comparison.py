"""What a cell shows of a comparison: the verdict, a row for each variant, and the rows, those that got worse first."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from ..comparison.comparison import Comparison
from ..comparison.measures import Measures
from ..comparison.rows import Cell, Row
from ..comparison.verdict import number, ordered, signed
from ..core.prices import UsageSum, dollars
from ..core.text import MASK, is_secret, many, shown
from .columns import Kind, error_line, spread, text_of_cell
from .frontend import is_static
from .html import MAX_HTML, NO_MATHS, Summary, Table, chip, folded, style_sheet, table_html, to_text
from .marked import Part, differing, excerpts, same_start
from .values import CELL, ValueTexts, duration

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["comparison_bundle"]

ROWS = 10
MOST_VARIANTS, MOST_BESIDE = 50, 2
"""The number of variants in the table of variants, and of those that are shown beside the baseline in each row."""
MOST_FIELDS = 3
"""The number of fields of items that are shown."""
LONGEST, IN_TEXT = 2_000, 52
"""The number of characters of a text in HTML, if the display has room for them; in plain text beside marks."""
COMPARED = 50_000
"""The number of characters of a text in which a difference is found."""
BETTER, WORSE = "46,125,50", "198,40,40"
# Written into the cells, since a notebook that is not trusted has no style sheet. Readable on a dark page too.
_MARK = 'style="background-color:rgba({},0.22)"'
_TEXT, _NUMBER = "text-align:left", "text-align:right;white-space:nowrap"


def comparison_bundle(comparison: Comparison) -> dict[str, str]:
    """Return the display of a comparison: HTML and text."""
    title = shown(comparison.name, CELL)
    facts = _facts(comparison)
    verdict = comparison.verdict
    variants = _variants_table(comparison)
    texts = ValueTexts()  # now: it has a time limit
    rows = _RowsTable(comparison, texts)
    plain = Summary(title, "", facts, [], [variants, rows.as_texts()])
    head, _, rest = to_text(plain).partition("\n\n")
    lines = "\n".join(f"  {sentence}" for sentence in verdict)
    html = [
        f"<style>{style_sheet()}</style>",
        f'<div class="llmflow-nb {NO_MATHS}">',
        f"<div><strong>{escape(title)}</strong> {escape(' · '.join(facts))}</div>",
        *(f"<div><strong>{escape(sentence)}</strong></div>" for sentence in verdict[:1]),
        *(f"<div>{escape(sentence)}</div>" for sentence in verdict[1:]),
        table_html(variants),
        rows.as_html(),
        "</div>",
    ]
    return {"text/html": "\n".join(html), "text/plain": f"{head}\n{lines}\n\n{rest}"}


def _facts(comparison: Comparison) -> list[str]:
    measures = comparison.measures
    facts = [many(len(measures.rows), "row"), many(len(measures.names), "variant")]
    if measures.repeats > 1:
        facts.append(many(measures.repeats, "repeat"))
    called = sum(counts["called"] for counts in comparison.calls.values())
    replayed = sum(counts["replayed"] for counts in comparison.calls.values())
    facts.append(f"{many(called, 'call')} made, {replayed:,} not made again")
    if comparison.usage != UsageSum():
        facts.append(str(comparison.usage))
    return facts


# ---- variants --------------------------------------------------------------------------------------------------------


def _variants_table(comparison: Comparison) -> Table:
    """Return a row for each variant, the baseline first, then the best one."""
    measures = comparison.measures
    names = [measures.baseline, *ordered(measures)]
    heads: list[tuple[str, Kind]] = [("variant", "name")]
    columns = [[shown(name, CELL) for name in names[:MOST_VARIANTS]]]

    def add(head: str, kind: Kind, values: Sequence[Any], written: Any = str) -> None:
        cells = ["" if value is None or value == "" else written(value) for value in values]
        if any(cells):
            heads.append((head, kind))
            columns.append(cells)

    summary = comparison.summary.iloc[[measures.names.index(name) for name in names[:MOST_VARIANTS]]]
    column = {name: _values(summary[name]) for name in summary}
    found = [measures.differences.get(name) for name in names[:MOST_VARIANTS]]
    if measures.scores:
        for score in measures.scores:
            name = f"score.{score}" if score else "score"
            add(name, "number", column[name], number)
        add("verdict", "status", [each and _word(each.is_noise, each.mean) for each in found])
        add("difference", "number", column["delta"], signed)
        ends = [each and each.low is not None and f"{signed(each.low)} to {signed(each.high)}" for each in found]
        add("95 % interval", "seconds", [end or None for end in ends])
        for name in ("better", "worse", "same"):
            add(name, "number", column[name], "{:,}".format)
    add("differ", "number", column["changed"], "{:,}".format)
    add("failed", "number", [n or None for n in column["failed"]], "{:,}".format)
    if not is_static():
        add("seconds", "seconds", column["seconds"], duration)
    if "cost" in column:
        add("cost", "number", column["cost"], dollars)
        add("tokens in", "number", column["tokens_in"], "{:,}".format)
        add("tokens out", "number", column["tokens_out"], "{:,}".format)
    more = f"{len(names) - MOST_VARIANTS} more variants: .summary has them all" if len(names) > MOST_VARIANTS else ""
    return Table("", heads, [list(row) for row in zip(*columns, strict=True)], more)


def _values(column: "pd.Series[Any]") -> list[Any]:
    """Return the values of a column, None for those that are missing."""
    return column.astype(object).where(column.notna(), None).tolist()


def _word(is_noise: bool | None, mean: float | None) -> str | None:
    """Return what is said of a difference in a word."""
    if mean is None or is_noise is None:
        return None
    if is_noise:
        return "not clear" if mean else "same"
    return "better" if mean > 0 else "worse"


# ---- rows ------------------------------------------------------------------------------------------------------------


class _Result(NamedTuple):
    """A result as a text, or why there is none with a status."""

    text: str
    status: str = ""


class _Shown(NamedTuple):
    """A cell of a row: a text in parts, and what is written before it."""

    parts: list[Part]
    status: str = ""


class _RowsTable:
    """The first rows, those that got worse first, as HTML and as texts."""

    def __init__(self, comparison: Comparison, texts: ValueTexts) -> None:
        measures = comparison.measures
        self._texts = texts
        names = [measures.baseline, *ordered(measures)[:MOST_BESIDE]]
        self._measures = shown_of = Measures(measures.rows, names, measures.repeats)
        first = shown_of.worst_first()
        self._rows = first[:ROWS]
        worse = sum(any(shown_of.is_regression(row, name) for name in shown_of.others) for row in first)
        self.title = "Rows, those that got worse first" if 0 < worse < len(first) else "Rows"
        more = [f"{len(first) - ROWS:,} more rows: .df has them all"] if len(first) > ROWS else []
        more += [f".regressions has the {many(worse, 'row')} that got worse"] if worse > ROWS else []
        left_out = len(measures.others) - len(names) + 1
        more += [f"{many(left_out, 'more variant')} in .df"] if left_out else []
        more += [".debug(label) opens the variants at a row"] if first else []
        self.more = "; ".join(more)
        self._scored = bool(measures.scores)
        sample = [row.any_cell().item for row in self._rows]
        columns, _ = spread("item", lambda _, item: item.item, sample, texts, "item.{}".format)
        self._items = columns[:MOST_FIELDS]
        self._results = [[self._result(row.first(name)) for name in names] for row in self._rows]

    def _heads(self) -> list[tuple[str, bool]]:
        """Return the heads of the columns, and whether a column has numbers."""
        heads = [("row", False), *((column.head, False) for column in self._items)]
        for name in self._measures.names:
            heads.append((shown(name, CELL), False))
            if self._scored:
                heads.append(("score", True))
                heads += [("difference", True)] * (name != self._measures.baseline)
        return heads

    def _result(self, cell: Cell | None) -> _Result:
        if cell is None:
            return _Result("no such row", "pending")
        if not cell.has_result:
            error = cell.item.error
            return _Result("" if error is None else error_line(error, self._texts), cell.item.status)
        return _Result(self._value(cell.item.result))

    def _value(self, value: Any) -> str:
        """Return a value as a text. A long text keeps its lines."""
        if type(value) is dict and any(map(is_secret, value)):
            value = {key: MASK if is_secret(key) else part for key, part in value.items()}
        return text_of_cell("text", value, self._texts, COMPARED) or "''"

    def _numbers(self, row: Row, name: str) -> list[tuple[str, float]]:
        """Return the score of a variant, and its difference from the baseline unless it is the baseline."""
        measures = self._measures
        score, spread = measures.score(row, name), measures.spread(row, name)
        text = "" if score is None else number(score) + (f" ± {number(spread)}" if spread else "")
        found = [(text, 0.0)]
        if name != measures.baseline:
            delta = measures.delta(row, name)
            found.append((signed(delta), delta or 0.0))
        return found if self._scored else []

    def as_html(self) -> str:
        """Return the table as HTML."""
        html = self._html(LONGEST)
        return html if len(html) < MAX_HTML // 2 else self._html(CELL)

    def _html(self, length: int) -> str:
        if not self._rows:
            return ""
        heads = "".join(
            f'<th scope="col" style="{_NUMBER if is_number else _TEXT}">{escape(head)}</th>'
            for head, is_number in self._heads()
        )
        rows = "\n".join(
            f"<tr>{self._row_html(row, results, length)}</tr>"
            for row, results in zip(self._rows, self._results, strict=True)
        )
        more = f"<div>{escape(self.more)}</div>" if self.more else ""
        return (
            f'<table class="llmflow-nb-table"><caption>{escape(self.title)}</caption><thead><tr>{heads}</tr></thead>'
            f"<tbody>\n{rows}\n</tbody></table>{more}"
        )

    def _row_html(self, row: Row, results: list[_Result], length: int) -> str:
        cells = [f'<th scope="row" style="{_TEXT};white-space:nowrap">{escape(self._label(row))}</th>']
        cells += [f'<td style="{_TEXT}">{folded(text)}</td>' for text in self._item_texts(row, length)]
        for name, result in zip(self._measures.names, _marked(results, length), strict=True):
            is_base = name == self._measures.baseline
            cells.append(f'<td style="{_TEXT}">{_html_of(result, is_base=is_base)}</td>')
            for text, delta in self._numbers(row, name):
                colour = f";background-color:rgba({BETTER if delta > 0 else WORSE},0.16)" if delta else ""
                cells.append(f'<td style="{_NUMBER}{colour}">{escape(text)}</td>')
        return "".join(cells)

    def as_texts(self) -> Table:
        """Return the table as texts: ``[-words of the baseline-]`` and ``{+words of the variant+}`` differ."""
        heads: list[tuple[str, Kind]] = [(head, "number" if is_number else "text") for head, is_number in self._heads()]
        rows = []
        for row, results in zip(self._rows, self._results, strict=True):
            cells = [self._label(row), *self._item_texts(row, CELL)]
            for name, result in zip(self._measures.names, _marked(results, IN_TEXT), strict=True):
                cells.append(_text_of(result, is_base=name == self._measures.baseline))
                cells += [text for text, _ in self._numbers(row, name)]
            rows.append(cells)
        return Table(self.title, heads, rows, self.more)

    def _item_texts(self, row: Row, length: int) -> list[str]:
        item = row.any_cell().item
        return [text_of_cell(kind, value(0, item), self._texts, length) for _, kind, value in self._items]

    def _label(self, row: Row) -> str:
        return text_of_cell("name", row.label, self._texts, CELL)


def _marked(results: list[_Result], length: int) -> list[_Shown]:
    """Return results with the words marked in which they differ from the first one, from the first difference on."""
    base, *others = results
    changed = [each for each in others if not (base.status or each.status or each.text == base.text)]
    found = []
    for each in others:
        if each in changed:
            before, after = differing(*excerpts(base.text, each.text, length))
            found.append(_Shown(after))
        else:
            found.append(_unmarked(each, max(length, CELL)))
    if not changed:
        return [_unmarked(base, max(length, CELL)), *found]
    if len(others) == 1:
        return [_Shown(before), *found]
    first = min(changed, key=lambda each: same_start(base.text, each.text))
    return [_Shown([Part(excerpts(base.text, first.text, length)[0], False)]), *found]


def _unmarked(result: _Result, length: int) -> _Shown:
    text = result.text if len(result.text) <= length else f"{result.text[: length - 1]}…"
    return _Shown([Part(text, False)], result.status)


def _html_of(result: _Shown, *, is_base: bool) -> str:
    if len(result.parts) == 1 and not result.parts[0].is_marked:
        text = folded(result.parts[0].text)
    else:
        tag, colour = ("del", WORSE) if is_base else ("ins", BETTER)
        text = "".join(
            f"<{tag} {_MARK.format(colour)}>{escape(part.text)}</{tag}>" if part.is_marked else escape(part.text)
            for part in result.parts
        )
    return f"{chip(result.status)} {text}" if result.status else text


def _text_of(result: _Shown, *, is_base: bool) -> str:
    left, right = ("[-", "-]") if is_base else ("{+", "+}")
    text = "".join(f"{left}{part.text}{right}" if part.is_marked else part.text for part in result.parts)
    return f"{result.status}: {text}" if result.status else text
