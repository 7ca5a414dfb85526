"""The graph in the language of Mermaid (https://mermaid.js.org/syntax/flowchart.html): text for READMEs and wikis.

As in DOT, ids are made here and every text is quoted. Mermaid reads labels as HTML and Markdown, so whatever could be
either becomes a character code.
"""

import re

from ..core.text import shown
from .marks import STATE_WORDS
from .model import GraphCluster, GraphModel, GraphNode

__all__ = ["mermaid_of"]

# What Mermaid, HTML or Markdown could read as something else. Mermaid decodes character codes after it has read the
# Markdown, so a code is always safe. Mermaid 11.4 shows "Unsupported markdown" in place of a list or a link.
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


def mermaid_of(model: GraphModel) -> str:
    """Return the text of a flowchart: the same text for the same model."""
    ids = {node.id: f"n{i}" for i, node in enumerate(model.nodes)}
    clusters = {cluster.id: cluster for cluster in model.clusters}
    lines = ["flowchart TB"]
    around: list[str] = []
    for node, depth in model.walk():
        while len(around) > depth:
            around.pop()
            lines.append("  " * (len(around) + 1) + "end")
        cluster = clusters.get(node.id)
        indent = "  " * (depth + 1)
        mark = None if model.look.marks is None else model.look.marks.nodes.get(node.id)
        words = _words(node, cluster) + ([] if mark is None else [STATE_WORDS[mark.state], *map(shown, mark.notes)])
        label = quoted(", ".join(words))
        if cluster is None or not cluster.members:
            left, right = _SHAPES[node.kind]
            lines.append(f"{indent}{ids[node.id]}{left}{label}{right}")
        else:
            id = ids[node.id]
            lines.append(f"{indent}subgraph {id} [{label}]")
            lines.append(f"{indent}  s{id}(( )) --> {ids[cluster.start or '']}")
            lines += [f"{indent}  z{id}((( )))"] if cluster.exits else []
            around.append(id)
    while around:
        around.pop()
        lines.append("  " * (len(around) + 1) + "end")
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
    """Return a text of one line as a Mermaid string that shows exactly that text.

    >>> print(quoted('<b>"x"</b> #1'), quoted("1. __init__, snake_case"))
    "#60;b#62;#34;x#34;#60;/b#62; #35;1" "1#46; #95;#95;init#95;#95;, snake_case"
    """
    return f'"{_NOT_PLAIN.sub(lambda found: f"#{ord(found[0])};", text)}"'
