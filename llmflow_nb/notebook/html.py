"""Write a summary as HTML and as text: the same words in the same order.

A summary holds plain text. Only this file turns it into markup, and escapes all of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from itertools import count

from ..graph.style import COLOURS
from .columns import Kind

__all__ = [
    "MAX_HTML",
    "NO_MATHS",
    "Summary",
    "Table",
    "chip",
    "colour_of",
    "folded",
    "notes_html",
    "style_sheet",
    "table_html",
    "to_html",
    "to_text",
]

MAX_HTML = 200_000
"""The largest number of characters of a display."""
NO_MATHS = "mathjax_ignore tex2jax_ignore"
"""The CSS classes that keep MathJax 3 and 2 off a text: "$5 now and $7 later" is no formula."""
FOLDED: tuple[Kind, ...] = ("text", "error")
"""The kinds of columns whose long texts are folded, after the number of characters in ``SEEN``."""
SEEN = 90
# Written into the cells: a notebook that is not trusted has no style sheet.
_STYLES: dict[Kind, str] = {
    "name": "text-align:left;white-space:nowrap",
    "number": "text-align:right",
    "cost": "text-align:right",
    "seconds": "text-align:right;white-space:nowrap",
}
# The colour of each state and status, by its name in the graph. Of all others: that of a failure.
_COLOURS = {
    **dict.fromkeys(("ok", "better"), "ok"),
    **dict.fromkeys(("running", "calling rows again"), "running"),
    **dict.fromkeys(("fallback", "some failed"), "partly"),
    **dict.fromkeys(("cancelled", "incomplete", "interrupted", "stopped"), "cancelled"),
    **dict.fromkeys(("pending", "plan", "replayed", "not clear", "same"), "unvisited"),
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts. The first cell of each row is its head.

    Attributes:
        title: The title; "" for none.
        columns: The head of each column, and how the column is written.
        rows: A text for each column, row by row.
        more: A sentence about what is left out; "" if nothing is.
    """

    title: str
    columns: Sequence[tuple[str, Kind]]
    rows: Sequence[Sequence[str]]
    more: str = ""


@dataclass(frozen=True, slots=True)
class Summary:
    """The contents of a display of a run or a batch.

    Attributes:
        title: The name of the run or batch.
        state: Its state, in a word or two; "" for none.
        facts: Short texts for one line.
        notes: Lines that need attention.
        tables: The tables below, in order.
    """

    title: str
    state: str
    facts: Sequence[str] = ()
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()


def to_html(summary: Summary) -> str:
    """Return a summary as HTML that is readable without its styles. It has no scripts, ids or addresses."""
    facts = " · ".join(escape(fact) for fact in summary.facts)
    state = chip(summary.state) if summary.state else ""
    parts = [
        f"<style>{style_sheet()}</style>",
        f'<div class="llmflow-nb {NO_MATHS}">',
        f"<div><strong>{escape(summary.title)}</strong> {state} {facts}</div>",
        *(f'<div class="llmflow-nb-note">{escape(note)}</div>' for note in summary.notes),
    ]
    size = sum(map(len, parts))
    for table in summary.tables:
        html = table_html(table)
        size += len(html)
        if size > MAX_HTML - 1_000:
            parts.append("<div>(cut here: .df has everything)</div>")
            break
        parts.append(html)
    return "\n".join([*parts, "</div>"])


def chip(word: str) -> str:
    """Return a state or a status in its colour, as readable on a dark page, and in a notebook that is not trusted."""
    line = colour_of(word)
    red, green, blue = bytes.fromhex(line[1:])
    style = f"border:1px solid {line};border-radius:9px;padding:0 7px;background-color:rgba({red},{green},{blue},0.16)"
    return f'<span class="llmflow-nb-chip" style="{style}">{escape(word)}</span>'


def colour_of(word: str) -> str:
    """Return the colour of a state or a status, as "#rrggbb"."""
    return COLOURS[_COLOURS.get(word, "failed")][1]


def table_html(table: Table) -> str:
    """Return a table as HTML."""
    heads = "".join(map(_head, table.columns, zip(*table.rows, strict=True)))
    kinds = [kind for _, kind in table.columns]
    rows = "\n".join(f"<tr>{''.join(map(_cell, kinds, row, count()))}</tr>" for row in table.rows)
    title = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    more = f"<div>{escape(table.more)}</div>" if table.more else ""
    return (
        f'<table class="llmflow-nb-table">{title}<thead><tr>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table>{more}'
    )


def _head(column: tuple[str, Kind], cells: Iterable[str]) -> str:
    """Return the head of a column. It makes a column of texts wide enough that no text takes more than three lines."""
    head, kind = column
    style = _STYLES.get(kind, "text-align:left")
    if kind in FOLDED:
        longest = min(max(map(len, cells)), SEEN)
        style += f";min-width:{3 + longest // 5}em"
    return f'<th scope="col" style="{style}">{escape(head)}</th>'


def _cell(kind: Kind, text: str, column: int) -> str:
    content = chip(text) if kind == "status" and text else folded(text) if kind in FOLDED else escape(text)
    style = _STYLES.get(kind, "text-align:left")
    return f'<td style="{style}">{content}</td>' if column else f'<th scope="row" style="{style}">{content}</th>'


def folded(text: str) -> str:
    """Return a text; of a long one the beginning, which opens to the rest."""
    if len(text) <= SEEN:
        return escape(text)
    at = text.rfind(" ", SEEN // 2, SEEN)
    start, rest = (text[:SEEN], text[SEEN:]) if at < 0 else (text[:at], text[at + 1 :])
    return f"<details><summary>{escape(start)}</summary>{escape(rest)}</details>"


def notes_html(notes: Iterable[str]) -> str:
    """Return notes as HTML, a line for each; "" without notes."""
    lines = "".join(f"<div>{escape(note)}</div>\n" for note in notes)
    return f'<div class="{NO_MATHS}">\n{lines}</div>' if lines else ""


def to_text(summary: Summary) -> str:
    """Return a summary as plain text, for terminals and screen readers."""
    state = f": {summary.state}" if summary.state else ""
    lines = [f"{summary.title}{state}", *[f"  {', '.join(summary.facts)}"][: len(summary.facts)]]
    lines += [f"  ! {note}" for note in summary.notes]
    for table in summary.tables:
        lines += ["", *([table.title] if table.title else []), *_table_lines(table)]
        lines += [table.more] if table.more else []
    return "\n".join(line.rstrip() for line in lines)


def _table_lines(table: Table) -> list[str]:
    rows = [[head for head, _ in table.columns], *([_cut(text) for text in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            text.rjust(width) if kind in ("number", "cost", "seconds") else text.ljust(width)
            for text, width, (_, kind) in zip(row, widths, table.columns, strict=True)
        )
        for row in rows
    ]


def _cut(text: str) -> str:
    text = text.replace("\n", " ").replace("\t", " ")
    return f"{text[:59]}…" if len(text) > 60 else text


def style_sheet() -> str:
    """Return the style sheet, without its comments."""
    text = resources.files(__package__).joinpath("static", "display.css").read_text(encoding="utf-8")
    return "\n".join(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("/*"))
