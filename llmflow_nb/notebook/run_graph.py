"""What happened in a run, on the graph of its flow."""

from collections import Counter
from dataclasses import replace
from typing import Any

from ..graph.marks import Mark, Marks, MarkState
from ..graph.model import GraphModel, graph_of
from ..graph.render import DrawingError
from ..runs.batch import BatchResult
from ..runs.run import Run, Visit
from .html import is_static
from .picture import description, image
from .summary import duration
from .values import ValueTexts, class_name

__all__ = ["MAX_NODES", "graph_of_run", "marks_of", "picture_of"]

_STATES: dict[str, MarkState] = {
    "ok": "ok",
    "fallback": "ok",
    "failed": "failed",
    "cancelled": "cancelled",
    "running": "running",
}
SHORTEST = 0.0005
"""Seconds from which on they are told of."""
MAX_NODES = 200
"""Nodes that are drawn; inner flows beyond are left closed."""


def graph_of_run(run: Run, **options: Any) -> GraphModel:
    """Return the graph of what was run, marked with what happened. Options as for `graph_of`."""
    model = graph_of(run.node, **options)
    marks = marks_of(run, model, run.visits, run.batches, ValueTexts())
    return replace(model, look=replace(model.look, marks=marks))


def picture_of(run: Run) -> tuple[str, str]:
    """Return the graph of a run in the colours of what happened, as an HTML image, and why there is none."""
    try:
        model = graph_of_run(run, max_nodes=MAX_NODES)
        return f"{image(model.svg(), description(model))}\n", ""
    except DrawingError as exc:
        return "", str(exc)
    except Exception as exc:  # the words beside it say the same as the picture
        return "", f"the graph cannot be drawn: {type(exc).__name__}"


def marks_of(run: Run, model: GraphModel, visits: list[Visit], results: list[BatchResult], texts: ValueTexts) -> Marks:
    """Return what happened at every node, and how often each edge was taken."""
    found: dict[str, _Seen] = {}
    for visit in visits:
        found.setdefault(visit.path, _Seen()).add(visit)
    batches = {result.path: result for result in results}
    here = run.where() if run.status == "running" else ""
    marks: dict[str, Mark] = {}
    told: set[int] = set()  # errors, which pass through the flows around the node that they come from
    for node in reversed(model.nodes):  # the inner ones first
        is_here = here == node.id or here.startswith(f"{node.id}/")
        if node.id in found or is_here:
            seen = found.get(node.id, _Seen())
            state = "running" if is_here else seen.state(run.status)
            words = seen.words()
            if node.id in batches:
                counts = batches[node.id].counts
                if state == "ok" and counts.get("failed"):
                    state = "partly"
                words.insert(0, f"{counts.get('ok', 0) + counts.get('fallback', 0):,}/{sum(counts.values()):,} ok")
            notes = [", ".join(words)] if words else []
            if seen.error is not None and id(seen.error) not in told:
                told.add(id(seen.error))
                notes.append(f"{class_name(seen.error)}: {texts.of_error(seen.error, 40)}")
            marks[node.id] = Mark(state, tuple(notes))
    return Marks(marks, _taken(model, visits, is_over=run.status != "running"))


class _Seen:
    """The visits of one node."""

    def __init__(self) -> None:
        self.visits = self.failed = 0
        self.seconds = 0.0
        self.latest = "running"
        self.error: BaseException | None = None

    def add(self, visit: Visit) -> None:
        self.visits += 1
        self.failed += visit.status == "failed"
        self.seconds += visit.seconds
        self.latest = visit.status
        self.error = self.error or visit.error

    def state(self, of_run: str) -> MarkState:
        """Of several visits in a run that went on, those that failed do not make it a failure."""
        if self.failed and (self.failed == self.visits or of_run != "ok"):
            return "failed"
        return "partly" if self.failed else _STATES[self.latest]

    def words(self) -> list[str]:
        words = [f"{self.visits:,} visits"] if self.visits > 1 else []
        if self.failed and self.visits > 1:
            words.append(f"{self.failed:,} failed")
        if self.seconds >= SHORTEST and not is_static():
            words.append(duration(self.seconds))
        return words


def _taken(model: GraphModel, visits: list[Visit], *, is_over: bool) -> Counter[tuple[str, str]]:
    parents = {node.id: node.parent for node in model.nodes}
    taken: Counter[tuple[str, str]] = Counter()
    latest: dict[tuple[str, int], Visit] = {}
    for visit in visits:
        around = parents.get(visit.path)
        if around is None:
            continue
        walk = around, id(visit.params)  # the params are those of one walk, and alive as long as this
        taken[latest[walk].path if walk in latest else around, visit.path] += 1
        latest[walk] = visit
    if is_over:
        for (around, _), visit in latest.items():
            taken[visit.path, around] += visit.status in ("ok", "fallback")
    return taken
