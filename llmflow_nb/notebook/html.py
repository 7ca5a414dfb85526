"""Write a summary as HTML and as text: the same words in the same order.

A summary holds plain text. Only this file turns it into markup, and escapes all of it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

__all__ = ["MAX_HTML", "NO_MATHS", "Summary", "Table", "notes_html", "to_html", "to_text"]

MAX_HTML = 200_000
"""The largest number of characters of a display."""
NO_MATHS = "mathjax_ignore tex2jax_ignore"
"""The CSS classes that keep MathJax 3 and 2 off a text: "$5 now and $7 later" is no formula."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts.

    Attributes:
        title: The title; "" for none.
        heads: The head of each column.
        rows: A text for each column, row by row.
        numbers: The columns that are aligned to the right.
        whole: The columns of short texts, whose lines are not broken.
        more: A sentence about rows that are left out; "" if none are.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()
    more: str = ""
    whole: frozenset[str] = frozenset(("node", "row", "params", "status", "how many"))


@dataclass(frozen=True, slots=True)
class Summary:
    """The contents of a display of a run or a batch.

    Attributes:
        title: The name of the run or batch.
        state: Its state, in a word or two.
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
    parts = [
        f"<style>{style_sheet()}</style>",
        f'<div class="llmflow-nb {NO_MATHS}">',
        f"<div><strong>{escape(summary.title)}</strong> {state(summary.state)} {facts}</div>",
        *(f'<div class="llmflow-nb-note">{escape(note)}</div>' for note in summary.notes),
    ]
    size = sum(map(len, parts))
    for table in summary.tables:
        html = _table_html(table)
        size += len(html)
        if size > MAX_HTML - 1_000:
            parts.append("<div>(cut here: .df has everything)</div>")
            break
        parts.append(html)
    return "\n".join([*parts, "</div>"])


def state(word: str, *, is_bad: bool | None = None) -> str:
    """Return a state in its colour. By default only "ok" and "running" are good."""
    if is_bad is None:
        is_bad = word not in ("ok", "running")
    colour = "bad" if is_bad else "good" if word == "ok" else "going"
    return f'<span class="llmflow-nb-{colour}">{escape(word)}</span>'


def _table_html(table: Table) -> str:
    def cell(tag: str, head: str, text: str) -> str:
        name = "number" if head in table.numbers else "whole" if head in table.whole else ""
        named = f' class="llmflow-nb-{name}"' if name else ""
        return f"<{tag}{named}>{escape(text)}</{tag}>"

    heads = "".join(cell("th", head, head) for head in table.heads)
    rows = "\n".join(
        f"<tr>{''.join(cell('td', head, text) for head, text in zip(table.heads, row, strict=True))}</tr>"
        for row in table.rows
    )
    title = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    more = f"<div>{escape(table.more)}</div>" if table.more else ""
    return (
        f'<table class="llmflow-nb-table">{title}<thead><tr>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table>{more}'
    )


def notes_html(notes: Iterable[str]) -> str:
    """Return notes as HTML, a line for each; "" without notes."""
    lines = "".join(f"<div>{escape(note)}</div>\n" for note in notes)
    return f'<div class="{NO_MATHS}">\n{lines}</div>' if lines else ""


def to_text(summary: Summary) -> str:
    """Return a summary as plain text, for terminals and screen readers."""
    lines = [f"{summary.title}: {summary.state}", *[f"  {', '.join(summary.facts)}"][: len(summary.facts)]]
    lines += [f"  ! {note}" for note in summary.notes]
    for table in summary.tables:
        lines += ["", *([table.title] if table.title else []), *_table_lines(table)]
        lines += [table.more] if table.more else []
    return "\n".join(line.rstrip() for line in lines)


def _table_lines(table: Table) -> list[str]:
    rows = [list(table.heads), *([f"{text[:59]}…" if len(text) > 60 else text for text in row] for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            text.rjust(width) if head in table.numbers else text.ljust(width)
            for text, width, head in zip(row, widths, table.heads, strict=True)
        )
        for row in rows
    ]


def style_sheet() -> str:
    """Return the style sheet, without its comments."""
    text = resources.files(__package__).joinpath("static", "display.css").read_text(encoding="utf-8")
    return "\n".join(line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("/*"))
