"""What happened in a run, on the graph of its flow."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..core.statuses import FAILURES, HAS_RESULT, STATUSES, count_with
from ..core.text import class_name, shown
from ..graph.marks import Mark, Marks, MarkState
from ..graph.model import GraphCluster, GraphExit, GraphModel, graph_of
from ..graph.render import DrawingError
from ..runs.batch import BatchResult
from ..runs.rows import Visit, unresolved
from ..runs.run import Run
from .frontend import is_static
from .html import notes_html
from .picture import description, image
from .summary import duration
from .values import ValueTexts

__all__ = ["MAX_NODES", "graph_of_run", "marked", "picture_of"]

_STATES: dict[str, MarkState] = {"running": "running", **{status.name: status.on_graph for status in STATUSES}}
SHORTEST = 0.0005
"""Seconds from which on they are told of."""
MAX_NODES = 200
"""Nodes that are drawn; inner flows beyond are left closed."""


def graph_of_run(run: Run, **options: Any) -> GraphModel:
    """Return the graph of what was run, marked with what happened. Options as for `graph_of`."""
    return marked(graph_of(run.node, **options), run)


def marked(model: GraphModel, run: Run) -> GraphModel:
    """Return the graph of what was run, marked with what happened so far."""
    visits = run.visits
    taken = _taken(model, visits, run)
    marks = Marks(_nodes(run, model, visits, run.batches, ValueTexts()), taken, tuple(_notes(run, model, visits)))
    clusters = tuple(replace(cluster, exits=_exits(model, cluster, taken)) for cluster in model.clusters)
    return replace(model, clusters=clusters, look=replace(model.look, marks=marks))


def _exits(model: GraphModel, cluster: GraphCluster, taken: Counter[tuple[str, str, str]]) -> tuple[GraphExit, ...]:
    """The ways out of a flow: those that are seen in the code, and those that were taken."""
    known = {(exit.source, exit.action or "default") for exit in cluster.exits}
    known |= {(exit.source, action) for exit in cluster.exits if exit.action is None for _, _, action in taken}
    found = list(cluster.exits)
    for source, target, action in taken:
        if target == cluster.id and source in cluster.members and (source, action) not in known:
            is_last = all(edge.source != source for edge in model.edges)
            found.append(GraphExit(source, action, is_last or action in cluster.leads_on))
    return tuple(found)


def _notes(run: Run, model: GraphModel, visits: list[Visit]) -> Iterator[str]:
    if run.visit_count > len(visits):
        yield f"only the latest {len(visits):,} of {run.visit_count:,} visits are counted here"
    gone = {visit.path for visit in visits} - {node.id for node in model.nodes}
    closed = tuple(f"{cluster.id}/" for cluster in model.clusters if cluster.is_closed)
    gone = {path for path in gone if not path.startswith(closed)}
    if gone:
        some = ", ".join(shown(path) for path in sorted(gone)[:3]) + (", ..." if len(gone) > 3 else "")
        yield f"the flow has changed since: what was visited and is not in it any more is {some}"


def picture_of(run: Run) -> tuple[str, str]:
    """Return the graph of a run in the colours of what happened, as an HTML image, and why there is none."""
    try:
        model = graph_of_run(run, max_nodes=MAX_NODES)
        notes = notes_html(model.look.marks.notes if model.look.marks else ())
        return f"{image(model.svg(), description(model))}\n{notes}", ""
    except DrawingError as exc:
        return "", str(exc)
    except Exception as exc:  # the words beside it say the same as the picture
        return "", f"the graph cannot be drawn: {class_name(exc)}"


def _nodes(
    run: Run, model: GraphModel, visits: list[Visit], results: list[BatchResult], texts: ValueTexts
) -> dict[str, Mark]:
    """What happened at every node that was visited."""
    found: dict[str, _Seen] = {}
    for visit in visits:
        found.setdefault(visit.path, _Seen(run)).add(visit)
    batches = {result.path: result for result in results}
    is_going = run.status == "running"
    here = run._where() if is_going else ""
    marks: dict[str, Mark] = {}
    told: set[int] = set()  # errors, which pass through the flows around the node that they come from
    begun: set[str | None] = set()  # flows of which a step was visited
    for node in reversed(model.nodes):  # the inner ones first
        is_here = f"{here}/".startswith(f"{node.id}/")
        if node.id in found or is_here or (is_going and node.id in begun):
            begun.add(node.parent)
            seen = found.get(node.id) or _Seen(run)
            state = "running" if is_here or not seen.visits else seen.state(run.status)
            words = seen.words(is_all=run.visit_count == len(visits))
            if node.id in batches:
                counts = batches[node.id].counts
                if state == "ok" and count_with(counts, FAILURES):
                    state = "partly"
                fallbacks = counts.get("fallback", 0)
                words[:0] = [
                    f"{count_with(counts, HAS_RESULT):,}/{sum(counts.values()):,} ok",
                    *_by_fallback(fallbacks),
                ]
            notes = [", ".join(words)] if words else []
            if seen.error is not None and id(seen.error) not in told:
                told.add(id(seen.error))
                text = texts.of_error(seen.error, 40)
                notes.append(f"{shown(class_name(seen.error))}{': ' if text else ''}{text}")
            marks[node.id] = Mark(state, tuple(notes))
    return marks


def _by_fallback(count: int) -> list[str]:
    return [f"{count:,} by fallback"] if count else []


class _Seen:
    """The visits of one node. What a retry has mended since did not fail."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.visits = self.failed = self.fallbacks = 0
        self.seconds = 0.0
        self.latest = "running"
        self.error: BaseException | None = None

    def add(self, visit: Visit) -> None:
        is_mended = visit.status in FAILURES and not unresolved(self._run._recorder, [visit])
        self.visits += 1
        self.failed += visit.status in FAILURES and not is_mended
        self.fallbacks += visit.status == "fallback"
        self.seconds += visit.seconds
        self.latest = "ok" if is_mended else visit.status
        self.error = self.error or (None if is_mended else visit.error)

    def state(self, of_run: str) -> MarkState:
        """Of several visits in a run that went on, those that failed do not make it a failure."""
        if self.failed and (self.failed == self.visits or of_run != "ok"):
            return "failed"
        return "partly" if self.failed else _STATES[self.latest]

    def words(self, *, is_all: bool) -> list[str]:
        words = [f"{self.visits:,}{'' if is_all else '+'} visits"] if self.visits > 1 else []
        if self.failed and self.visits > 1:
            words.append(f"{self.failed:,} failed")
        words += _by_fallback(self.fallbacks)
        if self.seconds >= SHORTEST and not is_static():
            words.append(duration(self.seconds))
        return words


def _taken(model: GraphModel, visits: list[Visit], run: Run) -> Counter[tuple[str, str, str]]:
    """How often each way was taken. What follows a failed visit was begun by a retry, and came by no edge."""
    parents = {node.id: node.parent for node in model.nodes}
    is_all = run.visit_count == len(visits)
    taken: Counter[tuple[str, str, str]] = Counter()
    latest: dict[tuple[str, int], Visit] = {}
    led_on = {(edge.source, edge.action) for edge in model.edges}
    for visit in visits:
        around = parents.get(visit.path)
        if around is None:
            continue
        walk = around, id(visit.params)  # the params are those of one walk, and alive as long as this
        before = latest.get(walk)
        if before is None:
            taken[around, visit.path, ""] += is_all  # else it may be the first that is kept
        elif before.status in HAS_RESULT:
            taken[before.path, visit.path, str(before.action or "default")] += 1
        latest[walk] = visit
    if run.status != "running":
        for (around, _), visit in latest.items():
            action = str(visit.action or "default")
            if visit.status in HAS_RESULT and (visit.path, action) not in led_on:  # else the walk was cut off
                taken[visit.path, around, action] += 1
    return +taken
