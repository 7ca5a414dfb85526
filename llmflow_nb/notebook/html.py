"""A summary as HTML and as text: the same words, in the same order.

The one place where values become markup. Whatever enters is escaped here; what a summary holds is plain text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources

__all__ = ["MAX_HTML", "NO_MATHS", "Summary", "Table", "notes_html", "to_html", "to_text"]

MAX_HTML = 200_000
"""Characters of a display."""
NO_MATHS = "mathjax_ignore tex2jax_ignore"
"""The classes by which MathJax 3 and 2 leave a text alone: "$5 now and $7 later" is no formula."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts under heads.

    Attributes:
        title: What they are; "" for none.
        heads: One for each column.
        rows: As many texts in each.
        numbers: The columns that are set to the right.
        whole: The columns of short texts, whose lines are not broken.
        more: What to say of the rows that are not there; "" where all are.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[str] = frozenset()
    more: str = ""
    whole: frozenset[str] = frozenset(("node", "row", "params", "status", "how many"))


@dataclass(frozen=True, slots=True)
class Summary:
    """What is shown of a record.

    Attributes:
        title: What it is.
        state: A word or two for how it went.
        facts: What there is to say in a line.
        notes: Lines that need attention, each of its own.
        tables: Tables below, in order.
    """

    title: str
    state: str
    facts: Sequence[str] = ()
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()


def to_html(summary: Summary) -> str:
    """Return a summary as HTML, readable also where its styles are stripped. No scripts, no ids, no addresses."""
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
    """Return the word for how something went, in its colour. By default only "ok" and "running" are good."""
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
    """Return notes as HTML, a line for each; nothing where there are none."""
    lines = "".join(f"<div>{escape(note)}</div>\n" for note in notes)
    return f'<div class="{NO_MATHS}">\n{lines}</div>' if lines else ""


def to_text(summary: Summary) -> str:
    """Return a summary as plain text, for a terminal, or for a screen reader."""
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
