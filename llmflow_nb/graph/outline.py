"""The graph as indented text: shown where nothing can be drawn, and read by screen readers."""

from ..core.text import quoted, shown
from .model import FLOWS, PLAIN_CLASS, GraphCluster, GraphData, GraphEdge, GraphExit, GraphNode
from .status import RunStatus

__all__ = ["outline_of", "problem_lines"]


def outline_of(model: GraphData) -> str:
    """Return a line for each node, below it a line for each of its edges and exits, and the problems at the end.

    ::

        flow Chat, starts at Ask
          Ask
            then Answer
          Answer, up to 3 attempts
            on 'again' back to Ask
            on 'done' the end
    """
    clusters = {cluster.id: cluster for cluster in model.clusters}
    names = {node.id: shown(node.name) for node in model.nodes}
    run = model.status or RunStatus()
    leaving: dict[str, list[str]] = {}
    for edge in model.edges:
        taken = run.edges.get((edge.source, edge.target, edge.action), 0)
        times = "" if model.status is None else f" ({taken:,} times)" if taken != 1 else " (once)"
        leaving.setdefault(edge.source, []).append(_edge(edge, names) + times)
    for cluster in model.clusters:
        for exit in cluster.exits:
            inner = "" if cluster.id == model.nodes[0].id else f" of {names[cluster.id]}"
            leaving.setdefault(exit.source, []).append(_exit(exit) + inner)
    lines: list[str] = []
    for node, depth, is_end in model.walk():
        if is_end:  # the edges of a flow are written after its steps
            lines += ["  " * (depth + 1) + words for words in leaving.get(node.id, ())]
            continue
        status = run.nodes.get(node.id)
        outcome = "not visited" if status is None else ", ".join(status.words)
        lines.append("  " * depth + _line(node, clusters.get(node.id), names))
        lines[-1] += "" if model.status is None else f": {outcome}"
    return "\n".join([*lines, *(f"({note})" for note in run.notes), *problem_lines(model)])


def problem_lines(model: GraphData) -> list[str]:
    """Return a line for each probable mistake in the wiring."""
    return [f"! {shown(problem, 720)}" for problem in model.problems]


def _line(node: GraphNode, cluster: GraphCluster | None, names: dict[str, str]) -> str:
    parts = [names[node.id], *(shown(note.text) for note in node.notes)]
    if node.kind in FLOWS:
        kind = node.kind.replace("_", " ")
        parts[0] = kind if node.name == PLAIN_CLASS[node.kind] else f"{kind} {parts[0]}"
    if cluster is not None:
        if cluster.start is not None:
            parts.append(f"starts at {names[cluster.start]}")
        else:
            parts.append(cluster.why_empty + (": this cannot run" if cluster.repeats is not None else ""))
    return ", ".join(parts)


def _edge(edge: GraphEdge, names: dict[str, str]) -> str:
    words = "then" if edge.action == "default" else f"on {quoted(edge.action)}"
    if edge.is_back:
        words += " again" if edge.source == edge.target else " back to"
    elif edge.action != "default":
        words += " to"
    return f"{words} {names[edge.target]}"


def _exit(exit: GraphExit) -> str:
    if exit.action in (None, "default"):
        return "then the end" if exit.is_meant else "then, with no edge for it, the end"
    return f"on {quoted(exit.action)}{'' if exit.is_meant else ', with no edge for it,'} the end"
