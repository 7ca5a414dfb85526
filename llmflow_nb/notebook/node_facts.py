"""What the widget of a stepper shows of a node that the user clicked: its code, its state and its last visit."""

import inspect
import linecache
import textwrap
from typing import Any

from ..core.hooks import hooks_of
from ..core.node import BaseNode
from ..core.text import MASK, is_secret, quoted, shown, text_of
from ..graph.drawing import GraphModel
from ..graph.model import PLAIN_CLASS, GraphNode
from ..graph.places import node_at
from ..stepper.snapshots import changes
from ..stepper.stepper import Stepper
from .frontend import cell_name
from .readable import LONG, readable
from .values import ValueTexts, duration

__all__ = ["last_visit", "look"]

MAX_KEYS, MAX_LINES = 60, 60
"""The largest numbers of changed keys, and of lines of code."""


def look(stepper: Stepper, model: GraphModel, path: str, texts: ValueTexts) -> dict[str, Any]:
    """Return what there is to know of a node of the drawing: its code, its state and its last visit.

    Raises:
        StopIteration: There is no such node.
    """
    shown_node = next(node for node in model.nodes if node.id == path)
    node = node_at(stepper.root, path)
    where, code = _source(node)
    found = {
        "path": path,
        "name": shown(shown_node.name),
        "kind": shown(_kind(shown_node), 200),
        "doc": shown(shown_node.doc, 300) if shown_node.doc else "",
        "source": where,
        "code": code,
        "is_frame": any(cluster.id == path for cluster in model.clusters) and path != model.nodes[0].id,
        "is_closed": any(cluster.id == path and cluster.is_closed for cluster in model.clusters),
        "visits": 0,
        "values": [],
    }
    return found | last_visit(stepper, path, texts)


def _kind(node: GraphNode) -> str:
    words = {"node": "node", "batch_node": "batch node", "flow": "flow", "batch_flow": "batch flow"}[node.kind]
    name = "" if node.class_name == PLAIN_CLASS[node.kind] else f"{node.class_name}, a "
    return ", ".join([name + words, *(note.text for note in node.notes if note.kind not in ("class", "each"))])


def last_visit(stepper: Stepper, path: str, texts: ValueTexts) -> dict[str, Any]:
    """Return what is known of a node's last visit on the way to the current place; {} if there is none."""
    session = stepper._session
    line = session.history.line()
    starts = [n for n, entry in enumerate(line) if entry.location.path == path and entry.starts_visit]
    if not starts:
        return {}
    first = starts[-1]
    start = line[first]
    visit = [start]
    for entry in line[first + 1 :]:
        visit.append(entry)
        if entry.location.is_end or (entry.location.depth <= start.location.depth and entry.starts_visit):
            break
    earlier = [key for entry in line[: first + 1] for key in entry.activity.cache_keys]
    later = [key for entry in visit[1:] for key in entry.activity.cache_keys]
    results = session.cache.results_of(path, earlier, later)
    values: list[tuple[str, Any]] = []
    if results:
        values.append(("exec returned", results if type(start.node)._kind == "batch_node" else results[0]))
    values += [
        (f"shared[{quoted(change.key, 40)}]", MASK if is_secret(change.key) else change.after.kept)
        for change in changes(start.snapshot, visit[-1].snapshot)[:MAX_KEYS]
        if change.after is not None and change.after.uses
    ]
    return {
        "visits": len(starts),
        "number": start.number,
        "seconds": duration(sum(entry.activity.seconds for entry in visit[1:])),
        "values": [[title, "", readable(value, texts, LONG)] for title, value in values],
    }


def _source(node: BaseNode) -> tuple[str, str]:
    """Return where a node's first hook of the user is defined, and its lines; "" if that is unknown."""
    hooks = hooks_of(node)
    for role in ("exec", "post", "prep"):
        if role not in hooks.own:
            continue
        method = inspect.unwrap(getattr(type(node), getattr(hooks, role)))
        code = getattr(method, "__code__", None)
        if code is None:
            continue
        name, line = code.co_filename, code.co_firstlineno
        where = cell_name(name) or text_of(getattr(method, "__module__", ""))
        lines = linecache.getlines(name)[line - 1 :]  # a cell has a file name of its own for each text it had
        block = textwrap.dedent("".join(inspect.getblock(lines)[:MAX_LINES])) if lines else ""
        return f"{shown(where)}, line {line}", shown(block, LONG, keep_lines=True) if block else ""
    return "", ""
