"""The graph in the language of Mermaid (https://mermaid.js.org/syntax/flowchart.html): text for READMEs and wikis.

The shortest writer, so a good example for another one. As in DOT, ids are generated and every text is quoted. Mermaid
reads labels as HTML and Markdown, so characters that could be either become character codes.
"""

import re

from ..core.text import shown
from .model import GraphCluster, GraphData, GraphNode

__all__ = ["mermaid_of"]

# Characters that Mermaid, HTML or Markdown could take for syntax. Mermaid decodes character codes after it has read
# the Markdown, so a code is always safe. Mermaid 11.4 shows "Unsupported markdown" in place of a list or a link.
_NOT_PLAIN = re.compile(
    r"""
      [^\w ,.:;!?/+=()…-]       # no letter, digit, space or plain punctuation
    | ^[^\w\s]                 # at the start: "- a list", "+ a list"
    | (?<=[0-9])[.)](?=\s|$)    # "1. a list", "1) a list"
    | (?<![^\W_])_ | _(?![^\W_])  # "__strong__"; in the middle of a word it is plain
    | :(?=//) | (?<=www)\.      # "https://a.link", "www.a.link"
    """,
    re.VERBOSE | re.IGNORECASE,
)

_SHAPES = {
    "node": ("(", ")"),
    "batch_node": ("[[", "]]"),
    "flow": ("[", "]"),
    "batch_flow": ("[[", "]]"),
}


def mermaid_of(model: GraphData) -> str:
    """Return the text of a flowchart. The same graph gives the same text."""
    ids = {node.id: f"n{i}" for i, node in enumerate(model.nodes)}
    clusters = {cluster.id: cluster for cluster in model.clusters}
    lines = ["flowchart TB"]
    for node, depth, is_end in model.walk():
        id, cluster, indent = ids[node.id], clusters.get(node.id), "  " * (depth + 1)
        is_frame = cluster is not None and cluster.start is not None
        if is_end:
            lines += [f"{indent}end"] if is_frame else []
            continue
        status = None if model.status is None else model.status.nodes.get(node.id)
        label = quoted(", ".join(_words(node, cluster) + ([] if status is None else status.words)))
        if cluster is None or cluster.start is None:
            left, right = _SHAPES[node.kind]
            lines.append(f"{indent}{id}{left}{label}{right}")
        else:
            lines.append(f"{indent}subgraph {id} [{label}]")
            lines.append(f"{indent}  s{id}(( )) --> {ids[cluster.start]}")
            lines += [f"{indent}  z{id}((( )))"] if cluster.exits else []
    for edge in model.edges:
        arrow = "-.->" if edge.is_back else "-->"
        label = "" if edge.action == "default" else f"|{quoted(shown(edge.action))}|"
        lines.append(f"  {ids[edge.source]} {arrow}{label} {ids[edge.target]}")
    for cluster in model.clusters:
        for exit in cluster.exits:
            arrow = "-->" if exit.is_meant else "-.-x"
            is_plain = exit.is_meant and exit.action in (None, "default")
            label = "" if is_plain else f"|{quoted(shown(exit.action or ''))}|"
            lines.append(f"  {ids[exit.source]} {arrow}{label} z{ids[cluster.id]}")
    return "\n".join(lines)


def _words(node: GraphNode, cluster: GraphCluster | None) -> list[str]:
    words = [shown(node.name), *(shown(note.text) for note in node.notes)]
    if cluster is not None and not cluster.members:
        words.append(cluster.why_empty)
    return words


def quoted(text: str) -> str:
    """Return one line of text as a Mermaid string that shows exactly that text.

    >>> print(quoted('<b>"x"</b> #1'), quoted("1. __init__, snake_case"))
    "#60;b#62;#34;x#34;#60;/b#62; #35;1" "1#46; #95;#95;init#95;#95;, snake_case"
    """
    return f'"{_NOT_PLAIN.sub(lambda found: f"#{ord(found[0])};", text)}"'
