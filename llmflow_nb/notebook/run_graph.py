"""The graph of a run: the graph of its flow with what happened at each node and edge."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..core.prices import sum_of
from ..core.statuses import FAILURES, HAS_RESULT, STATUSES, count_with
from ..core.text import class_name, shown
from ..graph.builder import graph_of
from ..graph.drawing import GraphModel
from ..graph.model import GraphCluster, GraphExit
from ..graph.render import DrawingError
from ..graph.status import NodeState, NodeStatus, RunStatus
from ..runs.batch import BatchResult
from ..runs.rows import Visit, unresolved
from ..runs.run import Run
from .frontend import is_static
from .html import notes_html
from .picture import description, image
from .values import ValueTexts, duration

__all__ = ["MAX_NODES", "graph_of_run", "picture_of", "with_status"]

_STATES: dict[str, NodeState] = {"running": "running", **{status.name: status.on_graph for status in STATUSES}}
MIN_SECONDS = 0.0005
"""Shorter times are not shown."""
MAX_NODES = 200
"""The number of nodes in a display; inner flows beyond it are left closed."""


def graph_of_run(run: Run, **options: Any) -> GraphModel:
    """Return the graph of a run. Options as for `graph_of`."""
    return with_status(graph_of(run.node, **options), run)


def with_status(model: GraphModel, run: Run) -> GraphModel:
    """Return a graph with what happened in a run so far."""
    visits = run.visits
    taken = _taken_edges(model, visits, run)
    nodes = _node_statuses(run, model, visits, {result.path: result for result in run.batches})
    status = RunStatus(nodes, taken, tuple(_notes(run, model, visits)))
    clusters = tuple(replace(cluster, exits=_exits(model, cluster, taken)) for cluster in model.clusters)
    return replace(model, clusters=clusters, status=status)


def picture_of(run: Run) -> tuple[str, str]:
    """Return the graph of a run as an HTML image, and the reason if it cannot be drawn; one of them is ""."""
    try:
        model = graph_of_run(run, max_nodes=MAX_NODES)
        notes = notes_html(model.status.notes if model.status else ())
        return f"{image(model.svg(), description(model))}\n{notes}", ""
    except DrawingError as exc:
        return "", str(exc)
    except Exception as exc:  # the text beside the picture still tells what happened
        return "", f"the graph cannot be drawn: {class_name(exc)}"


def _exits(model: GraphModel, cluster: GraphCluster, taken: Counter[tuple[str, str, str]]) -> tuple[GraphExit, ...]:
    """Return the exits of a flow: exits known from the code, and exits that the run took."""
    known = {(exit.source, exit.action or "default") for exit in cluster.exits}
    known |= {(exit.source, action) for exit in cluster.exits if exit.action is None for _, _, action in taken}
    found = list(cluster.exits)
    for source, target, action in taken:
        if target == cluster.id and source in cluster.members and (source, action) not in known:
            has_no_edges = all(edge.source != source for edge in model.edges)
            found.append(GraphExit(source, action, has_no_edges or action in cluster.leads_on))
    return tuple(found)


def _notes(run: Run, model: GraphModel, visits: list[Visit]) -> Iterator[str]:
    if run.visit_count > len(visits):
        yield f"only the latest {len(visits):,} of {run.visit_count:,} visits are counted here"
    removed = {visit.path for visit in visits} - {node.id for node in model.nodes}
    closed = tuple(f"{cluster.id}/" for cluster in model.clusters if cluster.is_closed)
    removed = {path for path in removed if not path.startswith(closed)}
    if removed:
        some = ", ".join(shown(path) for path in sorted(removed)[:3]) + (", ..." if len(removed) > 3 else "")
        yield f"the flow has changed since this run; visited nodes that it no longer has: {some}"


def _node_statuses(
    run: Run, model: GraphModel, visits: list[Visit], batches: dict[str, BatchResult]
) -> dict[str, NodeStatus]:
    """Return the status of every node that was visited, by its id."""
    by_path: dict[str, list[Visit]] = {}
    for visit in visits:
        by_path.setdefault(visit.path, []).append(visit)
    failed = {visit.step for visit, _ in unresolved(run._recorder, visits)}
    is_running = run.status in ("running", "killed")
    now: NodeState = "running" if run.status == "running" else "cancelled"
    current = f"{run._recorder.where()}/" if is_running else "/"
    has_all_visits = run.visit_count == len(visits)
    statuses: dict[str, NodeStatus] = {}
    texts = ValueTexts()
    shown_errors: set[int] = set()  # an error passes through the flows around its node, and is shown once
    entered: set[str | None] = set()  # flows that a visited step belongs to
    for node in reversed(model.nodes):  # inner nodes first
        of_node = by_path.get(node.id, [])
        is_current = current.startswith(f"{node.id}/")
        if not of_node and not is_current and not (is_running and node.id in entered):
            continue
        entered.add(node.parent)
        state = now if is_current or not of_node else _state(of_node, failed, run.status)
        words = _visit_words(of_node, failed, has_all_visits)
        if node.id in batches:
            counts = batches[node.id].counts
            if state == "ok" and count_with(counts, FAILURES):
                state = "partly"
            words = [*_item_words(counts), *words]
        notes = [", ".join(words)] if words else []
        errors = (visit.error for visit in of_node if visit.step in failed or visit.status not in FAILURES)
        error = next((error for error in errors if error is not None), None)
        if error is not None and id(error) not in shown_errors:
            shown_errors.add(id(error))
            text = texts.of_error(error, 40)
            notes.append(f"{shown(class_name(error))}{': ' if text else ''}{text}")
        statuses[node.id] = NodeStatus(state, tuple(notes))
    return statuses


def _item_words(counts: dict[str, int]) -> list[str]:
    fallbacks = counts.get("fallback", 0)
    return [f"{count_with(counts, HAS_RESULT):,}/{sum(counts.values()):,} ok", *_fallback_words(fallbacks)]


def _fallback_words(count: int) -> list[str]:
    return [f"{count:,} by fallback"] if count else []


def _state(visits: list[Visit], failed: set[int], run_status: str) -> NodeState:
    """Return the state of a node. Some failed visits do not make it "failed" if the run ended well.

    A failed visit whose step is not in ``failed`` was resolved by a retry, so it counts as ok.
    """
    failures = sum(visit.step in failed for visit in visits)
    if failures:
        return "failed" if failures == len(visits) or run_status != "ok" else "partly"
    return "ok" if visits[-1].status in FAILURES else _STATES[visits[-1].status]


def _visit_words(visits: list[Visit], failed: set[int], has_all_visits: bool) -> list[str]:
    words = []
    if len(visits) > 1:
        words.append(f"{len(visits):,}{'' if has_all_visits else '+'} visits")
        failures = sum(visit.step in failed for visit in visits)
        words += [f"{failures:,} failed"] if failures else []
    words += _fallback_words(sum(visit.status == "fallback" for visit in visits))
    used = [usage for visit in visits for usage in visit.usage]
    words += [sum_of(used).short] if used else []
    seconds = sum(visit.seconds for visit in visits)
    if seconds >= MIN_SECONDS and not is_static():
        words.append(duration(seconds))
    return words


def _taken_edges(model: GraphModel, visits: list[Visit], run: Run) -> Counter[tuple[str, str, str]]:
    """Count how often each edge was taken. A visit after a failed one was started by a retry, not by an edge."""
    parents = {node.id: node.parent for node in model.nodes}
    has_all_visits = run.visit_count == len(visits)
    taken: Counter[tuple[str, str, str]] = Counter()
    latest: dict[tuple[str, int], Visit] = {}
    edges = {(edge.source, edge.action) for edge in model.edges}
    for visit in visits:
        flow = parents.get(visit.path)
        if flow is None:
            continue
        walk = flow, id(visit.params)  # each walk through a flow has params of its own, which the record keeps alive
        before = latest.get(walk)
        if before is None:
            taken[flow, visit.path, ""] += has_all_visits  # otherwise earlier visits may have been dropped
        elif before.status in HAS_RESULT:
            taken[before.path, visit.path, str(before.action or "default")] += 1
        latest[walk] = visit
    if run.status != "running":
        for (flow, _), visit in latest.items():
            action = str(visit.action or "default")
            if visit.status in HAS_RESULT and (visit.path, action) not in edges:  # with an edge, it was interrupted
                taken[visit.path, flow, action] += 1
    return +taken
