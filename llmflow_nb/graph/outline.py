"""The graph as indented text: what is shown where nothing can be drawn, and what a screen reader reads."""

from ..core.text import LABEL_LENGTH, quoted, shown
from .marks import STATE_WORDS, Mark, Marks
from .model import FLOWS, PLAIN_CLASS, GraphCluster, GraphEdge, GraphExit, GraphModel, GraphNode

__all__ = ["outline_of", "problems_of"]


def outline_of(model: GraphModel) -> str:
    """Return one line per node, with a line below it for every edge and every way out, and below all the problems.

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
    marks = model.look.marks or Marks()
    leaving: dict[str, list[str]] = {}
    for edge in model.edges:
        taken = marks.edges.get((edge.source, edge.target, edge.action), 0)
        times = "" if model.look.marks is None else f" ({taken:,} times)" if taken != 1 else " (once)"
        leaving.setdefault(edge.source, []).append(_edge(edge, names) + times)
    for cluster in model.clusters:
        for exit in cluster.exits:
            inner = "" if cluster.id == model.nodes[0].id else f" of {names[cluster.id]}"
            leaving.setdefault(exit.source, []).append(_exit(exit) + inner)
    lines: list[str] = []
    # The edges of a flow come after its steps, so they wait here until the walk is back at the flow's depth.
    open_flows: list[tuple[GraphNode, int]] = []

    def edges_of(node: GraphNode, depth: int) -> None:
        lines.extend("  " * (depth + 1) + words for words in leaving.get(node.id, ()))

    for node, depth in model.walk():
        while open_flows and open_flows[-1][1] >= depth:
            edges_of(*open_flows.pop())
        mark = marks.nodes.get(node.id)
        what = "" if model.look.marks is None else ": not visited" if mark is None else f": {_said(mark)}"
        lines.append("  " * depth + _line(node, clusters.get(node.id), names) + what)
        if node.kind in FLOWS:
            open_flows.append((node, depth))
        else:
            edges_of(node, depth)
    while open_flows:
        edges_of(*open_flows.pop())
    return "\n".join([*lines, *(f"({note})" for note in marks.notes), *problems_of(model)])


def problems_of(model: GraphModel) -> list[str]:
    """Return what is probably not meant in the wiring, a line for each."""
    return [f"! {shown(problem.path, 4 * LABEL_LENGTH)}: {shown(problem.text, 400)}" for problem in model.problems]


def _said(mark: Mark) -> str:
    return ", ".join([STATE_WORDS[mark.state], *map(shown, mark.notes)])


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
    way = "then" if edge.action == "default" else f"on {quoted(edge.action)}"
    if edge.is_back:
        way += " again" if edge.source == edge.target else " back to"
    elif edge.action != "default":
        way += " to"
    return f"{way} {names[edge.target]}"


def _exit(exit: GraphExit) -> str:
    if exit.action in (None, "default"):
        return "then the end" if exit.is_meant else "then, with no edge for it, the end"
    return f"on {quoted(exit.action)}{'' if exit.is_meant else ', with no edge for it,'} the end"
