"""What happened in a run, on the graph of its flow."""

from collections import Counter
from typing import Any

from ..graph.dot import dot_of
from ..graph.marks import Mark, Marks, MarkState
from ..graph.model import GraphModel, graph_of
from ..graph.svg import svg_of
from ..runs.batch import BatchResult
from ..runs.run import Run, Visit
from .html import is_static
from .picture import description, image
from .summary import duration
from .values import ValueTexts, class_name

__all__ = ["MAX_NODES", "marks_of", "picture_of"]

_STATES: dict[str, MarkState] = {
    "ok": "ok",
    "fallback": "ok",
    "failed": "failed",
    "cancelled": "cancelled",
    "running": "running",
}
MAX_NODES = 200
"""Nodes that are drawn; inner flows beyond are left closed."""


def picture_of(run: Run) -> str:
    """Return the graph of a run in the colours of what happened, as an HTML image; "" where it cannot be drawn."""
    try:
        model = graph_of(run.node, max_nodes=MAX_NODES)
        marks = marks_of(run, model, run.visits, run.batches, ValueTexts())
        return f"{image(svg_of(model, dot_of(model, marks=marks)), description(model))}\n"
    except Exception:  # nothing to draw with, or it gave up: the words beside it say the same
        return ""


def marks_of(run: Run, model: GraphModel, visits: list[Visit], results: list[BatchResult], texts: ValueTexts) -> Marks:
    """Return what happened at every node, and how often each edge was taken."""
    parents = {node.id: node.parent for node in model.nodes}
    found: dict[str, list[Any]] = {}
    taken: Counter[tuple[str, str]] = Counter()
    latest: dict[tuple[str | None, int], str] = {}
    for visit in visits:
        row = found.setdefault(visit.path, [0, 0.0, visit.status, None])
        row[0] += 1
        row[1] += visit.seconds
        row[2] = visit.status if row[2] != "failed" else "failed"
        row[3] = row[3] or visit.error
        walk = parents.get(visit.path), id(visit.params)  # the params are those of one walk, and alive as long as this
        if walk in latest:
            taken[latest[walk], visit.path] += 1
        latest[walk] = visit.path
    batches = {result.path: result for result in results}
    here = run.where() if run.status == "running" else ""
    marks: dict[str, Mark] = {}
    for node in model.nodes:
        visits_seconds = found.get(node.id)
        if visits_seconds is None and node.id != here and not here.startswith(f"{node.id}/"):
            continue
        count, seconds, status, error = visits_seconds or (0, 0.0, "running", None)
        state: MarkState = _STATES[status]
        notes = []
        if node.id in batches:
            counts = batches[node.id].counts
            if state == "ok" and counts.get("failed"):
                state = "partly"
            notes.append(f"{counts.get('ok', 0) + counts.get('fallback', 0):,}/{sum(counts.values()):,} ok")
        if count > 1:
            notes.append(f"{count:,} visits")
        if count and not is_static():
            notes.append(duration(seconds))
        if error is not None:
            notes.append(f"{class_name(error)}: {texts.of_error(error, 40)}")
        if node.id == here or here.startswith(f"{node.id}/"):
            state = "running"
        marks[node.id] = Mark(state, tuple(notes))
    return Marks(marks, taken)
